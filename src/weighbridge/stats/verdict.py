"""The decision of a whole trial, fed unit by unit: slices, candidates, their family, and the whole.

A pure value machine: the same units fed in the same order always give the same states, so a trial that was interrupted
resumes by feeding its stored differences again. What callers must keep:

- units come in an order that was fixed before any outcome (`Decider.draws`, or a seeded shuffle), not as they finish:
  long answers finish late;
- which candidates an item is replayed on is decided before any outcome on that item is seen, and an item is one step
  for all of them (`feed_item`);
- a unit that cannot be graded is not silently dropped.

The first decision of a slice and candidate is final. Certificates are family-wise at alpha over slices x candidates; a
halt is at alpha per comparison (a false halt costs savings, not quality). The whole has its own alpha, over
candidates.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from weighbridge.stats.bets import check_alpha, check_difference, check_margin, check_weights
from weighbridge.stats.family import Family
from weighbridge.stats.overall import Draw, OverallTest, draw_order
from weighbridge.stats.planner import pairs_still_needed, pairs_until_halt
from weighbridge.stats.sequential import Interval, PairTest, TracePoint

Outcome = Literal["non_inferior", "inferior", "undecided"]


@dataclass(frozen=True, slots=True)
class SliceState:
    """Where one slice (or the whole) and candidate stand.

    n: units seen. difference: mean difference so far, None before the first. interval: [low, high] at level 1 - 2
    alpha for this comparison alone; once decided, cut with the interval at the decision, so that it never contradicts
    the verdict. decided_at: units at the decision, None while undecided. certify, halt: current log e-values.
    """

    n: int
    difference: float | None
    interval: Interval
    verdict: Outcome
    decided_at: int | None
    certify: float
    halt: float


@dataclass(frozen=True, slots=True)
class _Decision:
    verdict: Outcome
    at: int


class Decider:
    """All tests of one trial.

    margin in (0, 1), alpha in (0, 0.5). slices: traffic weight of each slice that is judged, positive, frozen before
    the trial (normalised here). candidates: their names. seed: of the order of `draws`. Errors: ValueError.
    """

    def __init__(
        self,
        margin: float,
        alpha: float,
        slices: Mapping[str, float],
        candidates: Sequence[str] = ("candidate",),
        seed: int = 0,
    ) -> None:
        self.margin, self.alpha, self.seed = check_margin(margin), check_alpha(alpha), seed
        check_weights(list(slices.values()), list(slices))
        if not candidates or len(set(candidates)) != len(candidates):
            raise ValueError(f"candidates are {list(candidates)!r}: allowed is one name or more, each once")
        self.slices, self.candidates = dict(slices), tuple(candidates)
        self._halt_threshold = -math.log(self.alpha)
        names = [(s, c) for s in self.slices for c in self.candidates]
        self._tests = {name: PairTest(self.margin, self.alpha) for name in names}
        self._family: Family[tuple[str, str]] = Family(self.alpha, names)
        self._wholes = {c: OverallTest(self.margin, self.alpha, self.slices) for c in self.candidates}
        self._whole_family: Family[str] = Family(self.alpha, self.candidates)
        self._decisions: dict[tuple[str, str], _Decision] = {}
        self._whole_decisions: dict[str, _Decision] = {}

    def draws(self, frame: Mapping[str, int], *, fill: bool = True) -> list[Draw]:
        """The order of the items of a frame (items per slice) for this trial's weights and seed; see `draw_order`."""
        return draw_order(self.slices, frame, self.seed, fill=fill)

    def feed(self, slice_name: str, candidate: str, d: float, draw: Draw | None = None) -> None:
        """One complete unit of a trial with one candidate; `feed_item` where there are several.

        draw: the draw that chose the item. Without it the unit counts for its slice only, unless there is one slice.
        """
        if len(self.candidates) > 1:
            raise ValueError(
                f"one outcome of {candidate!r} in a trial of {len(self.candidates)} candidates: allowed is feed_item "
                "with the outcomes of all candidates that the item was replayed on, because an item is one step"
            )
        self.feed_item(slice_name, {candidate: d}, draw)

    def feed_item(
        self,
        slice_name: str,
        outcomes: Mapping[str, float],
        draw: Draw | None = None,
        speaking: Collection[str] | None = None,
    ) -> None:
        """One item complete for every candidate that it was replayed on: their differences, by name.

        speaking: the candidates whose whole this item is a draw of, all of them by default. Fixed before the outcome:
        a candidate that no longer takes every draw must not be fed those it still takes for a slice's sake.
        """
        if slice_name not in self.slices:
            raise ValueError(f"slice {slice_name!r} is not judged in this trial: allowed are {list(self.slices)}")
        for candidate, d in outcomes.items():
            if candidate not in self._wholes:
                raise ValueError(f"candidate {candidate!r} is not in this trial: allowed are {list(self.candidates)}")
            check_difference(d, f"difference of {candidate!r} in slice {slice_name!r}")
        if draw is not None and draw.slice != slice_name:
            raise ValueError(
                f"unit of slice {slice_name!r}, draw of slice {draw.slice!r}: allowed is the draw's own slice"
            )
        # A single slice is the whole, and one stream must not be judged by two slightly different tests.
        whole = len(self.slices) > 1 and draw is not None and draw.whole
        current: dict[tuple[str, str], float] = {}
        current_whole: dict[str, float] = {}
        for candidate, d in outcomes.items():
            test = self._tests[slice_name, candidate]
            test.update(d)
            current[slice_name, candidate] = test.certify
            if whole and (speaking is None or candidate in speaking):
                self._wholes[candidate].update(slice_name, d, draw)
                current_whole[candidate] = self._wholes[candidate].certify
        # Halts first: a comparison that is halted is never certified afterwards.
        for name in current:
            if name not in self._decisions and self._tests[name].halt >= self._halt_threshold:
                self._decisions[name] = _Decision("inferior", self._tests[name].n)
        for name in self._family.update(current):
            self._decisions.setdefault(name, _Decision("non_inferior", self._tests[name].n))
        for candidate in current_whole:
            stream = self._wholes[candidate]
            if candidate not in self._whole_decisions and stream.halt >= self._halt_threshold:
                self._whole_decisions[candidate] = _Decision("inferior", stream.n)
        for candidate in self._whole_family.update(current_whole):
            self._whole_decisions.setdefault(candidate, _Decision("non_inferior", self._wholes[candidate].n))

    def verdict(self, slice_name: str, candidate: str) -> Outcome:
        """The verdict alone, without the cost of an interval."""
        decision = self._decisions.get((slice_name, candidate))
        return "undecided" if decision is None else decision.verdict

    def whole_verdict(self, candidate: str) -> Outcome:
        """The verdict of a candidate's whole alone; with a single slice that of the slice."""
        if len(self.slices) == 1:
            return self.verdict(next(iter(self.slices)), candidate)
        decision = self._whole_decisions.get(candidate)
        return "undecided" if decision is None else decision.verdict

    def state(self, slice_name: str, candidate: str) -> SliceState:
        """Where one slice and candidate stand; computes the interval (about 1 ms per 1,000 units)."""
        return self._state(self._tests[slice_name, candidate], self._decisions.get((slice_name, candidate)))

    def overall(self, candidate: str) -> SliceState:
        """Where the traffic-weighted whole of a candidate stands; n counts the units that spoke for the whole.

        With a single slice this is the state of that slice.
        """
        if len(self.slices) == 1:
            return self.state(next(iter(self.slices)), candidate)
        return self._state(self._wholes[candidate], self._whole_decisions.get(candidate))

    def _state(self, test: PairTest | OverallTest, decision: _Decision | None) -> SliceState:
        interval = test.interval()
        if decision is None:
            return SliceState(test.n, test.mean, interval, "undecided", None, test.certify, test.halt)
        interval = cut_interval(interval, test.interval(decision.at), decision.verdict, self.margin)
        return SliceState(test.n, test.mean, interval, decision.verdict, decision.at, test.certify, test.halt)

    def trace(self, slice_name: str, candidate: str, points: int = 48) -> list[TracePoint]:
        """The interval of one slice and candidate as it narrowed, for a chart."""
        return self._tests[slice_name, candidate].trace(points)

    def still_needed(self, slice_name: str, candidate: str) -> int | None:
        """More pairs to certify this slice and candidate at the current estimate, all other comparisons as they are.

        0 once certified; None: more pairs will not help (`planner.pairs_still_needed`).
        """
        if self.verdict(slice_name, candidate) == "inferior":
            return None
        required = self._family.required((slice_name, candidate))
        return pairs_still_needed(self._tests[slice_name, candidate], required)

    def until_halt(self, slice_name: str, candidate: str) -> int | None:
        """More pairs to prove this slice and candidate inferior at the current estimate; None: it will not be."""
        if self.verdict(slice_name, candidate) == "non_inferior":
            return None
        return pairs_until_halt(self._tests[slice_name, candidate])

    @property
    def all_decided(self) -> bool:
        """Every slice has its verdict for every candidate."""
        return len(self._decisions) == len(self._tests)

    @property
    def whole_decided(self) -> bool:
        """The whole has its verdict for every candidate."""
        if len(self.slices) == 1:
            return self.all_decided
        return len(self._whole_decisions) == len(self.candidates)


def cut_interval(now: Interval, then: Interval, verdict: Outcome, margin: float) -> Interval:
    """The interval of a decided comparison: the current one cut with the one at the decision.

    Both belong to one confidence sequence, which holds at all times together, so their intersection has the same level;
    and it lies on the side of -margin that the verdict names.
    """
    then_low, then_high = then
    if verdict == "non_inferior":
        then_low = max(then_low, -margin)
    elif verdict == "inferior":
        then_high = min(then_high, -margin)
    cut = (max(now[0], then_low), min(now[1], then_high))
    # Empty only where the stream turned after the decision, against the assumption of one mean: the decision stands.
    return cut if cut[0] <= cut[1] else (then_low, then_high)
