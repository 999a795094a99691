"""The admin process as the supervisor's child. It is started when somebody first asks for it, so that a gateway that
nobody looks at pays nothing for it; connections wait in the listening socket meanwhile, also while it is started again.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable
from importlib.util import find_spec

import msgspec

from weighbridge.admin.listen import listener
from weighbridge.app import children
from weighbridge.app.addresses import Reservation
from weighbridge.app.children import Child
from weighbridge.app.metrics import Series
from weighbridge.config import Loaded
from weighbridge.errors import WeighbridgeError

log = logging.getLogger("serve")

BACKOFF_S_MIN, BACKOFF_S_MAX = 0.5, 10.0
END_S_MAX = 8.0
NEEDS = ("starlette", "uvicorn", "argon2", "multipart")


def missing() -> str | None:
    """The first of the extra's packages that is not installed; `None`: all are."""
    return next((name for name in NEEDS if find_spec(name) is None), None)


class AdminChild:
    """`start()`, then `close()`. series, health: what /metrics and /healthz say, of the supervisor."""

    def __init__(
        self,
        loaded: Loaded,
        address: Reservation,
        series: Callable[[], Awaitable[dict[Series, float]]],
        health: Callable[[], tuple[bool, dict[str, object]]],
    ) -> None:
        self._loaded, self._series, self._health = loaded, series, health
        self.port = address.port
        address.close()
        self._listening = _listening(address.host, address.port)
        self._child: Child | None = None
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        delay_s = BACKOFF_S_MIN
        while not self._closing.is_set():
            await self._wanted()
            if self._closing.is_set():
                return
            try:
                self._child = children.admin(self._loaded, self._listening)
            except WeighbridgeError as error:
                log.error("the admin process cannot be started, trying again in %.1f s: %s", delay_s, error)
            else:
                served = await self._attend(self._child)
                code = await asyncio.to_thread(self._child.process.wait)
                self._child = None
                if self._closing.is_set():
                    return
                delay_s = BACKOFF_S_MIN if served else delay_s
                log.error(
                    "the admin process ended with exit code %d; the gateway goes on, and it is started again when "
                    "somebody asks for it",
                    code,
                )  # fmt: skip
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), delay_s)
            delay_s = min(2 * delay_s, BACKOFF_S_MAX)

    async def _wanted(self) -> None:
        """Until a connection waits, or the end."""
        loop = asyncio.get_running_loop()
        wanted = asyncio.Event()
        loop.add_reader(self._listening, wanted.set)
        try:
            waits = [asyncio.create_task(wanted.wait()), asyncio.create_task(self._closing.wait())]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for task in waits:
                task.cancel()
        finally:
            loop.remove_reader(self._listening)

    async def _attend(self, child: Child) -> bool:
        """Answer its questions until it is gone. True if it asked or lasted."""
        reader, writer = await asyncio.open_connection(sock=child.line)
        asked = False
        try:
            while line := await reader.readline():
                asked = True
                n = msgspec.json.decode(line, type=dict[str, int])["n"]
                series = await self._series()
                well, health = self._health()
                told = {
                    "n": n,
                    "samples": [(name, dict(labels), value) for (name, labels), value in series.items()],
                    "well": well,
                    "health": health,
                }
                writer.write(msgspec.json.encode(told) + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError, KeyError) as error:
            if not self._closing.is_set():
                log.error("the admin process said something unexpected: %s", error)
        finally:
            writer.close()
        return asked

    async def close(self) -> None:
        self._closing.set()
        child = self._child
        if child is not None:
            child.process.terminate()
            try:
                await asyncio.wait_for(asyncio.to_thread(child.process.wait), END_S_MAX)
            except TimeoutError:
                child.process.kill()
        if self._task is not None:
            await self._task
        self._listening.close()


def _listening(host: str, port: int) -> socket.socket:
    try:
        return listener(host, port)
    except OSError as error:
        raise WeighbridgeError(f"cannot listen on server.admin_listen {host}:{port}: {error.strerror}") from None
