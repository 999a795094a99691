"""The two e-processes of one slice and candidate, pair by pair.

With D_t in [-1, 1] (candidate minus incumbent, one unit) and the margin m:

    certify  H0: E[D] <= -m   X = D + m      lo = 1 - m
    halt     H0: E[D] >= -m   X = -(D + m)   lo = 1 + m
    v_t = (1 + sum_{i<t} D_i^2) / (4 + t - 1) + m^2

and the bets of `bets`. Assumption: given the past, every unit has the same mean difference; a seeded shuffle of the
frame gives that, time order does not. Source: Waudby-Smith and Ramdas 2024; growth-optimal bets after Gruenwald, de
Heide and Koolen 2024.
"""

import math
from array import array
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from weighbridge.stats.bets import (
    CAP,
    KAPPA,
    PRIOR_COUNT,
    PRIOR_SUM,
    FloatArray,
    check_alpha,
    check_difference,
    check_differences,
    check_margin,
    log_mix,
    log_path,
    second_moments,
)
from weighbridge.stats.interval import lower_limit

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class TracePoint:
    """The estimate and its interval after n units: one point of the narrowing confidence sequence."""

    n: int
    mean: float
    low: float
    high: float


class PairTest:
    """Both e-processes of one slice and candidate; keeps the differences (8 bytes a unit) to invert them later.

    margin: in (0, 1). alpha: in (0, 0.5), the level of `interval`; verdicts are given by `verdict.Decider`.
    Raises ValueError for a margin, alpha or difference outside its range; a refused difference leaves the test
    unchanged.
    """

    __slots__ = (
        "_caps_certify",
        "_caps_halt",
        "_certify",
        "_differences",
        "_halt",
        "_squares",
        "_sum",
        "alpha",
        "margin",
    )

    def __init__(self, margin: float, alpha: float) -> None:
        self.margin = check_margin(margin)
        self.alpha = check_alpha(alpha)
        self._caps_certify = [c / (1.0 - self.margin) for c in CAP]
        self._caps_halt = [c / (1.0 + self.margin) for c in CAP]
        self._certify = [0.0] * len(KAPPA)
        self._halt = [0.0] * len(KAPPA)
        self._sum = 0.0
        self._squares = 0.0
        self._differences = array("d")

    def update(self, d: float) -> None:
        """Step both processes by the difference of one complete unit."""
        d = check_difference(d)
        margin = self.margin
        v = (PRIOR_SUM + self._squares) / (PRIOR_COUNT + len(self._differences)) + margin * margin
        rate, x = margin / v, d + margin
        certify, halt, log1p = self._certify, self._halt, math.log1p
        for k, kappa in enumerate(KAPPA):
            bet = kappa * rate
            cap = self._caps_certify[k]
            certify[k] += log1p((bet if bet < cap else cap) * x)
            cap = self._caps_halt[k]
            halt[k] += log1p(-(bet if bet < cap else cap) * x)
        self._sum += d
        self._squares += d * d
        self._differences.append(d)

    def update_many(self, ds: ArrayLike) -> None:
        """Step both processes by many units in order, shape (k,); the same result as k updates up to rounding."""
        d = check_differences(ds)
        if not d.size:
            return
        margin = self.margin
        rate = margin / (second_moments(d * d, PRIOR_SUM + self._squares, self.n) + margin * margin)
        x = d + margin
        self._certify = log_path(x, rate, 1.0 - margin, np.array(self._certify))[1].tolist()
        self._halt = log_path(-x, rate, 1.0 + margin, np.array(self._halt))[1].tolist()
        self._sum += float(d.sum())
        self._squares += float(np.square(d).sum())
        self._differences.frombytes(d.tobytes())

    @property
    def n(self) -> int:
        """Units seen."""
        return len(self._differences)

    @property
    def mean(self) -> float | None:
        """The mean difference so far; None before the first unit."""
        return self._sum / len(self._differences) if self._differences else None

    @property
    def variance(self) -> float | None:
        """The variance of the differences (divisor n - 1); None before the second unit."""
        n = len(self._differences)
        if n < 2:
            return None
        return max(0.0, (self._squares - self._sum * self._sum / n) / (n - 1))

    @property
    def certify(self) -> float:
        """The current log e-value against "the candidate is worse by the margin or more"."""
        return log_mix(self._certify)

    @property
    def halt(self) -> float:
        """The current log e-value against "the candidate is worse by the margin at most"."""
        return log_mix(self._halt)

    @property
    def certify_bets(self) -> tuple[float, ...]:
        """The five log wealths of certify, for `planner`."""
        return tuple(self._certify)

    @property
    def halt_bets(self) -> tuple[float, ...]:
        """The five log wealths of halt, for `planner`."""
        return tuple(self._halt)

    @property
    def differences(self) -> FloatArray:
        """A copy of the differences in the order they came, shape (n,)."""
        return np.array(self._differences, dtype=np.float64)

    def interval(self, at: int | None = None) -> Interval:
        """[low, high] for the mean difference at level 1 - 2 alpha, from the first `at` units (default: all).

        low > -m exactly where certify is at or above log(1/alpha) after those units, high < -m where halt is (up to
        the rounding of 1e-6). (-1, 1) before the first unit.
        """
        d = self.differences[: self.n if at is None else at]
        return interval_of(d, self.margin, self.alpha)

    def trace(self, points: int = 48) -> list[TracePoint]:
        """The interval at about `points` geometrically spaced sample sizes up to n, for a chart."""
        if not self.n:
            return []
        sizes = sorted({min(self.n, max(1, round(size))) for size in np.geomspace(1, self.n, points).tolist()})
        d = self.differences
        means = np.cumsum(d)[np.array(sizes) - 1] / np.array(sizes)
        limits = [interval_of(d[:size], self.margin, self.alpha) for size in sizes]
        return [TracePoint(n, float(m), *lh) for n, m, lh in zip(sizes, means.tolist(), limits, strict=True)]


def interval_of(d: FloatArray, margin: float, alpha: float, rate: FloatArray | None = None) -> Interval:
    """`PairTest.interval` from differences in order, shape (n,); `rate` = m / v_t where known already."""
    if not d.size:
        return (-1.0, 1.0)
    if rate is None:
        rate = margin / (second_moments(d * d) + margin * margin)
    threshold = -math.log(alpha)
    low = lower_limit(d, None, rate, 1.0, threshold, -margin)
    high = -lower_limit(-d, None, rate, 1.0, threshold, margin)
    return (low, high)
