"""Many runs of a stage at once: the recursion of `weighbridge.stats.alarms`, one numpy step for all runs.

Factors and thresholds are the product's own; only the loop over runs is here. `tests/bench/test_ramp_runs.py` feeds the
same traffic to the product's `Monitor` and `decide` and finds the same decision at the same request.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weighbridge.stats.alarms import ControlAlarm, PairAlarm, RateAlarm, threshold

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

NEVER = np.iinfo(np.int64).max
BLOCK = 256
Z = 1.6448536269514722
PEEK_FROM = 30
WINDOW = 200
"""Of the fixed threshold: candidate requests; it goes off at twice the incumbent's rate."""


class Streams:
    """The alarms of so many runs: `r` is [runs, streams, alternatives], padded with alternatives that stay 0."""

    def __init__(self, runs: int, plans: Sequence[tuple[int, float]], alternatives: Sequence[int], used: Ints) -> None:
        """`plans`: planned units and level of each stream; `used`: [runs, streams], units of the stages before."""
        self.seen = used.copy()
        self._plans = plans
        self._count = np.array(alternatives, dtype=np.float64)
        self._r = np.zeros((runs, len(plans), max(alternatives)))
        self._tables = [self._limits(planned, level, 2 * planned) for planned, level in plans]

    @staticmethod
    def _limits(planned: int, level: float, up_to: int) -> Floats:
        return np.array([threshold(planned, level, seen) for seen in range(up_to + 1)])

    def _limit(self, stream: int, seen: Ints) -> Floats:
        most = int(seen.max())
        if most >= len(self._tables[stream]):
            self._tables[stream] = self._limits(*self._plans[stream], 2 * most)
        return self._tables[stream][seen]

    def step(self, stream: int, rows: Ints, factors: Floats) -> Bools:
        """One unit of a stream in these runs, factors [rows, alternatives]; which of them stand above the limit."""
        k = factors.shape[1]
        r = (self._r[rows, stream, :k] + 1.0) * factors
        self._r[rows, stream, :k] = r
        self.seen[rows, stream] += 1
        above: Bools = r.sum(axis=1) >= self._limit(stream, self.seen[rows, stream]) * self._count[stream]
        return above


def _none(runs: int, streams: int, used: Ints | None) -> Ints:
    return np.zeros((runs, streams), dtype=np.int64) if used is None else used


def first_control(
    stream: Ints, candidate: Bools, alarms: Sequence[ControlAlarm], plans: Sequence[tuple[int, float]],
    used: Ints | None = None,
) -> tuple[Ints, Ints]:  # fmt: skip
    """[runs, events]: which stream an event belongs to (-1: none), and its arm. Event of the first alarm, units seen.

    An event after a run's first alarm is not looked at any more.
    """
    runs, events = stream.shape
    tables = np.array([[alarm.factors(candidate=arm) for arm in (False, True)] for alarm in alarms])
    streams = Streams(runs, plans, [tables.shape[2]] * len(alarms), _none(runs, len(alarms), used))
    first = np.full(runs, NEVER)
    for event in range(events):
        for place in np.unique(stream[:, event]):
            rows = np.flatnonzero((stream[:, event] == place) & (first == NEVER))
            if place >= 0 and len(rows):
                hit = streams.step(int(place), rows, tables[place, candidate[rows, event].astype(np.int64)])
                first[rows[hit]] = event
        if not (first == NEVER).any():
            break
    return first, streams.seen


def first_rate(
    bad: Bools, alarms: Sequence[Sequence[RateAlarm]], plans: Sequence[tuple[int, float]], used: Ints | None = None
) -> tuple[Ints, Ints]:
    """[runs, requests, streams]: what was bad of a candidate's request; alarms by run and stream, each with its own
    baseline. Request of the first alarm, units seen."""
    runs, requests, count = bad.shape
    widths = [max(len(row[place].factors(bad=True)) for row in alarms) for place in range(count)]
    tables = np.zeros((runs, count, 2, max(widths)))
    for at, row in enumerate(alarms):
        for place, alarm in enumerate(row):
            for kind in (False, True):
                factors = alarm.factors(bad=kind)
                if len(factors) != widths[place]:
                    raise ValueError("runs of one stream must have the same number of alternatives")
                tables[at, place, int(kind), : len(factors)] = factors
    streams = Streams(runs, plans, widths, _none(runs, count, used))
    first = np.full(runs, NEVER)
    for request in range(requests):
        rows = np.flatnonzero(first == NEVER)
        if not len(rows):
            break
        for place in range(count):
            kinds = bad[rows, request, place].astype(np.int64)
            hit = streams.step(place, rows, tables[rows, place, kinds, : widths[place]])
            first[rows[hit]] = request
    return first, streams.seen


def first_fall(
    differences: Floats, slices: Ints, alarms: Sequence[PairAlarm], plans: Sequence[tuple[int, float]],
    used: Ints | None = None,
) -> tuple[Ints, Ints]:  # fmt: skip
    """[runs, pairs] of differences and their slices; the first alarm is that of the whole, the others of slices 0, 1...
    Pair of the first alarm, units seen."""
    runs, pairs = differences.shape
    known = {float(d): alarms[0].factors(float(d)) for d in np.unique(differences)}
    values = np.array(sorted(known))
    table = np.array([known[float(d)] for d in values])
    kinds = np.searchsorted(values, differences)
    streams = Streams(runs, plans, [table.shape[1]] * len(alarms), _none(runs, len(alarms), used))
    first = np.full(runs, NEVER)
    for pair in range(pairs):
        rows = np.flatnonzero(first == NEVER)
        if not len(rows):
            break
        first[rows[streams.step(0, rows, table[kinds[rows, pair]])]] = pair
        for place in range(1, len(alarms)):
            mine = rows[slices[rows, pair] == place - 1]
            if len(mine):
                hit = streams.step(place, mine, table[kinds[mine, pair]])
                first[mine[hit]] = pair
    return first, streams.seen


@dataclass(frozen=True)
class Traffic:
    """Events of runs: [runs, events]. `candidate_requests` and `control_requests` up to and with each event."""

    stream: Ints
    """-1 where a request of the candidate was well after all (a drift that has not grown yet)."""
    candidate: Bools
    candidate_requests: Ints
    control_requests: Ints


def traffic(
    chance: np.random.Generator, runs: int, events: int, share: float, base: Floats, bad: Floats, drift: int = 0,
    before: Traffic | None = None,
) -> Traffic:  # fmt: skip
    """Requests are drawn by share, each is bad in at most one way with the arm's rates; those without any event are
    only counted. `drift`: candidate requests over which rates grow from `base` to `bad`. `before`: goes on after it.
    """
    weights = np.concatenate((share * bad, (1 - share) * base))
    total = float(weights.sum())
    quiet = share * (1 - bad.sum())
    quiet /= quiet + (1 - share) * (1 - base.sum())
    passed = chance.geometric(total, (runs, events)) - 1
    drawn = chance.choice(len(weights), (runs, events), p=weights / total)
    candidate = drawn < len(bad)
    stream = drawn % len(bad)
    mine = chance.binomial(passed, quiet)
    starts = np.zeros((runs, 2), dtype=np.int64)
    if before is not None:
        starts = np.stack((before.candidate_requests[:, -1], before.control_requests[:, -1]), axis=1)
    requests = starts[:, :1] + np.cumsum(mine + candidate, axis=1)
    others = starts[:, 1:] + np.cumsum(passed - mine + ~candidate, axis=1)
    if drift:
        now = base[stream] + np.minimum(1.0, requests / drift) * (bad - base)[stream]
        well = candidate & (chance.random((runs, events)) >= now / bad[stream])
        stream = np.where(well, -1, stream)
    made = Traffic(stream, candidate, requests, others)
    return made if before is None else _joined(before, made)


def _joined(one: Traffic, two: Traffic) -> Traffic:
    return Traffic(
        np.concatenate((one.stream, two.stream), axis=1),
        np.concatenate((one.candidate, two.candidate), axis=1),
        np.concatenate((one.candidate_requests, two.candidate_requests), axis=1),
        np.concatenate((one.control_requests, two.control_requests), axis=1),
    )


def at(values: Ints, first: Ints) -> Floats:
    """values[run, first[run]], endless where there was no alarm."""
    rows = np.arange(len(first))
    return np.where(first == NEVER, math.inf, values[rows, np.minimum(first, values.shape[1] - 1)])


def windows(seen: Traffic, base: Floats) -> Floats:
    """Candidate requests until one stream had twice its base rate within the window; endless: never."""
    found = np.full(len(seen.stream), math.inf)
    for run in range(len(found)):
        for place, rate in enumerate(base):
            limit = max(3, math.ceil(2 * rate * WINDOW))
            mine = seen.candidate_requests[run, (seen.stream[run] == place) & seen.candidate[run]]
            if len(mine) < limit:
                continue
            hit = np.flatnonzero(mine[limit - 1 :] - mine[: len(mine) - limit + 1] <= WINDOW)
            if len(hit):
                found[run] = min(found[run], mine[hit[0] + limit - 1])
    return found


def peeked(seen: Traffic, streams: int) -> Floats:
    """Candidate requests until a z-test of both arms' rates, looked at after each event, is significant."""
    found = np.full(len(seen.stream), math.inf)
    for run in range(len(found)):
        for place in range(streams):
            events = np.flatnonzero(seen.stream[run] == place)
            arm = seen.candidate[run, events]
            n = seen.candidate_requests[run, events].astype(np.float64)
            m = np.maximum(1, seen.control_requests[run, events]).astype(np.float64)
            ours, theirs = np.cumsum(arm), np.cumsum(~arm)
            n = np.maximum(n, 1.0)
            pooled = (ours + theirs) / (n + m)
            error = np.sqrt(np.maximum(1e-12, pooled * (1 - pooled) * (1 / n + 1 / m)))
            hit = np.flatnonzero((n >= PEEK_FROM) & arm & ((ours / n - theirs / m) / error > Z))
            if len(hit):
                found[run] = min(found[run], n[hit[0]])
    return found
