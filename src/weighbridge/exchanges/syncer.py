"""The log writer's other thread: everything that may block on the disk and need not be waited for in the loop.

One long-lived thread, asleep without the interpreter lock while there is nothing to do. It groups syncs, allocates room
ahead of need, closes segments, and wakes the writer to look for space while there is trouble.
"""

import contextlib
import time
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Protocol

import msgspec

from weighbridge.exchanges.segment import OpenSegment

Callback = Callable[[], object]
PROBE_S = 0.25


class Batch(msgspec.Struct, gc=False):
    """One write that is not yet synced. Its bytes are kept, so that a failed sync can be made good in another file."""

    segment: OpenSegment
    data: bytes
    """Whole frames; empty for bodies, which are not written again."""
    frames: int


class Troubled(Protocol):
    """What the syncer tells the writer, in the loop's thread."""

    def sync_failed(self, segment: OpenSegment, again: list[Batch], callbacks: list[Callback], error: OSError) -> None:
        """`again` are all frame writes since the last good sync, in order; nobody else will write them again."""
        ...

    def bodies_failed(self, segment: OpenSegment | None, error: OSError) -> None: ...

    def probe(self) -> None: ...


class Syncer:
    """Methods are for the loop's thread, but for those named `_..._in_thread`."""

    def __init__(self, owner: Troubled, interval_s: float, call_threadsafe: Callable[[Callback], object]) -> None:
        self._owner, self._interval_s, self._call_threadsafe = owner, interval_s, call_threadsafe
        # Written, not yet synced. The thread swaps these lists for empty ones.
        self._unsynced: list[Batch] = []
        self._durable: list[Callback] = []
        self._is_dirty = self._is_extending = self._is_stopping = self._is_failing = False
        self.is_probing = False
        self._jobs: SimpleQueue[Callback | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="exchange-log-sync", daemon=True)
        self._thread.start()

    def written(self, segment: OpenSegment, data: bytes, frames: int) -> None:
        self._unsynced.append(Batch(segment, data, frames))
        if not self._is_dirty:
            self._is_dirty = True
            self._jobs.put(self._sync_in_thread)

    def when_synced(self, callbacks: list[Callback]) -> None:
        """Call them, in the loop, after everything written so far is synced."""
        self._durable += callbacks
        if not self._is_dirty:
            self._is_dirty = True
            self._jobs.put(self._sync_in_thread)

    def extend(self, segment: OpenSegment, length: int) -> None:
        if not self._is_extending:
            self._is_extending = True
            self._jobs.put(partial(self._extend_in_thread, segment, length))

    def close_segment(self, segment: OpenSegment, *, finished: bool) -> None:
        self._jobs.put(partial(segment.close, finished=finished))

    def start_probing(self) -> None:
        """Call the owner's `probe` every `PROBE_S`, until `is_probing` is false again."""
        if not self.is_probing:
            self.is_probing = True
            self._jobs.put(_wake)

    def take_unsynced(self) -> list[Batch]:
        """Frame writes that no sync covers yet; the caller writes them again."""
        taken = [batch for batch in self._unsynced if batch.data]
        self._unsynced = [batch for batch in self._unsynced if not batch.data]
        return taken

    def stop(self) -> None:
        """Finish what was asked for and end the thread."""
        self._is_stopping = True
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        probe_at = 0.0
        while True:
            with contextlib.suppress(Empty):
                job = self._jobs.get(timeout=PROBE_S if self.is_probing else None)
                if job is None:
                    return
                job()
            if self.is_probing and time.monotonic() >= probe_at:
                probe_at = time.monotonic() + PROBE_S
                self._post(self._owner.probe)

    def _post(self, callback: Callback) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._call_threadsafe(callback)

    def _sync_in_thread(self) -> None:
        if not self._is_stopping:
            time.sleep(self._interval_s)
        self._is_dirty = False
        if self._is_failing:
            return  # until the loop has heard of it: writing again must keep the order of the frames
        # Callbacks first: what they wait for is then in this batch of writes or in an earlier one.
        callbacks, self._durable = self._durable, []
        batches, self._unsynced = self._unsynced, []
        segments = {id(batch.segment): batch.segment for batch in batches}
        # Bodies first: a frame on disk never speaks of a body that is not.
        for segment in sorted(segments.values(), key=lambda one: not one.is_bodies):
            try:
                segment.sync()
            except OSError as error:
                if not segment.is_bodies:
                    self._is_failing = True
                    self._post(partial(self._failed, segment, batches, callbacks, error))
                    return
                self._post(partial(self._owner.bodies_failed, segment, error))
        if callbacks:
            self._post(partial(_call_all, callbacks))

    def _failed(self, segment: OpenSegment, batches: list[Batch], callbacks: list[Callback], error: OSError) -> None:
        self._is_failing = False
        again = [batch for batch in batches if batch.data] + self.take_unsynced()
        self._owner.sync_failed(segment, again, callbacks, error)

    def _extend_in_thread(self, segment: OpenSegment, length: int) -> None:
        try:
            if not segment.is_closed:
                segment.extend(length)
        except OSError as error:
            self._post(partial(self._owner.bodies_failed, None, error))  # the first sign of a full disk: bodies stop
        self._is_extending = False


def _wake() -> None:
    """Nothing to do: the thread looks at `is_probing` afterwards."""


def _call_all(callbacks: list[Callback]) -> None:
    for callback in callbacks:
        callback()
