"""`control.sock`: one JSON object a line in each direction. Answers calls; pushes events to workers."""

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import msgspec

from weighbridge.errors import NotAllowedError, NotThereError, WeighbridgeError
from weighbridge.store.control import (
    LINE_BYTES_MAX,
    Answer,
    Done,
    Event,
    Failed,
    FailedKind,
    Funds,
    FundsRequest,
    Hello,
    Request,
    Rolled,
    RollSegments,
    socket_address,
)
from weighbridge.store.layout import Layout

log = logging.getLogger("keeper")

ROLL_S_MAX = 5.0
"""How long a worker may take to roll; what it has not rolled by then is sealed another time."""

_REQUEST: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)


@dataclass(eq=False)
class Worker:
    """A worker that has said hello and is still connected."""

    incarnation: str
    pid: int
    listen: str
    local: str | None
    writer: asyncio.StreamWriter
    first_open: int | None = None
    """The first segment number that it has not closed; `None` until it said so."""
    rolled: asyncio.Event = field(default_factory=asyncio.Event)

    def send(self, message: Funds | Event) -> None:
        _send(self.writer, message)


class ControlServer:
    """`answer` does the work of every request but `Hello` and `Rolled`, which are about the connection itself.

    `funds` takes what a worker says about money, and answers on its line when it can: a worker that waits for money
    must be heard meanwhile, because others may wait for what it has.
    """

    def __init__(
        self,
        layout: Layout,
        answer: Callable[[Request], Awaitable[Answer]],
        funds: Callable[[Worker, FundsRequest], object],
    ) -> None:
        self._layout, self._answer, self._funds = layout, answer, funds
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self._left = asyncio.Event()
        self._workers: dict[asyncio.StreamWriter, Worker] = {}

    @property
    def workers(self) -> tuple[Worker, ...]:
        return tuple(self._workers.values())

    @property
    def clients(self) -> int:
        """Connections that are not workers."""
        return len(self._connections) - len(self._workers)

    async def start(self) -> None:
        """Bind and listen. A socket file that a dead keeper left is replaced; the lock says that it is dead."""
        path = self._layout.control
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        before = os.umask(0o177)
        try:
            with socket_address(path) as address:
                listener.bind(address)
        finally:
            os.umask(before)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=LINE_BYTES_MAX)

    def turn_away(self) -> None:
        """Take no new connection; whoever is connected is still answered."""
        if self._server is not None:
            self._server.close()
            self._layout.control.unlink(missing_ok=True)
            self._server = None

    async def until_alone(self) -> None:
        """Until no client is connected."""
        while self.clients:
            self._left.clear()
            await self._left.wait()

    def close(self) -> None:
        self.turn_away()
        for writer in tuple(self._connections):
            writer.close()

    def push(self, event: Event) -> None:
        """To every worker."""
        for worker in self.workers:
            _send(worker.writer, event)

    async def roll(self, wait_s: float = ROLL_S_MAX) -> None:
        """Ask every worker to close its segments and wait until each has said so (or is gone, or too slow)."""
        asked = self.workers
        for worker in asked:
            worker.rolled.clear()
        self.push(RollSegments())
        waits = [asyncio.create_task(worker.rolled.wait()) for worker in asked]
        if waits:
            _, late = await asyncio.wait(waits, timeout=wait_s)
            for task in late:
                task.cancel()
        for worker in asked:
            if not worker.rolled.is_set():
                log.warning("worker %s (pid %d) did not roll its segments in time", worker.incarnation, worker.pid)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while line := await reader.readline():
                await self._line(line, writer)
        except (ConnectionError, ValueError):
            pass  # gone, or a line over the limit: the connection ends, the keeper does not
        finally:
            self._connections.discard(writer)
            self._left.set()
            worker = self._workers.pop(writer, None)
            if worker is not None:
                worker.rolled.set()
            writer.close()

    async def _line(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        try:
            request = _REQUEST.decode(line)
        except msgspec.MsgspecError as error:
            _send(writer, Failed(message=f"not a request of the control socket: {error}"))
            return
        if isinstance(request, Hello):
            self._workers[writer] = Worker(request.incarnation, request.pid, request.listen, request.local, writer)
            _send(writer, Done())
        elif isinstance(request, Rolled):
            worker = self._workers.get(writer)
            if worker is not None:
                worker.first_open = request.segment
                worker.rolled.set()
        elif isinstance(request, FundsRequest):
            worker = self._workers.get(writer)
            if worker is None:
                _send(writer, Failed(message=f"{type(request).__name__} is for gateway workers, after Hello"))
            else:
                self._funds(worker, request)
        else:
            _send(writer, await self._answered(request))
            await writer.drain()

    async def _answered(self, request: Request) -> Answer:
        try:
            return await self._answer(request)
        except WeighbridgeError as error:
            kind: FailedKind = "refused"
            if isinstance(error, NotAllowedError | NotThereError):
                kind = "not_allowed" if isinstance(error, NotAllowedError) else "not_there"
            return Failed(message=str(error), kind=kind)
        except OSError as error:
            return Failed(message=f"{type(request).__name__} failed: {error}")
        except Exception as error:  # the edge of the process: one bad call must not end the keeper for all others
            log.exception("%s failed", type(request).__name__)
            return Failed(message=f"internal error in {type(request).__name__}: {error!r}; the keeper's log has more")


def _send(writer: asyncio.StreamWriter, message: msgspec.Struct) -> None:
    if not writer.is_closing():
        writer.write(msgspec.json.encode(message) + b"\n")
