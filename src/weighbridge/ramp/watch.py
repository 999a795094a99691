"""One stage of one ramp, watched: sightings of all hosts are counted, from the stage's first route table on.

A function of what it is given, so whoever gets the same sightings knows the same.
"""

from collections import deque

from weighbridge.ramp.controller import Evidence
from weighbridge.ramp.observe import Observer
from weighbridge.ramp.sightings import Asked, Copied, Outcome, Paired, Sighting, Tried
from weighbridge.ramp.streams import RATE_SEEN_MIN, SLOW, Monitor
from weighbridge.records.ramp import RampState

MINUTE_NS = 60 * 1_000_000_000
LEARN_EVERY = 50
LIMIT_MINUTES = 10
"""What an arm answered with 429 or 503 longer ago says nothing about its limit now."""
OUTCOMES_MAX = 5000
"""Outcomes that wait for their conversation: it may have been on another host, which has not told of it yet."""


class _Limits:
    """Of one arm: how many of its answers of the last minutes said that it is at its limit."""

    def __init__(self) -> None:
        self._minutes: dict[int, list[int]] = {}

    def add(self, minute: int, limited: int, answers: int) -> None:
        if minute not in self._minutes:
            self._minutes[minute] = [0, 0]
            newest = max(self._minutes)  # hosts do not tell in one order
            for old in [one for one in self._minutes if newest - one >= LIMIT_MINUTES]:
                del self._minutes[old]
        counts = self._minutes.get(minute)
        if counts is not None:
            counts[0] += limited
            counts[1] += answers

    @property
    def counts(self) -> tuple[int, int]:
        rows = self._minutes.values()
        return sum(row[0] for row in rows), sum(row[1] for row in rows)


class Watch:
    def __init__(
        self,
        state: RampState,
        table_from: int,
        trial_failures: tuple[int, int] | None,
        before: "Watch | None" = None,
    ) -> None:
        """`before` is the watch of the stage before: what is usual goes on from what was usual there."""
        self._table_from = table_from
        self._stage, self._plan = state.standing, state.plan
        self._incumbent, self._candidate = state.incumbent, state.candidate
        self._above = dict(state.slow_above)
        self._live = state.standing not in ("proposed", "shadow")
        self._observer: Observer = Observer() if before is None else before._observer
        self._untold: deque[Outcome] = deque(maxlen=OUTCOMES_MAX)
        self.monitor = Monitor(state, trial_failures)
        self._doubt_after = state.doubt_after
        self._learned = 0
        self._minutes: dict[int, int] = {}
        self._limits = {state.incumbent: _Limits(), state.candidate: _Limits()}
        self.copies_nanousd = 0
        self.copies_unknown = 0
        self._cost = self._cost_known = 0
        self._cost_before = None if before is None else before.cost_nanousd()
        self._errors_before = None if before is None else before.error_rate()
        self._tried = (0, 0)
        """What answers of the candidate in trials cost, and how many there were."""
        self._usual = (0, 0)
        """Of the incumbent's requests before the stage: failed, and all."""
        self.slices: dict[str, int] = {}
        """Of users, answered, since the stage began."""
        self.requests = 0
        """Of users, since the stage began."""

    def take(self, sighting: Sighting) -> None:
        """In the order of each host's log. After an alarm nothing is counted any more."""
        if self.monitor.alarmed:
            return
        match sighting:
            case Asked():
                if sighting.look is not None:
                    self._observer.turn(sighting.look)
                if sighting.table >= self._table_from:
                    self._user(sighting)
                elif sighting.look is not None and not sighting.look.candidate:
                    self._usual = self._usual[0] + sighting.look.failed, self._usual[1] + 1
                if sighting.look is not None:
                    self._observer.learn(sighting.look)
                self._complete()
            case Tried():
                self._tried = self._tried[0] + sighting.cost_nanousd, self._tried[1] + 1
            case Copied() if sighting.table >= self._table_from:
                self._copy(sighting)
            case Paired() if sighting.table >= self._table_from:
                for look in sighting.looks:
                    self.monitor.take(self._observer.sight(look, self._above, turns=False))
                if sighting.scores is not None:
                    doubts = sighting.table > self._doubt_after
                    self.monitor.judged_pair(sighting.slice, *sighting.scores, doubts=doubts)
            case Outcome():
                self._untold.append(sighting)
            case _:
                pass  # a copy of an earlier stage

    def resumed(self, doubt_after: int) -> None:
        """Somebody looked at the doubt and let the ramp go on: what was routed up to then raises it no more."""
        if doubt_after != self._doubt_after:
            self._doubt_after = doubt_after
            self.monitor.settle_doubt()

    def hear(self) -> None:
        """Outcomes, once the requests that were told with them have been counted: those say whose they are."""
        for _ in range(len(self._untold)):
            one = self._untold.popleft()
            if not self.monitor.outcome(one.conversation, failed=one.failed):
                self._untold.append(one)

    def _complete(self) -> None:
        """What there was too little of when the stage began counts from when there is enough, on both arms. Percentiles
        are sorted out of thousands of figures, so not for each request."""
        self._learned += 1
        if self._learned % LEARN_EVERY == 0:
            missing = tuple(name for name in SLOW if name in self._plan.guardrails and name not in self._above)
            if missing:
                self._above = self._observer.percentiles(missing) | self._above

    def _user(self, asked: Asked) -> None:
        self.requests += 1
        if asked.ok:
            self.slices[asked.slice] = self.slices.get(asked.slice, 0) + 1
        minute = asked.time_ns // MINUTE_NS
        self._minutes[minute] = self._minutes.get(minute, 0) + 1
        for arm, counts in ((self._candidate, asked.limits[:2]), (self._incumbent, asked.limits[2:])):
            if counts[1]:
                self._limits[arm].add(minute, *counts)
        if asked.candidate and asked.cost_nanousd is not None:
            self._cost += asked.cost_nanousd
            self._cost_known += 1
        if self._live and asked.look is not None:
            self.monitor.take(self._observer.sight(asked.look, self._above))
            if asked.score is not None:
                doubts = asked.table > self._doubt_after
                self.monitor.judged_answer(asked.slice, asked.score, candidate=asked.look.candidate, doubts=doubts)

    def _copy(self, copied: Copied) -> None:
        if copied.cost_nanousd is None:
            self.copies_unknown += 1
            return
        self.copies_nanousd += copied.cost_nanousd
        if copied.candidate:  # what it costs is known before it answers a user
            self._cost += copied.cost_nanousd
            self._cost_known += 1

    # --- what is to be said -------------------------------------------------------------------------------------------

    def evidence(self, held_s: float, missing: tuple[str, ...], why_not_judged: str | None = None) -> Evidence:
        """What was seen; what should have been and was not is named."""
        found = list(missing)
        terms = self._plan.terms(self._stage)
        if terms is not None and terms.pairs_min and why_not_judged is not None:
            found.append(f"{why_not_judged}; quality is not watched. Add a [[grader]], or propose with pairs_min = 0")
        if self.copies_unknown and self._plan.copies_nanousd is not None:
            found.append(f"what {self.copies_unknown:,} copies cost is unknown, so their budget cannot be kept")
        return self.monitor.evidence(held_s, tuple(found))

    def percentiles(self) -> dict[str, float]:
        """For the next stage: of the incumbent's recent requests, or the ones in force where there are too few."""
        return self._above | self._observer.percentiles(SLOW)

    def limited(self, arm: str) -> tuple[int, int]:
        """Answers 429 or 503 of this arm in the last ten minutes, and all of its answers."""
        return self._limits[arm].counts

    def per_minute(self) -> float | None:
        """Requests in the busiest whole minute; `None` before one has passed."""
        whole = [count for minute, count in self._minutes.items() if minute != max(self._minutes)]
        return float(max(whole)) if whole else None

    def cost_nanousd(self) -> float | None:
        """The candidate's mean cost per request, of users or copied, in this stage, the one before, or a trial
        of the last day; `None` where it is unknown."""
        if self._cost_known:
            return self._cost / self._cost_known
        cost, answers = self._tried
        return cost / answers if self._cost_before is None and answers else self._cost_before

    def error_rate(self) -> float | None:
        """The incumbent's, in this stage, else in the one before, else in the day before; `None` where too little was
        seen."""
        rate = self.monitor.control_rate("errors")
        failed, requests = self._usual
        if rate is None and self._errors_before is None and requests >= RATE_SEEN_MIN:
            return failed / requests
        return self._errors_before if rate is None else rate
