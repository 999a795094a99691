"""A hand-cranked event loop for the log writer: nothing runs until a test turns it."""

import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Literal

import msgspec

from weighbridge.exchanges.bodies import BodySealer, master_key
from weighbridge.exchanges.files import FileDoor
from weighbridge.exchanges.framing import new_incarnation
from weighbridge.exchanges.writer import LogWriter
from weighbridge.records.frames import Attempted, BodyRef, Finished, Frame, Held, Outcome, Posted, Purpose
from weighbridge.records.usage import Usage
from weighbridge.store.layout import Layout


class HandLoop:
    """`turn()` runs what was scheduled before it, as an event loop does in one turn."""

    def __init__(self) -> None:
        self._ready: deque[Callable[[], object]] = deque()
        self._came = Event()

    def call_soon(self, callback: Callable[[], object]) -> None:
        self._ready.append(callback)
        self._came.set()

    call_threadsafe = call_soon

    def turn(self) -> None:
        for _ in range(len(self._ready)):
            self._ready.popleft()()

    def turn_until(self, done: Callable[[], bool], limit_s: float = 10.0) -> None:
        """Turn, waiting for the other thread, until `done()`; fails after `limit_s` without progress."""
        while not done():
            self._came.clear()
            if not self._ready and not self._came.wait(limit_s):
                raise AssertionError("nothing happened in the loop any more")
            self.turn()


def store(folder: Path) -> Layout:
    layout = Layout(folder / "store")
    layout.create()
    return layout


class Bench:
    """A writer in a hand-cranked loop, and the life of a request in one call."""

    def __init__(
        self,
        layout: Layout,
        *,
        bodies: bool = True,
        durability: Literal["process", "power"] = "process",
        files: FileDoor | None = None,
        segment_bytes_max: int = 64 << 20,
        chunk_bytes: int = 64 << 10,
        wall_ns: Callable[[], int] | None = None,
    ) -> None:
        self.layout, self.loop = layout, HandLoop()
        self.incarnation = new_incarnation()
        self.states: list[tuple[str, str]] = []
        self.written: list[str] = []
        self.master = master_key(layout, None)
        sealer = None
        if bodies:
            sealer = BodySealer(layout, self.master, wall_ns) if wall_ns else BodySealer(layout, self.master)
        self.log = LogWriter(
            layout,
            self.incarnation,
            durability=durability,
            call_soon=self.loop.call_soon,
            call_threadsafe=self.loop.call_threadsafe,
            sealer=sealer,
            on_state=lambda state, reason: self.states.append((state, reason)),
            segment_bytes_max=segment_bytes_max,
            chunk_bytes=chunk_bytes,
            files=files,
        )
        self._number = 0

    def next_id(self) -> str:
        self._number += 1
        return f"{self.incarnation}-{self._number:x}"

    def begin(self, request: bytes = b'{"q":1}', like: Held | None = None) -> Held:
        """A request as far as its `held` frame. `like` gives all fields but id and body."""
        frame = msgspec.structs.replace(like or held("-"), id=self.next_id(), request=None)
        self.log.capture(frame, "support", request)
        return frame

    def end(self, identity: str, response: bytes = b'{"a":1}', *, outcome: Outcome = "ok") -> None:
        self.log.append(attempted(identity))
        self.log.append(posted(identity))
        self.log.capture(finished(identity, outcome=outcome), "support", response)

    def request(self, request: bytes = b'{"q":1}', response: bytes = b'{"a":1}', like: Held | None = None) -> str:
        """A whole request in one loop turn; its id is in `written` once its frames are."""
        frame = self.begin(request, like)
        self.end(frame.id, response)
        self.log.when_written(lambda: self.written.append(frame.id))
        self.loop.turn()
        return frame.id

    def close(self) -> None:
        self.log.close()


def die(bench: Bench, *, machine: bool = False) -> None:
    """What `kill -9` leaves: nobody holds the lock any more, segments keep their zeros.

    `machine`: the machine went down too, and up again.
    """
    bench.log._syncer.stop()
    lock = bench.log._lock
    if machine:
        lock._path.write_bytes(b"another boot")
    os.close(lock._fd)
    lock._fd = -1


def held(
    identity: str,
    *,
    request: BodyRef | None = None,
    route: str = "assistant",
    slice: str = "task=refund",  # noqa: A002 (the record's word)
    purpose: Purpose = "user",
    key: str = "support-bot",
    user: str | None = None,
    time_ns: int = 1_764_000_000_000_000_000,
    trial: str | None = None,
    item: str | None = None,
    redacted: bool = False,
    tags: tuple[tuple[str, str], ...] = (("task", "refund"),),
) -> Held:
    return Held(
        identity, time_ns, purpose, route, 7, key, "support", user, tags, slice, "c0ffee", False, 7, 256, 1_200_000,
        request, trial, item, redacted,
    )  # fmt: skip


def attempted(identity: str, number: int = 1) -> Attempted:
    return Attempted(identity, number, 1_764_000_000_000_000_500, "gpt-4o", "openai", "gpt-4o-2024-08-06", ("model",))


def posted(identity: str, number: int = 1) -> Posted:
    return Posted(
        identity, number, 200, Usage(312, 64), b'{"prompt_tokens":312}', 1_420_000, "genai-prices 0.2.3 openai/gpt-4o",
        312_000_000, 250_000_000, None, False, "stop",
    )  # fmt: skip


def finished(identity: str, *, response: BodyRef | None = None, outcome: Outcome = "ok") -> Finished:
    return Finished(
        identity, 1_764_000_000_312_000_000, outcome, 200, 1, 312_000_000, 250_000_000, 7, response, 1_420_000
    )


def life(identity: str) -> tuple[Frame, ...]:
    return held(identity), attempted(identity), posted(identity), finished(identity)
