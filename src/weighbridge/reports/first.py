"""The first page: the answer in dollars, five figures, and what each who signs relies on. Pure.

The saving of a year is V * mean(d) over the slices that may move: V a slice's user requests at the pace of the log over
365 days, d the cost of one compared request on the incumbent minus its cost on the candidate. Its interval is
+- 1.96 * sqrt(sum(V^2 var(d) / n)), the normal one for a mean of independent pairs (Cochran 1977, 2.5): how sure the
cost of a request is, not what the traffic will be. Everything that trials, judges, shadows and drills have cost is
taken off; an endpoint that is paid by a commitment costs its whole fee, and what it would have been paid anyway is no
cash. Below a week of log there is no year.
"""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from statistics import fmean, variance

from weighbridge.config.tree import CommitmentSection
from weighbridge.ramp.plan import expected
from weighbridge.records.canonical import digest
from weighbridge.records.ramp import ExposureView
from weighbridge.records.table import Route
from weighbridge.records.usage import nanousd_per_million
from weighbridge.reports import words
from weighbridge.reports.facts import NOTHING
from weighbridge.reports.gather import Inputs, Judged, RouteCalls
from weighbridge.reports.headline import slice_answers
from weighbridge.reports.measure import SPAN_DAYS_MIN
from weighbridge.reports.model import CandidateReport, Moved, SliceReport
from weighbridge.reports.page import Alternative, Exact, Figure, FirstPage, Kind, Spent
from weighbridge.stats.rare import anytime_upper

YEAR_DAYS = 365
Z = 1.96
HOURS_A_YEAR = 8_760
KINDS: tuple[Kind, ...] = ("optimise in place", "cheapest closed", "open API", "own GPUs")


def first_page(
    inputs: Inputs, route: Route, candidates: Sequence[CandidateReport], moved: Moved, judged: Sequence[Judged]
) -> FirstPage:
    calls = inputs.seen.routes.get(route.name, RouteCalls())
    answers = slice_answers(candidates)
    rows = [row for one in candidates for row in one.slices]
    spent = {"move": 0, "do not move": 0, "not enough evidence": 0}
    for name, nanousd in calls.slice_nanousd.items():
        spent[answers.get(name, "not enough evidence")] += nanousd
    covered = sum(many for name, many in calls.slices.items() if name in answers)
    options = _alternatives(inputs, route, candidates, calls)
    taken = [row for row in rows if (row.slice, row.candidate) in moved.slices]
    shown = taken or rows
    return FirstPage(
        since=_day(calls.first_time_ns),
        until=_day(calls.last_time_ns),
        covered=covered / calls.requests if calls.requests else None,
        expires=_expires(inputs, route, judged),
        exact=tuple(_exact(inputs, one) for one in candidates if one.slices),
        spent=Spent(
            move_nanousd=spent["move"],
            stay_nanousd=spent["do not move"],
            undecided_nanousd=spent["not enough evidence"],
        ),
        flips=tuple(dict.fromkeys(flip for row in shown for flip in row.recommendation.flips))[:4],
        figures=(
            _saving(inputs, route, taken, options, calls),
            _decided(calls, spent),
            _worst(inputs, route, shown, judged, moves=bool(taken)),
            _accepted(candidates, shown, inputs, route),
            _exposure(inputs, shown),
        ),
        alternatives=options,
        relies=_relies(),
    )


def _relies() -> tuple[tuple[str, str], ...]:
    return (
        (
            "Finance",
            "the saving of a year with its interval, the spend that is decided, and the cost of what was accepted",
        ),
        ("Platform", "the lower bound of the worst slice, measured reliability, and the exposure before the way back"),
        ("Counsel", "the licence findings with their sources, where prompts go, and who approved what"),
    )


def _day(ns: int | None) -> str | None:
    return None if ns is None else f"{datetime.fromtimestamp(ns / 1e9, UTC):%Y-%m-%d}"


def _expires(inputs: Inputs, route: Route, judged: Sequence[Judged]) -> str | None:
    days = inputs.facts.fresh_days.get(route.name)
    if days is None or not judged:
        return None
    oldest = min(one.verdict.created_ns for one in judged)
    return f"{datetime.fromtimestamp(oldest / 1e9, UTC) + timedelta(days=days):%Y-%m-%d}"


def _exact(inputs: Inputs, one: CandidateReport) -> Exact:
    prompt = inputs.table.arm(one.arm.arm).system_prompt
    return Exact(
        arm=one.arm.arm,
        model=one.arm.model,
        weights_hash=None,  # no provider says which file it serves
        host=one.arm.host,
        precision=None if one.arm.precision == "unknown" else one.arm.precision,
        region=one.arm.region,
        prompt="as the application sends it" if prompt is None else f"replaced, {digest(prompt.encode())[:12]}",
    )


# --- the saving -------------------------------------------------------------------------------------------------


def _differences(inputs: Inputs, row: SliceReport) -> list[float]:
    """Incumbent's cost minus candidate's, of each compared request whose two costs are known."""
    evidence = next((one.evidence for one in inputs.judged if one.verdict.trial == row.trial), None)
    found: list[float] = []
    for pair in evidence.pairs if evidence is not None else ():
        if pair.slice != row.slice or pair.replay is None or pair.failure is not None:
            continue
        now, then = inputs.seen.kept.get(pair.item), inputs.seen.kept.get(pair.replay)
        if now is None or then is None or now.cost_nanousd is None or then.cost_nanousd is None:
            continue
        found.append(now.cost_nanousd - then.cost_nanousd)
    return found


def _year(inputs: Inputs, rows: Sequence[SliceReport], calls: RouteCalls) -> tuple[float, float] | str:
    """(nano-dollars of a year, half the width of its interval), or why there is none."""
    days = (calls.last_time_ns - calls.first_time_ns) / 86_400e9 if calls.first_time_ns and calls.last_time_ns else 0.0
    if days < SPAN_DAYS_MIN:
        return f"a year takes a week of log, and this one spans {words.days(days)}"
    total = spread = 0.0
    for row in rows:
        differences = _differences(inputs, row)
        if row.change is None or len(differences) < 2:
            return f"the cost of a request in {row.slice} is not known on both sides"
        year = calls.slices.get(row.slice, 0) * YEAR_DAYS / days
        total += year * fmean(differences)
        spread += year * year * variance(differences) / len(differences)
    return total, Z * math.sqrt(spread)


def fee_of(row: CommitmentSection) -> int | None:
    """Nano-dollars a year of what is paid anyway."""
    if row.usd_per_month is not None:
        return 12 * nanousd_per_million(row.usd_per_month)
    if row.gpus is not None and row.usd_per_gpu_hour is not None:
        return row.gpus * HOURS_A_YEAR * nanousd_per_million(row.usd_per_gpu_hour)
    return None


def _net(
    inputs: Inputs, route: Route, rows: Sequence[SliceReport], calls: RouteCalls
) -> tuple[int, int, int, list[str]] | str:
    """Low, middle and high of the cash of a year, and what was taken off; or why it is not known."""
    year = _year(inputs, rows, calls)
    if isinstance(year, str):
        return year
    middle, half = year
    said = [f"{words.money(middle)} less for the same requests"]
    paid_now = inputs.facts.arms.get(route.incumbent, NOTHING).commitment
    if paid_now is not None:
        return f"{route.incumbent} is paid by the commitment {paid_now.name}, so that using it less frees no cash"
    for name in sorted({row.candidate for row in rows}):
        commitment = inputs.facts.arms.get(name, NOTHING).commitment
        if commitment is None:
            continue
        fee = fee_of(commitment)
        if fee is None:
            return f"the commitment {commitment.name} of {name} states no fee"
        days = ((calls.last_time_ns or 0) - (calls.first_time_ns or 0)) / 86_400e9
        booked = sum(
            (row.then_nanousd or 0.0) * calls.slices.get(row.slice, 0) * YEAR_DAYS / days
            for row in rows
            if row.candidate == name
        )
        middle += booked - fee
        said.append(
            f"{words.money(fee)} for {commitment.name}, used or not, in place of {words.money(booked)} by token"
        )
    if route.name in inputs.facts.staff:
        hours, each = inputs.facts.staff[route.name]
        middle -= hours * each
        said.append(f"{words.money(hours * each)} for {hours:,} hours of people at {words.money(each)}, as stated")
    unknown = 0
    for (of, purpose), beside in sorted(inputs.seen.beside.items()):
        if of == route.name:
            middle -= beside.cost_nanousd
            unknown += beside.cost_unknown
            if beside.cost_nanousd:
                said.append(f"{words.money(beside.cost_nanousd)} spent on purpose {purpose}")
    if unknown:
        said.append(f"{words.count(unknown, 'call')} of trials and other purposes of unknown cost not taken off")
    return round(middle - half), round(middle), round(middle + half), said


def _alternatives(
    inputs: Inputs, route: Route, candidates: Sequence[CandidateReport], calls: RouteCalls
) -> tuple[Alternative, ...]:
    found = [Alternative(kind="stay", arm=route.incumbent, net_nanousd=0, says="what everything here is compared with")]
    for one in candidates:
        kind = _kind(inputs, route, one)
        rows = [row for row in one.slices if row.recommendation.answer == "move"]
        if not one.slices:
            found.append(Alternative(kind=kind, arm=one.arm.arm, net_nanousd=None, says="no trial has compared it yet"))
        elif not rows:
            found.append(Alternative(kind=kind, arm=one.arm.arm, net_nanousd=None, says="none of its slices may move"))
        else:
            net = _net(inputs, route, rows, calls)
            share = sum(row.share or 0.0 for row in rows)
            said = (
                net
                if isinstance(net, str)
                else (
                    f"for {words.percent(share)} of requests, where its verdict is non-inferior: "
                    f"{words.listed([row.slice for row in rows])}"
                )
            )
            found.append(
                Alternative(kind=kind, arm=one.arm.arm, net_nanousd=None if isinstance(net, str) else net[1], says=said)
            )
    there = {one.kind for one in found}
    for kind in KINDS:
        if kind not in there:
            found.append(
                Alternative(kind=kind, arm=None, net_nanousd=None, says="no such arm is a candidate of this route")
            )
    return tuple(found)


def _kind(inputs: Inputs, route: Route, one: CandidateReport) -> Kind:
    if one.arm.model == inputs.table.arm(route.incumbent).model:
        return "optimise in place"
    if one.arm.weights == "closed":
        return "cheapest closed"
    endpoint = inputs.table.endpoint(one.arm.endpoint)
    commitment = inputs.facts.arms.get(one.arm.arm, NOTHING).commitment
    own = endpoint.loopback or endpoint.address_is_own or (commitment is not None and commitment.kind == "gpu_hours")
    return "own GPUs" if own else "open API"


def _saving(
    inputs: Inputs, route: Route, taken: Sequence[SliceReport], options: Sequence[Alternative], calls: RouteCalls
) -> Figure:
    def figure(shown: str, says: str, state: str, step: str, three: tuple[int, int, int] | None) -> Figure:
        low, middle, high = three if three is not None else (None, None, None)
        return Figure(
            name="saving", title="Cash saved in the first year, net", shown=shown, says=says,
            state="pass" if state == "pass" else "warn" if state == "warn" else "unknown",
            next_step=step, unit="nanousd a year", value=middle, low=low, high=high,
        )  # fmt: skip

    if not taken:
        return figure(
            "$0", "Nothing may move yet, so nothing is saved by moving.", "warn", "see what would flip it", (0, 0, 0)
        )
    net = _net(inputs, route, taken, calls)
    if isinstance(net, str):
        step = "let the log grow, or state `price` for the arms"
        return figure(words.UNKNOWN, _sentence(net), "unknown", step, None)
    low, middle, high, said = net
    # The best of what else could be done: at worst, to stay.
    mine = {row.candidate for row in taken}
    others = [one for one in options if one.net_nanousd is not None and one.arm not in mine]
    best = max(others, key=lambda one: one.net_nanousd or 0)
    beyond = best.net_nanousd or 0
    verdict = words.listed([f"{row.slice} by more than {words.points(row.margin)}" for row in taken])
    untried = words.listed([one.kind for one in options if one.net_nanousd is None])
    says = (
        f"{words.money(low - beyond)} to {words.money(high - beyond)} (95 %), against the best alternative that was "
        f"shown: {best.kind}{f' on {best.arm}' if best.arm else ''}. {_sentence('; '.join(said))} "
        f"Verdict on the same rows: not worse in {verdict}. "
        f"Volume: the log's own pace."
    )
    stated = route.name in inputs.facts.staff
    if not stated:
        says += " Not in it: hours of staff and of people who label, which nobody stated."
    if untried:
        says += f" Not tried or not shown: {untried}."
    state = "pass" if low - beyond > 0 else "warn"
    gone = f"at {words.money(middle - beyond)} a year of their time it is gone"
    step = "" if stated else f"state `staff_hours` and `usd_per_staff_hour` of the route: {gone}"
    return figure(words.money(middle - beyond), says, state, step, (low - beyond, middle - beyond, high - beyond))


# --- the other four ---------------------------------------------------------------------------------------------


def _decided(calls: RouteCalls, spent: dict[str, int]) -> Figure:
    whole = sum(spent.values())
    known = spent["move"] + spent["do not move"]
    share = known / whole if whole else None
    says = "The log holds no spend of this route." if not whole else (
        f"{words.money(known)} of {words.money(whole)} lies in slices with an answer, "
        f"{words.money(spent['not enough evidence'])} in slices without."
    )  # fmt: skip
    if calls.cost_unknown:
        says += f" {words.count(calls.cost_unknown, 'request')} of unknown cost are in neither."
    return Figure(
        name="decided", title="Spend decided", shown=words.percent(share), says=says,
        state="unknown" if share is None else "pass" if share >= 0.5 else "warn",
        next_step="" if share is not None and share >= 0.5 else "run trials on the slices that cost most",
        unit="share", value=share,
    )  # fmt: skip


def _worst(
    inputs: Inputs, route: Route, rows: Sequence[SliceReport], judged: Sequence[Judged], *, moves: bool
) -> Figure:
    lows = [(row.interval[0], row) for row in rows if row.interval is not None and row.n]
    title = "Worst slice that moves, at its lower bound" if moves else "Worst slice, at its lower bound"
    if not lows:
        return Figure(
            name="worst slice", title=title, shown=words.UNKNOWN, says="No slice has a measured difference.",
            state="unknown", next_step="run a trial", unit="difference", value=None,
        )  # fmt: skip
    low, row = min(lows, key=lambda one: one[0])
    says = (
        f"{row.slice} on {row.candidate}: {words.points(row.difference, sign=True)} measured, at worst "
        f"{words.points(low, sign=True)}, against a margin of {words.points(-row.margin, sign=True)} "
        f"({words.count(row.clusters, 'unit')}, alpha {words.percent(row.alpha)})."
    )
    critical, step = _critical(inputs, route, row, judged)
    return Figure(
        name="worst slice", title=title, shown=words.points(low, sign=True), says=f"{says} {critical}",
        state="fail" if row.verdict == "inferior" else "warn" if row.verdict == "undecided" or step else "pass",
        next_step=step, unit="difference", value=row.difference, low=low,
        high=row.interval[1] if row.interval is not None else None,
    )  # fmt: skip


def _critical(inputs: Inputs, route: Route, row: SliceReport, judged: Sequence[Judged]) -> tuple[str, str]:
    marked = inputs.facts.critical.get(route.name, ())
    if row.slice not in marked and "*" not in marked:
        return (
            "Critical failures: unknown, no grader of the slice says which failures are.",
            "set `critical = true` on the grader whose zeros must not happen",
        )
    evidence = next((one.evidence for one in judged if one.verdict.trial == row.trial), None)
    pairs = [pair for pair in evidence.pairs if pair.slice == row.slice] if evidence is not None else []
    # A unit fails critically if one of its answers does.
    units = {pair.cluster: False for pair in pairs}
    for pair in pairs:
        units[pair.cluster] = units[pair.cluster] or pair.candidate == 0.0
    events = sum(units.values())
    upper = anytime_upper(events, len(units), row.alpha) if units else 1.0
    return f"Critical failures: {events} of {len(units):,}, at most {words.percent(upper)} of units.", ""


def _accepted(
    candidates: Sequence[CandidateReport], rows: Sequence[SliceReport], inputs: Inputs, route: Route
) -> Figure:
    """Told outcomes where there are any; else answers that graders accepted, on the same requests."""
    told = {row.arm: row for row in inputs.seen.tasks if row.route == route.name and row.told}
    names = [one.arm.arm for one in candidates if one.arm.arm in told]
    now = told.get(route.incumbent)
    if now is not None and names and now.cost_per_accepted_nanousd is not None:
        then = told[names[0]]
        if then.cost_per_accepted_nanousd is not None:
            return _per_task(
                now.cost_per_accepted_nanousd, then.cost_per_accepted_nanousd,
                f"tasks by their told outcome: {now.told:,} on {route.incumbent}, {then.told:,} on {names[0]}", "",
            )  # fmt: skip
    known = [row for row in rows if row.now_nanousd is not None and row.then_nanousd is not None]
    priced = [(row, row.share if row.share is not None else 1.0) for row in known
              if row.incumbent_score is not None and row.candidate_score is not None]  # fmt: skip
    step = "send outcomes with POST /v1/feedback: then a task is what your users call one"
    if not priced or len(priced) < len(rows):
        return Figure(
            name="cost per accepted task", title="Cost of an accepted task, now and after", shown=words.UNKNOWN,
            says="The cost of a request is not known on both sides.", state="unknown",
            next_step="state `price` for the arms, and run the trial again", unit="nanousd a task", value=None,
        )  # fmt: skip
    good_now = sum(weight * (row.incumbent_score or 0.0) for row, weight in priced)
    good_then = sum(weight * (row.candidate_score or 0.0) for row, weight in priced)
    if not good_now or not good_then:
        return Figure(
            name="cost per accepted task", title="Cost of an accepted task, now and after", shown=words.UNKNOWN,
            says="One of the two models had no answer accepted, so that an accepted one has no price.", state="unknown",
            next_step="see the slices below", unit="nanousd a task", value=None,
        )  # fmt: skip
    return _per_task(
        sum(weight * (row.now_nanousd or 0.0) for row, weight in priced) / good_now,
        sum(weight * (row.then_nanousd or 0.0) for row, weight in priced) / good_then,
        "a task is one request here, accepted as far as its grader scored it, on the compared requests", step,
    )  # fmt: skip


def _per_task(now: float, then: float, how: str, step: str) -> Figure:
    return Figure(
        name="cost per accepted task", title="Cost of an accepted task, now and after",
        shown=f"{words.money(now)} → {words.money(then)}", says=_sentence(f"{words.change(then / now - 1)}; {how}"),
        state="pass" if then < now else "warn", next_step=step, unit="nanousd a task", value=then,
    )  # fmt: skip


def _exposure(inputs: Inputs, rows: Sequence[SliceReport]) -> Figure:
    """Over all steps and harms of the ramp that the configuration makes, the one that reaches most users."""
    views: list[ExposureView] = []
    for row in rows:
        plan = inputs.facts.plans.get(row.trial or "")
        if plan is None:
            continue
        errors = row.comparison.incumbent_errors.rate if row.comparison is not None else None
        for terms in plan.stages:
            views += expected(plan, terms.stage, errors, row.then_nanousd)
    title = "Largest exposure before it goes back"
    step = "`weighbridge ramp status` shows it before each step"
    endless = [view for view in views if view.requests is None]
    known = [view for view in views if view.requests is not None]
    if not views or endless:
        what = f": {endless[0].harm}, in stage {endless[0].stage}" if endless else ""
        return Figure(
            name="exposure", title=title, shown=words.UNKNOWN, state="unknown", unit="requests", value=None,
            says=f"It cannot be said how many requests would pass before an alarm{what}." if endless
            else "No ramp is planned: nothing was judged that a ramp could move.",
            next_step="plan more events or pairs in [[ramp]]" if endless else "run a trial",
        )  # fmt: skip
    worst = max(known, key=lambda view: view.requests or 0)
    return Figure(
        name="exposure", title=title, shown=words.count(worst.requests or 0, "request"),
        says=f"{words.money(worst.nanousd)} of calls, if {worst.harm} on the first day of stage {worst.stage}: what "
        "the ramp's own calculation expects, at the largest of its stages and harms.",
        state="pass", next_step=step, unit="requests", value=worst.requests,
    )  # fmt: skip


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."
