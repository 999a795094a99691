"""What benchmarks of proxies share: mock providers, nginx, a gateway worker with everything on, load, CPU, memory.

CPU time is that of a process tree, read from /proc/PID/task/*/schedstat: this stays meaningful on a busy machine, where
requests per second do not.
"""

import asyncio
import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import httptools
import uvloop

from weighbridge.app.children import WORKER_ENVIRONMENT
from weighbridge.records.budget import Budget
from weighbridge.records.canonical import canonical
from weighbridge.records.table import SCHEMA, Arm, Capture, Endpoint, Key, Limits, Route, RouteTable, Share
from weighbridge.records.usage import Price
from weighbridge.store.layout import Layout

KEY = "sk-bench-0500"
JSON_ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1732000000,
        "model": "mock",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "The ticket is about a late parcel. " * 3},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 320, "completion_tokens": 24, "total_tokens": 344},
    },
    separators=(",", ":"),
)
CHUNK = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1732000000,"model":"mock",'
    b'"choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}]}\n\n'
)
USAGE_EVENT = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1732000000,"model":"mock","choices":[],'
    b'"usage":{"prompt_tokens":120,"completion_tokens":200,"total_tokens":320}}\n\n'
)
CHUNKS, CHUNK_EVERY_S = 200, 0.01
MOCK_STREAMS = [sys.executable, "-m", "bench.harness.proxies"]
"""And a port: a provider of streams, in a process of its own."""
HELD = b"hold this stream"
"""A prompt with these words gets one chunk, and then nothing for as long as the client stays."""


@dataclass(frozen=True)
class Front:
    """How a proxy wants to be asked."""

    headers: dict[str, str]
    model: str = "assistant"

    def request(self, body: bytes) -> bytes:
        lines = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        return (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body


OURS = Front({"Authorization": f"Bearer {KEY}", "x-weighbridge-tag": "task=refund"})


def request_body(size: int, *, stream: bool, usage: bool = False, model: str = "assistant") -> bytes:
    system = (
        "You are a helpful assistant that answers briefly, in the tone of the brand and by the policy of the company."
    )
    line = "Please summarise the following ticket for the support team. "
    body: dict[str, object] = {
        "model": model,
        "messages": [
            {"role": "system", "content": system},
            {"role": "user", "content": line * (max(1, (size - 260) // len(line)))},
        ],
        "temperature": 0.2,
        "max_tokens": 256,
    }
    if stream:
        body["stream"] = True
        if usage:
            body["stream_options"] = {"include_usage": True}
    return json.dumps(body, separators=(",", ":")).encode()


# --- processes --------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"nothing listens on port {port}")


def tree(pid: int) -> Iterator[int]:
    yield pid
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                yield from tree(int(child))
    except FileNotFoundError:
        return


def cpu_ns(pid: int) -> int:
    """Nanoseconds on a CPU of a process, its children and all their threads."""
    total = 0
    for member in tree(pid):
        for task in os.listdir(f"/proc/{member}/task"):
            total += int(Path(f"/proc/{member}/task/{task}/schedstat").read_text().split()[0])
    return total


@contextmanager
def running(arguments: Sequence[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


NGINX = """
worker_processes 1; worker_rlimit_nofile 65536; daemon off; pid {folder}/{name}.pid; error_log stderr crit;
events {{ worker_connections 32768; }}
http {{
  access_log off; default_type application/json; keepalive_requests 100000000; keepalive_timeout 300s;
  client_body_buffer_size 1m; client_max_body_size 64m;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  {body}
}}
"""
MOCK = "server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ return 200 '{answer}'; }} }}"
PROXY = """upstream mock {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{port} backlog=4096; location / {{
    proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection "";
    proxy_buffering {buffering}; }} }}"""


def nginx(folder: Path, name: str, body: str, port: int) -> AbstractContextManager[subprocess.Popen[bytes]]:
    config = folder / f"{name}.conf"
    config.write_text(NGINX.format(folder=folder, name=name, body=body))
    return running(["nginx", "-p", str(folder), "-c", str(config)], port)


@contextmanager
def gateway(
    folder: Path, upstream: int, *, bodies: bool, budgets: bool = False, source: Path | None = None
) -> Iterator[tuple[int, int]]:
    """A worker with everything on: (pid, port). `budgets`: every request is held under three hard ones. `source`: the
    folder whose package is run, in place of this repository's.
    """
    layout = Layout(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    layout.create()
    layout.table.write_bytes(canonical(route_table(upstream, bodies=bodies, budgets=budgets)))
    with funder(folder) if budgets else nullcontext(), worker(folder, source) as running_worker:
        yield running_worker


@contextmanager
def funder(folder: Path) -> Iterator[None]:
    """The bank of a keeper, in a process of its own: its CPU is not the worker's."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.harness.funder", str(folder)], stdout=subprocess.PIPE, text=True
    )
    try:
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise RuntimeError("the bank did not start")
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def worker(folder: Path, source: Path | None = None) -> Iterator[tuple[int, int]]:
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [
            sys.executable, "-m", "weighbridge.gateway.worker", "--store", str(folder), "--folder", str(folder),
            "--listen", "127.0.0.1:0", "--index", "0", "--supervisor-fd", str(theirs.fileno()),
        ],
        pass_fds=(theirs.fileno(),),
        env={**os.environ, **WORKER_ENVIRONMENT, **({} if source is None else {"PYTHONPATH": str(source)})},
    )  # fmt: skip
    theirs.close()
    try:
        said = json.loads(ours.makefile("rb").readline())
        yield process.pid, int(said["listen"].rpartition(":")[2])
    finally:
        ours.close()
        process.wait(20)


CHAIN = (
    Budget(name="company", limit_nanousd=10**16, hard=True),
    Budget(name="division", limit_nanousd=10**16, hard=True, parent="company"),
    Budget(name="support", limit_nanousd=10**16, hard=True, parent="division"),
)


def route_table(upstream: int, *, bodies: bool, budgets: bool = False) -> RouteTable:
    price = Price(input=2_500_000_000, output=10_000_000_000, cache_read=1_250_000_000)
    return RouteTable(
        schema=SCHEMA,
        number=1,
        created_ns=0,
        config_digest="0" * 64,
        trial_key="0" * 64,
        durability="process",
        capture=Capture(bodies=bodies, redact=("secrets",), purpose="bench", approved_by="bench"),
        limits=Limits(client_connections_max=20_000, upstream_connections_max=20_000),
        endpoints=(
            Endpoint(
                name="mock",
                dialect="openai",
                base_url=f"http://127.0.0.1:{upstream}/v1",
                loopback=True,
                address_is_own=True,
            ),
        ),
        arms=(
            Arm(name="closed", endpoint="mock", model="mock-2024-08-06", price=price, price_version="bench"),
            Arm(name="open", endpoint="mock", model="Mock-72B", price=price, price_version="bench"),
        ),
        routes=(
            Route(
                name="assistant",
                incumbent="closed",
                candidates=("open",),
                shares=(Share(arm="closed", basis_points=9_000), Share(arm="open", basis_points=1_000)),
                slice_by=("tag:task",),
            ),
        ),
        keys=tuple(
            Key(
                name=f"key-{number:04d}",
                digest=blake2b(f"sk-bench-{number:04d}".encode(), digest_size=32).hexdigest(),
                team="support",
                routes=("assistant",),
                budget="support" if budgets else None,
            )
            for number in range(1000)
        ),
        budgets=CHAIN if budgets else (),
    )


# --- load -------------------------------------------------------------------------------------------------------------


def wrk(port: int, script: Path, connections: int, seconds: float) -> int:
    """Requests answered with 200."""
    said = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "-s", str(script), f"http://127.0.0.1:{port}/v1/chat/completions"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    if "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(f"wrk saw errors, the figures would be of something else:\n{said}")
    return int(next(line for line in said.splitlines() if " requests in " in line).split()[0])


def wrk_script(folder: Path, name: str, body: bytes, front: Front = OURS) -> Path:
    path = folder / f"{name}.lua"
    headers = {"Content-Type": "application/json", **front.headers}
    path.write_text(
        "wrk.method='POST'\nwrk.body=[==[" + body.decode() + "]==]\n"
        + "".join(f"wrk.headers['{header}']='{value}'\n" for header, value in headers.items())
    )  # fmt: skip
    return path


class StreamReader(asyncio.Protocol):
    """Reads streams one after the other on one connection; counts chunks."""

    def __init__(self, request: bytes, counts: list[int], until: float) -> None:
        self._request, self._counts, self._until = request, counts, until
        self._tail = b""
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._transport.write(self._request)

    def connection_lost(self, error: Exception | None) -> None:
        self.ended.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._counts[0] += data.count(b'"content":" word"')
        joined = self._tail + data
        self._tail = joined[-8:]
        if b"0\r\n\r\n" in self._tail:
            self._counts[1] += 1
            self._tail = b""
            if time.monotonic() < self._until:
                self._transport.write(self._request)
            else:
                self._transport.close()


def read_streams(port: int, connections: int, seconds: float, *, usage: bool, front: Front = OURS) -> int:
    """Chunks that came out, from `connections` streams at a time."""
    request = front.request(request_body(1000, stream=True, usage=usage, model=front.model))
    counts = [0, 0]
    until = time.monotonic() + seconds

    async def load() -> None:
        loop = asyncio.get_running_loop()
        made = [
            await loop.create_connection(lambda: StreamReader(request, counts, until), "127.0.0.1", port)
            for _ in range(connections)
        ]
        await asyncio.gather(*(reader.ended for _, reader in made))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(load())
    if counts[0] != counts[1] * CHUNKS:
        raise SystemExit(f"{counts[1]} streams gave {counts[0]} chunks instead of {counts[1] * CHUNKS}")
    return counts[0]


class MockStreams(asyncio.Protocol):
    """A provider that sends a chunk every 10 ms, 200 times, then usage if asked for, then the end."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        if head.startswith(b"GET"):  # a proxy that asks for health or models
            self._buffer = body
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self._buffer, self._left = b"", CHUNKS if HELD not in body else 0
        self._asked = b'"include_usage":true' in body
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        self._loop = asyncio.get_running_loop()
        if self._left:
            self._loop.call_later(CHUNK_EVERY_S / 2, self._send)
        else:
            self._transport.write(b"%x\r\n%b\r\n" % (len(CHUNK), CHUNK))

    def _send(self) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(b"%x\r\n%b\r\n" % (len(CHUNK), CHUNK))
        self._left -= 1
        if self._left:
            self._loop.call_later(CHUNK_EVERY_S, self._send)
            return
        last = (USAGE_EVENT if self._asked else b"") + b"data: [DONE]\n\n"
        self._transport.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(last), last))


async def mock_streams(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(MockStreams, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


def rss_kb(pid: int) -> int:
    total = 0
    for member in tree(pid):
        for line in Path(f"/proc/{member}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1])
    return total


def raise_file_limit() -> None:
    """As many open files as the system lets us have."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class HeldStream(asyncio.Protocol):
    """A client that has the first chunk of its stream and waits for more."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self.started = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if b'"content":" word"' in data and not self.started.done():
            self.started.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.started.done():
            self.started.set_exception(ConnectionError("the stream ended before its first chunk"))


def memory_with_streams(pid: int, port: int, counts: Sequence[int], front: Front = OURS) -> list[int]:
    """Resident KiB of a process tree while so many streams are open, one figure per count, in this order."""
    body = json.dumps({"model": front.model, "stream": True, "messages": [{"role": "user", "content": HELD.decode()}]})
    request = front.request(body.encode())

    async def load() -> list[int]:
        loop = asyncio.get_running_loop()
        open_now: list[HeldStream] = []
        found = []
        for count in counts:
            while len(open_now) < count:
                some = [
                    loop.create_connection(lambda: HeldStream(request), "127.0.0.1", port)
                    for _ in range(min(100, count - len(open_now)))
                ]
                made = [held for _, held in await asyncio.gather(*some)]
                async with asyncio.timeout(60):
                    await asyncio.gather(*(held.started for held in made))
                open_now += made
            await asyncio.sleep(1)
            found.append(rss_kb(pid))
        for held in open_now:
            held.transport.abort()
        return found

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(load())


class _Asker(asyncio.Protocol):
    """One kept connection that asks again and again, and says how long each answer took."""

    def __init__(self, idle: list["_Asker"], seconds: list[float]) -> None:
        self._idle, self._seconds = idle, seconds

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._parser = httptools.HttpResponseParser(self)
        self._idle.append(self)

    def ask(self, request: bytes, due: float) -> None:
        self._due = due
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() == 200:
            self._seconds.append(time.perf_counter() - self._due)
        self._idle.append(self)


def latencies(port: int, rate: float, seconds: float, front: Front = OURS) -> list[float]:
    """Seconds from when a request was due to its whole answer, at an even rate that waits for nobody (open loop).

    A request that is due while all connections wait opens another one. Fewer values than `rate * seconds`: the others
    had no answer with status 200 in time.
    """
    request = front.request(request_body(1400, stream=False, model=front.model))

    async def load() -> list[float]:
        loop = asyncio.get_running_loop()
        idle: list[_Asker] = []
        found: list[float] = []
        for _ in range(16):
            await loop.create_connection(lambda: _Asker(idle, found), "127.0.0.1", port)
        start = time.perf_counter() + 0.1
        for number in range(int(rate * seconds)):
            due = start + number / rate
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            if not idle:
                await loop.create_connection(lambda: _Asker(idle, found), "127.0.0.1", port)
            idle.pop().ask(request, due)
        await asyncio.sleep(1)
        return found

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(load())


if __name__ == "__main__":
    raise_file_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as main_runner:
        main_runner.run(mock_streams(int(sys.argv[1])))
