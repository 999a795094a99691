"""The admin process: dashboard, admin API, /metrics and /healthz on one address. Started by `serve`, ends with it.

`python -m weighbridge.app.dashboard --config FILE --listen-fd N --supervisor-fd M`. On M it asks with a line `Question`
and gets a line `Told`. End of file there means that the supervisor is gone: so does this process go.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import logging
import os
import socket

import msgspec
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import CollectorRegistry

from weighbridge.admin.machines import Answer, machine_doors
from weighbridge.admin.process import server
from weighbridge.admin.table import application
from weighbridge.app.admin import Collected
from weighbridge.app.metrics import Sample
from weighbridge.config import load
from weighbridge.config.logs import log_to_stderr

ASK_S_MAX = 5.0
LINE_BYTES_MAX = 16 << 20


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What the admin process asks the supervisor."""

    n: int
    """Which one; the answer names it."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to `Question`."""

    n: int
    samples: tuple[Sample, ...]
    well: bool
    health: dict[str, str | int]


class Supervised:
    """The line to the supervisor."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Told]] = {}

    async def listen(self) -> None:
        """Until the supervisor is gone."""
        with contextlib.suppress(ConnectionError):
            while line := await self._reader.readline():
                told = msgspec.json.decode(line, type=Told)
                waiting = self._waiting.pop(told.n, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(told)

    async def told(self) -> Told | None:
        """`None` where no answer comes in time."""
        n = next(self._numbers)
        self._waiting[n] = asyncio.get_running_loop().create_future()
        self._writer.write(msgspec.json.encode(Question(n=n)) + b"\n")
        try:
            async with asyncio.timeout(ASK_S_MAX):
                return await self._waiting[n]
        except TimeoutError:
            return None
        finally:
            self._waiting.pop(n, None)

    async def metrics(self) -> Answer:
        told = await self.told()
        if told is None:
            return Answer(503, b"the supervisor does not answer\n", "text/plain; charset=utf-8")
        registry = CollectorRegistry(auto_describe=False)
        series = {(name, tuple(sorted(labels.items()))): value for name, labels, value in told.samples}
        registry.register(Collected(lambda: series))
        return Answer(200, generate_latest(registry), CONTENT_TYPE_LATEST)

    async def health(self) -> Answer:
        told = await self.told()
        if told is None:
            return Answer(503, b'{"status": "unknown"}\n', "application/json")
        return Answer(200 if told.well else 503, json.dumps(told.health).encode() + b"\n", "application/json")


async def _live(config: str, listening: socket.socket, supervisor: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=supervisor, limit=LINE_BYTES_MAX)
    supervised = Supervised(reader, writer)
    app = application(load(config), listening, machine_doors(supervised.metrics, supervised.health))
    serving = server(app)

    async def end_with_the_supervisor() -> None:
        await supervised.listen()
        serving.should_exit = True

    watching = asyncio.create_task(end_with_the_supervisor())
    await serving.serve(sockets=[listening])
    watching.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(prog="weighbridge-admin", description=__doc__)
    parser.add_argument("--config", required=True)
    parser.add_argument("--listen-fd", type=int, required=True)
    parser.add_argument("--supervisor-fd", type=int, required=True)
    parser.add_argument("--log-format", choices=("text", "json"), default="text")
    given = parser.parse_args()
    log_to_stderr(given.log_format)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # that it serves is the supervisor's to say
    os.umask(0o077)
    with socket.socket(fileno=given.listen_fd) as listening, socket.socket(fileno=given.supervisor_fd) as supervisor:
        asyncio.run(_live(given.config, listening, supervisor))


if __name__ == "__main__":
    main()
