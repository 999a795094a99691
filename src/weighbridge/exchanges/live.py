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

    def release(self) -> None:
        if self._fd >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1


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


def forget(layout: Layout, incarnation: str) -> None:
    """Remove the lock file of a writer that is gone."""
    if not is_live(layout, incarnation):
        _path(layout, incarnation).unlink(missing_ok=True)
