"""What others published about the open share of the world's traffic, as dated facts with a source."""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Literal

import msgspec


class MarketFigure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A share of one, from `low` to `high`, of another population by another measure than one's own."""

    of: str
    measure: Literal["requests", "tokens", "dollars"]
    """The measure of one's own that it is closest to."""
    low: float
    high: float
    when: str
    source: str
    read: str
    """The day on which the source was read, ISO."""
    note: str
    """What keeps it from being like one's own."""


@cache
def market() -> tuple[MarketFigure, ...]:
    text = files("weighbridge.ledger").joinpath("market.toml").read_text(encoding="utf-8")
    return tuple(msgspec.convert(tomllib.loads(text), dict[str, MarketFigure]).values())
