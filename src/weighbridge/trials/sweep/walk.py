"""Many walks with one cursor. Pure.

Which candidates an item is a step for is decided when the cursor reaches it, from earlier items alone: those that still
want a unit of its slice, or of the whole. All of them must have their outcome before the family looks. A candidate
that is inferior on the whole is a loser and wants nothing any more; one whose endpoint or money gave out is left out
from there on. Stopped candidates keep their last e-value and stay in the family.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from weighbridge.stats.verdict import Decider
from weighbridge.trials.outcome import Outcome
from weighbridge.trials.plan import TrialPlan
from weighbridge.trials.walk import Step, Walk, certifying_slices

Outcomes = Mapping[str, Outcome]
"""Item -> what came of it, for one candidate."""


class Lane(Walk):
    """One candidate of a sweep; its cursor is the sweep's."""

    def __init__(self, plan: TrialPlan, decider: Decider | None, sweep: "SweepWalk") -> None:
        super().__init__(plan, decider, plan.settings.candidate)
        self._sweep = sweep
        self.left_out_at: int | None = None
        """The unit from which on it could not be asked any more."""
        self.spared: Counter[str] = Counter()
        """Slice -> replays that others made and this one did not need, because it had lost there."""
        self.settled: Counter[str] = Counter()
        """The same where it was certified already."""

    @property
    def lost(self) -> bool:
        """Proved worse on the whole."""
        return self.decider is not None and self.decider.whole_verdict(self.candidate) == "inferior"

    @property
    def left_out(self) -> bool:
        return self.left_out_at is not None and self.cursor >= self.left_out_at

    @property
    def cut_short(self) -> bool:
        return self.left_out_at is not None

    @property
    def all_decided(self) -> bool:
        return self.lost or self.left_out or super().all_decided

    def wanted(self, position: int) -> bool:
        return not self.lost and not self.left_out and super().wanted(position)

    @property
    def waits(self) -> bool:
        """Has this candidate done its part for the unit at the cursor, so that only others can move it on?"""
        if self.finished:
            return False
        if not self.wanted(self.cursor):
            return True
        outcomes = self._sweep.outcomes[self.candidate]
        return all(item in outcomes for item in self.plan.units[self.cursor].items)

    def advance(self, outcomes: Mapping[str, Outcome]) -> None:
        """Take units as far as the outcomes of all candidates are there; `outcomes` is the one that the sweep knows."""
        del outcomes
        self._sweep.advance()


class SweepWalk:
    """The state of a sweep's tests after the units taken so far.

    plans: by candidate, over the same units, weights, margin, alpha and seed. outcomes: by candidate; they may grow.
    """

    def __init__(self, plans: Mapping[str, TrialPlan], outcomes: Mapping[str, Outcomes]) -> None:
        first = next(iter(plans.values()))
        certifying = certifying_slices(first)
        settings = first.settings
        self.decider = (
            Decider(settings.margin, settings.alpha, certifying, tuple(plans), settings.seed) if certifying else None
        )
        self.outcomes = outcomes
        self.lanes = {name: Lane(plan, self.decider, self) for name, plan in plans.items()}
        self.units = first.units
        self.cursor = 0

    def leave_out(self, candidate: str, at: int | None = None) -> None:
        """It cannot be asked any more: from the unit `at`, or else from the cursor on, it is a step of no item."""
        lane = self.lanes[candidate]
        if lane.left_out_at is None:
            lane.left_out_at = self.cursor if at is None else at

    def advance(self, until: int | None = None) -> bool:
        """Take units as far as outcomes are there, at most up to `until`. Did the cursor move?"""
        began = self.cursor
        end = len(self.units) if until is None else min(until, len(self.units))
        while self.cursor < end:
            # Who takes part is fixed here, before this unit's outcomes are looked at.
            wanting = [lane for lane in self.lanes.values() if not lane.all_decided and lane.wanted(self.cursor)]
            if not wanting and all(lane.all_decided for lane in self.lanes.values()):
                break
            unit = self.units[self.cursor]
            found = {
                lane.candidate: [self.outcomes[lane.candidate].get(item) for item in unit.items] for lane in wanting
            }
            if any(None in row for row in found.values()):
                break
            self._count(wanting)
            steps = {
                lane.candidate: step
                for lane in wanting
                if (step := lane.take(unit, [one for one in found[lane.candidate] if one is not None])) is not None
            }
            self._feed(unit.slice, steps)
            self._move(self.cursor + 1)
        return self.cursor > began

    def _feed(self, slice_name: str, steps: Mapping[str, Step]) -> None:
        if self.decider is None or not steps:
            return
        speaking = [name for name, step in steps.items() if step.draw.whole]
        draw = next((step.draw for step in steps.values() if step.draw.whole), next(iter(steps.values())).draw)
        differences = {name: step.difference for name, step in steps.items()}
        self.decider.feed_item(slice_name, differences, draw if speaking else replace(draw, whole=False), speaking)

    def _count(self, wanting: list[Lane]) -> None:
        """Whom this unit is spared, where somebody is asked."""
        if not wanting:
            return
        unit = self.units[self.cursor]
        for lane in self.lanes.values():
            if lane in wanting or lane.left_out:
                continue
            lost = lane.lost or (
                self.decider is not None
                and unit.slice in self.decider.slices
                and self.decider.verdict(unit.slice, lane.candidate) == "inferior"
            )
            (lane.spared if lost else lane.settled)[unit.slice] += len(unit.items)

    def _move(self, cursor: int) -> None:
        self.cursor = cursor
        for lane in self.lanes.values():
            lane.cursor = cursor
