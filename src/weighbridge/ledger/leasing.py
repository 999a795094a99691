"""Who may spend how much: what the keeper decides in one transaction, on either database.

The cap is kept by escrow. What a worker was granted counts as used, from the moment it is granted until the worker
gives it back or its log was read to the end; so `used <= limit` needs nothing to be said about requests. Workers spend
what they were granted without asking anybody, and requests that need more are given it here, all budgets of a request
together or none.

How much is granted beyond what is needed: a part of what is free, so that a worker asks seldom while there is plenty,
and nothing once that part would be smaller than two requests. Near a cap every request is leased by itself, and no
money lies idle with one worker while another is refused.
"""

from collections.abc import Sequence

from weighbridge.ledger.windows import window_of
from weighbridge.store.funds import Ask, Given, Grant, Short, Want
from weighbridge.store.ledger import LeaseRow, LedgerStore, WindowRow

IDLE_PARTS = 4
"""A worker gets a quarter of what its share of the free money would be."""
LIMIT_PARTS = 50
"""And at most a fiftieth of the cap: what a power cut can hide of one worker's spending."""


def ahead(free_nanousd: int, limit_nanousd: int, workers: int, request_nanousd: int) -> int:
    """What to grant beyond the need, nano-dollars."""
    size = min(free_nanousd // (IDLE_PARTS * max(1, workers)), limit_nanousd // LIMIT_PARTS)
    return size if size >= 2 * request_nanousd else 0


def give(store: LedgerStore, owner: str, site: str, asks: Sequence[Ask], now_ns: int) -> list[Given]:
    """Decide what a worker asks for, and store it. Call it inside a transaction; commit before answering."""
    return [_give(store, owner, site, ask, now_ns) for ask in asks]


class _Place:
    """One account of a request: its window, and what the worker has of it."""

    def __init__(self, store: LedgerStore, owner: str, want: Want, now_ns: int) -> None:
        self.want, self.window = want, current_window(store, want, now_ns)
        self.lease = store.lease_of(self.window.id, owner)
        mine = self.lease is not None and self.lease.id == want.lease
        self.room = want.room_nanousd if mine else 0
        self.free = 0 if want.limit_nanousd is None else max(0, want.limit_nanousd - self.window.used_nanousd)

    def fits(self, nanousd: int, count: int) -> int:
        if self.want.limit_nanousd is None or nanousd == 0:
            return count
        return max(0, min(count, (self.room + self.free) // nanousd))


def _give(store: LedgerStore, owner: str, site: str, ask: Ask, now_ns: int) -> Given:
    places = [_Place(store, owner, want, now_ns) for want in sorted(ask.wants, key=_order)]
    count, short = ask.count, None
    for place in places:
        fitting = place.fits(ask.nanousd, ask.count)
        if fitting < count or (fitting == count < ask.count and short is None):
            count, short = fitting, _short(place, ask.nanousd)
    if count == 0:
        return Given(0, (), short)
    plenty = count == ask.count
    grants = tuple(_grant(store, owner, site, place, ask.nanousd, count, plenty, now_ns) for place in places)
    return Given(count, grants, short)


def _order(want: Want) -> tuple[str, str]:
    return want.budget, want.subject


def _grant(
    store: LedgerStore, owner: str, site: str, place: _Place, nanousd: int, count: int, plenty: bool, now_ns: int
) -> Grant:
    want, window, lease = place.want, place.window, place.lease
    identity = store.new_lease(window.id, owner, site) if lease is None else lease.id
    added = 0
    if want.limit_nanousd is not None:
        added = max(0, count * nanousd - place.room)
        if plenty:
            added += ahead(place.free - added, want.limit_nanousd, store.owners_on(window.id), nanousd)
        if added:
            store.add_granted(identity, added)
            store.add_used(window.id, added)
    ends_in = None if window.end_ns is None else window.end_ns - now_ns
    return Grant(want.budget, want.subject, identity, added, ends_in)


def _short(place: _Place, nanousd: int) -> Short:
    window, want = place.window, place.want
    left = place.room + place.free
    return Short(want.budget, want.subject, left, want.limit_nanousd or 0, want.span, window.end_ns)


def current_window(store: LedgerStore, want: Want, now_ns: int) -> WindowRow:
    """The window of an account that is open now; opened where there is none. It never goes back to an earlier one."""
    window = store.latest_window(want.budget, want.subject, want.span)
    if window is None or (window.end_ns is not None and now_ns >= window.end_ns):
        opened = window_of(want.window, want.time_zone, now_ns)
        store.open_window(want.budget, want.subject, want.span, opened.start_ns, opened.end_ns, want.limit_nanousd)
        window = store.latest_window(want.budget, want.subject, want.span)
        if window is None:
            raise RuntimeError(f"the window of {want.budget!r} was opened and is not there")
    elif window.limit_nanousd != want.limit_nanousd:
        store.set_limit(window.id, want.limit_nanousd)
    return window


def windows_short(store: LedgerStore, given: Sequence[Given]) -> tuple[int, ...]:
    """The windows that kept requests from being let in: their other leases may have something idle."""
    found: dict[int, None] = {}
    for one in given:
        if one.short is not None:
            window = store.latest_window(one.short.budget, one.short.subject, one.short.span)
            if window is not None:
                found[window.id] = None
    return tuple(found)


def give_back(store: LedgerStore, owner: str, leases: Sequence[tuple[int, int]]) -> None:
    for identity, nanousd in leases:
        row = _own(store, identity, owner)
        if row is not None:
            nanousd = max(0, min(nanousd, row.granted_nanousd))
            store.add_granted(identity, -nanousd)
            store.add_used(row.window_id, -nanousd)


def overdraw(store: LedgerStore, owner: str, identity: int, nanousd: int) -> None:
    """A request cost more than was held for it: it is booked, whatever the cap says."""
    row = _own(store, identity, owner)
    if row is not None and nanousd > 0:
        store.add_granted(identity, nanousd)
        store.add_used(row.window_id, nanousd)


def release(store: LedgerStore, owner: str, leases: Sequence[tuple[int, int]]) -> None:
    """The worker is done with them and says what it spent. They are closed when its log has shown all of that."""
    for identity, spent in leases:
        row = _own(store, identity, owner)
        if row is None:
            continue
        store.add_granted(identity, spent - row.granted_nanousd)
        store.add_used(row.window_id, spent - row.granted_nanousd)
        store.set_released(identity, spent)
        close_if_read(store, identity)


def close_if_read(store: LedgerStore, identity: int) -> None:
    row = store.lease(identity)
    if row is not None and row.released_nanousd is not None and row.posted_nanousd == row.released_nanousd:
        store.close_lease(row)


def reconcile(store: LedgerStore, owner: str, leases: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """A worker (re)connected and said what it has. Returns the leases that hold no more.

    What it was granted and never heard of is free again; what it had to add because a provider charged more is added.
    """
    stated = dict(leases)
    for row in store.leases_of(owner):
        # A lease that it does not name was granted in an answer that did not arrive: nothing was spent of it.
        granted = stated.pop(row.id, row.released_nanousd or row.posted_nanousd)
        store.add_granted(row.id, granted - row.granted_nanousd)
        store.add_used(row.window_id, granted - row.granted_nanousd)
    return tuple(stated)


def resolve(store: LedgerStore, owner: str) -> None:
    """The worker is gone and all of its log is projected: what it did not spend is free again."""
    for row in store.leases_of(owner):
        store.close_lease(row)


def _own(store: LedgerStore, identity: int, owner: str) -> LeaseRow | None:
    row = store.lease(identity)
    return row if row is not None and row.owner == owner else None
