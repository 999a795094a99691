"""Promise 16: a database of every schema that there was is brought up without losing a row, killed wherever it is."""

import os
from pathlib import Path

import apsw
import pytest

from weighbridge.store import checked
from weighbridge.store.checked import Examined, examine
from weighbridge.store.database import MIGRATIONS, Database, Head, remembered

pytestmark = pytest.mark.promise(16)

ROWS = 40


def of_schema(path: Path, version: int) -> None:
    """As that version left it: without checksums, with rows in every table that it had."""
    db = apsw.Connection(str(path), vfs="unix")
    db.execute("PRAGMA journal_mode = WAL").fetchall()
    for step in MIGRATIONS[:version]:
        db.execute(step).fetchall()
    db.execute(f"PRAGMA user_version = {version}").fetchall()
    for number in range(1, ROWS + 1):
        db.execute("INSERT INTO meta VALUES (?, ?)", (f"key-{number}", "x" * 300))
        db.execute("INSERT INTO route_table VALUES (?, ?, ?)", (number, number, os.urandom(900)))
        db.execute("INSERT INTO price_memo VALUES (?, NULL, ?)", (f"asked-{number}", b"y" * 200))
        db.execute(
            "INSERT INTO trial_token(issued_ns, expires_ns, trial, route, arm, budget_nanousd) "
            "VALUES (1, 2, 't-1', 'r', 'a', ?)",
            (number,),
        )
    db.execute("INSERT INTO last_head(id, seq, digest) VALUES (1, 7, 'd')")
    db.close()


def rows(path: Path) -> list[object]:
    db = apsw.Connection(str(path), vfs="unix", flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return [
            db.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()  # noqa: S608 (names of ours)
            for table in ("meta", "route_table", "price_memo", "trial_token")
        ] + [db.execute("SELECT seq, digest FROM last_head").fetchall()]
    finally:
        db.close()


def killed_at(path: Path, statement: int) -> bool:
    """Open it in a process that ends without a word before its n-th statement. Whether it came so far."""
    child = os.fork()
    if child == 0:
        real, count = checked.connect, 0

        def before(*_: object) -> bool:
            nonlocal count
            count += 1
            if count == statement:
                os._exit(9)
            return True

        def connect(path: Path, *, flags: int | None = None) -> apsw.Connection:
            db = real(path, flags=flags)
            db.exec_trace = before
            return db

        checked.connect = connect
        try:
            Database(path)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 9


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS) + 1))
def test_a_database_of_any_schema_that_is_killed_at_any_statement_is_brought_up_whole(
    tmp_path: Path, version: int
) -> None:
    brought_up(tmp_path, version)


def brought_up(folder: Path, version: int) -> int:
    """How many times it was killed on its way."""
    path = folder / "keeper.db"
    of_schema(path, version)
    before, kills = rows(path), 0
    while killed_at(path, kills + 1):
        kills += 1
        assert before == rows(path)
    assert kills >= len(MIGRATIONS) - version
    database = Database(path)
    assert Head(7, "d") == database.last_head()
    assert ROWS == database.tokens_issued("t-1")
    assert (ROWS, b"y" * 200) == ((database.last_table() or (0, b""))[0], database.price_memo("asked-1", 1))
    database.close()
    assert before == rows(path)
    assert Examined(()) == examine(path)
    assert remembered(path) is not None
    return kills
