"""Feeding outcomes to the tests in the planned order, whatever order they finish in. Pure: no clock, no I/O.

The walk has a cursor. It takes the next unit once all its outcomes are there, or passes it over when nothing needs it
any more, and stops where an outcome is missing. What it has taken is therefore a function of the plan and the outcomes
alone: an interrupted trial that goes on ends with the same pairs and the same verdict.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal, NamedTuple

from weighbridge.records.evidence import GraderUse
from weighbridge.stats.length import LengthTerm
from weighbridge.stats.overall import Draw
from weighbridge.stats.sequential import PairTest, TracePoint
from weighbridge.stats.verdict import Decider, SliceState
from weighbridge.trials.frame import Unit, draws_of
from weighbridge.trials.outcome import Outcome, Scored, Unjudged
from weighbridge.trials.plan import TrialPlan

CANDIDATE = "candidate"
Measure = Literal["agreement", "judge"]
JUDGING = ("judge", "rubric")


def measure_of(use: GraderUse) -> Measure | None:
    """What a grader's labels are where they never certify by themselves; `None` where they may."""
    if use.kind in JUDGING:
        return "judge"
    return "agreement" if use.reference == "incumbent" else None


def certifying_slices(plan: TrialPlan) -> dict[str, float]:
    """The judged slices whose labels may certify, with their weights."""
    measured = {use.slice for use in plan.graders if measure_of(use) is not None}
    return {name: weight for name, weight in plan.judged.items() if name not in measured}


class Step(NamedTuple):
    """What a unit means to the tests of the slices that may certify."""

    difference: float
    draw: Draw


class Walk:
    """The state of a trial's tests after the units taken so far."""

    def __init__(self, plan: TrialPlan, decider: Decider | None = None, candidate: str = CANDIDATE) -> None:
        """decider: the tests of a family of candidates, this one among them; else the candidate is judged alone."""
        self.plan = plan
        self.candidate = candidate
        self._threshold = -math.log(plan.settings.alpha)
        settings = plan.settings
        judged = plan.judged
        self.measured = {use.slice: measure for use in plan.graders if (measure := measure_of(use)) is not None}
        """Slices whose labels never certify by themselves -> what they are."""
        self.agreement = {name: PairTest(settings.margin, settings.alpha) for name in judged if name in self.measured}
        certifying = certifying_slices(plan)
        self._length = {name: LengthTerm() for name, measure in self.measured.items() if measure == "judge"}
        self.decider = decider
        if decider is None and certifying:
            self.decider = Decider(settings.margin, settings.alpha, certifying, (candidate,), settings.seed)
        self._draws = draws_of(plan.counts, judged, settings.seed, plan.units, settings.shuffle) if judged else []
        # The whole speaks for all traffic or not at all.
        self.whole_possible = self.decider is not None and not self.agreement and not plan.unjudged
        self.cursor = 0
        self._taken_draws: list[Draw] = []
        self.taken: list[tuple[Unit, tuple[Scored, ...]]] = []
        self.unjudged: dict[str, list[Unjudged]] = {}
        self.judge_differences: dict[str, float] = {}
        """Item -> what its judge counts for, the liking for length taken out."""
        self.gone = 0
        self.pairs = 0
        """Pairs of all units taken."""

    def decided(self, slice_name: str) -> bool:
        """Needs this slice no more pairs of its own?"""
        test = self.agreement.get(slice_name)
        if test is not None:
            return max(test.certify, test.halt) >= self._threshold
        return self.decider is not None and self.decider.verdict(slice_name, self.candidate) != "undecided"

    @property
    def whole_wanted(self) -> bool:
        return (
            self.whole_possible
            and self.decider is not None
            and self.decider.whole_verdict(self.candidate) == "undecided"
        )

    def wanted(self, position: int) -> bool:
        """Would the unit at this place be taken, as things stand? Only ever turns from yes to no."""
        return not self.decided(self.plan.units[position].slice) or (self.whole_wanted and self._draws[position].whole)

    @property
    def finished(self) -> bool:
        """Nothing is left that any test wants."""
        return self.cursor >= len(self.plan.units) or self.all_decided

    @property
    def all_decided(self) -> bool:
        return not self.whole_wanted and all(self.decided(name) for name in self.plan.judged)

    @property
    def waits(self) -> bool:
        """Can only the outcomes of others move the cursor? Never, where one candidate is judged alone."""
        return False

    @property
    def cut_short(self) -> bool:
        """Did the others go on without it? Never, where one candidate is judged alone."""
        return False

    def ahead(self) -> Iterator[int]:
        """Places from the cursor on whose units are wanted as things stand, in order."""
        if self.all_decided:
            return
        for position in range(self.cursor, len(self.plan.units)):
            if self.wanted(position):
                yield position

    def advance(self, outcomes: Mapping[str, Outcome]) -> None:
        """Take units as far as outcomes are there."""
        units = self.plan.units
        while self.cursor < len(units) and not self.all_decided:
            if self.wanted(self.cursor):
                unit = units[self.cursor]
                found = [outcomes.get(item) for item in unit.items]
                if None in found:
                    return
                step = self.take(unit, [one for one in found if one is not None])
                if step is not None and self.decider is not None:
                    self.decider.feed(unit.slice, self.candidate, step.difference, step.draw)
            self.cursor += 1

    def take(self, unit: Unit, found: list[Outcome]) -> Step | None:
        """Take the unit at the cursor; returns what the decider has to be fed, if anything."""
        failed = [one for one in found if isinstance(one, Unjudged)]
        scored = tuple(one for one in found if isinstance(one, Scored))
        self.gone += len(found) - len(failed) - len(scored)
        if failed:
            # Half a conversation is not a unit. Its slice stays undecided until the missing replays are made.
            self.unjudged.setdefault(unit.slice, []).extend(failed)
            return None
        if not scored:
            return None
        difference = sum(self._difference(unit.slice, one) for one in scored) / len(scored)
        draw = self._draws[self.cursor]
        if draw.whole and not self.whole_wanted:
            # From here on decided slices are passed over: what is left is no longer a draw of all traffic, and the
            # whole's estimate and interval would drift towards the slices that take longest.
            draw = replace(draw, weight=0.0, weight_max=0.0, whole=False)
        self._taken_draws.append(draw)
        self.taken.append((unit, scored))
        self.pairs += len(scored)
        test = self.agreement.get(unit.slice)
        if test is not None:
            test.update(difference)
            return None
        return Step(difference, draw)

    def _difference(self, slice_name: str, one: Scored) -> float:
        """The difference of a pair; a judge's without its liking for length, as far as that is known by now."""
        difference = one.candidate - one.incumbent
        term = self._length.get(slice_name)
        if term is None:
            return difference
        adjusted = self.judge_differences[one.item] = term.take(difference, one.length or 0.0)
        return adjusted

    def pairs_of(self, slice_name: str) -> int:
        return sum(len(scored) for unit, scored in self.taken if unit.slice == slice_name)

    @property
    def whole_taken(self) -> list[tuple[Draw, tuple[Scored, ...]]]:
        """The units that spoke for the whole, with the draws that chose them."""
        return [(draw, scored) for draw, (_, scored) in zip(self._taken_draws, self.taken, strict=True) if draw.whole]

    def state(self, slice_name: str) -> SliceState | None:
        """Where a judged slice stands; for agreement slices the verdict word means nothing and is `undecided`."""
        test = self.agreement.get(slice_name)
        if test is not None:
            return SliceState(test.n, test.mean, test.interval(), "undecided", None, test.certify, test.halt)
        return None if self.decider is None else self.decider.state(slice_name, self.candidate)

    def trace(self, slice_name: str, points: int = 48) -> list[TracePoint]:
        """The interval of a judged slice as it narrowed so far, for a chart."""
        test = self.agreement.get(slice_name)
        if test is not None:
            return test.trace(points)
        return [] if self.decider is None else self.decider.trace(slice_name, self.candidate, points)
