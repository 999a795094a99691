"""A scan on a terminal: the bill, the waste, the alternatives, the quote, and what was not read."""

from rich import box
from rich.console import Console
from rich.table import Table

from weighbridge.scan import words
from weighbridge.scan.scan import Application, Scan
from weighbridge.scan.waste import RULES

_LINES_MAX = 8
_APPLICATIONS_MAX = 5


def show(found: Scan) -> None:
    console = Console(highlight=False, markup=False)
    bill = found.bill
    days = "" if bill.days is None else f", {bill.first_day} to {bill.last_day}"
    console.print(f"{words.money(bill.total.cost_nanousd)} for {words.amount(bill.total)}{days}")
    if bill.total.unknown_tokens:
        console.print(
            f"Cost unknown for {words.unknown_part(bill.total)} ({words.tokens(bill.total.unknown_tokens)} tokens):"
        )
        for one in bill.unknown[:_LINES_MAX]:
            console.print(f"  {one.model}: {words.tokens(one.tokens)} tokens: {one.why}")
    if bill.checked.tokens:
        stated, book = words.money(bill.checked.stated_nanousd), words.money(bill.checked.book_nanousd)
        console.print(
            f"The files state {stated} for {words.tokens(bill.checked.tokens)} tokens; list prices give {book}."
        )
    _spend(console, found)
    _waste(console, found)
    for application in found.applications[:_APPLICATIONS_MAX]:
        _alternatives(console, application)
    more = len(found.applications) - _APPLICATIONS_MAX
    if more > 0:
        console.print(f"\n{more} more applications with alternatives: --html or --json.")
    _flags(console, found)
    _quote(console, found)
    _files(console, found)


def _table(title: str, *columns: tuple[str, bool]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, title_style="bold")
    for name, right in columns:
        table.add_column(name, justify="right" if right else "left", overflow="fold", no_wrap=right)
    return table


def _spend(console: Console, found: Scan) -> None:
    for dimension in ("application", "team", "model", "user"):
        lines = found.bill.by[dimension]
        if len(lines) == 1 and lines[0].name is None:
            continue
        table = _table(
            f"By {dimension}", (dimension, False), ("cost", True), ("requests", True), ("in", True), ("out", True)
        )
        for line in lines[:_LINES_MAX]:
            one = line.sum
            cost = words.UNKNOWN if one.nothing_known else words.money(one.cost_nanousd)
            table.add_row(
                words.name(line.name),
                cost,
                words.count(one.requests),
                words.tokens(one.input_tokens),
                words.tokens(one.output_tokens),
            )
        console.print()
        console.print(table)
        if len(lines) > _LINES_MAX:
            console.print(f"and {len(lines) - _LINES_MAX} more")


def _waste(console: Console, found: Scan) -> None:
    if not found.waste:
        return
    table = _table("Wasted now (lines overlap)", ("what", False), ("application", False), ("could be saved", True))
    for one in found.waste[:_LINES_MAX]:
        table.add_row(RULES[one.rule], words.name(one.application), words.span(one.saving_nanousd))
    console.print()
    console.print(table)


def _alternatives(console: Console, application: Application) -> None:
    title = f"{words.name(application.name)}: {words.money(application.cost_nanousd)} now"
    table = _table(title, ("alternative", False), ("cost", True), ("now", True))
    for one in application.alternatives:
        if one.kind == "own_gpus" and (one.load is None or one.load.value is None or one.load.value < 0.01):
            continue
        table.add_row(
            one.title, words.span(one.cost_nanousd), words.against(one.cost_nanousd, application.cost_nanousd)
        )
    console.print()
    console.print(table)
    console.print(application.reading)


def _flags(console: Console, found: Scan) -> None:
    red = [(one.model, flag) for one in found.candidates for flag in one.flags if flag.colour == "red"]
    amber = sum(flag.colour == "amber" for one in found.candidates for flag in one.flags)
    console.print(f"\nRed flags of the candidates: {len(red)}; to check: {amber} (--html has them all)")
    for model, flag in red:
        console.print(f"  {model}: {flag.text}")


def _quote(console: Console, found: Scan) -> None:
    table = _table(
        "What it would cost to decide",
        ("application", False),
        ("candidate", False),
        ("pairs", True),
        ("cost", True),
        ("hours", True),
        ("decided", True),
    )
    for number, one in enumerate(found.quote.trials[:_LINES_MAX]):
        if one.why is not None:
            table.add_row(words.name(one.application), one.model, "", "", "", "no")
            continue
        hours = words.UNKNOWN if one.reviewer_hours is None else f"{one.reviewer_hours:.1f}"
        share = words.percent(found.quote.steps[number].share)
        table.add_row(words.name(one.application), one.model, f"{one.pairs:,}", f"${one.usd or 0.0:.2f}", hours, share)
    console.print()
    console.print(table)
    for one in found.quote.trials[:_LINES_MAX]:
        if one.why is not None:
            console.print(f"{words.name(one.application)}: {one.why}")
    if found.quote.steps:
        last = found.quote.steps[-1]
        console.print(
            f"US${last.usd:.2f} and {words.minutes(last.minutes)} would decide {words.percent(last.share)} of the "
            f"spend; {last.reviewer_hours:.0f} reviewer-hours where a program cannot check the answers."
        )


def _files(console: Console, found: Scan) -> None:
    console.print()
    for file in found.files:
        console.print(f"{file.file}: {file.rows_read:,} rows read as {file.title or 'nothing known'}")
        if file.problem:
            console.print(f"  {file.problem}")
        for one in file.passed_over:
            console.print(f"  {one.rows:,} rows passed over: {one.reason}")
        for one in file.skipped:
            lines = f" (line {', '.join(map(str, one.lines))})" if one.lines else ""
            console.print(f"  {one.rows:,} rows left out: {one.reason}{lines}")
