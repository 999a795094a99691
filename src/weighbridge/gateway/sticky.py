"""Which arm a conversation has, remembered per host for a day: one table of slots in memory that all workers share.

A step of a ramp grows a share, and a conversation that began before it keeps its arm. Only routes with a ramp look.
A slot is two words, the second being what is kept and the first its exclusive or with the key, so that a slot which
another worker is just writing is no match, and no lock is needed. What is pushed out or too old is assigned by the
table in force, as if it were new.
"""

import mmap
import os
import struct
from collections.abc import Callable
from pathlib import Path

SLOTS = 1 << 18
"""262,144 (4 MiB), so that 100,000 conversations find room."""
WAYS = 8
"""A key may lie in so many slots; the oldest of them makes room."""
KEEP_MINUTES = 24 * 60
_PAIR = struct.Struct("<QQ")
_MASK = SLOTS // WAYS - 1
_WORD = (1 << 64) - 1
_MINUTE_NS = 60_000_000_000


class Memory:
    """key (64 bits of a hash) -> mark of an arm (32 bits, not 0)."""

    def __init__(self, path: Path, wall_ns: Callable[[], int]) -> None:
        """Raises `OSError`."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(fd).st_size < SLOTS * _PAIR.size:
                os.ftruncate(fd, SLOTS * _PAIR.size)
            self._slots = mmap.mmap(fd, SLOTS * _PAIR.size)
        finally:
            os.close(fd)
        self._wall_ns = wall_ns

    def get(self, key: int) -> int:
        """The mark, 0 where nothing (or nothing of the last day) is remembered."""
        first = (key >> 40 & _MASK) * WAYS * 16
        read, slots = _PAIR.unpack_from, self._slots
        for place in range(first, first + WAYS * 16, 16):
            proof, value = read(slots, place)
            if proof ^ value == key and value:
                age = self._wall_ns() // _MINUTE_NS - (value & 0xFFFFFFFF)
                return value >> 32 if -KEEP_MINUTES <= age < KEEP_MINUTES else 0
        return 0

    def put(self, key: int, mark: int) -> None:
        """Remember from now on; also said again for one that is known, so that a day counts from its last request."""
        minute = self._wall_ns() // _MINUTE_NS
        first = (key >> 40 & _MASK) * WAYS * 16
        read, slots = _PAIR.unpack_from, self._slots
        oldest, at = minute + 1, first
        for place in range(first, first + WAYS * 16, 16):
            proof, value = read(slots, place)
            if proof ^ value == key and value:
                at = place
                break
            if value & 0xFFFFFFFF < oldest:
                oldest, at = value & 0xFFFFFFFF, place
        value = mark << 32 | minute
        _PAIR.pack_into(slots, at, (key ^ value) & _WORD, value)

    def close(self) -> None:
        self._slots.close()
