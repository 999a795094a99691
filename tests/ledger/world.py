"""A small world of workers, one keeper and providers, in one thread: every message may be late, every process may die.

Purses and leasing are the product's own, on a real SQLite; messages of a connection arrive in order, those of different
connections in any order. A worker's log is a list: it survives the worker, as the file does. What is checked after each
step is promise 1: books balance, a hold ends once, and no cap is exceeded but by what a provider charged above a hold.
"""

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from weighbridge.gateway.purse import Chain, Hold, Purse
from weighbridge.gateway.refusal import Refusal
from weighbridge.ledger import leasing
from weighbridge.ledger.life import bound, charge
from weighbridge.records.budget import Budget
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
from weighbridge.store.ledger import LedgerStore, Sums
from weighbridge.store.sql import SqliteSql

T0 = 1_795_608_000_000_000_000
MINUTE = 60 * 10**9
SUPPORT = Budget(
    name="a-support", limit_nanousd=20_000, hard=True, window="minute", parent="b-company", per_user_nanousd=9_000
)
COMPANY = Budget(name="b-company", limit_nanousd=60_000, hard=True, window="minute")
SALES = Budget(name="c-sales", limit_nanousd=900_000, hard=True, window="total", parent="b-company")
SEEN = Budget(name="d-seen", limit_nanousd=1, hard=False, window="day")
CHAINS = ((SUPPORT, COMPANY), (COMPANY, SALES), (COMPANY,), (COMPANY, SEEN))


@dataclass(eq=False)
class Request:
    """What `Exchange` is to a purse."""

    worker: "WorkerSim"
    held: int
    hold: Hold | None = None
    refused: bool = False
    done: bool = False

    def funded(self, hold: Hold) -> None:
        assert self.hold is None
        assert not self.refused
        self.hold = hold
        self.worker.world.funded += 1
        self.worker.log.append(self)
        self.worker.running.append(self)

    def not_funded(self, refusal: Refusal) -> None:
        assert self.hold is None
        self.refused = True
        self.worker.world.refused += 1


@dataclass(eq=False)
class WorkerSim:
    world: "World"
    name: str
    purse: Purse
    connected: bool = False
    to_keeper: deque[FundsRequest] = field(default_factory=deque)
    to_worker: deque[Funds | Event] = field(default_factory=deque)
    soon: deque[object] = field(default_factory=deque)
    running: list[Request] = field(default_factory=list)
    log: list[Request] = field(default_factory=list)
    ends: dict[int, int] = field(default_factory=dict)
    """What the log says: charged, by the request's identity."""
    projected: int = 0


class World:
    def __init__(self, folder: Path | None = None) -> None:
        self.now = 0
        self.store = LedgerStore(SqliteSql(folder or Path(":memory:"), lambda: T0 + self.now))
        self.workers: list[WorkerSim] = []
        self.started = 0
        self.excess = 0
        self.operations = self.funded = self.refused = 0
        for _ in range(2):
            self.start_worker()

    # --- life ---------------------------------------------------------------------------------------------------------

    def start_worker(self) -> None:
        self.started += 1
        soon: deque[object] = deque()
        purse = Purse(lambda: self.now, lambda: T0 + self.now, soon.append)
        worker = WorkerSim(self, f"worker-{self.started}", purse, soon=soon)
        self.workers.append(worker)
        self.connect(worker)

    def connect(self, worker: WorkerSim) -> None:
        if not worker.connected:
            worker.connected = True
            worker.purse.connected(worker.to_keeper.append)
            self._run_soon(worker)

    def disconnect(self, worker: WorkerSim) -> None:
        """What was on its way, in both directions, is lost."""
        if worker.connected:
            worker.connected = False
            worker.to_keeper.clear()
            worker.to_worker.clear()
            worker.purse.lost()

    def kill(self, worker: WorkerSim) -> None:
        """The kernel takes its lock; the keeper reads the log it left."""
        self.workers.remove(worker)
        for request in worker.running:
            worker.ends[id(request)] = bound(_held(request), 0)
        worker.running.clear()
        self.project(worker)
        with self.store.sql.transaction():
            leasing.resolve(self.store, worker.name)

    # --- requests -----------------------------------------------------------------------------------------------------

    def arrive(self, worker: WorkerSim, chain_number: int, user: str | None, nanousd: int) -> None:
        chain: Chain = worker.purse.chain(CHAINS[chain_number])
        request = Request(worker, nanousd)
        hold = worker.purse.hold(chain, user, nanousd, self.now)
        if hold is not None:
            request.funded(hold)
        else:
            worker.purse.wait(request, chain, user, nanousd)  # type: ignore[arg-type]
            self._run_soon(worker)

    def finish(self, request: Request, cost: int | None) -> None:
        assert request.hold is not None
        worker = request.worker
        worker.running.remove(request)
        held = _held(request)
        charged = charge(held, cost)
        self.excess += max(0, charged - held)
        worker.ends[id(request)] = charged
        before = [lease.spent for lease in request.hold.leases]
        worker.purse.settle(request.hold, cost)
        assert [spent + charged for spent in before] == [lease.spent for lease in request.hold.leases]
        try:
            worker.purse.settle(request.hold, cost)
        except ValueError:
            pass  # a hold ends once
        else:
            raise AssertionError("a hold ended twice")
        request.done = True

    def grow(self, request: Request, more: int) -> None:
        """Another attempt."""
        assert request.hold is not None
        request.worker.purse.hold_to(request.hold, _held(request) + more)

    # --- messages -----------------------------------------------------------------------------------------------------

    def _run_soon(self, worker: WorkerSim) -> None:
        while worker.soon:
            worker.soon.popleft()()  # type: ignore[operator]

    def deliver_to_keeper(self, worker: WorkerSim) -> None:
        if not worker.to_keeper:
            return
        said = worker.to_keeper.popleft()
        store = self.store
        with store.sql.transaction():
            if isinstance(said, AskFunds):
                given = leasing.give(store, worker.name, "local", said.asks, T0 + self.now)
                worker.to_worker.append(Funds(call=said.call, given=tuple(given)))
            elif isinstance(said, GiveBack):
                leasing.give_back(store, worker.name, said.leases)
            elif isinstance(said, Release):
                leasing.release(store, worker.name, said.leases)
                worker.to_worker.append(Released(leases=tuple(lease for lease, _ in said.leases)))
            elif isinstance(said, Overdrawn):
                leasing.overdraw(store, worker.name, said.lease, said.nanousd)
            elif isinstance(said, Holding):
                void = leasing.reconcile(store, worker.name, said.leases)
                if void:
                    worker.to_worker.append(Void(leases=void))

    def deliver_to_worker(self, worker: WorkerSim) -> None:
        if not worker.to_worker:
            return
        said = worker.to_worker.popleft()
        if isinstance(said, Funds):
            worker.purse.funds(said)
        elif isinstance(said, CallBack):
            worker.purse.call_back(said)
        elif isinstance(said, Released):
            worker.purse.released(said.leases)
        elif isinstance(said, Void):
            worker.purse.void(said.leases)
        self._run_soon(worker)

    def call_back(self, worker: WorkerSim) -> None:
        leases = tuple(row.id for row in self.store.leases_of(worker.name) if row.released_nanousd is None)
        if worker.connected and leases:
            worker.to_worker.append(CallBack(number=1, leases=leases))

    def project(self, worker: WorkerSim) -> None:
        """Read what its log says since the last time."""
        with self.store.sql.transaction():
            for request in [one for one in worker.log if id(one) in worker.ends]:
                worker.log.remove(request)
                charged = worker.ends.pop(id(request))
                assert request.hold is not None
                for lease in request.hold.names:
                    if isinstance(lease, int):
                        self.store.post({lease: Sums(posted=charged, requests=1)})
                        leasing.close_if_read(self.store, lease)

    def tick(self, ns: int) -> None:
        self.now += ns
        for worker in self.workers:
            worker.purse.sweep()
            self._run_soon(worker)

    # --- what must hold -----------------------------------------------------------------------------------------------

    def check(self) -> None:
        self.operations += 1
        windows = {window.id: window for window in self.store.windows()}
        granted = dict.fromkeys(windows, 0)
        for row in self.store.leases():
            assert row.granted_nanousd >= 0
            granted[row.window_id] += row.granted_nanousd
        for window in windows.values():
            assert window.used_nanousd == window.posted_nanousd + granted[window.id], window
            if window.limit_nanousd is not None:
                assert window.used_nanousd <= window.limit_nanousd + self.excess, window
        for worker in self.workers:
            for lease in worker.purse._leases.values():
                if lease.account.limit is not None:
                    held = sum(
                        _held(request) for request in worker.running
                        if request.hold is not None and lease in request.hold.leases
                    )  # fmt: skip
                    assert lease.room >= 0
                    assert lease.granted == lease.room + held + lease.spent, (worker.name, lease.id)
            if worker.connected and not worker.to_keeper and not worker.to_worker:
                self._check_quiet(worker)

    def _check_quiet(self, worker: WorkerSim) -> None:
        """Nothing is on its way: the worker and the ledger think the same of every lease."""
        known = {lease.id: lease.granted for lease in worker.purse._leases.values()}
        stored = {
            row.id: row.granted_nanousd
            for row in self.store.leases_of(worker.name)
            if row.released_nanousd is None and (row.id in known or row.granted_nanousd)
        }
        assert known == stored, (
            worker.name,
            set(known.items()) - set(stored.items()),
            set(stored.items()) - set(known.items()),
        )

    def settle_down(self) -> None:
        """Everything ends: each window's use is what its requests were charged, to the nano-dollar."""
        for worker in list(self.workers):
            for request in list(worker.running):
                self.finish(request, 1)
            self.kill(worker)
        assert [] == self.store.leases()
        for window in self.store.windows():
            assert window.used_nanousd == window.posted_nanousd


def _held(request: Request) -> int:
    return 0 if request.hold is None else request.hold.nanousd or 0
