"""Draws that evidence depends on are the same everywhere and for ever."""

import hashlib

import numpy as np
import pytest

from weighbridge.stats.clusters import order
from weighbridge.stats.judged import choose_labels
from weighbridge.stats.overall import draw_order
from weighbridge.stats.seeds import ranks, uniforms


def test_orders_slices_and_labels_of_a_seed_are_frozen() -> None:
    """Changing these changes the order of every stored trial: bump the `method` of verdicts if you must."""
    draws = draw_order({"a": 3.0, "b": 1.0}, {"a": 30, "b": 10}, 0)
    text = repr(
        (
            order(20, 0).tolist(),
            order(list("aabbcdde"), 1).tolist(),
            "".join(draw.slice for draw in draws),
            choose_labels(np.full(20, 0.3), 0).tolist(),
        )
    )
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "566e7e896d8e4e77"


def test_purposes_and_seeds_have_streams_of_their_own() -> None:
    streams = [uniforms(purpose, seed, 4_000) for purpose in ("order", "slices", "labels") for seed in (0, 1)]
    correlations = np.abs(np.corrcoef(streams) - np.eye(len(streams)))
    assert correlations.max() < 0.07


def test_uniform_numbers_are_uniform_and_permutations_complete() -> None:
    u = uniforms("order", 5, 50_000)
    assert 0.0 <= u.min() < u.max() < 1.0
    assert np.histogram(u, bins=10, range=(0, 1))[0].min() > 4_700
    assert sorted(ranks("order", 5, 1_000).tolist()) == list(range(1_000))
    assert ranks("order", 5, 0).size == 0


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="seed is -1"):
        order(5, -1)
