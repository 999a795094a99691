"""What the gateway costs beside nginx `proxy_pass`, in one interleaved run on one mock upstream.

    python bench/gateway.py [--quick] [--write docs/evidence/gateway.md]

CPU time of the proxy's whole process tree, read from /proc/PID/task/*/schedstat before and after, divided by the
requests or chunks that came out: this stays meaningful on a busy machine, where requests per second do not. Rounds of
nginx and of the gateway alternate, so that whatever else runs hits both; a figure is the median over the rounds.

The gateway runs with everything on: keys (1,000), routes and tags, the splice of the model name, the exchange log with
fdatasync, bodies encrypted after redaction, usage and cost, limits and timers, metrics. Needs nginx and wrk.
"""

import argparse
import asyncio
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path

import uvloop

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


def request_body(size: int, *, stream: bool, usage: bool = False) -> bytes:
    system = (
        "You are a helpful assistant that answers briefly, in the tone of the brand and by the policy of the company."
    )
    line = "Please summarise the following ticket for the support team. "
    body: dict[str, object] = {
        "model": "assistant",
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
worker_processes 1; daemon off; pid {folder}/{name}.pid; error_log stderr crit;
events {{ worker_connections 8192; }}
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
def gateway(folder: Path, upstream: int, *, bodies: bool) -> Iterator[tuple[int, int]]:
    """A worker with everything on: (pid, port)."""
    layout = Layout(folder)
    layout.create()
    layout.table.write_bytes(canonical(route_table(upstream, bodies=bodies)))
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [
            sys.executable, "-m", "weighbridge.gateway.worker", "--store", str(folder), "--folder", str(folder),
            "--listen", "127.0.0.1:0", "--index", "0", "--supervisor-fd", str(theirs.fileno()),
        ],
        pass_fds=(theirs.fileno(),),
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "134217728"},
    )  # fmt: skip
    theirs.close()
    try:
        said = json.loads(ours.makefile("rb").readline())
        yield process.pid, int(said["listen"].rpartition(":")[2])
    finally:
        ours.close()
        process.wait(20)


def route_table(upstream: int, *, bodies: bool) -> RouteTable:
    price = Price(input=2_500_000_000, output=10_000_000_000, cache_read=1_250_000_000)
    return RouteTable(
        schema=SCHEMA,
        number=1,
        created_ns=0,
        config_digest="0" * 64,
        trial_key="0" * 64,
        durability="process",
        capture=Capture(bodies=bodies, redact=("secrets",), purpose="bench", approved_by="bench"),
        limits=Limits(),
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
            )
            for number in range(1000)
        ),
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


def wrk_script(folder: Path, name: str, body: bytes) -> Path:
    path = folder / f"{name}.lua"
    path.write_text(
        "wrk.method='POST'\nwrk.body=[==[" + body.decode() + "]==]\n"
        f"wrk.headers['Content-Type']='application/json'\nwrk.headers['Authorization']='Bearer {KEY}'\n"
        "wrk.headers['x-weighbridge-tag']='task=refund'\n"
    )
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


def read_streams(port: int, connections: int, seconds: float, *, usage: bool) -> int:
    """Chunks that came out, from `connections` streams at a time."""
    body = request_body(1000, stream=True, usage=usage)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\n"
        f"x-weighbridge-tag: task=refund\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    counts = [0, 0]
    until = time.monotonic() + seconds

    async def load() -> None:
        loop = asyncio.get_running_loop()
        made = [
            await loop.create_connection(lambda: StreamReader(head + body, counts, until), "127.0.0.1", port)
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
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self._buffer, self._left = b"", CHUNKS
        self._asked = b'"include_usage":true' in body
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        self._loop = asyncio.get_running_loop()
        self._loop.call_later(CHUNK_EVERY_S / 2, self._send)

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


# --- measuring --------------------------------------------------------------------------------------------------------


@dataclass
class Case:
    name: str
    unit: str
    target: float | None
    load: Callable[[int, float], int]
    """(port, seconds) -> how many came out."""
    proxy: str
    gateway: str
    us: dict[str, list[float]] = field(default_factory=lambda: {"nginx": [], "gateway": []})

    def median(self, who: str) -> float:
        return statistics.median(self.us[who])

    @property
    def ratio(self) -> float:
        return statistics.median(
            mine / theirs for mine, theirs in zip(self.us["gateway"], self.us["nginx"], strict=True)
        )


def measure(cases: list[Case], servers: dict[str, tuple[int, int]], rounds: int, seconds: float) -> None:
    for number in range(rounds):
        for case in cases:
            for who, server in (("nginx", case.proxy), ("gateway", case.gateway)):
                pid, port = servers[server]
                if number == 0:
                    case.load(port, 1.0)  # warm: connections made, keys of the day there
                before = cpu_ns(pid)
                count = case.load(port, seconds)
                case.us[who].append((cpu_ns(pid) - before) / 1000 / count)
            print(
                f"round {number + 1}/{rounds}  {case.name:<46} nginx {case.us['nginx'][-1]:6.1f}  "
                f"gateway {case.us['gateway'][-1]:6.1f} us/{case.unit}",
                file=sys.stderr,
            )


def all_cases(folder: Path) -> list[Case]:
    small = wrk_script(folder, "small", request_body(1400, stream=False))
    large = wrk_script(folder, "large", request_body(200_000, stream=False))
    return [
        Case("1.4 KB request, 32 connections", "request", 3.0, lambda p, s: wrk(p, small, 32, s), "json proxy", "json"),
        Case("the same, bodies not captured", "request", 3.0, lambda p, s: wrk(p, small, 32, s), "json proxy", "bare"),
        Case("200 KB request, 8 connections", "request", None, lambda p, s: wrk(p, large, 8, s), "json proxy", "json"),
        Case(
            "chunk, 64 streams, usage asked for and removed", "chunk", 1.5,
            lambda p, s: read_streams(p, 64, s, usage=False), "stream proxy", "stream",
        ),
        Case(
            "chunk, 64 streams, client asks for usage", "chunk", 1.5,
            lambda p, s: read_streams(p, 64, s, usage=True), "stream proxy", "stream",
        ),
    ]  # fmt: skip


def run(rounds: int, seconds: float, only: str | None) -> tuple[list[Case], dict[str, int]]:
    for tool in ("nginx", "wrk"):
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is not installed: the comparison needs it (e.g. apt install nginx-light wrk)")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="weighbridge-bench-")))
        ports = {name: free_port() for name in ("json", "stream", "json proxy", "stream proxy")}
        mock = MOCK.format(port=ports["json"], answer=JSON_ANSWER)
        stack.enter_context(nginx(folder, "mock", mock, ports["json"]))
        stack.enter_context(
            running([sys.executable, __file__, "--mock-streams", str(ports["stream"])], ports["stream"])
        )
        servers: dict[str, tuple[int, int]] = {}
        for name, buffering in (("json", "on"), ("stream", "off")):
            port = ports[f"{name} proxy"]
            body = PROXY.format(upstream=ports[name], port=port, buffering=buffering)
            process = stack.enter_context(nginx(folder, f"{name}-proxy", body, port))
            servers[f"{name} proxy"] = process.pid, port
        for name, upstream, bodies in (
            ("json", "json", True),
            ("bare", "json", False),
            ("stream", "stream", True),
        ):
            started = gateway(folder / name, ports[upstream], bodies=bodies)
            servers[name] = stack.enter_context(started)
        cases = [case for case in all_cases(folder) if only is None or only in case.name]
        measure(cases, servers, rounds, seconds)
        rss = {name: rss_kb(servers[name][0]) for name in ("json", "json proxy")}
    return cases, rss


def rss_kb(pid: int) -> int:
    total = 0
    for member in tree(pid):
        for line in Path(f"/proc/{member}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1])
    return total


# --- telling ----------------------------------------------------------------------------------------------------------


PAGE = """# What the gateway costs

CPU microseconds of the proxy's whole process tree, beside nginx `proxy_pass` on the same mock upstream, in one
interleaved run: medians of {rounds} rounds of {seconds} s each. Written by
`scripts/bench gateway --write docs/evidence/gateway.md`.

{rows}

{where}

On: 1,000 client keys, routes, tags and slices, sticky arms with shares of 90 % and 10 %, the splice of the model
name, the exchange log (four frames a request, one write per turn of the loop, fdatasync every 50 ms), redaction of
secrets and encryption of request and response bodies (but for the row that says so), usage and cost, limits, timers,
metrics. Saturated: at low rates every proxy costs several times as much per request. The mock upstream's and the load
generator's time is not in these figures. Ratios move by 10 to 25 % between runs on a shared machine.
"""


def report(cases: list[Case], rounds: int, seconds: float) -> str:
    rows = ["| case | nginx | gateway | ratio (lowest - highest round) | expected |", "|---|---|---|---|---|"]
    for case in cases:
        ratios = [mine / theirs for mine, theirs in zip(case.us["gateway"], case.us["nginx"], strict=True)]
        spread = f"**{case.ratio:.2f}** ({min(ratios):.2f} - {max(ratios):.2f})"
        expected = "" if case.target is None else f"<= {case.target:g}"
        ours = f"{case.median('gateway'):.1f} us / {case.unit}"
        rows.append(f"| {case.name} | {case.median('nginx'):.1f} | {ours} | {spread} | {expected} |")
    said = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in cpuinfo if "model name" in line)
    where = (
        f"{datetime.now(UTC):%Y-%m-%d}, {said.strip().removeprefix('nginx version: ')}, "
        f"Python {platform.python_version()}, uvloop {version('uvloop')}, "
        f"{os.cpu_count()} cores of {next(names, platform.machine())}, shared with other work."
    )
    return PAGE.format(rounds=rounds, seconds=f"{seconds:g}", rows="\n".join(rows), where=where)


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU of the gateway per request and per chunk, beside nginx.")
    parser.add_argument("--quick", action="store_true", help="three short rounds")
    parser.add_argument("--write", type=Path, help="a Markdown file to write the result to")
    parser.add_argument("--only", help="only cases whose name contains this")
    parser.add_argument("--mock-streams", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.mock_streams is not None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(mock_streams(given.mock_streams))
        return
    rounds, seconds = (3, 2.0) if given.quick else (7, 4.0)
    cases, _ = run(rounds, seconds, given.only)
    text = report(cases, rounds, seconds)
    print(text)
    if given.write is not None:
        given.write.parent.mkdir(parents=True, exist_ok=True)
        given.write.write_text(text)
    missed = [case.name for case in cases if case.target is not None and case.ratio > case.target]
    if missed:
        raise SystemExit(f"over what is expected: {', '.join(missed)}")


if __name__ == "__main__":
    main()
