"""Reading the exchange log: everything once, or what is new.

Both start from one view of sealed and open segments, so that nothing is seen twice or missed while the keeper seals.
"""

import time
from collections.abc import Callable, Collection, Iterator
from itertools import groupby

from weighbridge.exchanges.bodystore import BodyReader
from weighbridge.exchanges.chain import Chain
from weighbridge.exchanges.framing import FRAMES_MAGIC, HEADER_BYTES, Corrupt, Scan, check_header
from weighbridge.exchanges.merge import Merge, Tell, Wanted
from weighbridge.exchanges.segments import Segment, View, look
from weighbridge.records.exchange import Exchange
from weighbridge.records.frames import Held, Purpose, Told
from weighbridge.store.layout import Layout

__all__ = ["BodyReader", "Corrupt", "Follower", "read"]

_LIVE_TRIES = 5
_LIVE_WAIT_S = 0.002

Damaged = Callable[[Corrupt], object]


def read(
    layout: Layout,
    *,
    route: str | None = None,
    slice: str | None = None,  # noqa: A002 (the glossary's word)
    purpose: Purpose | None = None,
    key: str | None = None,
    user: str | None = None,
    trial: str | None = None,
    since_ns: int | None = None,
    until_ns: int | None = None,
    ids: Collection[str] | None = None,
    damaged: Damaged | None = None,
    told: Tell | None = None,
) -> Iterator[Exchange]:
    """Every finished or lost exchange that fits all given filters, once each, worker start by worker start.

    An exchange that is still running is left out. `since_ns` (inclusive) and `until_ns` (exclusive) are about the
    request's start. Damage raises `Corrupt`; with `damaged` it is reported there and reading goes on behind it. `told`
    gets every outcome that is met on the way, whatever the filters are.
    """
    found = None if ids is None else frozenset(ids)

    def wanted(held: Held) -> bool:
        return (
            (route is None or held.route == route)
            and (slice is None or held.slice == slice)
            and (purpose is None or held.purpose == purpose)
            and (key is None or held.key == key)
            and (user is None or held.user == user)
            and (trial is None or held.trial == trial)
            and (since_ns is None or held.time_ns >= since_ns)
            and (until_ns is None or held.time_ns < until_ns)
            and (found is None or held.id in found)
        )

    incarnations = None if found is None else frozenset(identity.partition("-")[0] for identity in found)
    with look(layout, Chain(layout)) as view:
        for incarnation, segments in groupby(view.segments, key=lambda one: one.incarnation):
            if incarnations is None or incarnation in incarnations:
                yield from _of_incarnation(view, incarnation, list(segments), wanted, since_ns, damaged, told)


def _of_incarnation(
    view: View,
    incarnation: str,
    segments: list[Segment],
    wanted: Wanted,
    since_ns: int | None,
    damaged: Damaged | None,
    told: Tell | None,
) -> Iterator[Exchange]:
    merge = Merge(wanted, told)
    live = incarnation in view.live
    for segment in segments:
        if since_ns is not None and segment.sealed is not None and (segment.sealed.last_ns or since_ns) < since_ns:
            continue  # all its frames are older than what is asked for
        try:
            yield from _of_segment(segment, merge, live, damaged)
        except Corrupt as damage:
            if damaged is None:
                raise
            damaged(damage)
    if not live:
        yield from merge.finish()


def _of_segment(segment: Segment, merge: Merge, live: bool, damaged: Damaged | None) -> Iterator[Exchange]:
    data = segment.read()
    start = HEADER_BYTES if check_header(data, FRAMES_MAGIC, segment.path) else None
    before: int | None = 0
    tries = 0
    while start is not None:
        scan = Scan(data, start, before)
        for offset, payload in scan:
            if (done := merge.add(payload, segment.path, offset)) is not None:
                yield done
        if scan.damage is None:
            return
        if live and segment.sealed is None and tries < _LIVE_TRIES:
            # A write that is under way looks like damage until it is done.
            tries += 1
            time.sleep(_LIVE_WAIT_S)
            data, start = segment.read(), scan.end
            before = None if before is None else before + scan.frames
            continue
        damage = Corrupt(segment.path, *scan.damage)
        if damaged is None:
            raise damage
        damaged(damage)
        start, before = scan.resume, None


class Follower:
    """What is new in the log, exchange by exchange as they end.

    Without `history`, exchanges that ended before the follower was made are left out; one that is running is reported
    when it ends. With `unsealed`, what ended in segments that are not sealed counts as new. `poll` raises `Corrupt`.
    """

    def __init__(
        self, layout: Layout, *, history: bool = False, unsealed: bool = False, told: Tell | None = None
    ) -> None:
        """`told` gets every outcome that a `poll` meets."""
        self._layout, self._chain = layout, Chain(layout)
        self._told: Tell | None = None
        self._waiting: list[tuple[str, Exchange]] = []
        """Read already, not reported yet."""
        self._merges: dict[str, Merge] = {}
        self._at: dict[str, int | None] = {}
        """Segment name -> where to go on, `None` where it is read to its end."""
        self._over: set[str] = set()
        """Incarnations that are gone and read to their end."""
        if not history:
            self._skip_history(keep_unsealed=unsealed)
        self._told = told

    def _skip_history(self, *, keep_unsealed: bool) -> None:
        with look(self._layout, self._chain) as view:
            for incarnation, found in groupby(view.segments, key=lambda one: one.incarnation):
                segments = list(found)
                is_open = any(segment.sealed is None for segment in segments)
                # A running request's frames begin in the open segment or in the last that was sealed.
                recent = [segment for segment in segments if segment.sealed is None]
                recent = (
                    [segment for segment in segments if segment.sealed is not None][-1:] + recent if is_open else []
                )
                for segment in segments:
                    if segment not in recent:
                        self._at[segment.name] = None
                if not is_open:
                    self._over.add(incarnation)
            still_open = {segment.name for segment in view.segments if segment.sealed is None}
            read_now = self._read(view)
            self._waiting = [one for one in read_now if one[0] in still_open] if keep_unsealed else []

    def poll(self) -> list[Exchange]:
        """The exchanges that ended since the last call, in log order within each worker. Does not wait."""
        with look(self._layout, self._chain) as view:
            return [exchange for _, exchange in self.poll_view(view)]

    def poll_view(self, view: View) -> list[tuple[str, Exchange]]:
        """The same from a look that the caller has taken, each with the name of the segment that it ended in."""
        found, self._waiting = self._waiting, []
        return found + self._read(view)

    def _read(self, view: View) -> list[tuple[str, Exchange]]:
        found: list[tuple[str, Exchange]] = []
        present = set()
        for incarnation, group in groupby(view.segments, key=lambda one: one.incarnation):
            segments = list(group)
            present.add(incarnation)
            if incarnation in self._over:
                continue
            merge = self._merges.setdefault(incarnation, Merge(told=self._tell))
            live = incarnation in view.live
            has_open = False
            for segment in segments:
                has_open = has_open or segment.sealed is None
                self._read_segment(segment, merge, live, found)
            if not live and not has_open:
                self._over.add(incarnation)
            if not live:
                found += [(segments[-1].name, lost) for lost in merge.finish()]
        return found

    def _tell(self, frame: Told) -> None:
        if self._told is not None:
            self._told(frame)

    def _read_segment(self, segment: Segment, merge: Merge, live: bool, found: list[tuple[str, Exchange]]) -> None:
        at = self._at.get(segment.name, 0)
        if at is None:
            return
        data = segment.read_from(at, growing=live)
        base = at
        if at == 0:
            if not check_header(data, FRAMES_MAGIC, segment.path):
                return
            base, at = 0, HEADER_BYTES
        scan = Scan(data, at - base, None)
        for offset, payload in scan:
            done = merge.add(payload, segment.path, base + offset)
            if done is not None:
                found.append((segment.name, done))
        self._at[segment.name] = base + scan.end
        if scan.stop == "closed" or segment.sealed is not None or not live:
            self._at[segment.name] = None
        if scan.damage is not None and not live:
            offset, what = scan.damage
            raise Corrupt(segment.path, base + offset, what)
