"""A gateway without sockets: one connection, what it answered, what was recorded. For tests that feed it bytes."""

import asyncio
from collections.abc import Callable
from typing import cast

from tests.exchanges.loop import HandLoop
from tests.gateway.running import KEY, endpoint, key_digest, table
from weighbridge.exchanges.writer import LogWriter
from weighbridge.gateway.client import Client
from weighbridge.gateway.gateway import Gateway
from weighbridge.gateway.lanes import Lanes
from weighbridge.records.frames import Frame, Held
from weighbridge.records.table import Capture, Key, Limits, Route, RouteTable

OTHER = "sk-other-key"
KEYS = (
    Key(name="a", digest=key_digest(KEY), team="red", routes=("assistant",)),
    Key(name="b", digest=key_digest(OTHER), team="blue", routes=("*",)),
)


def a_table(number: int, keys: tuple[Key, ...] = KEYS) -> RouteTable:
    routes = [Route(name=name, incumbent="closed", slice_by=("tag:task",)) for name in ("assistant", "secret")]
    return table(
        "",
        number=number,
        routes=routes,
        keys=keys,
        endpoints=[endpoint("http://127.0.0.1:1/v1", api_key="env:GONE")],
        capture=Capture(bodies=True, purpose="test", approved_by="test", redact=()),
        limits=Limits(body_bytes_max=2000, head_bytes_max=600),
    )


def no_secret(reference: str) -> str:
    """No endpoint can be used: an exchange is admitted, recorded, and ends at once."""
    raise LookupError(reference)


class Log:
    """What was recorded, in order; what waits for the disk waits until `settle`."""

    state, reason = "ok", ""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.bodies: list[tuple[str | None, bytes]] = []
        self.waiting: list[Callable[[], object]] = []

    def append(self, frame: Frame) -> None:
        self.frames.append(frame)

    def capture(self, frame: Frame, team: str | None, body: bytes, redact: tuple[str, ...]) -> None:
        self.frames.append(frame)
        self.bodies.append((team, body))

    def when_durable(self, done: Callable[[], object]) -> None:
        self.waiting.append(done)


class Line(asyncio.Transport):
    def __init__(self) -> None:
        self.written = b""
        self.ended = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return self.ended

    def close(self) -> None:
        self.ended = True

    abort = close


class Side:
    """A gateway with one connection, which is opened again when it has ended."""

    def __init__(self, kind: type[Client]) -> None:
        self.log = Log()
        loop = cast(asyncio.AbstractEventLoop, HandLoop())  # nothing is dialled
        self.gateway = Gateway(Lanes(a_table(1), no_secret), "w", loop=loop, wall_ns=lambda: 0, mono_ns=lambda: 0)
        self.gateway.log = cast(LogWriter, self.log)
        self.kind = kind
        self.open()

    def open(self) -> None:
        self.line, self.client = Line(), self.kind(self.gateway)
        self.client.connection_made(self.line)

    def send(self, pieces: list[bytes]) -> bytes:
        for piece in pieces:
            if not self.line.ended:
                self.client.data_received(piece)
            waiting, self.log.waiting = self.log.waiting, []
            for done in waiting:
                done()
        written, ended = self.line.written, self.line.ended
        self.line.written = b""
        if ended:
            self.client.connection_lost(None)
            self.open()
        return written + (b"(end)" if ended else b"")

    def who(self) -> list[tuple[str, str]]:
        return [(row.key, row.route) for row in self.log.frames if isinstance(row, Held)]
