"""A ramp's plan out of the configuration, and what it may cost before anything is noticed. Pure."""

import math

from weighbridge.config import Loaded
from weighbridge.config.ramps import BY_STAGE, shares_of
from weighbridge.config.tree import RampSection
from weighbridge.ramp.streams import BOUND_PART, guardrail_level, quality_levels
from weighbridge.records.evidence import Verdict
from weighbridge.records.ramp import GUARDRAILS, ExposureView, Guardrail, RampPlan, RampState, Stage, StageTerms
from weighbridge.records.usage import nanousd_per_million
from weighbridge.stats.alarms import pairs_until, rated_until, units_until

HOUR_S, DAY_S = 3600.0, 86_400.0
HOLD_S = {"half": DAY_S, "all": DAY_S}
CONVERSATIONS_MIN = {"shadow": 50, "half": 500, "all": 500}
SLICES_MAX = 8
"""More slices get no stream of their own: each would have too little of alpha to notice anything."""


def section_of(loaded: Loaded, route: str) -> RampSection:
    """The `[[ramp]]` of a route: its own, else that of `*`, else the defaults."""
    rows = {row.route: row for row in loaded.config.ramp}
    return rows.get(route) or rows.get("*") or RampSection(route=route)


def graded(loaded: Loaded, route: str) -> bool:
    """Is there anything that could say how good an answer of this route is?"""
    return any(row.route == route for row in loaded.config.grader)


def plan_of(loaded: Loaded, route: str, verdict: Verdict) -> RampPlan:
    """What a ramp of this route, allowed by this verdict, has to keep to."""
    row = section_of(loaded, route)
    shares = {stage: round(percent * 100) for stage, percent in shares_of(row).items()}
    stages: tuple[Stage, ...] = BY_STAGE  # type: ignore[assignment]  # the configuration cannot import the table of stages
    captured = loaded.config.capture.bodies
    chosen: tuple[Guardrail, ...] = row.guardrails or tuple(  # type: ignore[assignment]  # checked with the configuration
        name for name in GUARDRAILS if name != "outcomes" and (captured or name not in ("schema", "tools"))
    )
    slices = tuple(one.slice for one in verdict.verdicts if one.verdict == "non_inferior")
    return RampPlan(
        stages=tuple(
            StageTerms(
                stage=stage,
                basis_points=shares.get(stage, 0),
                hold_s=row.hold_s.get(stage, HOLD_S.get(stage, HOUR_S)),
                conversations_min=row.conversations_min.get(stage, CONVERSATIONS_MIN.get(stage, 100)),
                pairs_min=row.pairs_min.get(stage, 20),
            )
            for stage in stages
        ),
        alpha=row.alpha,
        margin=verdict.margin if row.margin is None else row.margin,
        guardrails=chosen,
        events_planned=row.events_planned,
        slow_planned=row.slow_planned,
        pairs_planned=row.pairs_planned,
        quality=row.quality,
        ratio=row.ratio,
        shadow_basis_points=round(row.shadow_share * 100),
        pair_basis_points=round(row.pair_share * 100) if row.quality == "pairs" else 0,
        # An amount of dollars and a price per million are the same string, read the same way.
        copies_nanousd=None if row.copies_usd is None else nanousd_per_million(row.copies_usd),
        approvals=row.approvals,
        stick_by=row.stick_by,
        streams=row.streams_on_rollback,
        verdict_s_max=row.verdict_days * DAY_S,
        candidate_per_minute=row.candidate_per_minute,
        incumbent_per_minute=row.incumbent_per_minute,
        slices=slices if 1 < len(slices) <= SLICES_MAX else (),
    )


def exposure(
    state: RampState, stage: Stage, error_rate: float | None, cost_nanousd: float | None, *, looked_at: bool = True
) -> tuple[ExposureView, ...]:
    """Candidate requests, and their dollars, until an alarm at `stage`, if it turned bad on its first day.

    `error_rate` is the incumbent's (unknown: 1% is assumed and said), `cost_nanousd` the candidate's mean per request;
    `looked_at`: has the route a grader?
    """
    return expected(state.plan, stage, error_rate, cost_nanousd, looked_at=looked_at)


def expected(
    plan: RampPlan, stage: Stage, error_rate: float | None, cost_nanousd: float | None, *, looked_at: bool = True
) -> tuple[ExposureView, ...]:
    """The same of a plan that no ramp has taken up yet."""
    terms = plan.terms(stage)
    share = 0.0 if terms is None else terms.basis_points / 10_000
    if share <= 0.0:
        return ()
    base = 0.01 if error_rate is None else max(error_rate, 0.001)
    assumed = " (assumed)" if error_rate is None else ""
    level = guardrail_level(plan)
    found: list[tuple[str, float]] = []
    if "errors" in plan.guardrails:
        worse = min(0.9, 10 * base)
        units = _units(worse, base, share, plan.events_planned, level)
        found.append((f"errors rise from {base:.1%}{assumed} to {worse:.0%}", units))
    if "latency" in plan.guardrails:
        units = _units(0.5, 0.1, share, plan.slow_planned, level)
        found.append(("half of all answers become slower than nine of ten were", units))
    pairs = pairs_until(0.1, plan.margin, plan.pairs_planned, quality_levels(plan)["quality"])
    judged = plan.pair_basis_points / 10_000 if plan.quality == "pairs" else 1.0
    if judged and not looked_at:
        found.append(("quality falls by 10 points (the route has no [[grader]], so nothing looks)", math.inf))
    elif judged:
        found.append(
            ("quality falls by 10 points, all captured answers being judged", pairs / judged * _per_pair(plan, share))
        )
    return tuple(_view(stage, harm, units, cost_nanousd) for harm, units in found)


def _units(rate: float, base: float, share: float, planned: int, level: float) -> float:
    """Beside a live control; without one, against what the incumbent did before, known to a fifth."""
    if share < 1.0:
        return units_until(rate, share, planned, level, baseline=base)
    return rated_until(rate, min(0.8, 1.2 * base), planned, level * (1.0 - BOUND_PART))


def _per_pair(plan: RampPlan, share: float) -> float:
    """Candidate requests for each judged pair: copies are drawn of all requests, answers of both arms go in pairs."""
    if plan.quality == "pairs" or share >= 1.0:
        return share
    return max(1.0, share / (1.0 - share))


def _view(stage: Stage, harm: str, units: float, cost_nanousd: float | None) -> ExposureView:
    requests = None if math.isinf(units) else math.ceil(units)
    dollars = None if requests is None or cost_nanousd is None else math.ceil(requests * cost_nanousd)
    return ExposureView(stage=stage, harm=harm, requests=requests, nanousd=dollars)
