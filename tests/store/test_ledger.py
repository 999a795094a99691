"""One contract for the ledger, on SQLite and on PostgreSQL."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes import postgres
from weighbridge.errors import StoreError
from weighbridge.ledger.leasing import ahead, give, give_back, overdraw, reconcile, release, resolve
from weighbridge.records.budget import Budget
from weighbridge.store.database import SqlValue
from weighbridge.store.funds import Ask, Given, Want
from weighbridge.store.ledger import EPOCH_SHIFT, SCHEMA, LedgerStore, Sums
from weighbridge.store.postgres import PostgresSql
from weighbridge.store.sql import Row, Sql, SqliteSql

T0 = 1_795_608_000_000_000_000
"""2026-11-25 12:00 UTC."""
DAY = 86_400 * 10**9
LIMIT = 1_000_000

Open = Callable[[str], LedgerStore]


@pytest.fixture(params=["sqlite", "postgres"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the same ledger again and again, as keepers of different sites do."""
    opened: list[LedgerStore] = []
    url = postgres.database(request.getfixturevalue("postgres_url")) if request.param == "postgres" else ""

    def open_one(site: str) -> LedgerStore:
        sql: Sql = PostgresSql(url, site) if url else SqliteSql(tmp_path / "ledger.db", lambda: T0)
        opened.append(LedgerStore(sql))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture
def store(open_store: Open) -> LedgerStore:
    return open_store("one")


def want(budget: str = "support", limit: int | None = LIMIT, window: str = "day", **more: int) -> Want:
    terms = Budget(name=budget, limit_nanousd=limit or 0, window=window)  # type: ignore[arg-type]
    return Want(
        budget, "", terms.span, terms.window, "UTC", limit, more.get("lease", 0), more.get("room", 0)
    )  # fmt: skip


def ask(store: LedgerStore, nanousd: int, count: int = 1, *wants: Want, owner: str = "w1", now_ns: int = T0) -> Given:
    with store.sql.transaction():
        (given,) = give(store, owner, "one", [Ask(wants or (want(),), nanousd, count)], now_ns)
    return given


def used(store: LedgerStore, budget: str = "support") -> int:
    return max(window.used_nanousd for window in store.windows() if window.budget == budget)


def test_as_many_requests_are_let_in_as_fit_and_the_rest_is_told_how_much_is_left(store: LedgerStore) -> None:
    given = ask(store, LIMIT // 3, 10)
    assert given.short is not None
    assert (3, "support", LIMIT, LIMIT) == (
        given.count,
        given.short.budget,
        given.short.left_nanousd,
        given.short.limit_nanousd,
    )
    again = ask(store, LIMIT // 3, 10, owner="w2")
    assert again.short is not None
    assert (0, (), 1) == (again.count, again.grants, again.short.left_nanousd)
    assert LIMIT - 1 == used(store)


def test_near_the_cap_nothing_is_granted_ahead(store: LedgerStore) -> None:
    assert 0 == ahead(LIMIT, LIMIT, 1, LIMIT // 50)
    assert LIMIT // 50 == ahead(LIMIT, LIMIT, 1, 10)
    (grant,) = ask(store, 100).grants
    assert 100 + LIMIT // 50 == grant.added_nanousd
    (grant,) = ask(store, LIMIT // 2, owner="w2").grants
    assert LIMIT // 2 == grant.added_nanousd


def test_all_budgets_of_a_request_are_leased_or_none(store: LedgerStore) -> None:
    small, large = want("a-team", 50), want("company", LIMIT)
    given = ask(store, 60, 1, small, large)
    assert given.short is not None
    assert (0, "a-team") == (given.count, given.short.budget)
    assert [0, 0] == [window.used_nanousd for window in store.windows()]
    assert 1 == ask(store, 50, 1, small, large).count


def test_a_budget_that_is_only_counted_never_keeps_a_request_out(store: LedgerStore) -> None:
    given = ask(store, 10**18, 5, want(limit=None))
    assert (5, None) == (given.count, given.short)
    assert (0, 0) == (given.grants[0].added_nanousd, used(store))


def test_what_is_given_back_can_be_granted_to_another_worker(store: LedgerStore) -> None:
    (grant,) = ask(store, LIMIT).grants
    assert 0 == ask(store, 10, owner="w2").count
    with store.sql.transaction():
        give_back(store, "w1", [(grant.lease, 400)])
        give_back(store, "w2", [(grant.lease, 400)])  # not its own
        give_back(store, "w1", [(grant.lease, -5), (12345, 7)])
    assert LIMIT - 400 == used(store)
    assert 400 // 10 == ask(store, 10, 100, owner="w2").count


def test_the_next_window_starts_with_nothing_spent_and_no_window_comes_back(store: LedgerStore) -> None:
    ask(store, LIMIT)
    (first,) = store.windows()
    assert 0 == ask(store, 10, now_ns=T0 + DAY // 2 - 1).count
    assert 1 == ask(store, 10, now_ns=T0 + DAY // 2).count
    assert 2 == len(store.windows())
    assert 1 == ask(store, 10, now_ns=T0, owner="w2").count  # a clock that went back opens no old window
    assert [LIMIT, True] == [first.used_nanousd, first == store.windows()[0]]


def test_a_worker_that_connects_again_has_what_it_says(store: LedgerStore) -> None:
    (grant,) = ask(store, 1_000, 1, want("a", 10**9)).grants
    (unheard,) = ask(store, 5_000, 1, want("b", 10**9)).grants
    with store.sql.transaction():
        void = reconcile(store, "w1", [(grant.lease, 700), (987654, 5)])
    assert (987654,) == void
    assert (700, 0) == (used(store, "a"), used(store, "b"))
    row = store.lease(unheard.lease)
    assert row is not None
    assert 0 == row.granted_nanousd


def test_what_a_provider_charged_above_the_cap_is_booked_and_keeps_others_out(store: LedgerStore) -> None:
    (grant,) = ask(store, LIMIT).grants
    with store.sql.transaction():
        overdraw(store, "w1", grant.lease, 500)
    assert LIMIT + 500 == used(store)
    given = ask(store, 1, owner="w2")
    assert given.short is not None
    assert (0, 0) == (given.count, given.short.left_nanousd)


def test_a_lease_that_was_given_back_is_closed_when_the_log_has_shown_all_of_it(store: LedgerStore) -> None:
    (grant,) = ask(store, 1_000).grants
    with store.sql.transaction():
        release(store, "w1", [(grant.lease, 300)])
    assert 300 == used(store)
    with store.sql.transaction():
        store.post({grant.lease: Sums(posted=300, requests=1)})
        release(store, "w1", [(grant.lease, 300)])  # said again after a broken connection
    (window,) = store.windows()
    assert (None, 300, 300, 1) == (
        store.lease(grant.lease), window.used_nanousd, window.posted_nanousd, window.requests,
    )  # fmt: skip


def test_a_dead_worker_frees_what_it_did_not_spend(store: LedgerStore) -> None:
    (grant,) = ask(store, 1_000).grants
    with store.sql.transaction():
        store.post({grant.lease: Sums(posted=250, bound=100, requests=2, orphans=1)})
        resolve(store, "w1")
    (window,) = store.windows()
    assert (250, 250, 100, 2, 1) == (
        window.used_nanousd, window.posted_nanousd, window.bound_nanousd, window.requests, window.orphans,
    )  # fmt: skip


def test_a_changed_cap_holds_at_once(store: LedgerStore) -> None:
    ask(store, 600, 1, want(limit=1_000))
    assert 0 == ask(store, 500, 1, want(limit=1_000)).count
    assert 1 == ask(store, 500, 1, want(limit=2_000)).count
    given = ask(store, 1, 1, want(limit=100))
    assert given.short is not None
    assert (0, 0) == (given.count, given.short.left_nanousd)


def test_a_transaction_that_fails_leaves_nothing(store: LedgerStore) -> None:
    def crash() -> None:
        with store.sql.transaction():
            give(store, "w1", "one", [Ask((want(),), 10, 1)], T0)
            raise KeyError("crash")

    with pytest.raises(KeyError):
        crash()
    assert [] == store.windows()


def test_a_new_epoch_makes_ids_that_were_never_there(store: LedgerStore) -> None:
    (grant,) = ask(store, 10).grants
    with store.sql.transaction():
        store.begin_epoch(store.epoch() + 1)
        resolve(store, "w1")
    (later,) = ask(store, 10).grants
    assert (1, 2) == (grant.lease >> EPOCH_SHIFT, later.lease >> EPOCH_SHIFT)


def test_whichever_statement_fails_nothing_of_its_transaction_is_left(store: LedgerStore) -> None:
    """The n-th write fails, for every n; afterwards the same is done whole."""
    ask(store, 500)
    before = store.windows(), store.leases()
    real, statements = store.sql.run, 0

    def until(limit: int) -> Callable[..., list[Row]]:
        def run(statement: str, *values: SqlValue) -> list[Row]:
            nonlocal statements
            statements += 1
            if statements > limit:
                raise StoreError("the disk is full")
            return real(statement, *values)

        return run

    for limit in range(100):
        statements = 0
        store.sql.run = until(limit)  # type: ignore[method-assign]
        try:
            given = ask(store, 700, 1, want("a"), want("support"), owner="w2")
        except StoreError:
            store.sql.run = real  # type: ignore[method-assign]
            assert before == (store.windows(), store.leases())
            continue
        break
    store.sql.run = real  # type: ignore[method-assign]
    assert (1, 2, True) == (given.count, len(given.grants), limit > 10)


@pytest.mark.promise(16)
def test_a_migration_that_is_cut_off_leaves_the_schema_before_and_all_rows(
    open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every migration is one transaction with its number, in both databases: what is not whole did not happen."""
    ask(open_store("one"), 1_000)
    steps = (*SCHEMA, "ALTER TABLE lease ADD COLUMN one INTEGER; ALTER TABLE lease ADD COLUMN two INTEGER; {cut}")
    for cut in ("SELECT nothing FROM nowhere", "SELECT 1"):
        monkeypatch.setattr("weighbridge.store.ledger.SCHEMA", (*steps[:-1], steps[-1].format(cut=cut)))
        if "nowhere" in cut:
            with pytest.raises(StoreError):
                open_store("two")
            continue
        store = open_store("three")
        assert [(len(SCHEMA) + 1,)] == store.sql.run("SELECT version FROM ledger_schema")
        assert [(None, None)] == store.sql.run("SELECT one, two FROM lease")
        assert used(store) >= 1_000


def test_a_schema_of_a_newer_version_is_refused(open_store: Open) -> None:
    with (store := open_store("one")).sql.transaction():
        store.sql.run("UPDATE ledger_schema SET version = 99")
    with pytest.raises(StoreError, match="schema 99"):
        LedgerStore(store.sql)


def test_sites_that_ask_at_once_never_grant_more_than_the_cap(open_store: Open) -> None:
    """The transactions of different connections run one after the other."""
    stores = [open_store(f"site-{number}") for number in range(4)]
    each = LIMIT // 37
    counts = [0] * len(stores)

    def run(number: int) -> None:
        for turn in range(25):
            counts[number] += ask(stores[number], each, 1, owner=f"w{number}-{turn}").count

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(stores))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 37 == sum(counts)
    assert 37 * each == used(stores[0]) <= LIMIT


def test_one_site_has_one_keeper_in_postgresql(postgres_url: str) -> None:
    url = postgres.database(postgres_url)
    first = PostgresSql(url, "site-1")
    with pytest.raises(StoreError, match="another keeper acts for site site-1"):
        PostgresSql(url, "site-1")
    first.close()
    PostgresSql(url, "site-1").close()


def test_a_database_that_is_not_there_is_said_without_its_password() -> None:
    with pytest.raises(StoreError, match="cannot be reached") as caught:
        PostgresSql("postgresql://somebody:CANARY@127.0.0.1:1/none", "site-1")
    assert "CANARY" not in str(caught.value)


def test_a_connection_that_broke_is_opened_again(postgres_url: str) -> None:
    url = postgres.database(postgres_url)
    store, other = LedgerStore(PostgresSql(url, "site-1")), PostgresSql(url, "site-2")
    other.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
              "AND pid <> pg_backend_pid()")  # fmt: skip
    with pytest.raises(StoreError):
        ask(store, 10)
    assert 1 == ask(store, 10).count
    store.close()
    other.close()
