"""What a provider bills for a call that it answered with an error status, as dated facts with a source."""

import tomllib
from functools import cache
from importlib.resources import files

import msgspec

from weighbridge.records.table import FailedCalls


class FailedBilling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    rule: FailedCalls
    source: str
    read: str
    """The day on which the source was read, ISO."""
    note: str = ""


@cache
def failed_billing() -> dict[str, FailedBilling]:
    """By the price book's provider id."""
    text = files("weighbridge.ledger").joinpath("failed.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, FailedBilling])


def failed_calls(provider: str | None) -> FailedCalls:
    """What holds where an endpoint does not say."""
    known = None if provider is None else failed_billing().get(provider)
    return "refusals_unbilled" if known is None else known.rule
