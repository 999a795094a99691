"""Captured bodies on their way to disk: encrypted once per loop turn, day and team, as blocks (`exchanges.blocks`)."""

import os
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from struct import Struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec.structs import force_setattr
from zlib_ng.zlib_ng import crc32

from weighbridge.exchanges.blocks import BLOCK_START, BlockHead, encode_head
from weighbridge.exchanges.framing import pack_prefix
from weighbridge.exchanges.keys import KEY_BYTES, NONCE_BYTES, DataKeys, master_key, team_folder
from weighbridge.exchanges.redact import redact
from weighbridge.records.frames import BodyRef, Finished, Held
from weighbridge.store.layout import Layout

__all__ = ["BodySealer", "Captured", "master_key"]

Captured = tuple[Held | Finished, str | None, bytes, tuple[str, ...]]
"""A frame, the team of its request, the request or response that belongs to it, and the rules of redaction."""

DAY_NS = 86_400_000_000_000
_SIZE, _START = Struct("<I").pack, Struct("<BI").pack


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
    head = encode_head(BlockHead(group.day, group.team, nonce, b"".join(group.commitments)))
    start = _START(BLOCK_START, len(head)) + head
    sealed = group.cipher.encrypt(nonce, b"".join(group.pieces), head)
    checksum = crc32(b"\x01", crc32(sealed, crc32(start)))
    return pack_prefix(len(start) + len(sealed) + 1, checksum) + start, sealed, b"\x01"


def day_name(day: int) -> str:
    """Days since 1970 as `2026-11-25`, UTC."""
    return time.strftime("%Y-%m-%d", time.gmtime(day * 86_400))
