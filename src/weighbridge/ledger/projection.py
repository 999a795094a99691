"""The ledger as a projection of the exchange log: what each lease was charged, read from the frames of its worker.

A batch is read, then stored in one transaction together with how far was read: (worker, segment, byte). Whatever
crashes in between, nothing is counted twice and nothing is left out. Requests that have begun and not ended where a
batch stops are stored with it.

A worker that is gone, and whose log is read to its end, has no more to say: what it still held is booked at its upper
bound, marked as that, and the rest of its leases is free again. Nothing else ever frees them.
"""

from collections.abc import Callable, Generator, Iterator
from itertools import groupby
from typing import Protocol, cast

import msgspec

from weighbridge.exchanges.chain import Chain
from weighbridge.exchanges.framing import FRAMES_MAGIC, HEADER_BYTES, PREFIX_BYTES, Corrupt, Scan, check_header
from weighbridge.exchanges.segments import Segment, View, look
from weighbridge.ledger.leasing import close_if_read, resolve
from weighbridge.ledger.life import bound
from weighbridge.ledger.windows import window_of
from weighbridge.records.budget import SUBJECT_MARK, Budget
from weighbridge.records.frames import Attempted, Finished, Held, Posted
from weighbridge.store.layout import Layout
from weighbridge.store.ledger import LedgerStore, OpenHold, Sums

FRAMES_PER_BATCH = 40_000
"""About a quarter of a second of reading; leases are granted between two batches."""
REMEMBERED = 1 << 16
"""Requests that have ended lately: a write that was repeated in a new segment says so again."""
SINCE_NS = 3600 * 1_000_000_000
"""Logs that were sealed so long before the ledger was first used are not read."""
OVER = -1
"""In place of a segment number: everything of this worker is read and booked."""

ARRAY_16 = 0xDC
"""How MessagePack begins an array of 16 to 65,535 elements: of all frames, `held` alone has so many."""
_HELD, _ATTEMPTED, _POSTED, _FINISHED = 1, 2, 3, 4


class _HeldMoney(Protocol):
    id: str
    time_ns: int
    held_nanousd: int | None
    leases: tuple[int | str, ...]


class _FinishedMoney(Protocol):
    id: str
    cost_nanousd: int | None
    charged_nanousd: int | None
    parts: tuple[tuple[int | str, int], ...]


def _only(frame: type[msgspec.Struct], tag: int, *wanted: str) -> type[msgspec.Struct]:
    """A record of the same layout that leaves every field but the wanted ones as bytes: half the time to decode."""
    fields: list[tuple[str, object, object] | tuple[str, object]] = []
    for field in msgspec.structs.fields(frame):
        kind = field.type if field.name in wanted else msgspec.Raw
        if field.default is msgspec.NODEFAULT:
            fields.append((field.name, kind))
        else:
            fields.append((field.name, kind, field.default if field.name in wanted else msgspec.Raw(b"\xc0")))
    return msgspec.defstruct(f"{frame.__name__}Money", fields, array_like=True, tag=tag, gc=False)


_held = cast(
    Callable[[memoryview], _HeldMoney],
    msgspec.msgpack.Decoder(_only(Held, _HELD, "id", "time_ns", "held_nanousd", "leases")).decode,
)
_finished = cast(
    Callable[[memoryview], _FinishedMoney],
    msgspec.msgpack.Decoder(_only(Finished, _FINISHED, "id", "cost_nanousd", "charged_nanousd", "parts")).decode,
)
_attempted = msgspec.msgpack.Decoder(Attempted).decode
_posted = msgspec.msgpack.Decoder(Posted).decode


class Open:
    """A request that has begun: what is held of which leases, and the frames of its attempts, undecoded."""

    __slots__ = ("held", "leases", "posted", "rest", "stored", "time_ns")

    def __init__(self, time_ns: int, held: int | None, leases: tuple[int | str, ...], posted: int = 0) -> None:
        self.time_ns, self.held, self.leases, self.posted = time_ns, held, leases, posted
        self.rest: list[memoryview] = []
        self.stored = False

    def read_rest(self) -> None:
        """What is held by now, and what was posted."""
        for payload in self.rest:
            if payload[1] == _ATTEMPTED:
                more = _attempted(payload).held_nanousd
                self.held = self.held if more is None else more
            else:
                self.posted += _posted(payload).cost_nanousd or 0
        self.rest.clear()


class Batch:
    """What a piece of one worker's log adds to the ledger."""

    def __init__(self, owner: str, segment: int, at: int) -> None:
        self.owner, self.segment, self.at = owner, segment, at
        self.frames = 0
        self.leases: dict[int, Sums] = {}
        self.named: list[tuple[str, int, Sums]] = []
        """Charges to budgets without a lease: name, when the request began, what."""
        self.open: dict[str, Open] = {}
        self.ended: list[str] = []
        """Requests that were stored as open, and are not any more."""
        self.orphans: dict[str, int] = {}
        self.over = False

    def charge(
        self, one: Open, whole: int, *, exact: bool, orphan: bool = False, parts: tuple[tuple[int | str, int], ...] = ()
    ) -> None:
        """`parts`: leases that are charged something else than the whole."""
        excess, charged = 0, whole
        if one.held is not None and charged > one.held:
            one.read_rest()
            excess = max(0, charged - one.held)
        own = dict(parts) if parts else None
        for lease in one.leases:
            if own is not None:
                charged = own.get(lease, whole)
                excess = 0 if one.held is None else max(0, charged - one.held)
            if isinstance(lease, str):
                sums = Sums()
                self.named.append((lease, one.time_ns, sums))
            else:
                found = self.leases.get(lease)
                sums = self.leases[lease] = Sums() if found is None else found
            sums.posted += charged
            sums.requests += 1
            sums.excess += excess
            if not exact:
                sums.bound += charged
            if orphan:
                sums.orphans += 1


class Reading:
    """Where the projection stands in one worker's log, and the requests that are open there."""

    def __init__(self, owner: str, segment: int, at: int) -> None:
        self.owner, self.segment, self.at = owner, segment, at
        self.open: dict[str, Open] = {}
        self.ended: dict[str, None] = {}
        self.remembers = segment == 0 or at == 0
        """Whether `ended` knows of what was read by an earlier process too."""

    def end(self, exchange: str) -> None:
        self.ended[exchange] = None
        if len(self.ended) > REMEMBERED:
            for old in list(self.ended)[: REMEMBERED // 2]:
                del self.ended[old]

    def take(self, payload: memoryview, batch: Batch) -> None:
        """One frame."""
        batch.frames += 1
        tag = payload[3] if payload[0] == ARRAY_16 else payload[1]
        if tag == _HELD:
            held = _held(payload)
            if held.leases and held.id not in self.open and held.id not in self.ended:
                self.open[held.id] = Open(held.time_ns, held.held_nanousd, held.leases)
        elif tag == _FINISHED:
            done = _finished(payload)
            one = self.open.pop(done.id, None)
            if one is None:
                return
            self.end(done.id)
            if one.stored:
                batch.ended.append(done.id)
            if done.cost_nanousd is not None:
                batch.charge(one, done.cost_nanousd, exact=True, parts=done.parts)
            else:
                one.read_rest()
                charged = bound(one.held, one.posted) if done.charged_nanousd is None else done.charged_nanousd
                batch.charge(one, charged, exact=False)
        else:
            one = self.open.get(_identity(payload))
            if one is not None:
                one.rest.append(payload)

    def expire(self, batch: Batch) -> None:
        """The worker is gone: nobody will say any more what these requests cost."""
        for exchange, one in self.open.items():
            one.read_rest()
            booked = bound(one.held, one.posted)
            batch.charge(one, booked, exact=False, orphan=True)
            batch.orphans[exchange] = booked
            if one.stored:
                batch.ended.append(exchange)
        self.open = {}


def _identity(payload: memoryview) -> str:
    """The id of an `attempted` or `posted` frame: a short string right behind the tag."""
    length = payload[2] - 0xA0
    if not 0 <= length <= 31:
        return ""
    return str(payload[3 : 3 + length], "ascii")


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
                    one.stored = True
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
        base = reading.at if segment.number == reading.segment else 0
        data = segment.read_from(base, growing=live and segment.sealed is None)
        if base == 0 and not check_header(data, FRAMES_MAGIC, segment.path):
            return not live  # a segment that never got its header holds nothing
        scan = Scan(data, HEADER_BYTES if base == 0 else 0, None)
        batch = Batch(reading.owner, segment.number, 0)
        for offset, payload in scan:
            reading.take(payload, batch)
            if batch.frames >= FRAMES_PER_BATCH:
                yield self._cut(reading, batch, base + offset + PREFIX_BYTES + len(payload))
                batch = Batch(reading.owner, segment.number, 0)
        if batch.frames:
            yield self._cut(reading, batch, base + scan.end)
        if scan.damage is None:
            return True
        if live and segment.sealed is None:
            return False  # a write that is under way looks like damage until it is done
        raise Corrupt(segment.path, base + scan.damage[0], scan.damage[1])

    def _cut(self, reading: Reading, batch: Batch, at: int) -> Batch:
        reading.segment, reading.at, batch.at = batch.segment, at, at
        for one in reading.open.values():
            one.read_rest()
        batch.open = dict(reading.open)
        return batch

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
                    if payload[0] != ARRAY_16 and payload[1] == _FINISHED:
                        reading.end(_finished(payload).id)

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
        for lease, sums in batch.leases.items():
            if store.post(lease, sums):
                close_if_read(store, lease)
        for name, time_ns, sums in batch.named:
            self._charge_by_name(name, time_ns, sums)
        for exchange in batch.ended:
            store.drop_open_hold(exchange)
        for exchange, one in batch.open.items():
            store.put_open_hold(
                OpenHold(exchange, batch.owner, self._site, one.time_ns, one.held, one.posted, one.leases)
            )
            one.stored = True
        for exchange, booked in batch.orphans.items():
            store.put_orphan(exchange, batch.owner, booked, now_ns)
        store.set_projected(self._site, batch.owner, batch.segment, batch.at)
        if batch.over:
            resolve(store, batch.owner)

    def _charge_by_name(self, name: str, time_ns: int, sums: Sums) -> None:
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
            self._store.post_window(window.id, sums)
