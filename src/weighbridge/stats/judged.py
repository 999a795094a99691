"""A cheap judge on every unit, a human label on some: certify and halt that hold whatever the judge does.

f in [-1, 1] is the judge's difference, y the human one where labelled (L = 1); L ~ Bernoulli(pi_t) is drawn by us
before y is known, pi_t >= pi_min logged. With h = beta_t (f_t - mean of past f):

    certify  z = y + m,     h            halt  z = -(y + m),  h := -h          b_k = B_k pi_min
    factor   L = 1: 1 + b (z - (1 - pi_t) h) / pi_t       L = 0: 1 + b h
    B_k  = min(kappa_k m / V_t, c_k / LO_t)
    LO_t = max((1 -/+ m) + (1 - pi_min) max h, pi_min max(-h)),  maxima over f in [-1, 1]

The unlabelled bet is constant in the unit, so the judge's part has mean zero given f and the factor's mean is
1 + b E[z] for any judge, drifting or hostile. With a uniform pi_t = pi this is 1 + B (z - (1 - pi) h) and 1 + B pi h.
beta_t and V_t come from past labelled units, so beta = 0 is the human-only test exactly:

    beta_t = clip(cov n / (var n + 5) * n / (n + 20), 0, 1)      cov of f and y, var of f, n past labels
    V_t    = (4 (1/4 + m^2) + sum [z^2 - 2 (1 - pi) z h + (1 - pi) h^2]) / (4 + n)

Where pi_t depends on the unit, past labels are weighted by a = pi_min / pi_t (V: a^2 in the sum, a in n; beta: the
weight (1 - pi_t) a^2 of the variance that h removes), which changes the power, never the validity. Sources:
Angelopoulos et al. 2023 (prediction-powered inference), Csillag et al. 2025 (prediction-powered e-values).
"""

import math
from array import array
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from weighbridge.stats.bets import (
    CAP,
    KAPPA,
    PRIOR_COUNT,
    check_alpha,
    check_difference,
    check_margin,
    log_end,
    log_mix,
)
from weighbridge.stats.seeds import uniforms

LABEL_PROBABILITY_MIN = 0.02
_GRID = np.linspace(-1.0, 1.0, 81)


class JudgedTest:
    """Both e-processes of one slice and candidate with judge and human differences.

    margin, alpha: as in `sequential.PairTest`. label_probability_min: the smallest probability with which a unit may
    have been chosen for a human label, in [0.02, 1], fixed in advance; the probability of every unit where it is
    uniform. judge: False ignores the judge, for comparison. Errors: ValueError.
    """

    def __init__(self, margin: float, alpha: float, label_probability_min: float, *, judge: bool = True) -> None:
        self.margin, self.alpha = check_margin(margin), check_alpha(alpha)
        if not LABEL_PROBABILITY_MIN <= label_probability_min <= 1.0:
            raise ValueError(
                f"label_probability_min is {label_probability_min!r}: allowed is {LABEL_PROBABILITY_MIN} to 1"
            )
        self.label_probability_min = label_probability_min
        self._judge = judge
        self._certify = [0.0] * len(KAPPA)
        self._halt = [0.0] * len(KAPPA)
        self._slope = _Slope()
        self._judge_sum = 0.0
        self._moment = PRIOR_COUNT * (0.25 + self.margin**2)
        self._moment_count = PRIOR_COUNT
        self._f, self._y, self._h, self._pi = array("d"), array("d"), array("d"), array("d")
        self._rate, self._h_top, self._h_bottom = array("d"), array("d"), array("d")
        self._labels = 0

    def update(self, f: float, y: float | None = None, probability: float | None = None) -> None:
        """Step by one complete unit.

        f: the judge's difference. y: the human difference, None where the unit was not chosen for a label (not: where
        the label is late). probability: pi_t of this unit, default label_probability_min.
        """
        f = check_difference(f, "judge difference")
        pi = self.label_probability_min if probability is None else probability
        if not self.label_probability_min <= pi <= 1.0:
            raise ValueError(
                f"label probability is {pi!r}: allowed is a number from {self.label_probability_min} (the smallest, "
                "fixed in advance) to 1"
            )
        if y is not None:
            y = check_difference(y, "human difference")
        elif pi == 1.0:
            raise ValueError("a unit with label probability 1 has no label: allowed is a label wherever it was certain")
        beta = self._slope.value() if self._judge else 0.0
        centre = self._judge_sum / len(self._h) if self._h else 0.0
        h, h_top, h_bottom = beta * (f - centre), beta * (1.0 - centre), beta * (-1.0 - centre)
        rate = self.margin * self._moment_count / self._moment
        self._bet(self._certify, 1.0, y, pi, rate, h, h_top, h_bottom)
        self._bet(self._halt, -1.0, y, pi, rate, -h, -h_bottom, -h_top)
        self._judge_sum += f
        for values, value in (
            (self._f, f),
            (self._y, math.nan if y is None else y),
            (self._h, h),
            (self._pi, pi),
            (self._rate, rate),
            (self._h_top, h_top),
            (self._h_bottom, h_bottom),
        ):
            values.append(value)
        if y is not None:
            a, z = self.label_probability_min / pi, y + self.margin
            self._moment += a * a * (z * z - 2.0 * (1.0 - pi) * z * h + (1.0 - pi) * h * h)
            self._moment_count += a
            self._slope.add(f, y, (1.0 - pi) * a * a)
            self._labels += 1

    def _bet(
        self,
        wealth: list[float],
        sign: float,
        y: float | None,
        pi: float,
        rate: float,
        h: float,
        h_top: float,
        h_bottom: float,
    ) -> None:
        smallest = self.label_probability_min
        lo = max(1.0 - sign * self.margin + (1.0 - smallest) * h_top, -smallest * h_bottom)
        gain = h if y is None else (sign * (y + self.margin) - (1.0 - pi) * h) / pi
        for k, kappa in enumerate(KAPPA):
            wealth[k] += math.log1p(smallest * min(kappa * rate, CAP[k] / lo) * gain)

    @property
    def n(self) -> int:
        """Units seen, labelled or not."""
        return len(self._h)

    @property
    def labels(self) -> int:
        """Units with a human label."""
        return self._labels

    @property
    def correlation(self) -> float | None:
        """Correlation of the judge's and the human's differences, labels weighted by 1 / pi_t; None while undefined."""
        y, f, pi = np.array(self._y), np.array(self._f), np.array(self._pi)
        labelled = ~np.isnan(y)
        if not labelled.any():
            return None
        y, f, w = y[labelled], f[labelled], 1.0 / pi[labelled]
        y, f = y - np.average(y, weights=w), f - np.average(f, weights=w)
        scale = math.sqrt(float(np.dot(w, y * y)) * float(np.dot(w, f * f)))
        return float(np.dot(w, y * f)) / scale if scale > 0.0 else None

    @property
    def mean(self) -> float | None:
        """The corrected estimate of the mean human difference, clipped to [-1, 1]; None before the first label.

        Inverse-probability weighted with the judge as control variate, so consistent for any judge.
        """
        if not self._labels:
            return None
        y, h, pi = (np.array(values) for values in (self._y, self._h, self._pi))
        labelled = ~np.isnan(y)
        residual = np.where(labelled, (np.where(labelled, y, 0.0) - h) / pi, 0.0).sum()
        ratio = residual / np.where(labelled, 1.0 / pi, 0.0).sum() + h.mean()
        return float(min(1.0, max(-1.0, ratio)))

    @property
    def certify(self) -> float:
        """The current log e-value against "worse by the margin or more"."""
        return log_mix(self._certify)

    @property
    def halt(self) -> float:
        """The current log e-value against "worse by the margin at most"."""
        return log_mix(self._halt)

    def interval(self) -> tuple[float, float]:
        """[low, high] for the mean human difference at level 1 - 2 alpha; (-1, 1) before the first unit.

        The null value eta takes the place of -m, with the same V_t. A capped unlabelled bet can make E(eta) rise a
        little, so the ends are the outermost null values that are not rejected, on a grid of 1/40, refined inside its
        cell.
        """
        if not self.n:
            return (-1.0, 1.0)
        low = self._limit(1.0, self.certify)
        high = -self._limit(-1.0, self.halt)
        return (low, high)

    def _limit(self, sign: float, at_null: float) -> float:
        """The lower limit of sign * y."""
        threshold, null = -math.log(self.alpha), -sign * self.margin
        y, h, pi, rate, top, bottom = (
            np.array(values) for values in (self._y, self._h, self._pi, self._rate, self._h_top, self._h_bottom)
        )
        if sign < 0:
            y, h, top, bottom = -y, -h, -bottom, -top
        smallest, labelled = self.label_probability_min, ~np.isnan(y)

        def kept_at(eta: float) -> bool:
            lo = np.maximum(1.0 + eta + (1.0 - smallest) * top, -smallest * bottom)
            x = smallest * np.where(labelled, (y - eta - (1.0 - pi) * h) / pi, h)
            return log_end(x, rate, np.maximum(lo, 1e-12)) < threshold

        return outermost_kept(kept_at, null, rejected=at_null >= threshold)


def outermost_kept(kept_at: Callable[[float], bool], null: float, *, rejected: bool) -> float:
    """The smallest value in [-1, 1] that a test does not reject, looked for on a grid and then refined to 1e-6.

    kept_at: is this null value not rejected? null: the null value at the margin, `rejected` what the test itself said
    of it: the verdict at the margin stands, whichever side the rounding of the grid fell on. 1 where all are rejected.
    """
    kept = next((i for i, eta in enumerate(_GRID.tolist()) if kept_at(eta)), None)
    if kept is None:
        return 1.0
    if kept == 0:
        return -1.0
    low, high = float(_GRID[kept - 1]), float(_GRID[kept])
    while high - low > 1e-6:
        middle = 0.5 * (low + high)
        low, high = (low, middle) if kept_at(middle) else (middle, high)
    return max(low, null) if rejected else min(low, null)


def choose_labels(probabilities: ArrayLike, seed: int) -> NDArray[np.bool_]:
    """Which units get a human label, drawn before any label is known: L_t ~ Bernoulli(pi_t), shape (n,).

    probabilities: pi_t of each unit in [0.02, 1], in the order of the stream; log them with the labels. ValueError.
    """
    pi = np.asarray(probabilities, dtype=np.float64)
    bad = ~((pi >= LABEL_PROBABILITY_MIN) & (pi <= 1.0))
    if pi.ndim != 1 or bad.any():
        shown = float(pi.flat[int(np.argmax(bad))]) if bad.any() else pi.shape
        raise ValueError(
            f"label probabilities hold {shown!r}: allowed is one number from {LABEL_PROBABILITY_MIN} to 1 each"
        )
    return uniforms("labels", seed, pi.size) < pi


class _Slope:
    """The shrunken regression slope of y on f over past labels, in weighted running moments."""

    def __init__(self) -> None:
        self._n = 0
        self._weight = self._f = self._y = self._ff = self._fy = 0.0

    def add(self, f: float, y: float, weight: float) -> None:
        self._n += 1
        if weight <= 0.0:
            return
        self._weight += weight
        df = f - self._f
        self._f += weight / self._weight * df
        self._y += weight / self._weight * (y - self._y)
        self._ff += weight * df * (f - self._f)
        self._fy += weight * df * (y - self._y)

    def value(self) -> float:
        if self._weight <= 0.0:
            return 0.0
        n, cov, var = self._n, self._fy / self._weight, self._ff / self._weight
        return min(1.0, max(0.0, cov * n / (var * n + 5.0) * n / (n + 20.0)))
