"""A changed limit holds over the file's until the file says another one; it is signed, and a keeper obeys it."""

from pathlib import Path

import pytest

from tests.exchanges.stores import Keeper
from tests.ledger.made import DAY_NS, NOV_1_NS, Books, loaded
from weighbridge.errors import StoreError, UsageError
from weighbridge.exchanges.chain import put_object
from weighbridge.keeper.compile import compiled_budget
from weighbridge.ledger.daily import daily
from weighbridge.ledger.limits import LIMIT_SCHEMA, LimitChange, in_force, limit_of, newest_changes, with_limits
from weighbridge.ledger.outlook import BurnDown, burn_down
from weighbridge.records.canonical import canonical
from weighbridge.records.usage import Usage

DOLLAR = 10**9
BUDGET = '\n[[budget]]\nname = "support"\nlimit_usd = "100"\n'
OVER = loaded(BUDGET).config


def change(limit: int | None, *, over: int = 100 * DOLLAR) -> LimitChange:
    return LimitChange(
        schema=LIMIT_SCHEMA, budget="support", limit_nanousd=limit, over_nanousd=over, by="ada", why="a test", time_ns=1
    )  # fmt: skip


def put(keeper: Keeper, one: LimitChange, at: int = 1) -> str:
    return put_object(keeper.layout, keeper.chain, keeper.key, "limit", one.budget, canonical(one), at).digest


def test_the_newest_change_of_a_budget_counts(tmp_path: Path) -> None:
    books = Books(tmp_path)
    put(books.keeper, change(80 * DOLLAR), 1)
    put(books.keeper, change(60 * DOLLAR), 2)
    found = in_force(OVER, newest_changes(books.layout, books.keeper.chain.snapshot()))
    (budget,) = with_limits(tuple(map(compiled_budget, OVER.budget)), found)
    assert 60 * DOLLAR == budget.limit_nanousd
    books.close()


@pytest.mark.parametrize(
    ("newest", "text"),
    [
        (change(None), BUDGET),  # taken back
        (change(80 * DOLLAR), BUDGET.replace("100", "90")),  # the file was edited since: it is the source of truth
        (change(80 * DOLLAR), ""),  # the budget is gone
    ],
)
def test_it_does_not_count_once_it_is_taken_back_or_the_file_says_another_limit(newest: LimitChange, text: str) -> None:
    assert {} == in_force(loaded(text).config, {"support": newest})


def test_a_change_that_was_altered_is_refused(tmp_path: Path) -> None:
    books = Books(tmp_path)
    name = put(books.keeper, change(80 * DOLLAR))
    books.layout.object(name).chmod(0o600)
    books.layout.object(name).write_bytes(canonical(change(8000 * DOLLAR)))
    with pytest.raises(StoreError, match="not the one that was signed"):
        newest_changes(books.layout, books.keeper.chain.snapshot())
    books.close()


@pytest.mark.parametrize(
    ("text", "nanousd"), [("80", 80 * DOLLAR), ("0.000000001", 1), ("0", 0), ("1e2", 100 * DOLLAR)]
)
def test_a_limit_is_read_exactly(text: str, nanousd: int) -> None:
    assert nanousd == limit_of(text)


@pytest.mark.parametrize("text", ["", "eighty", "-1", "NaN", "Infinity", "0.0000000001", "1e12", "1e999999"])
def test_what_is_no_limit_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(UsageError, match="US dollars"):
        limit_of(text)


def burnt(books: Books, days: int, text: str) -> BurnDown:
    config = loaded(text)
    now = NOV_1_NS + days * DAY_NS + DAY_NS // 2
    with daily(books.layout) as sums, sums.cursor() as sql:
        return burn_down(sql, config, config.config.budget[0], 100 * DOLLAR, now)


ROUTE = BUDGET + '[[key]]\nname = "bench"\nsecret = "env:BENCH_KEY"\nbudget = "support"\n'


def test_a_window_burns_down_day_by_day_and_its_forecast_goes_on_from_there(tmp_path: Path) -> None:
    books = Books(tmp_path)
    for day in range(-40, 20):
        for _ in range(2):
            books.request(Usage(20_000, 0), at_ns=NOV_1_NS + day * DAY_NS, key="bench")  # $0.10 each
        books.request(Usage(90_000, 0), at_ns=NOV_1_NS + day * DAY_NS, key="app")  # charged to nobody's budget
    found = burnt(books, 19, ROUTE)
    behind = [day for day in found.days if day.nanousd is not None]
    ahead = [day for day in found.days if day.p50 is not None]
    assert [200_000_000 * (number + 1) for number in range(20)] == [day.nanousd for day in behind]
    assert "2026-11-20" == ahead[0].day.isoformat()
    assert "2026-11-30" == ahead[-1].day.isoformat()
    assert all((day.p10 or 0) <= (day.p50 or 0) <= (day.p90 or 0) for day in ahead)
    assert ahead[-1].p50 == pytest.approx(30 * 200_000_000, rel=0.02)
    assert found.ends is not None
    books.close()


def test_with_little_history_there_is_no_forecast_and_it_says_why(tmp_path: Path) -> None:
    books = Books(tmp_path)
    books.request(Usage(20_000, 0), at_ns=NOV_1_NS, key="bench")
    found = burnt(books, 3, ROUTE)
    assert found.ends is None
    assert found.why_none is not None
    assert "not enough history" in found.why_none
    books.close()
