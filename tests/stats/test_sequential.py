"""The two e-processes of a pair stream, and the interval that inverts them."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weighbridge.stats.sequential import PairTest

MARGINS = st.floats(0.01, 0.6)
DIFFERENCES = st.lists(st.sampled_from([-1.0, -0.5, -0.25, 0.0, 0.0, 0.0, 0.25, 0.5, 1.0]), max_size=120)
THRESHOLD = math.log(20.0)


def fed(margin: float, differences: list[float]) -> PairTest:
    test = PairTest(margin, 0.05)
    for d in differences:
        test.update(d)
    return test


def mean_over_paths(low: float, high: float, p_high: float, n: int, value: Callable[[list[float]], float]) -> float:
    """The exact mean of `value` over all paths of a two-point law."""
    total = 0.0
    for path in itertools.product((low, high), repeat=n):
        ups = path.count(high) if high != low else 0
        total += p_high**ups * (1.0 - p_high) ** (n - ups) * value(list(path))
    return total


@given(MARGINS, st.floats(-1.0, 1.0))
def test_no_outcome_can_take_the_whole_wealth(margin: float, d: float) -> None:
    before, after = fed(margin, [0.5, -1.0]), fed(margin, [0.5, -1.0, d])
    for old, new in ((before.certify_bets, after.certify_bets), (before.halt_bets, after.halt_bets)):
        assert all(math.exp(b - a) >= 0.1 - 1e-12 for a, b in zip(old, new, strict=True))


@settings(max_examples=40, deadline=None)
@given(MARGINS, st.floats(0.0, 1.0), st.floats(0.001, 1.0), st.booleans())
def test_the_mean_e_value_under_the_null_is_at_most_one(margin: float, up: float, down: float, inside: bool) -> None:
    """Two-point laws with mean -m exactly (then it is 1) or further inside the null."""
    low, high = -margin - down * (1.0 - margin), -margin + up * (1.0 + margin)
    p = (-margin - low) / (high - low)
    certify = mean_over_paths(low, high, p * (0.7 if inside else 1.0), 7, lambda ds: math.exp(fed(margin, ds).certify))
    halt = mean_over_paths(
        low, high, min(1.0, p * (1.2 if inside else 1.0)), 7, lambda ds: math.exp(fed(margin, ds).halt)
    )
    assert certify <= 1.0 + 1e-9
    assert halt <= 1.0 + 1e-9
    if not inside:
        assert certify == pytest.approx(1.0, abs=1e-9)
        assert halt == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize(
    ("margin", "low", "high"), [(0.3, -1.0, 0.0), (0.3, -1.0, 1.0), (0.5, -0.8, 0.4), (0.45, -0.5, 1.0)]
)
def test_peeking_at_every_step_errs_at_most_alpha_by_exact_enumeration(margin: float, low: float, high: float) -> None:
    p = (-margin - low) / (high - low)

    def ever(side: Callable[[PairTest], float]) -> Callable[[list[float]], float]:
        def crossed(path: list[float]) -> float:
            test = PairTest(margin, 0.2)
            for d in path:
                test.update(d)
                if side(test) >= math.log(5.0):
                    return 1.0
            return 0.0

        return crossed

    certified = mean_over_paths(low, high, p, 11, ever(lambda test: test.certify))
    halted = mean_over_paths(low, high, p, 11, ever(lambda test: test.halt))
    assert certified <= 0.2
    assert halted <= 0.2
    assert certified + halted > 0.0, "the law must be one on which the test can err at all"


@given(MARGINS, DIFFERENCES, st.integers(0, 120))
def test_updating_in_batches_equals_updating_one_by_one(margin: float, differences: list[float], cut: int) -> None:
    single, batch = fed(margin, differences), PairTest(margin, 0.05)
    batch.update_many(differences[:cut])
    batch.update_many(differences[cut:])
    assert (single.n, single.differences.tolist()) == (batch.n, batch.differences.tolist())
    assert single.certify == pytest.approx(batch.certify, abs=1e-9)
    assert single.halt == pytest.approx(batch.halt, abs=1e-9)
    assert single.interval() == pytest.approx(batch.interval(), abs=1e-9)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([0.05, 0.1, 0.3]), DIFFERENCES, st.floats(-0.6, 0.6))
def test_the_interval_agrees_with_the_verdict(margin: float, differences: list[float], shift: float) -> None:
    test = fed(margin, [min(1.0, max(-1.0, d + shift)) for d in differences])
    low, high = test.interval()
    assert -1.0 <= low <= high <= 1.0
    if abs(test.certify - THRESHOLD) > 1e-4:
        assert (low > -margin - 1e-6) == (test.certify > THRESHOLD) or low == pytest.approx(-margin, abs=2e-6)
    if abs(test.halt - THRESHOLD) > 1e-4:
        assert (high < -margin + 1e-6) == (test.halt > THRESHOLD) or high == pytest.approx(-margin, abs=2e-6)


def test_each_end_of_the_interval_is_where_the_e_process_reaches_one_over_alpha() -> None:
    d = np.random.default_rng(2).choice([-1.0, 0.0, 1.0], p=[0.1, 0.8, 0.1], size=400)
    test = PairTest(0.1, 0.05)
    test.update_many(d)
    low, high = test.interval()
    v = (1 + np.concatenate(([0.0], np.cumsum(d * d)[:-1]))) / (4 + np.arange(400)) + 0.01
    kappa, cap = np.array([0.25, 0.5, 1, 2, 4])[:, None], np.array([0.5, 0.5, 0.5, 0.9, 0.9])[:, None]

    def log_e(x: np.ndarray[tuple[int], np.dtype[np.float64]], lo: float) -> float:
        logs = np.log1p(np.minimum(kappa * 0.1 / v, cap / lo) * x).sum(axis=1)
        return float(np.logaddexp.reduce(logs + np.log([0.1, 0.2, 0.4, 0.2, 0.1])))

    assert log_e(d - low, 1 + low) == pytest.approx(THRESHOLD, abs=1e-3)
    assert log_e(high - d, 1 - high) == pytest.approx(THRESHOLD, abs=1e-3)
    assert low < float(d.mean()) < high


def test_before_the_first_pair_nothing_is_known() -> None:
    test = PairTest(0.03, 0.05)
    assert test.n == 0
    assert test.mean is None
    assert test.variance is None
    assert [test.certify, test.halt] == pytest.approx([0.0, 0.0], abs=1e-12)
    assert test.interval() == (-1.0, 1.0)
    assert test.trace() == []


def test_the_interval_of_an_earlier_sample_size_is_the_one_shown_then() -> None:
    d = np.random.default_rng(3).uniform(-0.5, 0.5, 300)
    early, late = PairTest(0.05, 0.05), PairTest(0.05, 0.05)
    early.update_many(d[:120])
    late.update_many(d)
    assert early.interval() == late.interval(120)


def test_the_trace_narrows_and_ends_at_the_present_interval() -> None:
    test = PairTest(0.05, 0.05)
    test.update_many(np.random.default_rng(4).uniform(-0.5, 0.5, 2_000))
    trace = test.trace(20)
    assert (trace[0].n, trace[-1].n) == (1, 2_000)
    assert (trace[-1].low, trace[-1].high) == test.interval()
    assert trace[-1].high - trace[-1].low < 0.2 < trace[0].high - trace[0].low


@pytest.mark.parametrize(("margin", "pairs"), [(0.1, 41), (0.03, 142)])
def test_a_candidate_that_never_differs_is_certified_after_a_known_number_of_pairs(margin: float, pairs: int) -> None:
    test = PairTest(margin, 0.05)
    while test.certify < THRESHOLD:
        test.update(0.0)
    assert abs(test.n - pairs) <= 0.05 * pairs
