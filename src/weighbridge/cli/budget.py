"""`weighbridge budget`: what was spent, by whom, beside the provider's own count."""

import json
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile, Json
from weighbridge.cli.outside import outside
from weighbridge.clock import SystemClock
from weighbridge.config import Loaded, load
from weighbridge.errors import ExitCode, UsageError
from weighbridge.records.usage import usd
from weighbridge.store.layout import Layout

app = typer.Typer(help="What was spent, by whom, and when the money ends.", no_args_is_help=True)

LINES_SHOWN = 40


@app.callback()
def budget() -> None:
    """What was spent, by whom, and when the money ends."""


def layout_of(loaded: Loaded) -> Layout:
    return Layout(loaded.store_path)


def this_month() -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(SystemClock().wall_ns() / 1e9, UTC).strftime("%Y-%m")


def printed(record: msgspec.Struct, **more: object) -> None:
    """One JSON document, with what the record's own fields do not say."""
    sys.stdout.write(outside(json.dumps(msgspec.to_builtins(record) | more, indent=2), lines=True) + "\n")


@app.command()
def statement(
    month: Annotated[str, typer.Option(help="The month, e.g. 2026-11; without it the current one.")] = "",
    time_zone: Annotated[str, typer.Option(help="IANA name; where the month begins.")] = "UTC",
    focus: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write a FOCUS 1.3 export (CSV).", dir_okay=False)
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: Json = False,
) -> None:
    """Show what a month cost, allocated to team, key, user and route until all of the bill lands somewhere.

    Exit code 2 where attempts have an unknown cost: the bill is more than it says.
    """
    from weighbridge.ledger.focus import export
    from weighbridge.ledger.postings import postings
    from weighbridge.ledger.rates import put_rates
    from weighbridge.ledger.statement import Month
    from weighbridge.ledger.statement import statement as stated

    loaded = load(config)
    span = Month.parse(month or this_month(), time_zone)
    with postings(layout_of(loaded)) as sql:
        said = stated(sql, span, loaded.config.commitment)
        rows = None
        if focus is not None:
            put_rates(sql, layout_of(loaded))
            with focus.open("w", encoding="utf-8", newline="") as out:
                rows = export(sql, loaded, span, said, out).rows
    if as_json:
        printed(said, allocated_nanousd=said.allocated_nanousd)
    else:
        print(f"{said.month} ({said.time_zone}): {usd(said.total_nanousd)}")
        for line in said.lines[:LINES_SHOWN]:
            owner = {"team": line.team, "key": line.key, "user": line.user, "route": line.route}
            who = " ".join(f"{name} {value or 'unattributed'}" for name, value in owner.items())
            notes = [f"{line.requests:,} requests", f"{line.tokens:,} tokens"]
            notes += [f"{usd(line.estimated_nanousd)} an upper bound"] if line.estimated_nanousd else []
            notes += [f"{usd(line.adjusted_nanousd)} of it corrections"] if line.adjusted_nanousd else []
            notes += [f"{line.unknown:,} attempts of unknown cost"] if line.unknown else []
            print(outside(f"  {usd(line.booked_nanousd):>14}  {who}, {line.purpose}: {'; '.join(notes)}"))
        if len(said.lines) > LINES_SHOWN:
            rest = said.lines[LINES_SHOWN:]
            print(
                f"  {usd(sum(line.booked_nanousd for line in rest)):>14}  {len(rest):,} smaller lines; --json has all"
            )
        for one in said.commitments:
            print(outside(f"  {usd(one.unused_nanousd):>14}  unused of {one.name}: {usd(one.paid_nanousd)} paid, "
                          f"{usd(one.booked_nanousd)} used"))  # fmt: skip
            if one.excess_tokens:
                print(outside(f"  {one.excess_tokens:,} tokens past the plan {one.name}"))
        if said.unknown:
            print(f"{said.unknown:,} attempts have an unknown cost: the bill is more than this")
        if rows is not None:
            print(outside(f"{rows:,} FOCUS rows written to {focus}"))
    if said.unknown:
        raise typer.Exit(ExitCode.UNDECIDED)


@app.command()
def reconcile(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The provider's usage export: CSV or JSON lines.")],
    endpoint: Annotated[str, typer.Option(help="The [[endpoint]] that it is about.")],
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: Json = False,
) -> None:
    """Set the books beside the provider's own count, model by model and token class by token class.

    The file has the columns day and model, and any of requests, input, output, cache_read, cache_write, cache_write_1h,
    reasoning, audio_input, audio_output, image_input, image_output, web_searches, usd. Days are UTC days. Exit code 2
    where something differs by more than half a per cent.
    """
    from weighbridge.ledger.postings import postings
    from weighbridge.ledger.reconcile import read_export
    from weighbridge.ledger.reconcile import reconcile as compared

    loaded = load(config)
    known = [row.name for row in loaded.config.endpoint]
    if endpoint not in known:
        raise UsageError(f"{loaded.file} has no endpoint {endpoint!r}; it has: {', '.join(known) or 'none'}")
    export = read_export(file)
    with postings(layout_of(loaded)) as sql:
        said = compared(sql, endpoint, export)
    if as_json:
        printed(said, agrees=said.agrees)
    else:
        print(f"{said.since} to {said.until}: {'agrees' if said.agrees else 'differs'}")
        for model in said.models:
            print(outside(f"{model.model}: {model.estimated:,} estimated, {model.unknown:,} unknown attempts of ours"))
            for one in model.differences:
                share = one.share
                by = "we have none of it" if share is None else f"{share:+.3%}"
                mark = "ok" if one.within else "DIFFERS"
                print(f"  {one.what:<16} ours {one.ours:>18,}  theirs {one.theirs:>18,}  {by:>10}  {mark}")
        for name in said.only_ours:
            print(outside(f"{name}: booked by us, and not in the file"))
    if not said.agrees:
        raise typer.Exit(ExitCode.UNDECIDED)
