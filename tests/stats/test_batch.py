"""Verdicts from arrays are the verdicts of the streaming decider."""

import math

import numpy as np
import pytest

from weighbridge.stats.batch import decide_arrays
from weighbridge.stats.overall import shuffled_draws
from weighbridge.stats.sequential import PairTest
from weighbridge.stats.verdict import Decider


@pytest.mark.parametrize("seed", range(24))
def test_arrays_and_streaming_decide_the_same_at_the_same_unit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count, n = int(rng.integers(1, 9)), int(rng.integers(1, 3_000))
    ids = rng.choice(count, p=rng.dirichlet(np.ones(count)), size=n)
    spread = float(rng.choice([0.1, 0.3]))
    d = np.clip(np.round(rng.normal(rng.uniform(-0.3, 0.15, count)[ids], spread) * 4) / 4, -1, 1)
    weights = rng.uniform(0.1, 1.0, count).tolist()
    result = decide_arrays(d, ids, 0.1, 0.05, weights, count)

    names = [f"s{i}" for i in range(count)]
    decider = Decider(0.1, 0.05, dict(zip(names, weights, strict=True)))
    draws = shuffled_draws([names[i] for i in ids.tolist()], decider.slices)
    for value, draw in zip(d.tolist(), draws, strict=True):
        decider.feed(draw.slice, "candidate", value, draw)
    streamed = [*(decider.state(name, "candidate") for name in names), decider.overall("candidate")]
    for one, other in zip([*result.slices, result.overall], streamed, strict=True):
        assert (one.n, one.verdict, one.decided_at) == (other.n, other.verdict, other.decided_at)
        assert [*one.interval, one.certify, one.halt] == pytest.approx(
            [*other.interval, other.certify, other.halt], abs=5e-6
        )
        assert one.difference == (None if other.difference is None else pytest.approx(other.difference, abs=1e-12))


def test_closed_testing_between_many_close_slices_is_the_same_too() -> None:
    """Forty slices that reach the threshold together: certificates that wait for each other, across many windows."""
    rng = np.random.default_rng(5)
    count, n = 40, 40_000
    ids = rng.integers(0, count, n)
    d = rng.choice([-1.0, 0.0, 1.0], p=[0.09, 0.87, 0.04], size=n)
    result = decide_arrays(d, ids, 0.1, 0.05)
    decider = Decider(0.1, 0.05, {str(s): 1.0 for s in range(count)})
    for s, value in zip(ids.tolist(), d.tolist(), strict=True):
        decider.feed(str(s), "candidate", value)
    expected = [
        (decider.verdict(str(s), "candidate"), decider.state(str(s), "candidate").decided_at) for s in range(count)
    ]
    assert [(state.verdict, state.decided_at) for state in result.slices] == expected
    assert {verdict for verdict, _ in expected} >= {"non_inferior", "undecided"}


def test_without_weights_the_rows_are_the_traffic() -> None:
    d = np.random.default_rng(2).choice([-1.0, 0.0, 1.0], p=[0.02, 0.95, 0.03], size=3_000)
    whole = decide_arrays(d, np.arange(3_000) % 3, 0.05, 0.05).overall
    assert whole.n == 3_000
    assert whole.difference == pytest.approx(float(d.mean()))
    assert whole.verdict == "non_inferior"


def test_a_single_slice_is_the_whole_and_equals_the_pair_test() -> None:
    d = np.random.default_rng(3).uniform(-0.4, 0.4, 500)
    result = decide_arrays(d, np.zeros(500, dtype=int), 0.1, 0.05)
    test = PairTest(0.1, 0.05)
    test.update_many(d)
    assert result.overall == result.slices[0]
    assert (result.overall.certify, result.overall.halt) == pytest.approx((test.certify, test.halt), abs=1e-9)


def test_a_slice_without_rows_stays_undecided_and_counts_in_the_family() -> None:
    d, ids = np.zeros(50), np.zeros(50, dtype=int)
    alone, with_empty = decide_arrays(d, ids, 0.1, 0.05), decide_arrays(d, ids, 0.1, 0.05, slice_count=2)
    assert (with_empty.slices[1].n, with_empty.slices[1].verdict) == (0, "undecided")
    assert with_empty.slices[1].difference is None
    assert alone.slices[0].decided_at is not None
    assert with_empty.slices[0].decided_at is not None
    assert alone.slices[0].decided_at < with_empty.slices[0].decided_at


def test_no_rows_at_all_is_undecided() -> None:
    result = decide_arrays([], [], 0.1, 0.05)
    assert (result.overall.n, result.overall.verdict, result.overall.interval) == (0, "undecided", (-1.0, 1.0))


def test_bad_arrays_are_refused_with_the_value_and_the_rule() -> None:
    with pytest.raises(ValueError, match="difference at position 1 is nan"):
        decide_arrays([0.0, math.nan], [0, 0], 0.1, 0.05)
    with pytest.raises(ValueError, match="2 differences but 1 slice numbers"):
        decide_arrays([0.0, 0.0], [0], 0.1, 0.05)
    with pytest.raises(ValueError, match="slice numbers run from 0 to 3: allowed are 0 to 1"):
        decide_arrays([0.0, 0.0], [0, 3], 0.1, 0.05, slice_count=2)
    with pytest.raises(ValueError, match="3 weights for 2 slices"):
        decide_arrays([0.0, 0.0], [0, 1], 0.1, 0.05, [1.0, 1.0, 1.0])
