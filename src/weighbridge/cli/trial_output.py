"""What `weighbridge trial` prints for people: a verdict, a quote, slices."""

import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from weighbridge.cli.outside import outside
from weighbridge.records.evidence import CacheReads, SliceVerdict, Verdict
from weighbridge.records.usage import NANOUSD, usd
from weighbridge.trials.discover import Slices
from weighbridge.trials.quote import Quote


def print_slices(found: Slices, unreadable: int) -> None:
    console = Console(highlight=False, markup=False, emoji=False)
    table = Table(box=None, pad_edge=False)
    table.add_column("id", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    table.add_column("prompts", justify="right", no_wrap=True)
    table.add_column("chars", justify="right", no_wrap=True)
    table.add_column("slice", overflow="fold")
    for row in found.slices:
        table.add_row(row.id, f"{row.share:.1%}", f"{row.prompts:,}", f"{row.chars:,}", outside(row.name))
    console.print(table)
    if unreadable:
        console.print(
            f"{unreadable:,} answered requests have no body with messages and are in no slice", soft_wrap=True
        )


_WORDS = {"non_inferior": "as good", "inferior": "worse", "undecided": "undecided"}
_COLOURS = {"non_inferior": "green", "inferior": "red", "undecided": "yellow"}


def print_verdict(verdict: Verdict, stored: bytes, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(outside(stored.decode()) + "\n")
        return
    console = Console(highlight=False, markup=False, emoji=False)
    margin, alpha = f"{100 * verdict.margin:g} points", f"{verdict.alpha:g}"
    arms = outside(f"{verdict.route}: {verdict.candidate} against {verdict.incumbent}")
    console.print(f"{arms}, margin {margin}, alpha {alpha}")
    table = Table(box=None, pad_edge=False)
    table.add_column("slice", overflow="fold")
    table.add_column("verdict", no_wrap=True)
    for name in ("pairs", "difference", "interval"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("labels", "licence"):
        table.add_column(name, overflow="fold")
    for row in (*verdict.verdicts, verdict.overall):
        name = "(the whole)" if row is verdict.overall else outside(row.slice)
        table.add_row(
            name,
            Text(_WORDS[row.verdict], style=_COLOURS[row.verdict]),
            f"{row.n:,}",
            _points(row.difference),
            "" if row.interval is None else f"{_points(row.interval[0])} to {_points(row.interval[1])}",
            row.label_source,
            outside(row.license),
        )
    console.print(table)
    for row in (*verdict.verdicts, verdict.overall):
        _print_reasons(console, "the whole" if row is verdict.overall else row.slice, row)
    cost = None if verdict.cost_usd is None else round(verdict.cost_usd * NANOUSD)
    console.print(f"trial {verdict.trial}, cost {usd(cost)}; {_cache_line(verdict.cache)}", soft_wrap=True)
    if verdict.note:
        console.print(outside(verdict.note), soft_wrap=True)
    for warning in verdict.moved:
        console.print(outside(f"warning: {warning}"), soft_wrap=True)


def _cache_line(cache: CacheReads | None) -> str:
    """Whether the cost is that of the traffic's own cache hits."""
    if cache is None or cache.share is None:
        return "cache reads assumed: replays did not come as the traffic did (--keep-order measures them)"
    return (
        f"measured cache reads: {cache.share:.1%} of {cache.input_tokens:,} input tokens, {cache.replays:,} replays as "
        f"the traffic came, gaps up to {cache.gap_max_s:g} s"
    )


def _print_reasons(console: Console, name: str, row: SliceVerdict) -> None:
    for reason in row.reasons:
        console.print(outside(f"  {name}: {reason}"), soft_wrap=True)


def _points(value: float | None) -> str:
    return "" if value is None else f"{100 * value:+.1f}"


def print_quote(made: Quote) -> None:
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(
        outside(f"{made.route}: {made.candidate} against {made.incumbent}") + f", margin {100 * made.margin:g} points, "
        f"alpha {made.alpha:g}"
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("slice", overflow="fold")
    for name in ("traffic", "spend", "usable", "pairs 50%", "80%", "replays", "cost", "minutes"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in made.slices:
        table.add_row(
            outside(row.slice),
            f"{row.traffic_share:.0%}",
            "unknown" if row.spend_share is None else f"{row.spend_share:.0%}",
            f"{row.usable:,}",
            "-" if row.pairs_50 is None else f"{row.pairs_50:,}",
            "-" if row.pairs_80 is None else f"{row.pairs_80:,}",
            f"{row.replays:,}",
            _dollars(row.usd),
            f"{row.minutes:.1f}",
        )
    console.print(table)
    for row in made.slices:
        for reason in row.reasons:
            console.print(outside(f"  {row.slice}: {reason}"), soft_wrap=True)
    decided = "unknown" if made.spend_decided is None else f"{made.spend_decided:.0%}"
    console.print(
        f"at most {made.replays:,} replays, {_dollars(made.usd)}, {made.minutes:.1f} minutes; "
        f"would decide {decided} of the spend, if {made.assumptions[0]}",
        soft_wrap=True,
    )
    for line in made.assumptions[1:]:
        console.print(f"assumed: {line}", soft_wrap=True)
    if made.note:
        console.print(outside(made.note), soft_wrap=True)


def _dollars(value: float | None) -> str:
    return usd(None if value is None else round(value * NANOUSD))
