"""The whole over slices: valid for any known drawing probabilities, and honest when a slice runs dry."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weighbridge.stats.overall import Draw, OverallTest, default_probabilities, draw_order, shuffled_draws

MARGIN = 0.3
THRESHOLD = math.log(20.0)


def outcomes(mean: float) -> list[tuple[float, float]]:
    """A law on {-1, 0.8} with this mean: (outcome, probability)."""
    p = (mean + 1.0) / 1.8
    return [(-1.0, 1.0 - p), (0.8, p)]


def paths(laws: list[list[tuple[float, float]]]) -> Iterator[tuple[tuple[float, ...], float]]:
    for combination in itertools.product(*laws):
        yield tuple(d for d, _ in combination), math.prod(p for _, p in combination)


@given(st.dictionaries(st.text(max_size=3), st.floats(0.001, 100.0), min_size=1, max_size=12))
def test_the_default_keeps_every_weight_at_most_two_and_fills_small_slices(weights: dict[str, float]) -> None:
    q, total = default_probabilities(weights), sum(weights.values())
    assert sum(q.values()) == pytest.approx(1.0)
    assert all(w / total / q[name] <= 2.0 + 1e-9 for name, w in weights.items())
    assert all(p >= 0.5 / len(weights) - 1e-12 for p in q.values())


@pytest.mark.parametrize("q", [None, {"a": 0.3, "b": 0.7}])
def test_the_mean_e_value_of_a_whole_at_the_margin_is_one_whatever_the_slices_are(q: dict[str, float] | None) -> None:
    """Slice a far below the margin, b above it, their weighted mean at it; every path enumerated."""
    weights = {"a": 0.25, "b": 0.75}
    means = {"a": -0.9, "b": -0.1}
    assert sum(weights[s] * means[s] for s in weights) == pytest.approx(-MARGIN)
    probabilities = default_probabilities(weights) if q is None else q
    certify = halt = 0.0
    step = [((s, d), probabilities[s] * p) for s in weights for d, p in outcomes(means[s])]
    for path in itertools.product(step, repeat=5):
        test = OverallTest(MARGIN, 0.05, weights, q)
        for (name, d), _ in path:
            test.update(name, d)
        chance = math.prod(p for _, p in path)
        certify += chance * math.exp(test.certify)
        halt += chance * math.exp(test.halt)
    assert [certify, halt] == pytest.approx([1.0, 1.0], abs=1e-9)


def test_a_shuffled_frame_has_the_same_guarantee_until_a_slice_runs_dry() -> None:
    """All orders of a frame of 2 + 3 items, with outcomes of either slice: the mean e-value is exactly one."""
    weights = {"a": 0.25, "b": 0.75}
    means = {"a": -0.9, "b": -0.1}
    orders = sorted(set(itertools.permutations("aabbb")))
    certify = halt = 0.0
    for order in orders:
        draws = shuffled_draws(order, weights)
        for ds, chance in paths([outcomes(means[s]) for s in order]):
            test = OverallTest(MARGIN, 0.05, weights)
            for draw, d in zip(draws, ds, strict=True):
                test.update(draw.slice, d, draw)
            certify += chance / len(orders) * math.exp(test.certify)
            halt += chance / len(orders) * math.exp(test.halt)
    assert [certify, halt] == pytest.approx([1.0, 1.0], abs=1e-9)


def test_renormalising_to_the_slices_left_would_certify_a_bad_whole_and_is_not_done() -> None:
    """Half of the traffic fails always, but has 6 items only: the whole must not be certified from the other half."""
    weights, frame = {"bad": 0.5, "fine": 0.5}, {"bad": 6, "fine": 2_000}
    truth = {"bad": -1.0, "fine": 0.5}
    assert sum(weights[s] * truth[s] for s in weights) < -0.1
    certified = renormalised = 0
    for seed in range(20):
        test = OverallTest(0.1, 0.05, weights)
        for draw in draw_order(weights, frame, seed):
            test.update(draw.slice, truth[draw.slice], draw)
            certified += test.certify >= THRESHOLD
        naive, left, rng = OverallTest(0.1, 0.05, weights), frame["bad"], np.random.default_rng(seed)
        for _ in range(400):
            name = "bad" if left and rng.random() < 0.5 else "fine"
            left -= name == "bad"
            naive.update(name, truth[name], Draw(name, 0.5 if left else 1.0, 1.0, 1.0, True))
        renormalised += naive.certify >= THRESHOLD
    assert certified == 0
    assert renormalised == 20


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 10), st.booleans())
def test_every_item_of_the_frame_is_drawn_once_with_a_probability_known_from_counts(
    counts: list[int], seed: int, fill: bool
) -> None:
    frame = {f"s{i}": count for i, count in enumerate(counts)}
    weights = {name: float(count) for name, count in frame.items()}
    draws = draw_order(weights, frame, seed, fill=fill)
    assert draws == draw_order(weights, frame, seed, fill=fill)
    left = dict(frame)
    for draw in draws:
        assert 0.0 < draw.probability <= 1.0
        assert draw.whole == all(left.values())
        if draw.whole:
            assert draw.weight == pytest.approx(frame[draw.slice] / sum(counts) / draw.probability)
            assert draw.weight <= draw.weight_max * (1 + 1e-12)
        left[draw.slice] -= 1
    assert set(left.values()) == {0}


def test_filling_reaches_small_slices_sooner_and_the_whole_still_lasts_to_the_end_of_the_frame() -> None:
    frame = {"big": 1_800, "small": 160, "tiny": 40}
    weights = {name: float(n) for name, n in frame.items()}
    filled, plain = (draw_order(weights, frame, 3, fill=fill) for fill in (True, False))

    def used(draws: list[Draw], name: str, first: int) -> int:
        return sum(draw.slice == name for draw in draws[:first])

    assert used(filled, "small", 300) > 2 * used(plain, "small", 300)
    assert used(filled, "tiny", 300) >= 20
    assert sum(draw.whole for draw in filled) > 1_600
    assert float(np.quantile([draw.weight_max for draw in filled if draw.whole], 0.75)) < 3.0


def test_draws_land_in_each_slice_as_often_as_their_probabilities_say() -> None:
    weights, frame = {"a": 3.0, "b": 1.0, "c": 1.0}, {"a": 30, "b": 30, "c": 5}
    hits, expected, variance = np.zeros(40), np.zeros(40), np.zeros(40)
    for seed in range(400):
        for i, draw in enumerate(draw_order(weights, frame, seed)[:40]):
            if draw.whole:
                hits[i] += draw.weight
                expected[i] += 1.0
                variance[i] += draw.weight_max**2
    # E[w/q] = 1 at every step, whatever q is: a wrong q would show as a drift of the mean weight.
    assert float(np.abs((hits - expected) / np.sqrt(variance)).max()) < 4.0


def test_weights_frames_and_draws_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="weight of slice 'b' is 0"):
        OverallTest(0.1, 0.05, {"a": 1.0, "b": 0.0})
    with pytest.raises(ValueError, match=r"frame has slices \['a'\], weights have \['a', 'b'\]"):
        draw_order({"a": 1.0, "b": 1.0}, {"a": 5}, 0)
    with pytest.raises(ValueError, match="0 or more"):
        draw_order({"a": 1.0}, {"a": -5}, 0)
    with pytest.raises(ValueError, match="slice 'c' has no weight"):
        OverallTest(0.1, 0.05, {"a": 1.0}).update("c", 0.0)
    with pytest.raises(ValueError, match=r"\['z'\] have no weight"):
        shuffled_draws(["a", "z"], {"a": 1.0})
    with pytest.raises(ValueError, match="allowed is the same set"):
        OverallTest(0.1, 0.05, {"a": 1.0}, {"b": 1.0})
    draw = draw_order({"a": 1.0, "b": 1.0}, {"a": 1, "b": 0}, 0)[0]
    with pytest.raises(ValueError, match="draw of slice 'a'"):
        OverallTest(0.1, 0.05, {"a": 1.0, "b": 1.0}).update("b", 0.0, draw)


def test_the_interval_of_the_whole_agrees_with_its_e_process() -> None:
    weights = {"a": 1.0, "b": 9.0}
    rng = np.random.default_rng(8)
    q = default_probabilities(weights)
    test = OverallTest(0.1, 0.05, weights)
    for _ in range(600):
        name = "a" if rng.random() < q["a"] else "b"
        test.update(name, float(rng.choice([-1.0, 0.0, 1.0], p=[0.05, 0.9, 0.05])))
    low, high = test.interval()
    mean = test.mean
    assert mean is not None
    assert low < mean < high
    assert (low > -0.1) == (test.certify >= THRESHOLD)
    assert low > -0.1, "this stream is long enough to be decided"
    assert OverallTest(0.1, 0.05, weights).interval() == (-1.0, 1.0)
