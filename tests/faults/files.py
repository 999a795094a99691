"""Doors to the disk that fail on purpose."""

import errno
import os
import random
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Literal

from weighbridge.exchanges.files import SystemFiles

Fault = Literal["ENOSPC", "EIO", "short"]


class NthFails(SystemFiles):
    """Works but for call number `fail_at` (from 1, all kinds counted), and `times` - 1 calls after it."""

    def __init__(self, fail_at: int, fault: Fault, times: int = 1) -> None:
        self.calls = 0
        self.failed: list[str] = []
        self._fail_at, self._fault, self._until = fail_at, fault, fail_at + times

    def _count(self, what: str) -> bool:
        self.calls += 1
        if not self._fail_at <= self.calls < self._until:
            return False
        self.failed.append(what)
        return True

    def _fail(self, what: str) -> None:
        if self._count(what):
            code = errno.EIO if self._fault == "EIO" else errno.ENOSPC
            raise OSError(code, os.strerror(code))

    def create(self, path: Path) -> int:
        self._fail("create")
        return super().create(path)

    def fallocate(self, fd: int, offset: int, length: int) -> None:
        self._fail("fallocate")
        super().fallocate(fd, offset, length)

    def pwritev(self, fd: int, buffers: Sequence[bytes], offset: int) -> int:
        if self._fault == "short" and self._count("pwritev"):
            whole = b"".join(buffers)
            return os.pwrite(fd, whole[: len(whole) // 2], offset)
        if self._fault != "short":
            self._fail("pwritev")
        return super().pwritev(fd, buffers, offset)

    def fdatasync(self, fd: int) -> None:
        self._fail("fdatasync")
        super().fdatasync(fd)

    def truncate(self, fd: int, length: int) -> None:
        self._fail("truncate")
        super().truncate(fd, length)


class SmallDisk(SystemFiles):
    """A disk with `space` bytes for what is allocated; give some back by raising it."""

    def __init__(self, space: int) -> None:
        self.space = space
        self._used: dict[int, int] = {}

    @property
    def used(self) -> int:
        return sum(self._used.values())

    def fallocate(self, fd: int, offset: int, length: int) -> None:
        inode = os.fstat(fd).st_ino
        more = max(0, offset + length - self._used.get(inode, 0))
        if self.used + more > self.space:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().fallocate(fd, offset, length)
        self._used[inode] = max(self._used.get(inode, 0), offset + length)

    def free_bytes(self, fd: int) -> int:
        return self.space - self.used


class LosesUnsynced(SystemFiles):
    """Remembers, sector by sector, what no `fdatasync` has made durable, so that a power cut can take it away."""

    SECTOR = 512

    def __init__(self) -> None:
        self._lock = Lock()
        self._is_cut = False
        self._before: dict[int, dict[int, bytes]] = {}
        """File descriptor -> sector -> what the disk holds of it until the next sync."""

    def _fail_when_cut(self) -> None:
        if self._is_cut:
            raise OSError(errno.EIO, "the power is cut")

    def create(self, path: Path) -> int:
        with self._lock:
            self._fail_when_cut()
            fd = super().create(path)
            self._before[fd] = {}
            return fd

    def pwritev(self, fd: int, buffers: Sequence[bytes], offset: int) -> int:
        with self._lock:
            self._fail_when_cut()
            size = sum(map(len, buffers))
            for sector in range(offset // self.SECTOR, -(-(offset + size) // self.SECTOR)):
                if sector not in self._before[fd]:
                    self._before[fd][sector] = os.pread(fd, self.SECTOR, sector * self.SECTOR)
            return super().pwritev(fd, buffers, offset)

    def fdatasync(self, fd: int) -> None:
        with self._lock:
            self._fail_when_cut()
            super().fdatasync(fd)
            self._before[fd] = {}

    def sync_same_file(self, fd: int) -> None:
        """Another process syncs a file through its own descriptor: that makes our writes to it durable too."""
        inode = os.fstat(fd).st_ino
        with self._lock:
            os.fdatasync(fd)
            for own in self._before:
                if os.fstat(own).st_ino == inode:
                    self._before[own] = {}

    def truncate(self, fd: int, length: int) -> None:
        with self._lock:
            self._fail_when_cut()
            super().truncate(fd, length)

    def close(self, fd: int) -> None:
        with self._lock:
            self._before.pop(fd)
            super().close(fd)

    def cut(self, chance: random.Random) -> int:
        """The power goes: each unsynced sector is on the disk, or is not. Returns how many are lost."""
        lost = 0
        with self._lock:
            self._is_cut = True
            for fd, sectors in self._before.items():
                for sector, before in sectors.items():
                    if chance.random() < 0.5:
                        os.pwrite(fd, before, sector * self.SECTOR)
                        lost += 1
        return lost
