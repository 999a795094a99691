"""Logs of workers for tests of the ledger, written frame by frame."""

import os
from collections.abc import Sequence

import msgspec

from weighbridge.exchanges.framing import FRAMES_MAGIC, closed_frame, frame, header
from weighbridge.exchanges.live import LiveLock
from weighbridge.records.frames import Attempted, Finished, Frame, Held, Posted
from weighbridge.records.usage import Usage
from weighbridge.store.layout import Layout

T0 = 1_795_608_000_000_000_000
"""2026-11-25 12:00 UTC."""
OWNER = "0194f0c1a2b3abcd"


def held(number: int, leases: tuple[int | str, ...], nanousd: int | None = 100, owner: str = OWNER) -> Held:
    return Held(
        f"{owner}-{number:x}", T0, "user", "assistant", 1, "app", None, None, (), "all", "0" * 16, False, 50, 16,
        nanousd, None, leases=leases,
    )  # fmt: skip


def attempted(number: int, attempt: int = 1, more: int | None = None, owner: str = OWNER) -> Attempted:
    return Attempted(f"{owner}-{number:x}", attempt, T0, "arm", "endpoint", "model", (), held_nanousd=more)


def posted(number: int, cost: int | None, attempt: int = 1, owner: str = OWNER) -> Posted:
    return Posted(f"{owner}-{number:x}", attempt, 200, Usage(1, 2), b"{}", cost, "test 1", 5, 4)


def finished(number: int, cost: int | None, charged: int | None = None, owner: str = OWNER) -> Finished:
    return Finished(f"{owner}-{number:x}", T0, "ok", 200, 1, 5, 4, 9, None, cost, None, charged)


def whole(number: int, leases: tuple[int | str, ...], cost: int | None, held_nanousd: int = 100) -> list[Frame]:
    """All frames of one request."""
    charged = held_nanousd if cost is None else None
    return [
        held(number, leases, held_nanousd),
        attempted(number),
        posted(number, cost),
        finished(number, cost, charged),
    ]


class WorkerLog:
    """One worker's log. `add` appends; `die` lets go of its lock, as the kernel does."""

    def __init__(self, layout: Layout, owner: str = OWNER) -> None:
        self._layout, self.owner = layout, owner
        self._lock = LiveLock(layout, owner)
        self._segment = self._frames = self._end = 0
        self._path = layout.segment(owner, 1)
        self.roll()

    def roll(self) -> None:
        """Close the segment in use, go on in a new one."""
        if self._segment:
            self.close()
        self._segment += 1
        self._frames = 0
        self._path = self._layout.segment(self.owner, self._segment)
        self._end = 16
        self._path.write_bytes(header(FRAMES_MAGIC) + bytes(1 << 16))

    def close(self) -> None:
        """Write the frame that ends a segment; whoever wrote it is still there."""
        self.add(raw=closed_frame(self._frames))
        os.truncate(self._path, self._end)

    def add(self, frames: Sequence[Frame] = (), raw: bytes = b"") -> None:
        data = b"".join(frame(msgspec.msgpack.encode(one)) for one in frames) + raw
        with open(self._path, "r+b") as file:
            if file.seek(0, os.SEEK_END) - self._end < len(data) + 4096:
                file.write(bytes(len(data) + (1 << 16)))
            file.seek(self._end)
            file.write(data)
        self._end += len(data)
        self._frames += len(frames)

    def die(self) -> None:
        os.close(self._lock._fd)
        self._lock._fd = -1
