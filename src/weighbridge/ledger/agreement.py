"""Do the books say what the log says? Every sum of the ledger, counted again from the frames it was made of.

The log is read from its beginning to where the ledger's projection stood at one moment, with nothing but what the
frames say, and compared three times over:

- each lease, open or closed, with what the log charged to it: money, requests, what was booked at an upper bound
- each window with the sum of its leases, and what is used of it with what is out
- each orphan with the upper bound that the log gives it

What a person wrote off stands in the signed log and not in the worker's; such workers are left out, and counted.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby

import msgspec

from weighbridge.exchanges.chain import Chain
from weighbridge.exchanges.framing import FRAMES_MAGIC, HEADER_BYTES, check_header
from weighbridge.exchanges.segments import Segment, look
from weighbridge.ledger.projection import FRAMES_PER_BATCH, OVER
from weighbridge.ledger.reading import Batch, Reading
from weighbridge.records.backup import WriteOff
from weighbridge.records.canonical import digest, parse
from weighbridge.records.usage import usd
from weighbridge.store.books import Books, Charged
from weighbridge.store.layout import Layout
from weighbridge.store.ledger import Sums, WindowRow

SHOWN_MAX = 20
"""Differences that are named one by one."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    where: str
    what: str


class Agreement(msgspec.Struct, kw_only=True):
    windows: int = 0
    """Of whose charges any was counted again."""
    requests: int = 0
    """Charged to any of them, as the log says."""
    differences: list[Difference] = []
    notes: list[str] = []


def agree(layout: Layout, books: Books, site: str) -> Agreement:
    """Hold the ledger against the log of this store (`site`). Raises `Corrupt` for a log that cannot be read.

    Windows that gateways share hold charges of other sites too; those are added up, and held against no log here.
    """
    found = Agreement()
    windows = {window.id: window for window in books.windows}
    _add_up(books, found)
    charged: dict[str, list[Charged]] = defaultdict(list)
    for row in books.charged:
        if row.site == site and row.owner:
            charged[row.owner].append(row)
    left_out, retired = written_off(layout), set()
    orphans: dict[str, int] = {}
    unknown = Sums()
    with look(layout, Chain(layout)) as view:
        logged = {owner: list(segments) for owner, segments in groupby(view.segments, key=lambda one: one.incarnation)}
        for owner in sorted(charged.keys() | books.places.keys() - left_out):
            if owner in left_out:
                continue
            segments = logged.get(owner, [])
            place = books.places.get(owner)
            if place is not None and (not segments or segments[0].number != 1):
                retired.add(owner)
                continue
            said = read_to(owner, segments, place)
            orphans.update(said.orphans)
            _compare(owner, charged.get(owner, []), said, windows, found, unknown)
    counted = {row.window for owner, rows in charged.items() if owner not in left_out | retired for row in rows}
    found.windows = len(counted)
    _compare_orphans(books.orphans, orphans, found)
    if left_out & charged.keys():
        found.notes.append(
            f"budgets: {len(left_out & charged.keys())} workers were written off, which stands in the signed log"
        )
    if retired & charged.keys():
        found.notes.append(
            f"budgets: the log of {len(retired & charged.keys())} workers is past its days and was not counted again"
        )
    if unknown.requests:
        found.notes.append(
            f"budgets: {unknown.requests:,} charges, {usd(unknown.posted)} together, name leases that this ledger does "
            "not have: void since a restore, or closed before an upgrade that keeps them"
        )
    return found


def written_off(layout: Layout) -> set[str]:
    """Workers whose leases a person, or a restore, booked as spent. Raises `ValueError` for a changed record."""
    found: set[str] = set()
    for entry in Chain(layout).snapshot().objects:
        if entry.kind == "write_off":
            body = layout.object(entry.digest).read_bytes()
            if digest(body) != entry.digest:
                raise ValueError(f"{layout.object(entry.digest)} is not the object that was signed")
            found |= {row.worker for row in parse(body, WriteOff).rows}
    return found


class Said(msgspec.Struct):
    """What a worker's log charges."""

    leases: dict[int, Sums] = {}
    named: Sums = msgspec.field(default_factory=Sums)
    orphans: dict[str, int] = {}


def read_to(owner: str, segments: list[Segment], place: tuple[int, int] | None) -> Said:
    """A worker's log from its beginning to where the projection stood; `None`: it had not begun."""
    said = Said()
    if place is None:
        return said
    last, end = place
    reading = Reading(owner, segments[0].number, 0)
    for segment in segments:
        if last != OVER and segment.number > last:
            break
        data = segment.read()
        if segment.number == last:
            data = data[:end]
        if not data or not check_header(data, FRAMES_MAGIC, segment.path):
            continue
        for batch in _batches(reading, segment.number, data):
            _add(said, batch)
    if last == OVER:
        batch = Batch(owner, OVER, 0)
        reading.expire(batch)
        _add(said, batch)
    return said


def _batches(reading: Reading, segment: int, data: bytes) -> Iterator[Batch]:
    at, size = HEADER_BYTES, 1 << 20
    while True:
        batch = Batch(reading.owner, segment, at)
        done = reading.take(data[at : at + size], batch, FRAMES_PER_BATCH)
        at += done
        if done:
            yield reading.cut(batch, at)
            size = 1 << 20
        elif at + size >= len(data):
            return
        else:
            size *= 2  # a frame of more than a piece


def _add(said: Said, batch: Batch) -> None:
    for lease, sums in batch.leases.items():
        _plus(said.leases.setdefault(lease, Sums()), sums)
    for _, _, sums in batch.named:
        _plus(said.named, sums)
    said.orphans |= batch.orphans


def _plus(to: Sums, sums: Sums) -> None:
    to.posted += sums.posted
    to.bound += sums.bound
    to.requests += sums.requests
    to.orphans += sums.orphans
    to.excess += sums.excess


# --- comparing --------------------------------------------------------------------------------------------------------


def _compare(
    owner: str, rows: list[Charged], said: Said, windows: dict[int, WindowRow], found: Agreement, unknown: Sums
) -> None:
    named = Sums()
    for row in rows:
        if row.lease is None:
            _plus(named, sums_of(row))
            continue
        log = said.leases.pop(row.lease, Sums())
        found.requests += log.requests
        if log != sums_of(row):
            _differ(found, _place(windows, row.window, owner), _both(sums_of(row), log))
    for sums in said.leases.values():
        _plus(unknown, sums)
    # A budget that was out of the configuration when its charge was read is charged nothing: less is in order.
    if any(getattr(named, field) > getattr(said.named, field) for field in Sums.__struct_fields__):
        place = next((_place(windows, row.window, owner) for row in rows if row.lease is None), owner)
        _differ(found, place, f"without a lease, {_both(named, said.named)}")


def _add_up(books: Books, found: Agreement) -> None:
    totals: dict[int, Sums] = defaultdict(Sums)
    granted: dict[int, int] = defaultdict(int)
    for row in books.charged:
        if row.closed:
            _plus(totals[row.window], sums_of(row))
        granted[row.window] += row.granted
    for window in books.windows:
        place = _place({window.id: window}, window.id, None)
        own = Sums(window.posted_nanousd, window.bound_nanousd, window.requests, window.orphans, window.excess_nanousd)
        if own != totals[window.id]:
            _differ(found, place, f"it says {_said(own)}, its closed leases {_said(totals[window.id])}")
        out = granted[window.id] + window.posted_nanousd
        if window.used_nanousd != out:
            _differ(found, place, f"{usd(window.used_nanousd)} are used of it, {usd(out)} are spent or out in leases")


def _compare_orphans(booked: dict[str, int], said: dict[str, int], found: Agreement) -> None:
    for exchange, nanousd in said.items():
        if booked.get(exchange) != nanousd:
            got = "not at all" if exchange not in booked else f"at {usd(booked[exchange])}"
            _differ(found, exchange, f"its worker died: the log bounds it at {usd(nanousd)}, it is booked {got}")


def sums_of(row: Charged) -> Sums:
    return Sums(row.posted, row.bound, row.requests, row.orphans, row.excess)


def _place(windows: dict[int, WindowRow], window: int, owner: str | None) -> str:
    row = windows.get(window)
    name = f"window {window}" if row is None else f"budget {row.budget!r}"
    if row is not None:
        name += f" / {row.subject!r}" if row.subject else ""
        name += f", {row.span} from {_day(row.start_ns)}"
    return f"ledger, {name}" if owner is None else f"ledger, {name}, worker {owner}"


def _day(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _both(books: Sums, log: Sums) -> str:
    return f"the books say {_said(books)}, the log says {_said(log)}"


def _said(sums: Sums) -> str:
    text = f"{usd(sums.posted)} for {sums.requests:,} requests"
    if sums.bound or sums.orphans:
        text += f", {usd(sums.bound)} of it at upper bounds ({sums.orphans:,} orphans)"
    return text + (f", {usd(sums.excess)} above holds" if sums.excess else "")


def _differ(found: Agreement, where: str, what: str) -> None:
    if len(found.differences) < SHOWN_MAX:
        found.differences.append(Difference(where=where, what=what))
    elif len(found.differences) == SHOWN_MAX:
        found.differences.append(Difference(where="ledger", what="and more; the first ones are named"))
