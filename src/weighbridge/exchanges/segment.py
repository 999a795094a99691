"""One open segment as its writer sees it: room that is allocated before it is used."""

import contextlib
import errno
from collections.abc import Sequence
from pathlib import Path

from weighbridge.exchanges.files import FileDoor
from weighbridge.exchanges.framing import BODIES_MAGIC, CLOSED_BYTES_MAX, HEADER_BYTES, closed_frame, header


class OpenSegment:
    """`end` is the offset after the last whole write, `allocated` the size of the file, `frames` how many it holds.

    Used by the loop's thread; the syncing thread only extends, syncs and closes.
    """

    def __init__(self, files: FileDoor, path: Path, magic: bytes, number: int, allocate: int) -> None:
        """Create the file. Raises `OSError`, and leaves nothing behind then."""
        self._files = files
        self.path, self.number, self.is_bodies = path, number, magic == BODIES_MAGIC
        self.end, self.frames = HEADER_BYTES, 0
        self.name_is_durable = self.is_closed = False
        self._failure: OSError | None = None
        self.fd = files.create(path)
        try:
            files.fallocate(self.fd, 0, allocate)
            self.allocated = allocate
            self._write_at([header(magic)], HEADER_BYTES, 0)
        except OSError:
            files.close(self.fd)
            path.unlink()
            raise

    @property
    def room(self) -> int:
        """Bytes that can be written without asking the file system for more, the closing frame left out."""
        return self.allocated - self.end - CLOSED_BYTES_MAX

    def extend(self, length: int) -> None:
        """Allocate `length` bytes more. Raises `OSError`; the segment then is as it was."""
        start = self.allocated
        try:
            self._files.fallocate(self.fd, start, length)
        except OSError:
            with contextlib.suppress(OSError):  # some file systems leave a part of what they could not finish
                self._files.truncate(self.fd, start)
            raise
        self.allocated = max(self.allocated, start + length)

    def write(self, buffers: Sequence[bytes], total: int, frames: int) -> None:
        """Write whole frames at the end. After an `OSError` nothing counts as written; the same may be tried again."""
        self._write_at(buffers, total, self.end)
        self.end += total
        self.frames += frames

    def _write_at(self, buffers: Sequence[bytes], total: int, offset: int) -> None:
        done = self._files.pwritev(self.fd, buffers, offset)
        if done == total:
            return
        rest = memoryview(b"".join(buffers))
        while done < total:
            more = self._files.pwritev(self.fd, [bytes(rest[done:])], offset + done)
            if more <= 0:
                raise OSError(errno.ENOSPC, "a write of the exchange log stopped short", str(self.path))
            done += more

    def wipe_tail(self) -> None:
        """After a failed write that will not be repeated: make the bytes after `end` zeros again."""
        with contextlib.suppress(OSError):  # the reader tells a torn write from damage, this only makes it clean
            self._files.truncate(self.fd, self.end)
            self._files.truncate(self.fd, self.allocated)
            self.allocated = self.end

    def finish(self) -> None:
        """Write the closing frame. Raises `OSError`."""
        closing = closed_frame(self.frames)
        self._write_at([closing], len(closing), self.end)
        self.end += len(closing)

    def sync(self) -> None:
        """Make everything written durable. Raises `OSError`, and again on each later call: what was lost stays lost."""
        if self._failure is not None:
            raise self._failure
        if self.is_closed:
            return
        try:
            if not self.name_is_durable:
                self._files.sync_folder(self.path.parent)
                self.name_is_durable = True
            self._files.fdatasync(self.fd)
        except OSError as error:
            self._failure = error
            raise

    def close(self, *, finished: bool) -> None:
        """Durable, cut to length where `finish` was written, closed; one that was finished empty is removed.

        Never raises: a failed sync is found by the next `sync`, which is what the frames' acknowledgement waits for.
        """
        if self.is_closed:
            return
        with contextlib.suppress(OSError):
            self.sync()
            if finished:
                self._files.truncate(self.fd, self.end)
                self._files.fdatasync(self.fd)
        if finished and not self.frames:
            with contextlib.suppress(OSError):
                self.path.unlink()
        self.is_closed = True
        with contextlib.suppress(OSError):
            self._files.close(self.fd)
