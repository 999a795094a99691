"""Judged streams from arrays: the same as pair by pair, and valid with weights and clusters for any judge."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.stats.batch import NEVER
from weighbridge.stats.bets import FloatArray
from weighbridge.stats.judged import JudgedTest
from weighbridge.stats.judged_arrays import JudgedRows, JudgedStream

MARGIN, ALPHA = 0.25, 0.05


def rows(
    judge: list[float],
    human: list[float],
    probability: list[float],
    weight: list[float] | None = None,
    starts: list[int] | None = None,
) -> JudgedRows:
    n = len(judge)
    return JudgedRows(
        np.array(judge),
        np.array(human),
        np.array(probability),
        np.ones(n) if weight is None else np.array(weight),
        np.arange(n) if starts is None else np.array(starts),
    )


def recorded(n: int, seed: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """A judge that leans towards the candidate, labels where it sees a difference."""
    rng = np.random.default_rng(seed)
    truth = rng.choice([-1.0, 0.0, 1.0], n, p=[0.12, 0.8, 0.08])
    judge = np.clip(0.7 * truth + rng.normal(0.1, 0.2, n), -1.0, 1.0)
    probability = np.where(np.abs(judge) > 0.4, 0.6, 0.2)
    return judge, np.where(rng.random(n) < probability, truth, np.nan), probability


def test_one_row_to_a_unit_is_the_test_pair_by_pair() -> None:
    judge, human, probability = recorded(700, 3)
    test = JudgedTest(0.05, ALPHA, 0.2)
    certify, halt = [], []
    for f, y, pi in zip(judge.tolist(), human.tolist(), probability.tolist(), strict=True):
        test.update(f, None if math.isnan(y) else y, pi)
        certify.append(test.certify)
        halt.append(test.halt)
    stream = JudgedStream(JudgedRows(judge, human, probability, np.ones(700), np.arange(700)), 0.05, ALPHA)
    np.testing.assert_allclose(certify, stream.certify, atol=1e-11)
    np.testing.assert_allclose(halt, stream.halt, atol=1e-11)
    assert (test.n, test.labels) == (stream.n, stream.labels)
    assert test.mean == pytest.approx(stream.mean)
    assert test.correlation == pytest.approx(stream.correlation)
    assert test.interval() == pytest.approx(stream.interval(), abs=2e-6)


# (weight, judge, human) of each row of a unit, and how often. Rows of a unit move together; the judge errs in each
# direction.
UNITS = [
    ([(0.5, 1.0, -1.0), (0.5, -0.5, 0.0)], 0.6),
    ([(0.25, -1.0, 0.5)], 0.16),
    ([(0.5, 0.3, 1.0), (0.5, 1.0, 0.0)], 0.06),
    ([(1.0, 0.0, 0.0)], 0.18),
]
# The weighted mean of these units is minus this margin, exactly.
AT_MARGIN = -sum(p * a * y for unit, p in UNITS for a, _, y in unit) / sum(
    p * a for unit, p in UNITS for a, _, _ in unit
)


def labelled_units(pi: float) -> list[tuple[list[tuple[float, float, float]], float]]:
    """Every unit with every choice of labels: (weight, judge, label or NaN) of its rows, and the chance."""
    found = []
    for unit, chance in UNITS:
        for labels in itertools.product((True, False), repeat=len(unit)):
            probability = chance * math.prod(pi if label else 1.0 - pi for label in labels)
            shown = [(a, f, y if label else math.nan) for (a, f, y), label in zip(unit, labels, strict=True)]
            found.append((shown, probability))
    return found


def test_the_mean_e_value_at_the_margin_is_one_with_weights_and_clusters_for_a_judge_that_errs() -> None:
    pi, certify, halt = 0.4, 0.0, 0.0
    # The largest weight is known in advance: a first unit that has it, sits at the margin, and is in every stream.
    first = [(1.0, 0.2, -AT_MARGIN)]
    for path in itertools.product(labelled_units(pi), repeat=3):
        taken = [first, *(unit for unit, _ in path)]
        flat = [row for unit in taken for row in unit]
        starts = np.cumsum([0] + [len(unit) for unit in taken[:-1]])
        weight, judge, human = (np.array(column) for column in zip(*flat, strict=True))
        stream = JudgedStream(JudgedRows(judge, human, np.full(len(flat), pi), weight, starts), AT_MARGIN, ALPHA)
        chance = math.prod(chance for _, chance in path)
        certify += chance * math.exp(float(stream.certify[-1]))
        halt += chance * math.exp(float(stream.halt[-1]))
    assert [1.0, 1.0] == pytest.approx([certify, halt], abs=1e-9)


def test_correlated_rows_of_a_cluster_err_no_more_than_alpha_where_rows_as_units_fail() -> None:
    rng = np.random.default_rng(11)
    runs, clusters, size, margin = 300, 250, 4, 0.1
    as_cluster = as_rows = 0
    for _ in range(runs):
        truth = np.repeat(rng.choice([-1.0, 0.0, 1.0], clusters, p=[0.2, 0.7, 0.1]), size)
        judge = np.clip(truth + rng.choice([0.0, 0.6], truth.size), -1.0, 1.0)
        human = np.where(rng.random(truth.size) < 0.5, truth, np.nan)
        pi = np.full(truth.size, 0.5)
        whole = JudgedRows(judge, human, pi, np.full(truth.size, 1.0 / size), np.arange(clusters) * size)
        as_cluster += JudgedStream(whole, margin, ALPHA).crossed != NEVER
        single = JudgedRows(judge, human, pi, np.ones(truth.size), np.arange(truth.size))
        as_rows += JudgedStream(single, margin, ALPHA).crossed != NEVER
    limit = (ALPHA + 3.0 * math.sqrt(ALPHA * (1.0 - ALPHA) / runs)) * runs
    assert as_cluster <= limit < as_rows


def test_a_whole_of_unequal_weights_errs_no_more_than_alpha_at_the_margin() -> None:
    """Two slices, one far better and one far worse, that weigh 80 : 20 and are sampled 50 : 50; the judge flatters."""
    rng = np.random.default_rng(5)
    runs, n, margin, false = 400, 500, 0.1, 0
    for _ in range(runs):
        bad = rng.permutation(np.arange(n) % 2 == 0)
        truth = np.where(bad, -1.0 * (rng.random(n) < 0.6), (rng.random(n) < 0.35) - 1.0 * (rng.random(n) < 0.325))
        judge = np.clip(truth + 0.5, -1.0, 1.0)
        human = np.where(rng.random(n) < 0.5, truth, np.nan)
        weight = np.where(bad, 0.2, 0.8) / 0.5
        stream = JudgedStream(JudgedRows(judge, human, np.full(n, 0.5), weight, np.arange(n)), margin, ALPHA)
        false += stream.crossed != NEVER
    assert 0.2 * -0.6 + 0.8 * 0.025 == pytest.approx(-margin)
    assert false <= (ALPHA + 3.0 * math.sqrt(ALPHA * (1.0 - ALPHA) / runs)) * runs


def test_a_good_judge_saves_labels_in_clusters_too() -> None:
    rng = np.random.default_rng(2)
    truth = np.repeat(rng.choice([-1.0, 0.0, 1.0], 600, p=[0.1, 0.8, 0.1]), 2)
    human = np.where(rng.random(1_200) < 0.2, truth, np.nan)
    starts = np.arange(600) * 2
    stream, alone = (
        JudgedStream(JudgedRows(judge, human, np.full(1_200, 0.2), np.full(1_200, 0.5), starts), 0.1, ALPHA)
        for judge in (truth, np.zeros(1_200))
    )
    assert stream.certify[-1] > alone.certify[-1] + 1.0
    low, high = stream.interval()
    alone_low, alone_high = alone.interval()
    assert high - low < alone_high - alone_low


def test_the_interval_agrees_with_the_verdict_at_the_decision() -> None:
    judge, human, probability = recorded(900, 8)
    stream = JudgedStream(JudgedRows(judge, human, probability, np.ones(900), np.arange(900)), 0.12, ALPHA)
    state = stream.state()
    assert state.verdict == "non_inferior"
    assert state.decided_at is not None
    assert stream.interval(state.decided_at)[0] >= -0.12 > stream.interval(state.decided_at - 1)[0]
    assert state.interval[0] >= -0.12


unit_rows = st.lists(
    st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.booleans(), st.floats(0.02, 0.99), st.floats(0.0, 1.0)),
    min_size=1,
    max_size=3,
)


@given(st.lists(unit_rows, min_size=1, max_size=12), st.floats(0.01, 0.9))
def test_no_unit_can_ruin_the_wealth(units: list[list[tuple[float, float, bool, float, float]]], margin: float) -> None:
    flat = [row for unit in units for row in unit]
    stream = JudgedStream(
        rows(
            [f for f, *_ in flat],
            [y if label else math.nan for _, y, label, *_ in flat],
            [pi for *_, pi, _ in flat],
            [a / len(unit) for unit in units for *_, a in unit],
            np.cumsum([0] + [len(unit) for unit in units[:-1]]).tolist(),
        ),
        margin,
        ALPHA,
    )
    assert np.isfinite(stream.certify).all()
    assert np.isfinite(stream.halt).all()


def test_a_row_that_needs_no_judge_leaves_the_judges_mean_alone() -> None:
    """Rows with probability 1 say nothing about the judge: with them its mean, and so the bets on it, stay the same."""
    judged = rows([0.5, 0.3], [0.2, math.nan], [0.5, 0.5])
    checked = rows([0.5, -1.0, 0.3], [0.2, -1.0, math.nan], [0.5, 1.0, 0.5])
    assert JudgedStream(judged, MARGIN, ALPHA)._slope()[1].tolist() == [0.0, 0.5]
    assert JudgedStream(checked, MARGIN, ALPHA)._slope()[1].tolist() == [0.0, 0.5, 0.5]


@pytest.mark.parametrize(
    ("judge", "human", "probability", "starts", "said"),
    [
        ([1.5], [0.0], [0.5], [0], "judge difference at position 0 is 1.5"),
        ([0.0], [-2.0], [0.5], [0], "human difference at position 0 is -2.0"),
        ([0.0], [0.0], [0.01], [0], "label probability is 0.01: allowed is a number from 0.02 to 1"),
        ([0.0], [math.nan], [1.0], [0], "a row with label probability 1 has no label"),
        ([0.0, 0.0], [0.0, 0.0], [0.5, 0.5], [0, 2], "allowed is a rising sequence from 0, below 2"),
        ([], [], [], [], "allowed is the same number of each, at least 1"),
    ],
)
def test_rows_that_break_a_rule_are_refused(
    judge: list[float], human: list[float], probability: list[float], starts: list[int], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        rows(judge, human, probability, None, starts)
