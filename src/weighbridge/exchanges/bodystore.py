"""Captured bodies at rest: the sealed objects of a day and team, and the reader that finds a body wherever it lies.

An object holds one record per body, each encrypted on its own, so that erasing one rewrites one object. Inside is the
random key of the commitment and the body, compressed where that helps.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from weighbridge.exchanges.blocks import COMMITMENT_BYTES, StoredBody, block_head, commitment_of, open_block
from weighbridge.exchanges.chain import Chain
from weighbridge.exchanges.framing import (
    BODIES_MAGIC,
    HEADER_BYTES,
    OBJECT_MAGIC,
    PREFIX_BYTES,
    Corrupt,
    Scan,
    check_header,
    closed_frame,
    frame,
    header,
)
from weighbridge.exchanges.keys import KEY_BYTES, NONCE_BYTES, DataKeys
from weighbridge.exchanges.segments import open_names
from weighbridge.records.exchange import BodyState
from weighbridge.records.frames import BodyRef
from weighbridge.store.layout import Layout

OBJECT_SUFFIX = ".wbo"
_RECORD_START = b"\x96"
_RECORD_HEAD = 1 + COMMITMENT_BYTES + NONCE_BYTES
_PLAIN, _ZSTD = b"\0", b"\1"


def seal_record(stored: StoredBody, cipher: AESGCM, day: str, team: str) -> bytes:
    """The payload of one record of an object."""
    packed = zstandard.ZstdCompressor(level=6).compress(stored.body)
    inside = _ZSTD + packed if len(packed) < len(stored.body) else _PLAIN + stored.body
    nonce = os.urandom(NONCE_BYTES)
    sealed = cipher.encrypt(nonce, stored.key + inside, _bound_to(day, team, stored.commitment))
    return _RECORD_START + stored.commitment + nonce + sealed + b"\x01"


def open_record(payload: memoryview, cipher: AESGCM, day: str, team: str) -> StoredBody:
    """Raises `ValueError` when it was changed, or `cipher` is not its key."""
    commitment = record_commitment(payload)
    nonce = payload[1 + COMMITMENT_BYTES : _RECORD_HEAD]
    try:
        inside = cipher.decrypt(nonce, payload[_RECORD_HEAD:-1], _bound_to(day, team, commitment))
        body = inside[KEY_BYTES + 1 :]
        if inside[KEY_BYTES : KEY_BYTES + 1] == _ZSTD:
            body = zstandard.ZstdDecompressor().decompress(body)
    except InvalidTag:
        raise ValueError("a body cannot be decrypted: it was changed, or the key is another one") from None
    except zstandard.ZstdError as error:
        raise ValueError(f"a body cannot be decompressed: {error}") from None
    return StoredBody(commitment, inside[:KEY_BYTES], body)


def record_commitment(payload: memoryview) -> bytes:
    if len(payload) <= _RECORD_HEAD or payload[:1] != _RECORD_START:
        raise ValueError("it is not a record of a body")
    return bytes(payload[1 : 1 + COMMITMENT_BYTES])


def _bound_to(day: str, team: str, commitment: bytes) -> bytes:
    return f"{day}/{team}/".encode() + commitment


def object_bytes(records: list[bytes]) -> bytes:
    return header(OBJECT_MAGIC) + b"".join(map(frame, records)) + closed_frame(len(records))


def object_records(path: Path, data: bytes) -> Iterator[tuple[int, memoryview]]:
    """Offset and payload of each record of a whole object. Raises `Corrupt`."""
    if not check_header(data, OBJECT_MAGIC, path):
        raise Corrupt(path, 0, "the object is empty")
    scan = Scan(data)
    yield from scan
    if scan.stop != "closed":
        where, what = scan.damage or (scan.end, "the object has no end")
        raise Corrupt(path, where, what)


class BodyReader:
    """Finds bodies by their reference, in sealed objects and in segments that are still open.

    `master` is the 32-byte key of `keys.master_key`.
    """

    def __init__(self, layout: Layout, master: bytes) -> None:
        self._layout, self._chain = layout, Chain(layout)
        self._keys = DataKeys(layout, master)
        self._places: dict[bytes, tuple[Path, int]] = {}
        """Commitment -> file, and offset of the record or block that holds the body."""
        self._known: dict[Path, int] = {}
        """File -> how far it is indexed."""
        self._block: tuple[Path, int, dict[bytes, StoredBody]] | None = None

    def get(self, ref: BodyRef | None) -> BodyState:
        """The body; `"erased"` where it was erased or its days are over; `None` where there is none.

        Raises `Corrupt` when the stored bytes are not what was captured, `StoreError` when `master` is another key.
        """
        if ref is None:
            return None
        if self._is_gone(ref):
            return "erased"
        for attempt in range(3):
            place = self._places.get(ref.commitment)
            if place is None:
                if attempt:
                    break
                self._index(ref.day, ref.team)
                place = self._places.get(ref.commitment)
                if place is None:
                    break
            try:
                return self._read(ref, *place)
            except FileNotFoundError:
                # Sealed or rewritten since it was indexed: it has another place now.
                self._forget(place[0])
                self._index(ref.day, ref.team)
        return "erased" if self._is_gone(ref) else None

    def has(self, ref: BodyRef) -> bool:
        """Is there a body of this reference (not: can it be decrypted)?"""
        if ref.commitment not in self._places:
            self._index(ref.day, ref.team)
        return ref.commitment in self._places

    def _is_gone(self, ref: BodyRef) -> bool:
        snapshot = self._chain.snapshot()
        stone = snapshot.erased.get(ref.commitment)
        return (stone is not None and stone.kind == "erased") or (ref.day, ref.team) in snapshot.retired

    def _forget(self, path: Path) -> None:
        self._known.pop(path, None)
        self._places = {commitment: place for commitment, place in self._places.items() if place[0] != path}

    def _index(self, day: str, team: str) -> None:
        """Look at what came since the last time: open segments, then the sealed objects of the day and team."""
        for _, _, path in open_names(self._layout.open_bodies, ".wbb"):
            self._index_open(path)
        for relative in self._chain.snapshot().bodies:
            path = self._layout.root / relative
            if path.parent == self._layout.body_folder(day, team) and path not in self._known:
                with contextlib.suppress(FileNotFoundError):
                    for offset, payload in object_records(path, path.read_bytes()):
                        self._places[bytes(payload[1 : 1 + COMMITMENT_BYTES])] = (path, offset)
                    self._known[path] = -1

    def _index_open(self, path: Path) -> None:
        start = self._known.get(path, 0)
        if start < 0:
            return
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        with os.fdopen(fd, "rb") as file:
            file.seek(start)
            data = file.read()
        if start == 0:
            if not check_header(data, BODIES_MAGIC, path):
                return
            base, at = 0, HEADER_BYTES
        else:
            base, at = start, 0
        scan = Scan(data, at, None)
        for offset, payload in scan:
            try:
                commitments = block_head(payload)[0].commitments
            except (ValueError, msgspec.MsgspecError) as error:
                raise Corrupt(path, base + offset, f"a block of bodies cannot be read: {error}") from None
            for place in range(0, len(commitments), COMMITMENT_BYTES):
                self._places[commitments[place : place + COMMITMENT_BYTES]] = (path, base + offset)
        self._known[path] = -1 if scan.stop == "closed" else base + scan.end

    def _read(self, ref: BodyRef, path: Path, offset: int) -> BodyState:
        cipher = self._keys.find(ref.day, ref.team)
        if cipher is None:
            if self._is_gone(ref):
                return "erased"
            raise Corrupt(self._layout.body_folder(ref.day, ref.team), None, "the key of this day and team is gone")
        try:
            if path.suffix == OBJECT_SUFFIX:
                stored = open_record(_payload_at(path, offset), cipher, ref.day, ref.team)
            else:
                stored = self._from_block(path, offset, cipher)[ref.commitment]
        except (ValueError, msgspec.MsgspecError) as error:
            raise Corrupt(path, offset, str(error)) from None
        if stored.commitment != ref.commitment or commitment_of(stored.body, stored.key) != ref.commitment:
            raise Corrupt(path, offset, "a body does not fit its commitment")
        return stored.body

    def _from_block(self, path: Path, offset: int, cipher: AESGCM) -> dict[bytes, StoredBody]:
        if self._block is None or self._block[:2] != (path, offset):
            bodies = {stored.commitment: stored for stored in open_block(_payload_at(path, offset), cipher)}
            self._block = (path, offset, bodies)
        return self._block[2]


def _payload_at(path: Path, offset: int) -> memoryview:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        length = int.from_bytes(os.pread(fd, 4, offset), "little")
        payload = os.pread(fd, length, offset + PREFIX_BYTES)
    finally:
        os.close(fd)
    if len(payload) != length:
        raise Corrupt(path, offset, "the file ends inside a record")
    return memoryview(payload)
