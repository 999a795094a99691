"""The ledger as a projection of the exchange log: what each lease was charged, read from the frames of its worker.

A batch is read, then stored in one transaction together with how far was read: (worker, segment, byte). Whatever
crashes in between, nothing is counted twice and nothing is left out. Requests that have begun and not ended where a
batch stops are stored with it.

A worker that is gone, and whose log is read to its end, has no more to say: what it still held is booked at its upper
bound, marked as that, and the rest of its leases is free again. Nothing else ever frees them.
"""

import os
from collections.abc import Callable, Generator, Iterator
from itertools import groupby

from weighbridge.exchanges.chain import Chain
from weighbridge.exchanges.framing import FRAMES_MAGIC, HEADER_BYTES, Corrupt, Scan, check_header, header
from weighbridge.exchanges.segments import Segment, View, look
from weighbridge.ledger.leasing import resolve
from weighbridge.ledger.reading import Batch, Open, Reading, ended_in
from weighbridge.ledger.windows import window_of
from weighbridge.records.budget import SUBJECT_MARK, Budget
from weighbridge.store.layout import Layout
from weighbridge.store.ledger import LedgerStore, OpenHold, Sums

FRAMES_PER_BATCH = 200_000
"""About a quarter of a second of reading; leases are granted between two batches."""
PIECE_BYTES = 1 << 20
SINCE_NS = 3600 * 1_000_000_000
"""Logs that were sealed so long before the ledger was first used are not read."""
OVER = -1
"""In place of a segment number: everything of this worker is read and booked."""


_HEADER = header(FRAMES_MAGIC)


def _reader(segment: Segment, growing: bool) -> Callable[[int, int | None], bytes]:
    """Reads so many bytes from an offset on, or all; what is open in pieces, so that it passes through the caches."""
    if segment.sealed is None:
        return lambda at, size: (
            segment.read_from(at, growing=growing) if size is None else os.pread(segment.fd, size, at)
        )
    raw = segment.read()
    return lambda at, size: raw[at : None if size is None else at + size]


class Projector:
    """Reads what is new and hands it out in batches; `store` makes each of them lasting.

    Not thread-safe. `batches` reads files only; `store` is called inside a transaction.
    """

    def __init__(
        self, layout: Layout, store: LedgerStore, site: str, budget: Callable[[str], Budget | None] = lambda name: None
    ) -> None:
        self._layout, self._store, self._site, self._budget = layout, store, site, budget
        self._chain = Chain(layout)
        self._readings: dict[str, Reading] = {}
        self._over: set[str] = set()
        self._known: set[str] = set()
        self._since_ns = 0
        self.damaged: dict[str, Corrupt] = {}
        """Workers whose log cannot be read to its end: their leases stay out until they are written off."""

    def load(self, now_ns: int) -> None:
        """Go on where the ledger says; after a start, or after a batch that could not be stored. In a transaction."""
        places = self._store.projected(self._site)
        self._over = {owner for owner, (segment, _) in places.items() if segment == OVER}
        self._known = self._store.owners(self._site) | places.keys()
        said = self._store.note(f"projected-since {self._site}")
        if said is None:
            said = str(now_ns - SINCE_NS)
            self._store.set_note(f"projected-since {self._site}", said)
        self._since_ns = int(said)
        self._readings = {}
        for owner, (segment, at) in places.items():
            if segment != OVER:
                reading = self._readings[owner] = Reading(owner, segment, at)
                for hold in self._store.open_holds(owner):
                    one = Open(hold.time_ns, hold.held_nanousd, hold.leases, hold.posted_nanousd)
                    one.stored, one.changed = True, False
                    reading.open[hold.exchange] = one

    def batches(self) -> Iterator[Batch]:
        """What is new, worker by worker. Store each batch before asking for the next one. Raises `Corrupt`."""
        with look(self._layout, self._chain) as view:
            for owner, segments in groupby(view.segments, key=lambda one: one.incarnation):
                if owner in self._over or owner in self.damaged:
                    continue
                found = list(segments)
                if owner not in self._known and all(self._is_history(segment) for segment in found):
                    self._over.add(owner)
                    continue
                try:
                    yield from self._of_owner(view, owner, found)
                except Corrupt as damage:
                    self._readings.pop(owner, None)
                    self.damaged[owner] = damage

    def _is_history(self, segment: Segment) -> bool:
        """Sealed before there was a ledger to charge anything to."""
        return segment.sealed is not None and (segment.sealed.last_ns or 0) < self._since_ns

    def _of_owner(self, view: View, owner: str, segments: list[Segment]) -> Iterator[Batch]:
        live = owner in view.live
        reading = self._readings.get(owner)
        if reading is None:
            reading = self._readings[owner] = Reading(owner, segments[0].number, 0)
        if not reading.remembers:
            self._remember(reading, segments)
        whole = True
        for segment in segments:
            if segment.number >= reading.segment:
                whole = yield from self._of_segment(reading, segment, live)
        if live or not whole:
            return
        batch = Batch(owner, OVER, 0)
        reading.expire(batch)
        batch.over = True
        yield batch
        self._readings.pop(owner, None)
        self._over.add(owner)

    def _of_segment(self, reading: Reading, segment: Segment, live: bool) -> Generator[Batch, None, bool]:
        """Whether it is read to the end that its writer left."""
        growing = live and segment.sealed is None
        read = _reader(segment, growing)
        at = reading.at if segment.number == reading.segment else 0
        if at == 0:
            if read(0, HEADER_BYTES) != _HEADER and not check_header(read(0, None), FRAMES_MAGIC, segment.path):
                return not live  # a segment that never got its header holds nothing
            at = HEADER_BYTES
        batch = Batch(reading.owner, segment.number, at)
        piece: int | None = PIECE_BYTES
        while True:
            data = read(at, piece)
            done = reading.take(data, batch, FRAMES_PER_BATCH - batch.frames)
            at += done
            if batch.frames >= FRAMES_PER_BATCH:
                yield reading.cut(batch, at)
                batch = Batch(reading.owner, segment.number, at)
            if done:
                piece = PIECE_BYTES
            elif piece is None:
                break
            else:
                piece = None  # the end, or a frame of more than a piece
        if batch.frames:
            yield reading.cut(batch, at)
        # A segment's closing frame is not read: it is to be there still when it is looked for again.
        end = Scan(data, 0, None)
        for _ in end:
            pass
        if end.damage is None:
            return True
        if growing:
            return False  # a write that is under way looks like damage until it is done
        raise Corrupt(segment.path, at + end.damage[0], end.damage[1])

    def _remember(self, reading: Reading, segments: list[Segment]) -> None:
        """After a restart: which requests have ended in what was read before, as far as a repeated write may reach."""
        reading.remembers = True
        for segment in segments:
            if segment.number in (reading.segment - 1, reading.segment):
                data = segment.read()
                if not check_header(data, FRAMES_MAGIC, segment.path):
                    continue
                for offset, payload in Scan(data):
                    if segment.number == reading.segment and offset >= reading.at:
                        break
                    exchange = ended_in(payload)
                    if exchange is not None:
                        reading.end(exchange)

    def lost(self) -> dict[str, str]:
        """Workers that are gone and have leases, but whose log cannot be read to its end, and why. In a transaction."""
        with look(self._layout, self._chain) as view:
            logged, live = {segment.incarnation for segment in view.segments}, view.live
        found = {owner: f"its log is damaged: {damage}" for owner, damage in self.damaged.items()}
        for owner in self._store.lease_owners(self._site) - logged - live:
            found.setdefault(owner, "its log is gone")
        return found

    def forget(self, owner: str) -> None:
        """It was written off: its log is not read any more."""
        self._readings.pop(owner, None)
        self.damaged.pop(owner, None)
        self._over.add(owner)

    # --- storing ------------------------------------------------------------------------------------------------------

    def store(self, batch: Batch, now_ns: int) -> None:
        """Make a batch lasting. In a transaction."""
        store = self._store
        if batch.leases:
            store.post(batch.leases)
            for row in store.leases_read(batch.owner):
                store.close_lease(row)
        for name, time_ns, sums in batch.named:
            self._charge_by_name(batch.owner, name, time_ns, sums)
        if batch.ended:
            store.drop_open_holds(batch.ended)
        changed = {exchange: one for exchange, one in batch.open.items() if one.changed}
        if changed:
            store.put_open_holds(
                OpenHold(exchange, batch.owner, self._site, one.time_ns, one.held, one.posted, one.leases)
                for exchange, one in changed.items()
            )
            for one in changed.values():
                one.stored, one.changed = True, False
        if batch.orphans:
            store.put_orphans(batch.owner, batch.orphans, now_ns)
        store.set_projected(self._site, batch.owner, batch.segment, batch.at)
        if batch.over:
            resolve(store, batch.owner)

    def _charge_by_name(self, owner: str, name: str, time_ns: int, sums: Sums) -> None:
        """Let through while the ledger was gone: it belongs to the window in which the request began."""
        budget_name, _, subject = name.partition(SUBJECT_MARK)
        budget = self._budget(budget_name)
        if budget is None:
            return  # it was taken out of the configuration since: there is no cap to count against
        span = window_of(budget.window, budget.time_zone, time_ns)
        limit = budget.per_user_nanousd if subject else budget.limit_nanousd
        self._store.open_window(
            budget.name, subject, budget.span, span.start_ns, span.end_ns, limit if budget.hard else None
        )
        window = self._store.window_at(budget.name, subject, budget.span, span.start_ns)
        if window is not None:
            self._store.post_window(window.id, owner, self._site, sums)
