"""Sightings of one ramp from all hosts: out of this store's log, and from the keepers of other stores.

Gateways that share a route share its alarms. Each keeper tells what its own log says (never text) and hears what
the others tell; so each of them knows what the leader knows, and whoever leads next goes on from there.
"""

import logging
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from weighbridge.config import Loaded
from weighbridge.errors import StoreError
from weighbridge.ramp.controller import duration
from weighbridge.ramp.scribe import PILE, POLL_NS, Scribe
from weighbridge.ramp.sightings import BATCH_MAX, Outcome, Sighting, Tried, name_of, packed, unpacked
from weighbridge.ramp.watch import Watch
from weighbridge.records.ramp import RampState
from weighbridge.store.layout import Layout
from weighbridge.store.sightings import Heard, OtherHost

log = logging.getLogger("keeper")

SILENT_S = 15.0
"""A host that tells is heard each second. After so long its silence holds the ramp."""
GONE_S = 86_400.0
"""A host that did not say that it ends, and was not heard for so long, is not waited for any more."""
UNTOLD_BYTES_MAX = 64 << 20
"""What waits, packed, while the shared database is out of reach: some hours of a busy route."""
UNPACKED_MAX = 100_000
"""What waits until it is known what was told before this keeper started."""


class Sharing(Protocol):
    """What keepers tell each other; see `store.sightings`. Each raises `StoreError`. One thread."""

    def mine(self, ramp: str) -> Iterator[bytes]:
        """What this store told of a ramp."""
        ...

    def number(self) -> int:
        """Of a batch that is to be told: above all that were given."""
        ...

    def tell(self, ramp: str, number: int, table: int, body: bytes) -> None:
        """Once, however often it is said."""
        ...

    def here(self, trouble: str) -> None:
        """This store tells; said each second."""
        ...

    def hear(self, ramp: str, after: Mapping[str, int]) -> Sequence[Heard]:
        """What other stores told behind these numbers, by site; in the order of each, not more than fits a look."""
        ...

    def hosts(self) -> Sequence[OtherHost]:
        """Of other stores."""
        ...

    def forget(self, ramps: Mapping[str, int]) -> None:
        """All but these ramps, and what is older than their first route tables."""
        ...

    def leave(self) -> None:
        """This store ends in order."""
        ...


class _Batch(msgspec.Struct):
    table: int
    body: bytes
    number: int | None = None


class _Telling:
    """What this store has to tell of one ramp, kept until it was told."""

    def __init__(self, ramp: str, sharing: Sharing) -> None:
        self._ramp, self._sharing = ramp, sharing
        self._told: set[str] | None = None
        """Names of what was told before this keeper started; until the log is caught up with."""
        self._knows = False
        self._new: deque[Sighting] = deque(maxlen=UNPACKED_MAX)
        self._batches: list[_Batch] = []
        self._lost = False

    def add(self, sighting: Sighting) -> None:
        self._new.append(sighting)

    def tell(self, newest: int, *, caught_up: bool) -> None:
        """Raises `StoreError`; what could not be told is kept."""
        if not self._knows:
            self._told = {
                name for body in self._sharing.mine(self._ramp) for one in unpacked(body) if (name := name_of(one))
            }
            self._knows = True
        known = self._told or ()
        fresh = [one for one in self._new if name_of(one) not in known]
        self._new.clear()
        if caught_up:
            self._told = None
        for start in range(0, len(fresh), BATCH_MAX):
            self._batches.append(_Batch(newest, packed(fresh[start : start + BATCH_MAX])))
        self._bound()
        while self._batches:
            first = self._batches[0]
            if first.number is None:
                first.number = self._sharing.number()
            self._sharing.tell(self._ramp, first.number, first.table, first.body)
            del self._batches[0]

    def _bound(self) -> None:
        size = sum(len(one.body) for one in self._batches)
        while size > UNTOLD_BYTES_MAX:
            size -= len(self._batches.pop(0).body)
            if not self._lost:
                log.error("more was seen of a ramp than can wait to be told to other hosts; the oldest is left out")
            self._lost = True


class Gathering:
    """Of one ramp, over its stages. In a thread."""

    def __init__(
        self, layout: Layout, loaded: Loaded, state: RampState, table_from: int, sharing: Sharing | None
    ) -> None:
        self._ramp, self._table_from, self._loaded = state.ramp, table_from, loaded
        self._scribe = Scribe(layout, loaded, state, table_from)
        self._sharing = sharing
        self._telling = None if sharing is None else _Telling(state.ramp, sharing)
        self._heard: dict[str, int] = {}

    def begin(self, loaded: Loaded, state: RampState, table_from: int) -> None:
        """Called before each look: another stage, or another configuration (a grader was added), begins with it."""
        if table_from != self._table_from or loaded is not self._loaded:
            self._table_from, self._loaded = table_from, loaded
            self._scribe.begin(loaded, state, table_from)

    @property
    def why_not_judged(self) -> str | None:
        return self._scribe.why_not_judged

    @property
    def behind(self) -> int:
        return self._scribe.behind

    def own(self, watch: Watch, newest: int) -> None:
        """This store's log. Raises `Corrupt` or `OSError`."""
        for sighting in self._scribe.poll(newest):
            watch.take(sighting)
            if self._telling is not None and self._of_stage(sighting):
                self._telling.add(sighting)
        watch.hear()

    def _of_stage(self, sighting: Sighting) -> bool:
        """What was seen before the stage is nobody else's: each host has its own, or does without."""
        match sighting:
            case Outcome():
                return True
            case Tried():
                return False
            case _:
                return sighting.table >= self._table_from

    def others(self, watch: Watch, newest: int) -> bool:
        """What keepers tell each other; whether all that was told is counted. Raises `StoreError`; what this store's
        own log says does not depend on it."""
        if self._sharing is None or self._telling is None:
            return True
        self._telling.tell(newest, caught_up=not self._scribe.behind)
        until_ns = time.monotonic_ns() + POLL_NS
        while time.monotonic_ns() < until_ns:
            before = dict(self._heard)
            self._hear(self._sharing, watch, newest)
            if before == self._heard:
                watch.hear()
                return True
        return False

    def _hear(self, sharing: Sharing, watch: Watch, newest: int) -> None:
        early: set[str] = set()
        for heard in sharing.hear(self._ramp, self._heard):
            if heard.table > newest:
                early.add(heard.site)  # of a stage that is still to begin here
            if heard.site in early:
                continue
            try:
                sightings = unpacked(heard.body)
            except ValueError as error:
                raise StoreError(f"what site {heard.site} tells is not understood: {error}") from None
            for sighting in sightings:
                watch.take(sighting)
            self._heard[heard.site] = heard.number


def silent(hosts: Sequence[OtherHost]) -> tuple[str, ...]:
    """Hosts whose part of the evidence is missing, one sentence each."""
    found = []
    for one in hosts:
        if one.left or one.age_s > GONE_S:
            continue
        name = f"{one.host} (site {one.site})"
        if one.age_s > SILENT_S:
            found.append(
                f"{name} serves this route too, and has told nothing of its requests for {duration(one.age_s)}; it is "
                f"waited for, for {duration(GONE_S)} at most"
            )
        elif one.trouble:
            found.append(f"{name}: {one.trouble}")
    return tuple(found)


def trouble_of(behind: int, trouble: Sequence[str]) -> tuple[str, ...]:
    """Why what is known of this store's log is not all of it."""
    if behind <= PILE:
        return tuple(trouble)
    return (*trouble, f"{behind:,} requests of the log are still to be looked at")
