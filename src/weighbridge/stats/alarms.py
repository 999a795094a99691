"""When has live traffic turned bad? e-Shiryaev-Roberts alarms that bound any false alarm over a whole ramp.

One stream, alternatives k with factors f_k >= 0 whose mean is at most 1 while nothing is wrong:

    R_k <- (R_k + 1) * f_k        alarm when  mean_k R_k >= A(t),  t = units seen, all stages together

While nothing is wrong, R_t - t is a supermartingale, so P(R reaches A within N units) <= N / A. With G streams that
share alpha unequally (`level` is the part of one of them) and N planned units, A = N / (.9 level) for the first N
units, and for the units up to 2^j N, j >= 1:  A = 2^j N / (.1 level / 2^j). The parts sum to `level`, so the bound
holds for *any* length; the plan only says where the stream is sharpest. Without the tail a stream past its plan would
either break its promise or be deaf. Detectors that start afresh (R = 0) at a new stage keep `used`, the units of the
stages before: the bounds of the stages add up to the same sum.

Unlike a CUSUM tuned to an average run length, this bounds the probability of a false alarm, and it needs no guess at
the size of the change: the alternatives are a mixture. Assumption in each class below. Papers: Shin, Ramdas and
Rinaldo 2022 (e-detectors); Lindon and Malek 2022 (counts between arms); Lorden 1971 (how fast it can be at all).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from weighbridge.stats.bets import check_alpha, check_difference, check_margin

RISE = (1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
"""Alternatives: how many times as often as allowed."""
RATE_MAX = 0.9
STEPS = (0.05, 0.1, 0.2, 0.4, 0.7)
"""Bets against the pairs, as parts of the largest that keeps factors positive."""
PLANNED = 0.9
"""The part of a stream's level that is spent within its planned units."""


def threshold(planned: int, level: float, seen: int) -> float:
    """A(t) of the module's formula at `seen` units; `planned` >= 1, `level` in (0, 0.5). Errors: ValueError."""
    if planned < 1:
        raise ValueError(f"planned units are {planned!r}: allowed is 1 or more")
    level = check_alpha(level)
    if seen <= planned:
        return planned / (PLANNED * level)
    j = math.ceil(math.log2(seen / planned))
    return planned * 4.0**j / ((1.0 - PLANNED) * level)


@dataclass(frozen=True, slots=True)
class AlarmState:
    """What a stream looks like now: `value` against `threshold`; `seen` units, those of earlier stages included."""

    seen: int
    value: float
    threshold: float
    alarmed: bool


class Alarm:
    """The recursion alone; subclasses say what a unit is and give the factors."""

    __slots__ = ("_level", "_planned", "_r", "alarmed", "limit", "seen")

    def __init__(self, alternatives: int, planned: int, level: float, used: int = 0) -> None:
        self._planned, self._level = planned, level
        self._r = [0.0] * alternatives
        self.seen = used
        self.limit = threshold(planned, level, used)
        self.alarmed = False

    def step(self, factors: Sequence[float]) -> bool:
        """One unit; whether the alarm has gone off, now or before. After it nothing changes any more."""
        if self.alarmed:
            return True
        self.seen += 1
        if self.seen > self._planned:
            self.limit = threshold(self._planned, self._level, self.seen)
        r = self._r
        for k, factor in enumerate(factors):
            r[k] = (r[k] + 1.0) * factor
        self.alarmed = sum(r) >= self.limit * len(r)
        return self.alarmed

    @property
    def value(self) -> float:
        """mean_k R_k, to be held against `limit`."""
        return sum(self._r) / len(self._r)

    @property
    def state(self) -> AlarmState:
        return AlarmState(self.seen, self.value, self.limit, self.alarmed)


class ControlAlarm(Alarm):
    """Bad events of the candidate against those of the live control.

    A unit is an *event* on either arm. share: p, the probability that a unit of traffic is the candidate's. ratio: r,
    how many times the control's rate is still allowed. Then an event is the candidate's with probability at most
    s0 = r p / (r p + 1 - p), and q_k the same with r k: factor q/s0 on the candidate, (1-q)/(1-s0) on the control.
    Assumption: arms are drawn by share, independently of the past, and events are counted once per conversation. What
    hits both arms alike cancels. Errors: ValueError.
    """

    __slots__ = ("_candidate", "_control")

    def __init__(self, share: float, planned: int, level: float, ratio: float = 1.0, used: int = 0) -> None:
        if not 0.0 < share < 1.0:
            raise ValueError(
                f"share is {share!r}: allowed is a number above 0 and below 1; without a control use a rate"
            )
        if not 1.0 <= ratio < math.inf:
            raise ValueError(f"ratio is {ratio!r}: allowed is 1 or more, how many times the control's rate is allowed")
        super().__init__(len(RISE), planned, level, used)
        null = ratio * share / (ratio * share + 1.0 - share)
        rises = [ratio * k * share / (ratio * k * share + 1.0 - share) for k in RISE]
        self._candidate = tuple(q / null for q in rises)
        self._control = tuple((1.0 - q) / (1.0 - null) for q in rises)

    def factors(self, *, candidate: bool) -> tuple[float, ...]:
        """Of an event on this arm."""
        return self._candidate if candidate else self._control

    def event(self, *, candidate: bool) -> bool:
        """One event; whether the alarm has gone off."""
        return self.step(self._candidate if candidate else self._control)


class RateAlarm(Alarm):
    """Bad events of the candidate against a known rate: a settled route's frozen baseline, or its own trial's rate.

    A unit is a conversation of the candidate. bound: p0 in (0, 1), an upper bound of the reference's rate (take the
    chance that it is no bound out of alpha). Alternatives q = p0 k up to 0.9: factor q/p0 on an event, else
    (1-q)/(1-p0). Assumption: given the past, an event has at most the probability p0. Errors: ValueError.
    """

    __slots__ = ("_bad", "_good")

    def __init__(self, bound: float, planned: int, level: float, used: int = 0) -> None:
        if not 0.0 < bound < RATE_MAX:
            raise ValueError(f"bound is {bound!r}: allowed is a rate above 0 and below {RATE_MAX}")
        rises = sorted({min(RATE_MAX, bound * k) for k in RISE})
        super().__init__(len(rises), planned, level, used)
        self._bad = tuple(q / bound for q in rises)
        self._good = tuple((1.0 - q) / (1.0 - bound) for q in rises)

    def factors(self, *, bad: bool) -> tuple[float, ...]:
        """Of one conversation."""
        return self._bad if bad else self._good

    def unit(self, *, bad: bool) -> bool:
        """One conversation; whether the alarm has gone off."""
        return self.step(self._bad if bad else self._good)


class PairAlarm(Alarm):
    """Quality by pairs against the margin: is the candidate worse by more than it?

    A unit is a judged pair, D in [-1, 1], candidate minus incumbent. Factor 1 - b (D + m), b = {.05,...,.7}/(1+m).
    Assumption: given the past, E[D] >= -m while nothing is wrong. Errors: ValueError.
    """

    __slots__ = ("_bets", "_margin")

    def __init__(self, margin: float, planned: int, level: float, used: int = 0) -> None:
        self._margin = check_margin(margin)
        super().__init__(len(STEPS), planned, level, used)
        self._bets = tuple(b / (1.0 + self._margin) for b in STEPS)

    def factors(self, d: float) -> list[float]:
        """Of a pair with this difference."""
        x = check_difference(d) + self._margin
        return [1.0 - b * x for b in self._bets]

    def pair(self, d: float) -> bool:
        """One judged pair; whether the alarm has gone off."""
        return self.step(self.factors(d))


class TurnAlarm(PairAlarm):
    """The same from judged answers of both arms to *different* requests: each candidate score is paired with the next
    incumbent score that has not been used. Needs a score that means the same on every request.
    """

    __slots__ = ("_waiting_candidate", "_waiting_control")

    WAITING_MAX = 1000
    """Scores that wait, of the arm that has more of them; the oldest go first, whatever the other arm's are."""

    def __init__(self, margin: float, planned: int, level: float, used: int = 0) -> None:
        super().__init__(margin, planned, level, used)
        self._waiting_candidate: list[float] = []
        self._waiting_control: list[float] = []

    def score(self, score: float, *, candidate: bool) -> bool:
        """One judged answer, 0 to 1; whether the alarm has gone off. Errors: ValueError."""
        if not 0.0 <= score <= 1.0:
            raise ValueError(f"score is {score!r}: allowed is a number from 0 to 1")
        mine, other = (
            (self._waiting_candidate, self._waiting_control)
            if candidate
            else (self._waiting_control, self._waiting_candidate)
        )
        if not other:
            mine.append(score)
            if len(mine) > self.WAITING_MAX:
                del mine[0]
            return self.alarmed
        known = other.pop(0)
        return self.pair(score - known if candidate else known - score)


def units_until(rate: float, share: float, planned: int, level: float, *, baseline: float = 0.01) -> float:
    """About how many candidate units it takes until a `ControlAlarm` goes off when events rise to `rate`.

    With g the best alternative's expected growth of log R per event: (log A - log 1/g) / g events. R adds up bettors
    who began at different times, worth about log 1/g. For planning, no bound; `baseline` is the control's rate.
    Infinite where nothing is to be found.
    """
    events = rate + baseline * (1.0 - share) / share
    best = 0.0
    for k in RISE:
        q = k * share / (k * share + 1.0 - share)
        growth = rate * math.log(q / share) + (events - rate) * math.log((1.0 - q) / (1.0 - share))
        best = max(best, growth / events)
    return _until(best, planned, level) / events


def rated_until(rate: float, bound: float, planned: int, level: float) -> float:
    """About how many candidate units it takes until a `RateAlarm` with this bound goes off when events rise to `rate`;
    see `units_until`. Infinite where nothing is to be found."""
    best = 0.0
    for k in RISE:
        q = min(RATE_MAX, bound * k)
        best = max(best, rate * math.log(q / bound) + (1.0 - rate) * math.log((1.0 - q) / (1.0 - bound)))
    return _until(best, planned, level)


def pairs_until(drop: float, margin: float, planned: int, level: float, *, variance: float = 0.15) -> float:
    """About how many judged pairs a `PairAlarm` takes when quality is `drop` lower (0.1: 10 points); see `units_until`.

    `variance` is that of the differences.
    """
    gain = drop - margin
    best = max((b := s / (1.0 + margin)) * gain - 0.5 * b * b * (variance + gain * gain) for s in STEPS)
    return _until(best, planned, level)


def _until(growth: float, planned: int, level: float) -> float:
    if growth <= 0.0:
        return math.inf
    return max(1.0, math.log(threshold(planned, level, 0)) + math.log(min(1.0, growth))) / growth
