"""Assumptions as data: each a row {value, unit, low, high, source, date}. Without its row a figure is unknown.

Whoever computes a figure asks a `Reading` for rows; it remembers which, so that the figure can name them.
"""

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

import msgspec

from weighbridge.errors import ConfigError


class Assumption(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    says: str
    """For people: what it is, in one sentence."""
    value: float
    unit: str
    low: float
    high: float
    source: str
    """Where it was published, or `choice:` and why."""
    date: str
    """The day or month in which the source was read, ISO."""


class MissingError(LookupError):
    """A figure needs an assumption that has no row."""

    def __init__(self, ident: str) -> None:
        self.ident = ident
        super().__init__(f"the assumption {ident!r} has no row")


class Assumptions(msgspec.Struct, frozen=True):
    rows: Mapping[str, Assumption]

    def get(self, ident: str) -> Assumption:
        row = self.rows.get(ident)
        if row is None:
            raise MissingError(ident)
        return row

    def without(self, ident: str) -> "Assumptions":
        return Assumptions({key: row for key, row in self.rows.items() if key != ident})


class Reading:
    """Reads assumptions for one figure, at chosen ends of their ranges, and remembers which."""

    def __init__(self, rows: Assumptions, at: Mapping[str, float] | None = None) -> None:
        self._rows, self._at = rows, at or {}
        self.used: dict[str, None] = {}

    def __call__(self, ident: str) -> float:
        """Raises `MissingError`."""
        self.used[ident] = None
        row = self._rows.get(ident)
        return self._at.get(ident, row.value)


def load(file: Path | None = None) -> Assumptions:
    """The shipped rows, with those of `file` in place of the ones they name. Raises `ConfigError`."""
    rows = dict(_shipped())
    if file is not None:
        try:
            rows |= _parse(str(file), file.read_bytes())
        except OSError as error:
            raise ConfigError(str(file), "file", f"cannot be read: {error.strerror}") from None
    return Assumptions(rows)


@cache
def _shipped() -> dict[str, Assumption]:
    return _parse("assumptions.toml", files("weighbridge.scan").joinpath("assumptions.toml").read_bytes())


def _parse(name: str, content: bytes) -> dict[str, Assumption]:
    try:
        tree = tomllib.loads(content.decode())
        rows = msgspec.convert(tree, dict[str, Assumption])
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(
            name, "rows", str(error), allowed='["name"] with says, value, unit, low, high, source, date'
        ) from None
    for ident, row in rows.items():
        if not row.low <= row.value <= row.high:
            raise ConfigError(name, f"{ident}.value", "lies outside its range", value=[row.low, row.value, row.high])
        if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?", row.date):
            raise ConfigError(name, f"{ident}.date", "is no date", value=row.date, allowed="2026-11-25 or 2026-11")
        if not row.source.startswith(("https://", "choice: ")):
            raise ConfigError(name, f"{ident}.source", "is no source", value=row.source, allowed="https:// or choice:")
    return rows
