"""Bounds for rare events: how often does it fail, from counts.

Exact bounds hold at one sample size fixed in advance (Clopper and Pearson 1934). Betting bounds hold at every sample
size together, so they may be looked at after each unit (Waudby-Smith and Ramdas 2024): against "p >= p0" the bets are
likelihood ratios of q = u p0 to p0 for a grid of u < 1, against "p <= p0" of q = r p0 for r > 1; both are mixtures of
factors with mean at most 1 under the whole null, and they depend on the counts alone.
"""

import math
from collections.abc import Callable

from weighbridge.stats.bets import check_alpha

_BELOW = (0.0, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98, 0.99)
_ABOVE = (1.01, 1.02, 1.05, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
_EPSILON = 1e-15
_FRACTION_STEPS_MAX = 100_000


def _check_counts(events: int, n: int) -> None:
    if n < 0 or not 0 <= events <= n:
        raise ValueError(f"{events!r} events among {n!r} units: allowed is 0 <= events <= n")


def exact_interval(events: int, n: int, alpha: float) -> tuple[float, float]:
    """Clopper-Pearson bounds of a probability, each exceeded with probability at most alpha, at a fixed n.

    (0, 1) for n = 0. For the upper bound of a reference alone, take the second value. Errors: ValueError.
    """
    _check_counts(events, n)
    alpha = check_alpha(alpha)
    low = 0.0 if events == 0 else _beta_quantile(alpha, float(events), float(n - events + 1))
    high = 1.0 if events == n else _beta_quantile(1.0 - alpha, float(events + 1), float(n - events))
    return (low, high)


def anytime_upper(events: int, n: int, alpha: float) -> float:
    """A bound that the probability stays below at every n together with probability 1 - alpha. Errors: ValueError."""
    _check_counts(events, n)
    threshold = -math.log(check_alpha(alpha))
    if events == n:
        return 1.0

    def rejected(p: float) -> bool:
        terms = [_log_power(u, events) + (n - events) * math.log1p(p * (1.0 - u) / (1.0 - p)) for u in _BELOW]
        return _log_mean(terms) >= threshold

    return _bisect(rejected, events / n, 1.0 - 1e-12)


def anytime_lower(events: int, n: int, alpha: float) -> float:
    """A bound that the probability stays above at every n together with probability 1 - alpha. Errors: ValueError."""
    _check_counts(events, n)
    threshold = -math.log(check_alpha(alpha))
    if events == 0:
        return 0.0

    def kept(p: float) -> bool:
        alternatives = [min(r * p, 0.5 * (1.0 + p)) for r in _ABOVE]
        terms = [events * math.log(q / p) + (n - events) * math.log((1.0 - q) / (1.0 - p)) for q in alternatives]
        return _log_mean(terms) < threshold

    return _bisect(kept, 1e-12, min(events / n, 1.0 - 1e-12), upper=False)


def _log_power(u: float, k: int) -> float:
    if u == 0.0:
        return 0.0 if k == 0 else -math.inf
    return k * math.log(u)


def _log_mean(terms: list[float]) -> float:
    top = max(terms)
    return top + math.log(math.fsum(math.exp(t - top) for t in terms) / len(terms))


def _bisect(above: Callable[[float], bool], low: float, high: float, *, upper: bool = True) -> float:
    """Where `above` turns true, rounded outwards: up for an upper bound, down for a lower one."""
    if not above(high):
        return 1.0 if upper else high
    for _ in range(100):
        if high - low <= 1e-12 * max(high, 1e-6):
            break
        middle = 0.5 * (low + high)
        low, high = (low, middle) if above(middle) else (middle, high)
    return high if upper else low


def beta_cdf(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by Lentz's continued fraction."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - beta_cdf(1.0 - x, b, a)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    tiny = 1e-300
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if abs(d) > tiny else tiny)
    value = d
    for m in range(1, _FRACTION_STEPS_MAX):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0)),
        ):
            d = 1.0 + term * d
            d = 1.0 / (d if abs(d) > tiny else tiny)
            c = 1.0 + term / c
            c = c if abs(c) > tiny else tiny
            change = c * d
            value *= change
        if abs(change - 1.0) < _EPSILON:
            break
    return math.exp(front) * value / a


def _beta_quantile(p: float, a: float, b: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        low, high = (middle, high) if beta_cdf(middle, a, b) < p else (low, middle)
    return 0.5 * (low + high)
