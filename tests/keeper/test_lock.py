"""One keeper per store."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from weighbridge.errors import StoreError
from weighbridge.keeper.lock import Holder, KeeperLock, StoreLockedError


def test_a_second_keeper_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    lock = KeeperLock(tmp_path / "keeper.lock")
    with pytest.raises(StoreLockedError, match=rf"pid {os.getpid()}\b.*{tmp_path}.*store\.path"):
        KeeperLock(tmp_path / "keeper.lock")
    lock.close()
    KeeperLock(tmp_path / "keeper.lock").close()


def test_a_holder_whose_starter_is_dead_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "keeper.lock"
    first = KeeperLock(path)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    path.write_bytes(msgspec.json.encode(Holder(os.getpid(), gone.pid)))
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            first.close()

    KeeperLock(path, pause=pause).close()
    assert len(pauses) == 3


def test_the_wait_for_a_holder_without_a_starter_ends(tmp_path: Path) -> None:
    path = tmp_path / "keeper.lock"
    first = KeeperLock(path)
    path.write_bytes(b"")
    pauses: list[float] = []
    with pytest.raises(StoreLockedError, match="another keeper works on the store"):
        KeeperLock(path, wait_s=1.0, pause=pauses.append)
    assert 0.9 < sum(pauses) < 1.2
    first.close()


def test_the_lock_of_a_killed_holder_is_free_at_once(tmp_path: Path) -> None:
    path = tmp_path / "keeper.lock"
    code = (
        "import sys, time; from pathlib import Path; from weighbridge.keeper.lock import KeeperLock\n"
        "lock = KeeperLock(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(StoreLockedError, match=f"pid {holder.pid}"):
        KeeperLock(path)
    holder.kill()
    holder.wait()
    KeeperLock(path).close()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nowhere"):
        KeeperLock(tmp_path / "nowhere" / "keeper.lock")
