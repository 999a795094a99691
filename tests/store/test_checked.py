"""One changed byte of a database is found, wherever it lies; a database that was not touched has no problem."""

import random
import shutil
import time
from pathlib import Path

import apsw
import pytest

from weighbridge.errors import StoreError
from weighbridge.store import checked
from weighbridge.store.checked import examine
from weighbridge.store.ledger import LedgerStore, Sums
from weighbridge.store.sql import SqliteSql


@pytest.fixture(autouse=True)
def _nobody_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checked, "_WAIT_S", 0.0)


def ledger(path: Path, windows: int = 200) -> LedgerStore:
    """With rows, and with free pages that rows have left."""
    store = LedgerStore(SqliteSql(path, time.time_ns))
    with store.sql.transaction():
        for number in range(windows):
            store.open_window(f"budget-{number % 7}", f"user:{number}", "day UTC", number, number + 1, 10**9)
            window = store.window_at(f"budget-{number % 7}", f"user:{number}", "day UTC", number)
            assert window is not None
            store.post({store.new_lease(window.id, "0" * 16, "here"): Sums(posted=number, requests=1)})
    with store.sql.transaction():
        for row in store.leases()[: windows // 2]:
            store.close_lease(row)
    return store


def changed(path: Path, at: int, by: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        (before,) = file.read(1)
        file.seek(at)
        file.write(bytes([before ^ by]))


def flips(path: Path, count: int, seed: int) -> None:
    chance = random.Random(seed)
    size = path.stat().st_size
    for at in chance.sample(range(size), min(count, size)):
        by = chance.randrange(1, 256)
        changed(path, at, by)
        found = examine(path)
        assert found is not None
        assert found.problems, f"byte {at} of {path.name}"
        changed(path, at, by)
    assert checked.Examined(()) == examine(path)


@pytest.mark.promise(12)
def test_each_changed_byte_of_a_ledger_at_rest_is_found(tmp_path: Path) -> None:
    ledger(tmp_path / "ledger.db").close()
    flips(tmp_path / "ledger.db", 300, seed=1)


def test_each_byte_of_the_header_is_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger(path).close()
    for at in range(100):
        for by in (1, 8, 0xFF):
            changed(path, at, by)
            found = examine(path)
            assert found is not None
            assert found.problems, at
            changed(path, at, by)


def test_a_ledger_in_use_has_no_problem_and_a_change_in_its_write_ahead_log_is_found(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    store = ledger(path)
    assert checked.Examined(()) == examine(path)
    wal = path.with_name("ledger.db-wal")
    frames = (wal.stat().st_size - 32) // (24 + 4096)
    assert frames > 3
    chance = random.Random(2)
    for at in chance.sample(range(32 + (frames - 1) * (24 + 4096)), 60):
        changed(wal, at, 0x10)
        found = examine(path)
        assert found is not None
        assert [wal.name] == [one.file for one in found.problems], at
        changed(wal, at, 0x10)
    store.close()


def test_what_an_earlier_round_left_in_the_write_ahead_log_is_no_problem(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    store = ledger(path)
    store.sql.run("PRAGMA wal_checkpoint(RESTART)")
    store.set_note("a", "b")
    assert checked.Examined(()) == examine(path)
    store.close()


def test_a_page_that_another_program_wrote_is_found(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger(path).close()
    db = apsw.Connection(str(path), vfs="unix")  # without the extension, as any other tool would
    db.execute("UPDATE budget_window SET posted_nanousd = 7 WHERE id = (SELECT max(id) FROM budget_window)")
    db.close()
    found = examine(path)
    assert found is not None
    assert found.problems


def test_a_ledger_of_an_earlier_version_gets_its_checksums_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    db = apsw.Connection(str(path), vfs="unix")
    db.execute("PRAGMA journal_mode = WAL").fetchall()
    db.execute("CREATE TABLE ledger_schema(version INTEGER NOT NULL)")
    db.close()
    assert checked.Examined((), has_checksums=False) == examine(path)
    LedgerStore(SqliteSql(path, time.time_ns)).close()
    assert checked.Examined(()) == examine(path)


def test_a_large_database_of_an_earlier_version_gets_a_checksum_on_every_page_and_so_does_a_copy(
    tmp_path: Path,
) -> None:
    """More than SQLite keeps in memory: what it writes before the first page is the hard part."""
    path, copy = tmp_path / "led #?%ger.db", tmp_path / "co #?%py.db"
    db = apsw.Connection(str(path), vfs="unix")
    db.execute("CREATE TABLE big(n INTEGER, x BLOB)")
    db.execute(
        "INSERT INTO big WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000) "
        "SELECT i, randomblob(3000) FROM n"
    )
    db.close()
    SqliteSql(path, time.time_ns).close()
    assert checked.Examined(()) == examine(path)
    checked.copy_database(path, copy)
    assert checked.Examined(()) == examine(copy)
    sql = SqliteSql(copy, time.time_ns)
    assert [(4000,)] == sql.run("SELECT count(*) FROM big")
    sql.close()


def test_a_new_database_that_grows_in_one_transaction_has_a_checksum_on_every_page(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    sql = SqliteSql(path, time.time_ns)
    with sql.transaction():
        sql.run("CREATE TABLE big(n INTEGER, x BLOB)")
        sql.run(
            "INSERT INTO big WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000) "
            "SELECT i, randomblob(3000) FROM n"
        )
    sql.close()
    assert checked.Examined(()) == examine(path)


def test_a_damaged_ledger_is_not_opened_and_the_message_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger(path).close()
    changed(path, 4096 * 3 + 2000, 1)
    with pytest.raises(StoreError, match=r"(?s)is damaged .*weighbridge restore"):
        SqliteSql(path, time.time_ns)


def test_a_ledger_that_ends_in_the_middle_of_a_page_is_found(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger(path).close()
    short = tmp_path / "short.db"
    shutil.copyfile(path, short)
    with short.open("r+b") as file:
        file.truncate(path.stat().st_size - 100)
    found = examine(short)
    assert found is not None
    assert found.problems


def test_no_database_is_no_problem(tmp_path: Path) -> None:
    assert examine(tmp_path / "none.db") is None


@pytest.mark.promise(12)
@pytest.mark.long
def test_each_of_a_thousand_changed_bytes_of_a_ledger_is_found(tmp_path: Path) -> None:
    ledger(tmp_path / "ledger.db", windows=3_000).close()
    flips(tmp_path / "ledger.db", 1_000, seed=3)
