"""The ledger says what the log says: once, whatever crashes, and at the upper bound where nobody knows."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ledger.logs import OWNER, T0, WorkerLog, attempted, finished, held, posted, whole
from weighbridge.exchanges import framing
from weighbridge.exchanges.chain import Chain, signing_key
from weighbridge.exchanges.seal import seal_all
from weighbridge.ledger import projection
from weighbridge.ledger.leasing import give as given_leases
from weighbridge.ledger.projection import Projector
from weighbridge.ledger.reading import Batch, Reading
from weighbridge.records.budget import Budget
from weighbridge.records.frames import Frame, Told
from weighbridge.store.funds import Ask, Want
from weighbridge.store.layout import Layout
from weighbridge.store.ledger import LedgerStore, WindowRow
from weighbridge.store.sql import SqliteSql

BUDGET = Budget(name="support", limit_nanousd=1_000_000, hard=True)


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


def leased(store: LedgerStore, nanousd: int = 1_000, owner: str = OWNER) -> int:
    want = Want("support", "", BUDGET.span, "month", "UTC", BUDGET.limit_nanousd, 0, 0)
    with store.sql.transaction():
        (made,) = given_leases(store, owner, "local", [Ask((want,), nanousd, 1)], T0)
    return made.grants[0].lease


def projected(layout: Layout, store: LedgerStore, projector: Projector | None = None) -> Projector:
    """Everything that is new; a fresh projector is what a restarted keeper has."""
    if projector is None:
        projector = Projector(layout, store, "local", lambda name: BUDGET if name == "support" else None)
        with store.sql.transaction():
            projector.load(T0)
    for batch in projector.batches():
        with store.sql.transaction():
            projector.store(batch, T0)
    return projector


def window(store: LedgerStore) -> WindowRow:
    (found,) = store.windows()
    return found


def test_a_request_is_charged_what_it_cost_once_however_often_the_log_is_read(
    layout: Layout, store: LedgerStore
) -> None:
    lease, log = leased(store), WorkerLog(layout)
    log.add(whole(1, (lease,), 42))
    for _ in range(3):
        projected(layout, store)
    row = store.lease(lease)
    assert row is not None
    assert (42, 1, 0, 0) == (row.posted_nanousd, row.requests, row.bound_nanousd, row.excess_nanousd)


def test_what_nobody_knows_is_charged_at_what_was_held_and_marked(layout: Layout, store: LedgerStore) -> None:
    lease, log = leased(store), WorkerLog(layout)
    log.add(whole(1, (lease,), None, 77))
    projected(layout, store)
    row = store.lease(lease)
    assert row is not None
    assert (77, 77) == (row.posted_nanousd, row.bound_nanousd)


def test_what_a_provider_charged_above_the_hold_is_booked_and_shown(layout: Layout, store: LedgerStore) -> None:
    lease, log = leased(store), WorkerLog(layout)
    log.add(whole(1, (lease,), 250, 100))
    projected(layout, store)
    row = store.lease(lease)
    assert row is not None
    assert (250, 150) == (row.posted_nanousd, row.excess_nanousd)


def test_a_request_that_spans_two_readings_and_a_restart_is_charged_once(layout: Layout, store: LedgerStore) -> None:
    lease, log = leased(store), WorkerLog(layout)
    log.add([held(1, (lease,)), attempted(1)])
    projected(layout, store)
    assert ["-1"] == [hold.exchange[-2:] for hold in store.open_holds(OWNER)]
    log.add([posted(1, 30), finished(1, 30)])
    projected(layout, store)
    row = store.lease(lease)
    assert row is not None
    assert (30, 1, []) == (row.posted_nanousd, row.requests, store.open_holds(OWNER))


def test_a_frame_that_was_written_twice_counts_once_also_over_a_restart(layout: Layout, store: LedgerStore) -> None:
    lease, log = leased(store), WorkerLog(layout)
    log.add(whole(1, (lease,), 42))
    projected(layout, store)
    log.roll()
    log.add(whole(1, (lease,), 42))
    projected(layout, store)
    row = store.lease(lease)
    assert row is not None
    assert (42, 1) == (row.posted_nanousd, row.requests)


def test_sealed_segments_are_read_on_from_where_the_open_ones_were_left(layout: Layout, store: LedgerStore) -> None:
    lease, log = leased(store), WorkerLog(layout)
    log.add(whole(1, (lease,), 10))
    projected(layout, store)
    log.add(whole(2, (lease,), 20))
    log.roll()
    log.add(whole(3, (lease,), 30))
    seal_all(layout, Chain(layout), signing_key(layout), None, time_ns=T0)
    projected(layout, store)
    row = store.lease(lease)
    assert row is not None
    assert (60, 3) == (row.posted_nanousd, row.requests)


@pytest.mark.promise(6)
def test_what_a_dead_worker_held_is_booked_at_its_upper_bound_and_the_rest_is_free(
    layout: Layout, store: LedgerStore
) -> None:
    lease, log = leased(store, 1_000), WorkerLog(layout)
    log.add([*whole(1, (lease,), 42), held(2, (lease,), 100), attempted(2), held(3, (lease,), 100)])
    log.add([held(4, (lease,), 100), attempted(4), posted(4, 60), attempted(4, 2, more=260)])
    log.add([held(5, (lease,), 100), attempted(5), posted(5, 130)])
    projected(layout, store)
    assert window(store).used_nanousd >= 1_000
    log.die()
    projected(layout, store)
    booked = 42 + 100 + 100 + 260 + 130
    assert (booked, booked, booked - 42, 4, 5) == (
        window(store).used_nanousd, window(store).posted_nanousd, window(store).bound_nanousd, window(store).orphans,
        window(store).requests,
    )  # fmt: skip
    assert [] == store.leases()
    assert [100, 100, 130, 260] == sorted(store.orphans().values())
    before = store.windows()
    projected(layout, store)
    assert before == store.windows()


@pytest.mark.promise(6)
def test_a_lease_is_never_reclaimed_while_its_worker_lives(layout: Layout, store: LedgerStore) -> None:
    lease, log = leased(store, 1_000), WorkerLog(layout)
    log.add([held(1, (lease,), 100)])
    for _ in range(5):
        projected(layout, store)
    row = store.lease(lease)
    assert row is not None
    assert row.granted_nanousd >= 1_000


def test_a_log_that_is_damaged_keeps_its_leases_out(layout: Layout, store: LedgerStore) -> None:
    lease, log = leased(store, 1_000), WorkerLog(layout)
    log.add(whole(1, (lease,), 42))
    path = layout.segment(OWNER, 1)
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)
    log.die()
    projector = projected(layout, store)
    assert [OWNER] == list(projector.damaged)
    assert store.lease(lease) is not None
    assert window(store).used_nanousd >= 1_000


def test_a_worker_that_closed_its_log_in_order_has_said_all_whenever_that_is_read(
    layout: Layout, store: LedgerStore
) -> None:
    lease, log = leased(store, 1_000), WorkerLog(layout)
    log.add(whole(1, (lease,), 42))
    log.close()
    projector = projected(layout, store)  # its last requests and the closing frame in one reading, the process still up
    log.die()
    projected(layout, store, projector)
    projected(layout, store)
    assert {} == projector.damaged
    assert [] == store.leases()
    assert (42, 42) == (window(store).used_nanousd, window(store).posted_nanousd)


def test_an_outcome_that_is_told_before_the_request_has_ended_charges_nothing(
    layout: Layout, store: LedgerStore
) -> None:
    lease, log = leased(store), WorkerLog(layout)
    told = Told(f"{OWNER}-1", T0, "app", "assistant", "0" * 16, "all", "arm", "resolved", 1.0)
    log.add([held(1, (lease,)), attempted(1), told])
    projected(layout, store)
    log.add([posted(1, 30), finished(1, 30)])
    projected(layout, store)
    row = store.lease(lease)
    assert row is not None
    assert (30, 1) == (row.posted_nanousd, row.requests)


@pytest.mark.promise(1)
@given(st.data())
def test_however_requests_overlap_and_readings_are_cut_the_sums_are_those_of_each(
    data: st.DataObject,
) -> None:
    """Costs known and unknown, above what was held, several attempts, parts of arms, budgets by name, held anew."""
    leases = ((1, 2, 3), (1, 4), (5, "support"))
    costs, ends, lives = st.one_of(st.none(), st.integers(0, 300)), [], []
    for number in range(data.draw(st.integers(1, 12))):
        names = data.draw(st.sampled_from(leases))
        attempts = data.draw(st.lists(st.tuples(costs, st.one_of(st.none(), st.integers(100, 200))), max_size=3))
        known = [cost for cost, _ in attempts if cost is not None]
        cost = sum(known) if attempts and len(known) == len(attempts) else None
        frames: list[Frame] = [held(number, names, 100)]
        limit = 100
        for count, (one, more) in enumerate(attempts, 1):
            frames += [attempted(number, count, more=more), posted(number, one, count)]
            limit = limit if more is None else more
        parts = ((4, 7),) if cost is not None and 4 in names else ()
        frames.append(msgspec.structs.replace(finished(number, cost), parts=parts))
        lives.append(iter(frames))
        for name in names:
            whole = max(limit, sum(known)) if cost is None else cost
            charged = dict(parts).get(name, whole) if isinstance(name, int) else whole
            ends.append((name, charged, charged if cost is None else 0))
    order = []
    while lives:
        life = data.draw(st.sampled_from(lives))
        next_frame = next(life, None)
        if next_frame is None:
            lives.remove(life)
        else:
            order.append(framing.frame(msgspec.msgpack.encode(next_frame)))
    log, reading, at = b"".join(order), Reading(OWNER, 1, 16), 0
    found: Counter[int | str] = Counter()
    bounds: Counter[int | str] = Counter()
    while at < len(log):
        batch = Batch(OWNER, 1, 16)
        at += reading.take(log[at:], batch, data.draw(st.integers(1, 20)))
        reading.cut(batch, at)
        for lease, sums in batch.leases.items():
            found[lease] += sums.posted
            bounds[lease] += sums.bound
        for budget, _, sums in batch.named:
            found[budget] += sums.posted
            bounds[budget] += sums.bound
    assert {} == reading.open
    for account in {name for name, _, _ in ends}:
        assert sum(charged for name, charged, _ in ends if name == account) == found[account]
        assert sum(bound for name, _, bound in ends if name == account) == bounds[account]


def test_what_was_let_through_without_a_lease_is_booked_by_its_name(layout: Layout, store: LedgerStore) -> None:
    lease, log = leased(store), WorkerLog(layout)
    used = window(store).used_nanousd
    log.add(whole(1, ("support",), 42))
    log.add(whole(2, (lease, "gone from the configuration"), 5))
    projected(layout, store)
    assert (42, used + 42) == (window(store).posted_nanousd, window(store).used_nanousd)


def test_a_batch_that_cannot_be_stored_is_read_again(
    layout: Layout, store: LedgerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projection, "FRAMES_PER_BATCH", 6)
    lease, log = leased(store, 10_000), WorkerLog(layout)
    for number in range(40):
        log.add(whole(number, (lease,), 7))

    class FullError(Exception):
        pass

    for fails in range(60):
        projector = Projector(layout, store, "local")
        with store.sql.transaction():
            projector.load(T0)
        try:
            for count, batch in enumerate(projector.batches()):
                with store.sql.transaction():
                    projector.store(batch, T0)
                    if count == fails % 3:
                        raise FullError
        except FullError:
            continue
    projected(layout, store)
    row = store.lease(lease)
    assert row is not None
    assert (280, 40) == (row.posted_nanousd, row.requests)
