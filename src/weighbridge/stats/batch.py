"""A whole trial from arrays: the same decisions as `verdict.Decider`, at every peek, a million pairs in about a
second.

Every slice's log e-values are computed after each of its units; the family is then walked through in the order of the
rows. What the largest e-value needs for a certificate is a running sum over the rows, so that closed testing costs a
few array operations a window, and a closer look at the slices that come near.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from weighbridge.stats.bets import (
    FloatArray,
    IntArray,
    check_alpha,
    check_differences,
    check_margin,
    check_weights,
    log_path,
    second_moments,
)
from weighbridge.stats.overall import BoolArray, shuffled_weights
from weighbridge.stats.sequential import interval_of
from weighbridge.stats.verdict import Outcome, SliceState, cut_interval
from weighbridge.stats.weighted import weighted_interval

_WINDOW = 2_048
NEVER = -1


@dataclass(frozen=True, slots=True)
class ArrayVerdicts:
    """The states of all slices, in the order of their numbers, and of the traffic-weighted whole."""

    slices: tuple[SliceState, ...]
    overall: SliceState


@dataclass(frozen=True, slots=True)
class Ends:
    """What is kept of a stream's paths: where halt first crossed (NEVER: nowhere), and both log e-values at the end."""

    halted: int
    certify: float
    halt: float


def decide_arrays(
    d: ArrayLike,
    slice_ids: ArrayLike,
    margin: float,
    alpha: float,
    weights: Sequence[float] | None = None,
    slice_count: int | None = None,
) -> ArrayVerdicts:
    """The verdicts of one candidate from complete units in the order of their seeded shuffle (`clusters.order`).

    d: differences, shape (n,). slice_ids: slice numbers 0 .. S - 1, shape (n,). weights: traffic weight of each slice,
    shape (S,); None takes the rows as the traffic, each counting the same. slice_count: S, default the largest number
    plus 1; a slice without rows stays undecided and counts in the family. Errors: ValueError.
    """
    margin, alpha = check_margin(margin), check_alpha(alpha)
    values = check_differences(d)
    ids = np.asarray(slice_ids, dtype=np.int64)
    if ids.shape != values.shape:
        raise ValueError(f"{values.size} differences but {ids.size} slice numbers: allowed is one number for each")
    count = (int(ids.max()) + 1 if ids.size else 1) if slice_count is None else slice_count
    if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < count:
        raise ValueError(f"slice numbers run from {ids.min()} to {ids.max()}: allowed are 0 to {count - 1}")
    if weights is not None and len(weights) != count:
        raise ValueError(f"{len(weights)} weights for {count} slices: allowed is one for each")
    states = slice_states(values, ids, count, margin, alpha)
    if count == 1:
        return ArrayVerdicts(states, states[0])
    return ArrayVerdicts(states, _whole(values, ids, weights, count, margin, alpha))


def slice_states(values: FloatArray, ids: IntArray, count: int, margin: float, alpha: float) -> tuple[SliceState, ...]:
    """The states of all slices as one family, without the whole; arguments as checked by `decide_arrays`."""
    order = np.argsort(ids, kind="stable")
    bounds = np.concatenate(([0], np.cumsum(np.bincount(ids, minlength=count))))
    certify = np.empty(values.size)
    ends: list[Ends] = []
    for s in range(count):
        rows = order[bounds[s] : bounds[s + 1]]
        certify[rows], end = slice_paths(values[rows], margin, alpha)
        ends.append(end)
    certified = certified_at(certify, ids, order, count, alpha)
    del certify
    return tuple(
        slice_state(values[order[bounds[s] : bounds[s + 1]]], ends[s], certified[s], margin, alpha)
        for s in range(count)
    )


def slice_paths(d: FloatArray, margin: float, alpha: float) -> tuple[FloatArray, Ends]:
    """The log e-value of certify after each unit of one slice, shape (n,), and what is kept of halt."""
    if not d.size:
        return d, Ends(NEVER, 0.0, 0.0)
    rate = margin / (second_moments(d * d) + margin * margin)
    x = d + margin
    certify, _ = log_path(x, rate, 1.0 - margin)
    halt, _ = log_path(-x, rate, 1.0 + margin)
    return certify, Ends(first_crossing(halt, -math.log(alpha)), float(certify[-1]), float(halt[-1]))


def certified_at(certify: FloatArray, ids: IntArray, order: IntArray, count: int, alpha: float) -> list[int]:
    """Units of each slice at its certificate by closed testing after every row; NEVER where there is none.

    certify: the log e-value of the row's slice after the row, shape (n,), from any e-process; overwritten. ids: slice
    numbers, shape (n,). order: the rows grouped by slice, in order within each.

    With F the sum of what the undecided fall short of 1/alpha, the largest e-value is certified once it reaches
    1/alpha + F (`family.Family.required`); F is a running sum over the rows.
    """
    if not count:
        return []
    level = 1.0 / alpha
    # Beyond count * level a hypothesis is certified at once, so larger e-values need not be told apart.
    e = np.minimum(certify, math.log(2.0 * count * level), out=certify)
    np.exp(e, out=e)
    change = np.subtract(level, e)
    np.maximum(change, 0.0, out=change)
    grouped = change[order]
    grouped -= _shortfall_before(grouped, np.bincount(ids, minlength=count), level)
    change[order] = grouped
    del grouped
    current = np.ones(count)
    seen = np.zeros(count, dtype=np.int64)
    at = [NEVER] * count
    live = np.ones(count, dtype=np.bool_)
    begin = 0
    while begin < e.size and live.any():
        end = min(begin + _WINDOW, e.size)
        needed = level + float(np.maximum(level - current[live], 0.0).sum())
        needed_path = needed + np.cumsum(np.where(live[ids[begin:end]], change[begin:end], 0.0))
        hit = _next_certificate(e[begin:end], ids[begin:end], needed_path, current, live)
        if hit is not None:
            end = begin + hit + 1
        current[ids[begin:end]] = e[begin:end]
        seen += np.bincount(ids[begin:end], minlength=count)
        begin = end
        if hit is not None:
            for s in _certify_now(current, live, level):
                at[s] = int(seen[s])
    return at


def _shortfall_before(shortfall: FloatArray, sizes: IntArray, level: float) -> FloatArray:
    """The shortfall of each row's slice before the row, from rows grouped by slice; E = 1 before the first."""
    before = np.empty_like(shortfall)
    before[1:] = shortfall[:-1]
    before[(np.cumsum(sizes) - sizes)[sizes > 0]] = level - 1.0
    return before


def _next_certificate(
    e: FloatArray, ids: IntArray, needed: FloatArray, current: FloatArray, live: BoolArray
) -> int | None:
    """The first row of a window after which the e-value of some live slice is as large as needed at that row."""
    lowest = float(needed.min())
    rows = np.arange(e.size)
    near = np.unique(ids[(e >= lowest) & live[ids]]).tolist()
    hits = []
    for s in sorted({*near, *np.flatnonzero(live & (current >= lowest)).tolist()}):
        latest = np.maximum.accumulate(np.where(ids == s, rows, -1))
        reached = np.where(latest >= 0, e[latest], current[s]) >= needed
        if reached.any():
            hits.append(int(np.argmax(reached)))
    return min(hits, default=None)


def _certify_now(current: FloatArray, live: BoolArray, level: float) -> list[int]:
    new = []
    while live.any():
        best = int(np.argmax(np.where(live, current, -np.inf)))
        if current[best] < level + float(np.maximum(level - current[live], 0.0).sum()):
            break
        live[best] = False
        new.append(best)
    return new


def first_crossing(path: FloatArray, threshold: float) -> int:
    """Units after which a path of log e-values first reached the threshold; NEVER where it did not."""
    above = path >= threshold
    return int(np.argmax(above)) + 1 if above.any() else NEVER


def decision(certified: int, halted: int) -> tuple[Outcome, int | None]:
    """Whichever came first is final; a halt at the same unit goes before the certificate."""
    if halted != NEVER and (certified == NEVER or halted <= certified):
        return "inferior", halted
    if certified != NEVER:
        return "non_inferior", certified
    return "undecided", None


def slice_state(d: FloatArray, ends: Ends, certified: int, margin: float, alpha: float) -> SliceState:
    """The state of a slice from its differences in order, its paths' ends and the units at its certificate."""
    if not d.size:
        return SliceState(0, None, (-1.0, 1.0), "undecided", None, 0.0, 0.0)
    verdict, at = decision(certified, ends.halted)
    interval = interval_of(d, margin, alpha)
    if at is not None:
        interval = cut_interval(interval, interval_of(d[:at], margin, alpha), verdict, margin)
    return SliceState(d.size, float(d.mean()), interval, verdict, at, ends.certify, ends.halt)


def _whole(
    d: FloatArray, ids: IntArray, weights: Sequence[float] | None, count: int, margin: float, alpha: float
) -> SliceState:
    if weights is None:
        return whole_state(d, np.broadcast_to(1.0, d.shape), 1.0, margin, alpha)
    shares = check_weights(weights, [str(s) for s in range(count)])
    _, a, a_max, whole = shuffled_weights(ids, shares)
    a, a_max = a[whole], a_max[whole]
    return whole_state(a * d[whole], a, a_max, margin, alpha)


def whole_state(s: FloatArray, a: FloatArray, a_max: FloatArray | float, margin: float, alpha: float) -> SliceState:
    """The state of a whole: weighted differences s, weights a and the largest they could be, shape (n,) each, in order.

    The mean tested is E[s] / E[a], with E[a] = 1; see `weighted`.
    """
    if not s.size:
        return SliceState(0, None, (-1.0, 1.0), "undecided", None, 0.0, 0.0)
    x = margin * a
    x += s
    certified, halted, ends = _whole_paths(x, a_max, margin, alpha)
    del x
    verdict, at = decision(certified, halted)
    limits = weighted_interval(s, a, a_max, margin, alpha, margin)
    if at is not None:
        top = a_max[:at] if isinstance(a_max, np.ndarray) else a_max
        then = weighted_interval(s[:at], a[:at], top, margin, alpha, margin)
        limits = cut_interval(limits, then, verdict, margin)
    return SliceState(s.size, float(s.sum() / a.sum()), limits, verdict, at, *ends)


def _whole_paths(
    x: FloatArray, a_max: FloatArray | float, margin: float, alpha: float
) -> tuple[int, int, tuple[float, float]]:
    """Where certify and halt of the whole first crossed, and their log e-values at the end."""
    threshold = -math.log(alpha)
    rate = margin / second_moments(x * x)
    path, _ = log_path(x, rate, (1.0 - margin) * a_max)
    certified, certify = first_crossing(path, threshold), float(path[-1])
    del path
    np.negative(x, out=x)
    path, _ = log_path(x, rate, (1.0 + margin) * a_max)
    return certified, first_crossing(path, threshold), (certify, float(path[-1]))
