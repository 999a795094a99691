"""Judge labels corrected by human ones: valid for any judge, never much worse than without it."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weighbridge.stats.judged import JudgedTest, choose_labels
from weighbridge.stats.seeds import uniforms

MARGIN = 0.25
# (judge, human, probability): the human mean is -0.25 exactly; three judges that err in different ways.
LAWS = {
    "honest": [(-0.9, -1.0, 0.45), (0.4, 0.5, 0.4), (0.0, 0.0, 0.15)],
    "hostile": [(1.0, -1.0, 0.45), (-1.0, 0.5, 0.4), (0.3, 0.0, 0.15)],
    "flattering": [(1.0, -1.0, 0.45), (1.0, 0.5, 0.4), (0.9, 0.0, 0.15)],
}


def label_probability(f: float, uniform: bool) -> float:
    """Item-dependent: label where the judge is unsure."""
    return 0.4 if uniform else (0.4 if abs(f) > 0.35 else 0.9)


@pytest.mark.parametrize("uniform", [True, False])
@pytest.mark.parametrize("law", LAWS)
def test_the_mean_e_value_at_the_margin_is_one_for_any_judge(law: str, uniform: bool) -> None:
    assert sum(y * p for _, y, p in LAWS[law]) == pytest.approx(-MARGIN)
    step: list[tuple[float, float | None, float, float]] = []
    for f, y, p in LAWS[law]:
        pi = label_probability(f, uniform)
        step += [(f, y, pi, p * pi), (f, None, pi, p * (1.0 - pi))]
    certify = halt = 0.0
    for path in itertools.product(step, repeat=4):
        test = JudgedTest(MARGIN, 0.05, 0.4)
        for f, label, pi, _ in path:
            test.update(f, label, pi)
        chance = math.prod(p for *_, p in path)
        certify += chance * math.exp(test.certify)
        halt += chance * math.exp(test.halt)
    assert [certify, halt] == pytest.approx([1.0, 1.0], abs=1e-9)


def test_the_slope_is_in_use_where_the_enumeration_would_be_too_short_to_tell() -> None:
    """Past 40 labels of a good judge the mean over one further step is still one, with a slope far from 0."""
    past = JudgedTest(MARGIN, 0.05, 0.4)
    history = [(f, y) for f, y, _ in LAWS["honest"]] * 20
    base: list[tuple[float, float | None]] = [(f, y if i % 2 else None) for i, (f, y) in enumerate(history)]
    for f, label in base:
        past.update(f, label)
    certify = halt = 0.0
    values = set()
    for f, y, p in LAWS["honest"]:
        for label, chance in ((y, 0.4), (None, 0.6)):
            test = JudgedTest(MARGIN, 0.05, 0.4)
            for old_f, old_label in base:
                test.update(old_f, old_label)
            test.update(f, label)
            certify += p * chance * math.exp(test.certify - past.certify)
            halt += p * chance * math.exp(test.halt - past.halt)
            if label is None:
                values.add(round(test.certify - past.certify, 6))
    assert [certify, halt] == pytest.approx([1.0, 1.0], abs=1e-9)
    assert len(values) == 3, "unlabelled units must move the wealth, or the judge is not used"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.booleans()), max_size=60), st.floats(0.02, 1.0))
def test_no_unit_can_take_the_whole_wealth(units: list[tuple[float, float, bool]], pi: float) -> None:
    test = JudgedTest(0.1, 0.05, pi)
    certify, halt = 0.0, 0.0
    for f, y, labelled in units:
        test.update(f, y if labelled or pi == 1.0 else None)
        assert test.certify >= certify + math.log(0.1) - 1e-9
        assert test.halt >= halt + math.log(0.1) - 1e-9
        certify, halt = test.certify, test.halt


def test_without_the_judge_it_is_the_human_only_test_whatever_the_judge_says() -> None:
    rng = np.random.default_rng(0)
    one, other = JudgedTest(0.1, 0.05, 0.5, judge=False), JudgedTest(0.1, 0.05, 0.5, judge=False)
    for _ in range(200):
        y = float(rng.uniform(-0.5, 0.5)) if rng.random() < 0.5 else None
        one.update(float(rng.uniform(-1, 1)), y)
        other.update(0.0, y)
    assert one.certify == other.certify
    assert one.interval() == other.interval()


def labels_to_certificate(noise: float, judge: bool, seed: int) -> int:
    rng = np.random.default_rng(seed)
    test = JudgedTest(0.1, 0.05, 0.25, judge=judge)
    while test.certify < math.log(20.0):
        y = float(rng.choice([-1.0, 0.0, 1.0], p=[0.15, 0.7, 0.15]))
        f = float(np.clip(0.9 * y + rng.normal(0.0, noise), -1.0, 1.0))
        test.update(f, y if rng.random() < 0.25 else None)
    return test.labels


def test_a_good_judge_saves_labels_and_a_useless_one_costs_few() -> None:
    runs = range(24)
    human = np.median([labels_to_certificate(0.1, False, seed) for seed in runs])
    good = np.median([labels_to_certificate(0.1, True, seed) for seed in runs])
    useless = np.median([labels_to_certificate(50.0, True, seed) for seed in runs])
    assert good < 0.8 * human
    assert useless < 1.15 * human


def test_the_interval_agrees_with_the_e_process_and_holds_the_corrected_mean() -> None:
    rng = np.random.default_rng(4)
    assert JudgedTest(0.1, 0.05, 0.3).interval() == (-1.0, 1.0)
    assert JudgedTest(0.1, 0.05, 0.3).mean is None
    test = JudgedTest(0.1, 0.05, 0.3)
    for _ in range(1_500):
        y = float(rng.choice([-1.0, 0.0, 1.0], p=[0.1, 0.8, 0.1]))
        test.update(float(np.clip(y + 0.3, -1, 1)), y if rng.random() < 0.3 else None)
    low, high = test.interval()
    assert test.mean is not None
    assert low < test.mean < high
    assert abs(test.mean) < 0.06, "the judge is 0.3 too kind, the estimate must not be"
    assert (low > -0.1) == (test.certify >= math.log(20.0))
    assert test.correlation is not None
    assert test.correlation > 0.8


def test_units_are_chosen_for_labels_at_their_probability_and_by_their_own_stream_of_the_seed() -> None:
    pi = np.where(np.arange(20_000) % 2, 0.1, 0.6)
    chosen = choose_labels(pi, 3)
    assert chosen[pi == 0.1].mean() == pytest.approx(0.1, abs=0.01)
    assert chosen[pi == 0.6].mean() == pytest.approx(0.6, abs=0.015)
    assert choose_labels(np.ones(50), 0).all()
    slices = uniforms("slices", 3, 20_000)
    assert abs(float(np.corrcoef(slices, chosen)[0, 1])) < 0.03
    with pytest.raises(ValueError, match=r"label probabilities hold 0\.01"):
        choose_labels([0.5, 0.01], 0)


def test_judge_and_label_values_out_of_range_are_refused() -> None:
    test = JudgedTest(0.1, 0.05, 0.2)
    with pytest.raises(ValueError, match="judge difference is nan"):
        test.update(math.nan)
    with pytest.raises(ValueError, match=r"human difference is 2.0"):
        test.update(0.0, 2.0)
    with pytest.raises(ValueError, match=r"label probability is 0.1: allowed is a number from 0.2"):
        test.update(0.0, None, 0.1)
    with pytest.raises(ValueError, match="a label wherever it was certain"):
        test.update(0.0, None, 1.0)
    with pytest.raises(ValueError, match=r"label_probability_min is 0.01: allowed is 0.02 to 1"):
        JudgedTest(0.1, 0.05, 0.01)
    assert test.n == 0
