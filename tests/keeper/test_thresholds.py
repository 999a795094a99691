"""What is said when a budget reaches 50, 80 or 100 per cent: what a person who pays the bill would ask next."""

import msgspec

from weighbridge.keeper.thresholds import QUIET_NS, Rates, words
from weighbridge.store.funds import Standing

NOV_1_BERLIN_NS = 1_793_487_600_000_000_000
DEC_1_BERLIN_NS = 1_796_079_600_000_000_000
MONTH = Standing(
    budget="support", subject="", span="month Europe/Berlin", hard=True, configured=True, limit_nanousd=300 * 10**9,
    spent_nanousd=240 * 10**9, start_ns=NOV_1_BERLIN_NS, end_ns=DEC_1_BERLIN_NS,
)  # fmt: skip
MINUTE = msgspec.structs.replace(MONTH, span="minute UTC", hard=False)


def test_it_says_what_is_left_since_when_and_until_when_by_the_clocks_of_the_budget() -> None:
    assert (
        "Hard budget 'support': 80 % reached",
        (
            "$240.00 of $300.00 spent, $60.00 left; this month began 2026-11-01 00:00 Europe/Berlin",
            "It starts anew 2026-12-01 00:00 Europe/Berlin.",
        ),
    ) == words(80, MONTH)


def test_what_is_spent_beyond_a_cap_that_only_counts_is_over_and_nothing_is_refused() -> None:
    over = msgspec.structs.replace(MONTH, hard=False, spent_nanousd=312 * 10**9, bound_nanousd=2 * 10**9)
    assert (
        "$312.00 of $300.00 spent, $12.00 over; this month began 2026-11-01 00:00 Europe/Berlin",
        "$2.00 of it is an upper bound: nobody knows what those requests cost.",
        "It starts anew 2026-12-01 00:00 Europe/Berlin.",
        "Nothing is refused: it is not a hard one.",
    ) == words(100, over)[1]


def test_a_total_budget_never_starts_anew() -> None:
    whole = msgspec.structs.replace(MONTH, span="total UTC", start_ns=0, end_ns=None, spent_nanousd=300 * 10**9)
    assert (
        "$300.00 of $300.00 spent, $0 left",
        "It never starts anew.",
        "Requests are refused until its limit is raised: weighbridge budget limit support USD --why TEXT",
    ) == words(100, whole)[1]


def test_the_rate_of_spend_is_told_once_an_hour_with_how_often_it_was_reached() -> None:
    rates = Rates()
    told = [rates.tells(100, MINUTE, minute * 60 * 10**9) for minute in range(60)]
    assert [True] + 59 * [False] == told
    assert rates.tells(80, MINUTE, 0)  # another threshold
    assert rates.tells(100, MINUTE, QUIET_NS)
    missed = rates.missed(100, MINUTE)
    assert "59 more of its windows have reached this since the last message" in words(100, MINUTE, missed)[1][-1]
    assert 0 == rates.missed(100, MINUTE)


def test_a_month_is_told_whenever_it_reaches_a_threshold() -> None:
    rates = Rates()
    assert all(rates.tells(100, MONTH, number) for number in range(3))
