"""A gateway under load while things break, and whether it held: what `bench/soak.py` runs and the long test asks."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench.harness.accounted import Books, books, in_ledger, verified
from bench.harness.billed import NANO, SCRIPTS, bill
from bench.harness.mixed import DIALECTS, Clients
from bench.harness.watched import cpu_s, seen, sockets
from tests.app.serving import CLIENT_KEY, Serving, gone
from weighbridge.app import keeper_of
from weighbridge.config import load
from weighbridge.store.control import ShowBudgets, Standings
from weighbridge.store.layout import Layout

ROOT = Path(__file__).resolve().parents[2]

WORKERS = 2
SHARE = 0.7
WARM = 0.2
"""Of the time: caches fill, and memory is not compared."""
EVERY_S = 12.0
"""Something breaks as often."""
SAMPLE_S = 3.0
QUIET_S_MAX = 90.0
LOOKS_MAX, LOOK_S = 100, 0.5
RETURN_S = 2.0
"""How long a killed provider stays away."""
GREW_BYTES_MAX = 4 << 20
"""A worker's memory may wander by so much between the first and the last fifth of what is compared."""
OPEN = tuple(f"weighbridge_{name}" for name in ("open_requests", "open_streams", "drains_open", "client_connections"))
BREAKS = ("reload", "provider A", "reload", "keeper", "reload", "provider B")
SEED = 23


class Provider:
    """One that comes back on the same port, with its bill."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name, self.file = name, folder / f"bill-{name}.jsonl"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.harness.billed", str(self.port), str(self.file)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == str(self.port), "a provider did not start"

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None


def configured(folder: Path, providers: list[Provider]) -> Path:
    """Each model of each dialect at provider A; where it answers well it may fall back to B."""
    parts = [
        f'[server]\nworkers = {WORKERS}\nlisten = "127.0.0.1:0"\nadmin_listen = "127.0.0.1:0"\n'
        '[capture]\nbodies = true\nsample = 0.2\npurpose = "soak"\napproved_by = "soak"\nredact = ["secrets"]\n'
        '[[key]]\nname = "app"\nsecret = "env:SOAK_KEY"\nbudget = "month"\n'
        '[[budget]]\nname = "month"\nlimit_usd = "100000"\nhard = true\n'
    ]
    price = ", ".join(f'{name} = "{nano / 1000:g}"' for name, nano in NANO.items())
    for dialect in DIALECTS:
        for provider in providers:
            parts.append(
                f'[[endpoint]]\nname = "{provider.name}-{dialect}"\ndialect = "{dialect}"\n'
                f'base_url = "http://127.0.0.1:{provider.port}/v1"\napi_key = "env:UPSTREAM_KEY"\n'
            )
        for model in SCRIPTS:
            for provider in providers:
                parts.append(
                    f'[[arm]]\nname = "{model}-{dialect}-{provider.name}"\nendpoint = "{provider.name}-{dialect}"\n'
                    f'model = "{model}-{dialect}"\nprice = {{ {price} }}\n'
                )
            falls = f'fallbacks = ["{model}-{dialect}-B"]\n' if model in ("plain", "tools", "thinking") else ""
            parts.append(
                f'[[route]]\nname = "{model}-{dialect}"\nincumbent = "{model}-{dialect}-A"\n'
                f'aliases = ["{model}-{dialect}-0"]\n{falls}'
            )
    file = folder / "weighbridge.toml"
    file.write_text("".join(parts))
    return file


class Quiet(NamedTuple):
    """A worker while nothing runs."""

    pid: int
    threads: int
    towards_providers: int
    towards_clients: int
    rest: int
    """Files that are no established connection."""
    tasks: float


@dataclass
class Run:
    minutes: float
    peak: float = 0.0
    offered: float = 0.0
    seconds: float = 0.0
    late: int = 0
    opened: int = 0
    breaks: Counter[str] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)
    memory: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    """Of each process that lived throughout: (seconds since the start, bytes resident)."""
    quiet: list[list[Quiet]] = field(default_factory=list)
    cpu_s: float = 0.0
    counted: float = 0.0
    """Requests by the workers' own counters."""
    books: Books = field(default_factory=Books)
    wrong: list[str] = field(default_factory=list)

    def fifths(self, name: str) -> tuple[int, int]:
        """Median of the first and of the last fifth of what is compared, in bytes."""
        rows = [size for at, size in self.memory[name] if at >= WARM * self.seconds]
        fifth = max(1, len(rows) // 5)
        return int(median(rows[:fifth])), int(median(rows[-fifth:]))

    def grew(self, name: str) -> int:
        first, last = self.fifths(name)
        return last - first


class Soak:
    def __init__(self, folder: Path, minutes: float) -> None:
        self.run = Run(minutes)
        self.providers = [Provider(folder, name) for name in "AB"]
        self.file = configured(folder, self.providers)
        self.reloads = 0

    def __call__(self) -> Run:
        with ExitStack() as stack:
            for provider in self.providers:
                provider.start()
                stack.callback(provider.kill)
            served = Serving(self.file, {"SOAK_KEY": CLIENT_KEY, "UPSTREAM_KEY": "upstream-secret"})
            stack.callback(self._end, served)
            served.ready()
            self.served = served
            self.clients = Clients(served.listen, CLIENT_KEY, SEED)
            asyncio.run(self._live())
            self.run.counted = served.metric("weighbridge_requests_total")
            assert served.end() == 0, "serve did not end well"
        self._audit(served.layout)
        return self.run

    @staticmethod
    def _end(served: Serving) -> None:
        if served.process.poll() is None:
            served.process.kill()
            served.process.wait()

    # --- life ---------------------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        run, clients = self.run, self.clients
        await clients.at_most(3.0)
        run.peak = await clients.at_most(10.0)
        run.offered = SHARE * run.peak
        began, total = time.monotonic(), 60.0 * run.minutes
        workers = await asyncio.to_thread(self.served.worker_pids)
        before = sum(map(cpu_s, workers))
        for until in (WARM * total, total):
            done = asyncio.Event()
            watching = asyncio.create_task(self._watch(began, done))
            breaking = asyncio.create_task(self._break(began + until))
            await clients.offered(run.offered, began + until)
            await breaking
            done.set()
            await watching
            run.quiet.append(await self._quiet())
        run.seconds, run.late, run.opened = time.monotonic() - began, clients.late, clients.opened
        after = await asyncio.to_thread(self.served.worker_pids)
        if sorted(workers) != sorted(after):
            run.wrong.append(f"workers {sorted(workers)} became {sorted(after)}")
        run.cpu_s = sum(map(cpu_s, after)) - before
        clients.close()

    async def _watch(self, began: float, done: asyncio.Event) -> None:
        while not done.is_set():
            at = time.monotonic() - began
            pids = {f"worker {number}": pid for number, pid in enumerate(sorted(self.served.worker_pids()))}
            for name, pid in {**pids, "supervisor": self.served.process.pid}.items():
                self.run.memory.setdefault(name, []).append((at, seen(pid).resident_bytes))
            try:
                await asyncio.wait_for(done.wait(), SAMPLE_S)
            except TimeoutError:
                continue

    async def _break(self, end: float) -> None:
        """Something breaks every some seconds, and is whole again before the next thing breaks."""
        while True:
            began = time.monotonic()
            if began + EVERY_S >= end:
                return
            what = BREAKS[self.run.breaks.total() % len(BREAKS)]
            await asyncio.to_thread(self._broken, what)
            self.run.breaks[what] += 1
            await asyncio.sleep(max(0.0, began + EVERY_S - time.monotonic()))

    def _broken(self, what: str) -> None:
        if what == "reload":
            self._reload()
        elif what == "keeper":
            pid = self.served.keeper_pid()
            os.kill(pid, signal.SIGKILL)
            assert gone(pid)
            _until(lambda: bool(self.served.children()["weighbridge.app.keeper"]), "a new keeper")
        else:
            provider = next(one for one in self.providers if what.endswith(one.name))
            provider.kill()
            time.sleep(RETURN_S)
            provider.start()

    def _reload(self) -> None:
        """Another alias of every route: another table, in every worker."""
        text = self.file.read_text()
        for dialect in DIALECTS:
            for model in SCRIPTS:
                text = text.replace(f'"{model}-{dialect}-{self.reloads}"', f'"{model}-{dialect}-{self.reloads + 1}"')
        self.file.write_text(text)
        self.reloads += 1
        at = len(self.served.log)
        self.served.send(signal.SIGHUP)
        self.served.until(r"serve: reloaded: route table \d+ is current", after=at)

    # --- quiet --------------------------------------------------------------------------------------------------------

    async def _quiet(self) -> list[Quiet]:
        """Nothing is asked: wait until nothing runs, then count what is open."""
        self.clients.close()
        return await asyncio.to_thread(self._counted)

    def _none(self, name: str) -> bool:
        return self.served.metric(name) == 0

    def _counted(self) -> list[Quiet]:
        for name in OPEN:
            _until(partial(self._none, name), f"{name} to be 0")
        before: tuple[list[Quiet], int, int] | None = None
        for _ in range(LOOKS_MAX):
            found = self._look()
            # Kept connections grow old and are closed meanwhile: two looks that are equal saw nothing move.
            if found == before:
                break
            before = found
            time.sleep(LOOK_S)
        rows, told, kernel = found
        if told != kernel:
            self.run.wrong.append(f"workers count {told} connections to providers, the kernel {kernel}")
        return rows

    def _look(self) -> tuple[list[Quiet], int, int]:
        """Each worker, and how many connections to providers they and the kernel count."""
        metric = self.served.metric
        ports = [provider.port for provider in self.providers]
        listen = int(self.served.listen.rpartition(":")[2])
        tasks = metric("weighbridge_loop_tasks") / WORKERS
        rows = []
        for pid in sorted(self.served.worker_pids()):
            process, own = seen(pid), sockets(pid)
            up, down = sum(own.remote[port] for port in ports), own.local[listen]
            rows.append(Quiet(pid, process.threads, up, down, process.files - up - down, tasks))
        told = sum(metric("weighbridge_upstream_connections", address=f"127.0.0.1:{port}") for port in ports)
        return rows, int(told), sum(row.towards_providers for row in rows)

    # --- the end ------------------------------------------------------------------------------------------------------

    def _audit(self, layout: Layout) -> None:
        run, wrong = self.run, self.run.wrong
        with keeper_of(load(self.file)) as keeper:  # what a busy machine had no time to read before the end
            keeper.call(ShowBudgets(), Standings)
        told = self.clients.told
        run.told = Counter(row.ending for row in told)
        run.books = books(layout, told, [row for provider in self.providers for row in bill(provider.file)])
        wrong += run.books.wrong
        wrong += in_ledger(layout)
        wrong += verified(layout)
        if run.counted != run.books.requests:
            wrong.append(f"workers counted {run.counted:.0f} requests, the log has {run.books.requests}")
        first, last = run.quiet
        for one, other in zip(first, last, strict=True):
            if (one.rest, one.threads, one.tasks) != (other.rest, other.threads, other.tasks):
                wrong.append(
                    f"worker {one.pid}: files beside connections {one.rest} -> {other.rest}, threads "
                    f"{one.threads} -> {other.threads}, tasks {one.tasks:g} -> {other.tasks:g}"
                )
            if other.towards_clients:
                wrong.append(f"worker {one.pid}: {other.towards_clients} connections to clients that all have closed")
        for name in run.memory:
            if run.grew(name) > GREW_BYTES_MAX:
                wrong.append(f"{name} grew by {run.grew(name) / (1 << 20):.1f} MiB")


def _until(good: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + QUIET_S_MAX
    while not good():
        if time.monotonic() > end:
            raise AssertionError(f"waited {QUIET_S_MAX:g} s for {what}")
        time.sleep(0.1)


def soak(folder: Path, minutes: float) -> Run:
    """One run in an empty folder. `Run.wrong` says what did not hold."""
    return Soak(folder, minutes)()
