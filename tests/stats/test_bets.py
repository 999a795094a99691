"""What the tests accept: every number out of range is refused with the number and the rule."""

import math

import numpy as np
import pytest

from weighbridge.stats.bets import check_weights, log_end, log_path, second_moments
from weighbridge.stats.family import Family
from weighbridge.stats.judged import JudgedTest
from weighbridge.stats.planner import plan
from weighbridge.stats.sequential import PairTest


@pytest.mark.parametrize("margin", [0.0, 1.0, -0.03, 3.0, math.nan, math.inf])
def test_a_margin_outside_its_range_is_refused_with_the_value_and_the_rule(margin: float) -> None:
    for build in (lambda: PairTest(margin, 0.05), lambda: plan(margin, 0.05), lambda: JudgedTest(margin, 0.05, 0.5)):
        with pytest.raises(ValueError, match=rf"margin is {margin!r}: allowed is a number above 0 and below 1"):
            build()


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, -0.1, math.nan])
def test_an_alpha_outside_its_range_is_refused_with_the_value_and_the_rule(alpha: float) -> None:
    with pytest.raises(ValueError, match=rf"alpha is {alpha!r}: allowed is a number above 0 and below 0.5"):
        PairTest(0.03, alpha)
    with pytest.raises(ValueError, match=r"alpha is"):
        Family(alpha)


@pytest.mark.parametrize("d", [math.nan, 1.0000001, -1.5, math.inf, 95.0])
def test_a_difference_outside_its_range_is_refused_and_changes_nothing(d: float) -> None:
    test = PairTest(0.03, 0.05)
    test.update(0.5)
    before = (test.n, test.certify, test.halt)
    with pytest.raises(ValueError, match=rf"difference is {d!r}: allowed is a number from -1 to 1"):
        test.update(d)
    with pytest.raises(ValueError, match=rf"difference at position 2 is {d!r}"):
        test.update_many([0.0, 1.0, d, d])
    assert before == (test.n, test.certify, test.halt)


def test_a_weight_that_is_not_positive_is_refused_by_name() -> None:
    for weight in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=r"weight of slice 'b' is"):
            check_weights([1.0, weight], ["a", "b"])
    with pytest.raises(ValueError, match="no slices"):
        check_weights([], [])


def test_the_second_moment_of_a_step_looks_at_earlier_steps_only() -> None:
    squares = np.array([1.0, 0.0, 0.25])
    assert pytest.approx(second_moments(squares).tolist()) == [1 / 4, 2 / 5, 2 / 6]


def test_the_blocked_products_equal_a_plain_running_sum_of_logarithms() -> None:
    rng = np.random.default_rng(5)
    for size in (1, 31, 32, 33, 8191, 8192, 8193, 20_000):
        x, rate = rng.uniform(-0.9, 1.1, size), rng.uniform(0.05, 2.0, size)
        lo = rng.uniform(0.9, 2.0, size)
        path, wealth = log_path(x, rate, lo)
        kappa, cap = np.array([0.25, 0.5, 1, 2, 4])[:, None], np.array([0.5, 0.5, 0.5, 0.9, 0.9])[:, None]
        plain = np.cumsum(np.log1p(np.minimum(kappa * rate, cap / lo) * x), axis=1)
        mixed = np.logaddexp.reduce(plain + np.log(np.array([0.1, 0.2, 0.4, 0.2, 0.1]))[:, None], axis=0)
        np.testing.assert_allclose(path, mixed, rtol=0, atol=1e-8)
        np.testing.assert_allclose(wealth, plain[:, -1], rtol=0, atol=1e-8)
        assert log_end(x, rate, lo) == pytest.approx(float(path[-1]), abs=1e-8)


def test_a_long_losing_run_keeps_its_logarithm_instead_of_falling_to_zero() -> None:
    test = PairTest(0.03, 0.05)
    test.update_many(np.full(200_000, -1.0))
    assert -math.inf < test.certify < -1_400.0
    assert test.halt > 1_000.0
