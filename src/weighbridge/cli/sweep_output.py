"""How `weighbridge trial sweep` prints: a row a candidate, its cost never without its verdict. Nothing is decided."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from weighbridge.cli.outside import outside
from weighbridge.records.evidence import VerdictWord
from weighbridge.records.usage import NANOUSD, usd
from weighbridge.trials.sweep.record import Sweep, SweepRow

WORDS: dict[VerdictWord, str] = {"non_inferior": "as good", "inferior": "worse", "undecided": "undecided"}
_COLOURS = {"non_inferior": "green", "inferior": "red", "undecided": "yellow"}


def print_sweep(sweep: Sweep) -> None:
    """The board, why each row is what it is, and what stopping early saved."""
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(
        outside(f"{sweep.route}: {len(sweep.rows)} candidates against {sweep.incumbent}")
        + f", margin {100 * sweep.margin:g} points, alpha {sweep.alpha:g} over {sweep.comparisons} comparisons",
        soft_wrap=True,
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("candidate", overflow="fold")
    table.add_column("the whole", no_wrap=True)
    for name in ("slices", "pairs", "points", "interval", "$/1000", "incumbent", "saving"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in sweep.rows:
        table.add_row(
            outside(row.candidate),
            Text(WORDS[row.overall], style=_COLOURS[row.overall]),
            _slices(row),
            f"{row.pairs:,}",
            "" if row.difference is None else f"{100 * row.difference:+.1f}",
            "" if row.interval is None else f"{100 * row.interval[0]:+.1f} to {100 * row.interval[1]:+.1f}",
            _cost(row.candidate_usd_per_1000),
            _cost(row.incumbent_usd_per_1000),
            "unknown" if row.saving is None else f"{row.saving:+.0%}",
            "frontier" if row.frontier else "",
        )
    console.print(table)
    for row in sweep.rows:
        for reason in row.reasons:
            console.print(outside(f"  {row.candidate}: {reason}"), soft_wrap=True)
    for refused in sweep.not_asked:
        console.print(outside(f"  {refused.candidate}: not asked: {refused.reason}"), soft_wrap=True)
    console.print(_saved(sweep), soft_wrap=True)
    console.print(
        "slices: as good / worse / undecided. Costs are of both arms on the same judged requests, weighted by traffic. "
        "Frontier: not proved worse, and nothing is both as cheap and, by its estimate, as good.",
        soft_wrap=True,
    )
    if sweep.note:
        console.print(sweep.note, soft_wrap=True)


def _slices(row: SweepRow) -> str:
    words = list(row.slices.values())
    return " / ".join(str(words.count(word)) for word in WORDS)


def _cost(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.3f}"


def _saved(sweep: Sweep) -> str:
    saved = sweep.saved
    money = "" if saved.spared_usd is None else f", about {usd(round(saved.spared_usd * NANOUSD))}"
    spent = usd(None if sweep.spent_usd is None else round(sweep.spent_usd * NANOUSD))
    return (
        f"{saved.replays:,} replays, {spent}. Halting losers early spared {saved.spared:,} more{money}; "
        f"certificates spared {saved.settled:,}, and {saved.unplanned:,} planned ones were needed by nobody"
    )
