"""SQLite files whose every page carries a checksum: one changed byte is found, also where no row lies.

SQLite checks none of its bytes. Its own extension `cksumvfs` keeps eight bytes at the end of each page for a checksum,
writes them with the page and compares them when a page is read (https://sqlite.org/cksumvfs.html); apsw's wheels bring
it. A page that another program wrote without it does not fit either. Where a build of apsw lacks it, databases are
used without checksums, and `verify` says so.

The write-ahead log has checksums of its own, each over all frames before it.
"""

import os
import struct
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import apsw
import apsw.sqlite_extra
import msgspec

from weighbridge.errors import StoreError
from weighbridge.store.files import sync_folder

EXTENSION, VFS = "cksumvfs", "cksmvfs"
RESERVED = 8
"""Bytes at the end of each page."""
_HEADER_BYTES = 100
_MAGIC = b"SQLite format 3\0"
_PAGE_SIZE_AT, _RESERVED_AT = 16, 20
_WAL_HEADER, _WAL_FRAME = 32, 24
_WAL_MAGIC = 0x377F0682
"""Its last bit says in which byte order checksums are made."""
PAGES_AT_ONCE = 1_024
_TRIES, _WAIT_S = 8, 0.01
"""A page that is being written while it is read does not fit, until it is written."""


class PageProblem(msgspec.Struct, frozen=True):
    file: str
    offset: int
    what: str


@cache
def has_checksums() -> bool:
    """Whether this build of apsw can keep them; loads the extension, for this process."""
    if apsw.sqlite_extra.has(EXTENSION) != "extension":
        return False
    db = apsw.Connection(":memory:")
    try:
        apsw.sqlite_extra.load(db, EXTENSION)
    except (apsw.Error, apsw.sqlite_extra.NotAvailable):
        return False
    finally:
        db.close()
    return VFS in apsw.vfs_names()


def connect(path: Path, *, flags: int | None = None) -> apsw.Connection:
    """Open a database with checksums where they can be had. Raises `apsw.Error`."""
    usual = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    if not has_checksums():
        return apsw.Connection(str(path), flags=usual if flags is None else flags)
    db = apsw.Connection(str(path), flags=usual if flags is None else flags, vfs=VFS)
    if flags is None and path.exists() and not path.stat().st_size:
        try:
            db.set_busy_timeout(2_000)  # others may open the same new file
            db.reserve_bytes(None, RESERVED)
            # On disk before anything else: the extension looks there for whether pages of this file carry checksums.
            db.execute("PRAGMA journal_mode = WAL").fetchall()
        except BaseException:
            db.close()
            raise
    return db


def add_checksums(path: Path) -> None:
    """Write a database of an earlier version anew, once, before it is opened; a crash meanwhile leaves the old one.

    Raises `apsw.Error`, `OSError`.
    """
    if not has_checksums() or not path.exists() or _reserved(path) != 0:
        return
    beside = path.with_name(f".{path.name}.checked")
    beside.unlink(missing_ok=True)
    db = apsw.Connection(str(path), vfs="unix")
    try:
        db.execute("PRAGMA journal_mode = DELETE").fetchall()  # all of it is in the file itself then
    finally:
        db.close()
    _vacuum_into(path, beside)
    os.rename(beside, path)
    sync_folder(path.parent)


def copy_database(path: Path, to: Path) -> None:
    """A database as it is at one moment, into a new file; beside whoever uses it. Raises `StoreError`."""
    try:
        _vacuum_into(path, to)
    except apsw.Error as error:
        raise StoreError(f"the database {path} cannot be copied: {error}") from None


def _vacuum_into(path: Path, to: Path) -> None:
    """With room for checksums, and then with them: what SQLite writes before the first page of a new file has none."""
    room = RESERVED if has_checksums() else 0
    db = connect(path, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    try:
        db.set_busy_timeout(10_000)
        db.execute("VACUUM INTO ?", (f"file:{quote(str(to.resolve()))}?reserve={room}",)).fetchall()
    finally:
        db.close()
    with to.open("r+b") as file:
        if room:
            _stamp(file)
        os.fsync(file.fileno())


def _stamp(file: BinaryIO) -> None:
    head = file.read(_HEADER_BYTES)
    size = int.from_bytes(head[_PAGE_SIZE_AT : _PAGE_SIZE_AT + 2], "big")
    size = 65_536 if size == 1 else size
    from weighbridge.store.page_sums import stamped  # numpy: only where pages are looked at

    for at, pages in _blocks(file, os.fstat(file.fileno()).st_size // size, size):
        file.seek(at)
        file.write(stamped(pages, size))
    file.flush()


def _blocks(file: BinaryIO, pages: int, size: int) -> Iterator[tuple[int, bytes]]:
    """Offset and bytes of many whole pages at a time."""
    for number in range(0, pages, PAGES_AT_ONCE):
        file.seek(number * size)
        yield number * size, file.read(min(PAGES_AT_ONCE, pages - number) * size)


def is_damage(error: apsw.Error) -> bool:
    """Is it about a page that does not fit its checksum, or is no page at all?"""
    return isinstance(error, apsw.CorruptError | apsw.NotADBError) or (
        getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_DATA
    )


def _reserved(path: Path) -> int | None:
    with path.open("rb") as file:
        head = file.read(_HEADER_BYTES)
    return head[_RESERVED_AT] if len(head) == _HEADER_BYTES else None


# --- looking at a file, beside whoever uses it ------------------------------------------------------------------------


class Examined(msgspec.Struct, frozen=True):
    problems: tuple[PageProblem, ...]
    has_checksums: bool = True
    """False for a database that an earlier version wrote, or a build of apsw without the extension."""


def examine(path: Path) -> Examined | None:
    """Every page, in use or free, against its checksum, and the write-ahead log against its own; `None`: no database.

    Looks at the files only, so it takes no lock and disturbs nobody. Raises `StoreError`.
    """
    try:
        return _examined(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"the database {path} cannot be read: {error.strerror}") from None


def _examined(path: Path) -> Examined:
    log = _wal(path.with_name(path.name + "-wal"))
    with path.open("rb") as file:
        head = file.read(_HEADER_BYTES)
        if not head:
            return Examined(tuple(log))  # just made; what there is stands in the log
        size = int.from_bytes(head[_PAGE_SIZE_AT : _PAGE_SIZE_AT + 2], "big")
        size = 65_536 if size == 1 else size
        reserved = head[_RESERVED_AT]
        if head[: len(_MAGIC)] != _MAGIC or size < 512 or size & (size - 1) or reserved not in (0, RESERVED):
            return Examined((PageProblem(path.name, 0, "the header of the database is not one"), *log))
        if reserved == 0:
            file.seek(0)
            first = bytearray(file.read(size))
            first[_RESERVED_AT] = RESERVED
            if not _fits(struct.Struct(f"<{size // 4}I"), bytes(first)):
                return Examined(tuple(log), has_checksums=False)
        return Examined((*_pages(path, file, size), *log))


def _pages(path: Path, file: BinaryIO, size: int) -> list[PageProblem]:
    from weighbridge.store.page_sums import misfits  # numpy: only where pages are looked at

    found = []
    count, rest = divmod(path.stat().st_size, size)
    if rest:
        found.append(PageProblem(path.name, count * size, "ends in the middle of a page"))
    for start, pages in _blocks(file, count, size):
        whole = len(pages) // size * size
        wrong = [start + number * size for number in misfits(pages[:whole], size)]
        # A page that is being written while it is read does not fit; nor does one that is gone meanwhile.
        wrong += range(start + whole, min(start + PAGES_AT_ONCE * size, count * size), size)
        found += [
            PageProblem(path.name, at, "a page does not fit its checksum")
            for at in wrong
            if not _fits_in_time(file, at, size)
        ]
    return found


def _fits_in_time(file: BinaryIO, at: int, size: int) -> bool:
    sums = struct.Struct(f"<{size // 4}I")
    for tries in range(_TRIES):
        file.seek(at)
        if _fits(sums, file.read(size)):
            return True
        if tries < _TRIES - 1:
            time.sleep(_WAIT_S)
    return False


def _fits(sums: struct.Struct, page: bytes) -> bool:
    if len(page) != sums.size:
        return False
    words = sums.unpack(page)
    return _sum(words[:-2], 0, 0) == words[-2:]


def _sum(words: tuple[int, ...], one: int, two: int) -> tuple[int, int]:
    """SQLite's checksum, of pages and of the write-ahead log alike."""
    for at in range(0, len(words), 2):
        one = (one + words[at] + two) & 0xFFFFFFFF
        two = (two + words[at + 1] + one) & 0xFFFFFFFF
    return one, two


def _wal(path: Path) -> list[PageProblem]:
    """A frame that does not fit, with others of the same round behind it: everything from there on would be ignored.

    The last frame alone may be one that a crash cut off; its transaction was never answered.
    """
    for tries in range(_TRIES):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return []
        offset = _wal_break(data)
        if offset is None:
            return []
        if tries == _TRIES - 1:
            return [PageProblem(path.name, offset, "a frame of the write-ahead log does not fit its checksum")]
        time.sleep(_WAIT_S)
    return []


def _wal_break(data: bytes) -> int | None:
    if len(data) < _WAL_HEADER:
        return None
    magic, _, page_size, _, *salts_and_sums = struct.unpack(">8I", data[:_WAL_HEADER])
    if magic & ~1 != _WAL_MAGIC or page_size < 512 or page_size & (page_size - 1):
        return 0
    order = ">" if magic & 1 else "<"
    running = _sum(struct.unpack(f"{order}6I", data[:24]), 0, 0)
    if running != tuple(salts_and_sums[2:]):
        return 0
    salts, broken = data[16:24], None
    length = _WAL_FRAME + page_size
    head, page = struct.Struct(f"{order}2I"), struct.Struct(f"{order}{page_size // 4}I")
    for at in range(_WAL_HEADER, len(data) - length + 1, length):
        if data[at + 8 : at + 16] != salts:
            if broken is None:
                # What an earlier round left behind begins here, unless the salts themselves were changed.
                broken = at
            continue
        if broken is not None:
            return broken
        running = _sum(head.unpack_from(data, at), *running)
        running = _sum(page.unpack_from(data, at + _WAL_FRAME), *running)
        if running != struct.unpack(">2I", data[at + 16 : at + _WAL_FRAME]):
            broken = at
    return None
