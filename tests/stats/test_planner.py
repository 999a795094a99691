"""Pairs needed: beforehand against the written figures and a simulation, on the way at the current estimate."""

import math

import numpy as np
import pytest

from weighbridge.stats.bets import log_path, second_moments
from weighbridge.stats.planner import pairs_still_needed, pairs_until_halt, plan
from weighbridge.stats.sequential import PairTest

THRESHOLD = math.log(20.0)


def test_the_plan_gives_the_published_figures_for_an_equal_candidate() -> None:
    alone, among_thirty = plan(0.03, 0.05), plan(0.03, 0.05, comparisons=30)
    assert (alone.n50, alone.n80) == pytest.approx((1_050, 1_850), rel=0.01)
    assert (among_thirty.n50, among_thirty.n80) == pytest.approx((2_150, 3_300), rel=0.01)


@pytest.mark.parametrize(("difference", "discordance"), [(0.0, 0.3), (-0.2, 0.3), (0.0, 0.1)])
def test_a_simulation_stops_where_the_plan_says(difference: float, discordance: float) -> None:
    margin, runs, n = 0.1, 400, 1_500
    expected = plan(margin, 0.05, difference=difference, variance=discordance - difference**2)
    up = 0.5 * (discordance + difference)
    rng = np.random.default_rng(11)
    stops = []
    for _ in range(runs):
        d = rng.choice([-1.0, 0.0, 1.0], p=[discordance - up, 1.0 - discordance, up], size=n)
        rate = margin / (second_moments(d * d) + margin**2)
        sign = 1.0 if difference > -margin else -1.0
        path, _ = log_path(sign * (d + margin), rate, 1.0 - sign * margin)
        stops.append(int(np.argmax(path >= THRESHOLD)) + 1 if (path >= THRESHOLD).any() else n)
    assert expected.n50 is not None
    assert expected.n80 is not None
    assert np.median(stops) == pytest.approx(expected.n50, rel=0.25)
    assert np.quantile(stops, 0.8) == pytest.approx(expected.n80, rel=0.25)


def test_a_truth_exactly_at_the_margin_has_no_plan() -> None:
    assert plan(0.05, 0.05, difference=-0.05).n50 is None


def test_a_halt_pays_for_one_comparison_only() -> None:
    assert plan(0.05, 0.05, comparisons=30, difference=-0.2) == plan(0.05, 0.05, comparisons=1, difference=-0.2)


def test_a_candidate_that_never_differs_still_needs_the_pairs_of_the_capped_bets() -> None:
    perfect = plan(0.1, 0.05, variance=0.0)
    assert (perfect.n50, perfect.n80) == (41, 62)


def test_a_good_judge_shrinks_the_labels_by_the_rule_and_a_contrary_one_not_at_all() -> None:
    alone = plan(0.03, 0.05)
    judged = plan(0.03, 0.05, label_fraction=0.2, correlation=0.9)
    contrary = plan(0.03, 0.05, label_fraction=0.2, correlation=-0.9)
    assert alone.n50 is not None
    assert judged.labels50 == pytest.approx(alone.n50 * (1 - 0.8 * 0.81), abs=1)
    assert contrary.labels50 == pytest.approx(alone.n50, abs=1)
    assert judged.n50 == pytest.approx(5 * (judged.labels50 or 0), abs=5)


def test_impossible_plans_are_refused() -> None:
    with pytest.raises(ValueError, match="comparisons is 0"):
        plan(0.03, 0.05, comparisons=0)
    with pytest.raises(ValueError, match="variance is 2"):
        plan(0.03, 0.05, variance=2.0)
    with pytest.raises(ValueError, match="both or neither"):
        plan(0.03, 0.05, label_fraction=0.5)
    with pytest.raises(ValueError, match="label_fraction is 0"):
        plan(0.03, 0.05, label_fraction=0.0, correlation=0.5)
    with pytest.raises(ValueError, match="correlation is 2"):
        plan(0.03, 0.05, label_fraction=0.5, correlation=2.0)
    with pytest.raises(ValueError, match="difference is nan"):
        plan(0.03, 0.05, difference=math.nan)


def test_pairs_still_needed_is_exact_for_a_candidate_that_never_differs() -> None:
    for margin in (0.03, 0.1):
        test = PairTest(margin, 0.05)
        promised = []
        while test.certify < THRESHOLD:
            test.update(0.0)
            left = pairs_still_needed(test)
            assert left is not None
            promised.append(test.n + left)
        assert max(promised) - min(promised) <= 2
        assert promised[-1] == test.n
        assert pairs_still_needed(test) == 0


def test_pairs_still_needed_comes_true_when_the_stream_repeats_itself() -> None:
    pattern = [0.0] * 7 + [1.0] + [0.0] * 6 + [-1.0]
    test = PairTest(0.05, 0.05)
    for _ in range(8):
        test.update_many(pattern)
    left = pairs_still_needed(test)
    assert left is not None
    predicted = test.n + left
    while test.certify < THRESHOLD:
        test.update_many(pattern)
    assert test.n == pytest.approx(predicted, rel=0.03, abs=len(pattern))


def test_more_pairs_will_not_help_a_candidate_that_sits_beyond_the_margin() -> None:
    test = PairTest(0.05, 0.05)
    test.update_many([0.0, -0.5, 0.0, 0.0] * 10)
    assert pairs_still_needed(test) is None
    halt = pairs_until_halt(test)
    assert halt is not None
    test.update_many([0.0, -0.5, 0.0, 0.0] * math.ceil(1.1 * halt / 4))
    assert test.halt >= THRESHOLD
    assert pairs_until_halt(test) == 0


def test_a_candidate_just_inside_the_margin_is_out_of_reach() -> None:
    test = PairTest(0.05, 0.05)
    test.update_many([0.0] * 19 + [-0.99])
    assert test.mean is not None
    assert test.mean > -0.05
    assert pairs_still_needed(test, look_ahead=10_000) is None
    assert pairs_until_halt(test) is None


def test_a_family_asks_for_more_pairs_than_a_single_comparison() -> None:
    test = PairTest(0.05, 0.05)
    test.update_many([0.0, 0.25, -0.25, 0.0] * 20)
    alone, among = pairs_still_needed(test), pairs_still_needed(test, math.log(20.0 * 30))
    assert alone is not None
    assert among is not None
    assert 0 < alone < among


def test_before_the_first_pair_the_plan_answers() -> None:
    assert pairs_still_needed(PairTest(0.03, 0.05)) == plan(0.03, 0.05).n50
    assert pairs_until_halt(PairTest(0.03, 0.05)) is None


def test_many_different_values_are_binned_without_moving_the_mean() -> None:
    d = np.random.default_rng(0).uniform(-0.3, 0.3, 200)
    d -= d.mean()
    fine, coarse = PairTest(0.02, 0.05), PairTest(0.02, 0.05)
    fine.update_many(d)
    coarse.update_many(np.round(d * 20) / 20)
    binned, exact = pairs_still_needed(fine), pairs_still_needed(coarse)
    assert binned is not None
    assert exact is not None
    assert exact > 50
    assert binned == pytest.approx(exact, rel=0.1)
