"""The supervisor: one keeper and N workers, started, watched, restarted, drained."""

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Awaitable
from dataclasses import dataclass

import msgspec

from weighbridge import __version__
from weighbridge.app import children
from weighbridge.app.addresses import Reservation
from weighbridge.app.children import Child
from weighbridge.app.metrics import Sample, Series, WorkerSamples
from weighbridge.app.watchman import Watchman
from weighbridge.config import Loaded
from weighbridge.config.tree import TracesSection
from weighbridge.errors import ControlError, WeighbridgeError
from weighbridge.keeper.compile import ClientKeys
from weighbridge.keeper.parent import Ready
from weighbridge.store.control import ControlClient, Ping, Pong, Reload, TableNumber
from weighbridge.store.layout import Layout

log = logging.getLogger("serve")

WORKER_START_S_MAX = 30.0
KEEPER_END_S_MAX = 60.0
TRACER_END_S_MAX = 15.0
DRAIN_GRACE_S = 5.0
BACKOFF_S_MIN, BACKOFF_S_MAX, STEADY_S = 0.1, 5.0, 10.0
METRICS_EVERY_S = 2.0
"""A worker that is killed takes at most this much of its counters with it."""


class WorkerReady(msgspec.Struct, frozen=True, tag="ready", tag_field="op"):
    listen: str
    incarnation: str


class WorkerMetrics(msgspec.Struct, frozen=True, tag="metrics", tag_field="op"):
    samples: tuple[Sample, ...]


_SAID: msgspec.json.Decoder[WorkerReady | WorkerMetrics] = msgspec.json.Decoder(WorkerReady | WorkerMetrics)


@dataclass(frozen=True)
class Settings:
    loaded: Loaded
    reservation: Reservation
    workers: int
    client_keys: ClientKeys = "all"
    quiet: bool = False
    plain: bool = False
    """No TLS on its address: it serves one command, on loopback."""
    admin: str | None = None
    """HOST:PORT of the dashboard; `None` where there is none."""


@dataclass
class Slot:
    """A place for a worker; a restarted one takes the same place."""

    index: int
    child: Child | None = None
    writer: asyncio.StreamWriter | None = None
    ready: bool = False


class Supervisor:
    """`start()`, then `run()` until `stop()` was called; `stop()` again is harder."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._layout = Layout(settings.loaded.store_path)
        self._keeper: Child | None = None
        self._keeper_answers = False
        self._tracer: Child | None = None
        self._slots = [Slot(index) for index in range(settings.workers)]
        self._samples = WorkerSamples()
        self._fresh: dict[int, asyncio.Event] = {}
        self._stopping = asyncio.Event()
        self._stops = 0
        self._line: ControlClient | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._started_ns = time.time_ns()
        self._watchman: Watchman | None = None
        self._keeper_restarts = 0
        self._worker_restarts = 0

    # --- start --------------------------------------------------------------------------------------------------------

    async def start(self) -> Ready:
        """Keeper first, workers once a route table is published. Raises `WeighbridgeError`; then nothing is left."""
        try:
            return await self._start()
        except BaseException:
            await self._end()
            raise

    async def _start(self) -> Ready:
        self._keeper = self._spawn_keeper(again=False)
        ready = await asyncio.to_thread(children.keeper_ready, self._keeper)
        self._keeper_answers = True
        self._tasks.append(asyncio.create_task(self._keep_keeper(self._keeper)))
        firsts = [asyncio.get_running_loop().create_future() for _ in self._slots]
        for slot, first in zip(self._slots, firsts, strict=True):
            self._tasks.append(asyncio.create_task(self._keep_worker(slot, first)))
        try:
            async with asyncio.timeout(WORKER_START_S_MAX):
                await asyncio.gather(*firsts)
        except TimeoutError:
            raise WeighbridgeError(f"no worker was ready within {WORKER_START_S_MAX:.0f} seconds") from None
        self._tasks.append(asyncio.create_task(self._poll()))
        if not self._settings.plain:
            self._watchman = Watchman(self._settings.loaded, self._layout)
        traces = self._settings.loaded.config.traces
        if traces is not None and not self._settings.plain:
            self._tasks.append(asyncio.create_task(self._keep_tracer(traces)))
        return ready

    def _spawn_keeper(self, *, again: bool) -> Child:
        settings = self._settings
        return children.keeper(
            settings.loaded.file,
            resume=self._layout.root if again else None,
            client_keys=settings.client_keys,
            quiet=settings.quiet,
            log_format=settings.loaded.config.server.log_format,
            admin=settings.admin,
        )

    # --- traces -------------------------------------------------------------------------------------------------------

    async def _keep_tracer(self, traces: TracesSection) -> None:
        """Nobody waits for it; if it dies, spans are lost and requests are not."""
        delay_s = BACKOFF_S_MIN
        while not self._stopping.is_set():
            self._tracer = children.tracer(self._settings.loaded, traces)
            code = await _ended(self._tracer)
            if not self._stopping.is_set():
                delay_s = min(2 * delay_s, BACKOFF_S_MAX)
                log.error("the exporter of traces %s; another one is started in %.1f s", _how(code), delay_s)
                self._tracer.line.close()
                await self._stopped_within(delay_s)

    # --- keeper -------------------------------------------------------------------------------------------------------

    async def _keep_keeper(self, child: Child) -> None:
        delay_s = BACKOFF_S_MIN
        while True:
            began_s = time.monotonic()
            code = await _ended(child)
            self._keeper_answers = False
            if self._stopping.is_set():
                return
            self._keeper_restarts += 1
            delay_s = BACKOFF_S_MIN if time.monotonic() - began_s > STEADY_S else min(2 * delay_s, BACKOFF_S_MAX)
            log.error("the keeper (pid %d) %s; workers go on, it is started again", child.process.pid, _how(code))
            child.line.close()
            while True:
                if await self._stopped_within(delay_s):
                    return
                try:
                    self._keeper = child = self._spawn_keeper(again=True)
                    ready = await asyncio.to_thread(children.keeper_ready, child)
                except WeighbridgeError as error:
                    delay_s = min(2 * delay_s, BACKOFF_S_MAX)
                    log.error("the keeper cannot be started, trying again in %.1f s: %s", delay_s, error)
                else:
                    self._keeper_answers = True
                    log.info("the keeper is back (pid %d, route table %d)", child.process.pid, ready.table)
                    break

    # --- workers ------------------------------------------------------------------------------------------------------

    async def _keep_worker(self, slot: Slot, first: "asyncio.Future[None]") -> None:
        delay_s = BACKOFF_S_MIN
        while not self._stopping.is_set():
            began_s = time.monotonic()
            settings = self._settings
            child = children.worker(settings.loaded, settings.reservation.listen, slot.index, plain=settings.plain)
            await self._attend(slot, child, first)
            code = await _ended(child)
            self._samples.ended(slot.index)
            if self._stopping.is_set():
                return
            if not first.done():
                message = f"worker {slot.index} {_how(code)} before it was ready; its own message is above"
                first.set_exception(WeighbridgeError(message))
                return
            self._worker_restarts += 1
            delay_s = BACKOFF_S_MIN if time.monotonic() - began_s > STEADY_S else min(2 * delay_s, BACKOFF_S_MAX)
            log.error(
                "worker %d (pid %d) %s; another one is started in %.1f s",
                slot.index, child.process.pid, _how(code), delay_s,
            )  # fmt: skip
            await self._stopped_within(delay_s)

    async def _attend(self, slot: Slot, child: Child, first: "asyncio.Future[None]") -> None:
        """Listen to a worker until its end of the socket is closed."""
        slot.child = child
        reader, slot.writer = await asyncio.open_connection(sock=child.line, limit=16 << 20)
        try:
            while line := await reader.readline():
                said = _SAID.decode(line)
                if isinstance(said, WorkerMetrics):
                    self._samples.report(slot.index, said.samples)
                    self._fresh.setdefault(slot.index, asyncio.Event()).set()
                else:
                    slot.ready = True
                    if first.done():
                        log.info("worker %d is back (pid %d)", slot.index, child.process.pid)
                    else:
                        first.set_result(None)
        except (ConnectionError, ValueError) as error:
            log.error("worker %d said something unexpected: %s", slot.index, error)
        finally:
            slot.ready = False
            slot.writer.close()
            slot.writer = None

    async def _poll(self) -> None:
        while not await self._stopped_within(METRICS_EVERY_S):
            await self.refresh(wait_s=METRICS_EVERY_S)
            if self._watchman is not None:
                await self._watchman.look(self.series())

    async def refresh(self, wait_s: float = 1.0) -> None:
        """Ask every worker for its samples, and wait until they answered or time is up."""
        asked = [slot for slot in self._slots if slot.ready and slot.writer is not None]
        waits: list[Awaitable[object]] = []
        for slot in asked:
            if slot.writer is not None:
                self._fresh[slot.index] = asyncio.Event()
                slot.writer.write(b'{"op":"metrics"}\n')
                waits.append(self._fresh[slot.index].wait())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await asyncio.gather(*waits)

    # --- what others ask ----------------------------------------------------------------------------------------------

    def series(self) -> dict[Series, float]:
        up = self._keeper_answers
        own = {
            "weighbridge_workers": float(self._serving()),
            "weighbridge_workers_missing": float(len(self._slots) - self._serving()),
            "weighbridge_worker_restarts_total": float(self._worker_restarts),
            "weighbridge_keeper_restarts_total": float(self._keeper_restarts),
            "weighbridge_keeper_up": float(up),
            "weighbridge_start_time_seconds": self._started_ns / 1e9,
        }
        build: Series = ("weighbridge_build_info", (("version", __version__),))
        told = {} if self._watchman is None else self._watchman.series()
        return {**self._samples.totals(), **told, **{(name, ()): value for name, value in own.items()}, build: 1.0}

    def health(self) -> tuple[bool, dict[str, object]]:
        up = self._keeper_answers
        serving = self._serving()
        status = "ok" if up and serving == len(self._slots) else "degraded" if serving else "down"
        told: dict[str, object] = {
            "status": status,
            "workers": serving,
            "workers_wanted": len(self._slots),
            "keeper": "up" if up else "down",
        }
        return serving > 0, told

    def _serving(self) -> int:
        return sum(slot.ready for slot in self._slots)

    async def reload(self) -> None:
        """Let the keeper read the configuration again; says how it went."""
        try:
            number = (await asyncio.to_thread(self._call_reload)).number
        except WeighbridgeError as error:
            log.error("not reloaded, everything stays as it was: %s", error)
        else:
            log.info("reloaded: route table %d is current", number)

    def _call_reload(self) -> TableNumber:
        with ControlClient(self._layout) as control:
            return control.call(Reload(), TableNumber)

    async def stay_connected(self) -> None:
        """Hold a line to the keeper, so that `others()` can be asked after `hide()`."""
        self._line = await asyncio.to_thread(ControlClient, self._layout)

    async def others(self) -> int:
        """Commands on the control socket besides ourselves; 0 if the keeper does not answer."""
        line = self._line
        if line is None:
            return 0
        try:
            return (await asyncio.to_thread(line.call, Ping(), Pong)).clients - 1
        except ControlError:
            return 0

    async def hide(self) -> None:
        """Let no further command find this keeper."""
        await asyncio.to_thread(self._layout.control.unlink, missing_ok=True)

    # --- end ----------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """First: drain. Again: do not wait for open requests. Once more: end at once."""
        self._stops += 1
        if self._stops == 1:
            limit_s = self._settings.loaded.config.limits.drain_s_max
            log.info("stopping: open requests may finish within %.0f s (stop again to cut them)", limit_s)
        else:
            for slot in self._slots:
                if slot.child is not None:
                    slot.child.signal(signal.SIGKILL)
            if self._stops > 2 and self._keeper is not None:
                self._keeper.signal(signal.SIGKILL)
        self._stopping.set()

    async def run(self) -> None:
        await self._stopping.wait()
        await self._end()

    async def _end(self) -> None:
        """Drain the workers, then let the keeper seal and end. Whatever happens, no child is left behind."""
        self._stopping.set()
        running = [slot.child for slot in self._slots if slot.child is not None]
        for child in running:
            child.signal(signal.SIGTERM)
        limit_s = self._settings.loaded.config.limits.drain_s_max + DRAIN_GRACE_S
        await asyncio.gather(*(self._wait_or_kill(child, limit_s, "worker") for child in running))
        if self._tracer is not None:
            self._tracer.line.close()
            await self._wait_or_kill(self._tracer, TRACER_END_S_MAX, "exporter of traces")
        if self._line is not None:
            self._line.close()
        if self._keeper is not None:
            self._keeper.signal(signal.SIGTERM)
            await self._wait_or_kill(self._keeper, KEEPER_END_S_MAX, "keeper")
            self._keeper.line.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _wait_or_kill(self, child: Child, limit_s: float, name: str) -> None:
        try:
            async with asyncio.timeout(limit_s):
                await _ended(child)
        except TimeoutError:
            log.error("the %s (pid %d) did not end within %.0f s and is killed", name, child.process.pid, limit_s)
            child.process.kill()
            await _ended(child)

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return False
        return True


async def _ended(child: Child) -> int:
    """Wait for a process without a thread: the kernel makes its pidfd readable when it ends."""
    code = child.process.poll()
    if code is not None:
        return code
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    watch = os.pidfd_open(child.process.pid)

    def note() -> None:
        if not ended.done():
            ended.set_result(None)

    loop.add_reader(watch, note)
    try:
        await ended
    finally:
        loop.remove_reader(watch)
        os.close(watch)
    return child.process.wait()


def _how(code: int) -> str:
    if code < 0:
        return f"was ended by signal {-code} ({signal.Signals(-code).name})"
    return f"ended with exit code {code}"
