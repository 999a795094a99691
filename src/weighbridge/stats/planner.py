"""How many pairs a verdict takes: beforehand, and from where a trial stands.

Beforehand. The log e-value must climb b = ln(K / alpha) + 0.9 (0.9: the price of mixing and of the first guesses of
v) at the growth of the best bet, gap^2 / (2 (s2 + gap^2)) a pair, gap = |difference + m|, s2 the variance of D over
units:

    n_mean = 2 b (s2 + gap^2) / gap^2

and the stopping time is close to inverse Gaussian with that mean and shape n_mean * b / 2 (the first passage of a
random walk with drift), which gives the median n50 and the 80% quantile n80. Neither can be less than b / ln(1 + .9 m
/ (1 - m)), the steps of a candidate that never differs with every bet at its cap, nor n80 less than 1.5 times that.

With judge labels on every unit and human labels on a fraction pi of them, labels shrink by 1 - (1 - pi) rho^2, rho the
correlation of the judge's and the human's *differences* (Angelopoulos et al. 2023).
"""

import math
from dataclasses import dataclass

import numpy as np

from weighbridge.stats.bets import (
    CAP,
    KAPPA,
    LOG_WEIGHT,
    PRIOR_COUNT,
    PRIOR_SUM,
    FloatArray,
    check_alpha,
    check_difference,
    check_margin,
)
from weighbridge.stats.sequential import PairTest

# Variance of D over units where none is known: two graders of 0/1 scores that disagree on 15% of the units.
VARIANCE_DEFAULT = 0.15
_OVERHEAD = 0.9
_ATOMS_MAX = 64
_LOOK_AHEAD = 100_000


@dataclass(frozen=True, slots=True)
class Plan:
    """Units to a verdict: mean, median and 80% quantile. None: no number suffices, the truth sits at the margin.

    labels50 and labels80: the human labels among them, None where the plan has no judge.
    """

    n_mean: int | None
    n50: int | None
    n80: int | None
    labels50: int | None = None
    labels80: int | None = None


def plan(
    margin: float,
    alpha: float,
    comparisons: int = 1,
    difference: float = 0.0,
    variance: float = VARIANCE_DEFAULT,
    label_fraction: float | None = None,
    correlation: float | None = None,
) -> Plan:
    """Units to the verdict of one slice and candidate among `comparisons` in the family, before any is seen.

    difference: the suspected truth in [-1, 1]; below -margin the plan is for `inferior` (which pays for one comparison
    only). variance: of D over units, in [0, 1]. label_fraction: pi in (0, 1], the fraction with human labels, and
    correlation: rho in [-1, 1]; both or neither. Errors: ValueError.
    """
    margin, alpha = check_margin(margin), check_alpha(alpha)
    difference = check_difference(difference)
    if comparisons < 1:
        raise ValueError(f"comparisons is {comparisons!r}: allowed is 1 or more, slices times candidates")
    if not 0.0 <= variance <= 1.0:
        raise ValueError(f"variance is {variance!r}: allowed is a number from 0 to 1, of differences in [-1, 1]")
    labels = _label_factor(label_fraction, correlation)
    gap = difference + margin
    if abs(gap) < 1e-12:
        return Plan(None, None, None)
    b = math.log((comparisons if gap > 0 else 1) / alpha) + _OVERHEAD
    mean = 2.0 * b * (variance + gap * gap) / (gap * gap)
    floor = b / math.log1p(0.9 * margin / (1.0 - margin))
    n50 = max(_inverse_gaussian(0.5, mean, mean * b / 2.0), floor)
    n80 = max(_inverse_gaussian(0.8, mean, mean * b / 2.0), 1.5 * floor)
    mean = max(mean, floor)
    if label_fraction is None:
        return Plan(math.ceil(mean), math.ceil(n50), math.ceil(n80))
    items = labels / label_fraction
    return Plan(
        math.ceil(mean * items),
        math.ceil(n50 * items),
        math.ceil(n80 * items),
        math.ceil(n50 * labels),
        math.ceil(n80 * labels),
    )


def _label_factor(label_fraction: float | None, correlation: float | None) -> float:
    if label_fraction is None and correlation is None:
        return 1.0
    if label_fraction is None or correlation is None:
        raise ValueError(
            f"label_fraction is {label_fraction!r} and correlation {correlation!r}: allowed is both or neither; "
            "without a measured correlation plan with 0"
        )
    if not 0.0 < label_fraction <= 1.0:
        raise ValueError(f"label_fraction is {label_fraction!r}: allowed is a number above 0 and up to 1")
    if not -1.0 <= correlation <= 1.0:
        raise ValueError(f"correlation is {correlation!r}: allowed is a number from -1 to 1")
    # A judge that disagrees on average is of no use: the slope of the correction is clipped at 0.
    return 1.0 - (1.0 - label_fraction) * max(correlation, 0.0) ** 2


def _normal_cdf(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


def _inverse_gaussian(p: float, mean: float, shape: float) -> float:
    """The p quantile of the inverse Gaussian law, by bisection on its distribution function."""

    def below(x: float) -> float:
        root = math.sqrt(shape / x)
        return _normal_cdf(root * (x / mean - 1.0)) + math.exp(2.0 * shape / mean) * _normal_cdf(
            -root * (x / mean + 1.0)
        )

    low, high = 0.0, mean
    while below(high) < p:
        low, high = high, 2.0 * high
    while high - low > 1e-6 * mean:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if below(middle) < p else (low, middle)
    return high


def pairs_still_needed(test: PairTest, required: float | None = None, look_ahead: int = _LOOK_AHEAD) -> int | None:
    """How many more pairs certify this candidate if it goes on as it did; 0 when it is there; None: more will not
    help.

    required: the log e-value that certifies, default log(1/alpha), in a family `Family.required`. The rule: take the
    differences seen so far as the law of the ones to come and follow the expected growth of the five bets, their
    second moment moving on with them. None where the mean so far is at or below -m, so that every further pair costs
    e-value on average, and where the growth does not get there within `look_ahead` pairs. Before the first pair: the
    median of `plan` for a candidate that is equal.
    """
    required = -math.log(test.alpha) if required is None else required
    if test.certify >= required:
        return 0
    if test.mean is None:
        return plan(test.margin, test.alpha).n50
    if test.mean <= -test.margin:
        return None
    return _project(test, 1.0, test.certify_bets, required, look_ahead)


def pairs_until_halt(test: PairTest, look_ahead: int = _LOOK_AHEAD) -> int | None:
    """How many more pairs prove this candidate inferior if it goes on as it did; None: none do, by the same rule."""
    required = -math.log(test.alpha)
    if test.halt >= required:
        return 0
    if test.mean is None or test.mean >= -test.margin:
        return None
    return _project(test, -1.0, test.halt_bets, required, look_ahead)


def _project(test: PairTest, sign: float, bets: tuple[float, ...], required: float, look_ahead: int) -> int | None:
    values, shares = _law(test.differences)
    squares = float(np.dot(shares, values * values))
    total = squares * test.n
    ahead = np.unique(np.concatenate(([0.0], np.round(np.geomspace(1.0, look_ahead, 400)))))
    v = (PRIOR_SUM + total + squares * ahead) / (PRIOR_COUNT + test.n + ahead) + test.margin**2
    x = sign * (values + test.margin)
    lo = 1.0 - sign * test.margin
    wealth = np.empty((len(KAPPA), ahead.size))
    for k, kappa in enumerate(KAPPA):
        bet = np.minimum(kappa * test.margin / v, CAP[k] / lo)
        growth = np.log1p(bet[:, None] * x) @ shares
        steps = 0.5 * (growth[1:] + growth[:-1]) * np.diff(ahead)
        wealth[k] = LOG_WEIGHT[k] + bets[k] + np.concatenate(([0.0], np.cumsum(steps)))
    top = wealth.max(axis=0)
    log_e = top + np.log(np.exp(wealth - top).sum(axis=0))
    if not (log_e >= required).any():
        return None
    first = int(np.argmax(log_e >= required))
    if first == 0:
        return 1
    part = (required - log_e[first - 1]) / (log_e[first] - log_e[first - 1])
    return max(1, math.ceil(float(ahead[first - 1] + part * (ahead[first] - ahead[first - 1]))))


def _law(differences: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The differences as at most 64 values with their shares; bins keep their mean, so that the mean is exact."""
    values, counts = np.unique(differences, return_counts=True)
    if values.size > _ATOMS_MAX:
        counts, edges = np.histogram(differences, bins=_ATOMS_MAX, range=(-1.0, 1.0))
        sums, _ = np.histogram(differences, bins=edges, weights=differences)
        values, counts = sums[counts > 0] / counts[counts > 0], counts[counts > 0]
    return values, np.asarray(counts / counts.sum(), dtype=np.float64)
