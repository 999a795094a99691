"""Single exchanges by id, without reading the whole log: ids of a worker start grow, so its segments can be halved."""

from collections import OrderedDict
from collections.abc import Iterable
from itertools import groupby

import msgspec

from weighbridge.exchanges.chain import Chain
from weighbridge.exchanges.merge import frame_of
from weighbridge.exchanges.segments import Segment, look
from weighbridge.records.frames import Attempted, Held
from weighbridge.store.layout import Layout

NEAR = 2
"""A request that waited for money is written a little later than its id says: so many segments on either side are
looked at as well."""
REMEMBERED_MAX = 10_000


class FoundExchange(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an exchange as soon as it has begun."""

    held: Held
    arm: str | None
    """Of its last attempt; `None` where none was begun."""


class Finder:
    """Not thread-safe: one thread's. Remembers where sealed segments begin, which never changes."""

    def __init__(self, layout: Layout) -> None:
        self._layout, self._chain = layout, Chain(layout)
        self._starts: OrderedDict[str, int | None] = OrderedDict()

    def find(self, ids: Iterable[str]) -> dict[str, FoundExchange]:
        """Those that are in the log, finished or not. Raises `Corrupt` where a segment that matters is damaged."""
        wanted: dict[str, dict[int, str]] = {}
        for identity in ids:
            place = place_of(identity)
            if place is not None:
                wanted.setdefault(place[0], {})[place[1]] = identity
        found: dict[str, FoundExchange] = {}
        if not wanted:
            return found
        with look(self._layout, self._chain) as view:
            for incarnation, segments in groupby(view.segments, key=lambda one: one.incarnation):
                if incarnation in wanted:
                    self._among(list(segments), wanted[incarnation], found)
        return found

    def _among(self, segments: list[Segment], wanted: dict[int, str], found: dict[str, FoundExchange]) -> None:
        near: set[int] = set()
        for number in wanted:
            at = self._place(segments, number)
            near.update(range(max(0, at - NEAR), min(len(segments), at + NEAR + 1)))
        missing = set(wanted.values())
        begun: dict[str, Held] = {}
        arms: dict[str, str] = {}
        # The likely segments first would save little: attempts may be written behind the turn of a segment.
        for at in sorted(near):
            for payload in segments[at].payloads():
                frame = frame_of(payload)
                if isinstance(frame, Held) and frame.id in missing:
                    begun[frame.id] = frame
                elif isinstance(frame, Attempted) and frame.id in begun:
                    arms[frame.id] = frame.arm
        for identity, held in begun.items():
            found[identity] = FoundExchange(held=held, arm=arms.get(identity))

    def _place(self, segments: list[Segment], number: int) -> int:
        """The last segment that begins at or before this number."""
        low, high = 0, len(segments) - 1
        while low < high:
            middle = (low + high + 1) // 2
            start = self._start(segments[middle])
            if start is not None and start <= number:
                low = middle
            else:
                high = middle - 1
        return low

    def _start(self, segment: Segment) -> int | None:
        """The number of the first exchange that begins in it; `None` where none does yet."""
        if segment.name in self._starts:
            return self._starts[segment.name]
        start = None
        for payload in segment.payloads():
            frame = frame_of(payload)
            if isinstance(frame, Held):
                place = place_of(frame.id)
                start = None if place is None else place[1]
                break
        if segment.sealed is not None:
            self._starts[segment.name] = start
            while len(self._starts) > REMEMBERED_MAX:
                self._starts.popitem(last=False)
        return start


def place_of(identity: str) -> tuple[str, int] | None:
    """Worker start and number of an exchange id; `None` where it is none."""
    incarnation, dash, number = identity.partition("-")
    if len(incarnation) != 16 or not dash or not 0 < len(number) <= 16:
        return None
    if not all(digit in "0123456789abcdef" for digit in incarnation + number):
        return None
    return incarnation, int(number, 16)
