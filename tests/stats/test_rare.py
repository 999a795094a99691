"""Bounds for rare events, exact and at every peek."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weighbridge.stats.rare import anytime_lower, anytime_upper, beta_cdf, exact_interval


def at_most(k: int, n: int, p: float) -> float:
    return math.fsum(math.comb(n, i) * p**i * (1.0 - p) ** (n - i) for i in range(k + 1))


def chance_ever(p: float, n_max: int, missed: Callable[[int, int], bool]) -> float:
    """P(missed(events, n) at some n <= n_max) for a Bernoulli(p) stream."""
    alive, gone = {0: 1.0}, 0.0
    for n in range(1, n_max + 1):
        after: dict[int, float] = {}
        for k, chance in alive.items():
            after[k] = after.get(k, 0.0) + chance * (1.0 - p)
            after[k + 1] = after.get(k + 1, 0.0) + chance * p
        # Unlikely counts are dropped as missed, which can only overstate the error.
        leaving = {k for k, chance in after.items() if chance < 1e-9 or missed(k, n)}
        gone += math.fsum(after.pop(k) for k in leaving)
        alive = after
    return gone


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 80), st.floats(0, 1), st.sampled_from([0.01, 0.05, 0.1]))
def test_the_exact_bounds_solve_the_binomial_tails(n: int, share: float, alpha: float) -> None:
    k = round(share * n)
    low, high = exact_interval(k, n, alpha)
    assert 0.0 <= low <= k / n <= high <= 1.0
    if k < n:
        assert at_most(k, n, high) == pytest.approx(alpha, rel=1e-6)
    if k > 0:
        assert 1.0 - at_most(k - 1, n, low) == pytest.approx(alpha, rel=1e-6)


def test_no_event_gives_the_closed_form_bound() -> None:
    assert exact_interval(0, 100, 0.05) == pytest.approx((0.0, 1.0 - 0.05**0.01), abs=1e-12)
    assert exact_interval(100, 100, 0.05) == pytest.approx((0.05**0.01, 1.0), abs=1e-12)
    assert exact_interval(0, 0, 0.05) == (0.0, 1.0)


@pytest.mark.parametrize(("k", "n", "low", "high"), [(5, 10, 0.187086, 0.812914), (1, 20, 0.001265, 0.248733)])
def test_the_exact_bounds_match_published_values(k: int, n: int, low: float, high: float) -> None:
    assert exact_interval(k, n, 0.025) == pytest.approx((low, high), abs=1e-6)


def test_the_incomplete_beta_function_is_right_for_large_counts() -> None:
    assert beta_cdf(0.5, 40_000.0, 40_000.0) == pytest.approx(0.5, abs=1e-9)
    assert beta_cdf(0.3, 1.0, 5.0) == pytest.approx(1.0 - 0.7**5, abs=1e-12)
    assert (beta_cdf(0.0, 2.0, 3.0), beta_cdf(1.0, 2.0, 3.0)) == (0.0, 1.0)


@pytest.mark.parametrize("p", [0.03, 0.3])
def test_the_betting_bounds_miss_at_most_alpha_of_the_time_when_read_after_every_unit(p: float) -> None:
    """Exactly, over all paths: a path leaves at its first miss."""
    n_max, alpha = 60, 0.05
    missed_high = chance_ever(p, n_max, lambda k, n: anytime_upper(k, n, alpha) < p)
    missed_low = chance_ever(p, n_max, lambda k, n: anytime_lower(k, n, alpha) > p)
    assert missed_high + missed_low > 0.0
    assert missed_high <= alpha
    assert missed_low <= alpha


@given(st.integers(1, 2_000), st.floats(0, 0.2))
@settings(max_examples=60, deadline=None)
def test_the_betting_bounds_hold_the_observed_share_and_are_wider_than_the_exact_ones(n: int, share: float) -> None:
    k = round(share * n)
    exact_low, exact_high = exact_interval(k, n, 0.05)
    low, high = anytime_lower(k, n, 0.05), anytime_upper(k, n, 0.05)
    assert low <= exact_low + 1e-9
    assert exact_high - 1e-9 <= high
    if k == 0:
        assert high <= 1.6 * exact_high + 1e-9, "no event must stay a strong statement"


def test_impossible_counts_are_refused() -> None:
    for k, n in ((-1, 5), (6, 5), (0, -1)):
        for bound in (exact_interval, anytime_lower, anytime_upper):
            with pytest.raises(ValueError, match="allowed is 0 <= events <= n"):
                bound(k, n, 0.05)


def test_the_bounds_tighten_with_more_units() -> None:
    widths = [
        anytime_upper(round(0.02 * n), n, 0.05) - anytime_lower(round(0.02 * n), n, 0.05) for n in (100, 1_000, 10_000)
    ]
    assert np.all(np.diff(widths) < 0)
