"""`summary.md`: the answer and its table, for a ticket or a pull request. Formats, never decides."""

from weighbridge.reports import words
from weighbridge.reports.html import facts_of, rows_of, together
from weighbridge.reports.model import CandidateReport, Report, RouteReport, SliceReport
from weighbridge.reports.moves import ramp_of, steps_of, tasks_of
from weighbridge.reports.page import FirstPage


def render(report: Report) -> str:
    lines = [f"# Weighbridge report, {words.day(report.created_ns)}", ""]
    if report.note:
        lines += [f"> {_text(report.note)}", ""]
    for route in report.routes:
        lines += _route(route)
    return "\n".join(lines).rstrip() + "\n"


def _route(route: RouteReport) -> list[str]:
    lines = [f"## {_text(route.route)}", "", f"**{_text(route.headline)}**", "", _text(facts_of(route)), ""]
    if route.note:
        lines += [f"> {_text(route.note)}", ""]
    if route.first is not None:
        lines += _first(route.first)
    if rows_of(route):
        lines += [
            "| slice | candidate | answer | verdict | difference (interval), points | pairs | cost of 1,000, "
            "now → then | licence | why |",
            "|---|---|---|---|---|---:|---:|---|---|",
        ]
        for candidate in route.candidates:
            lines += [_row(row, row.slice) for row in candidate.slices]
            if candidate.overall is not None and len(candidate.slices) > 1:
                lines.append(_row(candidate.overall, "the whole route"))
        lines.append("")
    if route.moved.slices:
        lines += [_text(together(route)), ""]
    for candidate in route.candidates:
        lines += _dossier(candidate)
        if candidate.gaps:
            lines += [f"Not tested with {_text(candidate.arm.arm)}:", ""]
            lines += [f"- {_text(gap.what)}: {_text(gap.fact)}" for gap in candidate.gaps]
            lines.append("")
    if route.tasks:
        lines += ["What became of tasks:", "", *(f"- {_text(line)}" for line in tasks_of(route)), ""]
    for ramp in route.ramps:
        lines += [f"How users were moved to {_text(ramp.candidate)}: {_text(ramp_of(ramp))}", ""]
        lines += [*(f"1. {_text(line)}" for line in steps_of(ramp)), ""]
    return lines


def _first(page: FirstPage) -> list[str]:
    covered = f"{words.percent(page.covered)} of requests have a verdict"
    lines = [
        f"Traffic {page.since or words.UNKNOWN} to {page.until or words.UNKNOWN}; {covered}; holds until "
        f"{page.expires or words.UNKNOWN}.",
        "",
    ]
    for one in page.exact:
        known = [one.region or words.UNKNOWN, one.precision or words.UNKNOWN, one.weights_hash or words.UNKNOWN]
        said = f"{one.model} at {one.host}; region {known[0]}, precision {known[1]}, weights hash {known[2]}"
        lines.append(f"- Exactly {_text(one.arm)}: {_text(f'{said}; prompt {one.prompt}')}")
    spent = page.spent
    lines += [
        "",
        _text(
            f"Known spend: {words.money(spent.move_nanousd)} move, {words.money(spent.stay_nanousd)} stay, "
            f"{words.money(spent.undecided_nanousd)} undecided. "
            f"What would flip it: {'; '.join(page.flips) or 'nothing'}."
        ),
        "",
        "| figure | | state | |",
        "|---|---|---|---|",
    ]
    for figure in page.figures:
        says = f"{figure.says} Next: {figure.next_step}." if figure.next_step else figure.says
        lines.append(f"| {_text(figure.title)} | {_text(figure.shown)} | {figure.state} | {_text(says)} |")
    lines += ["", "| way | arm | net of a year | |", "|---|---|---:|---|"]
    for way in page.alternatives:
        net = words.money(way.net_nanousd)
        lines.append(f"| {way.kind} | {_text(way.arm or '')} | {_text(net)} | {_text(way.says)} |")
    lines += ["", *(f"- {who}: I rely on {what}. ______________" for who, what in page.relies), ""]
    return lines


def _dossier(candidate: CandidateReport) -> list[str]:
    lines: list[str] = []
    for section in candidate.dossier:
        if section.lines:
            lines += [f"### {_text(candidate.arm.arm)}: {section.chapter}", ""]
            lines += ["| state | claim | evidence | date | next |", "|---|---|---|---|---|"]
        for line in section.lines:
            cells = (line.claim, line.evidence, line.on or words.UNKNOWN, line.next_step)
            lines.append(f"| {line.state} | {' | '.join(_text(cell) for cell in cells)} |")
        lines.append("")
    return lines


def _row(row: SliceReport, name: str) -> str:
    difference = words.UNKNOWN
    if row.difference is not None:
        difference = f"{words.signed(100 * row.difference)} ({words.interval(row.interval)})"
    cost = words.UNKNOWN
    if row.now_nanousd is not None or row.then_nanousd is not None:
        now, then = (words.money(None if one is None else 1000 * one) for one in (row.now_nanousd, row.then_nanousd))
        cost = f"{now} → {then}"
    why = row.recommendation.why
    if row.recommendation.answer != "move":
        why += f" What would change it: {'; '.join(row.recommendation.flips)}"
    verdict = words.verdict(row.verdict)
    cells = (name, row.candidate, row.recommendation.answer, verdict, difference, f"{row.n:,}", cost, row.license, why)
    return f"| {' | '.join(_text(cell) for cell in cells)} |"


_ESCAPES = str.maketrans({c: f"\\{c}" for c in "\\`*_{}[]<>#|~"} | {"\n": " ", "\r": " "})


def _text(text: str) -> str:
    """Text that Markdown shows as it is: names come from the configuration and from clients' tags."""
    return text.translate(_ESCAPES)
