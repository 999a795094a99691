"""`weighbridge budget`: what was spent, by whom, beside the provider's own count."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from weighbridge.app import keeper_of
from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile, Json
from weighbridge.cli.outside import outside
from weighbridge.cli.savings_output import print_saved
from weighbridge.cli.share import share
from weighbridge.clock import SystemClock
from weighbridge.config import Loaded, load
from weighbridge.errors import ExitCode, UsageError
from weighbridge.records.usage import usd
from weighbridge.store.control import (
    LimitSet,
    ListLost,
    LostWorkers,
    SetLimit,
    ShowBudgets,
    Standings,
    WriteOffRows,
    WriteOffWorker,
)
from weighbridge.store.funds import Standing
from weighbridge.store.layout import Layout

if TYPE_CHECKING:
    from weighbridge.ledger.limits import LimitChange
    from weighbridge.ledger.outlook import Outlook, WhatIf

app = typer.Typer(add_completion=False, help="What was spent, by whom, and when the money ends.", no_args_is_help=True)

LINES_SHOWN = 40


@app.callback()
def budget() -> None:
    """What was spent, by whom, and when the money ends."""


def layout_of(loaded: Loaded) -> Layout:
    return Layout(loaded.store_path)


def changes_of(loaded: Loaded) -> "dict[str, LimitChange]":
    """Limits that somebody changed over the configuration's, those that count."""
    from weighbridge.exchanges.chain import Chain
    from weighbridge.ledger.limits import in_force, newest_changes

    layout = layout_of(loaded)
    return in_force(loaded.config, newest_changes(layout, Chain(layout).snapshot()))


def this_month() -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(SystemClock().wall_ns() / 1e9, UTC).strftime("%Y-%m")


def printed(record: msgspec.Struct, **more: object) -> None:
    """One JSON document, with what the record's own fields do not say."""
    sys.stdout.write(outside(json.dumps(msgspec.to_builtins(record) | more, indent=2), lines=True) + "\n")


@app.command()
def status(
    users: Annotated[bool, typer.Option("--users", help="Also every end user's own cap.")] = False,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: Json = False,
) -> None:
    """Show what is spent of each budget, what is left, and when it starts anew.

    Exit code 2 where a budget is used up.
    """
    loaded = load(config)
    with keeper_of(loaded) as keeper:
        said = keeper.call(ShowBudgets(users=users), Standings)
    if as_json:
        printed(said)
    else:
        changed = changes_of(loaded)
        for row in said.rows:
            print(outside(_standing(row)))
            change = None if row.subject else changed.get(row.budget)
            if change is not None:
                why = f": {change.why}" if change.why else ""
                print(outside(f"  its limit was changed by {change.by} {moment(change.time_ns)}{why}; the "
                              f"configuration says {usd(change.over_nanousd)}"))  # fmt: skip
        if not said.rows:
            print(outside(f"{loaded.file} has no [[budget]]"))
    if any(row.left_nanousd == 0 for row in said.rows):
        raise typer.Exit(ExitCode.UNDECIDED)


def _standing(row: Standing) -> str:
    from weighbridge.ledger.windows import shown

    name = f"{row.budget} / {row.subject}" if row.subject else row.budget
    text = (
        f"{name} ({'hard' if row.hard else 'soft'}, {row.span}): {usd(row.spent_nanousd)} of {usd(row.limit_nanousd)}"
    )
    over = row.spent_nanousd - (row.limit_nanousd or 0)
    if row.limit_nanousd is not None and over > 0:
        text += f", {usd(over)} over"
    elif row.left_nanousd is not None:
        text += f", {usd(row.left_nanousd)} left"
    if row.leased_nanousd:
        text += f", {usd(row.leased_nanousd)} held or leased to workers ({row.leases})"
    if row.bound_nanousd:
        text += f"; {usd(row.bound_nanousd)} of it booked at its upper bound ({row.orphans:,} orphans)"
    if row.excess_nanousd:
        text += f"; {usd(row.excess_nanousd)} above what was held"
    if row.end_ns is not None:
        text += f"; starts anew {shown(row.end_ns, row.span)}"
    return text if row.configured else f"{text}; not in the configuration"


def moment(at_ns: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_ns // 1_000_000_000, UTC).isoformat(timespec="seconds")


class LimitShown(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON shape of `budget limit --json`."""

    budget: str
    before_nanousd: int
    limit_nanousd: int
    by: str
    table: int | None
    """The route table that holds it; null while nothing serves: the next `serve` publishes it."""


@app.command(epilog="Example: `weighbridge budget limit support 80 --why 'end of the quarter'`")
def limit(
    name: Annotated[str, typer.Argument(metavar="BUDGET", help="A [[budget]] by name.")],
    usd_: Annotated[
        str | None, typer.Argument(metavar="USD", help="The new limit of its window; leave out with --as-configured.")
    ] = None,
    as_configured: Annotated[
        bool, typer.Option("--as-configured", help="Back to what the configuration file says.")
    ] = False,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="Recorded with it.")] = "",
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: Json = False,
) -> None:
    """Change a budget's limit while the gateway runs. It holds until the configuration file says another limit.

    The change is signed into the log with who made it and why. What is spent already stays spent.
    """
    from weighbridge.ledger.limits import limit_of

    if (usd_ is None) != as_configured:
        raise UsageError("write the new limit in US dollars, or --as-configured, and not both")
    loaded = load(config)
    asked = SetLimit(budget=name, limit_nanousd=None if usd_ is None else limit_of(usd_), why=why)
    with keeper_of(loaded) as keeper:
        done = keeper.call(asked, LimitSet)
    if as_json:
        printed(
            LimitShown(
                budget=name, before_nanousd=done.before_nanousd, limit_nanousd=done.after_nanousd, by=done.by,
                table=done.table,
            )
        )  # fmt: skip
        return
    where = f"route table {done.table} holds it" if done.table is not None else "the next `weighbridge serve` takes it"
    print(outside(f"{name}: {usd(done.before_nanousd)} before, {usd(done.after_nanousd)} now ({done.by}); {where}"))


@app.command("write-off")
def write_off(
    worker: Annotated[str, typer.Argument(help="The worker whose log is lost; without it, they are listed.")] = "",
    reason: Annotated[str, typer.Option(help="What happened; it goes into the signed log.")] = "",
    by: Annotated[str, typer.Option(help="Who says so.")] = "",
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: Json = False,
) -> None:
    """Book what a lost worker was leased as spent, when its log can never be read.

    A lease ends when its owner's log was read to its end. Where that log is gone or damaged nobody knows what was
    spent, and the lease stays out until a person writes it off: at its upper bound, with a reason, in the signed log.
    Without WORKER, those to be decided are listed, with exit code 2.
    """
    with keeper_of(load(config)) as keeper:
        if worker:
            done = keeper.call(WriteOffWorker(worker=worker, reason=reason, by=by), WriteOffRows)
        else:
            lost = keeper.call(ListLost(), LostWorkers)
    if worker:
        if as_json:
            printed(done)
        for row in () if as_json else done.rows:
            who = f"{row.budget} / {row.subject}" if row.subject else row.budget
            print(outside(f"{who} ({row.span}): {usd(row.nanousd)} booked as spent, at its upper bound"))
        return
    if as_json:
        printed(lost)
    for one in () if as_json else lost.rows:
        print(outside(f"{one.worker}: {usd(one.nanousd)} in {one.leases} leases; {one.why}"))
    if lost.rows:
        raise typer.Exit(ExitCode.UNDECIDED)
    if not as_json:
        print("the log of every worker with a lease can be read: there is nothing to write off")


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
        if said.unknown_failed:
            print(
                f"{said.unknown_failed:,} of them are calls that failed, and nobody says whether the provider bills "
                "them: state `failed_calls` for the endpoint"
            )
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


@app.command()
def forecast(
    budget: Annotated[str | None, typer.Argument(help="Only this budget.")] = None,
    what_if: Annotated[
        str | None, typer.Option(metavar="ARM", help="Instead: what the last four weeks would cost on this arm.")
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: Json = False,
) -> None:
    """Say on which day each budget is used up: P10, P50 and P90.

    Days are continued by weekday and growth; the band is how wrong the same method was on this spend before. With less
    than four weeks of history there is no forecast, and that is said. Exit code 2 where there is none.
    """
    from weighbridge.ledger.daily import daily
    from weighbridge.ledger.outlook import outlooks
    from weighbridge.ledger.outlook import what_if as on_another
    from weighbridge.ledger.postings import postings
    from weighbridge.ledger.stored import terms_of

    loaded = load(config)
    layout, now_ns = layout_of(loaded), SystemClock().wall_ns()
    if what_if is not None:
        with postings(layout) as sql:
            rows = on_another(sql, loaded, terms_of(loaded, layout), what_if, now_ns)
        if as_json:
            told(rows, "what_if")
        else:
            for row in rows:
                print(outside(_supposed(row)))
        if not rows or any(row.why_unknown for row in rows):
            raise typer.Exit(ExitCode.UNDECIDED)
        return
    with daily(layout) as days:
        found = outlooks(days, loaded, now_ns, budget)
    if as_json:
        told(found, "budgets")
    else:
        for one in found:
            print(outside(_ending(one)))
    if not found or any(one.ends is None for one in found):
        raise typer.Exit(ExitCode.UNDECIDED)


def told(rows: Sequence[msgspec.Struct], name: str) -> None:
    sys.stdout.write(outside(json.dumps({name: msgspec.to_builtins(rows)}, indent=2), lines=True) + "\n")


def _ending(one: "Outlook") -> str:
    left = f"{one.budget}: {usd(one.spent_nanousd)} of {usd(one.limit_nanousd)} spent"
    left += "" if one.resets is None else f", starts anew {one.resets_local}"
    left += f"; {one.unknown:,} attempts of unknown cost" if one.unknown else ""
    if one.ends is None:
        return f"{left}; no forecast: {one.why_none}"
    days = [f"P{share} {day or f'not by {one.ends.through}'}" for share, day in
            ((10, one.ends.p10), (50, one.ends.p50), (90, one.ends.p90))]  # fmt: skip
    return f"{left}; used up: {', '.join(days)}; {one.ends.reached:.0%} of the paths use it up by {one.ends.through}"


def _supposed(row: "WhatIf") -> str:
    said = f"{row.route} on {row.arm}: {row.requests:,} requests, {usd(row.paid_nanousd)} paid; on {row.instead}: "
    if row.would_cost is None:
        return f"{said}unknown: {row.why_unknown}"
    cost = row.would_cost
    return (
        f"{said}{usd(cost.nanousd)} ({usd(cost.low_nanousd)} to {usd(cost.high_nanousd)}); token ratios measured on "
        f"{row.ratios.input.pairs if row.ratios else 0:,} pairs, cache {row.cache}"
    )


@app.command()
def savings(
    since: Annotated[str | None, typer.Option(help="First day (UTC); without it, from the beginning.")] = None,
    until: Annotated[str | None, typer.Option(help="Day from which nothing counts; without it, until now.")] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: Json = False,
) -> None:
    """Say what was saved so far: a sum over every request that another arm than the incumbent served.

    What the incumbent would have cost, at its prices and at token counts that trials measured, minus what was paid,
    minus what trials, judges, shadows and drills cost. Also against each closed alternative. Each row is one slice on
    one arm with the verdict on it, and the sum is split by verdict. What no trial measured and judged is no saving.
    Exit code 2 where something could not be compared.
    """
    from datetime import UTC, datetime

    from weighbridge.config.moments import parse_moment
    from weighbridge.ledger.postings import postings
    from weighbridge.ledger.savings import savings as saved
    from weighbridge.ledger.stored import terms_of
    from weighbridge.trials.stored import standing_verdicts

    loaded = load(config)
    layout = layout_of(loaded)
    try:
        start = None if since is None else parse_moment(since)
        end = datetime.fromtimestamp(SystemClock().wall_ns() / 1e9, UTC) if until is None else parse_moment(until)
    except ValueError as error:
        raise UsageError(str(error)) from None
    with postings(layout) as sql:
        said = saved(sql, loaded, terms_of(loaded, layout), start, end, standing_verdicts(layout))
    if as_json:
        printed(said)
    else:
        for one in (said.incumbent, *said.alternatives):
            print_saved(one)
        for purpose, amount in said.other_purposes.items():
            print(f"  {purpose}: {usd(amount)}, taken off")
        if not said.alternatives:
            print('no closed alternative is configured: state its arm with weights = "closed" and try it')
    if said.incumbent.not_measured or said.other_unknown or any(one.not_measured for one in said.alternatives):
        raise typer.Exit(ExitCode.UNDECIDED)


app.command()(share)
