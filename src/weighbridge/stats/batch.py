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
_NEVER = -1


@dataclass(frozen=True, slots=True)
class ArrayVerdicts:
    """The states of all slices, in the order of their numbers, and of the traffic-weighted whole."""

    slices: tuple[SliceState, ...]
    overall: SliceState


@dataclass(frozen=True, slots=True)
class _Ends:
    """What is kept of a slice's paths: where halt first crossed (_NEVER: nowhere), and both log e-values at the end."""

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
    order = np.argsort(ids, kind="stable")
    bounds = np.concatenate(([0], np.cumsum(np.bincount(ids, minlength=count))))
    certify = np.empty(values.size)
    ends: list[_Ends] = []
    for s in range(count):
        rows = order[bounds[s] : bounds[s + 1]]
        certify[rows], end = _slice_paths(values[rows], margin, alpha)
        ends.append(end)
    certified = _certified_at(certify, ids, order, count, alpha)
    del certify
    states = tuple(
        _slice_state(values[order[bounds[s] : bounds[s + 1]]], ends[s], certified[s], margin, alpha)
        for s in range(count)
    )
    del order
    if count == 1:
        return ArrayVerdicts(states, states[0])
    return ArrayVerdicts(states, _whole(values, ids, weights, count, margin, alpha))


def _slice_paths(d: FloatArray, margin: float, alpha: float) -> tuple[FloatArray, _Ends]:
    if not d.size:
        return d, _Ends(_NEVER, 0.0, 0.0)
    rate = margin / (second_moments(d * d) + margin * margin)
    x = d + margin
    certify, _ = log_path(x, rate, 1.0 - margin)
    halt, _ = log_path(-x, rate, 1.0 + margin)
    return certify, _Ends(_first(halt, -math.log(alpha)), float(certify[-1]), float(halt[-1]))


def _certified_at(certify: FloatArray, ids: IntArray, order: IntArray, count: int, alpha: float) -> list[int]:
    """Units of each slice at its certificate by closed testing after every row; _NEVER where there is none.

    With F the sum of what the undecided fall short of 1/alpha, the largest e-value is certified once it reaches
    1/alpha + F (`family.Family.required`); F is a running sum over the rows.
    """
    level = 1.0 / alpha
    # Beyond count * level a hypothesis is certified at once, so larger e-values need not be told apart.
    e = np.exp(np.minimum(certify, math.log(2.0 * count * level)))
    change = np.maximum(level - e, 0.0)
    change[order] -= _shortfall_before(change[order], ids[order], level)
    current = np.ones(count)
    seen = np.zeros(count, dtype=np.int64)
    at = [_NEVER] * count
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


def _shortfall_before(shortfall: FloatArray, ids: IntArray, level: float) -> FloatArray:
    """The shortfall of each row's slice before the row, from rows grouped by slice; E = 1 before the first."""
    before = np.empty_like(shortfall)
    before[1:] = shortfall[:-1]
    first = np.concatenate(([True], ids[1:] != ids[:-1])) if ids.size else np.zeros(0, dtype=np.bool_)
    before[first] = level - 1.0
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


def _first(path: FloatArray, threshold: float) -> int:
    above = path >= threshold
    return int(np.argmax(above)) + 1 if above.any() else _NEVER


def _decision(certified: int, halted: int) -> tuple[Outcome, int | None]:
    if halted != _NEVER and (certified == _NEVER or halted <= certified):
        return "inferior", halted
    if certified != _NEVER:
        return "non_inferior", certified
    return "undecided", None


def _slice_state(d: FloatArray, ends: _Ends, certified: int, margin: float, alpha: float) -> SliceState:
    if not d.size:
        return SliceState(0, None, (-1.0, 1.0), "undecided", None, 0.0, 0.0)
    verdict, at = _decision(certified, ends.halted)
    interval = interval_of(d, margin, alpha)
    if at is not None:
        interval = cut_interval(interval, interval_of(d[:at], margin, alpha), verdict, margin)
    return SliceState(d.size, float(d.mean()), interval, verdict, at, ends.certify, ends.halt)


def _whole(
    d: FloatArray, ids: IntArray, weights: Sequence[float] | None, count: int, margin: float, alpha: float
) -> SliceState:
    a, a_max = np.ones(d.size), np.ones(d.size)
    if weights is not None:
        shares = check_weights(weights, [str(s) for s in range(count)])
        _, a, a_max, whole = shuffled_weights(ids, shares)
        d, a, a_max = d[whole], a[whole], a_max[whole]
        del whole
    if not d.size:
        return SliceState(0, None, (-1.0, 1.0), "undecided", None, 0.0, 0.0)
    s = a * d
    certified, halted, ends = _whole_paths(s + margin * a, a_max, margin, alpha)
    verdict, at = _decision(certified, halted)
    limits = weighted_interval(s, a, a_max, margin, alpha, margin)
    if at is not None:
        then = weighted_interval(s[:at], a[:at], a_max[:at], margin, alpha, margin)
        limits = cut_interval(limits, then, verdict, margin)
    return SliceState(d.size, float(s.sum() / a.sum()), limits, verdict, at, *ends)


def _whole_paths(x: FloatArray, a_max: FloatArray, margin: float, alpha: float) -> tuple[int, int, tuple[float, float]]:
    """Where certify and halt of the whole first crossed, and their log e-values at the end."""
    threshold = -math.log(alpha)
    rate = margin / second_moments(x * x)
    path, _ = log_path(x, rate, (1.0 - margin) * a_max)
    certified, certify = _first(path, threshold), float(path[-1])
    del path
    np.negative(x, out=x)
    path, _ = log_path(x, rate, (1.0 + margin) * a_max)
    return certified, _first(path, threshold), (certify, float(path[-1]))
