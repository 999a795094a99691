"""Providers that are known by name: address, price book id and data terms, as dated facts with a source."""

import tomllib
from functools import cache
from importlib.resources import files

import msgspec

from weighbridge.records.table import Weights


class KnownProvider(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    title: str
    base_url: str
    key_variable: str
    """The environment variable that people usually keep the key in."""
    price_book: str
    example: str
    """A model of this provider that the price book knows."""
    weights: Weights | None = None
    region: str | None = None
    retention_days: int | None = None
    trains_on_data: bool | None = None
    source: str
    read: str
    """The day on which the source was read, ISO."""
    note: str = ""


@cache
def known_providers() -> dict[str, KnownProvider]:
    """By name, in the order of the file."""
    text = files("weighbridge.ledger").joinpath("providers.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, KnownProvider])
