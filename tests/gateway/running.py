"""A gateway in this process, on a loop of its own, and what its log says."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from weighbridge.exchanges.bodies import BodySealer
from weighbridge.exchanges.files import FileDoor
from weighbridge.exchanges.framing import Scan, new_incarnation
from weighbridge.exchanges.keys import master_key
from weighbridge.exchanges.writer import LogState, LogWriter
from weighbridge.gateway.client import Client
from weighbridge.gateway.door import bound_unsent
from weighbridge.gateway.gateway import Gateway
from weighbridge.gateway.lanes import Lanes
from weighbridge.keeper.bank import Bank
from weighbridge.records.budget import Budget
from weighbridge.records.frames import Finished, Frame, Held, Posted
from weighbridge.records.table import SCHEMA, Arm, Capture, Endpoint, Key, Limits, Route, RouteTable, Share
from weighbridge.records.usage import Price
from weighbridge.store.control import CallBack, Event, Funds, Released, Void
from weighbridge.store.layout import Layout
from weighbridge.store.ledger import LedgerStore
from weighbridge.store.sql import SqliteSql

KEY = "sk-test-key"
SIGNING_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PRICE = Price(input=2_500_000_000, output=10_000_000_000, cache_read=1_250_000_000, reasoning=10_000_000_000)

T = TypeVar("T")
_frame = msgspec.msgpack.Decoder(Frame).decode


def key_digest(secret: str) -> str:
    return blake2b(secret.encode(), digest_size=32).hexdigest()


def endpoint(url: str, name: str = "fake", **more: Any) -> Endpoint:
    return Endpoint(name=name, dialect="openai", base_url=url, loopback=True, address_is_own=True, **more)


def table(
    url: str,
    *,
    number: int = 1,
    routes: Sequence[Route] | None = None,
    arms: Sequence[Arm] = (),
    endpoints: Sequence[Endpoint] | None = None,
    keys: Sequence[Key] | None = None,
    limits: Limits | None = None,
    capture: Capture | None = None,
    durability: Any = "process",
    budgets: Sequence[Budget] = (),
) -> RouteTable:
    """Route `assistant` (alias `gpt-4o`) with incumbent `closed` (model `model-a`) and candidate `open` (`model-b`)."""
    return RouteTable(
        schema=SCHEMA,
        number=number,
        created_ns=0,
        config_digest="0" * 64,
        trial_key=SIGNING_KEY.public_key().public_bytes_raw().hex(),
        durability=durability,
        capture=capture or Capture(bodies=True, purpose="test", approved_by="test", redact=("secrets",)),
        limits=limits or Limits(),
        endpoints=tuple(endpoints) if endpoints is not None else (endpoint(url),),
        arms=(
            Arm(name="closed", endpoint="fake", model="model-a", price=PRICE, price_version="test 1"),
            Arm(name="open", endpoint="fake", model="model-b", price=PRICE, price_version="test 1"),
            *arms,
        ),
        routes=tuple(routes)
        if routes is not None
        else (
            Route(
                name="assistant",
                incumbent="closed",
                aliases=("gpt-4o",),
                candidates=("open",),
                shares=(Share(arm="closed", basis_points=10_000),),
                slice_by=("tag:task",),
            ),
        ),
        keys=tuple(keys)
        if keys is not None
        else (Key(name="tests", digest=key_digest(KEY), team="qa", routes=("*",)),),
        budgets=tuple(budgets),
    )


class PurseLine:
    """The worker's end of the line to the keeper, without a socket."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway, self.incarnation = gateway, gateway.incarnation

    def send(self, message: Funds | Event) -> None:
        purse = self._gateway.purse
        if isinstance(message, Funds):
            purse.funds(message)
        elif isinstance(message, CallBack):
            purse.call_back(message)
        elif isinstance(message, Released):
            purse.released(message.leases)
        elif isinstance(message, Void):
            purse.void(message.leases)


class Running:
    """`with Running(store, table) as gateway:` serves on `gateway.port`."""

    def __init__(
        self,
        store: Path,
        route_table: RouteTable,
        *,
        secret: Callable[[str], str] = lambda reference: "upstream-secret",
        files: FileDoor | None = None,
        segment_bytes_max: int = 64 << 20,
        chunk_bytes: int = 4 << 20,
        keeper: bool = True,
    ) -> None:
        """`keeper=False`: the worker's line to the keeper is down, and no lease can be had."""
        self.layout = Layout(store)
        self.layout.create()
        self._table, self._secret, self._files = route_table, secret, files
        self._segment_bytes_max, self._chunk_bytes = segment_bytes_max, chunk_bytes
        self._has_keeper = keeper
        self.errors: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        if not ready.wait(10):
            raise RuntimeError("the gateway did not start")
        if self._failed is not None:
            raise self._failed
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        if self.errors and error is None:
            raise AssertionError(f"the loop reported errors: {self.errors}")

    def _run(self, ready: threading.Event) -> None:
        self.loop = loop = uvloop.new_event_loop()
        loop.set_exception_handler(lambda _, context: self.errors.append(context))
        try:
            loop.run_until_complete(self._serve(ready))
        except BaseException as error:  # noqa: BLE001 (handed to the thread that waits)
            self._failed = error
            ready.set()
        finally:
            loop.close()

    async def _serve(self, ready: threading.Event) -> None:
        loop = self.loop
        self._stop = asyncio.Event()
        name = new_incarnation()
        self.incarnation = name
        self.gateway = gateway = Gateway(
            Lanes(self._table, self._secret), name, loop=loop, wall_ns=time.time_ns, mono_ns=time.perf_counter_ns
        )
        capture = self._table.capture
        sealer = BodySealer(self.layout, master_key(self.layout, None)) if capture.bodies else None
        gateway.log = LogWriter(
            self.layout,
            name,
            durability=self._table.durability,
            call_soon=loop.call_soon,
            call_threadsafe=loop.call_soon_threadsafe,
            sealer=sealer,
            on_state=self._on_state,
            segment_bytes_max=self._segment_bytes_max,
            chunk_bytes=self._chunk_bytes,
            files=self._files,
        )
        bank: Bank | None = None
        if self._has_keeper:
            self.line = line = PurseLine(gateway)
            store = LedgerStore(SqliteSql(self.layout.ledger, time.time_ns))
            self.bank = bank = Bank(store, "local", lines=lambda: (line,))
            gateway.purse.connected(lambda said: bank.hear(line, said))
        bound = socket.socket()
        bound_unsent(bound)
        bound.bind(("127.0.0.1", 0))
        bound.setblocking(False)
        self.port = bound.getsockname()[1]
        server = await loop.create_server(lambda: Client(gateway), sock=bound, backlog=1024)
        gateway.start_timers()
        ready.set()
        await self._stop.wait()
        server.close()
        gateway.close()
        gateway.log.close()
        if bank is not None:
            await bank.close()

    def _on_state(self, state: LogState, reason: str) -> None:
        self.gateway.log_state(state)

    # --- looking in ---------------------------------------------------------------------------------------------------

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def on_loop(self, function: Callable[[], T]) -> T:
        """Run on the gateway's own thread and wait for the result."""

        async def call() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(10)

    def use(self, route_table: RouteTable) -> bool:
        return self.on_loop(lambda: self.gateway.use(Lanes(route_table, self._secret)))

    def sweep(self, times: int = 1) -> None:
        """Let time pass for the timers: one tick each."""

        def many() -> None:
            for _ in range(times):
                self.gateway.sweep()

        self.on_loop(many)

    def waiting_at(self, endpoint: str, count: int) -> None:
        """Until so many requests wait for a place at the endpoint."""
        row = ("weighbridge_endpoint_waiting", {"endpoint": endpoint}, count)
        until(lambda: self.on_loop(self.gateway.samples), lambda samples: row in samples)

    def frames(self) -> list[Frame]:
        """Everything that was written to the log."""
        rows: list[Frame] = []
        for path in sorted(self.layout.open_log.glob("*.wbx")):
            rows += [_frame(payload) for _, payload in Scan(path.read_bytes())]
        return rows

    def of(self, exchange_id: str) -> list[Frame]:
        return [row for row in self.frames() if row.id == exchange_id]

    def finished(self, count: int = 1, wait_s: float = 10.0) -> list[Finished]:
        """The `finished` frames, once there are so many."""

        def look() -> list[Finished]:
            return [row for row in self.frames() if isinstance(row, Finished)]

        return until(look, lambda rows: len(rows) >= count, wait_s)

    def posted(self) -> list[Posted]:
        return [row for row in self.frames() if isinstance(row, Posted)]

    def held(self) -> list[Held]:
        return [row for row in self.frames() if isinstance(row, Held)]


def until(look: Callable[[], T], good: Callable[[T], bool], wait_s: float = 10.0) -> T:
    """Look until it is good. Fails with what was seen last."""
    end = time.monotonic() + wait_s
    while True:
        seen = look()
        if good(seen):
            return seen
        if time.monotonic() > end:
            raise AssertionError(f"not reached within {wait_s} s; last seen: {seen!r}"[:2000])
        time.sleep(0.005)


def chat(model: str = "assistant", text: str = "Hello", **more: Any) -> bytes:
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    return json.dumps(body, separators=(",", ":")).encode()


class Answer(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool
    """It ended as HTTP says that it must."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)["error"]
        return found


def request_bytes(
    body: bytes = b"",
    *,
    method: str = "POST",
    path: str = "/v1/chat/completions",
    key: str | None = KEY,
    headers: Sequence[tuple[str, str]] = (),
) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: gateway", "Content-Type: application/json"]
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    lines += [f"{name}: {value}" for name, value in headers]
    if body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


@contextmanager
def connected(port: int, timeout_s: float = 15.0) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout_s) as made:
        yield made


def read_answer(line: socket.socket, *, head_only: bool = False) -> Answer:
    """One answer off a socket, by a reader of our own: it must not share the server's mistakes."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = line.recv(65536)
        if not part:
            raise AssertionError(f"the connection ended in the head of an answer: {data!r}")
        data += part
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (row.partition(":") for row in lines)}
    status = int(first.split(" ")[1])
    if status == 100:
        raise AssertionError("an interim answer where none was expected")
    if head_only or status in (204, 304):
        return Answer(status, headers, b"", True)
    if "content-length" in headers:
        length = int(headers["content-length"])
        while len(rest) < length and (part := line.recv(65536)):
            rest += part
        return Answer(status, headers, rest[:length], len(rest) >= length)
    if headers.get("transfer-encoding") == "chunked":
        return Answer(status, headers, *_chunked(line, rest))
    while part := line.recv(65536):
        rest += part
    return Answer(status, headers, rest, True)


def _chunked(line: socket.socket, rest: bytes) -> tuple[bytes, bool]:
    body = b""
    while True:
        size_text, found, after = rest.partition(b"\r\n")
        if found:
            size = int(size_text, 16)
            if len(after) >= size + 2:
                assert after[size : size + 2] == b"\r\n"
                if size == 0:
                    return body, True
                body, rest = body + after[:size], after[size + 2 :]
                continue
        try:
            part = line.recv(65536)
        except ConnectionResetError:
            part = b""
        if not part:
            return body, False
        rest += part


def call(port: int, body: bytes = b"", **how: Any) -> Answer:
    """One request on a connection of its own."""
    with connected(port) as line:
        line.sendall(request_bytes(body, **how))
        return read_answer(line, head_only=how.get("method") == "HEAD")
