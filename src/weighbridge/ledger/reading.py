"""One worker's log, read frame by frame: which requests have begun and ended, and what that charges to which lease.

Four frames of a request pass in 4 microseconds of CPU, because most of them are looked at and not decoded. Of a request
that ends within the piece in which it began, at a cost that was held, nothing is kept but the sum per *set of leases*;
the frames of its attempts are set aside (`_loose`) and decoded only where somebody must know what they say: a cost that
nobody knows or that is above what was held, and requests that are open where a piece ends.
"""

from struct import Struct
from zlib import crc32

import msgspec

from weighbridge.exchanges.framing import PREFIX_BYTES
from weighbridge.ledger.life import bound
from weighbridge.records.frames import Attempted, Finished, Held, Posted
from weighbridge.store.ledger import Sums

REMEMBERED = 1 << 16
"""Requests that have ended lately: a write that was repeated in a new segment says so again."""

ARRAY_16 = 0xDC
"""How MessagePack begins an array of 16 to 65,535 elements: of all frames, `held` alone has so many."""
SHORT_TEXT = 0xA0
"""And a text of up to 31 bytes, as ids are: this, plus its length."""
_HELD, _ATTEMPTED, _POSTED, _FINISHED = 1, 2, 3, 4
_CLOSED = 0
"""The tag of the frame that ends a segment; `framing.Scan` looks at it."""
_prefix = Struct("<II").unpack_from


_held = msgspec.msgpack.Decoder(Held).decode
_attempted = msgspec.msgpack.Decoder(Attempted).decode
_posted = msgspec.msgpack.Decoder(Posted).decode
_finished = msgspec.msgpack.Decoder(Finished).decode


class Open:
    """A request that has begun: what is held of which leases, and what its attempts were posted at."""

    __slots__ = ("changed", "held", "leases", "posted", "stored", "time_ns")

    def __init__(self, time_ns: int, held: int | None, leases: tuple[int | str, ...], posted: int = 0) -> None:
        self.time_ns, self.held, self.leases, self.posted = time_ns, held, leases, posted
        self.stored = False
        self.changed = True
        """Since it was stored, if it was."""

    def attempt(self, payload: bytes) -> None:
        """The frame of an attempt that begins or has ended."""
        if payload[1] == _ATTEMPTED:
            more = _attempted(payload).held_nanousd
            if more is None:
                return
            self.held = more
        else:
            self.posted += _posted(payload).cost_nanousd or 0
        self.changed = True


class Batch:
    """What a piece of one worker's log adds to the ledger."""

    def __init__(self, owner: str, segment: int, at: int) -> None:
        self.owner, self.segment, self.at = owner, segment, at
        self.frames = 0
        self.leases: dict[int, Sums] = {}
        self.named: list[tuple[str, int, Sums]] = []
        """Charges to budgets without a lease: name, when the request began, what."""
        self.sets: dict[tuple[int | str, ...], Sums] = {}
        """Charges to each lease of a set, until `add_up`."""
        self.open: dict[str, Open] = {}
        """Requests that are open where it ends."""
        self.ended: list[str] = []
        """Requests that were stored as open, and are not any more."""
        self.orphans: dict[str, int] = {}
        self.over = False

    def charge(
        self, one: Open, whole: int, *, exact: bool, orphan: bool = False, parts: tuple[tuple[int | str, int], ...] = ()
    ) -> None:
        """`parts`: leases that are charged something else than the whole."""
        own = dict(parts)
        for lease in one.leases:
            charged = own.get(lease, whole)
            if isinstance(lease, str):
                sums = Sums()
                self.named.append((lease, one.time_ns, sums))
            else:
                sums = self._sums_of(lease)
            sums.posted += charged
            sums.requests += 1
            if one.held is not None and charged > one.held:
                sums.excess += charged - one.held
            if not exact:
                sums.bound += charged
            if orphan:
                sums.orphans += 1

    def add_up(self) -> None:
        """Turn charges to sets of leases into charges to leases."""
        for leases, plain in self.sets.items():
            for lease in leases:
                if isinstance(lease, int):  # always: `_new_set`
                    sums = self._sums_of(lease)
                    sums.posted += plain.posted
                    sums.requests += plain.requests
        self.sets.clear()

    def _sums_of(self, lease: int) -> Sums:
        found = self.leases.get(lease)
        if found is None:
            found = self.leases[lease] = Sums()
        return found


class Reading:
    """Where the projection stands in one worker's log, and the requests that are open there."""

    def __init__(self, owner: str, segment: int, at: int) -> None:
        self.owner, self.segment, self.at = owner, segment, at
        self.open: dict[str, Open] = {}
        self._begun: dict[str, Held] = {}
        """Requests that began in this piece and have not ended; `_sort` makes them `open`."""
        self._loose: list[bytes] = []
        """Frames of attempts in this piece that belong to any of these, or to requests that have ended."""
        self.ended: dict[str, None] = {}
        self.remembers = segment == 0 or at == 0
        """Whether `ended` knows of what was read by an earlier process too."""

    def take(self, data: bytes, batch: Batch, most: int) -> int:
        """Take up to `most` frames from the beginning of `data`; returns the offset behind the last one.

        Stops before what is not a good frame, and before the one that ends a segment: `Scan` says what is there.
        """
        begun, opened, ended, sets, add = self._begun, self.open, self.ended, batch.sets, self._loose.append
        size, frames, at = len(data), 0, 0
        last = size - PREFIX_BYTES
        while frames < most and at <= last:
            length, checksum = _prefix(data, at)
            start, after = at, at + PREFIX_BYTES + length
            if not length or after > size:
                break
            payload = data[at + PREFIX_BYTES : after]
            if crc32(payload) != checksum:
                break
            at = after
            tag = payload[1]
            if payload[0] == ARRAY_16:
                if payload[3] == _HELD:
                    held = _held(payload)
                    if held.leases and held.id not in begun and held.id not in opened and held.id not in ended:
                        begun[held.id] = held
            elif tag == _POSTED or tag == _ATTEMPTED:  # noqa: SIM109 (a tuple is slower, 4 million times)
                add(payload)
            elif tag == _FINISHED:
                done = _finished(payload)
                first, cost = begun.get(done.id), done.cost_nanousd
                if (
                    first is not None
                    and cost is not None
                    and not done.parts
                    and (first.held_nanousd is None or cost <= first.held_nanousd)
                    and (sums := sets.get(first.leases) or _new_set(sets, first.leases)) is not None
                ):
                    sums.posted += cost
                    sums.requests += 1
                    del begun[done.id]
                    ended[done.id] = None
                else:
                    self._end(done, batch)
            elif tag == _CLOSED:
                at = start
                break
            frames += 1
        batch.frames += frames
        self._forget()
        return at

    def _end(self, done: Finished, batch: Batch) -> None:
        """A request ended at a cost that nobody knows, or above what was held, or it began in an earlier piece."""
        one, cost = self.open.get(done.id), done.cost_nanousd
        if one is None and done.id not in self._begun:
            return
        if one is None or cost is None or done.parts or (one.held is not None and cost > one.held):
            self._sort()
        one = self.open.pop(done.id)
        self.ended[done.id] = None
        if one.stored:
            batch.ended.append(done.id)
        if cost is not None:
            batch.charge(one, cost, exact=True, parts=done.parts)
        else:
            charged = bound(one.held, one.posted) if done.charged_nanousd is None else done.charged_nanousd
            batch.charge(one, charged, exact=False)

    def _sort(self) -> None:
        """Give the frames of attempts to the requests that are open by now."""
        for exchange, held in self._begun.items():
            self.open[exchange] = Open(held.time_ns, held.held_nanousd, held.leases)
        self._begun.clear()
        for payload in self._loose:
            one = self.open.get(str(payload[3 : 3 + payload[2] - SHORT_TEXT], "latin-1"))
            if one is not None:
                one.attempt(payload)
        self._loose.clear()

    def cut(self, batch: Batch, at: int) -> Batch:
        """The batch ends here."""
        self._sort()
        batch.add_up()
        self.segment, self.at, batch.at = batch.segment, at, at
        batch.open = dict(self.open)
        return batch

    def end(self, exchange: str) -> None:
        """It ended in what an earlier process has read."""
        self.ended[exchange] = None

    def _forget(self) -> None:
        if len(self.ended) > REMEMBERED:
            for old in list(self.ended)[: -REMEMBERED // 2]:
                del self.ended[old]

    def expire(self, batch: Batch) -> None:
        """The worker is gone: nobody will say any more what these requests cost."""
        for exchange, one in self.open.items():
            booked = bound(one.held, one.posted)
            batch.charge(one, booked, exact=False, orphan=True)
            batch.orphans[exchange] = booked
            if one.stored:
                batch.ended.append(exchange)
        self.open = {}


def ended_in(payload: memoryview) -> str | None:
    """The id of the request that this frame says the end of."""
    if payload[0] != ARRAY_16 and payload[1] == _FINISHED:
        return _finished(bytes(payload)).id
    return None


def _new_set(sets: dict[tuple[int | str, ...], Sums], leases: tuple[int | str, ...]) -> Sums | None:
    """`None` for a set in which a budget is named: what that is charged depends on when the request began."""
    if any(isinstance(lease, str) for lease in leases):
        return None
    sums = sets[leases] = Sums()
    return sums
