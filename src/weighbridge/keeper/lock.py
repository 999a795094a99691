"""One keeper per store: a file lock that the kernel takes back when its holder dies."""

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from weighbridge.errors import StoreError
from weighbridge.store.layout import Layout


class Holder(msgspec.Struct, frozen=True):
    """Who holds the lock, written into the lock file for people and for the next one."""

    pid: int
    parent: int
    """Pid of the process that started the keeper (the supervisor, or a command)."""


class StoreLockedError(StoreError):
    """Another keeper works on this store."""


def refuse_unfinished(layout: Layout) -> None:
    """Raises `StoreError` where a restore into this store did not come to its end: half of it is not a store."""
    if layout.restoring.exists():
        raise StoreError(
            f"a restore into {layout.root} was not finished. Run `weighbridge restore` again: it starts over. "
            f"Nothing else may use the store while {layout.restoring} is there."
        )


class KeeperLock:
    """Held from construction to `close()`. Raises `StoreLockedError` or `StoreError`.

    If the holder's parent is dead, the holder is about to end by itself: it is waited for, up to `wait_s`.
    """

    def __init__(self, path: Path, *, wait_s: float = 5.0, pause: Callable[[float], None] = time.sleep) -> None:
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"the lock file {path} cannot be opened: {error.strerror}") from None
        try:
            self._take(path, wait_s, pause)
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, msgspec.json.encode(Holder(os.getpid(), os.getppid())), 0)
        except BaseException:
            os.close(self._fd)
            raise

    def _take(self, path: Path, wait_s: float, pause: Callable[[float], None]) -> None:
        step_s, waited_s = 0.02, 0.0
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                pass
            except OSError as error:
                raise StoreError(
                    f"{path} cannot be locked ({error.strerror}); is the store on a network disk?"
                ) from None
            holder = self._holder()
            if waited_s >= wait_s or (holder is not None and _alive(holder.parent)):
                who = (
                    "another keeper" if holder is None else f"another keeper (pid {holder.pid}, of pid {holder.parent})"
                )
                raise StoreLockedError(
                    f"{who} works on the store {path.parent}. Stop it first, or give this one another store.path."
                )
            pause(step_s)
            waited_s += step_s

    def _holder(self) -> Holder | None:
        try:
            return msgspec.json.decode(os.pread(self._fd, 4096, 0), type=Holder)
        except msgspec.MsgspecError:
            return None  # it has just taken the lock and not yet written its name

    def close(self) -> None:
        os.close(self._fd)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _zombie(pid)


def _zombie(pid: int) -> bool:
    """A killed process that nobody has waited for yet still has a pid."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return True
    return stat.rpartition(b") ")[2][:1] == b"Z"
