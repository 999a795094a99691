"""What both demonstrations print at their end: each verdict with why, and where the report lies."""

import textwrap
from pathlib import Path

from weighbridge.cli.outside import outside
from weighbridge.reports import words
from weighbridge.reports.model import Report, SliceReport

WIDTH = 78


def print_verdicts(report: Report) -> None:
    """One paragraph a row: plain text, 80 columns, nothing that needs a terminal."""
    for route in report.routes:
        for candidate in route.candidates:
            rows = [*candidate.slices, *([candidate.overall] if candidate.overall is not None else [])]
            for row in rows:
                print(outside("\n".join(_lines(row, whole=row is candidate.overall)), lines=True))
        print(f"\n{textwrap.fill(f'In one sentence: {route.headline}', WIDTH)}")


def print_place(html: Path) -> None:
    print(f"\nThe report, one page for a browser:\n\n    {html.resolve()}\n")


def _lines(row: SliceReport, *, whole: bool) -> list[str]:
    name = "the whole route" if whole else row.slice
    if row.difference is None:
        measured = "nothing compared"
    else:
        measured = f"{words.signed(100 * row.difference)} points, {words.interval(row.interval)}"
    decided = f"decided at pair {row.decided_at:,}" if row.decided_at is not None else f"{row.n:,} pairs, not decided"
    head = f"{name:<18} {row.verdict.replace('_', '-'):<13} {measured}"
    why = f"{decided}: {'; '.join(row.reasons) or row.recommendation.why}"
    return [head, textwrap.fill(why, WIDTH, initial_indent=" " * 19, subsequent_indent=" " * 19)]
