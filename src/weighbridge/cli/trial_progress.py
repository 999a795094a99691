"""A running trial on standard error: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from weighbridge.cli.outside import outside
from weighbridge.errors import UsageError
from weighbridge.trials.replay import Progress
from weighbridge.trials.run import spent_line

LINE_EVERY_S = 5.0
Show = Callable[[Progress], None]
Say = Callable[[str], None]


@contextmanager
def shown_progress() -> Iterator[tuple[Show, Say]]:
    """(show, say): what to call with each state of the trial, and with sentences for people."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _lines(), lambda text: print(outside(text), file=sys.stderr, flush=True)
        return
    bar = Bar(
        TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn(),
        console=console, transient=True,
    )  # fmt: skip
    with bar:
        task = bar.add_task("replaying", total=None)

        def show(state: Progress) -> None:
            bar.update(task, total=state.items, completed=state.pairs, description=_words(state))

        yield show, lambda text: bar.console.print(outside(text), soft_wrap=True, markup=False)


def _lines() -> Show:
    last = time.monotonic()

    def show(state: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_EVERY_S:
            last = time.monotonic()
            print(f"{state.pairs:,} of at most {state.items:,} pairs, {_words(state)}", file=sys.stderr, flush=True)

    return show


def _words(state: Progress) -> str:
    words = f"{state.decided} of {state.slices} slices decided, {spent_line(state)}"
    return f"{words}, {state.failed} could not be judged" if state.failed else words


def usd_of(text: str | None) -> Decimal | None:
    """The amount of `--max-usd`. Raises `UsageError`."""
    try:
        return None if text is None else Decimal(text.removeprefix("$"))
    except InvalidOperation:
        raise UsageError(f"--max-usd {text!r}: allowed is an amount in US dollars, e.g. 2.50") from None
