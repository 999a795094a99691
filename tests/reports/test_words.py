import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.reports import words


@pytest.mark.parametrize(
    ("nanousd", "text"),
    [
        (None, "unknown"), (0, "$0"), (1, "$0.000000001"), (201_000_000, "$0.201"), (1_004_000_000, "$1.00"),
        (12_345_678_900_000, "$12,346"), (-2_500_000_000, "−$2.50"),
    ],
)  # fmt: skip
def test_money_is_short_and_never_rounds_a_cost_away(nanousd: int | None, text: str) -> None:
    assert text == words.money(nanousd)


@given(st.integers(1, 10**15))
def test_money_that_was_spent_never_reads_as_zero(nanousd: int) -> None:
    assert words.money(nanousd).strip("$0.,")


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (None, "unknown"),
        (0.0, "0 %"),
        (0.0004, "under 0.1 %"),
        (0.034, "3.4 %"),
        (0.05, "5 %"),
        (0.416, "42 %"),
        (1.0, "100 %"),
    ],
)
def test_a_share_that_is_not_nothing_never_reads_as_nothing(share: float | None, text: str) -> None:
    assert text == words.percent(share)


@pytest.mark.parametrize(
    ("difference", "text"), [(0.01, "+1.0 points"), (-0.325, "−32.5 points"), (0.0, "0.0 points"), (None, "unknown")]
)
def test_a_difference_is_in_points_with_its_sign(difference: float | None, text: str) -> None:
    assert text == words.points(difference, sign=True)


def test_a_margin_of_one_is_one_point() -> None:
    assert (words.points(0.01), words.points(0.03), words.points(0.025)) == ("1 point", "3 points", "2.5 points")


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (None, "unknown"),
        (900_000, "0.9 ms"),
        (180_000_000, "180 ms"),
        (2_440_000_000, "2.4 s"),
        (185 * 10**9, "3 min 5 s"),
    ],
)
def test_durations_are_in_the_unit_that_says_them(ns: int | None, text: str) -> None:
    assert text == words.seconds(ns)


def test_lists_and_periods_read_as_sentences() -> None:
    assert (
        words.listed([]), words.listed(["a"]), words.listed(["a", "b"]), words.listed(["a", "b", "c"], "or")
    ) == ("", "a", "a and b", "a, b or c")  # fmt: skip
    assert words.period(1_793_700_000 * 10**9, 1_793_701_000 * 10**9) == "3 November 2026"
    assert (
        words.days(12.1), words.days(0.21), words.days(0.0), words.days(None)
    ) == ("12 days", "5 hours", "less than a minute", "unknown")  # fmt: skip
