"""Leases, as the keeper hands them out: decided in `ledger.leasing`, stored before they are answered.

All work on the ledger's database happens in one thread, one thing after the other. Before a request is refused, what
other workers hold idle is called back; they have 200 ms to answer.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

import msgspec

from weighbridge.errors import StoreError
from weighbridge.ledger import leasing
from weighbridge.ledger.steady import Anchor, LedgerClock, boot, steady_ns
from weighbridge.store.control import (
    AskFunds,
    CallBack,
    Event,
    Funds,
    FundsRequest,
    GiveBack,
    Holding,
    Overdrawn,
    Release,
    Released,
    Void,
)
from weighbridge.store.funds import Ask, Given, Want
from weighbridge.store.ledger import LeaseRow, LedgerStore

log = logging.getLogger("keeper")

T = TypeVar("T")

CALL_BACK_S_MAX = 0.2
"""How long other workers have to give back what lies idle, before a request is refused."""
ANCHOR_EVERY_NS = 60 * 1_000_000_000
_ANCHOR = "clock-anchor"


class Remembered(msgspec.Struct, frozen=True):
    anchor: Anchor
    last_ns: int


class Line(Protocol):
    """A worker's connection, as the bank sees it."""

    incarnation: str

    def send(self, message: Funds | Event) -> None: ...


class Neighbours(Protocol):
    """Keepers of other machines that use the same database."""

    async def call_back(self, leases: Sequence[LeaseRow], wait_s: float) -> None:
        """Have them ask their workers to give back what lies idle; returns when they did, or when time is up."""
        ...


class Bank:
    """The one that grants. `site` names this store's keeper among those that share a database."""

    def __init__(
        self,
        store: LedgerStore,
        site: str,
        *,
        lines: Callable[[], Iterable[Line]],
        steady: Callable[[], int] = steady_ns,
        neighbours: Neighbours | None = None,
    ) -> None:
        self.store, self.site = store, site
        self._lines, self._steady, self._neighbours = lines, steady, neighbours
        self._thread = ThreadPoolExecutor(1, "ledger")
        self._tasks: set[asyncio.Task[None]] = set()
        self._numbers = 0
        self._called: dict[int, set[str]] = {}
        """Workers that have not answered a `CallBack` yet, by its number."""
        self._answered: dict[int, asyncio.Event] = {}
        self._clock = self._remembered_clock()
        self._anchored_ns = 0
        self._told_step = False

    # --- time ---------------------------------------------------------------------------------------------------------

    def _remembered_clock(self) -> LedgerClock:
        said = self.store.note(f"{_ANCHOR} {self.site}")
        if said is None:
            return LedgerClock(boot())
        known = msgspec.json.decode(said, type=Remembered)
        return LedgerClock(boot(), known.anchor, known.last_ns)

    def now_ns(self) -> int:
        """The ledger's time; for the ledger's thread."""
        steady = self._steady()
        now_ns = self._clock.now_ns(self.store.sql.now_ns(), steady)
        step_ns = self._clock.step_ns
        if bool(step_ns) != self._told_step:
            self._told_step = bool(step_ns)
            if step_ns:
                log.error(
                    "the clock of %s stepped by %.0f s: budgets go on by elapsed time until it has stood for an hour",
                    self.store.sql.place, step_ns / 1e9,
                )  # fmt: skip
        anchor = self._clock.anchor
        if anchor is not None and steady - self._anchored_ns >= ANCHOR_EVERY_NS:
            self._anchored_ns = steady
            said = msgspec.json.encode(Remembered(anchor, now_ns)).decode()
            self.store.set_note(f"{_ANCHOR} {self.site}", said)
        return now_ns

    # --- what workers say ---------------------------------------------------------------------------------------------

    def hear(self, line: Line, said: FundsRequest) -> None:
        """Take what a worker says; an answer, if any, goes to its line when it is stored."""
        task = asyncio.get_running_loop().create_task(self._hear(line, said))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _hear(self, line: Line, said: FundsRequest) -> None:
        try:
            if isinstance(said, AskFunds):
                line.send(Funds(call=said.call, given=tuple(await self._lease(line, said.asks))))
            elif isinstance(said, GiveBack):
                await self.do(lambda: leasing.give_back(self.store, line.incarnation, said.leases))
                self._came_back(said.number, line.incarnation)
            elif isinstance(said, Release):
                await self.do(lambda: leasing.release(self.store, line.incarnation, said.leases))
                line.send(Released(leases=tuple(identity for identity, _ in said.leases)))
            elif isinstance(said, Overdrawn):
                await self.do(lambda: leasing.overdraw(self.store, line.incarnation, said.lease, said.nanousd))
            elif isinstance(said, Holding):
                void = await self.do(lambda: leasing.reconcile(self.store, line.incarnation, said.leases))
                if void:
                    line.send(Void(leases=void))
        except StoreError as error:
            log.error("the ledger: %s", error)
            if isinstance(said, AskFunds):
                line.send(Funds(call=said.call, problem=str(error)))

    async def _lease(self, line: Line, asks: Sequence[Ask]) -> list[Given]:
        owner = line.incarnation

        def first() -> tuple[list[Given], list[LeaseRow]]:
            given = leasing.give(self.store, owner, self.site, asks, self.now_ns())
            short = leasing.windows_short(self.store, given)
            return given, self.store.leases_on(short, but=owner)

        given, others = await self.do(first)
        if not others:
            return given
        await self._call_back(others)
        missing = [
            msgspec.structs.replace(ask, count=ask.count - one.count, wants=_with_room(ask, one))
            for ask, one in zip(asks, given, strict=True)
        ]
        again = await self.do(lambda: leasing.give(self.store, owner, self.site, missing, self.now_ns()))
        return [_together(one, two) for one, two in zip(given, again, strict=True)]

    async def _call_back(self, leases: Sequence[LeaseRow]) -> None:
        """Ask every worker that may have something idle, of this store and of others, and wait for them."""
        own: dict[str, list[int]] = {}
        foreign = [row for row in leases if row.site != self.site]
        for row in leases:
            if row.site == self.site:
                own.setdefault(row.owner, []).append(row.id)
        waits = []
        lines = [line for line in self._lines() if line.incarnation in own]
        if lines:
            self._numbers += 1
            number = self._numbers
            self._called[number] = {line.incarnation for line in lines}
            done = self._answered[number] = asyncio.Event()
            for line in lines:
                line.send(CallBack(number=number, leases=tuple(own[line.incarnation])))
            waits.append(self._until(number, done))
        if foreign and self._neighbours is not None:
            waits.append(self._neighbours.call_back(foreign, CALL_BACK_S_MAX))
        await asyncio.gather(*waits)

    async def call_back_for(self, leases: Sequence[tuple[str, int]]) -> None:
        """Another keeper needs what our workers hold idle of these leases (owner, lease)."""
        await self._call_back([LeaseRow(lease, 0, owner, self.site, 0, 0, 0, 0, 0, 0, None) for owner, lease in leases])

    async def _until(self, number: int, done: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(CALL_BACK_S_MAX):
                await done.wait()
        except TimeoutError:
            log.warning("a worker did not give back what it holds idle within %.1f s", CALL_BACK_S_MAX)
        finally:
            del self._called[number], self._answered[number]

    def _came_back(self, number: int, owner: str) -> None:
        waiting = self._called.get(number)
        if waiting is not None:
            waiting.discard(owner)
            if not waiting:
                self._answered[number].set()

    # --- the thread ---------------------------------------------------------------------------------------------------

    async def do(self, work: Callable[[], T]) -> T:
        """Run `work` as one transaction in the ledger's thread."""

        def whole() -> T:
            with self.store.sql.transaction():
                return work()

        return await asyncio.get_running_loop().run_in_executor(self._thread, whole)

    async def alone(self, work: Callable[[], None]) -> None:
        """Run `work` in the ledger's thread, outside a transaction."""
        await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def close(self) -> None:
        """Finish what is under way."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)
        self._thread.shutdown(wait=True)
        self.store.close()


def _with_room(ask: Ask, given: Given) -> tuple[Want, ...]:
    """The same accounts, with what the first answer added: it is not in the worker's hands yet, but it is used."""
    added = {(grant.budget, grant.subject): grant for grant in given.grants}
    wants = []
    for want in ask.wants:
        grant = added.get((want.budget, want.subject))
        if grant is None:
            wants.append(want)
            continue
        room = (want.room_nanousd if want.lease == grant.lease else 0) + grant.added_nanousd
        wants.append(msgspec.structs.replace(want, lease=grant.lease, room_nanousd=room - given.count * ask.nanousd))
    return tuple(wants)


def _together(one: Given, two: Given) -> Given:
    return Given(one.count + two.count, one.grants + two.grants, two.short)
