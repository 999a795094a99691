"""Gateways that share a database serve one route table: one keeper leads, the others take over what it publishes.

    follows --the lock is free--> leads --database out of reach--> cut off --it is back--> leads, or follows

Whoever leads decides about ramps, numbers tables and makes keys, and writes each change into the shared database within
the transaction of its own: both or neither. Everybody else keeps a copy of it, objects of the signed log too,
and so can go on in its place. Without the shared database each gateway serves on with the table that it has.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, Protocol, TypeVar

from weighbridge.errors import ControlError, StoreError, WeighbridgeError
from weighbridge.exchanges.chain import Chain
from weighbridge.keeper.publish import Published, Publisher
from weighbridge.keeper.ramps import read_overrides, write_overrides
from weighbridge.records.canonical import digest, parse
from weighbridge.records.ramp import RampState
from weighbridge.store.control import (
    DrillAct,
    KeyChange,
    ObjectKind,
    RampAct,
    Request,
    SetLimit,
)
from weighbridge.store.database import Database
from weighbridge.store.layout import Layout
from weighbridge.store.shared import Hold, Seen, SharedObject, SharedStore, State

log = logging.getLogger("keeper")

T = TypeVar("T")

Role = Literal["follows", "leads", "cut off"]

POLL_S = 1.0
WRITE_S_MAX = 5.0
HELD_EVERY = 60
"""Looks from one time that a stage's age is shared to the next: a new leader counts on from there."""
SHARED_KINDS: frozenset[ObjectKind] = frozenset({"ramp", "verdict", "evidence", "drill", "limit"})
"""What tables and ramps name. The exchange log, bodies, gold and licence findings are each store's own."""
LEADERS_OWN = KeyChange | SetLimit | DrillAct | RampAct


class Around(Protocol):
    """What this needs of the keeper."""

    async def put(self, kind: ObjectKind, label: str, body: bytes) -> str: ...

    def lead(self, *, starting: bool) -> None:
        """Publish what the configuration says. Raises `WeighbridgeError` where that may not be overlooked."""
        ...

    def taken_over(self, published: Published) -> None:
        """A table of the leader is in place here."""
        ...

    async def take_back(self, route: str, why: str) -> None:
        """Roll the route's ramp back, if one is under way. Raises `WeighbridgeError`."""
        ...


def leaders_own(request: Request) -> bool:
    """Going back is everybody's: on any host it holds the route there at once, and the leader follows."""
    return isinstance(request, LEADERS_OWN) and not (isinstance(request, RampAct) and request.action == "rollback")


def refuse_outside(request: Request) -> None:
    """For a keeper that serves nothing, or for one command only. Raises `ControlError`."""
    if leaders_own(request):
        raise ControlError(
            "route tables, ramps and keys are shared with other gateways (store.url), and nothing serves here; say it "
            "while `weighbridge serve` runs, on the host that leads"
        )


class Cluster:
    """One store among those that share a database. The event loop's; the database has a thread of its own."""

    def __init__(
        self, layout: Layout, database: Database, publisher: Publisher, shared: SharedStore, around: Around
    ) -> None:
        self._layout, self._database, self._publisher = layout, database, publisher
        self._shared, self._around = shared, around
        self._chain, self._written = Chain(layout), Chain(layout)
        """One for each thread."""
        self._thread = ThreadPoolExecutor(1, "shared")
        self.role: Role = "follows"
        self._leader = ""
        self._revision = 0
        """The one that this store has."""
        self._floor = 0
        self._looks = 0
        self._out_of_reach = False
        self._hinted = asyncio.Event()
        database.witnessed_by(self.share)

    @property
    def leader(self) -> str:
        """Who leads, for people."""
        return self._leader or "another keeper"

    def close(self) -> None:
        self._shared.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def start(self) -> None:
        """Lead or follow; returns when there is a route table to serve. Raises `WeighbridgeError`."""
        await self._apply(*await self._seen(), starting=True)
        for _ in range(30):
            if self._publisher.current is not None:
                return
            await self._wait()
            await self._apply(*await self._seen(), starting=True)
        raise StoreError(f"{self._leader or 'another keeper'} leads, but has published no route table; look there")

    async def run(self) -> None:
        """Look each second, and whenever a note comes. Until cancelled."""
        while True:
            await self._wait()
            try:
                await self._apply(*await self._seen())
            except (WeighbridgeError, OSError) as error:
                if not self._out_of_reach:
                    log.error("what gateways share was not taken over, it is tried again: %s", error)
            except Exception:  # the edge of the process: one bad look must not be the last one
                log.exception("looking at what gateways share failed, it is tried again")

    def hint(self) -> None:
        """Something here is worth telling now."""
        self._hinted.set()

    async def _wait(self) -> None:
        loop, file = asyncio.get_running_loop(), self._shared.watched()
        if file is not None:
            loop.add_reader(file, self._hinted.set)
        try:
            async with asyncio.timeout(POLL_S):
                await self._hinted.wait()
        except TimeoutError:
            pass
        finally:
            self._hinted.clear()
            if file is not None:
                loop.remove_reader(file)
                os.close(file)

    # --- looking ------------------------------------------------------------------------------------------------------

    async def _seen(self) -> tuple[int, Seen]:
        """Which revision was known when it was asked, and what there is."""
        known = self._revision
        holds = () if self.role == "leads" else tuple(sorted(read_overrides(self._layout)))
        floor = max(self._floor, self._publisher.highest())
        try:
            seen = await self._do(lambda: self._shared.look(known, holds, floor))
        except StoreError as error:
            if not self._out_of_reach:
                table = self._publisher.current
                log.error("going on with route table %d: %s", 0 if table is None else table.number, error)
            self._out_of_reach = True
            if self.role == "leads":
                self.role = "cut off"
            raise
        if self._out_of_reach:
            log.info("the database that gateways share is there again")
        self._out_of_reach = False
        return known, seen

    async def _apply(self, known: int, seen: Seen, *, starting: bool = False) -> None:
        if known != self._revision:
            return  # something was shared from here meanwhile
        if seen.revision != known:
            if seen.state is not None:
                await self._take_over(seen.state, leads=seen.leads)
            self._revision = seen.revision
        floor = self._publisher.floor = max(seen.floor, self._floor)
        if not seen.leads:
            if self.role != "follows" or self._leader != seen.leader:
                log.info("%s leads; its route tables are served here", seen.leader or "another keeper")
            self.role, self._leader = "follows", seen.leader
            return
        self._leader = self._shared.name
        if self.role != "leads":
            log.info("%s leads the gateways that share the database", self._shared.name)
            self.role = "leads"
            self._around.lead(starting=starting)
            self._renumber_above(floor)
            self.share()
        else:
            self._renumber_above(floor)
        own = (Hold("here", route, host()) for route in read_overrides(self._layout))
        for hold in (*seen.holds, *own):  # its own: what was held while the database was out of reach
            await self._take_back(hold)
        self._looks += 1
        if self._looks % HELD_EVERY == 0 and self._database.ramps.all():
            self.share()

    def _renumber_above(self, floor: int) -> None:
        """Some store has had a higher number, of a table that the others never saw: nobody may go back."""
        stored, current = self._database.last_table(), self._publisher.current
        if current is not None and (current.number < floor or stored is None or stored[0] < current.number):
            self._around.taken_over(self._publisher.renumber())

    async def _take_back(self, hold: Hold) -> None:
        ramps = {row.route: parse(row.body, RampState) for row in self._database.ramps.all()}
        state = ramps.get(hold.route)
        if state is not None and not state.over:
            try:
                await self._around.take_back(hold.route, f"rolled back on {hold.host} (site {hold.site})")
            except WeighbridgeError as error:
                log.error("route %s is held on %s, but was not rolled back: %s", hold.route, hold.host, error)

    # --- following ----------------------------------------------------------------------------------------------------

    async def _take_over(self, state: State, *, leads: bool) -> None:
        """Objects before what names them, and the database before the file: a crash in between is caught up with."""
        known = {entry.digest for entry in self._chain.snapshot().objects}
        for one in await self._do(lambda: self._shared.objects(known)):
            if digest(one.body) != one.digest:
                raise StoreError(f"the shared object {one.digest[:12]} is not what its name says")
            await self._around.put(one.kind, one.label, one.body)
        highest = self._publisher.highest()
        table = self._publisher.readable(state.table, state.number)
        mine = self._database.table_body(state.number)
        foreign = state.number <= highest and mine != state.table
        if foreign:
            self._floor = highest + 1
        self._database.adopt(
            None if foreign else (state.number, table.created_ns, state.table), state.ramps, state.keys
        )
        if not leads:
            self._clear_overrides(state)
        if state.number > highest:
            self._around.taken_over(self._publisher.take_over(table))

    def _clear_overrides(self, state: State) -> None:
        over = {row.route for row in state.ramps if parse(row.body, RampState).over}
        held = read_overrides(self._layout)
        if held & over:
            write_overrides(self._layout, held - over)

    # --- leading ------------------------------------------------------------------------------------------------------

    def refuse(self, request: Request) -> None:
        """Raises `ControlError` for what only the leader can do."""
        if self.role == "follows" and leaders_own(request):
            raise ControlError(
                f"{self._leader or 'another keeper'} leads the gateways that share this database (store.url), and "
                "decides about ramps, drills, limits and keys; say it there. `weighbridge ramp rollback` works on "
                "every host"
            )

    def share(self) -> None:
        """Write what this store has for all, within the transaction that changes it here. Raises `StoreError`."""
        if self.role == "follows":
            leader = self.leader
            raise StoreError(f"{leader} leads the gateways that share the database, and hears of it within a second")
        stored = self._database.last_table()
        if stored is None:
            return  # there is nothing to serve yet
        state = State(
            number=stored[0], table=stored[1], ramps=self._database.ramps.all(), keys=self._database.client_keys.all()
        )
        revision = self._revision

        def write() -> int:
            entries = {row.digest: row for row in self._written.snapshot().objects if row.kind in SHARED_KINDS}
            missing = [entries[one] for one in self._shared.unshared(tuple(entries))]
            objects = [
                SharedObject(
                    digest=row.digest, kind=row.kind, label=row.label, body=self._layout.object(row.digest).read_bytes()
                )
                for row in missing
            ]
            return self._shared.write(revision, state, objects)

        writing = self._thread.submit(write)
        try:
            self._revision = writing.result(WRITE_S_MAX)
        except TimeoutError:
            writing.cancel()  # one that has begun may still be kept there: then the next look takes it over
            raise StoreError(f"the database that gateways share did not answer within {WRITE_S_MAX:g} s") from None
        except OSError as error:
            raise StoreError(f"an object of the signed log cannot be read: {error}") from None

    async def _do(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def host() -> str:
    return socket.gethostname()
