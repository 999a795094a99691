"""How `weighbridge verdict` prints: a table by slice and why, for people or for a pull request. Nothing is decided."""

import textwrap
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from weighbridge.cli.outside import outside
from weighbridge.records.evidence import SliceVerdict, Verdict
from weighbridge.trials.pairs.conclude import Conclusion
from weighbridge.trials.pairs.rerun import Rerun

_COLOURS = {"non_inferior": "green", "inferior": "red", "undecided": "yellow"}
_GATE = {"inferior": "closed (exit code 3)", "undecided": "closed (exit code 2)", "non_inferior": "open"}
_WHYS_MAX = 20
COULD_SHOW = (
    "Could show: the smallest margin at which an equal candidate passes in four of five cases, with as many units."
)


def print_text(name: str, conclusion: Conclusion, *, gate: bool) -> None:
    """80 columns, no colours away from a terminal."""
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=False)
    verdict = conclusion.verdict
    console.print(_paragraph(f"{outside(name)}: {_size(conclusion)}. {_rule(verdict)}. {_order(conclusion)}"))
    console.print()
    console.print(_table(conclusion))
    console.print()
    console.print(_paragraph(headline(verdict)))
    for row, reasons in _whys(verdict):
        console.print(_paragraph(outside(f"{row}: {reasons}"), indent="  "))
    if gate:
        console.print(_paragraph(f"Gate: {_GATE[_worst(verdict)]}."))
    console.print()
    for note in (COULD_SHOW, *conclusion.notes[1:]):
        console.print(_paragraph(note, indent="  "))


def print_markdown(name: str, conclusion: Conclusion, *, gate: bool) -> None:
    """For a pull-request comment."""
    verdict = conclusion.verdict
    lines = [f"### Weighbridge verdict: {_title(verdict)}", "", _escaped(headline(verdict)), ""]
    heads = ("slice", "verdict", "difference", _interval_head(verdict), "pairs", "decided at", "could show")
    lines += [f"| {' | '.join(heads)} |", "|---|---|---:|---|---:|---:|---:|"]
    for row, resolution in _rows(conclusion):
        cells = [_escaped(cell) for cell in _cells(row, resolution)]
        if row is verdict.overall:
            cells = [f"**{cell}**" for cell in cells]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", _escaped(_shown_sentence(conclusion)), ""]
    lines += [f"- {_escaped(row)}: {_escaped(reasons)}" for row, reasons in _whys(verdict)]
    if gate:
        lines += ["", f"Gate: {_GATE[_worst(verdict)]}."]
    facts = (f"{name}: {_size(conclusion)}. {_rule(verdict)}. {_order(conclusion)}", COULD_SHOW, *conclusion.notes)
    lines += ["", "<details><summary>How to read this</summary>", ""]
    lines += [f"- {_escaped(fact)}" for fact in facts]
    lines += ["", "</details>"]
    print("\n".join(lines))


def print_rerun(name: str, found: Rerun) -> None:
    """The A/A check: noise, what it means for the number of pairs, and whether one side is favoured."""
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=False)
    console.print(
        _paragraph(f"{outside(name)}: the incumbent against its own second run, margin {_margin(found.margin)}.")
    )
    console.print()
    table = Table(box=None, pad_edge=False)
    table.add_column("slice", overflow="fold", min_width=5)
    for head in ("units", "points", "interval", "differ", "variance", "pairs 50%", "80%", "could show"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in found.slices:
        table.add_row(
            outside(row.slice),
            f"{row.units:,}",
            _points(row.difference),
            f"{_points(row.interval[0])} to {_points(row.interval[1])}",
            f"{row.discordance:.0%}",
            f"{row.variance:.3f}",
            "-" if row.pairs_50 is None else f"{row.pairs_50:,}",
            "-" if row.pairs_80 is None else f"{row.pairs_80:,}",
            "-" if row.smallest_margin is None else f"{100 * row.smallest_margin:.1f}",
        )
    console.print(table)
    console.print()
    favoured = [outside(row.slice) for row in found.slices if not row.even_handed]
    if favoured:
        said = (
            f"One run is favoured in {_listed(favoured)}: the difference of an arm to itself is not 0. Find out why "
            "(the place of an answer, a cache, a change between the runs) before any verdict of this grader is "
            "believed."
        )
    else:
        said = "Neither run is favoured, as far as these units can tell."
    console.print(_paragraph(said))
    told = (
        "Pairs: what a verdict on an equal candidate takes at this noise, in half and in four of five cases. Could "
        "show: the smallest margin that an equal candidate passes in half of all cases with as many units."
    )
    console.print(_paragraph(told, indent="  "))


def headline(verdict: Verdict) -> str:
    """One sentence: what holds, and for which slices it does not."""
    word = _title(verdict)
    named = {
        outcome: [outside(row.slice) for row in verdict.verdicts if row.verdict == outcome]
        for outcome in ("inferior", "undecided", "non_inferior")
    }
    if len(verdict.verdicts) == 1:
        return f"The candidate is {word}." if _worst(verdict) != "undecided" else f"It is {word}."
    parts = []
    for outcome, said in (("inferior", "inferior"), ("undecided", "undecided")):
        if named[outcome]:
            verb = "is" if len(named[outcome]) == 1 else "are"
            parts.append(f"{_listed(named[outcome])} {verb} {said}")
    if not parts:
        parts.append(f"every one of {len(verdict.verdicts)} slices is non-inferior")
    elif named["non_inferior"]:
        good = len(named["non_inferior"])
        parts.append(f"{good} of {len(verdict.verdicts)} slices {'is' if good == 1 else 'are'} non-inferior")
    whole = verdict.overall.verdict.replace("_", "-")
    return f"{word[0].upper()}{word[1:]}: {'; '.join(parts)}; the traffic-weighted whole is {whole}."


def _title(verdict: Verdict) -> str:
    return f"{_worst(verdict).replace('_', '-')} at a margin of {_margin(verdict.margin)}"


def _worst(verdict: Verdict) -> str:
    """What decides the gate: anything inferior, else anything undecided."""
    found = {row.verdict for row in (*verdict.verdicts, verdict.overall)}
    return next(word for word in ("inferior", "undecided", "non_inferior") if word in found)


def _margin(margin: float) -> str:
    return f"{100 * margin:g} {'point' if margin == 0.01 else 'points'}"


def _size(conclusion: Conclusion) -> str:
    parts = [f"{conclusion.pairs:,} pairs"]
    if conclusion.clusters is not None:
        parts.append(f"{conclusion.clusters:,} clusters")
    count = len(conclusion.verdict.verdicts)
    parts.append(f"{count} {'slice' if count == 1 else 'slices'}")
    return ", ".join(parts)


def _rule(verdict: Verdict) -> str:
    return f"Margin {_margin(verdict.margin)}, alpha {100 * verdict.alpha:g}%"


def _order(conclusion: Conclusion) -> str:
    return f"Order: {conclusion.order}."


def _interval_head(verdict: Verdict) -> str:
    return f"{100 * (1 - 2 * verdict.alpha):g}% interval"


def _rows(conclusion: Conclusion) -> list[tuple[SliceVerdict, float | None]]:
    """The whole last; where there is one slice, it is the whole."""
    rows = [*conclusion.verdict.verdicts, conclusion.verdict.overall]
    found = list(zip(rows, conclusion.resolutions, strict=True))
    return found[:1] if len(rows) == 2 else found


def _cells(row: SliceVerdict, resolution: float | None) -> tuple[str, ...]:
    return (
        outside(row.slice),
        row.verdict.replace("_", "-"),
        "-" if row.difference is None else _points(row.difference),
        "-" if row.interval is None else f"{_points(row.interval[0])} to {_points(row.interval[1])}",
        f"{row.n:,}",
        "-" if row.decided_at is None else f"{row.decided_at:,}",
        "-" if resolution is None else f"{100 * resolution:.1f}",
    )


def _points(value: float) -> str:
    text = f"{100 * value:+.1f}"
    return text if text.strip("+-0.") else "0.0"


def _table(conclusion: Conclusion) -> Table:
    table = Table(box=None, pad_edge=False, show_footer=False)
    table.add_column("slice", overflow="fold", min_width=5)
    table.add_column("verdict", no_wrap=True)
    table.add_column("points", justify="right", no_wrap=True)
    table.add_column(_interval_head(conclusion.verdict), no_wrap=True)
    for name in ("pairs", "decided at", "could show"):
        table.add_column(name, justify="right", no_wrap=True)
    for row, resolution in _rows(conclusion):
        cells = [Text(cell) for cell in _cells(row, resolution)]
        cells[1].stylize(_COLOURS[row.verdict])
        table.add_row(*cells, style="bold" if row is conclusion.verdict.overall else None)
    return table


def _whys(verdict: Verdict) -> list[tuple[str, str]]:
    """Why each row is what it is; where there are many slices, those that are not certified."""
    rows: Sequence[SliceVerdict] = (
        verdict.verdicts if len(verdict.verdicts) == 1 else (*verdict.verdicts, verdict.overall)
    )
    open_rows = [row for row in rows if row.verdict != "non_inferior"]
    shown = rows if len(rows) <= _WHYS_MAX else open_rows[:_WHYS_MAX]
    whys = [(row.slice, f"{'; '.join(row.reasons)}.") for row in shown]
    if len(rows) > _WHYS_MAX and len(open_rows) > _WHYS_MAX:
        whys.append(
            ("and more", f"{len(open_rows) - _WHYS_MAX} further slices are not certified; --json has all reasons.")
        )
    return whys


def _shown_sentence(conclusion: Conclusion) -> str:
    resolution = conclusion.resolutions[-1]
    if resolution is None:
        return "On the whole, these pairs could have shown no difference at all."
    return f"The smallest difference that these pairs could have shown on the whole is {100 * resolution:.1f} points."


def _listed(names: list[str]) -> str:
    shown = names[:5] + ([f"{len(names) - 5} more"] if len(names) > 5 else [])
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _paragraph(text: str, indent: str = "") -> Text:
    after = indent + "  " * bool(indent)
    return Text(textwrap.fill(text, 78, initial_indent=indent, subsequent_indent=after, break_on_hyphens=False))


_ESCAPES = str.maketrans({char: f"\\{char}" for char in "\\`*_{}[]<>#|~@"} | {"\n": " ", "\r": " "})


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is; an @ in a slice's name calls nobody."""
    return outside(text).translate(_ESCAPES)
