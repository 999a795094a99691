"""Judge and human labels from arrays: `judged.JudgedTest` for a whole stream at once, with weights and clusters.

Rows carry the judge's difference f, the human one y where labelled, the label probability pi and a weight a; the rows
of one unit (a cluster) are one step, and their statistics enter the bets only after it. With g the gain of a row in
`judged` (L = 1: (z - (1 - pi) h) / pi, L = 0: h) and LO as there:

    factor of a unit   1 + b sum_i a_i g_i,   b = min(kappa_k m / V_t, c_k / (A_max LO_t)) pi_min,   A_max >= sum_i a_i

Each g_i has mean z_i given its own past, so the factor's mean is 1 + b E[sum_i a_i z_i], whatever the dependence within
the unit; it is positive because no pi_min g_i lies below -LO_t. A row that needs no judge (a check, a label on
everything) has pi = 1 and y. With a_i = 1/k over the k rows of a unit the mean tested is per unit; with a_i = w_s C /
(U_s k), for the part of a unit in slice s (U_s parts, C units), it is the traffic-weighted whole. V_t adds, to the rule
of `judged` for each labelled row, pi_min^2 times the products of gains within a unit, since rows of a cluster move
together. With one row to a unit and weight 1 everything equals `JudgedTest`.
"""

import math
from dataclasses import dataclass

import numpy as np

from weighbridge.stats.batch import decision, first_crossing
from weighbridge.stats.bets import (
    PRIOR_COUNT,
    FloatArray,
    IntArray,
    check_alpha,
    check_differences,
    check_margin,
    log_end,
    log_path,
)
from weighbridge.stats.judged import LABEL_PROBABILITY_MIN, outermost_kept
from weighbridge.stats.sequential import Interval
from weighbridge.stats.verdict import SliceState, cut_interval


@dataclass(frozen=True, slots=True)
class JudgedRows:
    """One stream in order; the rows of a unit stand together.

    judge: f, shape (n,). human: y, NaN where unlabelled, shape (n,). probability: pi in [0.02, 1], shape (n,). weight:
    a >= 0, shape (n,). starts: the first row of each unit, rising from 0, shape (C,).
    """

    judge: FloatArray
    human: FloatArray
    probability: FloatArray
    weight: FloatArray
    starts: IntArray

    def __post_init__(self) -> None:
        n = self.judge.size
        if not n or not self.human.size == self.probability.size == self.weight.size == n:
            raise ValueError(
                f"{n} judge differences, {self.human.size} human, {self.probability.size} probabilities and "
                f"{self.weight.size} weights: allowed is the same number of each, at least 1"
            )
        if not self.starts.size or self.starts[0] != 0 or (np.diff(self.starts) < 1).any() or self.starts[-1] >= n:
            raise ValueError(f"units start at rows {self.starts!r}: allowed is a rising sequence from 0, below {n}")
        labelled = ~np.isnan(self.human)
        check_differences(self.judge, "judge difference")
        check_differences(self.human[labelled], "human difference")
        bad = ~((self.probability >= LABEL_PROBABILITY_MIN) & (self.probability <= 1.0))
        if bad.any():
            raise ValueError(
                f"label probability is {float(self.probability[int(np.argmax(bad))])!r}: allowed is a number from "
                f"{LABEL_PROBABILITY_MIN} to 1"
            )
        if ((self.probability == 1.0) & ~labelled).any():
            raise ValueError("a row with label probability 1 has no label: allowed is a label wherever it was certain")


class JudgedStream:
    """Both e-processes of one stream at every unit.

    margin, alpha: as in `sequential.PairTest`. certify, halt: the log e-values after each unit, shape (C,). Errors:
    ValueError.
    """

    def __init__(self, rows: JudgedRows, margin: float, alpha: float) -> None:
        self.margin, self.alpha = check_margin(margin), check_alpha(alpha)
        self._rows = rows
        self._labelled = ~np.isnan(rows.human)
        self._smallest = float(rows.probability.min())
        self._sizes = np.diff(rows.starts, append=rows.judge.size)
        self._weight_max = float(self._sum(rows.weight).max())
        slope, centre = self._slope()
        self._top, self._bottom = slope * (1.0 - centre), slope * (-1.0 - centre)
        self._h = np.repeat(slope, self._sizes) * (rows.judge - np.repeat(centre, self._sizes))
        pi = rows.probability
        y = np.where(self._labelled, rows.human, 0.0)
        gain = np.where(self._labelled, (y - (1.0 - pi) * self._h) / pi, self._h)
        # The gain of a unit at a null value eta is constant - eta * turn.
        self._constant = self._sum(rows.weight * gain)
        self._turn = self._sum(np.where(self._labelled, rows.weight / pi, 0.0))
        self._rate = self.margin / self._moments(y + self.margin, gain + np.where(self._labelled, margin / pi, 0.0))
        self.certify, _ = log_path(*self._steps(1.0, -self.margin))
        self.halt, _ = log_path(*self._steps(-1.0, self.margin))

    def _sum(self, values: FloatArray) -> FloatArray:
        return np.asarray(np.add.reduceat(values, self._rows.starts), dtype=np.float64)

    def _before(self, values: FloatArray) -> FloatArray:
        """The sum over the units before each, shape (C,), from values by row."""
        total = np.cumsum(self._sum(values))
        return np.concatenate(([0.0], total[:-1]))

    def _slope(self) -> tuple[FloatArray, FloatArray]:
        """beta_t and the mean of past f, shape (C,) each."""
        rows, labelled = self._rows, self._labelled
        pi, f, y = rows.probability, rows.judge, np.where(labelled, rows.human, 0.0)
        w = np.where(labelled, rows.weight * (1.0 - pi) * (self._smallest / pi) ** 2, 0.0)
        total = self._before(w)
        n = self._before(labelled.astype(np.float64))
        known = total > 0.0
        divisor = np.where(known, total, 1.0)
        f_mean = self._before(w * f) / divisor
        cov = self._before(w * f * y) / divisor - f_mean * self._before(w * y) / divisor
        var = np.maximum(self._before(w * f * f) / divisor - f_mean * f_mean, 0.0)
        slope = np.where(known, np.clip(cov * n / (var * n + 5.0) * n / (n + 20.0), 0.0, 1.0), 0.0)
        judged = (pi < 1.0).astype(np.float64)  # a row that needs no judge says nothing about the judge's mean
        seen = self._before(judged)
        return slope, self._before(judged * f) / np.maximum(seen, 1.0)

    def _moments(self, z: FloatArray, gain: FloatArray) -> FloatArray:
        """V_t, shape (C,)."""
        rows, labelled, h = self._rows, self._labelled, self._h
        pi, a = rows.probability, rows.weight
        ratio = self._smallest / pi
        own = np.where(labelled, (a * ratio) ** 2 * (z * z - 2.0 * (1.0 - pi) * z * h + (1.0 - pi) * h * h), 0.0)
        total = np.cumsum(self._sum(own))
        if self._rows.starts.size < rows.judge.size:
            gains = a * gain
            total += np.cumsum(self._smallest**2 * (self._sum(gains) ** 2 - self._sum(gains * gains)))
        past = np.concatenate(([0.0], np.maximum(total[:-1], 0.0)))
        count = self._before(np.where(labelled, a * ratio, 0.0))
        prior = PRIOR_COUNT * (0.25 + self.margin**2)
        return np.asarray((prior + past) / (PRIOR_COUNT + count), dtype=np.float64)

    def _steps(self, sign: float, eta: float, stop: int | None = None) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Outcomes, rates and largest losses against the null "mean of sign * y <= eta", for `log_path`."""
        constant, turn, rate, top, bottom = (
            values[:stop] for values in (self._constant, self._turn, self._rate, self._top, self._bottom)
        )
        if sign < 0:
            top, bottom = -bottom, -top
        lo = np.maximum(1.0 + eta + (1.0 - self._smallest) * top, -self._smallest * bottom)
        return self._smallest * (sign * constant - eta * turn), rate, np.maximum(self._weight_max * lo, 1e-12)

    @property
    def n(self) -> int:
        """Units."""
        return int(self._rows.starts.size)

    @property
    def labels(self) -> int:
        """Rows with a human label that was not certain."""
        return int((self._labelled & (self._rows.probability < 1.0)).sum())

    @property
    def correlation(self) -> float | None:
        """Correlation of the judge's and the human's differences over labels that were drawn; None while undefined."""
        drawn = self._labelled & (self._rows.probability < 1.0)
        if not drawn.any():
            return None
        w = self._rows.weight[drawn] / self._rows.probability[drawn]
        y, f = self._rows.human[drawn], self._rows.judge[drawn]
        y, f = y - np.average(y, weights=w), f - np.average(f, weights=w)
        scale = math.sqrt(float((w * y * y).sum()) * float((w * f * f).sum()))
        return float((w * y * f).sum()) / scale if scale > 0.0 else None

    @property
    def mean(self) -> float | None:
        """The corrected estimate of the mean human difference, clipped to [-1, 1]; None without a label."""
        turn = float(self._turn.sum())
        if turn <= 0.0:
            return None
        rows = self._rows
        judged = float((rows.weight * self._h).sum()) / float(rows.weight.sum())
        residual = np.where(self._labelled, rows.weight * (rows.human - self._h) / rows.probability, 0.0).sum()
        return float(min(1.0, max(-1.0, residual / turn + judged)))

    @property
    def variance(self) -> float | None:
        """The variance of the human differences over labelled rows; None before the second label."""
        if self._labelled.sum() < 2:
            return None
        w = self._rows.weight[self._labelled] / self._rows.probability[self._labelled]
        y = self._rows.human[self._labelled]
        return float(np.average((y - np.average(y, weights=w)) ** 2, weights=w))

    @property
    def halted(self) -> int:
        """Units at the first crossing of halt; `batch.NEVER` where there was none."""
        return first_crossing(self.halt, -math.log(self.alpha))

    @property
    def crossed(self) -> int:
        """Units at the first crossing of certify at 1/alpha, outside any family; `batch.NEVER` where there was none."""
        return first_crossing(self.certify, -math.log(self.alpha))

    def state(self, certified: int | None = None) -> SliceState:
        """Where the stream stands. certified: units at its certificate in a family; None: at 1/alpha on its own."""
        verdict, at = decision(self.crossed if certified is None else certified, self.halted)
        interval = self.interval()
        if at is not None:
            interval = cut_interval(interval, self.interval(at), verdict, self.margin)
        return SliceState(self.n, self.mean, interval, verdict, at, float(self.certify[-1]), float(self.halt[-1]))

    def interval(self, at: int | None = None) -> Interval:
        """[low, high] at level 1 - 2 alpha from the first `at` units (default: all); the rule of `judged`."""
        last = (self.n if at is None else at) - 1
        low = self._limit(1.0, float(self.certify[last]), at)
        return (low, -self._limit(-1.0, float(self.halt[last]), at))

    def _limit(self, sign: float, at_null: float, stop: int | None) -> float:
        """The lower limit of sign * y: the outermost null values that are not rejected, on a grid, then refined."""
        threshold, null = -math.log(self.alpha), -sign * self.margin

        def kept_at(eta: float) -> bool:
            return log_end(*self._steps(sign, eta, stop)) < threshold

        return outermost_kept(kept_at, null, rejected=at_null >= threshold)
