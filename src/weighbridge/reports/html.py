"""`index.html`: one file that needs nothing else, readable by finance, platform and counsel. Formats, never decides.

Autoescape is on and nothing is marked safe but our own style sheet; the page forbids scripts and every request.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import jinja2
import markupsafe

from weighbridge.reports import words
from weighbridge.reports.chart import chart
from weighbridge.reports.model import CandidateReport, Report, RouteReport, SliceReport
from weighbridge.reports.moves import ramp_of, steps_of, tasks_of

FOREST_WIDTH = 152.0
FOREST_MARGINS = 4.0
"""The small interval of a table row shows this many margins to each side; what lies beyond gets an arrow."""


def render(report: Report) -> str:
    """The whole page."""
    folder = resources.files("weighbridge.reports") / "templates"
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.DictLoader({}),
    )
    template = environment.from_string((folder / "report.html.j2").read_text("utf-8"))
    return template.render(
        report=report,
        w=words,
        # Our own file, which holds no data.
        css=markupsafe.Markup((folder / "report.css").read_text("utf-8")),  # noqa: S704
        chart=chart,
        glyph=glyph,
        rows_of=rows_of,
        scale_of=scale_of,
        facts_of=facts_of,
        pieces=pieces,
        together=together,
        looks_of=looks_of,
        left_out=left_out,
        mixed_tokens=mixed_tokens,
        tokens=tokens,
        per_thousand=lambda one: words.money(None if one is None else 1000 * one),
        sentence=sentence,
        tasks_of=tasks_of,
        ramp_of=ramp_of,
        steps_of=steps_of,
    )


@dataclass(frozen=True, slots=True)
class Glyph:
    """A row's interval on the scale that all rows of the table share."""

    width: float
    zero_x: float
    margin_x: float
    bar: bool
    low_x: float
    high_x: float
    mean_x: float | None
    low_cut: bool
    high_cut: bool
    label: str


def scale_of(rows: Sequence[SliceReport]) -> float:
    """Half the width of the shared scale, as a difference."""
    return min(1.0, FOREST_MARGINS * max((row.margin for row in rows), default=0.03))


def glyph(row: SliceReport, scale: float) -> Glyph:
    def x(value: float) -> float:
        return FOREST_WIDTH * (min(max(value, -scale), scale) + scale) / (2 * scale)

    low, high = row.interval or (-1.0, 1.0)
    mean = row.difference
    if row.interval is None or mean is None:
        label = "No interval: nothing was compared."
    else:
        label = (
            f"Difference {words.points(mean, sign=True)}, interval {words.interval(row.interval)}, "
            f"margin {words.signed(-100 * row.margin)}."
        )
    return Glyph(
        width=FOREST_WIDTH,
        zero_x=x(0.0),
        margin_x=x(-row.margin),
        bar=row.interval is not None and mean is not None,
        low_x=x(low),
        high_x=max(x(high), x(low) + 5.0),
        mean_x=x(mean) if mean is not None and -scale < mean < scale else None,
        low_cut=low < -scale,
        high_cut=high > scale,
        label=label,
    )


def rows_of(route: RouteReport) -> list[SliceReport]:
    return [row for candidate in route.candidates for row in candidate.slices]


def pieces(route: RouteReport) -> list[tuple[str, bool]]:
    """The headline in pieces; True marks a name of a slice or an arm, which should not be broken at its hyphens."""
    names = {name for row in rows_of(route) for name in (row.slice, row.candidate)} | {route.incumbent.arm}
    pattern = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    parts = re.split(f"({pattern})", route.headline)
    return [(part, number % 2 == 1) for number, part in enumerate(parts) if part]


def facts_of(route: RouteReport) -> str:
    """What stands behind the table, in one line."""
    traffic, rows = route.traffic, rows_of(route)
    parts: list[str] = []
    if traffic.requests:
        span = words.period(traffic.first_time_ns, traffic.last_time_ns)
        parts.append(f"{words.count(traffic.requests, 'request')} in the log, {span}")
        cost = traffic.cost_nanousd
        if cost is not None:
            parts.append(f"{words.money(cost)} spent on them")
        else:
            parts.append(f"Cost unknown for {words.count(traffic.cost_unknown, 'request')}")
    if rows:
        margins = sorted({row.margin for row in rows})
        alphas = sorted({row.alpha for row in rows})
        rule = f"margin {words.listed([words.points(m) for m in margins])}"
        rule += f", alpha {words.listed([words.percent(a) for a in alphas])}"
        parts.append(f"{words.count(sum(row.n for row in rows), 'pair')} compared at {rule}")
    return ". ".join(parts) + "." if parts else "The log holds no requests of this route yet."


def together(route: RouteReport) -> str:
    """What the rows that may move add up to, each slice with its cheapest candidate."""
    moved = route.moved
    what = "the row that may move" if len(moved.slices) == 1 else f"the {len(moved.slices)} rows that may move"
    share = f"{words.percent(moved.share)} of the route's requests" if moved.share is not None else "an unknown share"
    judged = words.listed(list(dict.fromkeys(words.verdict(one) for one in moved.verdicts)))
    text = (
        f"{what[0].upper()}{what[1:]}: {share}, at {words.percent(-(moved.change or 0.0))} less cost on those "
        f"requests, judged {judged}."
    )
    if moved.month is not None:
        month = moved.month
        text += (
            f" At the pace of the {words.days(month.span_days)} in the log that is {words.money(month.now_nanousd)} "
            f"now and {words.money(month.then_nanousd)} then for {words.count(month.requests, 'request')} in 30 days."
        )
    else:
        span = route.traffic.span_days
        text += f" No figure per month: that takes a week of log, and this one spans {words.days(span)}."
    return text


def looks_of(candidate: CandidateReport) -> list[str]:
    """Earlier looks at the same slices: said, because every look has its own chance of error."""
    lines: list[str] = []
    for row in candidate.slices:
        if row.looks < 2:
            continue
        before = words.listed(
            [f"{look.verdict.replace('_', '-')} ({words.count(look.n, 'pair')})" for look in row.earlier]
        )
        lines.append(
            f"{row.slice}: this is look {row.looks} on new requests; before it: {before}. Each look may err with "
            f"{words.percent(row.alpha)}, all together with at most {words.percent(min(1.0, row.looks * row.alpha))}."
        )
    return lines


def left_out(reasons: dict[str, int]) -> str:
    ranked = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return words.listed([f"{number:,} {reason}" for reason, number in ranked])


def mixed_tokens(candidate: CandidateReport) -> bool:
    """Whether the same prompts were counted differently by the two models."""
    for row in candidate.slices:
        if row.comparison is None:
            continue
        now, then = row.comparison.incumbent.input_tokens, row.comparison.candidate.input_tokens
        if now is not None and then is not None and abs(now - then) > 0.5:
            return True
    return False


def tokens(mean: float | None) -> str:
    if mean is None:
        return words.UNKNOWN
    return f"{mean:,.0f}" if mean >= 100 else f"{mean:.1f}"


def sentence(text: str) -> str:
    text = text.strip()
    return text[:1].upper() + text[1:].rstrip(".") + "."
