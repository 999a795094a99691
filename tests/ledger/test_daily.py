"""Sums by day are those of the postings, before and after sealing, corrections included."""

from pathlib import Path

import pytest

from tests.ledger.made import DAY_NS, NOV_1_NS, Books
from tests.ledger.test_adjust import ROW, correct
from weighbridge.exchanges.kept import KeptRelation
from weighbridge.ledger.daily import Daily, daily
from weighbridge.ledger.postings import postings
from weighbridge.records.usage import Usage

BY_OWNER = (
    "SELECT time::DATE, purpose, route, arm, team, key, count(*)::HUGEINT, sum(tokens)::HUGEINT, "
    "coalesce(sum(cost_nanousd), 0)::HUGEINT, count(*) FILTER (cost_nanousd IS NULL)::HUGEINT FROM postings "
    "GROUP BY ALL ORDER BY ALL"
)
SAME = "SELECT day, purpose, route, arm, team, key, attempts, tokens, cost_nanousd, unknown FROM daily ORDER BY ALL"


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return Books(tmp_path)


def traffic(books: Books, day: int) -> None:
    at_ns = NOV_1_NS + day * DAY_NS
    for number in range(12):
        arm = "open" if number % 3 == 0 else "closed"
        books.request(Usage(1000 + number, 10 * number), arm=arm, at_ns=at_ns, team="support" if number % 2 else None)
    books.request(None, at_ns=at_ns, outcome="upstream_error")
    books.request(Usage(5, 5), at_ns=at_ns, purpose="trial", trial="t-1")


def same(made: Daily, books: Books) -> None:
    made.refresh()
    with postings(books.layout) as sql:
        expected = sql.execute(BY_OWNER).fetchall()
    with made.cursor() as sql:
        assert expected == sql.execute(SAME).fetchall()


def test_they_are_the_sums_of_the_postings_whatever_is_sealed(books: Books) -> None:
    made = Daily(KeptRelation(books.layout))
    for day in range(3):
        traffic(books, day)
        same(made, books)
        books.seal()
        same(made, books)
    with daily(books.layout) as afresh:
        same(afresh, books)
    books.close()


def test_each_request_is_counted_once_and_failures_beside_it(books: Books) -> None:
    traffic(books, 0)
    with daily(books.layout) as made, made.cursor() as sql:
        row = sql.execute("SELECT sum(requests), sum(ok), sum(failed) FROM daily WHERE purpose = 'user'").fetchone()
    assert (13, 12, 1) == row
    books.close()


def test_corrections_are_in_them(books: Books) -> None:
    made = Daily(KeptRelation(books.layout))
    traffic(books, 0)
    books.seal()
    same(made, books)
    correct(books, ROW)
    same(made, books)
    books.close()


def test_sums_of_a_sealed_file_are_kept_and_made_again_when_they_are_gone(books: Books) -> None:
    traffic(books, 0)
    books.seal()
    with daily(books.layout) as first:
        same(first, books)
    (kept,) = books.layout.daily.iterdir()
    before = kept.stat().st_mtime_ns
    with daily(books.layout) as second:
        same(second, books)
    assert before == kept.stat().st_mtime_ns
    kept.unlink()
    with daily(books.layout) as third:
        same(third, books)
    assert [kept] == list(books.layout.daily.iterdir())
    books.close()


def test_sums_of_files_that_are_gone_are_removed(books: Books) -> None:
    traffic(books, 0)
    books.seal()
    books.layout.daily.mkdir()
    (books.layout.daily / "1-0000.parquet").write_bytes(b"of a file that was retired")
    with daily(books.layout):
        assert 1 == len(list(books.layout.daily.iterdir()))
    books.close()
