"""Budgets: what of a window is spent, when the rest ends, and the same traffic on another arm."""

from pathlib import Path

import pytest

from tests.ledger.made import DAY_NS, HOUR_NS, NOV_1_NS, OPEN, Books, loaded
from tests.ledger.test_savings import STATED, tried
from weighbridge.errors import UsageError
from weighbridge.ledger.daily import daily
from weighbridge.ledger.outlook import Outlook, charged_to, outlooks, what_if
from weighbridge.ledger.postings import postings
from weighbridge.ledger.prices import Terms
from weighbridge.records.usage import Usage, cost_nanousd

BUDGETS = """
[[budget]]
name = "company"
limit_usd = "2000000.00"
window = "total"
[[budget]]
name = "team"
parent = "company"
limit_usd = "0.10"
window = "month"
[[budget]]
name = "quick"
limit_usd = "1"
window = "hour"
[[key]]
name = "mine"
secret = "env:MINE"
budget = "team"
"""
NOON = NOV_1_NS + 9 * DAY_NS + 12 * HOUR_NS  # 2026-11-10


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return Books(tmp_path)


def looked(books: Books, name: str) -> Outlook:
    with daily(books.layout) as days:
        return outlooks(days, loaded(BUDGETS), NOON, name)[0]


def spend_daily(books: Books, days: int, tokens: int = 1_000) -> int:
    """So many days before the tenth, at 5 dollars a million; what one day costs."""
    for back in range(1, days + 1):
        books.request(Usage(tokens, 0), key="mine", at_ns=NOV_1_NS + (9 - back) * DAY_NS + HOUR_NS)
    return 5_000 * tokens


def test_a_budget_counts_its_own_keys_and_those_of_budgets_below() -> None:
    charged = [charged_to(loaded(BUDGETS), name).keys for name in ("company", "team", "quick")]
    assert [("mine",), ("mine",), ()] == charged


def test_a_budget_counts_users_of_its_teams_and_routes_and_everything_of_its_arms_and_purposes(books: Books) -> None:
    more = """
[[budget]]
name = "b"
limit_usd = "10"
window = "total"
purposes = ["judge"]
[[team]]
name = "support"
budget = "b"
[[key]]
name = "theirs"
secret = "env:THEIRS"
team = "support"
"""
    config = loaded(more)
    assert (("theirs",), ("judge",)) == (charged_to(config, "b").keys, charged_to(config, "b").purposes)
    counted = [books.request(Usage(100, 0), key="theirs"), books.request(Usage(100, 0), key="app", purpose="judge")]
    books.request(Usage(100, 0), key="app")
    books.request(Usage(100, 0), key="theirs", purpose="trial")
    with daily(books.layout) as days:
        (said,) = outlooks(days, config, NOON)
    assert len(counted) * 500_000 == said.spent_nanousd


def test_the_day_on_which_a_months_money_ends_follows_from_the_days_before(books: Books) -> None:
    each = spend_daily(books, 60)
    books.request(Usage(1, 0), key="app")  # another budget's
    said = looked(books, "team")
    assert (9 * each, "2026-12-01T00:00:00+00:00", 60) == (said.spent_nanousd, said.resets, said.history_days)
    # 10 cents, of which 4.5 are gone: eleven more days at half a cent, the eleventh is the 20th.
    assert said.ends is not None
    assert "2026-11-20" == str(said.ends.p50)


def test_what_was_spent_today_is_not_counted_twice(books: Books) -> None:
    spend_daily(books, 60)
    before = looked(books, "team").ends
    books.request(Usage(1_000, 0), key="mine", at_ns=NOV_1_NS + 9 * DAY_NS + HOUR_NS)
    assert before == looked(books, "team").ends


def test_a_short_history_is_no_forecast(books: Books) -> None:
    spend_daily(books, 20)
    said = looked(books, "company")
    assert said.ends is None
    assert "not enough history: 20 days" in (said.why_none or "")


def test_a_budget_that_is_used_up_and_one_of_an_hour_say_so(books: Books) -> None:
    spend_daily(books, 60, tokens=10_000)
    assert ("it is used up", True) == (
        looked(books, "team").why_none,
        "hour" in (looked(books, "quick").why_none or ""),
    )


def test_an_unknown_cost_is_counted_beside(books: Books) -> None:
    spend_daily(books, 60)
    books.request(Usage(1, 1, service_tier="ultra"), key="mine", at_ns=NOV_1_NS + HOUR_NS)
    assert 1 == looked(books, "team").unknown


def test_a_budget_that_is_not_there_is_refused(books: Books) -> None:
    with pytest.raises(UsageError, match="no budget 'nope'; it has: company, team, quick"):
        looked(books, "nope")


def test_the_same_traffic_on_another_arm_is_priced_at_measured_tokens(books: Books) -> None:
    tried(books)
    with postings(books.layout) as sql:
        (row,) = what_if(sql, loaded(), Terms(rows=(STATED,)), "open", NOV_1_NS + DAY_NS)
    assert (40, "assumed") == (row.requests, row.cache)
    assert row.would_cost is not None
    assert 40 * (cost_nanousd(Usage(1_000, 200), OPEN) or 0) == row.would_cost.nanousd
    assert row.would_cost.low_nanousd < row.would_cost.nanousd  # all of the input might be cached there


def test_an_arm_that_no_trial_measured_has_an_unknown_cost(books: Books) -> None:
    books.request(Usage(800, 100))
    with postings(books.layout) as sql:
        (row,) = what_if(sql, loaded(), Terms(), "open", NOV_1_NS + DAY_NS)
    assert row.would_cost is None
    assert "no trial has measured open beside closed" in (row.why_unknown or "")


def test_a_window_that_begins_within_a_utc_day_counts_from_its_first_moment(books: Books) -> None:
    """Midnight of the first of November in Tokyo is 15:00 UTC on the last of October."""
    tokyo = BUDGETS.replace('window = "month"', 'window = "month"\ntime_zone = "Asia/Tokyo"')
    begins = NOV_1_NS - 9 * HOUR_NS
    books.request(Usage(1_000, 0), key="mine", at_ns=begins - 1_000_000_000)
    books.request(Usage(1_000, 0), key="mine", at_ns=begins)
    books.request(Usage(1_000, 0), key="mine", at_ns=NOV_1_NS + HOUR_NS)
    books.request(Usage(1_000, 0), key="app", at_ns=begins - 1_000_000_000)  # another budget's
    for sealed in (False, True):
        if sealed:
            books.seal()
        with daily(books.layout) as days:
            (said,) = outlooks(days, loaded(tokyo), NOON, "team")
        assert 2 * 5_000_000 == said.spent_nanousd
