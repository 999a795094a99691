"""The last way back: `ramp rollback` with the database damaged and no keeper to be had."""

import asyncio
from pathlib import Path

import pytest

from tests.ramp.desk import Store, store_in
from weighbridge.app.override import hold_at_incumbent
from weighbridge.cli import root
from weighbridge.errors import StoreError
from weighbridge.keeper.lock import KeeperLock, StoreLockedError
from weighbridge.keeper.ramps import read_overrides


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A ramp that stands at 25%, and nothing running."""
    made = store_in(tmp_path / "a")

    async def live() -> None:
        await made.begin()
        await made.until("quarter")

    asyncio.run(live())
    made.office.close()
    made.database.close()
    return made


def test_a_rollback_works_with_a_damaged_database_and_says_what_is_left_to_do(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 2500 == store.share()
    store.layout.database.write_bytes(b"not a database" * 1000)
    for name in ("-wal", "-shm"):
        store.layout.database.with_name(store.layout.database.name + name).unlink(missing_ok=True)
    assert 1 == root.run(["ramp", "rollback", "assistant", "--config", str(store.file)])
    said = capsys.readouterr().err
    assert "holds assistant at its incumbent" in said
    assert "again records it" in said
    assert 0 == store.share()
    assert frozenset({"assistant"}) == read_overrides(store.layout)


def test_the_next_keeper_holds_to_it_until_it_is_on_record(store: Store) -> None:
    number = hold_at_incumbent(store.loaded, "assistant")
    store.open()
    store.publisher.publish(store.loaded)
    try:
        assert 0 == store.share()
        assert not store.state.over
        table = store.publisher.current
        assert table is not None
        assert table.number >= number
        asyncio.run(store.act("rollback"))
        assert frozenset() == read_overrides(store.layout)
    finally:
        store.office.close()
        store.database.close()


def test_with_a_keeper_there_the_files_are_its_own(store: Store) -> None:
    lock = KeeperLock(store.layout.lock)
    try:
        with pytest.raises(StoreLockedError):
            hold_at_incumbent(store.loaded, "assistant")
    finally:
        lock.close()
    assert 2500 == store.share()


def test_a_route_that_is_not_there_is_named(store: Store) -> None:
    with pytest.raises(StoreError, match="has no route 'other'; it has assistant"):
        hold_at_incumbent(store.loaded, "other")
