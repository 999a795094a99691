"""How findings look on a terminal."""

import sys
import textwrap

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from weighbridge.cli.outside import outside
from weighbridge.licenses.answer import Answer
from weighbridge.licenses.ask import Open
from weighbridge.licenses.changes import Told
from weighbridge.licenses.diff import Compared
from weighbridge.licenses.matrix import Cell, Matrix
from weighbridge.licenses.rules import Reason
from weighbridge.licenses.shown import Shown
from weighbridge.licenses.supplier import Supplier
from weighbridge.licenses.watch import Watched
from weighbridge.records.evidence import Finding

_COLOUR = {"allowed": "green", "obligations": "green", "unclear": "yellow", "prohibited": "red"}
_SHORT = {"permission_fee_expected": "permission+fee", "obligations": "obligations"}
_NOT_RECORDED = "Indemnity and named support: unknown, the records hold neither; ask maker and host in writing."
_NOT_ADVICE = "A reading of recorded facts, not legal advice. `allowed` means: no restriction found; counsel confirms."


def _console() -> Console:
    return Console(highlight=False, emoji=False, soft_wrap=not sys.stdout.isatty())


def _bold(name: str) -> str:
    return f"[bold]{escape(outside(name))}[/bold]"


def _word(word: str) -> str:
    return f"[{_COLOUR.get(word, 'magenta')}]{word.replace('_', ' ')}[/]"


def _item(console: Console, text: str, lead: str = "  - ") -> None:
    """One item; on a terminal its lines after the first are indented, elsewhere it stays one line."""
    text = outside(text)  # model cards and licence files are others' texts
    if sys.stdout.isatty():
        text = textwrap.fill(text, console.width - len(lead), break_long_words=False, break_on_hyphens=False).replace(
            "\n", "\n" + " " * len(lead)
        )
    console.print(f"{lead}{text}", markup=False)


class _Sources:
    """Sources by number, in the order in which they are cited."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def cite(self, reason: Reason) -> str:
        number = self.numbers.setdefault(reason.source, len(self.numbers) + 1)
        clause = "" if reason.clause == "not recorded" else f"clause {reason.clause}; "
        mark = "" if reason.confidence == "read" else f", {reason.confidence}"
        return f"{reason.text} [{clause}source {number}{mark}]"


def answer(
    query: str, made: Answer, by_role: dict[str, str], who: Supplier | None, ahead: list[str], escrow: str | None
) -> None:
    console, sources = _console(), _Sources()
    console.print(f"{_bold(query)} on {made.on}: {_word(made.verdict)}")
    if made.if_confirmed is not None:
        console.print(f"Once the reported facts are confirmed: {_word(made.if_confirmed)}")
    if made.terms and made.terms != (query,):
        console.print(outside(f"Terms: {' + '.join(made.terms)}"), markup=False)
    for heading, lines in (
        ("Why", [sources.cite(reason) for reason in made.reasons]),
        ("To do", [f"{one.text} [clause {one.clause}]" for one in made.obligations]),
        ("Questions that would decide it", list(made.questions)),
        ("Lines ahead", ahead),
    ):
        if lines:
            console.print(f"\n[bold]{heading}[/bold]")
            for line in lines:
                _item(console, line)
    if by_role:
        console.print("\n[bold]By role[/bold] (organization.roles is not given)")
        console.print("  " + ", ".join(f"{role}: {_word(word)}" for role, word in by_role.items()))
    if who is not None:
        console.print("\n[bold]Supplier[/bold]")
        for reason in who.facts:
            _item(console, sources.cite(reason))
        _item(console, f"Hosts in the installed price book: {', '.join(who.hosts) or 'none'}")
        _item(console, _NOT_RECORDED)
        if escrow is not None:
            _item(console, escrow)
    console.print("\n[bold]Sources[/bold]")
    for source, number in sources.numbers.items():
        _item(console, source, lead=f"  {number}. ")
    console.print(f"\n{_NOT_ADVICE}")


def findings(found: tuple[Finding, ...]) -> None:
    console = _console()
    for row in found:
        console.print(f"{_bold(row.arm)}: {_word(row.verdict)} ({escape(outside(row.terms or 'no terms configured'))})")
        for line in (*row.reasons, *row.obligations):
            _item(console, line)
    console.print(_NOT_ADVICE)


def _cell(cell: Cell) -> str:
    word = _SHORT.get(cell.verdict, cell.verdict)
    colour = _COLOUR.get(cell.verdict, "magenta")
    return f"[{colour}]{word}[/]" + (f" ({cell.if_confirmed})" if cell.if_confirmed is not None else "")


def matrix(made: Matrix) -> None:
    console = _console()
    if not sys.stdout.isatty():
        # One row of tab-separated words for each model: nothing wraps, and cut, sort and spreadsheets read it.
        sys.stdout.write("\t".join(("model", "terms", *made.roles)) + "\n")
        for row in made.rows:
            words = [row.roles[role].verdict for role in made.roles]
            sys.stdout.write("\t".join((row.name, " + ".join(row.terms), *words)) + "\n")
        return
    table = Table(title=f"On {made.on}; in brackets: once reported facts are confirmed")
    for name in ("model", *made.roles):
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in made.rows:
        table.add_row(row.name, *(_cell(row.roles[role]) for role in made.roles))
    console.print(table)
    console.print(_NOT_ADVICE)


def compared(made: Compared, dated: list[Told]) -> None:
    console = _console()
    console.print(f"{_bold(made.before)} -> {_bold(made.after)}")
    for row in dated:
        console.print(outside(row.sentence), markup=False)
    for direction in ("tightened", "loosened", "changed"):
        texts = [one.text for one in made.differences if one.direction == direction]
        if texts:
            console.print(f"\n[bold]{direction.capitalize()}[/bold]")
            for text in texts:
                _item(console, text)
    if made.roles:
        console.print("\n[bold]By role[/bold]")
        for change in made.roles:
            _item(console, f"{change.role}, {change.size}: {change.before} -> {change.after}")
    if not made.differences:
        console.print("No recorded difference.")


def told(rows: tuple[Told, ...]) -> None:
    console = _console()
    for row in rows:
        mark = "" if row.confidence == "read" else f", {row.confidence}"
        console.print(outside(f"{row.sentence} [{row.source}{mark}]"), markup=False)


def open_questions(made: Open) -> None:
    console = _console()
    for name, word in made.verdicts.items():
        console.print(f"{_bold(name)}: {_word(word)}")
    if not made.questions:
        console.print("No answer of yours would change a verdict.")
    for one in made.questions:
        _item(console, f"{one.field}: {one.text} (decides {', '.join(one.decides)})")


def shown(made: Shown) -> None:
    console = _console()
    if not made.texts:
        console.print("No text has to be shown for this profile.")
    for place in made.texts:
        texts = " or ".join(f'"{text}"' for text in place.required.texts)
        found = "NOT FOUND" if place.found_in is None else f"found in {place.found_in}"
        _item(console, f"{texts} ({place.required.terms}, clause {place.required.clause}): {found}")
    console.print(f"Looked in {made.looked_in}: {made.files} file(s) read as text.", markup=False)


def watched(made: Watched, file: str, accepted: bool) -> None:
    console = _console()
    for name in made.unchanged:
        console.print(f"{name}: {'accepted' if accepted else 'as accepted'}", markup=False)
    for news in made.news:
        console.print(f"{_bold(news.name)}: [yellow]{news.kind}[/]")
        _item(console, news.sentence)
        for one in news.differences:
            _item(console, f"{one.direction}: {one.text}")
        for line in news.lines:
            console.print(outside(f"    {line}"), markup=False)
    console.print(f"Lock: {file}", markup=False)


def written(files: tuple[str, ...]) -> None:
    for name in files:
        sys.stdout.write(f"{name}\n")
