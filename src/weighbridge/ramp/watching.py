"""The stage in hand of each ramp: what was seen since it began, and how long it has lasted."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

from weighbridge.errors import StoreError, WeighbridgeError
from weighbridge.ramp.controller import NOTHING_SEEN, Evidence
from weighbridge.ramp.desk import BaseDesk
from weighbridge.ramp.facts import Facts
from weighbridge.records.ramp import RampState
from weighbridge.store.ramps import StoredRamp

if TYPE_CHECKING:
    from weighbridge.ramp.gathering import Gathering, Sharing
    from weighbridge.ramp.watch import Watch

log = logging.getLogger("keeper")

Work = Callable[[], None]

HELD_STEP_S_MAX = 10.0
"""The most that one tick may add to a stage's time: a machine that slept was not watching."""
NOTE_EVERY_S = 10.0
FORGET_EVERY = 60


class WatchingDesk(BaseDesk, Protocol):
    """What of the office's desk is needed here."""

    @property
    def sharing(self) -> "Sharing | None": ...
    def note_held(self, route: str, revision: int, held_s: float) -> None: ...


class Held:
    """A stage in hand: its watch, how long it has lasted, and what was last said about it."""

    def __init__(self, key: tuple[str, int], held_s: float, now_ns: int, before: "Held | None") -> None:
        self.key, self.held_s, self.at_ns, self.noted_s = key, held_s, now_ns, held_s
        self.watch: Watch | None = None
        same = before is not None and before.key[0] == key[0]
        self.gathering: Gathering | None = before.gathering if same and before is not None else None
        self.before: Watch | None = before.watch if same and before is not None else None
        """Of the stage before, in the same ramp."""
        self.trouble: tuple[str, ...] = ("the exchange log has not been read yet",)
        self.others: tuple[str, ...] = ()
        """Why what other hosts saw is not known, or not all of it."""

    @property
    def missing(self) -> tuple[str, ...]:
        from weighbridge.ramp.gathering import trouble_of  # here: see `Watching`

        return trouble_of(0 if self.gathering is None else self.gathering.behind, self.trouble)


class Watching:
    """Numpy, graders and the log's reader are loaded with the first ramp: a keeper without any starts without them."""

    def __init__(self, desk: WatchingDesk, facts: Facts, thread: ThreadPoolExecutor) -> None:
        self._desk, self._facts, self._thread = desk, facts, thread
        self._held: dict[str, Held] = {}
        self._silent: tuple[str, ...] = ()
        """Other hosts that do not tell all that they see."""
        self._looks = 0

    def of(self, route: str) -> Held | None:
        return self._held.get(route)

    def drop(self, route: str) -> None:
        self._held.pop(route, None)

    def held(self, state: RampState, row: StoredRamp, *, decides: bool) -> Held:
        """The stage in hand, a moment older; only who decides writes down how old."""
        now_ns, key = self._desk.clock.mono_ns(), (state.ramp, row.table_from)
        held = self._held.get(state.route)
        if held is None or held.key != key:
            held = self._held[state.route] = Held(key, row.held_s, now_ns, held)
        held.held_s += min(HELD_STEP_S_MAX, (now_ns - held.at_ns) / 1e9)
        held.at_ns = now_ns
        if not decides:
            held.held_s = max(held.held_s, row.held_s)
        elif held.held_s - held.noted_s >= NOTE_EVERY_S:
            held.noted_s = held.held_s
            try:
                self._desk.note_held(state.route, row.revision, held.held_s)
            except StoreError as error:
                log.error("how long %s has lasted was not written down: %s", state.stage, error)
        return held

    async def poll(self, held: Held, state: RampState, row: StoredRamp, newest: int) -> None:
        """Take in what is new, up to route table `newest`, which was in force before `row` was read."""
        desk, loaded = self._desk, self._desk.loaded

        def work() -> None:
            from weighbridge.ramp.gathering import Gathering
            from weighbridge.ramp.watch import Watch

            if held.gathering is None:
                held.gathering = Gathering(desk.layout, loaded, state, row.table_from, desk.sharing)
            if held.watch is None:
                failures = self._facts.trial_failures(state)
                held.watch = Watch(state, row.table_from, failures, held.before)
                held.before = None
            held.watch.resumed(state.doubt_after)
            held.gathering.begin(loaded, state, row.table_from)
            held.gathering.own(held.watch, newest)
            self._facts.finding(state, loaded)

        held.trouble = await self._tried(work, held.trouble, f"the evidence of route {state.route} cannot be read")

        def others() -> None:
            if held.gathering is None or held.watch is None:
                return
            if not held.gathering.others(held.watch, newest):
                raise StoreError("there is more of it than one look takes")

        if desk.sharing is not None:
            held.others = await self._tried(others, held.others, "what other hosts have seen is not known yet")

    async def _tried(self, work: Work, before: tuple[str, ...], what: str) -> tuple[str, ...]:
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (WeighbridgeError, OSError, ValueError) as error:
            if not before:
                log.error("%s: %s", what, error)
            return (f"{what}: {error}",)
        return ()

    async def share(self, ramps: dict[str, int], *, decides: bool) -> None:
        """Say that this host tells what it sees, and look who else does. `ramps`: those under way, and the first
        route tables of their stages."""
        sharing = self._desk.sharing
        if sharing is None or not ramps:
            return
        self._looks += 1
        mine = [line for held in self._held.values() for line in held.missing]
        forget = decides and self._looks % FORGET_EVERY == 1

        def work() -> tuple[str, ...]:
            from weighbridge.ramp.gathering import silent

            sharing.here("; ".join(mine))
            if forget:
                sharing.forget(ramps)
            return silent(sharing.hosts())

        with contextlib.suppress(StoreError):  # each ramp says so in what it waits for
            self._silent = await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def evidence(self, held: Held | None) -> Evidence:
        if held is None or held.watch is None:
            return NOTHING_SEEN
        why_not = None if held.gathering is None else held.gathering.why_not_judged
        return held.watch.evidence(held.held_s, (*held.missing, *held.others, *self._silent), why_not)
