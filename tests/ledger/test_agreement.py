"""`verify` counts the budgets again from the log: what agrees is said to, and what does not is named."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import postgres
from tests.ledger.logs import OWNER, T0, WorkerLog, attempted, finished, held, posted, whole
from tests.ledger.test_projection import leased, projected, window
from weighbridge.exchanges.chain import Chain, put_object, signing_key
from weighbridge.exchanges.seal import seal_all
from weighbridge.ledger.agreement import Agreement, agree
from weighbridge.ledger.leasing import release
from weighbridge.ledger.writeoff import write_off
from weighbridge.records.backup import WRITE_OFF_SCHEMA, WriteOff
from weighbridge.records.canonical import canonical
from weighbridge.store.books import postgres_books, sqlite_books
from weighbridge.store.layout import Layout
from weighbridge.store.ledger import SCHEMA, LedgerStore
from weighbridge.store.postgres import PostgresSql
from weighbridge.store.sql import SqliteSql

OTHER = "0194f0c1a2b3beef"
GONE = "0194f0c1a2b3dead"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path)
    made.create()
    return made


@pytest.fixture
def store(layout: Layout) -> Iterator[LedgerStore]:
    made = LedgerStore(SqliteSql(layout.ledger, lambda: T0))
    yield made
    made.close()


def counted(layout: Layout) -> Agreement:
    books = sqlite_books(layout.ledger, "local")
    assert books is not None
    return agree(layout, books, "local")


def some_days(layout: Layout, store: LedgerStore) -> None:
    """A worker that lives, one that ended in order, one that died: known costs, unknown ones, more than was held."""
    first, log = leased(store, 5_000), WorkerLog(layout)
    log.add([*whole(1, (first,), 42), *whole(2, (first,), None, 77), *whole(3, (first,), 250, 100)])
    log.roll()
    log.add([*whole(4, (first, "support"), 5), held(5, (first,)), attempted(5)])
    projected(layout, store)
    log.add([posted(5, 30), finished(5, 30), held(6, (first,))])
    second, ended = leased(store, 5_000, OTHER), WorkerLog(layout, OTHER)
    ended.add([held(1, (second,), owner=OTHER), finished(1, 9, owner=OTHER)])
    ended.close()
    projected(layout, store)
    with store.sql.transaction():
        release(store, OTHER, [(second, 9)])
    third, died = leased(store, 5_000, GONE), WorkerLog(layout, GONE)
    died.add([held(1, (third,), 100, GONE), attempted(1, owner=GONE), posted(1, 60, owner=GONE)])
    died.add([held(2, (third,), 100, GONE), finished(2, 11, owner=GONE)])
    died.die()
    projected(layout, store)


@pytest.mark.promise(1)
def test_books_that_follow_the_log_agree_while_workers_live_and_after_they_are_gone(
    layout: Layout, store: LedgerStore
) -> None:
    some_days(layout, store)
    found = counted(layout)
    # Six of the worker that lives, five ended (one of them by its budget's name, too); one and two of the others.
    assert ([], 1, 8) == (found.differences, found.windows, found.requests)


def test_they_agree_when_the_log_is_sealed(layout: Layout, store: LedgerStore) -> None:
    some_days(layout, store)
    seal_all(layout, Chain(layout), signing_key(layout), None, time_ns=T0)
    assert ([], 8) == (counted(layout).differences, counted(layout).requests)


@pytest.mark.promise(1)
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("UPDATE lease SET posted_nanousd = posted_nanousd - 1", ["support", OWNER, "books say", "log says"]),
        ("UPDATE closed_lease SET requests = requests + 1 WHERE owner = '0194f0c1a2b3beef'", ["support", OTHER]),
        ("UPDATE budget_window SET posted_nanousd = posted_nanousd + 7", ["support", "2026-11-01", "closed leases"]),
        ("UPDATE budget_window SET used_nanousd = used_nanousd - 1", ["support", "are used of it"]),
        ("UPDATE budget_window SET bound_nanousd = 0", ["support", "upper bounds"]),
        ("DELETE FROM closed_lease WHERE orphans > 0", ["support", "closed leases"]),
        ("DELETE FROM orphan", [f"{GONE}-1", "not at all"]),
        ("UPDATE orphan SET booked_nanousd = 1", [f"{GONE}-1", "booked at"]),
        ("UPDATE charged_by_name SET posted_nanousd = 6", ["support", "without a lease"]),
        ("UPDATE projected SET at_byte = at_byte - 1 WHERE segment > 0", ["support", OTHER]),
    ],
)
def test_a_sum_that_is_not_what_the_log_charged_is_named(
    layout: Layout, store: LedgerStore, change: str, named: list[str]
) -> None:
    some_days(layout, store)
    store.sql.run(change)
    found = counted(layout).differences
    text = " ".join(f"{one.where}: {one.what}" for one in found)
    assert [] == [word for word in named if word not in text], text


def test_what_a_person_wrote_off_is_left_out_and_said(layout: Layout, store: LedgerStore) -> None:
    some_days(layout, store)
    with store.sql.transaction():
        rows = write_off(store, "local", OWNER, T0)
    record = WriteOff(schema=WRITE_OFF_SCHEMA, made_ns=T0, reason="its disk is gone", by="ops", rows=rows)
    put_object(layout, Chain(layout), signing_key(layout), "write_off", "ops", canonical(record), T0)
    found = counted(layout)
    assert ([], 3) == (found.differences, found.requests)
    assert ["budgets: 1 workers were written off, which stands in the signed log"] == found.notes


def test_a_ledger_of_before_is_brought_up_and_its_sums_are_kept_as_they_were(
    layout: Layout, store: LedgerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.close()
    layout.ledger.unlink()
    with monkeypatch.context() as old:
        old.setattr("weighbridge.store.ledger.SCHEMA", SCHEMA[:1])
        before = LedgerStore(SqliteSql(layout.ledger, lambda: T0))
        leased(before, 1_000)
        before.sql.run("UPDATE budget_window SET posted_nanousd = 70, used_nanousd = used_nanousd + 70, requests = 3")
        before.close()
        assert sqlite_books(layout.ledger, "local") is None  # no keeper of this version has opened it
    after = LedgerStore(SqliteSql(layout.ledger, lambda: T0))
    assert (70, 3) == (window(after).posted_nanousd, window(after).requests)
    after.close()
    assert [] == counted(layout).differences


def test_a_ledger_in_postgresql_is_held_against_the_log_of_its_site(layout: Layout) -> None:
    with postgres.server() as server:
        url = postgres.database(server)
        store = LedgerStore(PostgresSql(url, "local"))
        some_days(layout, store)
        books = postgres_books(url, "local")  # beside the keeper, whose lock stands
        assert books is not None
        found = agree(layout, books, "local")
        assert ([], 1, 8) == (found.differences, found.windows, found.requests)
        store.sql.run("UPDATE closed_lease SET posted_nanousd = 1 WHERE owner = ?", GONE)
        books = postgres_books(url, "local")
        assert books is not None
        assert GONE in " ".join(one.where for one in agree(layout, books, "local").differences)
        store.close()
