"""Both e-processes of a stream whose units carry known weights: the whole over slices, clusters by request.

A unit has a weight a_t >= 0, fixed or drawn by us before its outcome, at most a_max_t, and a weighted difference s_t
with |s_t| <= a_t. The mean difference is E[s] / E[a], and

    certify  H0: E[s] <= -m E[a]   X = s + m a      lo = (1 - m) a_max
    halt     H0: E[s] >= -m E[a]   X = -(s + m a)   lo = (1 + m) a_max
    v_t = (prior + sum_{i<t} X_i^2) / (4 + t - 1),  bets of `bets` with g = m times the expected weight
"""

import math
from array import array

import numpy as np

from weighbridge.stats.bets import (
    CAP,
    KAPPA,
    PRIOR_COUNT,
    FloatArray,
    check_alpha,
    check_margin,
    log_mix,
    second_moments,
)
from weighbridge.stats.interval import lower_limit


class WeightedTest:
    """The certify and halt processes of one weighted stream; `overall` and `clusters` say where the weights come from.

    weight_mean: the weight that the test is designed for. Subclasses call `_step`.
    """

    __slots__ = ("_a", "_a_max", "_certify", "_gain", "_halt", "_moment", "_prior", "_s", "alpha", "margin")

    def __init__(self, margin: float, alpha: float, weight_mean: float = 1.0) -> None:
        self.margin = check_margin(margin)
        self.alpha = check_alpha(alpha)
        self._gain = self.margin * weight_mean
        self._prior = weight_mean * weight_mean
        self._moment = self._prior
        self._certify = [0.0] * len(KAPPA)
        self._halt = [0.0] * len(KAPPA)
        self._s, self._a, self._a_max = array("d"), array("d"), array("d")

    def _step(self, s: float, a: float, a_max: float) -> None:
        rate = self._gain * (PRIOR_COUNT + len(self._s)) / self._moment
        x = s + self.margin * a
        lo_certify, lo_halt = (1.0 - self.margin) * a_max, (1.0 + self.margin) * a_max
        for k, kappa in enumerate(KAPPA):
            self._certify[k] += math.log1p(min(kappa * rate, CAP[k] / lo_certify) * x)
            self._halt[k] += math.log1p(-min(kappa * rate, CAP[k] / lo_halt) * x)
        self._moment += x * x
        self._s.append(s)
        self._a.append(a)
        self._a_max.append(a_max)

    @property
    def n(self) -> int:
        """Units seen."""
        return len(self._s)

    @property
    def mean(self) -> float | None:
        """The weighted mean difference so far, sum(s) / sum(a); None before the first unit."""
        return math.fsum(self._s) / math.fsum(self._a) if self._s else None

    @property
    def certify(self) -> float:
        """The current log e-value against "worse by the margin or more"."""
        return log_mix(self._certify)

    @property
    def halt(self) -> float:
        """The current log e-value against "worse by the margin at most"."""
        return log_mix(self._halt)

    def interval(self, at: int | None = None) -> tuple[float, float]:
        """[low, high] for the weighted mean difference at level 1 - 2 alpha, from the first `at` units (all)."""
        stop = self.n if at is None else at
        s, a, a_max = (np.array(values[:stop], dtype=np.float64) for values in (self._s, self._a, self._a_max))
        return weighted_interval(s, a, a_max, self.margin, self.alpha, self._gain, self._prior)


def weighted_interval(
    s: FloatArray,
    a: FloatArray,
    a_max: FloatArray | float,
    margin: float,
    alpha: float,
    gain: float,
    prior: float = 1.0,
) -> tuple[float, float]:
    """The interval of a weighted stream from arrays of shape (n,); (-1, 1) where n is 0."""
    if not s.size:
        return (-1.0, 1.0)
    x = s + margin * a
    rate = gain / second_moments(x * x, prior)
    threshold = -math.log(alpha)
    low = lower_limit(s, a, rate, a_max, threshold, -margin)
    high = -lower_limit(-s, a, rate, a_max, threshold, margin)
    return (low, high)
