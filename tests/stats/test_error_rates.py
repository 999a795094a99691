"""What the verdicts promise, counted: errors at the margin under peeking, beside methods that must fail.

The long version, with power and stopping points, is `bench/stats.py`; `docs/evidence/statistics.md` holds a run.
"""

import math

import numpy as np
import pytest

from weighbridge.stats.bets import FloatArray, log_path, second_moments
from weighbridge.stats.clusters import cluster_means, order

ALPHA = 0.05
THRESHOLD = -math.log(ALPHA)


def allowed(runs: int, alpha: float = ALPHA) -> float:
    return alpha + 3.0 * math.sqrt(alpha * (1.0 - alpha) / runs)


def certified(d: FloatArray, margin: float) -> bool:
    rate = margin / (second_moments(d * d) + margin**2)
    return bool(log_path(d + margin, rate, 1.0 - margin)[0].max() >= THRESHOLD)


def halted(d: FloatArray, margin: float) -> bool:
    rate = margin / (second_moments(d * d) + margin**2)
    return bool(log_path(-d - margin, rate, 1.0 + margin)[0].max() >= THRESHOLD)


def z_test_certified(d: FloatArray, margin: float) -> bool:
    """A one-sided z-test of the mean, looked at after each pair from the 30th."""
    n = np.arange(1, d.size + 1)
    mean = np.cumsum(d) / n
    variance = np.maximum(np.cumsum(d * d) / n - mean**2, 1e-12)
    return bool((((mean + margin) * np.sqrt(n / variance))[29:] >= 1.645).any())


def frame_at_the_margin(n: int, discordance: float, margin: float) -> FloatArray:
    """n differences of -1, 0, 1 whose mean is -margin exactly."""
    up = round(n * 0.5 * (discordance - margin))
    down = up + round(n * margin)
    frame = np.concatenate((np.ones(up), -np.ones(down), np.zeros(n - up - down)))
    assert frame.mean() == pytest.approx(-margin, abs=1e-12)
    return frame


@pytest.mark.parametrize("discordance", [0.05, 0.15, 0.4])
def test_2000_shuffles_of_a_frame_at_the_margin_certify_at_most_alpha_while_a_peeked_z_test_does_not(
    discordance: float,
) -> None:
    margin, runs = 0.03, 2_000
    frame = frame_at_the_margin(1_000, discordance, margin)
    wrong = wrong_z = 0
    for seed in range(runs):
        d = frame[order(frame.size, seed)]
        wrong += certified(d, margin)
        wrong_z += z_test_certified(d, margin)
    assert wrong / runs <= allowed(runs)
    assert wrong_z / runs > 0.2, "the harness must be able to see a test that peeks without paying"


def test_halts_at_the_margin_are_at_most_alpha() -> None:
    frame, runs = frame_at_the_margin(1_000, 0.15, 0.03), 1_000
    wrong = sum(halted(frame[order(frame.size, seed)], 0.03) for seed in range(runs))
    assert wrong / runs <= allowed(runs)


def test_correlated_runs_are_safe_as_cluster_means_and_not_as_units() -> None:
    """Four runs of each task, nearly the same outcome each time, truth at the margin."""
    margin, runs, tasks = 0.1, 400, 150
    rng = np.random.default_rng(1)
    as_units = as_clusters = 0
    for seed in range(runs):
        task = rng.choice([-1.0, 0.0, 1.0], p=[0.35, 0.4, 0.25], size=tasks)
        rows = np.where(rng.random((tasks, 4)) < 0.95, task[:, None], 0.0).ravel()
        rows = np.clip(rows - 0.1 + 0.95 * 0.1, -1.0, 1.0)  # keeps the mean at -m exactly in expectation
        keys = np.repeat(np.arange(tasks), 4).tolist()
        as_units += certified(rows[order(keys, seed)], margin)
        means = cluster_means(rows, keys)
        as_clusters += certified(means[order(tasks, seed)], margin)
    assert as_clusters / runs <= allowed(runs)
    assert as_units / runs > 0.15, "counting runs as units must be seen to fail"


def test_a_drifting_log_is_safe_shuffled_and_not_in_time_order() -> None:
    """The candidate was fine early in the span and bad late; over the span it sits at the margin."""
    margin, runs, n = 0.05, 300, 1_500
    rng = np.random.default_rng(2)
    in_time = shuffled = 0
    drift = np.linspace(0.2, -0.2, n) - margin
    for seed in range(runs):
        up = 0.5 * (0.4 + drift)
        u = rng.random(n)
        d = np.where(u < up, 1.0, np.where(u < 0.4, -1.0, 0.0))
        in_time += certified(d, margin)
        shuffled += certified(d[order(n, seed)], margin)
    assert shuffled / runs <= allowed(runs)
    assert in_time / runs > 0.25, "reading in time order must be seen to fail"
