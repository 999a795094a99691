"""The liking for length that is taken out of a judge."""

import random

import pytest

from weighbridge.stats.length import LengthTerm, length_difference


def test_the_first_unit_is_taken_as_it_is_and_the_slope_follows_its_formula() -> None:
    term = LengthTerm()
    assert 1.0 == term.take(1.0, 0.5)
    assert term.gamma == pytest.approx(0.5 / (0.25 + 5.0))
    assert term.take(0.0, -1.0) == pytest.approx(0.5 / 5.25)


def test_a_judge_that_only_likes_length_is_left_with_next_to_nothing() -> None:
    term, draw = LengthTerm(), random.Random(1)
    lengths = [draw.uniform(-1, 1) for _ in range(2000)]
    left = [term.take(length, length) for length in lengths]
    assert 0.99 < term.gamma <= 1.0
    assert max(abs(one) for one in left[1000:]) < 0.02


def test_a_judge_without_that_liking_keeps_its_word() -> None:
    term, draw = LengthTerm(), random.Random(2)
    for _ in range(5000):
        f = draw.choice((-1.0, 0.0, 1.0))
        assert abs(term.take(f, draw.uniform(-1, 1)) - f) < 0.35
    assert term.gamma < 0.05


def test_what_is_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="length difference"):
        LengthTerm().take(0.0, 1.5)
    assert (0.0, 1.0, -1.0) == (length_difference(0, 0), length_difference(0, 9), length_difference(9, 0))
