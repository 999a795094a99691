"""`weighbridge outcomes`."""

import sys
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from weighbridge.app import keeper_of
from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile, Json
from weighbridge.cli.outside import outside
from weighbridge.config import load
from weighbridge.errors import ExitCode, UsageError
from weighbridge.exchanges.reader import read
from weighbridge.exchanges.telling import Matcher, read_rows, see_all, tell
from weighbridge.grading.outcomes import BAR, TaskBook, TaskFigures
from weighbridge.store.control import FindExchanges, FoundExchanges, FoundRow
from weighbridge.store.layout import Layout

app = typer.Typer(add_completion=False, help="What became of tasks.", no_args_is_help=True, rich_markup_mode="rich")

IDS_AT_ONCE = 1000
LINES_SHOWN_MAX = 10


@app.callback()
def outcomes() -> None:
    """What became of tasks."""


class OutcomesImported(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON shape of `outcomes import --json`."""

    file: str
    lines: int
    told: int
    """Conversations that an outcome was recorded for; a line with tags may fit several."""
    unmatched: tuple[int, ...]
    """Lines that no exchange of the log fits."""


class OutcomesShown(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON shape of `outcomes show --json`."""

    bar: float
    tasks: tuple[TaskFigures, ...]


@app.command(
    "import",
    epilog='A line is `{"id": "<x-weighbridge-id>", "name": "resolved", "score": 1}`; `"conversation"` (the header '
    '`x-conversation-id`) with `"key"`, or `"tags"`, may stand in for id, and `"time"` may say when.',
)
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON lines, one outcome each; - is standard input.")],
    json: Json = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Import outcomes that came late: tickets resolved, tests passed, changes merged. The latest of each name holds.

    A file with a bad line is refused whole. Exit code 2: lines fitted no exchange of the log, and were left out.
    """
    loaded = load(config)
    layout = Layout(loaded.store_path)
    name = "standard input" if str(file) == "-" else str(file)
    try:
        stored = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise UsageError(f"{name}: cannot be read: {error.strerror}") from None
    rows = read_rows(name, stored.split(b"\n"), time.time_ns())
    ids = sorted({row.id for row in rows if row.id is not None})
    found: dict[str, FoundRow] = {}
    with keeper_of(loaded) as control:
        for start in range(0, len(ids), IDS_AT_ONCE):
            asked = FindExchanges(ids=tuple(ids[start : start + IDS_AT_ONCE]))
            found |= {row.id: row for row in control.call(asked, FoundExchanges).rows}
    matcher = Matcher(rows, found)
    if matcher.needs_log:
        see_all(layout, matcher)
    matched = matcher.matched()
    tell(layout, matched.frames, loaded.config.store.durability)
    done = OutcomesImported(
        file=name, lines=len(rows), told=len(matched.frames), unmatched=tuple(matched.unmatched)
    )  # fmt: skip
    if json:
        sys.stdout.write(outside(msgspec.json.encode(done).decode()) + "\n")
    else:
        print(f"{done.told:,} outcomes recorded from {done.lines:,} lines of {outside(name)}")
        if done.unmatched:
            shown = ", ".join(map(str, done.unmatched[:LINES_SHOWN_MAX]))
            more = (
                "" if len(done.unmatched) <= LINES_SHOWN_MAX else f" and {len(done.unmatched) - LINES_SHOWN_MAX:,} more"
            )
            print(f"{len(done.unmatched):,} lines fit no exchange of the log and were left out: {shown}{more}")
    if done.unmatched:
        raise typer.Exit(ExitCode.UNDECIDED)


@app.command()
def show(
    route: Annotated[str | None, typer.Option("--route", metavar="ROUTE", help="Only this route.")] = None,
    bar: Annotated[float, typer.Option("--bar", help="The lowest score that accepts a task, 0 to 1.")] = BAR,
    json: Json = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Show what a task costs and how many succeed, by route and arm: cost per task, success rate, cost per success."""
    if not 0.0 < bar <= 1.0:
        raise UsageError(f"--bar {bar:g}: allowed is a number above 0, at most 1")
    loaded = load(config)
    with keeper_of(loaded):
        pass
    book = TaskBook()
    for exchange in read(Layout(loaded.store_path), purpose="user", told=book.tell):
        book.add(exchange)
    shown = OutcomesShown(bar=bar, tasks=book.figures(bar, route))
    if json:
        sys.stdout.write(outside(msgspec.json.encode(shown).decode()) + "\n")
        return
    if not shown.tasks:
        print("no conversation of a user is in the log")
    for row in shown.tasks:
        print(outside(_line(row)))


def _line(row: TaskFigures) -> str:
    who = f"on {row.arm}" if row.arm is not None else "that several arms had a part in"
    said = f"{row.route}: {row.tasks:,} tasks {who}, {_money(row.cost_per_task_nanousd)} each"
    if row.success_rate is None or row.success_interval is None:
        return f"{said}; no outcome was told"
    low, high = row.success_interval
    return (
        f"{said}; {row.accepted:,} of {row.told:,} with an outcome accepted ({row.success_rate:.1%}, {low:.1%} to "
        f"{high:.1%}), {_money(row.cost_per_accepted_nanousd)} per accepted task"
    )


def _money(nanousd: float | None) -> str:
    return "cost unknown" if nanousd is None else f"${nanousd / 1e9:.6f}"
