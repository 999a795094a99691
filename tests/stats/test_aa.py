"""The A/A check: noise of the grader, and whether the harness favours a side."""

import math

import numpy as np
import pytest

from weighbridge.stats.aa import check
from weighbridge.stats.planner import plan


def test_an_even_handed_noisy_grader_passes_and_its_noise_sets_the_plan() -> None:
    rng = np.random.default_rng(6)
    first = rng.integers(0, 2, 600)
    second = np.where(rng.random(600) < 0.2, rng.integers(0, 2, 600), first)
    result = check(first, second, 0.05, 0.05)
    assert result.even_handed
    assert result.n == 600
    assert result.discordance == pytest.approx(float(np.mean(first != second)))
    assert result.plan == plan(0.05, 0.05, variance=result.variance)
    assert result.smallest_margin is not None
    reached = plan(result.smallest_margin, 0.05, variance=result.variance).n50
    assert reached is not None
    assert 560 <= reached <= 600


def test_a_grader_that_prefers_the_second_run_is_found() -> None:
    rng = np.random.default_rng(7)
    first = rng.integers(0, 2, 400).astype(float)
    second = np.where(rng.random(400) < 0.25, 1.0, first)
    result = check(first, second, 0.05, 0.05)
    assert not result.even_handed
    assert result.interval[0] > 0.0


def test_even_handed_graders_are_accused_at_most_at_the_level_of_the_interval() -> None:
    rng = np.random.default_rng(8)
    accused = sum(
        not check(rng.integers(0, 2, 200), rng.integers(0, 2, 200), 0.1, 0.05).even_handed for _ in range(300)
    )
    assert accused <= 300 * 0.1 + 3 * math.sqrt(300 * 0.1 * 0.9)


def test_a_grader_without_noise_needs_the_fewest_pairs() -> None:
    result = check([1.0] * 50, [1.0] * 50, 0.1, 0.05)
    assert (result.variance, result.discordance) == (0.0, 0.0)
    assert result.plan.n50 == 41


def test_scores_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match=r"first score at position 1 is 1\.5"):
        check([0.0, 1.5], [0.0, 0.0], 0.05, 0.05)
    with pytest.raises(ValueError, match="second score at position 0 is nan"):
        check([0.0, 1.0], [math.nan, 0.0], 0.05, 0.05)
    with pytest.raises(ValueError, match="3 first and 2 second scores"):
        check([0.0, 1.0, 1.0], [0.0, 0.0], 0.05, 0.05)
    with pytest.raises(ValueError, match="1 units: allowed are 2 or more"):
        check([0.0], [0.0], 0.05, 0.05)
    with pytest.raises(ValueError, match="one dimension"):
        check([[0.0]], [[0.0]], 0.05, 0.05)
