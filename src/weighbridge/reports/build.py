"""From inputs to the report: which verdict speaks for which row, and what each row adds up to. Pure but for `build`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from urllib.parse import urlsplit

import msgspec

from weighbridge import __version__
from weighbridge.config import Loaded
from weighbridge.exchanges.reader import read
from weighbridge.grading.drift import drift_of
from weighbridge.records.evidence import Evidence, Finding, Pair, SliceVerdict
from weighbridge.records.table import Route, RouteTable
from weighbridge.reports.chart import trace
from weighbridge.reports.dossier import dossier
from weighbridge.reports.first import first_page
from weighbridge.reports.gaps import gaps
from weighbridge.reports.gather import Inputs, Judged, RouteCalls, current
from weighbridge.reports.headline import headline, moved_of
from weighbridge.reports.load import check_route, inputs_of, stale_note
from weighbridge.reports.losses import compared, with_losses
from weighbridge.reports.measure import change, compare, month, per_request
from weighbridge.reports.model import (
    REPORT_SCHEMA,
    Answer,
    ArmFacts,
    CandidateReport,
    Gate,
    LicenseReport,
    Look,
    Report,
    RouteReport,
    SliceReport,
    Traffic,
    TrialFacts,
)
from weighbridge.reports.recommend import Case, gate_of, recommend
from weighbridge.store.layout import Layout
from weighbridge.trials.log import TrialLog

NO_FINDING = LicenseReport(
    word="unclear",
    terms=None,
    obligations=(),
    reasons=("no licence finding was stored with the verdict; run `weighbridge license check`",),
    on=None,
)


def build(
    layout: Layout, loaded: Loaded, now_ns: int, *, only_route: str | None = None, show_losses: bool = False
) -> Report:
    """The report of a store: the route table in force, all stored verdicts, the whole log.

    only_route: a route's name or alias. show_losses: put the worst losses' prompts and answers into it, redacted and
    shortened. Raises `WeighbridgeError` where there is nothing to report or something stored was changed.
    """
    inputs = inputs_of(layout, loaded, now_ns)
    if only_route is not None:
        name = check_route(inputs.table, only_route)
        routes = tuple(route for route in inputs.table.routes if route.name == name)
        inputs = replace(inputs, table=msgspec.structs.replace(inputs.table, routes=routes))
    report = assemble(inputs, stale_note(loaded, inputs.table))
    if not show_losses:
        return report
    exchanges = {one.id: one for one in read(layout, ids=compared(report, inputs))}
    return with_losses(report, inputs, exchanges, TrialLog(loaded).body)


def assemble(inputs: Inputs, note: str = "") -> Report:
    """The whole report from its inputs; does not read or write anything. `note` is said at its top."""
    judged = current(inputs.judged)
    return Report(
        schema=REPORT_SCHEMA,
        created_ns=inputs.now_ns,
        version=__version__,
        table=inputs.table.number,
        config_digest=inputs.table.config_digest or None,
        log_head=inputs.log_head,
        routes=tuple(_route(inputs, judged, route) for route in inputs.table.routes),
        note=note,
    )


@dataclass(frozen=True, slots=True)
class Source:
    """The verdict on one slice that stands, with all that were given before it."""

    judged: Judged
    verdict: SliceVerdict
    earlier: tuple[tuple[Judged, SliceVerdict], ...]


def _route(inputs: Inputs, judged: Sequence[Judged], route: Route) -> RouteReport:
    mine = [one for one in judged if one.verdict.route == route.name]
    calls = inputs.seen.routes.get(route.name, RouteCalls())
    incumbent = arm_facts(inputs.table, route.incumbent)
    names = list(dict.fromkeys((*route.candidates, *(one.verdict.candidate or "" for one in mine))))
    candidates = tuple(
        _candidate(inputs, route, [one for one in mine if one.verdict.candidate == name], name, calls)
        for name in names
        if name and any(arm.name == name for arm in inputs.table.arms)
    )
    candidates = tuple(
        msgspec.structs.replace(
            one, dossier=dossier(inputs, route, one, [j for j in mine if j.verdict.candidate == one.arm.arm])
        )
        for one in candidates
    )
    moved = moved_of(candidates)
    rows = [row for candidate in candidates for row in candidate.slices]
    judged_slices = {row.slice for row in rows}
    answer = _route_answer([row.recommendation.answer for row in rows])
    notes = dict.fromkeys(one.verdict.note for one in mine if one.verdict.note)
    for candidate in candidates:
        lines = dict.fromkeys(line for trial in candidate.trials for line in trial.moved)
        notes |= dict.fromkeys(f"Since {candidate.arm.arm} was tried: {line}." for line in lines)
    return RouteReport(
        route=route.name,
        aliases=route.aliases,
        incumbent=incumbent,
        traffic=_traffic(calls),
        answer=answer,
        headline=headline(route.incumbent, candidates, moved),
        candidates=candidates,
        moved=moved,
        unjudged=tuple(sorted(name for name in calls.slices if name not in judged_slices)),
        note=" ".join(notes),
        first=first_page(inputs, route, candidates, moved, mine),
        ramps=inputs.ramps.get(route.name, ()),
        tasks=tuple(row for row in inputs.seen.tasks if row.route == route.name and row.told),
    )


def _route_answer(answers: Sequence[Answer]) -> Answer:
    if "move" in answers:
        return "move"
    return "do not move" if answers and set(answers) == {"do not move"} else "not enough evidence"


def _candidate(inputs: Inputs, route: Route, judged: Sequence[Judged], name: str, calls: RouteCalls) -> CandidateReport:
    arm = arm_facts(inputs.table, name)
    gate = _gate(inputs.table, route, name)
    license_report = _license(name, judged)
    sources = _sources(judged)
    rows = [_slice(inputs, route, source, license_report, gate, calls) for source in sources]
    rows.sort(key=lambda row: (-(row.share or 0.0), row.slice))
    behind = list({id(source.judged): source.judged for source in sources}.values())
    evidence = [one.evidence for one in behind if one.evidence is not None]
    return CandidateReport(
        arm=arm,
        gate=gate,
        license=license_report,
        overall=_overall([one for one in judged if _speaks_for(one, calls)], rows, license_report, gate),
        slices=tuple(rows),
        gaps=gaps(arm, evidence, [source.verdict for source in sources], inputs.seen),
        trials=tuple(_trial(one, inputs.seen.since.get(one.digest, {})) for one in behind),
    )


def _sources(judged: Sequence[Judged]) -> list[Source]:
    history: dict[str, list[tuple[Judged, SliceVerdict]]] = {}
    for one in judged:
        for verdict in one.verdict.verdicts:
            history.setdefault(verdict.slice, []).append((one, verdict))
    return [Source(looks[-1][0], looks[-1][1], tuple(looks[:-1])) for looks in history.values()]


def _slice(
    inputs: Inputs, route: Route, source: Source, license_report: LicenseReport, gate: Gate, calls: RouteCalls
) -> SliceReport:
    verdict, whole = source.verdict, source.judged.verdict
    evidence = source.judged.evidence
    candidate = whole.candidate or ""
    pairs = _pairs(evidence, verdict.slice)
    comparison = compare(
        whole.incumbent or route.incumbent,
        candidate,
        pairs,
        inputs.seen.kept,
        inputs.seen.user.get((route.name, verdict.slice, route.incumbent)),
        inputs.seen.trials.get((whole.trial or "", verdict.slice)),
    )
    now = per_request(comparison.incumbent) if comparison is not None else None
    then = per_request(comparison.candidate) if comparison is not None else None
    requests = calls.slices.get(verdict.slice, 0)
    case = Case(
        candidate=candidate,
        verdict=verdict.verdict,
        margin=whole.margin,
        reasons=verdict.reasons,
        license=license_report,
        gate=gate,
        change=change(now, then),
    )
    return SliceReport(
        slice=verdict.slice,
        candidate=candidate,
        recommendation=recommend(case),
        share=_share(calls, evidence, verdict.slice),
        verdict=verdict.verdict,
        difference=verdict.difference,
        interval=verdict.interval,
        n=verdict.n,
        clusters=verdict.clusters,
        decided_at=verdict.decided_at,
        label_source=verdict.label_source,
        license=license_report.word,
        grader=_grader(evidence, verdict.slice),
        reasons=verdict.reasons,
        incumbent_score=fmean(p.incumbent for p in pairs) if pairs else None,
        candidate_score=fmean(p.candidate for p in pairs) if pairs else None,
        failed=evidence.failed.get(verdict.slice, 0) if evidence is not None else 0,
        now_nanousd=now,
        then_nanousd=then,
        change=change(now, then),
        comparison=comparison,
        month=month(requests, _traffic(calls).span_days, now, then),
        trace=trace(pairs, whole.margin, whole.alpha),
        margin=whole.margin,
        alpha=whole.alpha,
        trial=whole.trial,
        looks=1 + len(source.earlier),
        earlier=tuple(_look(one, earlier) for one, earlier in source.earlier),
    )


def _speaks_for(one: Judged, calls: RouteCalls) -> bool:
    """Whether a trial looked at every slice of the route's traffic, so that its whole is the route's."""
    return {verdict.slice for verdict in one.verdict.verdicts} >= calls.slices.keys()


def _overall(
    judged: Sequence[Judged], rows: Sequence[SliceReport], license_report: LicenseReport, gate: Gate
) -> SliceReport | None:
    """The whole of the last verdict that speaks for the route, at the cost of its slices weighted by their traffic."""
    if not judged:
        return None
    whole, evidence = judged[-1].verdict, judged[-1].evidence
    verdict = whole.overall
    mine = [row for row in rows if row.trial == whole.trial]
    now, then = _weighted(mine, evidence)
    case = Case(
        candidate=whole.candidate or "",
        verdict=verdict.verdict,
        margin=whole.margin,
        reasons=verdict.reasons,
        license=license_report,
        gate=gate,
        change=change(now, then),
        worse_slices=tuple(row.slice for row in mine if row.verdict == "inferior"),
    )
    return SliceReport(
        slice=verdict.slice,
        candidate=whole.candidate or "",
        recommendation=recommend(case),
        share=None,
        verdict=verdict.verdict,
        difference=verdict.difference,
        interval=verdict.interval,
        n=verdict.n,
        clusters=verdict.clusters,
        decided_at=verdict.decided_at,
        label_source=verdict.label_source,
        license=license_report.word,
        grader=None,
        reasons=verdict.reasons,
        incumbent_score=None,
        candidate_score=None,
        failed=sum(evidence.failed.values()) if evidence is not None else 0,
        now_nanousd=now,
        then_nanousd=then,
        change=change(now, then),
        comparison=None,
        month=None,
        trace=(),
        margin=whole.margin,
        alpha=whole.alpha,
        trial=whole.trial,
        looks=len(judged),
        earlier=tuple(_look(one, one.verdict.overall) for one in judged[:-1]),
    )


def _weighted(rows: Sequence[SliceReport], evidence: Evidence | None) -> tuple[float | None, float | None]:
    """Mean cost of a request now and then, weighted by the trial's traffic weights; unknown if one slice is."""
    if evidence is None or not rows:
        return None, None
    weights = [evidence.weights.get(row.slice, 0.0) for row in rows]
    total = sum(weights)
    if not total:
        return None, None
    return tuple(  # type: ignore[return-value]
        None
        if any(cost is None for cost in costs)
        else sum(w * c for w, c in zip(weights, costs, strict=True) if c) / total
        for costs in ([row.now_nanousd for row in rows], [row.then_nanousd for row in rows])
    )


def _share(calls: RouteCalls, evidence: Evidence | None, name: str) -> float | None:
    if calls.requests:
        return calls.slices.get(name, 0) / calls.requests
    return evidence.weights.get(name) if evidence is not None else None


def _pairs(evidence: Evidence | None, name: str) -> tuple[Pair, ...]:
    return tuple(pair for pair in evidence.pairs if pair.slice == name) if evidence is not None else ()


def _grader(evidence: Evidence | None, name: str) -> str | None:
    if evidence is None:
        return None
    use = next((use for use in evidence.graders if use.slice == name), None)
    return None if use is None else f"{use.kind} on {use.extract}, against {use.reference}"


def _look(one: Judged, verdict: SliceVerdict) -> Look:
    return Look(
        trial=one.verdict.trial,
        created_ns=one.verdict.created_ns,
        verdict=verdict.verdict,
        n=verdict.n,
        difference=verdict.difference,
    )


def _trial(one: Judged, since: Mapping[str, int]) -> TrialFacts:
    verdict, evidence = one.verdict, one.evidence
    moved = drift_of(evidence, since) if evidence is not None else None
    span = evidence.span if evidence is not None else None
    return TrialFacts(
        trial=verdict.trial,
        created_ns=verdict.created_ns,
        method=verdict.method,
        margin=verdict.margin,
        alpha=verdict.alpha,
        seed=verdict.seed,
        shuffled=evidence.shuffled if evidence is not None else None,
        table=evidence.table if evidence is not None else None,
        pairs=len(evidence.pairs) if evidence is not None else sum(v.n for v in verdict.verdicts),
        exchanges=span.exchanges if span is not None else None,
        first_time_ns=span.first_time_ns if span is not None else None,
        last_time_ns=span.last_time_ns if span is not None else None,
        left_out=span.left_out if span is not None else {},
        cost_usd=verdict.cost_usd,
        span_digest=span.digest if span is not None else None,
        evidence=verdict.evidence,
        verdict=one.digest,
        findings=verdict.findings,
        note=verdict.note or (evidence.note if evidence is not None else ""),
        cache=verdict.cache,
        moved=() if moved is None else moved.warnings,
    )


def _license(arm: str, judged: Sequence[Judged]) -> LicenseReport:
    finding = _last(finding for one in judged for finding in one.findings if finding.arm == arm)
    if finding is None:
        return NO_FINDING
    return LicenseReport(
        word=finding.verdict,
        terms=finding.terms,
        obligations=finding.obligations,
        reasons=finding.reasons,
        on=finding.on,
    )


def _last(findings: Iterable[Finding]) -> Finding | None:
    last = None
    for finding in findings:
        last = finding
    return last


def _gate(table: RouteTable, route: Route, arm: str) -> Gate:
    endpoint = table.arm(arm).endpoint
    return gate_of(route, table.endpoint(endpoint), is_incumbent=endpoint == table.arm(route.incumbent).endpoint)


def arm_facts(table: RouteTable, name: str) -> ArmFacts:
    """An arm with its endpoint's data terms. A loopback endpoint's terms follow from where it is."""
    arm = table.arm(name)
    endpoint = table.endpoint(arm.endpoint)
    return ArmFacts(
        arm=arm.name,
        model=arm.model,
        weights=arm.weights,
        terms=arm.terms,
        system_prompt_changed=arm.system_prompt is not None,
        endpoint=endpoint.name,
        host=urlsplit(endpoint.base_url).hostname or endpoint.base_url,
        loopback=endpoint.loopback,
        precision=endpoint.precision,
        region="local" if endpoint.loopback else endpoint.region,
        retention_days=0 if endpoint.loopback else endpoint.retention_days,
        trains_on_data=False if endpoint.loopback else endpoint.trains_on_data,
        agreement=endpoint.agreement,
        price_input=arm.price.input if arm.price is not None else None,
        price_output=arm.price.output if arm.price is not None else None,
        price_version=arm.price_version,
    )


def _traffic(calls: RouteCalls) -> Traffic:
    return Traffic(
        requests=calls.requests,
        first_time_ns=calls.first_time_ns,
        last_time_ns=calls.last_time_ns,
        answered=calls.answered,
        cost_nanousd=calls.cost_nanousd if calls.requests and not calls.cost_unknown else None,
        cost_unknown=calls.cost_unknown,
        input_tokens=calls.input_tokens,
        output_tokens=calls.output_tokens,
        slices=dict(calls.slices),
    )
