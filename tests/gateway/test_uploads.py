"""Large bodies that pass unread go on as they come in: whole, with bounded memory, and with every way to end."""

import asyncio
import gc
import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import openai
import pytest

from tests.gateway.running import KEY, Answer, Running, call, connected, endpoint, key_digest, read_answer, table, until
from weighbridge.gateway.upload import UPLOAD_FROM_BYTES
from weighbridge.records.budget import Budget
from weighbridge.records.frames import Attempted, Finished, Posted
from weighbridge.records.table import Key, Limits, Route, RouteTable

PIECE = bytes(range(256)) * 256
MIB = 1 << 20
FILES = "/v1/files"
BUFFERS = 4 * MIB
"""What kernel, loop and transports of three sides may hold of a body, far below its size."""


@dataclass
class Store:
    """A provider that takes files: counts and hashes what comes in, keeps none of it."""

    reads: threading.Event = field(default_factory=threading.Event)
    """Cleared: it reads heads and no more."""
    early: bytes | None = None
    """Answer with this as soon as the head is there."""
    dies_after: int | None = None
    received: int = 0
    digest: str = ""
    heads: list[bytes] = field(default_factory=list)
    gone: int = 0
    """Connections that ended within a body."""

    def __enter__(self) -> Self:
        self.reads.set()
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True)
        self._thread.start()
        assert ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.reads.set()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, limit=1 << 16)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._stop.wait()
        server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            self.gone += 1
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            return False
        self.heads.append(head)
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if self.early is not None:
            writer.write(self.early)
            await writer.drain()
            self.reads.clear()
        await asyncio.to_thread(self.reads.wait)
        hashed, self.received = sha256(), 0
        while self.received < length:
            piece = await reader.read(min(1 << 16, length - self.received))
            if not piece:
                raise ConnectionError
            hashed.update(piece)
            self.received += len(piece)
            if self.dies_after is not None and self.received >= self.dies_after:
                writer.transport.abort()
                return False
        self.digest = hashed.hexdigest()
        answer = b'{"id":"file-1","bytes":%d}' % length
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(answer))
        writer.write(answer)
        await writer.drain()
        return True


@pytest.fixture
def store() -> Iterator[Store]:
    with Store() as running:
        yield running


def a_table(url: str, **more: Any) -> RouteTable:
    return table("", endpoints=[endpoint(url, api_key="env:KEY")], **more)


@pytest.fixture
def gateway(tmp_path: Path, store: Store) -> Iterator[Running]:
    with Running(tmp_path, a_table(store.url)) as running:
        yield running


def head_of(size: int, key: str = KEY) -> bytes:
    return (
        f"POST {FILES} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n"
    ).encode()


def send(line: socket.socket, size: int) -> str:
    """Send a body; its digest."""
    hashed = sha256()
    for at in range(0, size, len(PIECE)):
        piece = PIECE[: size - at]
        hashed.update(piece)
        line.sendall(piece)
    return hashed.hexdigest()


def upload(gateway: Running, size: int) -> tuple[Answer, str]:
    with connected(gateway.port, 60.0) as line:
        line.sendall(head_of(size))
        digest = send(line, size)
        return read_answer(line), digest


def ended(gateway: Running) -> tuple[Finished, Posted]:
    (finished,) = gateway.finished()
    (posted,) = gateway.posted()
    return finished, posted


def within(gateway: Running) -> int:
    """How much of the one open upload has come in."""

    def look() -> int:
        return sum(one.upload.size - one.upload.left for one in gateway.gateway.active if one.upload is not None)

    return gateway.on_loop(look)


def test_a_large_file_arrives_byte_for_byte_and_is_never_in_memory(gateway: Running, store: Store) -> None:
    upload(gateway, 2 * MIB)  # what is made once is there
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        answer, digest = upload(gateway, 64 * MIB)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    print(f"64 MiB passed on; the most in memory of all three sides was {peak / 1024:.0f} KiB")
    assert (200, 64 * MIB, digest) == (answer.status, answer.json["bytes"], store.digest)
    assert peak < BUFFERS, f"{peak / MIB:.1f} MiB"
    finished = gateway.finished(2)[1]
    assert ("ok", None) == (finished.outcome, finished.cost_nanousd)
    assert [2 * MIB, 64 * MIB] == [held.request_bytes for held in gateway.held()]
    assert b"authorization: Bearer upstream-secret" in store.heads[-1]
    assert KEY.encode() not in store.heads[-1]


def test_a_provider_that_does_not_read_stops_its_client_and_nothing_is_lost(gateway: Running, store: Store) -> None:
    store.reads.clear()
    size, seen = 32 * MIB, list[int]()
    with connected(gateway.port, 60.0) as line:
        line.sendall(head_of(size))
        sent: list[str] = []
        sender = threading.Thread(target=lambda: sent.append(send(line, size)))
        sender.start()

        def still() -> bool:
            """The same figure many times in a row: nothing moves any more."""
            seen.append(within(gateway))
            return len(seen) > 40 and seen[-1] > 0 and len(set(seen[-40:])) == 1

        until(still, bool, 30.0)
        assert seen[-1] < size - BUFFERS
        store.reads.set()
        sender.join(60)
        assert 200 == read_answer(line).status
    assert sent == [store.digest]


def test_an_answer_before_the_end_reaches_the_client_and_no_connection_is_used_again(
    gateway: Running, store: Store
) -> None:
    refusal = b'{"error":{"message":"too large","type":"x","code":"file_too_large","param":null}}'
    store.early = b"HTTP/1.1 413 No\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
        len(refusal), refusal,
    )  # fmt: skip
    with connected(gateway.port) as line:
        line.sendall(head_of(64 * MIB))
        answer = read_answer(line)
        assert (413, "file_too_large") == (answer.status, answer.error["code"])
    finished, posted = ended(gateway)
    assert ("upstream_error", 413) == (finished.outcome, finished.status)
    assert 413 == posted.status
    store.reads.set()
    until(lambda: store.gone, lambda gone: gone == 1)
    store.early = None
    answer, digest = upload(gateway, 2 * MIB)
    assert (200, digest) == (answer.status, store.digest)


def test_a_client_that_leaves_within_its_body_is_recorded_and_its_provider_let_go(
    gateway: Running, store: Store
) -> None:
    with connected(gateway.port) as line:
        line.sendall(head_of(8 * MIB))
        send(line, 3 * MIB)
        until(lambda: within(gateway), lambda came: came == 3 * MIB)
    finished, posted = ended(gateway)
    assert ("client_gone", None) == (finished.outcome, finished.cost_nanousd)
    assert posted.estimated
    until(lambda: store.gone, lambda gone: gone == 1)
    assert "" == store.digest


def test_a_provider_that_dies_within_the_body_is_an_error_and_not_asked_again(tmp_path: Path, store: Store) -> None:
    store.dies_after = 2 * MIB
    routes = [Route(name="assistant", incumbent="closed", retries_max=3, retry_ambiguous=True)]
    with Running(tmp_path, a_table(store.url, routes=routes)) as gateway:
        with connected(gateway.port) as line:
            line.sendall(head_of(64 * MIB))
            line.settimeout(60)
            failed: list[OSError] = []

            def give() -> None:
                try:
                    send(line, 64 * MIB)
                except OSError as error:
                    failed.append(error)

            sender = threading.Thread(target=give)
            sender.start()
            answer = read_answer(line)
            assert (502, "upstream_error") == (answer.status, answer.error["code"])
        sender.join(60)
        assert 1 == len(store.heads)
        assert "upstream_error" == gateway.finished()[0].outcome


def test_where_nobody_listens_the_body_waits_for_another_attempt_and_then_for_an_answer(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        routes = [Route(name="assistant", incumbent="closed", retries_max=1, retry_wait_s_max=2.0)]
        with Running(tmp_path, a_table(url, routes=routes)) as gateway:
            with connected(gateway.port) as line:
                line.sendall(head_of(8 * MIB) + PIECE)
                answer = read_answer(line)
            assert (502, "upstream_unreachable") == (answer.status, answer.error["code"])
            assert 2 == sum(isinstance(row, Attempted) for row in gateway.frames())


def test_a_client_that_stops_within_its_body_is_told_after_a_while(tmp_path: Path, store: Store) -> None:
    limits = Limits(client_stall_s_max=60.0, first_byte_s_max=5.0)
    with Running(tmp_path, a_table(store.url, limits=limits)) as gateway, connected(gateway.port) as line:
        line.sendall(head_of(8 * MIB) + PIECE)
        until(lambda: store.heads, bool)
        gateway.sweep(100)
        assert 0 == len([row for row in gateway.frames() if isinstance(row, Finished)])
        gateway.sweep(200)
        answer = read_answer(line)
        assert (408, "request_timeout") == (answer.status, answer.error["code"])
        finished, _ = ended(gateway)
        assert ("client_gone", 408) == (finished.outcome, finished.status)
        until(lambda: store.gone, lambda gone: gone == 1)


def short(url: str) -> RouteTable:
    return a_table(url, limits=Limits(upload_bytes_max=8 * MIB))


def capped(url: str) -> RouteTable:
    key = Key(name="k", digest=key_digest(KEY), routes=("*",), budget="cap")
    return a_table(url, budgets=[Budget(name="cap", limit_nanousd=10**12, hard=True)], keys=[key])


Made = Callable[[str], RouteTable]


@pytest.mark.parametrize(
    ("made", "size", "key", "status", "code"),
    [
        (short, 9 * MIB, KEY, 413, "body_too_large"),
        (a_table, 9 * MIB, "sk-wrong", 401, "invalid_api_key"),
        (capped, 9 * MIB, KEY, 403, "budget_cost_unknown"),
    ],
)
def test_what_may_not_pass_is_refused_before_the_body_is_read(
    tmp_path: Path, store: Store, made: Made, size: int, key: str, status: int, code: str
) -> None:
    with Running(tmp_path, made(store.url)) as gateway, connected(gateway.port) as line:
        line.sendall(head_of(size, key))
        answer = read_answer(line)
        assert (status, code) == (answer.status, answer.error["code"])
    assert [] == store.heads


def test_a_large_prompt_is_read_whole_as_before(gateway: Running, store: Store) -> None:
    body = b'{"model":"assistant","messages":[{"role":"user","content":"' + b"x" * (2 * UPLOAD_FROM_BYTES) + b'"}]}'
    assert 200 == call(gateway.port, body).status
    assert b"POST /v1/chat/completions" in store.heads[0]
    assert 0 < sum(1 for held in gateway.held() if held.asked == "openai")


def test_the_official_client_uploads_a_file(gateway: Running, store: Store, tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_bytes(PIECE * 100)
    client = openai.OpenAI(base_url=gateway.base_url, api_key=KEY, max_retries=0, timeout=60)
    with file.open("rb") as opened:
        made = client.files.create(file=opened, purpose="batch")
    assert ("file-1", store.received) == (made.id, made.bytes)
    assert store.received > len(PIECE) * 100
    assert b"multipart/form-data; boundary=" in store.heads[0]


@pytest.mark.parametrize("expects", [False, True])
def test_a_kept_connection_uploads_again_and_again(gateway: Running, store: Store, expects: bool) -> None:
    """Two files, then an ordinary request, on one connection; with `Expect` the body waits until it is let in."""
    with connected(gateway.port, 60.0) as line:
        for size in (3 * MIB, 2 * MIB + 1):
            head = head_of(size)
            line.sendall(head.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n") if expects else head)
            if expects:
                assert b"HTTP/1.1 100 Continue\r\n\r\n" == line.recv(25, socket.MSG_WAITALL)
            digest = send(line, size)
            assert (200, digest) == (read_answer(line).status, store.digest)
        line.sendall(b"GET /v1/models HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer %b\r\n\r\n" % KEY.encode())
        assert 200 == read_answer(line).status
