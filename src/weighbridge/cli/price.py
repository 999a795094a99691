"""`weighbridge price`."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from weighbridge.app import keeper_of
from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile, Json
from weighbridge.cli.outside import outside
from weighbridge.clock import SystemClock
from weighbridge.config import Loaded, load
from weighbridge.config.moments import parse_moment
from weighbridge.config.price_checks import price_problem
from weighbridge.config.tree import PriceRowSection
from weighbridge.errors import ExitCode, UsageError
from weighbridge.ledger.compare import compared
from weighbridge.ledger.prices import PriceAnswer, PriceFound, compile_schedule
from weighbridge.ledger.stored import state_price, stated_prices, terms_of
from weighbridge.records.canonical import canonical
from weighbridge.records.usage import NANOUSD, Price, usd
from weighbridge.store.control import ObjectRow, Ping, Pong, PutObject, Reload, TableNumber
from weighbridge.store.layout import Layout

USUAL = ("input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning")
CHANGES_SHOWN = 4

app = typer.Typer(add_completion=False, help="What endpoints charge, as the gateway counts it.", no_args_is_help=True)


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
    audio_input: str | None
    audio_output: str | None
    image_input: str | None
    image_output: str | None


class Elsewhere(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for some calls: in a service tier, past a context length, or both."""

    service_tier: str | None
    above_input_tokens: int | None
    usd_per_million_tokens: Rates


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A known change of the next days: a date, or an hour of the day."""

    at: str
    price_version: str | None
    usd_per_million_tokens: Rates | None


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
    """Past this many input tokens another price holds: the one in `elsewhere`, else an unknown one."""
    usd_per_web_search: str | None
    elsewhere: tuple[Elsewhere, ...]
    changes: tuple[Change, ...]
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
    terms = terms_of(loaded, Layout(loaded.store_path))
    rows = (
        _row(arm.name, arm.endpoint, arm.model, compile_schedule(arm, endpoints[arm.endpoint], at, terms))
        for arm in arms
    )
    return Prices(at=at.isoformat(), prices=tuple(rows))


def _row(arm: str, endpoint: str, model: str, answer: PriceAnswer) -> PriceRow:
    if not isinstance(answer, PriceFound):
        return PriceRow(
            arm=arm, endpoint=endpoint, model=model, why_unknown=answer.why, usd_per_million_tokens=None,
            usd_per_request=None, input_tokens_max=None, usd_per_web_search=None, elsewhere=(), changes=(),
            price_version=None, source=None, since=None, until=None,
        )  # fmt: skip
    price = answer.price
    until_ns = answer.later[0].from_ns if answer.later else None
    return PriceRow(
        arm=arm,
        endpoint=endpoint,
        model=model,
        why_unknown=None,
        usd_per_million_tokens=rates_of(price),
        usd_per_request=_exact(price.per_request_nanousd),
        input_tokens_max=price.input_tokens_max,
        usd_per_web_search=_exact_or_none(price.web_search_nanousd),
        elsewhere=tuple(_elsewhere(price)),
        changes=tuple(
            Change(
                at=_iso(change.from_ns),
                price_version=change.version,
                usd_per_million_tokens=None if change.price is None else rates_of(change.price),
            )
            for change in answer.later
        ),
        price_version=answer.version,
        source=answer.source,
        since=answer.date,
        until=None if until_ns is None else _iso(until_ns),
    )


def rates_of(price: Price) -> Rates:
    amounts = {name: getattr(price, name) for name in Rates.__struct_fields__}
    return msgspec.convert({name: _exact_or_none(amount) for name, amount in amounts.items()}, Rates)


def _elsewhere(price: Price) -> Iterator[Elsewhere]:
    for tier, own in [(None, price), *((one.name, one.price) for one in price.services)]:
        if tier is not None:
            yield Elsewhere(service_tier=tier, above_input_tokens=None, usd_per_million_tokens=rates_of(own))
        for past in own.tiers:
            yield Elsewhere(
                service_tier=tier, above_input_tokens=past.above, usd_per_million_tokens=rates_of(past.price)
            )


def _iso(ns: int) -> str:
    return datetime.fromtimestamp(ns / NANOUSD, UTC).isoformat()


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
        print(f"  per million tokens: {in_words(rates)}")
        if row.usd_per_request != "0":
            print(f"  per request: ${row.usd_per_request}")
        if row.usd_per_web_search is not None:
            print(f"  per web search: ${row.usd_per_web_search}")
        for one in row.elsewhere:
            tier = f"in tier {one.service_tier}" if one.service_tier else ""
            past = f"past {one.above_input_tokens:,} input tokens" if one.above_input_tokens else ""
            print(outside(f"  {' '.join(filter(None, (tier, past)))}: {in_words(one.usd_per_million_tokens)}"))
        if row.input_tokens_max is not None and not any(one.above_input_tokens for one in row.elsewhere):
            print(f"  past {row.input_tokens_max:,} input tokens another price holds: the cost is unknown there")
        for change in row.changes[:CHANGES_SHOWN]:
            then = change.usd_per_million_tokens
            print(f"  from {change.at}: {'unknown' if then is None else in_words(then)}")
        print(outside(f"  {row.price_version}, from {row.source}"))


def in_words(rates: Rates) -> str:
    """The classes that have a price, and those among the usual ones that have none."""
    amounts = msgspec.structs.asdict(rates)
    return ", ".join(
        f"{name.replace('_', ' ')} {'unknown' if amount is None else '$' + amount}"
        for name, amount in amounts.items()
        if amount is not None or name in USUAL
    )


@app.command()
def compare(
    model: Annotated[str, typer.Argument(help="A model, as providers write it.")],
    provider: Annotated[str, typer.Option(help="The provider's id in the price book.")],
    beside: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Another table: LiteLLM's model prices, or OpenRouter's list of models (JSON)."
        ),
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: Json = False,
) -> None:
    """Show what each source says of a model's price, and where they disagree. Nothing is averaged.

    The sources are your own dated rows, the price book, and the tables that you name with --beside. The first that
    knows is the one that costs are computed with. Exit code 2 where they disagree.
    """
    loaded = load(config)
    terms = terms_of(loaded, Layout(loaded.store_path))
    said = compared(provider, model, datetime.now(UTC), terms, tuple(beside or ()))
    if as_json:
        print(outside(json.dumps(msgspec.to_builtins(said), indent=2), lines=True))
    else:
        for source in said.sources:
            print(outside(f"{source.name}: " + ("; ".join(f"{name.replace('_', ' ')} ${amount}" for name, amount in
                          source.usd.items()) or f"unknown: {source.why}")))  # fmt: skip
        for name, amounts in said.disagree.items():
            print(
                outside(
                    f"differs: {name.replace('_', ' ')}: {', '.join(f'{who} ${usd}' for who, usd in amounts.items())}"
                )
            )
    if said.disagree:
        raise typer.Exit(ExitCode.UNDECIDED)


@app.command("set")
def set_(
    model: Annotated[str, typer.Argument(help="The model id, as arms write it.")],
    input_: Annotated[str, typer.Option("--input", help="USD per million input tokens.")],
    output: Annotated[str, typer.Option(help="USD per million output tokens.")],
    source: Annotated[str, typer.Option(help="Where the price is from: a contract and its date, or an address.")],
    provider: Annotated[
        str | None, typer.Option(help="The provider's id in the price book; this or --endpoint.")
    ] = None,
    endpoint: Annotated[str | None, typer.Option(help="An [[endpoint]]; this or --provider.")] = None,
    cache_read: Annotated[str | None, typer.Option(help="USD per million tokens read from the cache.")] = None,
    cache_write: Annotated[str | None, typer.Option(help="USD per million tokens written to the cache.")] = None,
    cache_write_1h: Annotated[str | None, typer.Option(help="The same for an hour.")] = None,
    reasoning: Annotated[str | None, typer.Option(help="USD per million reasoning tokens.")] = None,
    per_request: Annotated[str | None, typer.Option(help="USD per request.")] = None,
    web_search: Annotated[str | None, typer.Option(help="USD per web search.")] = None,
    since: Annotated[str | None, typer.Option(help="First day or moment; without it, ever.")] = None,
    until: Annotated[str | None, typer.Option(help="Day or moment from which it holds no more.")] = None,
    hours: Annotated[str | None, typer.Option(help="HH:MM-HH:MM on clocks of --time-zone.")] = None,
    time_zone: Annotated[str, typer.Option(help="IANA name, for days and hours.")] = "UTC",
    service_tier: Annotated[str | None, typer.Option(help="Holds where the response reports this tier.")] = None,
    above_input_tokens: Annotated[int | None, typer.Option(help="Holds past this many input tokens.")] = None,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """State a dated price: signed into the log, it holds from its day and replaces nothing (`price history` has all).

    Requests that were booked before keep their cost; `price adjust` adds what a correction makes of them.
    """
    loaded = load(config)
    row = PriceRowSection(
        model=model, provider=provider, endpoint=endpoint, input=input_, output=output, cache_read=cache_read,
        cache_write=cache_write, cache_write_1h=cache_write_1h, reasoning=reasoning, per_request=per_request,
        web_search=web_search, since=since, until=until, hours=hours, time_zone=time_zone, service_tier=service_tier,
        above_input_tokens=above_input_tokens, source=source,
    )  # fmt: skip
    problem = price_problem(row, [one.name for one in loaded.config.endpoint])
    if problem is not None:
        raise UsageError(f"--{problem[0].replace('_', '-')}: {problem[1]}")
    with keeper_of(loaded) as control:
        stored = state_price(control, row, SystemClock().wall_ns())
        if control.call(Ping(), Pong).listen is not None:
            control.call(Reload(), TableNumber)
    print(outside(f"{provider or endpoint}/{model} stated, from {since or 'ever'}: {stored.digest[:12]}"))


@app.command()
def history(
    model: Annotated[str | None, typer.Argument(help="Only this model.")] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: Json = False,
) -> None:
    """Show every price that was ever stated, and every correction of what was booked, oldest first."""
    from weighbridge.ledger.postings import adjustments

    loaded = load(config)
    layout = Layout(loaded.store_path)
    stated = [one for one in stated_prices(layout) if model in (None, one.row.model)]
    corrections = [] if model is not None else list(adjustments(layout))
    if as_json:
        told = [
            {"made": _iso(one.made_ns), "reason": one.reason, "rows": len(one.rows),
             "added_nanousd": sum(row.nanousd for row in one.rows)}
            for one in corrections
        ]  # fmt: skip
        rows = [{"stated": _iso(one.stated_ns), "digest": one.digest} | msgspec.to_builtins(one.row) for one in stated]
        print(outside(json.dumps({"prices": rows, "corrections": told}, indent=2), lines=True))
        return
    for one in stated:
        row = one.row
        when = f"{row.since or 'ever'} to {row.until or 'further notice'}" + (
            f", {row.hours} {row.time_zone}" if row.hours else ""
        )
        print(outside(f"{_iso(one.stated_ns)}  {row.provider or row.endpoint}/{row.model}  {when}: input ${row.input}, "
                      f"output ${row.output} ({row.source})"))  # fmt: skip
    for correction in corrections:
        added = sum(row.nanousd for row in correction.rows)
        print(outside(f"{_iso(correction.made_ns)}  correction of {len(correction.rows):,} postings by {usd(added)}: "
                      f"{correction.reason}"))  # fmt: skip


@app.command()
def adjust(
    since: Annotated[str, typer.Option(help="First day (UTC) of what is rated again.")],
    reason: Annotated[str, typer.Option(help="Why: it stands beside the rows that are added.")],
    until: Annotated[
        str | None, typer.Option(help="Day from which nothing is rated again; without it, all to now.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be added.")] = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Rate what was booked again, at the prices that are known now for the moment of each request.

    The differences are signed into the log as rows that are added; what was booked stays. A second time adds nothing.
    """
    from weighbridge.ledger.adjust import rerate
    from weighbridge.ledger.postings import postings

    loaded = load(config)
    layout, now_ns = Layout(loaded.store_path), SystemClock().wall_ns()
    try:
        start = parse_moment(since)
        end = datetime.fromtimestamp(now_ns / NANOUSD, UTC) if until is None else parse_moment(until)
    except ValueError as error:
        raise UsageError(str(error)) from None
    with postings(layout) as sql:
        done = rerate(sql, loaded, terms_of(loaded, layout), start, end, reason=reason, now_ns=now_ns)
    rows = done.adjustment.rows
    if rows and not dry_run:
        with keeper_of(loaded) as control:
            body = canonical(done.adjustment)
            control.call(PutObject(kind="adjustment", label=f"since {since}", body=body), ObjectRow)
    verb = "would be added" if dry_run else "added"
    print(f"{done.postings:,} postings rated again; {len(rows):,} rows {verb}, {usd(done.added_nanousd)} together")
    for why, count in sorted(done.left_alone.items()):
        print(f"  {count:,} left as they are: {why}")
