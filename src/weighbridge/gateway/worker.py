"""The gateway process: `python -m weighbridge.gateway.worker --store PATH --folder FOLDER --listen HOST:PORT ...`."""

import argparse
import asyncio
import gc
import logging
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import uvloop

from weighbridge.config.logs import log_to_stderr
from weighbridge.config.secrets import secret
from weighbridge.errors import WeighbridgeError
from weighbridge.exchanges.bodies import BodySealer
from weighbridge.exchanges.framing import new_incarnation
from weighbridge.exchanges.keys import master_key
from weighbridge.exchanges.writer import LogState, LogWriter
from weighbridge.gateway.channel import KeeperLine, SupervisorLine, WorkerReady
from weighbridge.gateway.client import Client, LocalClient
from weighbridge.gateway.door import Door, listener
from weighbridge.gateway.gateway import Gateway
from weighbridge.gateway.lanes import Lanes
from weighbridge.gateway.sticky import Memory
from weighbridge.gateway.tables import compiled, read_table
from weighbridge.records.table import RouteTable
from weighbridge.store.control import Hello
from weighbridge.store.layout import Layout
from weighbridge.upstream.tls import towards_clients

log = logging.getLogger("worker")

CUT_GRACE_S = 2.0
"""After the drain time: how long the last error events may take to leave."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    store: Path
    folder: Path
    host: str
    port: int
    index: int
    workers: int
    supervisor_fd: int
    plain: bool = False
    """Without TLS, whatever the table says: a temporary gateway on loopback."""


class Worker:
    """One process: an event loop, its gateway, its log."""

    def __init__(self, options: Options, loop: asyncio.AbstractEventLoop) -> None:
        self._options, self._loop = options, loop
        self._layout = Layout(options.store)
        self._table_number = 0
        self._stop = asyncio.Event()
        self._hard = False
        self._memory: Memory | None = None

    async def run(self) -> None:
        options, loop = self._options, self._loop
        table = read_table(self._layout)
        self._table_number, self._table = table.number, table
        name = new_incarnation()
        lanes = compiled(table, options.folder)
        self._remember(lanes)
        self._gateway = gateway = Gateway(
            lanes,
            name,
            loop=loop,
            wall_ns=time.time_ns,
            mono_ns=time.perf_counter_ns,
            workers=options.workers,
            index=options.index,
            rates_file=self._layout.rates,
            layout=self._layout,
        )
        gateway.log = LogWriter(
            self._layout,
            name,
            durability=table.durability,
            call_soon=loop.call_soon,
            call_threadsafe=loop.call_soon_threadsafe,
            sealer=self._sealer(table),
            on_state=self._log_state,
        )
        try:
            await self._serve(name)
        finally:
            gateway.close()
            gateway.log.close()

    async def _serve(self, name: str) -> None:
        gateway, loop, options = self._gateway, self._loop, self._options
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop)
        supervisor = SupervisorLine(gateway.samples, lambda: sorted(sys.modules), self._asked_to_stop)
        doors = [Door(loop, listener(options.host, options.port), lambda: Client(gateway))]
        self._door, listen = doors[0], doors[0].address
        line = socket.socket(fileno=options.supervisor_fd)
        line.setblocking(False)
        await loop.create_connection(lambda: supervisor, sock=line)
        gateway.start_timers()
        tls = None if options.plain else self._tls(self._table)
        if tls is not None:  # in the clear, for commands of this machine
            doors.append(Door(loop, listener("127.0.0.1", 0), lambda: LocalClient(gateway)))
        for door in doors:
            await door.open(tls if door is self._door else None)
        local = doors[1].address if tls is not None else None
        keeper = KeeperLine(
            self._layout,
            Hello(incarnation=name, pid=os.getpid(), listen=listen, local=local),
            table_changed=self._table_changed,
            roll=gateway.log.roll,
            purse=gateway.purse,
        )
        keeper_task = loop.create_task(keeper.run())
        # What is alive now stays; the collector need not look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        supervisor.say(WorkerReady(listen, name))
        await self._stop.wait()
        for door in doors:
            door.close()
        await self._drain()
        keeper_task.cancel()

    async def _drain(self) -> None:
        gateway = self._gateway
        open_now = len(gateway.active)
        if open_now:
            log.info("worker %d: finishing %d requests", self._options.index, open_now)
        gateway.drain()
        try:
            async with asyncio.timeout(gateway.lanes.limits.drain_s_max):
                await gateway.drained.wait()
        except TimeoutError:
            log.warning(
                "worker %d: %d requests are cut: the time to drain is over", self._options.index, len(gateway.active)
            )
            gateway.cut_all()
            try:
                async with asyncio.timeout(CUT_GRACE_S):
                    await gateway.drained.wait()
            except TimeoutError:
                pass  # a client that does not read; its connection is aborted

    # --- what others tell us ------------------------------------------------------------------------------------------

    def _asked_to_stop(self) -> None:
        self._stop.set()

    def _log_state(self, state: LogState, reason: str) -> None:
        log.log(
            logging.INFO if state == "ok" else logging.ERROR, "exchange log: %s%s", state, reason and f" ({reason})"
        )
        self._gateway.log_state(state)

    def _table_changed(self) -> None:
        try:
            table = read_table(self._layout)
        except WeighbridgeError as error:
            log.error("going on with route table %d: %s", self._table_number, error)
            return
        if table.number <= self._table_number:
            if table.number < self._table_number:
                log.error("route table %d is offered after %d and not taken", table.number, self._table_number)
            return
        self._renew_tls(table)
        lanes = compiled(table, self._options.folder)
        self._remember(lanes)
        self._gateway.use(lanes)
        self._table_number, self._table = table.number, table
        log.info("worker %d: route table %d", self._options.index, table.number)

    def _remember(self, lanes: Lanes) -> None:
        """Routes with a ramp remember who has which arm, together with the other workers of this host."""
        for way in lanes.ways.values():
            if way.ramped:
                try:
                    self._memory = self._memory or Memory(self._layout.run / "assignments", time.time_ns)
                except OSError as error:
                    log.error("who has which arm is not remembered over the steps of a ramp: %s", error)
                    return
                way.memory = self._memory

    @staticmethod
    def _tls(table: RouteTable) -> ssl.SSLContext | None:
        files = table.server_tls
        if files is None:
            return None
        try:
            return towards_clients(files.cert, files.key, files.client_ca)
        except ValueError as error:
            raise WeighbridgeError(f"cannot listen with TLS: {error}") from None

    def _renew_tls(self, table: RouteTable) -> None:
        """Other files, or another content of them: new connections get it, open ones stay."""
        if self._options.plain or table.server_tls == self._table.server_tls:
            return
        if table.server_tls is None or self._table.server_tls is None:
            log.error("server.tls_cert was added or removed: that takes a restart; the listener stays as it is")
            return
        try:
            context = self._tls(table)
        except WeighbridgeError as error:
            log.error("going on with the certificate in use: %s", error)
            return
        self._opening = self._loop.create_task(self._open_anew(context))

    async def _open_anew(self, context: ssl.SSLContext | None) -> None:
        await self._door.open(context)
        log.info("worker %d: new connections get the renewed certificate", self._options.index)

    def _sealer(self, table: RouteTable) -> BodySealer | None:
        """Ready even while capture is off: a new table may switch it on."""
        reference = table.capture.encrypt_key
        try:
            given = None if reference is None else secret(reference, self._options.folder).encode()
        except LookupError as error:
            if table.capture.bodies:
                raise WeighbridgeError(f"bodies cannot be encrypted: {error.args[0]} (capture.encrypt_key)") from None
            return None
        return BodySealer(self._layout, master_key(self._layout, given))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="weighbridge-worker", description="One gateway worker; `serve` starts it.")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="paths of secrets are relative to it")
    parser.add_argument("--listen", required=True, help="HOST:PORT; port 0 lets the system choose")
    parser.add_argument("--index", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="how many there are: limits are divided over them")
    parser.add_argument("--supervisor-fd", type=int, required=True, help="an inherited socket; its end ends the worker")
    parser.add_argument("--plain", action="store_true", help="no TLS: for a command, on loopback")
    parser.add_argument("--log-format", choices=("text", "json"), default="text")
    given = parser.parse_args(arguments)
    log_to_stderr(given.log_format)
    os.umask(0o077)
    host, _, port = given.listen.rpartition(":")
    options = Options(
        store=given.store,
        folder=given.folder,
        host=host.strip("[]"),
        port=int(port),
        index=given.index,
        workers=given.workers,
        supervisor_fd=given.supervisor_fd,
        plain=given.plain,
    )
    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(Worker(options, loop).run())
    except (WeighbridgeError, OSError) as error:
        log.error("worker %d: %s", options.index, error)
        return 1
    finally:
        loop.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
