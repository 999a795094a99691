"""`weighbridge price`."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

import msgspec
import typer

from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile, Json
from weighbridge.cli.outside import outside
from weighbridge.config import Loaded, load
from weighbridge.errors import ExitCode, UsageError
from weighbridge.ledger.prices import PriceAnswer, PriceFound, compile_price
from weighbridge.records.usage import NANOUSD

app = typer.Typer(help="What endpoints charge, as the gateway counts it.", no_args_is_help=True)


@app.callback()
def price() -> None:
    """What endpoints charge, as the gateway counts it."""


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """USD per million tokens, as exact decimals; `null` is unknown, never 0."""

    input: str
    output: str
    cache_read: str | None
    cache_write: str | None
    cache_write_1h: str | None
    reasoning: str | None


class PriceRow(msgspec.Struct, frozen=True, kw_only=True):
    """One arm in `price show --json`."""

    arm: str
    endpoint: str
    model: str
    why_unknown: str | None
    """`null` where the price is known."""
    usd_per_million_tokens: Rates | None
    usd_per_request: str | None
    input_tokens_max: int | None
    """Past this many input tokens another price holds, and the cost is unknown."""
    price_version: str | None
    source: str | None
    since: str | None
    until: str | None
    """When another price may hold (a dated change, or a time of day), ISO 8601 UTC."""


class Prices(msgspec.Struct, frozen=True, kw_only=True):
    at: str
    prices: tuple[PriceRow, ...]


def price_rows(loaded: Loaded, at: datetime, only: str | None = None) -> Prices:
    """The prices of the configured arms at a moment. Raises `UsageError` for an arm that is not there."""
    config = loaded.config
    arms = [arm for arm in config.arm if only in (None, arm.name)]
    if only is not None and not arms:
        known = ", ".join(arm.name for arm in config.arm) or "none"
        raise UsageError(f"{loaded.file} has no arm {only!r}; it has: {known}")
    endpoints = {row.name: row for row in config.endpoint}
    rows = (_row(arm.name, arm.endpoint, arm.model, compile_price(arm, endpoints[arm.endpoint], at)) for arm in arms)
    return Prices(at=at.isoformat(), prices=tuple(rows))


def _row(arm: str, endpoint: str, model: str, answer: PriceAnswer) -> PriceRow:
    if not isinstance(answer, PriceFound):
        return PriceRow(
            arm=arm, endpoint=endpoint, model=model, why_unknown=answer.why, usd_per_million_tokens=None,
            usd_per_request=None, input_tokens_max=None, price_version=None, source=None, since=None, until=None,
        )  # fmt: skip
    price, until_ns = answer.price, answer.until_ns
    return PriceRow(
        arm=arm,
        endpoint=endpoint,
        model=model,
        why_unknown=None,
        usd_per_million_tokens=Rates(
            input=_exact(price.input),
            output=_exact(price.output),
            cache_read=_exact_or_none(price.cache_read),
            cache_write=_exact_or_none(price.cache_write),
            cache_write_1h=_exact_or_none(price.cache_write_1h),
            reasoning=_exact_or_none(price.reasoning),
        ),
        usd_per_request=_exact(price.per_request_nanousd),
        input_tokens_max=price.input_tokens_max,
        price_version=answer.version,
        source=answer.source,
        since=answer.date,
        until=None if until_ns is None else datetime.fromtimestamp(until_ns / NANOUSD, UTC).isoformat(),
    )


def _exact(nanousd: int) -> str:
    return format((Decimal(nanousd) / NANOUSD).normalize(), "f")


def _exact_or_none(nanousd: int | None) -> str | None:
    return None if nanousd is None else _exact(nanousd)


@app.command()
def show(
    arm: Annotated[str | None, typer.Argument(help="Only this arm.")] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: Json = False,
) -> None:
    """Show the price of each arm, where it comes from, and what is unknown.

    Amounts are US dollars per million tokens. The price in the configuration wins over the price book. Exit code 2 if a
    price is unknown.
    """
    prices = price_rows(load(config), datetime.now(UTC), arm)
    if as_json:
        print(json.dumps(msgspec.to_builtins(prices), indent=2))
    else:
        _print(prices)
    if any(row.why_unknown for row in prices.prices):
        raise typer.Exit(ExitCode.UNDECIDED)


def _print(prices: Prices) -> None:
    for row in prices.prices:
        print(outside(f"{row.arm}: {row.model} at {row.endpoint}"))
        rates = row.usd_per_million_tokens
        if rates is None:
            print(outside(f"  unknown: {row.why_unknown}"))
            continue
        shown = [
            f"{name.replace('_', ' ')} {'unknown' if amount is None else '$' + amount}"
            for name, amount in msgspec.structs.asdict(rates).items()
        ]
        print(f"  per million tokens: {', '.join(shown)}")
        if row.usd_per_request != "0":
            print(f"  per request: ${row.usd_per_request}")
        if row.input_tokens_max is not None:
            print(f"  past {row.input_tokens_max:,} input tokens another price holds: the cost is unknown there")
        if row.until is not None:
            print(f"  may change at {row.until}")
        print(outside(f"  {row.price_version}, from {row.source}"))
