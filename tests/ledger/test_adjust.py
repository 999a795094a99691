"""Corrections are added rows, and doing them twice adds nothing."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from tests.ledger.made import NOV_1_NS, Books, loaded
from weighbridge.config.tree import PriceRowSection
from weighbridge.errors import StoreError
from weighbridge.exchanges.chain import put_object
from weighbridge.exchanges.reader import read
from weighbridge.ledger.adjust import Rerated, rerate
from weighbridge.ledger.postings import postings
from weighbridge.ledger.prices import Terms
from weighbridge.ledger.statement import Month, Statement, statement
from weighbridge.records.canonical import canonical
from weighbridge.records.usage import Usage

SINCE, UNTIL = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
ROW = PriceRowSection(
    model="gpt-5.5", provider="openai", since="2026-11-01", source="corrected invoice", input="6", output="30",
    cache_read="0.5",
)  # fmt: skip


def correct(books: Books, *rows: PriceRowSection) -> Rerated:
    with postings(books.layout) as sql:
        done = rerate(sql, loaded(), Terms(rows=rows), SINCE, UNTIL, reason="a test", now_ns=2)
    if done.adjustment.rows:
        keeper = books.keeper
        put_object(books.layout, keeper.chain, keeper.key, "adjustment", "2026-11", canonical(done.adjustment), 2)
    return done


def november(books: Books) -> Statement:
    with postings(books.layout) as sql:
        return statement(sql, Month.parse("2026-11", "UTC"))


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return Books(tmp_path)


@pytest.mark.promise(11)
def test_a_correction_adds_the_difference_and_leaves_the_postings_as_they_are(books: Books) -> None:
    books.request(Usage(1_000_000 // 10, 7))
    before = [one.cost_nanousd for one in read(books.layout)]
    done = correct(books, ROW)
    assert 100_000 * 1_000 == done.added_nanousd  # a dollar more per million
    assert books.booked + done.added_nanousd == november(books).total_nanousd
    assert before == [one.cost_nanousd for one in read(books.layout)]


@pytest.mark.promise(11)
def test_rating_twice_gives_the_same_total(books: Books) -> None:
    for number in range(20):
        books.request(Usage(1_000 + number, number, number))
    correct(books, ROW)
    once = november(books)
    again = correct(books, ROW)
    assert (0, 0, once) == (again.added_nanousd, len(again.adjustment.rows), november(books))


@pytest.mark.promise(11)
def test_a_correction_of_a_correction_is_added_to_both(books: Books) -> None:
    books.request(Usage(100_000, 0))
    correct(books, ROW)
    correct(books, ROW, msgspec.structs.replace(ROW, input="5"))
    said = november(books)
    assert (books.booked, 0) == (said.total_nanousd, said.lines[0].adjusted_nanousd)


def test_a_cost_that_was_unknown_becomes_known(books: Books) -> None:
    books.request(Usage(100, 100, service_tier="scale"))
    assert (0, 1) == (november(books).total_nanousd, november(books).unknown)
    correct(books, ROW, msgspec.structs.replace(ROW, service_tier="scale", input="1", output="1"))
    assert (200_000, 0) == (november(books).total_nanousd, november(books).unknown)


@pytest.mark.promise(15)
def test_hours_of_the_day_are_rated_by_the_start_of_each_request(books: Books) -> None:
    books.request(Usage(1_000_000, 0, 0))
    peak = msgspec.structs.replace(ROW, hours="09:00-12:00", time_zone="Asia/Shanghai", input="12")
    books.request(Usage(1_000, 0), at_ns=NOV_1_NS + 3_600 * 10**9 - 1)
    books.request(Usage(1_000, 0), at_ns=NOV_1_NS + 3_600 * 10**9)
    correct(books, ROW, peak)
    with postings(books.layout) as sql:
        costs = sql.execute("SELECT cost_nanousd FROM postings WHERE tokens = 1000 ORDER BY time").fetchall()
    assert [(6_000_000,), (12_000_000,)] == costs


def test_an_arm_with_a_price_without_dates_is_left_alone_and_counted(books: Books) -> None:
    books.request(Usage(100, 100), arm="open")
    assert {"its arm states a price without dates": 1} == correct(books, ROW).left_alone


@pytest.mark.promise(11)
def test_a_changed_adjustment_is_refused_and_not_added(books: Books) -> None:
    books.request(Usage(100_000, 0))
    correct(books, ROW)
    (entry,) = [one for one in books.keeper.chain.snapshot().objects if one.kind == "adjustment"]
    path = books.layout.object(entry.digest)
    path.write_bytes(path.read_bytes().replace(b"100000000", b"100000001"))
    with pytest.raises(StoreError, match="not the one that was signed"):
        november(books)
