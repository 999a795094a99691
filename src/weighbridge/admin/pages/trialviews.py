"""Trials: which there are, where a running one stands, and what one that has ended says, with why."""

import msgspec

from weighbridge.admin.pages.charts import Chart, Series
from weighbridge.admin.pages.sources import Sources
from weighbridge.errors import WeighbridgeError
from weighbridge.exchanges.chain import ObjectEntry
from weighbridge.records.evidence import Evidence, Finding, SliceVerdict, Verdict
from weighbridge.trials.journal import is_finished
from weighbridge.trials.plan import TrialPlan, read_object
from weighbridge.trials.watching import SliceWatch, TrialWatch, watch

LISTED_MAX = 100


class TrialLine(msgspec.Struct, frozen=True, kw_only=True):
    trial: str
    route: str
    candidate: str
    incumbent: str
    created_ns: int
    look: int
    pairs: int | None
    """Compared, once there is a verdict."""
    items: int
    finished: bool
    verdict: Verdict | None


class TrialView(msgspec.Struct, frozen=True, kw_only=True):
    plan: TrialPlan
    watch: TrialWatch
    verdict: Verdict | None
    evidence: Evidence | None
    findings: tuple[Finding, ...]
    charts: tuple[Chart, ...]
    """One for each judged slice, in the order of `watch.slices`."""


def _verdicts(sources: Sources) -> dict[str, tuple[ObjectEntry, Verdict]]:
    """Trial -> its newest verdict."""
    found: dict[str, tuple[ObjectEntry, Verdict]] = {}
    for entry in sources.chain().objects:
        if entry.kind == "verdict":
            verdict = read_object(sources.layout, entry.digest, Verdict)
            if verdict.trial is not None:
                found[verdict.trial] = (entry, verdict)
    return found


def trials(sources: Sources) -> tuple[TrialLine, ...]:
    """Newest first."""
    verdicts = _verdicts(sources)
    found: dict[str, TrialLine] = {}
    plans = [entry for entry in sources.chain().objects if entry.kind == "trial"]
    for entry in reversed(plans):
        plan = read_object(sources.layout, entry.digest, TrialPlan)
        if plan.trial in found:
            continue
        ended = verdicts.get(plan.trial)
        found[plan.trial] = TrialLine(
            trial=plan.trial, route=plan.settings.route, candidate=plan.settings.candidate, incumbent=plan.incumbent,
            created_ns=plan.created_ns, look=plan.look, items=plan.items,
            pairs=None if ended is None else sum(row.n for row in ended[1].verdicts),
            finished=ended is not None or is_finished(sources.layout.trial(plan.trial)),
            verdict=None if ended is None else ended[1],
        )  # fmt: skip
        if len(found) >= LISTED_MAX:
            break
    return tuple(found.values())


def plan_of(sources: Sources, trial: str) -> TrialPlan | None:
    """The newest plan of a trial."""
    for entry in reversed([one for one in sources.chain().objects if one.kind == "trial"]):
        plan = read_object(sources.layout, entry.digest, TrialPlan)
        if plan.trial == trial:
            return plan
    return None


def trial_view(sources: Sources, trial: str) -> TrialView | None:
    """`None` where there is no such trial. Raises `WeighbridgeError` where the store was changed."""
    plan = plan_of(sources, trial)
    if plan is None:
        return None
    ended = _verdicts(sources).get(trial)
    verdict = None if ended is None else ended[1]
    evidence = None
    if verdict is not None and verdict.evidence is not None:
        evidence = read_object(sources.layout, verdict.evidence, Evidence)
        if evidence.span.digest != plan.span.digest or evidence.graders != plan.graders:
            evidence = None  # of an earlier run with other graders: the journal says what this one has
    seen = watch(sources.layout, plan, evidence)
    findings: tuple[Finding, ...] = ()
    if verdict is not None:
        try:
            findings = tuple(read_object(sources.layout, name, Finding) for name in verdict.findings)
        except WeighbridgeError:
            findings = ()
    return TrialView(
        plan=plan, watch=seen, verdict=verdict, evidence=evidence, findings=findings,
        charts=tuple(chart_of(row, plan.settings.margin) for row in seen.slices),
    )  # fmt: skip


def chart_of(row: SliceWatch, margin: float) -> Chart:
    """The confidence sequence: the difference in points of a hundred, and the line that it has to stay above."""
    return Chart(
        title=row.slice, x=tuple(float(point.n) for point in row.points), unit="points", time=False, log_x=True,
        x_label="conversations compared",
        series=(
            Series(label="upper bound", tone="band", values=tuple(100 * point.high for point in row.points), width=1.0),
            Series(label="lower bound", tone="band", values=tuple(100 * point.low for point in row.points), width=1.0),
            Series(label="difference", tone="open", values=tuple(100 * point.mean for point in row.points)),
            Series(label="margin", tone="limit", values=tuple(-100 * margin for _ in row.points), dash=True),
        ),
        bands=((1, 2),),
    )  # fmt: skip


def row_of(verdict: Verdict | None, name: str) -> SliceVerdict | None:
    return None if verdict is None else next((row for row in verdict.verdicts if row.slice == name), None)
