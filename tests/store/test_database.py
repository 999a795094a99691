"""The keeper's database: refuses what could lose data, gives each number once, remembers the newest head."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import apsw
import msgspec
import pytest

from weighbridge.errors import StoreError
from weighbridge.store.client_keys import StoredKey
from weighbridge.store.database import MIGRATIONS, Database, Head, Remembered, damage, remembered, sqlite_problem


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keeper.db"


@pytest.mark.parametrize("version", ["3.40.1", "3.51.2", "3.9.9"])
def test_an_sqlite_that_can_corrupt_a_write_ahead_log_is_refused(version: str) -> None:
    problem = sqlite_problem(version)
    assert problem is not None
    assert version in problem
    assert "3.51.3" in problem


@pytest.mark.parametrize("version", ["3.51.3", "3.52.0", "4.0.0"])
def test_a_sound_sqlite_is_accepted(version: str) -> None:
    assert sqlite_problem(version) is None


def test_an_old_library_stops_the_keeper_before_the_file_is_touched(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.40.1")
    with pytest.raises(StoreError, match=r"3\.40\.1"):
        Database(path)
    assert not path.exists()


def test_a_number_is_given_once(path: Path) -> None:
    database = Database(path)
    assert database.publish(0, 1, b"one", 10)
    assert not database.publish(0, 1, b"other", 11)
    assert not database.publish(0, 2, b"other", 11)
    assert database.publish(1, 5, b"five", 12)
    assert database.last_table() == (5, b"five")
    assert database.table_body(1) == b"one"
    assert database.table_body(2) is None


def test_an_empty_database_knows_no_table_and_no_head(path: Path) -> None:
    database = Database(path)
    assert database.last_table() is None
    assert database.last_head() is None


def test_a_keys_limits_are_kept_and_replaced(path: Path) -> None:
    database = Database(path)
    key = StoredKey(name="bot", created_ns=1, requests_per_minute=60, tokens_per_minute=9_000)
    for written in (key, msgspec.structs.replace(key, requests_per_minute=None, tokens_per_minute=5)):
        database.client_keys.put(written)
        assert (written,) == database.client_keys.all()


def test_the_remembered_head_never_goes_back(path: Path) -> None:
    database = Database(path)
    database.remember_head(Head(3, "c"))
    database.remember_head(Head(2, "b"))
    assert database.last_head() == Head(3, "c")


def test_the_head_is_read_beside_a_running_keeper(path: Path) -> None:
    assert remembered(path) is None
    database = Database(path)
    assert remembered(path) == Remembered()
    database.remember_head(Head(7, "d", 12, "e"))
    assert remembered(path) == Remembered(head=Head(7, "d", 12, "e"))


def test_a_later_head_of_the_same_line_is_remembered_and_an_earlier_one_is_not(path: Path) -> None:
    database = Database(path)
    for number in (4, 6, 5):
        database.remember_head(Head(7, "d", number, f"head {number}"))
    assert database.last_head() == Head(7, "d", 6, "head 6")


def test_the_first_signing_key_and_the_first_finding_stay(path: Path) -> None:
    database = Database(path)
    for words in ("one", "other"):
        database.remember_signing_key(words)
        database.remember_mistrust(words)
    assert remembered(path) == Remembered(signing_key="one", mistrust="one")


def test_a_database_of_the_first_schema_is_read_as_it_is_and_brought_up_by_the_keeper(path: Path) -> None:
    old = Database(path, migrations=MIGRATIONS[:1])
    old.close()
    db = apsw.Connection(str(path))
    db.execute("INSERT INTO last_head(id, seq, digest) VALUES (1, 7, 'd')")
    db.close()
    assert remembered(path) == Remembered(head=Head(7, "d"))
    database = Database(path)
    assert database.last_head() == Head(7, "d")
    database.remember_head(Head(7, "d", 1, "e"))
    assert database.last_head() == Head(7, "d", 1, "e")


def test_damage_is_found_without_touching_the_file(path: Path) -> None:
    assert damage(path) is None
    database = Database(path)
    for number in range(1, 200):
        database.publish(number - 1, number, os.urandom(2_000), number)
    assert damage(path) is None
    database.close()
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4096] = os.urandom(4096)
    path.write_bytes(content)
    assert damage(path) is not None
    assert path.read_bytes() == content
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match="cannot be read"):
        damage(path)


def test_a_price_is_forgotten_when_it_may_have_changed(path: Path) -> None:
    database = Database(path)
    database.remember_price("a", 100, b"x")
    database.remember_price("b", None, b"y")
    assert database.price_memo("a", 99) == b"x"
    assert database.price_memo("a", 100) is None
    assert database.price_memo("b", 1 << 60) == b"y"


def test_tokens_are_counted_by_trial(path: Path) -> None:
    database = Database(path)
    database.note_token(1, 2, "t-1", "r", "a", None)
    database.note_token(1, 2, "t-1", "r", "a", 5)
    assert database.tokens_issued("t-1") == 2
    assert database.tokens_issued("t-2") == 0


def test_a_database_of_a_newer_version_is_refused_and_left_alone(path: Path) -> None:
    Database(path, migrations=(*MIGRATIONS, "CREATE TABLE later(x INTEGER)"))
    before = path.read_bytes()
    with pytest.raises(StoreError, match="newer weighbridge"):
        Database(path)
    assert path.read_bytes() == before


def test_migrations_run_once_and_in_order(path: Path) -> None:
    first = "CREATE TABLE things(x INTEGER)"
    second = "ALTER TABLE things ADD COLUMN y INTEGER DEFAULT 7"
    Database(path, migrations=(first,)).close()
    with apsw.Connection(str(path)) as db:
        db.execute("INSERT INTO things VALUES (1)")
    Database(path, migrations=(first, second)).close()
    Database(path, migrations=(first, second)).close()
    with apsw.Connection(str(path)) as db:
        assert list(db.execute("SELECT x, y FROM things")) == [(1, 7)]


def test_a_failing_migration_leaves_the_schema_that_was(path: Path) -> None:
    first = "CREATE TABLE things(x INTEGER)"
    broken = "CREATE TABLE more(y INTEGER); CREATE TABLE things(again INTEGER)"
    Database(path, migrations=(first,)).close()
    with pytest.raises(StoreError, match="already exists"):
        Database(path, migrations=(first, broken))
    with apsw.Connection(str(path)) as db:
        assert db.pragma("user_version") == 1
        assert db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'more'").fetchone() == (0,)
    Database(path, migrations=(first,)).close()


def test_a_damaged_file_is_named_with_what_to_do(path: Path) -> None:
    database = Database(path)
    for number in range(1, 200):
        database.publish(number - 1, number, os.urandom(2_000), number)
    database.close()
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2 : len(damaged) // 2 + 4096] = os.urandom(4096)
    path.write_bytes(damaged)
    with pytest.raises(StoreError, match=r"keeper\.db"):
        Database(path)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"nowhere/keeper\.db"):
        Database(tmp_path / "nowhere" / "keeper.db")


WRITER = """
import sys
from pathlib import Path
from weighbridge.store.database import Database
database = Database(Path(sys.argv[1]))
number = database.last_table()
number = 0 if number is None else number[0]
while True:
    assert database.publish(number, number + 1, b"%d" % (number + 1) * 100, 0)
    number += 1
    print(number, flush=True)
"""


def test_a_number_that_was_given_out_survives_kill_9(path: Path) -> None:
    last = 0
    for _ in range(5):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        for _ in range(7):
            last = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        last = max([last, *(int(line) for line in writer.stdout.read().split())])
        writer.wait()
        database = Database(path)
        stored = database.last_table()
        database.close()
        assert stored is not None
        assert stored[0] >= last
