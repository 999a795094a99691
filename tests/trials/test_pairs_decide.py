"""From pairs to verdicts: units, order, weights, judges, and the cases that fool tools of this kind."""

import math
from pathlib import Path

import duckdb
import numpy as np
import pytest

from weighbridge.stats.bets import FloatArray
from weighbridge.stats.judged import JudgedTest
from weighbridge.stats.overall import shuffled_draws
from weighbridge.stats.verdict import Decider
from weighbridge.trials.pairs.decide import Decided, decide
from weighbridge.trials.pairs.labels import Labels
from weighbridge.trials.pairs.power import resolutions
from weighbridge.trials.pairs.rows import Pairs, from_scores
from weighbridge.trials.pairs.units import units_of

ALPHA = 0.05


def three_sigma(runs: int) -> float:
    return runs * (ALPHA + 3.0 * math.sqrt(ALPHA * (1.0 - ALPHA) / runs))


def verdicts(decided: Decided) -> dict[str, str]:
    return {row.name: row.state.verdict for row in (*decided.rows, decided.overall)}


def discordant(n: int, up: float, down: float, seed: int) -> tuple[FloatArray, FloatArray]:
    """Scores of 0 and 1 with exact counts: `up` of the pairs better, `down` worse."""
    incumbent, candidate = np.ones(n), np.ones(n)
    better, worse = round(n * up), round(n * down)
    incumbent[:better] = 0.0
    candidate[better : better + worse] = 0.0
    order = np.random.default_rng(seed).permutation(n)
    return incumbent[order], candidate[order]


@pytest.mark.parametrize("weighted", [False, True])
def test_the_verdicts_are_those_of_a_trial_fed_pair_by_pair_in_this_order(weighted: bool) -> None:
    rng = np.random.default_rng(4)
    n = 2_400
    names = rng.choice(["a", "b", "c"], n, p=[0.5, 0.3, 0.2])
    incumbent = (rng.random(n) < 0.8).astype(float)
    candidate = (rng.random(n) < np.where(names == "c", 0.6, 0.82)).astype(float)
    weights = {"a": 0.2, "b": 0.3, "c": 0.5} if weighted else None
    pairs = from_scores(incumbent, candidate, names.tolist(), weights=weights)
    decided = decide(pairs, 0.06, ALPHA, seed=9)
    order = units_of(pairs, 9).rows
    in_order = names[order].tolist()
    shares = weights or {name: float(np.mean(names == name)) for name in ("a", "b", "c")}
    decider = Decider(0.06, ALPHA, shares)
    draws = shuffled_draws(in_order, shares) if weighted else [None] * n
    for name, d, draw in zip(in_order, (candidate - incumbent)[order].tolist(), draws, strict=True):
        decider.feed(name, "candidate", d, draw)
    for row in decided.rows:
        state = decider.state(row.name, "candidate")
        assert (state.verdict, state.decided_at, state.n) == (row.state.verdict, row.state.decided_at, row.state.n)
        assert state.interval == pytest.approx(row.state.interval, abs=3e-6)
    if weighted:
        whole = decider.overall("candidate")
        assert (whole.verdict, whole.decided_at) == (decided.overall.state.verdict, decided.overall.state.decided_at)


def test_one_slice_is_the_whole() -> None:
    decided = decide(from_scores(*discordant(900, 0.05, 0.05, 1)), 0.05, ALPHA)
    assert decided.rows[0].state == decided.overall.state


def test_clusters_of_one_row_change_nothing() -> None:
    incumbent, candidate = discordant(800, 0.06, 0.08, 2)
    names = ["x", "y"] * 400
    plain = decide(from_scores(incumbent, candidate, names), 0.06, ALPHA)
    single = decide(from_scores(incumbent, candidate, names, list(range(800))), 0.06, ALPHA)
    assert [row.state for row in plain.rows] == [row.state for row in single.rows]
    assert plain.overall.state == single.overall.state


def test_a_cluster_is_one_unit_with_the_mean_of_its_rows() -> None:
    pairs = from_scores([1, 1, 1, 0], [0, 1, 1, 1], clusters=["a", "b", "a", "a"])
    units = units_of(pairs, 0)
    assert sorted([0.0, 0.0]) == sorted(units.means(pairs.score).tolist())
    assert 2 == decide(pairs, 0.1, ALPHA).overall.state.n
    assert 4 == decide(pairs, 0.1, ALPHA).overall.pairs


def test_whole_clusters_are_shuffled_and_their_rows_stay_together_and_in_order() -> None:
    labels = [i % 50 for i in range(200)]
    pairs = from_scores(np.ones(200), np.ones(200), clusters=labels)
    rows = units_of(pairs, 3).rows
    assert sorted(rows.tolist()) == list(range(200))
    groups = rows.reshape(50, 4)
    assert (np.diff(groups, axis=1) == 50).all()
    assert groups[:, 0].tolist() != sorted(groups[:, 0].tolist())
    assert units_of(pairs, 4).rows.tolist() != rows.tolist()


def test_in_the_order_of_the_file_a_cluster_counts_when_it_is_complete() -> None:
    pairs = from_scores(np.ones(5), np.ones(5), clusters=["a", "b", "a", "c", "b"])
    assert [0, 2, 3, 1, 4] == units_of(pairs, None).rows.tolist()


def test_correlated_runs_err_as_rows_and_hold_as_clusters() -> None:
    """Four runs of each task, all alike, truth exactly at the margin, over fresh frames."""
    rng, runs, tasks = np.random.default_rng(8), 200, 200
    as_rows = as_clusters = 0
    for seed in range(runs):
        d = np.repeat(rng.choice([-1.0, 0.0, 1.0], tasks, p=[0.2, 0.7, 0.1]), 4)
        incumbent, candidate = (d < 0).astype(float), (d > 0).astype(float)
        wrong = decide(from_scores(incumbent, candidate), 0.1, ALPHA, seed).overall.state.verdict
        right = decide(from_scores(incumbent, candidate, clusters=np.repeat(np.arange(tasks), 4).tolist()), 0.1, ALPHA)
        as_rows += wrong == "non_inferior"
        as_clusters += right.overall.state.verdict == "non_inferior"
    assert as_clusters <= three_sigma(runs) < as_rows


def test_at_the_margin_shuffles_certify_no_more_than_alpha() -> None:
    """The whole function of the command, slices and whole, over shuffles of one frame that sits at the margin."""
    incumbent, candidate = discordant(1_000, 0.05, 0.10, 3)
    pairs = from_scores(incumbent, candidate, ["x", "y"] * 500, weights={"x": 0.7, "y": 0.3})
    at_margin = from_scores(incumbent, candidate)
    runs = 250
    assert -0.05 == pytest.approx(float((candidate - incumbent).mean()))
    single = [decide(at_margin, 0.05, ALPHA, seed).overall.state.verdict for seed in range(runs)]
    assert single.count("non_inferior") <= three_sigma(runs)
    shares = np.array([row.state.difference for row in decide(pairs, 0.05, ALPHA).rows])
    margin = -float(shares @ np.array([0.7, 0.3]))
    whole = [decide(pairs, margin, ALPHA, seed).overall.state.verdict for seed in range(runs)]
    assert whole.count("non_inferior") <= three_sigma(runs)


def test_a_drifting_file_is_certified_wrongly_in_its_own_order_and_not_when_shuffled() -> None:
    incumbent, candidate = np.ones(1_200), np.ones(1_200)
    candidate[600:] = np.tile([0.0, 1.0], 300)  # half of the later answers are wrong: -25 points in all
    pairs = from_scores(incumbent, candidate)
    assert "non_inferior" == decide(pairs, 0.1, ALPHA, None).overall.state.verdict
    assert {"inferior"} == {decide(pairs, 0.1, ALPHA, seed).overall.state.verdict for seed in range(20)}


def test_a_banana_for_every_answer_is_inferior_and_soon() -> None:
    incumbent = (np.arange(600) % 5 > 0).astype(float)
    state = decide(from_scores(incumbent, np.zeros(600)), 0.05, ALPHA).overall.state
    assert "inferior" == state.verdict
    assert state.decided_at is not None
    assert state.decided_at < 60


def test_one_flipped_value_shows_in_the_difference_and_flips_no_verdict() -> None:
    incumbent, candidate = np.ones(400), np.ones(400)
    candidate[123] = 0.0
    state = decide(from_scores(incumbent, candidate), 0.03, ALPHA).overall.state
    assert -1 / 400 == state.difference
    assert "non_inferior" == state.verdict
    alone = decide(from_scores([1.0], [0.0]), 0.03, ALPHA).overall.state
    assert ("undecided", -1.0) == (alone.verdict, alone.difference)


def test_a_slice_that_breaks_is_found_under_a_good_average() -> None:
    rng = np.random.default_rng(1)
    n = 6_000
    names = np.where(np.arange(n) % 20 == 0, "tools", "chat")
    incumbent = (rng.random(n) < 0.8).astype(float)
    candidate = (rng.random(n) < np.where(names == "tools", 0.4, 0.82)).astype(float)
    found = verdicts(decide(from_scores(incumbent, candidate, names.tolist()), 0.03, ALPHA))
    assert {"chat": "non_inferior", "tools": "inferior", "overall": "non_inferior"} == found


def test_traffic_weights_decide_what_the_whole_is() -> None:
    rng = np.random.default_rng(6)
    names = np.array(["good", "bad"])[(np.arange(3_000) % 10 == 0).astype(int)]
    candidate = (rng.random(3_000) < np.where(names == "bad", 0.5, 1.0)).astype(float)
    incumbent = np.where(names == "bad", 1.0, 0.9)
    by_rows = decide(from_scores(incumbent, candidate, names.tolist()), 0.05, ALPHA)
    by_traffic = decide(
        from_scores(incumbent, candidate, names.tolist(), weights={"good": 0.5, "bad": 0.5}), 0.05, ALPHA
    )
    assert "non_inferior" == by_rows.overall.state.verdict
    assert "inferior" == by_traffic.overall.state.verdict
    assert verdicts(by_rows)["bad"] == verdicts(by_traffic)["bad"] == "inferior"


def test_clusters_across_slices_are_one_unit_of_the_whole_and_weigh_by_traffic() -> None:
    """Turns of a conversation as slices: the whole has as many units as conversations, and the traffic's mean."""
    rng = np.random.default_rng(7)
    d = rng.choice([-1.0, 0.0, 0.0, 1.0], 400)
    both = np.repeat(d, 2)  # both turns of a conversation end alike
    names, keys = ["first", "second"] * 400, np.repeat(np.arange(400), 2).tolist()
    pairs = from_scores((both < 0) * 1.0, (both > 0) * 1.0, names, keys)
    decided = decide(pairs, 0.1, ALPHA)
    assert (400, 400) == (decided.crossing, decided.overall.state.n)
    assert [400, 400] == [row.state.n for row in decided.rows]
    assert float(d.mean()) == pytest.approx(decided.overall.state.difference)
    alone = decide(from_scores((d < 0) * 1.0, (d > 0) * 1.0, clusters=list(range(400))), 0.1, ALPHA)
    # The whole's second moment is that of D + m, a slice's that of D and m apart: the limits differ a little.
    assert alone.overall.state.interval == pytest.approx(decided.overall.state.interval, abs=0.005)


# Judges


def judged(
    n: int,
    labels: float,
    *,
    seed: int,
    judge: str = "good",
    slices: int = 1,
    drop: float = 0.0,
    probability: bool = False,
    clusters: int | None = None,
) -> Pairs:
    rng = np.random.default_rng(seed)
    truth = rng.choice([-1.0, 0.0, 1.0], n, p=[0.1 + drop, 0.8 - drop, 0.1])
    seen = {
        "good": np.where(rng.random(n) < 0.9, truth, 0.0),
        "always A": np.ones(n),
        "always tie": np.zeros(n),
        "hostile": -truth,
    }[judge]
    pi = np.where(np.abs(seen) > 0.5, 3.0 * labels, labels) if probability else np.full(n, labels)
    human = np.where(rng.random(n) < pi, truth, np.nan)
    return Pairs(
        slices=tuple(f"s{i}" for i in range(slices)),
        slice_ids=np.arange(n) % slices,
        clusters=None if clusters is None else np.arange(n) // clusters,
        weights=None,
        score=np.full(n, np.nan),
        judge=seen,
        human=human if labels else None,
        probability=pi if probability else None,
    )


@pytest.mark.parametrize("judge", ["good", "always A", "always tie"])
def test_a_judge_without_labels_never_decides(judge: str) -> None:
    decided = decide(judged(20_000, 0.0, seed=1, judge=judge, slices=2), 0.05, ALPHA)
    assert {"undecided"} == set(verdicts(decided).values())
    assert {"judge"} == {row.labels.source for row in (*decided.rows, decided.overall)}
    shown = decided.overall.state.difference
    assert shown is not None
    assert shown == pytest.approx({"good": 0.0, "always A": 1.0, "always tie": 0.0}[judge], abs=0.02)


@pytest.mark.parametrize("judge", ["always A", "hostile"])
def test_a_judge_that_misleads_certifies_nothing_that_people_would_not(judge: str) -> None:
    """The candidate is 15 points worse; the judge says the opposite."""
    decided = decide(judged(3_000, 0.3, seed=2, judge=judge, drop=0.15), 0.05, ALPHA)
    assert "inferior" == decided.overall.state.verdict
    assert "judge+human" == decided.overall.labels.source
    assert -0.15 == pytest.approx(decided.overall.state.difference or 0.0, abs=0.05)


def test_a_judged_slice_is_the_judged_test_in_the_order_of_the_shuffle() -> None:
    pairs = judged(1_500, 0.2, seed=3, probability=True)
    assert pairs.judge is not None
    assert pairs.human is not None
    assert pairs.probability is not None
    state = decide(pairs, 0.08, ALPHA, seed=5).overall.state
    test = JudgedTest(0.08, ALPHA, float(pairs.probability.min()))
    for row in units_of(pairs, 5).rows.tolist():
        label = float(pairs.human[row])
        test.update(float(pairs.judge[row]), None if math.isnan(label) else label, float(pairs.probability[row]))
    assert test.certify == pytest.approx(state.certify)
    assert test.halt == pytest.approx(state.halt)
    assert test.mean == pytest.approx(state.difference)


def test_labels_on_every_row_need_no_judge() -> None:
    pairs = judged(900, 1.0, seed=4)
    assert pairs.human is not None
    people = decide(pairs, 0.08, ALPHA)
    checks = Pairs(("s0",), pairs.slice_ids, None, None, pairs.human)
    assert "human" == people.overall.labels.source
    assert decide(checks, 0.08, ALPHA).overall.state == people.overall.state


def test_human_labels_alone_on_a_part_of_the_rows_decide() -> None:
    pairs = judged(6_000, 0.3, seed=5)
    alone = Pairs(pairs.slices, pairs.slice_ids, None, None, pairs.score, None, pairs.human)
    decided = decide(alone, 0.1, ALPHA)
    assert ("non_inferior", "human") == (decided.overall.state.verdict, decided.overall.labels.source)
    assert decided.uniform


def test_fewer_than_two_percent_labels_decide_nothing() -> None:
    decided = decide(judged(5_000, 0.01, seed=6), 0.1, ALPHA)
    assert "too few labels" == decided.overall.labels.blind
    assert "undecided" == decided.overall.state.verdict


def mixed(labelled: tuple[str, ...]) -> Pairs:
    """Slices `check` (scores), `judge` and `more` (judged); labels on 30% of the rows of the slices named."""
    rng = np.random.default_rng(12)
    n = 4_500
    names = ("check", "judge", "more")
    ids = np.arange(n) % 3
    truth = rng.choice([-1.0, 0.0, 1.0], n, p=[0.05, 0.9, 0.05])
    drawn = np.isin(ids, [names.index(name) for name in labelled]) & (rng.random(n) < 0.3)
    return Pairs(
        slices=names,
        slice_ids=ids,
        clusters=None,
        weights=None,
        score=np.where(ids == 0, truth, np.nan),
        judge=np.where(ids == 0, np.nan, np.where(rng.random(n) < 0.8, truth, 0.0)),
        human=np.where((ids > 0) & drawn, truth, np.nan),
    )


def test_checked_and_judged_slices_make_one_family_and_one_whole() -> None:
    decided = decide(mixed(("judge", "more")), 0.06, ALPHA)
    assert {"check", "judge", "more", "overall"} == {k for k, v in verdicts(decided).items() if v == "non_inferior"}
    assert ["check", "judge+human", "judge+human"] == [row.labels.source for row in decided.rows]
    assert "judge+human" == decided.overall.labels.source
    assert 3 == decided.comparisons


def test_a_checked_slice_is_decided_alike_beside_judged_ones() -> None:
    pairs = mixed(("judge", "more"))
    state = decide(pairs, 0.06, ALPHA).rows[0].state
    order = units_of(pairs, 0).rows
    alone = pairs.score[order][pairs.slice_ids[order] == 0]
    test = Decider(0.06, ALPHA, {"check": 1.0})
    for d in alone.tolist():
        test.feed("check", "candidate", d)
    assert test.state("check", "candidate").certify == pytest.approx(state.certify)


def test_a_slice_without_labels_stops_the_whole_and_costs_the_others_no_alpha() -> None:
    decided = decide(mixed(("judge",)), 0.06, ALPHA)
    assert Labels("judge", "no labels", 1_500, 0) == decided.rows[2].labels
    assert "no labels" == decided.overall.labels.blind
    assert "undecided" == decided.overall.state.verdict
    assert 2 == decided.comparisons
    assert ["non_inferior", "non_inferior"] == [row.state.verdict for row in decided.rows[:2]]


def test_a_small_slice_without_labels_by_chance_does_not_stop_the_whole() -> None:
    pairs = judged(4_000, 0.2, seed=9)
    assert pairs.human is not None
    small = np.arange(4_000) >= 3_996
    pairs.human[small] = np.nan
    two = Pairs(("large", "small"), small.astype(np.int64), None, None, pairs.score, pairs.judge, pairs.human)
    decided = decide(two, 0.08, ALPHA)
    assert "no labels" == decided.rows[1].labels.blind
    assert decided.overall.labels.blind is None
    assert "non_inferior" == decided.overall.state.verdict


def test_judged_clusters_hold_at_the_margin_where_their_rows_as_units_fail() -> None:
    """Four rows of a cluster alike, judged by a flattering judge, half of the rows labelled; truth at the margin."""
    rng, runs, clusters = np.random.default_rng(3), 120, 150
    wrong = {True: 0, False: 0}
    for seed in range(runs):
        truth = np.repeat(rng.choice([-1.0, 0.0, 1.0], clusters, p=[0.2, 0.7, 0.1]), 4)
        n = truth.size
        human = np.where(rng.random(n) < 0.5, truth, np.nan)
        for whole in (True, False):
            keys = np.arange(n) // 4 if whole else None
            judge = np.minimum(truth + 0.5, 1.0)
            pairs = Pairs(("x",), np.zeros(n, dtype=np.int64), keys, None, np.full(n, np.nan), judge, human)
            wrong[whole] += decide(pairs, 0.1, ALPHA, seed).overall.state.verdict == "non_inferior"
    assert wrong[True] <= three_sigma(runs) < wrong[False]


# Power


def test_an_equal_candidate_passes_in_about_four_of_five_cases_at_the_smallest_margin_shown() -> None:
    rng, n = np.random.default_rng(10), 1_500
    first = from_scores(*discordant(n, 0.1, 0.1, 0))
    shown = resolutions(decide(first, 0.05, ALPHA))[-1]
    assert shown is not None
    passed = 0
    for seed in range(150):
        d = rng.choice([-1.0, 0.0, 1.0], n, p=[0.1, 0.8, 0.1])
        pairs = from_scores((d < 0) * 1.0, (d > 0) * 1.0)
        passed += decide(pairs, shown, ALPHA, seed).overall.state.verdict == "non_inferior"
    assert 0.7 <= passed / 150 <= 0.95


def test_more_pairs_show_smaller_differences_and_a_few_show_none() -> None:
    shown = [resolutions(decide(from_scores(*discordant(n, 0.1, 0.1, 0)), 0.05, ALPHA))[-1] for n in (2, 400, 4_000)]
    assert shown[0] is None
    assert shown[1] is not None
    assert shown[2] is not None
    assert shown[2] < shown[1] / 2


@pytest.mark.parametrize(
    ("incumbent", "candidate", "said"),
    [
        ([1.0, math.nan], [1.0, 1.0], r"row 2: incumbent is \[nan\]"),
        ([1.0], [1.01], r"row 1: candidate is \[1\.01\]"),
        ([1.0, 1.0], [1.0], "2 incumbent scores but 1 candidate scores"),
        ([], [], "no pairs"),
    ],
)
def test_scores_that_break_a_rule_are_refused(incumbent: list[float], candidate: list[float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        from_scores(incumbent, candidate)


def test_weights_of_other_slices_are_refused() -> None:
    with pytest.raises(ValueError, match=r"weights are of \['b'\], slices are \['a'\]"):
        from_scores([1.0], [1.0], ["a"], weights={"b": 1.0})
    with pytest.raises(ValueError, match="allowed is a number above 0"):
        from_scores([1.0], [1.0], ["a"], weights={"a": 0.0})


@pytest.mark.recorded
def test_on_recorded_answers_the_order_of_the_rows_turns_no_verdict_around(recorded_folder: Path) -> None:
    """Real pairs at 2, 3, 5 and 10 points: wrong-sided verdicts over seeds, pooled and in each cell."""
    source = str(recorded_folder / "data" / "zeroeval" / "outputs.parquet")
    sql = (
        "SELECT i.correct, c.correct FROM read_parquet(?) i JOIN read_parquet(?) c USING (task, id) "
        "WHERE i.model = ? AND c.model = ? AND task = ? ORDER BY id"
    )
    seeds, wrong, opposite, runs = 20, 0, 0, 0
    incumbent = "gpt-4o-2024-08-06"
    for candidate in ("Meta-Llama-3.1-70B-Instruct", "Mistral-Large-2", "Qwen2-72B-Instruct"):
        for task in ("gsm", "crux"):
            rows = duckdb.execute(sql, [source, source, incumbent, candidate, task]).fetchall()
            assert len(rows) >= 400, (candidate, task)
            scores = np.array(rows, dtype=np.float64)
            pairs = from_scores(scores[:, 0], scores[:, 1])
            mean = float(pairs.score.mean())
            for margin in (0.02, 0.03, 0.05, 0.10):
                found = [decide(pairs, margin, ALPHA, seed).overall.state.verdict for seed in range(seeds)]
                missed = found.count("non_inferior" if mean <= -margin else "inferior")
                assert missed <= three_sigma(seeds), (candidate, task, margin)
                opposite += min(found.count("non_inferior"), found.count("inferior"))
                wrong, runs = wrong + missed, runs + seeds
    assert wrong <= ALPHA * runs
    assert opposite <= ALPHA * runs
