"""Is the worker that wrote a segment still there? A lock that the kernel takes away with the process.

`<store>/run/INCARNATION.live` is locked for as long as its writer lives. Whoever reads the log asks before reading: an
exchange without an end is *lost* only where its writer is gone.
"""

import fcntl
import os
from pathlib import Path

from weighbridge.store.layout import Layout


def _path(layout: Layout, incarnation: str) -> Path:
    return layout.run / f"{incarnation}.live"


class LiveLock:
    """Held by a log writer from before its first segment until after its last."""

    def __init__(self, layout: Layout, incarnation: str) -> None:
        self._path = _path(layout, incarnation)
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        os.write(self._fd, boot_id())

    def release(self) -> None:
        if self._fd >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1


def boot_id() -> bytes:
    """Changes when the machine starts; empty where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    except OSError:
        return b""


def ended_with_machine(layout: Layout, incarnation: str) -> bool:
    """May the machine have gone down under this writer, so that what it had not synced is gone?"""
    try:
        then = _path(layout, incarnation).read_bytes()
    except FileNotFoundError:
        return True  # the folder of locks did not survive
    return not then or then != boot_id()


def is_live(layout: Layout, incarnation: str) -> bool:
    try:
        fd = os.open(_path(layout, incarnation), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def forget_all_but(layout: Layout, incarnations: set[str]) -> None:
    """Remove the lock files of writers that are gone, except those of `incarnations`."""
    for path in layout.run.glob("*.live"):
        if path.stem not in incarnations and not is_live(layout, path.stem):
            path.unlink(missing_ok=True)
