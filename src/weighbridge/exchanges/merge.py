"""Frames of one incarnation, in log order, become exchanges."""

from collections.abc import Callable
from hashlib import sha256

import msgspec

from weighbridge.exchanges.framing import Corrupt
from weighbridge.records.exchange import Attempt, Exchange
from weighbridge.records.frames import Attempted, Finished, Frame, Held, Posted, Told
from weighbridge.records.usage import total_usage

frame_of = msgspec.msgpack.Decoder(Frame).decode
"""The record of a payload. Raises `msgspec.MsgspecError`."""

Wanted = Callable[[Held], bool]
Tell = Callable[[Told], object]
_REMEMBERED = 1 << 16


class Pending:
    """An exchange whose end has not been read yet."""

    __slots__ = ("attempts", "ended", "hash", "held", "seen")

    def __init__(self, held: Held) -> None:
        self.held = held
        self.attempts: dict[int, tuple[Attempted | None, Posted | None]] = {}
        self.ended: list[int] = []
        """Attempts in the order of their ends: the last one is that which answered, hedged or not."""
        self.hash = sha256()
        self.seen: set[tuple[int, int]] = set()

    def add(self, frame: Attempted | Posted) -> None:
        attempted, posted = self.attempts.get(frame.attempt, (None, None))
        if isinstance(frame, Attempted):
            attempted = frame
        else:
            posted = frame
            self.ended.append(frame.attempt)
        self.attempts[frame.attempt] = (attempted, posted)


class Merge:
    """Feed it the payloads of one incarnation; `finish` says what was left without an end.

    A frame that was written twice (a write that was repeated in a new segment after a failed sync) counts once.
    `wanted` looks at the `held` frame; exchanges that it refuses cost nothing more. `told` gets the outcomes that
    applications told us of. `headless` collects the ids of frames whose `held` frame was never seen.
    """

    def __init__(self, wanted: Wanted | None = None, told: Tell | None = None) -> None:
        self._wanted, self._told = wanted, told
        self._pending: dict[str, Pending | None] = {}
        self._ended: dict[str, None] = {}
        self.headless: set[str] = set()

    def add(self, payload: memoryview, file: object, offset: int) -> Exchange | None:
        """The exchange that this frame completes. Raises `Corrupt` when the payload is no frame."""
        try:
            frame = frame_of(payload)
        except msgspec.MsgspecError as error:
            raise Corrupt(
                str(file), offset, f"a frame cannot be read ({error}): a newer version may have written it"
            ) from None
        if isinstance(frame, Held):
            self._begin(frame, payload)
            return None
        if isinstance(frame, Told):
            if self._told is not None:
                self._told(frame)
            return None
        pending = self._pending.get(frame.id)
        if pending is None:
            if frame.id not in self._pending and frame.id not in self._ended:
                self.headless.add(frame.id)
            elif isinstance(frame, Finished):
                self._end(frame.id)
            return None
        which = (0, 0) if isinstance(frame, Finished) else (1 if isinstance(frame, Attempted) else 2, frame.attempt)
        if which in pending.seen:
            return None
        pending.seen.add(which)
        pending.hash.update(payload)
        if isinstance(frame, Finished):
            self._end(frame.id)
            return exchange_of(pending, frame)
        pending.add(frame)
        return None

    def _begin(self, held: Held, payload: memoryview) -> None:
        if held.id in self._pending or held.id in self._ended:
            return
        if self._wanted is not None and not self._wanted(held):
            self._pending[held.id] = None
            return
        pending = self._pending[held.id] = Pending(held)
        pending.hash.update(payload)

    def _end(self, identity: str) -> None:
        self._pending.pop(identity, None)
        self._ended[identity] = None
        if len(self._ended) > _REMEMBERED:
            for old in list(self._ended)[: _REMEMBERED // 2]:
                del self._ended[old]

    def unfinished(self) -> list[Pending]:
        return [pending for pending in self._pending.values() if pending is not None]

    def finish(self) -> list[Exchange]:
        """The incarnation is gone and everything it wrote was added: what has no end is lost."""
        lost = [exchange_of(pending, None) for pending in self.unfinished()]
        self._pending.clear()
        return lost


def exchange_of(pending: Pending, end: Finished | None) -> Exchange:
    held = pending.held
    open_ones = sorted(pending.attempts.keys() - set(pending.ended))
    attempts = tuple(_attempt(number, *pending.attempts[number]) for number in (*pending.ended, *open_ones))
    costs = [attempt.cost_nanousd for attempt in attempts]
    known = [cost for cost in costs if cost is not None]
    last = attempts[-1] if attempts else None
    used = [attempt.usage for attempt in attempts if attempt.usage is not None]
    priced = [attempt.price_version for attempt in attempts if attempt.price_version is not None]
    return Exchange(
        id=held.id,
        time_ns=held.time_ns,
        purpose=held.purpose,
        route=held.route,
        arm=None if last is None else last.arm,
        key=held.key,
        team=held.team,
        user=held.user,
        tags=held.tags,
        slice=held.slice,
        conversation=held.conversation,
        table=held.table,
        stream=held.stream,
        outcome="lost" if end is None else end.outcome,
        status=None if end is None else end.status,
        attempts=attempts,
        usage=total_usage(used) if used else None,
        cost_nanousd=sum(known) if len(known) == len(costs) else None,
        price_version=priced[-1] if priced else None,
        duration_ns=None if end is None else end.duration_ns,
        first_byte_ns=None if end is None else end.first_byte_ns,
        request_bytes=held.request_bytes,
        response_bytes=0 if end is None else end.response_bytes,
        max_tokens=held.max_tokens,
        held_nanousd=held.held_nanousd,
        request=held.request,
        response=None if end is None else end.response,
        trial=held.trial,
        item=held.item,
        error=None if end is None else end.error,
        digest=pending.hash.hexdigest(),
        redacted=held.redacted,
        traceparent=held.traceparent,
        asked=held.asked,
    )


def _attempt(number: int, attempted: Attempted | None, posted: Posted | None) -> Attempt:
    return Attempt(
        attempt=number,
        arm="" if attempted is None else attempted.arm,
        endpoint="" if attempted is None else attempted.endpoint,
        model="" if attempted is None else attempted.model,
        edits=() if attempted is None else attempted.edits,
        fallback=attempted is not None and attempted.fallback,
        status=None if posted is None else posted.status,
        usage=None if posted is None else posted.usage,
        cost_nanousd=None if posted is None else posted.cost_nanousd,
        price_version=None if posted is None else posted.price_version,
        duration_ns=None if posted is None else posted.duration_ns,
        first_byte_ns=None if posted is None else posted.first_byte_ns,
        error=None if posted is None else posted.error,
        estimated=posted is not None and posted.estimated,
        finish_reason=None if posted is None else posted.finish_reason,
        time_ns=None if attempted is None else attempted.time_ns,
    )
