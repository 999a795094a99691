"""Reads and checks the shipped terms. A bad file says: file, record, field, what stands there, what may stand there."""

import difflib
import re
import tomllib
from collections.abc import Iterator
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from weighbridge.config.shape import converted, refuse_unknown
from weighbridge.errors import ConfigError
from weighbridge.licenses.model import Confidence, Fact, Source, Terms

FOLDER = Path(__file__).parent / "terms"
_RESTRICTIVE = ("obligations", "permission", "permission_fee_expected", "fee", "prohibited", "unclear")
_S = TypeVar("_S", bound=msgspec.Struct)


def read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(path.name, "file", f"is not TOML: {error}") from None


def parse(file: str, tree: dict[str, Any], kind: type[_S]) -> _S:
    """`tree` as a `kind`; raises `ConfigError` that names file, record and field."""
    try:
        return msgspec.convert(tree, kind, strict=True)
    except msgspec.ValidationError as error:
        refuse_unknown(file, "", tree, kind)  # says an unknown field better than the conversion does
        raise converted(file, tree, error) from None


@cache
def sources(folder: Path = FOLDER) -> dict[str, Source]:
    file = folder / "_sources.toml"
    tree = read_toml(file)
    return {name: parse(f"{file.name}: {name}", row, Source) for name, row in tree.items()}


@cache
def ids(folder: Path = FOLDER) -> tuple[str, ...]:
    """The ids of all recorded terms, sorted. Reads no file."""
    return tuple(sorted(path.stem for path in folder.glob("*.toml") if not path.name.startswith("_")))


@cache
def terms(ident: str, folder: Path = FOLDER) -> Terms:
    """One record by id. Raises `KeyError` where there is none, `ConfigError` where it is not sound."""
    if ident not in ids(folder):
        raise KeyError(ident)
    path = folder / f"{ident}.toml"
    record = parse(path.name, read_toml(path), Terms)
    for problem in problems(record, folder):
        raise problem
    return record


def everything(folder: Path = FOLDER) -> tuple[Terms, ...]:
    return tuple(terms(ident, folder) for ident in ids(folder))


def confidence_of(source: str, stated: Confidence | None, folder: Path = FOLDER) -> Confidence:
    """What a fact may be relied on for: as stated with it, else as its source was seen."""
    return stated or sources(folder)[source].how


def problems(record: Terms, folder: Path = FOLDER) -> Iterator[ConfigError]:
    """Everything that is wrong with a well-formed record, as errors ready to raise."""
    file = f"{record.id}.toml"
    if record.id not in ids(folder):
        yield ConfigError(file, "id", "must be the name of the file", value=record.id)
    for key in ("first_day", "last_day"):
        day = getattr(record, key)
        if day is not None and not _is_day(day):
            yield ConfigError(file, key, "is not a day", value=day, allowed="YYYY-MM-DD")
    for digest in record.text_sha256:
        if not re.fullmatch("[0-9a-f]{64}", digest):
            yield ConfigError(file, "text_sha256", "is not a sha256", value=digest, allowed="64 hex digits, lower case")
    if record.supersedes is not None and record.supersedes not in ids(folder):
        yield unknown_name(file, "supersedes", record.supersedes, ids(folder))
    yield from _sourced(record, file, folder)
    yield from _references(record, file)
    for exemption in record.exemption:
        if confidence_of(exemption.source, exemption.confidence, folder) != "read":
            yield ConfigError(
                file,
                f"exemption[{exemption.id}].source",
                "is not a text that was read: a reported fact may restrict, never permit",
                value=exemption.source,
                allowed="a source with how = 'read'",
            )
    if record.territory is not None:
        for code in record.territory.excluded:
            if not re.fullmatch("[A-Z]{2}", code):
                yield ConfigError(file, "territory.excluded", "is not a place", value=code, allowed="ISO codes and EU")
    verdicts = [(row.id, row.verdict) for row in record.threshold] + [(row.id, row.verdict) for row in record.rule]
    for name, verdict in verdicts:
        if verdict == "allowed":
            yield ConfigError(
                file,
                f"[{name}].verdict",
                "permits, but thresholds and rules restrict",
                value=verdict,
                allowed=", ".join(_RESTRICTIVE),
            )


def _sourced(record: Terms, file: str, folder: Path) -> Iterator[ConfigError]:
    known = sources(folder)
    for where, source in sources_of(record):
        if source not in known:
            yield unknown_name(file, f"{where}.source", source, known)


def sources_of(record: Terms) -> Iterator[tuple[str, str]]:
    for name in record.facts.__struct_fields__:
        fact = getattr(record.facts, name)
        if isinstance(fact, Fact):
            yield f"facts.{name}", fact.source
    for kind in ("threshold", "rule", "exemption", "duty"):
        for row in getattr(record, kind):
            yield f"{kind}[{row.id}]", row.source
    for index, conflict in enumerate(record.conflict):
        yield f"conflict[{index}]", conflict.source
    yield "training", record.training.source
    if record.territory is not None:
        yield "territory", record.territory.source


def _references(record: Terms, file: str) -> Iterator[ConfigError]:
    lines = [row.id for row in record.threshold]
    liftable = [*lines, *(row.id for row in record.rule), "territory"]
    for kind, names in (
        ("threshold", lines),
        ("rule", [r.id for r in record.rule]),
        ("duty", [d.id for d in record.duty]),
    ):
        for name in names:
            if names.count(name) > 1:
                yield ConfigError(file, f"{kind}[{name}]", "is there twice; ids must be different")
    for exemption in record.exemption:
        for name in exemption.lifts:
            if name not in liftable:
                yield unknown_name(file, f"exemption[{exemption.id}].lifts", name, liftable)
    conditions = [(row.id, row.when) for row in record.rule] + [(row.id, row.when) for row in record.duty]
    for ident, when in conditions:
        for name in (*when.above, *when.not_above):
            if name not in lines:
                yield unknown_name(file, f"[{ident}].when.above", name, lines)
    for line in record.threshold:
        if line.when.above or line.when.not_above:
            yield ConfigError(file, f"threshold[{line.id}].when", "names thresholds; a gate must not depend on one")


def unknown_name(file: str, key: str, name: str, known: Any) -> ConfigError:
    near = difflib.get_close_matches(name, list(known), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ConfigError(
        file, key, f"names something unknown{hint}", value=name, allowed=", ".join(sorted(known)) or "(none)"
    )


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
