"""Captured bodies on their way to disk: encrypted once per loop turn, day and team.

A body segment holds *blocks*. A block is AES-256-GCM, under the data key of its day and team, over the bodies of one
turn, each with the random key of its commitment. The commitment, SHA-256 of that key and the body, also stands in
the clear, in the block's head and in the exchange's frame: it says nothing about the body, and once key and body are
erased nobody can test a guess against it.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from struct import Struct
from zlib import crc32

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec.structs import force_setattr

from weighbridge.exchanges.framing import pack_prefix
from weighbridge.exchanges.keys import KEY_BYTES, NONCE_BYTES, DataKeys, master_key, team_folder
from weighbridge.exchanges.redact import redact
from weighbridge.records.frames import BodyRef, Finished, Held
from weighbridge.store.layout import Layout

__all__ = [
    "BlockHead",
    "BodySealer",
    "Captured",
    "StoredBody",
    "block_head",
    "commitment_of",
    "master_key",
    "open_block",
]

Captured = tuple[Held | Finished, str | None, bytes, tuple[str, ...]]
"""A frame, the team of its request, the request or response that belongs to it, and the rules of redaction."""

COMMITMENT_BYTES = 32
DAY_NS = 86_400_000_000_000
_SIZE, _SIZE_UNPACK = Struct("<I").pack, Struct("<I").unpack_from
_START, _START_UNPACK, _START_BYTES = Struct("<BI").pack, Struct("<BI").unpack_from, 5
_BLOCK_START = 0x95
"""First byte of a block's payload: never zero, so that a torn write can be told from damage. So is the last, 1."""

_encode = msgspec.msgpack.Encoder().encode


class BlockHead(msgspec.Struct, frozen=True, array_like=True):
    """In the clear, and authenticated with the block: whose bodies these are, without what they say."""

    day: str
    team: str
    nonce: bytes
    commitments: bytes
    """32 bytes per body, in the order of the bodies."""


_decode_head = msgspec.msgpack.Decoder(BlockHead).decode


class StoredBody(msgspec.Struct, frozen=True, gc=False):
    commitment: bytes
    key: bytes
    """The random key of the commitment."""
    body: bytes


def commitment_of(body: bytes, key: bytes) -> bytes:
    """The key is random, as long as the digest and used once, so it needs no HMAC: nobody can extend what is hidden."""
    return sha256(key + body).digest()


class _Group:
    """Bodies of one day and team, waiting for the end of the turn."""

    __slots__ = ("cipher", "commitments", "day", "pieces", "team")

    def __init__(self, day: str, team: str, cipher: AESGCM) -> None:
        self.day, self.team, self.cipher = day, team, cipher
        self.commitments: list[bytes] = []
        self.pieces: list[bytes] = []


class BodySealer:
    """Seals the bodies of one loop turn for a `LogWriter`. Only made where bodies are captured.

    `master` is the 32-byte key of `master_key`; `wall_ns` gives nanoseconds since 1970 and names the day of capture.
    """

    def __init__(self, layout: Layout, master: bytes, wall_ns: Callable[[], int] = time.time_ns) -> None:
        self._keys, self._wall_ns = DataKeys(layout, master), wall_ns
        self._ciphers: dict[tuple[int, str | None], tuple[str, str, AESGCM]] = {}
        self.too_much_to_redact = 0
        """Bodies that were not kept, because looking through them for secrets would have taken too long."""

    def seal(self, captured: Sequence[Captured]) -> list[tuple[bytes, ...]]:
        """One block per team, as the buffers of one frame. Puts each body's reference into its frame.

        Raises `OSError` when the day's key cannot be made.
        """
        day = self._wall_ns() // DAY_NS
        groups: dict[str | None, _Group] = {}
        # One system call for all keys of a turn.
        keys, at = os.urandom(KEY_BYTES * len(captured)), 0
        for frame, team, body, rules in captured:
            if rules:
                kept, changed = redact(rules, body)
                if kept is None:
                    self.too_much_to_redact += 1
                    continue
                if changed:
                    body = kept
                    if type(frame) is Held:
                        force_setattr(frame, "redacted", True)
            group = groups.get(team)
            if group is None:
                group = groups[team] = _Group(*self._cipher(day, team))
            size = len(body)
            key = keys[at : at + KEY_BYTES]
            at += KEY_BYTES
            commitment = sha256(key + body).digest()
            group.commitments.append(commitment)
            group.pieces += (_SIZE(size), key, body)
            reference = BodyRef(group.day, group.team, commitment, size)
            force_setattr(frame, "request" if type(frame) is Held else "response", reference)
        return [_block(group) for group in groups.values()]

    def _cipher(self, day: int, team: str | None) -> tuple[str, str, AESGCM]:
        found = self._ciphers.get((day, team))
        if found is None:
            name, folder = day_name(day), team_folder(team)
            if len(self._ciphers) >= 1000:  # days pass, and an old one is not asked for again
                self._ciphers.clear()
            found = self._ciphers[day, team] = (name, folder, self._keys.create(name, folder))
        return found


def _block(group: _Group) -> tuple[bytes, ...]:
    nonce = os.urandom(NONCE_BYTES)
    head = _encode(BlockHead(group.day, group.team, nonce, b"".join(group.commitments)))
    start = _START(_BLOCK_START, len(head)) + head
    sealed = group.cipher.encrypt(nonce, b"".join(group.pieces), head)
    checksum = crc32(b"\x01", crc32(sealed, crc32(start)))
    return pack_prefix(len(start) + len(sealed) + 1, checksum) + start, sealed, b"\x01"


def day_name(day: int) -> str:
    """Days since 1970 as `2026-11-25`, UTC."""
    return time.strftime("%Y-%m-%d", time.gmtime(day * 86_400))


def block_head(payload: memoryview) -> tuple[BlockHead, int]:
    """The head of a block and the offset of what is encrypted. Raises `ValueError`."""
    first, length = _START_UNPACK(payload, 0)
    if first != _BLOCK_START:
        raise ValueError(f"a block begins with {_BLOCK_START:#x}, not {first:#x}")
    at = _START_BYTES + length
    return _decode_head(payload[_START_BYTES:at]), at


def open_block(payload: memoryview, cipher: AESGCM) -> Iterator[StoredBody]:
    """The bodies of a block. Raises `ValueError` when it was changed or `cipher` is not its key."""
    head, at = block_head(payload)
    try:
        plain = memoryview(cipher.decrypt(head.nonce, payload[at:-1], payload[_START_BYTES:at]))
    except InvalidTag:
        raise ValueError("the block cannot be decrypted: it was changed, or the key is another one") from None
    place = 0
    for start in range(0, len(head.commitments), COMMITMENT_BYTES):
        (size,) = _SIZE_UNPACK(plain, place)
        place += 4
        key = bytes(plain[place : place + KEY_BYTES])
        place += KEY_BYTES
        yield StoredBody(head.commitments[start : start + COMMITMENT_BYTES], key, bytes(plain[place : place + size]))
        place += size
