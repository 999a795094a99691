"""A trial as somebody sees it who watches: where each slice stands, and how its interval narrowed.

It is all read from the disk: plan and journal say everything, so a running trial is watched without touching it, and
one that was interrupted shows where it will go on. Verdicts are the trial's own (`conclude`); here are states, never a
certificate.
"""

import msgspec

from weighbridge.records.evidence import Evidence, VerdictWord
from weighbridge.store.layout import Layout
from weighbridge.trials.journal import is_finished, read_outcomes
from weighbridge.trials.plan import TrialPlan
from weighbridge.trials.rederive import walked
from weighbridge.trials.walk import Measure, Walk

POINTS = 48


class Point(msgspec.Struct, frozen=True, array_like=True):
    """After n units: the mean difference and its interval."""

    n: int
    mean: float
    low: float
    high: float


class SliceWatch(msgspec.Struct, frozen=True, kw_only=True):
    slice: str
    weight: float
    """Of the route's traffic."""
    units: int
    """Taken so far."""
    units_planned: int
    difference: float | None
    low: float | None
    high: float | None
    verdict: VerdictWord
    decided_at: int | None
    measure: Measure | None
    """What its labels are where they never certify by themselves."""
    unjudged: int
    """Units that could not be judged."""
    still_needed: int | None
    """More units to certify at the present estimate; `None`: more will not help, or it cannot be said."""
    points: tuple[Point, ...]


class TrialWatch(msgspec.Struct, frozen=True, kw_only=True):
    trial: str
    pairs: int
    items: int
    """Pairs at most."""
    finished: bool
    slices: tuple[SliceWatch, ...]
    spent_nanousd: int | None
    """Of the replays so far; `None`: the cost of one is unknown, or all were recalled."""


def watch(layout: Layout, plan: TrialPlan, evidence: Evidence | None = None) -> TrialWatch:
    """`evidence`: of a trial that has ended, which then stands for the journal."""
    folder = layout.trial(plan.trial)
    outcomes = read_outcomes(folder, plan)
    if evidence is not None:
        walk = walked(plan, evidence)
    else:
        walk = Walk(plan)
        walk.advance(outcomes)
    costs = [getattr(one, "cost_nanousd", None) for one in outcomes.values()]
    known = [cost for cost in costs if cost is not None]
    return TrialWatch(
        trial=plan.trial,
        pairs=walk.pairs,
        items=plan.items,
        finished=evidence is not None or is_finished(folder),
        slices=tuple(_slice(walk, name) for name in sorted(plan.judged, key=lambda one: -plan.judged[one])),
        spent_nanousd=sum(known) if known and len(known) == len(costs) else None,
    )


def _slice(walk: Walk, name: str) -> SliceWatch:
    state = walk.state(name)
    has = state is not None and state.n > 0
    certifies = walk.decider is not None and name not in walk.measured
    verdict: VerdictWord = "undecided" if state is None else state.verdict
    # In a sweep a certificate is the whole family's to give; one candidate's journal cannot know it.
    decided = verdict != "undecided" and not (walk.plan.settings.family and verdict == "non_inferior")
    return SliceWatch(
        slice=name,
        weight=walk.plan.weights[name],
        units=0 if state is None else state.n,
        units_planned=sum(unit.slice == name for unit in walk.plan.units),
        difference=state.difference if has and state is not None else None,
        low=state.interval[0] if has and state is not None else None,
        high=state.interval[1] if has and state is not None else None,
        verdict=verdict if decided else "undecided",
        decided_at=state.decided_at if state is not None and decided else None,
        measure=walk.measured.get(name),
        unjudged=len({row.reason for row in walk.unjudged.get(name, [])}),
        still_needed=walk.decider.still_needed(name, walk.candidate) if certifies and has and walk.decider else None,
        points=tuple(Point(one.n, one.mean, one.low, one.high) for one in walk.trace(name, POINTS)),
    )
