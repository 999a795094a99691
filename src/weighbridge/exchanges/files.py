"""The door through which the exchange log writes, so that a test can fail the n-th write or cut the power."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class FileDoor(Protocol):
    """What a log writer does to files. Every method may raise `OSError`."""

    def create(self, path: Path) -> int:
        """Open a new file for reading and writing, mode 0600. Raises `FileExistsError`."""
        ...

    def fallocate(self, fd: int, offset: int, length: int) -> None:
        """Reserve room that reads as zeros; afterwards a write into it cannot fail for want of space."""
        ...

    def pwritev(self, fd: int, buffers: Sequence[bytes], offset: int) -> int:
        """Bytes written: may be fewer than asked."""
        ...

    def fdatasync(self, fd: int) -> None: ...

    def sync_folder(self, folder: Path) -> None:
        """Make the names in a folder durable."""
        ...

    def truncate(self, fd: int, length: int) -> None: ...

    def close(self, fd: int) -> None: ...

    def free_bytes(self, fd: int) -> int:
        """Space left for us on the file system of `fd`."""
        ...


class SystemFiles:
    """The real thing."""

    def create(self, path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def fallocate(self, fd: int, offset: int, length: int) -> None:
        os.posix_fallocate(fd, offset, length)

    def pwritev(self, fd: int, buffers: Sequence[bytes], offset: int) -> int:
        return os.pwritev(fd, buffers, offset)

    def fdatasync(self, fd: int) -> None:
        os.fdatasync(fd)

    def sync_folder(self, folder: Path) -> None:
        sync_folder(folder)

    def truncate(self, fd: int, length: int) -> None:
        os.ftruncate(fd, length)

    def close(self, fd: int) -> None:
        os.close(fd)

    def free_bytes(self, fd: int) -> int:
        found = os.fstatvfs(fd)
        return found.f_bavail * found.f_frsize


def sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def nothing(step: str) -> None:
    """The default of `step` parameters: a test stops there, in order to see what a crash leaves."""


def write_new(path: Path, pieces: Sequence[bytes]) -> None:
    """Put a whole file in place, durable: temporary name, fsync, rename. The folder is the caller's to sync."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        for piece in pieces:
            view = memoryview(piece)
            while view:
                view = view[os.write(fd, view) :]
        os.fsync(fd)
    except BaseException:
        os.unlink(temporary)
        raise
    finally:
        os.close(fd)
    os.rename(temporary, path)
