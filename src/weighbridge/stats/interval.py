"""Confidence limits by inverting the e-process of the verdict.

For a null value eta in place of -m, the certify process has X = s - eta * a and lo = (1 + eta) * a_max, with the
*same* second moments; s is the (weighted) difference and a the weight of the unit (1 in a plain stream). E(eta) falls
as eta rises, so the null values that are not rejected form an interval, and its lower end lies above -m exactly when
certify rejects -m. Each limit errs with probability at most alpha at all times together: the level is 1 - 2 alpha.
"""

import math
from collections.abc import Callable

import numpy as np

from weighbridge.stats.bets import FloatArray, log_end

# Limits are rounded outwards by at most this much.
_TOLERANCE = 1e-6
_STEPS_MAX = 60
# At eta = -1 nothing can be lost and the caps vanish; a null this close to it settles the same question.
_EDGE = -1.0 + 1e-9


def lower_limit(
    s: FloatArray,
    a: FloatArray | None,
    rate: FloatArray,
    a_max: FloatArray | float,
    threshold: float,
    null: float,
) -> float:
    """The lower confidence limit of the mean difference, in [-1, 1].

    s: weighted differences, shape (n,). a: weights, shape (n,), None for all 1. rate: g / v_t, shape (n,). a_max: the
    largest weight that each step could have had. threshold: log(1/alpha). null: the null value of the verdict (-m for
    certify), so that the limit lies on the side of it that the verdict names. The upper limit is minus the lower limit
    of the differences with their signs turned.
    """
    if s.size == 0:
        return -1.0

    def excess(eta: float) -> float:
        return log_end(s - (eta if a is None else eta * a), rate, (1.0 + eta) * a_max) - threshold

    weight = float(s.size) if a is None else float(a.sum())
    centre = float(s.sum()) / weight
    # Not np.dot: its threads would cost more CPU than they save.
    spread = s - (centre if a is None else centre * a)
    half = 1.2 * math.sqrt(2.0 * threshold * float(np.square(spread).sum())) / weight + threshold / weight
    at_null = excess(null)
    if at_null >= 0.0:
        low, f_low, high, f_high = null, at_null, 1.0, -threshold
    else:
        low, f_low, high, f_high = _EDGE, math.inf, null, at_null
    # Close in on the limit from a normal approximation, doubling its distance from the mean while it is not rejected.
    while True:
        guess = centre - half
        if not low < guess < high:
            guess = 0.5 * (low + high) if f_low < math.inf else _EDGE
        f = excess(guess)
        if f >= 0.0:
            low, f_low = guess, f
            break
        if guess <= _EDGE:
            return -1.0
        high, f_high = guess, f
        if f_low < math.inf:
            break
        half *= 2.0
    return _root(excess, low, f_low, high, f_high)


def _root(excess: Callable[[float], float], low: float, f_low: float, high: float, f_high: float) -> float:
    """Illinois false position on excess(low) >= 0 > excess(high); returns the rejected end of the final bracket."""
    kept = 0
    for _ in range(_STEPS_MAX):
        if high - low <= _TOLERANCE:
            break
        guess = high - f_high * (high - low) / (f_high - f_low)
        guess = min(max(guess, low + 0.4 * _TOLERANCE), high - 0.4 * _TOLERANCE)
        f = excess(guess)
        if f >= 0.0:
            low, f_low = guess, f
            if kept == 1:
                f_high *= 0.5
            kept = 1
        else:
            high, f_high = guess, f
            if kept == -1:
                f_low *= 0.5
            kept = -1
    return low
