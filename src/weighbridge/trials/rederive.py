"""Verdicts derived again from their evidence: the same pairs in the planned order must give the same figures.

`weighbridge verify` proves that stored bytes are what was written. This proves that the verdict follows from them: that
no pair was left out of the planned order without a reason, and that the tests say what the verdict says.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from weighbridge.errors import WeighbridgeError
from weighbridge.exchanges.chain import Chain
from weighbridge.records.evidence import Evidence, SliceVerdict, Verdict
from weighbridge.records.trial import split_of
from weighbridge.stats.verdict import SliceState
from weighbridge.store.layout import Layout
from weighbridge.trials.conclude import ERASED_MEANWHILE
from weighbridge.trials.outcome import Gone, Outcome, Scored, Unjudged
from weighbridge.trials.plan import TrialPlan, read_object
from weighbridge.trials.sweep.record import Sweep
from weighbridge.trials.sweep.walk import SweepWalk
from weighbridge.trials.walk import Walk

T = TypeVar("T", bound=msgspec.Struct)
TOLERANCE = 1e-6
"""Figures may differ by so much: sums of logarithms are not the same to the last bit on every machine."""


class Disagreement(msgspec.Struct, frozen=True, kw_only=True):
    where: str
    """The verdict's object, relative to the store."""
    what: str


class Rederived(msgspec.Struct, frozen=True, kw_only=True):
    verdicts: int
    """How many were derived again."""
    disagreements: tuple[Disagreement, ...]


def rederive(layout: Layout) -> Rederived:
    """Derive every trial's verdict in the store again. Missing and changed objects are left to `verify`."""
    objects = Chain(layout).snapshot().objects
    plans = [_read(layout, row.digest, TrialPlan) for row in objects if row.kind == "trial"]
    found: list[Disagreement] = []
    checked = 0
    for row in objects:
        if row.kind != "verdict":
            continue
        verdict = _read(layout, row.digest, Verdict)
        if verdict is None or verdict.trial is None or verdict.evidence is None:
            continue
        evidence = _read(layout, verdict.evidence, Evidence)
        if evidence is None:
            continue
        where = f"objects/{row.digest}"
        plan = next((one for one in plans if one is not None and _belongs(one, evidence)), None)
        if plan is None:
            found.append(Disagreement(where=where, what=f"the plan of trial {evidence.trial} is not in the store"))
            continue
        checked += 1
        tuned = tuned_away(plan, [one for one in plans if one is not None])
        if tuned is not None:
            said = [tuned]
        elif verdict.sweep is not None:
            said = sweep_disagreements(layout, verdict, evidence, [one for one in plans if one is not None])
        else:
            said = disagreements(plan, evidence, verdict)
        found += [Disagreement(where=where, what=what) for what in said]
    return Rederived(verdicts=checked, disagreements=tuple(found))


def _read(layout: Layout, name: str, kind: type[T]) -> T | None:
    try:
        return read_object(layout, name, kind)
    except WeighbridgeError:
        return None


def _belongs(plan: TrialPlan, evidence: Evidence) -> bool:
    return (plan.trial, plan.span.digest, plan.graders) == (evidence.trial, evidence.span.digest, evidence.graders)


def tuned_away(plan: TrialPlan, plans: Sequence[TrialPlan]) -> str | None:
    """Was an arm judged on traffic that its prompt may have been tuned on? What is wrong, `None` where nothing is."""
    if plan.settings.split == "a":
        return "drawn from the split that prompts are tuned on"
    if plan.settings.split == "b":
        return None
    for other in plans:
        looked = other.settings.split == "a" and other.settings.route == plan.settings.route
        if looked and other.created_ns < plan.created_ns and (plan.adapted or other.arm == plan.arm):
            return f"its prompt was tuned on split A of the route ({other.trial}), and its plan is of all traffic"
    return None


def sweep_disagreements(layout: Layout, verdict: Verdict, evidence: Evidence, plans: Sequence[TrialPlan]) -> list[str]:
    """What does not follow in a verdict of a sweep: its family is walked again, all candidates together."""
    assert verdict.sweep is not None  # noqa: S101 (asked by the caller)
    sweep = _read(layout, verdict.sweep, Sweep)
    if sweep is None:
        return [f"its sweep {verdict.sweep[:12]} is not in the store, or was changed"]
    members: dict[str, tuple[TrialPlan, Evidence]] = {}
    for row in sweep.rows:
        other = _read(layout, row.evidence, Evidence)
        plan = None if other is None else next((one for one in plans if _belongs(one, other)), None)
        if other is None or plan is None:
            return [f"evidence or plan of {row.candidate}, a candidate of its sweep, is not in the store"]
        members[row.candidate] = (plan, other)
    if members.get(str(verdict.candidate), (None, None))[1] != evidence:
        return ["its evidence is not the one that its sweep names"]
    return family_disagreements(members, sweep, verdict)


def family_disagreements(
    members: Mapping[str, tuple[TrialPlan, Evidence]], sweep: Sweep, verdict: Verdict
) -> list[str]:
    """The same, from the family's plans and evidence by candidate. Pure."""
    outcomes: dict[str, dict[str, Outcome]] = {}
    first = next(iter(members.values()))[0]
    for name, (plan, evidence) in members.items():
        found = foreign_pairs(plan, evidence)
        if (plan.units, plan.weights, plan.settings.family) != (first.units, first.weights, first.settings.family):
            found.append("its plan is another than the one of its sweep")
        if found:
            return [f"{name}: {what}" for what in found]
        outcomes[name] = _outcomes(plan, evidence, sweep.units)
    family = [name.partition(" ")[0] for name in first.settings.family]
    if sorted(members) != sorted(family):
        return [f"its sweep has candidates {', '.join(sorted(members))}, the plan {', '.join(sorted(family))}"]
    # In the planned order: of equal e-values the first one of the family is certified first.
    walk = SweepWalk({name: members[name][0] for name in family}, outcomes)
    for row in sweep.rows:
        if row.left_out_at is not None:
            walk.leave_out(row.candidate, row.left_out_at)
    walk.advance(sweep.units)
    lane = walk.lanes[str(verdict.candidate)]
    return stray(lane, members[lane.candidate][1], verdict)


def disagreements(plan: TrialPlan, evidence: Evidence, verdict: Verdict) -> list[str]:
    """What does not follow. Pure."""
    found = foreign_pairs(plan, evidence)
    return found or stray(walked(plan, evidence), evidence, verdict)


def foreign_pairs(plan: TrialPlan, evidence: Evidence) -> list[str]:
    """Pairs that the plan does not allow."""
    if evidence.split != plan.settings.split:
        return [f"the evidence says split {evidence.split}, the plan {plan.settings.split}"]
    if evidence.split is not None:
        seen = [pair.item for pair in evidence.pairs if split_of(pair.cluster) != evidence.split]
        if seen:
            return [f"{len(seen)} pairs are of the split that the prompt was tuned on, {seen[0]} for one"]
    known = {pair.item: pair for pair in evidence.pairs}
    foreign = known.keys() - {name for unit in plan.units for name in unit.items}
    if foreign:
        return [f"{len(foreign)} pairs are not in the plan, {min(foreign)} for one"]
    return []


def stray(walk: Walk, evidence: Evidence, verdict: Verdict) -> list[str]:
    """Where evidence and verdict differ from a walk over the evidence's own pairs."""
    plan = walk.plan
    if [one.item for _, scored in walk.taken for one in scored] != [pair.item for pair in evidence.pairs]:
        return ["the pairs are not those that the planned order gives"]
    if walk.gone > evidence.span.left_out.get(ERASED_MEANWHILE, 0):
        return [f"{walk.gone} pairs of the planned order are missing without a reason"]
    lacking = {name: len({row.reason for row in rows}) for name, rows in walk.unjudged.items()}
    too_many = [name for name, units in lacking.items() if units > evidence.failed.get(name, 0)]
    if too_many:
        return [f"{too_many[0]}: more pairs of the planned order are missing than replays failed"]
    found = []
    for name in sorted(plan.judged):
        row = next((one for one in verdict.verdicts if one.slice == name), None)
        state = walk.state(name)
        if row is None or state is None:
            found.append(f"{name}: judged in the plan, absent from the verdict")
            continue
        may_decide = name not in walk.agreement and name not in evidence.failed
        found += _compare(row, state, may_decide=may_decide)
    if walk.decider is not None:
        may_decide = walk.whole_possible and not evidence.failed
        found += _compare(verdict.overall, walk.decider.overall(walk.candidate), may_decide=may_decide)
    return found


def walked(plan: TrialPlan, evidence: Evidence) -> Walk:
    """The walk of a trial that has ended, from its plan and its pairs."""
    walk = Walk(plan)
    walk.advance(_outcomes(plan, evidence))
    return walk


def _outcomes(plan: TrialPlan, evidence: Evidence, units: int | None = None) -> dict[str, Outcome]:
    """The pairs as outcomes; what is missing before the last of them failed or was erased, as the evidence says.

    units: how far the walk came, where that is known.
    """
    found: dict[str, Outcome] = {
        pair.item: Scored(
            item=pair.item, replay=pair.replay, incumbent=pair.incumbent, candidate=pair.candidate, length=pair.length
        )
        for pair in evidence.pairs
    }
    places = [at for at, unit in enumerate(plan.units) if any(name in found for name in unit.items)]
    end = max(places, default=-1) + 1 if units is None else units
    for at, unit in enumerate(plan.units[:end]):
        for name in unit.items:
            if name not in found:
                failed = Unjudged(item=name, reason=f"unit {at}")
                found[name] = failed if unit.slice in evidence.failed else Gone(item=name)
    return found


def _compare(row: SliceVerdict, state: SliceState, *, may_decide: bool) -> list[str]:
    want: list[tuple[str, object, object]] = [
        ("clusters", row.clusters, state.n),
        ("verdict", row.verdict, state.verdict if may_decide else "undecided"),
        ("decided_at", row.decided_at, state.decided_at if may_decide else None),
    ]
    found = [f"{row.slice}: {name} is {said}, the pairs give {gives}" for name, said, gives in want if said != gives]
    figures = [("difference", row.difference, state.difference)]
    if row.interval is not None:
        figures += [("interval", row.interval[0], state.interval[0]), ("interval", row.interval[1], state.interval[1])]
    for name, said_figure, gives_figure in figures:
        if said_figure is None or gives_figure is None:
            if said_figure is not gives_figure:
                found.append(f"{row.slice}: {name} is {said_figure}, the pairs give {gives_figure}")
        elif abs(said_figure - gives_figure) > TOLERANCE:
            found.append(f"{row.slice}: {name} is {said_figure:.6f}, the pairs give {gives_figure:.6f}")
    return found
