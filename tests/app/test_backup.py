"""A backup is taken while the gateway serves, and put back elsewhere: nothing of it is lost, and no cap is walked past.

With real processes. What a restore does at each step, were it killed there, is run in a process that ends there.
"""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.app.serving import Serving, ask, gone, serving, write_config
from tests.app.test_budgets import budget
from tests.fakes import postgres
from tests.fakes.provider import FakeProvider, Script
from weighbridge.cli.root import run
from weighbridge.config import load
from weighbridge.exchanges.reader import read
from weighbridge.records.backup import WriteOff
from weighbridge.records.canonical import parse
from weighbridge.store.layout import Layout

LIMIT = 2_000_000_000


def command(file: Path, *arguments: str, ok: tuple[int, ...] = (0,)) -> str:
    """What a command prints, in both streams."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = run([*arguments, "--config", str(file)])
    assert code in ok, (code, out.getvalue())
    return out.getvalue()


def said(file: Path, *arguments: str, ok: tuple[int, ...] = (0,)) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(command(file, *arguments, "--json", ok=ok))
    return found


def configured(folder: Path, url: str, more: str = "") -> Path:
    file = write_config(folder, url)
    file.write_text(f'{file.read_text()}budget = "support"\n{budget("support", LIMIT, window="total")}{more}')
    return file


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path, dict[str, Any], set[str], str]]:
    """A backup of a gateway that served three requests and had a fourth under way; its url goes on answering."""
    folder = tmp_path_factory.mktemp("source")
    with FakeProvider() as provider:
        file = configured(folder, provider.url)
        with serving(file) as served:
            before = {ask(served.listen).id or "" for _ in range(3)}
            made = said(file, "backup", "--to", str(folder / "a.backup"), "--keys", str(folder / "a.keys"))
            assert 200 == ask(served.listen).status
            served.end()
        yield folder / "a.backup", folder / "a.keys", made, before, provider.url


def restore_into(folder: Path, taken: tuple[Path, Path, dict[str, Any], set[str], str]) -> tuple[Path, dict[str, Any]]:
    backup, keys, _, _, url = taken
    file = configured(folder, url)
    return file, said(file, "restore", str(backup), "--keys", str(keys))


def test_a_backup_of_a_serving_gateway_is_put_back_and_serves_on(
    tmp_path: Path, taken: tuple[Path, Path, dict[str, Any], set[str], str]
) -> None:
    backup, keys, made, before, _ = taken
    assert ("sqlite", []) == (made["ledger"], made["notes"])
    assert 0o600 == backup.stat().st_mode & 0o777 == keys.stat().st_mode & 0o777
    file, done = restore_into(tmp_path, taken)
    layout = Layout(load(file).store_path)
    assert (3, made["made_ns"], 2) == (done["exchanges"], done["made_ns"], done["epoch"])
    assert before == {one.id for one in read(layout)}
    assert said(file, "verify")["ok"]
    (row,) = said(file, "budget", "status")["rows"]
    spent = sum(one.cost_nanousd or 0 for one in read(layout))
    rest = sum(one["nanousd"] for one in done["written_off"])
    assert rest > 0  # the worker went on with what it was leased, and nobody can read what it spent of it
    assert (spent + rest, 0, rest) == (row["spent_nanousd"], row["leased_nanousd"], row["bound_nanousd"])
    with serving(file) as served:
        assert 200 == ask(served.listen).status
        assert said(file, "verify")["ok"]
        served.end()
    assert 4 == len(list(read(layout)))


def test_what_a_restore_booked_stands_in_the_signed_log(
    tmp_path: Path, taken: tuple[Path, Path, dict[str, Any], set[str], str]
) -> None:
    file, done = restore_into(tmp_path, taken)
    records = []
    for path in Layout(load(file).store_path).objects.iterdir():
        if b'"write_off/1"' in path.read_bytes():
            records.append(parse(path.read_bytes(), WriteOff))
    (record,) = records
    assert ("restore", len(done["written_off"])) == (record.by, len(record.rows))


def test_no_secret_key_is_in_a_backup(taken: tuple[Path, Path, dict[str, Any], set[str], str]) -> None:
    backup, keys, _, _, _ = taken
    content = backup.read_bytes()
    for line in keys.read_text().splitlines():
        kind, secret, _ = line.split(" ")
        assert kind in ("signing", "master")
        assert secret.encode() not in content
        assert bytes.fromhex(secret) not in content


def test_a_place_where_a_store_is_in_use_or_not_is_refused(
    tmp_path: Path, taken: tuple[Path, Path, dict[str, Any], set[str], str]
) -> None:
    file, _ = restore_into(tmp_path, taken)
    backup, keys = str(taken[0]), str(taken[1])
    with serving(file) as served:
        text = command(file, "restore", backup, "--keys", keys, ok=(1,))
        assert "never writes into one" in text
        assert "another keeper" in text
        assert 200 == ask(served.listen).status
        served.end()
    assert "move it away" in command(file, "restore", backup, "--keys", keys, ok=(1,))
    assert said(file, "verify")["ok"]


def test_keys_of_another_store_are_refused_and_nothing_is_left(
    tmp_path: Path, taken: tuple[Path, Path, dict[str, Any], set[str], str]
) -> None:
    other = write_config(tmp_path / "other")
    said(other, "backup", "--to", str(tmp_path / "b.backup"), "--keys", str(tmp_path / "b.keys"))
    file = configured(tmp_path / "here", taken[4])
    text = command(file, "restore", str(taken[0]), "--keys", str(tmp_path / "b.keys"), ok=(1,))
    assert "another store's signing key" in text
    assert ["keeper.lock"] == sorted(path.name for path in load(file).store_path.iterdir())


def test_a_changed_backup_is_named_by_verify_and_not_put_back(
    tmp_path: Path, taken: tuple[Path, Path, dict[str, Any], set[str], str]
) -> None:
    file = configured(tmp_path, taken[4])
    assert said(file, "verify", "--backup", str(taken[0]))["ok"]
    changed = bytearray(taken[0].read_bytes())
    changed[len(changed) // 2] ^= 1
    (tmp_path / "changed").write_bytes(changed)
    assert not said(file, "verify", "--backup", str(tmp_path / "changed"), ok=(1,))["ok"]
    text = command(file, "restore", str(tmp_path / "changed"), "--keys", str(taken[1]), ok=(1,))
    assert "is damaged" in text
    assert not (load(file).store_path / "log").exists()


KILLED = """
import os, sys
from pathlib import Path
from weighbridge.app.restore import restore
from weighbridge.clock import SystemClock
from weighbridge.config import load

steps = 0
def step(name):
    global steps
    steps += 1
    if steps == int(sys.argv[4]):
        os._exit(9)

restore(load(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), SystemClock(), step=step)
"""


def killed_at(file: Path, taken: tuple[Path, Path, dict[str, Any], set[str], str], step: int) -> bool:
    """Whether it came so far."""
    arguments = [str(file), str(taken[0]), str(taken[1]), str(step)]
    ran = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, check=False)
    assert ran.returncode in (0, 9), ran.stderr
    return ran.returncode == 9


def stopped_restores(folder: Path, taken: tuple[Path, Path, dict[str, Any], set[str], str], steps: range) -> int:
    kills = 0
    for step in steps:
        file = configured(folder / f"{step}", taken[4])
        if not killed_at(file, taken, step):
            break
        kills += 1
        text = command(file, "budget", "status", ok=(1,))
        assert "a restore into" in text
        assert "was not finished" in text
        assert 3 == said(file, "restore", str(taken[0]), "--keys", str(taken[1]))["exchanges"]
        assert said(file, "verify")["ok"]
    return kills


def test_a_restore_that_was_killed_is_no_store_and_is_run_again(
    tmp_path: Path, taken: tuple[Path, Path, dict[str, Any], set[str], str]
) -> None:
    assert 1 == stopped_restores(tmp_path, taken, range(6, 7))


@pytest.mark.long
def test_a_restore_killed_at_any_step_is_no_store_and_is_run_again(
    tmp_path: Path, taken: tuple[Path, Path, dict[str, Any], set[str], str]
) -> None:
    assert stopped_restores(tmp_path, taken, range(1, 100)) > 8


def test_a_backup_that_was_killed_leaves_no_file_and_its_snapshot_is_removed(tmp_path: Path) -> None:
    file = configured(tmp_path, "http://127.0.0.1:9/v1")
    said(file, "backup", "--to", str(tmp_path / "first"))
    program = (
        "import os, sys; from pathlib import Path; "
        "from weighbridge.app import backup; from weighbridge.config import load; "
        "backup.write_archive = lambda *_: os._exit(9);"
        "backup.back_up(load(sys.argv[1]), Path(sys.argv[2]), None)"
    )
    ran = subprocess.run([sys.executable, "-c", program, str(file), str(tmp_path / "second")], check=False)
    assert 9 == ran.returncode
    assert not (tmp_path / "second").exists()
    said(file, "backup", "--to", str(tmp_path / "third"))
    assert [] == list(Layout(load(file).store_path).snapshots.iterdir())


# --- a log that is lost -----------------------------------------------------------------------------------------------


@contextmanager
def lost_log(file: Path) -> Iterator[tuple[str, int]]:
    """A worker that died, and whose log is gone: its incarnation, and what its requests had cost."""
    with serving(file) as served:
        for _ in range(2):
            assert 200 == ask(served.listen).status
        layout = served.layout
        killed(served)
    (worker,) = {path.name.partition("-")[0] for path in layout.open_log.iterdir()}
    cost = sum(one.cost_nanousd or 0 for one in read(layout))
    for path in (*layout.open_log.iterdir(), *layout.open_bodies.iterdir()):
        path.unlink()
    yield worker, cost


def killed(served: Serving) -> None:
    """Everything at once, so that nobody reads the log any more."""
    pids = [pid for found in served.children().values() for pid in found]
    os.kill(served.process.pid, signal.SIGSTOP)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    served.process.kill()
    served.process.wait()
    assert all(gone(pid) for pid in pids)


def write_off(file: Path) -> None:
    with lost_log(file) as (worker, cost):
        (before,) = said(file, "budget", "status")["rows"]
        assert before["leased_nanousd"] + before["spent_nanousd"] >= cost > 0
        (row,) = said(file, "budget", "write-off", ok=(2,))["rows"]
        assert (worker, "its log is gone") == (row["worker"], row["why"])
        assert "say why" in command(file, "budget", "write-off", worker, ok=(1,))
        asked = ("budget", "write-off", worker, "--reason", "the disk died", "--by", "ann")
        (booked,) = said(file, *asked)["rows"]
        assert row["nanousd"] == booked["nanousd"]
        (after,) = said(file, "budget", "status")["rows"]
        used = before["leased_nanousd"] + before["spent_nanousd"]
        assert (used, 0, booked["nanousd"]) == (
            after["spent_nanousd"], after["leased_nanousd"], after["bound_nanousd"]
        )  # fmt: skip
        assert "nothing of worker" in command(file, *asked, ok=(1,))
        assert [] == said(file, "budget", "write-off")["rows"]
        with serving(file) as served:
            assert 200 == ask(served.listen).status
            served.end()


def test_what_a_worker_was_leased_whose_log_is_lost_stays_out_until_a_person_writes_it_off(tmp_path: Path) -> None:
    with FakeProvider() as provider:
        write_off(configured(tmp_path, provider.url))


@pytest.mark.long
def test_the_same_in_postgresql(tmp_path: Path) -> None:
    with FakeProvider() as provider, postgres.server() as server:
        (tmp_path / "ledger.url").write_text(postgres.database(server))
        write_off(configured(tmp_path, provider.url, '[store]\nurl = "file:ledger.url"\n'))


def test_a_running_worker_is_not_written_off(tmp_path: Path) -> None:
    with FakeProvider() as provider:
        provider.answers["model-a"] = Script(delay_s=0.1)
        file = configured(tmp_path, provider.url)
        with serving(file) as served:
            worker = (ask(served.listen).id or "").partition("-")[0]
            text = command(file, "budget", "write-off", worker, "--reason", "x", "--by", "ann", ok=(1,))
            assert "is running" in text
            assert "there is nothing to write off" in command(file, "budget", "write-off")
            served.end()
