"""How frames lie in a file, and what a reader may conclude from bytes that are not a frame.

A segment is a 16-byte header, then frames `<length u32><crc32 u32><payload>`, little endian, then zeros up to its
preallocated end. A clean close writes a last frame, `Closed`, and cuts the zeros off.

Where the frames stop, one of four things is true, and they are told apart because two of them are harmless:

- *clean*: nothing but zeros follow, or the `Closed` frame was the last one;
- *torn*: the writer died in the middle of a write. A disk (after a power cut) and a kernel (after `kill -9`) lose whole
  sectors, so a torn frame has at least one sector that still holds the zeros of the preallocation;
- *corrupt*: the bytes were there and were changed. No sector is missing, yet the checksum is wrong; or zeros after the
  last frame are no longer zeros;
- *truncated*: the file ends inside a frame, which no writer leaves behind: room is allocated before it is used.
"""

import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import Literal

import msgspec
from zlib_ng.zlib_ng import crc32

from weighbridge.errors import StoreError

HEADER_BYTES = 16
PREFIX_BYTES = 8
SECTOR_BYTES = 512
VERSION = 1

FRAMES_MAGIC = b"WBX1"
BODIES_MAGIC = b"WBB1"
OBJECT_MAGIC = b"WBO1"

_HEADER = Struct("<4sIII")
_PREFIX = Struct("<II")
_ZEROS = bytes(1 << 16)
_NONZERO = re.compile(rb"[^\0]")

pack_prefix = _PREFIX.pack


class Corrupt(StoreError):  # noqa: N818 (it says what the file is)
    """Stored bytes are not what was written. `file`, `offset` and `what` name the place."""

    def __init__(self, file: str | Path, offset: int | None, what: str) -> None:
        self.file, self.offset, self.what = str(file), offset, what
        place = f"{file}" if offset is None else f"{file}, offset {offset}"
        super().__init__(f"{place}: {what}; `weighbridge verify` shows all damage of this store")


class Closed(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """The last frame of a segment that was closed in order: a later cut of the file takes it away and is found."""

    frames: int


_closed_decode = msgspec.msgpack.Decoder(Closed).decode
_closed_encode = msgspec.msgpack.Encoder().encode
_CLOSED_START = _closed_encode(Closed(0))[:2]
CLOSED_BYTES_MAX = PREFIX_BYTES + len(_closed_encode(Closed(1 << 62)))


def new_incarnation() -> str:
    """16 hex digits that no worker start had before: 11 of milliseconds since 1970, 5 random."""
    return f"{time.time_ns() // 1_000_000 & 0xFFFFFFFFFFF:011x}{secrets.randbits(20):05x}"


def header(magic: bytes) -> bytes:
    start = _HEADER.pack(magic, VERSION, 0, 0)[:12]
    return start + crc32(start).to_bytes(4, "little")


def frame(payload: bytes) -> bytes:
    return pack_prefix(len(payload), crc32(payload)) + payload


def closed_frame(frames: int) -> bytes:
    return frame(_closed_encode(Closed(frames)))


Stop = Literal["clean", "closed", "torn", "corrupt", "truncated"]


class Scan:
    """Iterates over `(offset, payload)` of the frames in `data` from `start`; `offset` is that of the frame's prefix.

    Payloads are slices of `data`. When the iteration has ended, `end` is the offset after the last good frame, `stop`
    says what is there, and `damage` is the offset and description of what is wrong (`None` for clean, closed and torn).
    `doubtful` is damage if the machine did not go down, and else the last byte of a write of which all before is lost.
    `resume` is the offset of the next good frame after damage, `None` where none can be found. `before` is how many
    frames lie before `start`, `None` where that is not known (the count of the `Closed` frame is not checked then).
    """

    def __init__(self, data: bytes | memoryview, start: int = HEADER_BYTES, before: int | None = 0) -> None:
        self._data = memoryview(data)
        self._before = before
        self.end = start
        self.frames = 0
        self.stop: Stop = "clean"
        self.damage: tuple[int, str] | None = None
        self.doubtful: tuple[int, str] | None = None
        self.resume: int | None = None

    def __iter__(self) -> Iterator[tuple[int, memoryview]]:
        data, size, at = self._data, len(self._data), self.end
        unpack = _PREFIX.unpack_from
        while at + PREFIX_BYTES <= size:
            length, checksum = unpack(data, at)
            after = at + PREFIX_BYTES + length
            if length == 0 or after > size:
                break
            payload = data[at + PREFIX_BYTES : after]
            if crc32(payload) != checksum:
                break
            if payload[:2] == _CLOSED_START:
                self._closed(at, after, payload)
                return
            yield at, payload
            self.frames += 1
            at = self.end = after
        self._stopped(at)

    def _closed(self, at: int, after: int, payload: memoryview) -> None:
        expected = _closed_decode(payload).frames
        self.end, self.stop = after, "closed"
        if self._before is not None and expected != self._before + self.frames:
            self.damage = (at, f"the segment was closed with {expected} frames, {self._before + self.frames} are here")
            self.stop = "corrupt"
        elif (dirty := _first_nonzero(self._data, after)) is not None:
            self.damage = (dirty, "bytes after the end of the segment")
            self.stop = "corrupt"

    def _stopped(self, at: int) -> None:
        data, size = self._data, len(self._data)
        dirty = _first_nonzero(data, at)
        if dirty is None:
            # A full segment always has room left for its closing frame, so an end without padding is a cut.
            self.stop = "clean" if size - at >= PREFIX_BYTES else "truncated"
            if self.stop == "truncated":
                self.damage = (size, "the file ends where more must follow: it was cut")
            return
        if dirty - at >= PREFIX_BYTES:
            self._after_zeros(at, dirty)
            return
        if at + PREFIX_BYTES > size:
            self.stop, self.damage = "truncated", (size, "the file ends inside a frame: it was cut")
            return
        length, checksum = _PREFIX.unpack_from(data, at)
        after = at + PREFIX_BYTES + length
        real = _real_end(data, at, checksum)
        if real is not None:
            self.stop, self.resume = "corrupt", real
            self.damage = (at, "the length of a frame was changed")
        elif after > size:
            self.stop = "truncated" if _looks_like_frames(data, max(at, size - SECTOR_BYTES)) else "corrupt"
            self.damage = (at, f"a frame of {length} bytes reaches over the end of the file")
        elif self._sector_missing(at, after):
            self.stop = "torn"
        else:
            self.stop = "corrupt"
            self.damage = (at, "the checksum of a frame does not fit its bytes")
            if Scan(data, after, None).starts_well():
                self.resume = after

    def starts_well(self) -> bool:
        """Is there a good frame, or the clean end, at the start?"""
        for _ in self:
            return True
        return self.stop in ("clean", "closed")

    def _after_zeros(self, at: int, dirty: int) -> None:
        """Zeros, then something: sectors that were written later than the ones before reached the disk, or damage."""
        sector = dirty - dirty % SECTOR_BYTES
        if sector >= at and _looks_like_frames(self._data, sector):
            self.stop = "torn"
            if _is_alone(self._data, dirty):
                self.doubtful = (dirty, "a byte of the zeros after the last frame was changed")
        else:
            self.stop, self.damage = "corrupt", (dirty, "a byte of the zeros after the last frame was changed")

    def _sector_missing(self, at: int, after: int) -> bool:
        data = self._data
        sector = at - at % SECTOR_BYTES + SECTOR_BYTES
        if sector <= at + PREFIX_BYTES:
            there = [place for place in range(at, sector) if data[place]]
            if len(there) == 1 and (there[0] > at or sector > at + 4):
                return False  # of a real prefix more would be there; a single changed zero looks like this
        if sector > at + PREFIX_BYTES and data[at + PREFIX_BYTES] == 0:
            return False  # this sector is there, and no payload begins with a zero
        last = max(after, at + PREFIX_BYTES)
        while sector < last:
            upto = sector + SECTOR_BYTES if sector < at + PREFIX_BYTES else min(sector + SECTOR_BYTES, last)
            if _first_nonzero(data[:upto], sector) is None:
                return True
            sector += SECTOR_BYTES
        return False


def check_header(data: bytes | memoryview, magic: bytes, file: str | Path) -> bool:
    """True where frames may follow, False for a segment whose header never reached the disk. Raises `Corrupt`."""
    found = bytes(data[:HEADER_BYTES])
    if found == header(magic):
        return True
    if not found.strip(b"\0"):
        view = memoryview(data)
        dirty = _first_nonzero(view, 0)
        if dirty is not None and (dirty < SECTOR_BYTES or not _looks_like_frames(view, dirty - dirty % SECTOR_BYTES)):
            raise Corrupt(file, dirty, "a byte of an empty segment was changed")
        return False
    if found[:4] == magic and found[4:8] != VERSION.to_bytes(4, "little") and _header_checksum_fits(found):
        version = int.from_bytes(found[4:8], "little")
        raise StoreError(f"{file}: written in format version {version}; this program reads version {VERSION}")
    raise Corrupt(file, 0, f"the header is {found.hex()}, not {header(magic).hex()}")


def _header_checksum_fits(found: bytes) -> bool:
    return len(found) == HEADER_BYTES and crc32(found[:12]) == int.from_bytes(found[12:], "little")


def _first_nonzero(data: memoryview, start: int) -> int | None:
    """Offset of the first byte that is not zero, at or after `start`."""
    size = len(data)
    while start < size:
        piece = data[start : start + len(_ZEROS)]
        if bytes(piece) != _ZEROS[: len(piece)]:
            match = _NONZERO.search(piece)
            return start + match.start() if match else None
        start += len(piece)
    return None


def _looks_like_frames(data: memoryview, sector: int) -> bool:
    """Could this sector be a piece of a write? It holds many bytes that are not zero, or at least begins with one."""
    piece = bytes(data[sector : sector + SECTOR_BYTES])
    return len(piece) - piece.count(0) > 1 or piece[:1] != b"\0"


def _is_alone(data: memoryview, place: int) -> bool:
    """Is this the only byte that is not zero, from here to the end?"""
    return _first_nonzero(data, place + 1) is None


def _real_end(data: memoryview, at: int, checksum: int) -> int | None:
    """Where the frame ends if exactly one byte of its length was changed: its checksum then fits another length.

    One pass over the bytes: the checksum is carried from each possible end to the next.
    """
    stored = bytes(data[at : at + 4])
    start, room = at + PREFIX_BYTES, len(data) - at - PREFIX_BYTES
    lengths = set()
    for index in range(4):
        for value in range(256):
            changed = stored[:index] + bytes((value,)) + stored[index + 1 :]
            length = int.from_bytes(changed, "little")
            if changed != stored and 0 < length <= room:
                lengths.add(length)
    running, done = 0, 0
    for length in sorted(lengths):
        running = crc32(data[start + done : start + length], running)
        done = length
        if running == checksum:
            return start + length
    return None


def read_all(fd: int, start: int = 0) -> bytes:
    """The bytes of an open file from `start` to its end, without moving its position."""
    pieces = []
    while piece := os.pread(fd, 8 << 20, start):
        pieces.append(piece)
        start += len(piece)
    return b"".join(pieces)
