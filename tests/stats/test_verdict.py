"""The decision of a whole trial, fed unit by unit."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weighbridge.stats.sequential import PairTest
from weighbridge.stats.verdict import Decider, cut_interval


def run(decider: Decider, frame: dict[str, int], means: dict[str, float], seed: int = 0) -> None:
    """Feed a frame in the decider's own order; outcomes are -1, 0, 1 with 20% discordance around the slice's mean."""
    rng = np.random.default_rng(seed)
    for draw in decider.draws(frame):
        up = 0.5 * (0.2 + means[draw.slice])
        d = float(rng.choice([-1.0, 0.0, 1.0], p=[0.2 - up, 0.8, up]))
        decider.feed(draw.slice, "candidate", d, draw)


def test_a_slice_that_breaks_under_a_good_average_is_inferior_while_the_whole_is_not() -> None:
    decider = Decider(0.1, 0.05, {"easy": 0.9, "hard": 0.1})
    run(decider, {"easy": 1_800, "hard": 200}, {"easy": 0.02, "hard": -0.2})
    easy, hard = decider.state("easy", "candidate"), decider.state("hard", "candidate")
    assert (easy.verdict, hard.verdict) == ("non_inferior", "inferior")
    assert decider.overall("candidate").verdict == "non_inferior"
    assert decider.all_decided
    assert decider.whole_decided


def test_an_interval_never_contradicts_a_verdict_that_stands() -> None:
    """Certified early, then the stream turns bad: the decision is final and the interval stays on its side."""
    decider = Decider(0.1, 0.05, {"s": 1.0})
    for d in [0.0] * 60 + [-0.25] * 60:
        decider.feed("s", "candidate", d)
    state = decider.state("s", "candidate")
    assert (state.verdict, state.decided_at, state.n) == ("non_inferior", 41, 120)
    assert state.certify < math.log(20.0), "the e-value must have fallen back, or nothing is tested"
    assert -0.1 <= state.interval[0] <= state.interval[1]


def test_the_first_decision_is_final() -> None:
    decider = Decider(0.1, 0.05, {"s": 1.0})
    for d in [-1.0] * 30 + [1.0] * 500:
        decider.feed("s", "candidate", d)
    state = decider.state("s", "candidate")
    assert state.verdict == "inferior"
    assert state.decided_at is not None
    assert state.decided_at <= 30
    assert state.certify > math.log(20.0)
    assert decider.still_needed("s", "candidate") is None


def test_a_candidate_that_answers_banana_is_inferior_in_every_slice() -> None:
    decider = Decider(0.03, 0.05, {"a": 1.0, "b": 2.0, "c": 3.0})
    for draw in decider.draws({"a": 200, "b": 200, "c": 200}):
        decider.feed(draw.slice, "candidate", -1.0, draw)
    assert {decider.verdict(s, "candidate") for s in "abc"} == {"inferior"}
    assert decider.overall("candidate").verdict == "inferior"


def test_with_one_slice_the_whole_is_that_slice() -> None:
    decider = Decider(0.1, 0.05, {"only": 7.0})
    for _ in range(45):
        decider.feed("only", "candidate", 0.0)
    assert decider.overall("candidate") == decider.state("only", "candidate")
    assert decider.overall("candidate").verdict == "non_inferior"
    assert decider.whole_decided


def test_one_certificate_among_three_slices_needs_what_the_demo_promises() -> None:
    """Perfect agreement at margin 0.10: about 55 pairs for the first of three slices, at 0.03 about 190."""
    for margin, pairs in ((0.1, 55), (0.03, 190)):
        decider = Decider(margin, 0.05, {"a": 1.0, "b": 1.0, "c": 1.0})
        while decider.verdict("a", "candidate") == "undecided":
            decider.feed("a", "candidate", 0.0)
        assert decider.state("a", "candidate").decided_at == pytest.approx(pairs, rel=0.08)


def test_still_needed_counts_down_and_says_when_more_will_not_help() -> None:
    decider = Decider(0.1, 0.05, {"a": 1.0, "b": 1.0})
    for _ in range(20):
        decider.feed("a", "candidate", 0.0)
        decider.feed("b", "candidate", -0.3)
    first = decider.still_needed("a", "candidate")
    assert first is not None
    assert decider.still_needed("b", "candidate") is None
    assert decider.until_halt("b", "candidate") is not None
    assert decider.until_halt("a", "candidate") is None
    for _ in range(10):
        decider.feed("a", "candidate", 0.0)
    later = decider.still_needed("a", "candidate")
    assert later is not None
    assert later == pytest.approx(first - 10, abs=2)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0]), min_size=10, max_size=80), st.integers(0, 80))
def test_feeding_the_stored_units_again_resumes_the_same_trial(ds: list[float], cut: int) -> None:
    frame = {"a": 50, "b": 30}

    def trial() -> Decider:
        return Decider(0.2, 0.05, {"a": 5.0, "b": 3.0}, seed=9)

    whole, interrupted = trial(), trial()
    draws = whole.draws(frame)
    for draw, d in zip(draws, ds, strict=False):
        whole.feed(draw.slice, "candidate", d, draw)
    for draw, d in list(zip(draws, ds, strict=False))[:cut]:
        interrupted.feed(draw.slice, "candidate", d, draw)
    resumed = trial()
    for draw, d in zip(resumed.draws(frame), ds, strict=False):
        resumed.feed(draw.slice, "candidate", d, draw)
    for s in "ab":
        assert resumed.state(s, "candidate") == whole.state(s, "candidate")
    assert resumed.overall("candidate") == whole.overall("candidate")


def test_several_candidates_share_one_family_and_one_step_per_item() -> None:
    candidates = [f"c{i}" for i in range(10)]
    alone, among = Decider(0.1, 0.05, {"s": 1.0}), Decider(0.1, 0.05, {"s": 1.0}, candidates)
    rng = np.random.default_rng(1)
    for _ in range(70):
        outcomes = {c: float(rng.choice([-1.0, 0.0, 1.0], p=[0.45, 0.1, 0.45])) for c in candidates[1:]}
        among.feed_item("s", {"c0": 0.0, **outcomes})
        alone.feed("s", "candidate", 0.0)
    single, familywise = alone.state("s", "candidate"), among.state("s", "c0")
    assert single.decided_at is not None
    assert familywise.decided_at is not None
    assert single.decided_at < familywise.decided_at


def test_a_halt_takes_effect_per_comparison_whatever_the_size_of_the_family() -> None:
    many = Decider(0.1, 0.05, {"s": 1.0}, [f"c{i}" for i in range(30)])
    one = PairTest(0.1, 0.05)
    while one.halt < math.log(20.0):
        one.update(-0.5)
        many.feed_item("s", {f"c{i}": -0.5 if i == 0 else 0.0 for i in range(30)})
    assert many.verdict("s", "c0") == "inferior"
    assert many.state("s", "c0").decided_at == one.n


def test_a_single_outcome_in_a_trial_of_several_candidates_is_refused() -> None:
    decider = Decider(0.1, 0.05, {"s": 1.0}, ["x", "y"])
    with pytest.raises(ValueError, match="allowed is feed_item"):
        decider.feed("s", "x", 0.0)


def test_unknown_names_and_bad_differences_are_refused_before_anything_moves() -> None:
    decider = Decider(0.1, 0.05, {"s": 1.0, "t": 1.0}, ["x", "y"])
    with pytest.raises(ValueError, match="slice 'z' is not judged in this trial"):
        decider.feed_item("z", {"x": 0.0})
    with pytest.raises(ValueError, match="candidate 'w' is not in this trial"):
        decider.feed_item("s", {"x": 0.0, "w": 0.0})
    with pytest.raises(ValueError, match="difference of 'y' in slice 's' is nan"):
        decider.feed_item("s", {"x": 0.0, "y": math.nan})
    draw = decider.draws({"s": 1, "t": 0})[0]
    with pytest.raises(ValueError, match="draw of slice 's'"):
        decider.feed_item("t", {"x": 0.0}, draw)
    with pytest.raises(ValueError, match="each once"):
        Decider(0.1, 0.05, {"s": 1.0}, ["x", "x"])
    with pytest.raises(ValueError, match="no slices"):
        Decider(0.1, 0.05, {})
    state = decider.state("s", "x")
    assert (state.n, state.difference, state.interval, state.verdict) == (0, None, (-1.0, 1.0), "undecided")
    assert (state.certify, state.halt) == pytest.approx((0.0, 0.0), abs=1e-12)


def test_units_without_a_draw_count_for_their_slice_only() -> None:
    decider = Decider(0.1, 0.05, {"a": 1.0, "b": 1.0})
    for _ in range(60):
        decider.feed("a", "candidate", 0.0)
    assert decider.state("a", "candidate").n == 60
    assert decider.overall("candidate").n == 0
    assert len(decider.trace("a", "candidate", 10)) > 5


def test_intervals_that_do_not_meet_leave_the_one_at_the_decision() -> None:
    assert cut_interval((-0.9, -0.5), (-0.05, 0.4), "non_inferior", 0.1) == (-0.05, 0.4)
    assert cut_interval((-0.2, 0.1), (-0.3, 0.4), "non_inferior", 0.1) == (-0.1, 0.1)
    assert cut_interval((-0.2, 0.1), (-0.3, 0.4), "inferior", 0.1) == (-0.2, -0.1)
    assert cut_interval((-0.2, 0.1), (-0.3, 0.4), "undecided", 0.1) == (-0.2, 0.1)
