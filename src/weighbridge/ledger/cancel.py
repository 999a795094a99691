"""What happens to the bill of a stream that is cancelled, per provider, as dated facts with a source."""

import tomllib
from functools import cache
from importlib.resources import files

import msgspec


class Cancelling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    stops_billing: bool
    source: str
    read: str
    """The day on which the source was read, ISO."""
    note: str = ""


@cache
def cancelling() -> dict[str, Cancelling]:
    """By the price book's provider id."""
    text = files("weighbridge.ledger").joinpath("cancel.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, Cancelling])


def cancel_stops_billing(provider: str | None) -> bool | None:
    """`None`: nobody says."""
    known = None if provider is None else cancelling().get(provider)
    return None if known is None else known.stops_billing
