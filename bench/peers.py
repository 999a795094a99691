"""This gateway beside nginx and other gateways: CPU, added latency, memory, start-up, on one mock provider in one run.

    scripts/bench peers [--only NAME ...] [--quick] [--write docs/evidence/peers.md]

Each peer is installed at the version below into `.cache/peers`, in an environment of its own, and runs with one worker
and its own defaults but for what would refuse the load (rate limits) or send data out (telemetry). A peer that cannot
be installed or started here is named with the reason. Needs nginx and wrk; Portkey needs node and npm.

Per proxy: time until the first answer; resident memory idle and with open streams; CPU of the process tree per request
(saturated, 32 connections, 1.4 KB), per request at an even 500 a second with the latency that it adds to what the mock
provider takes by itself, and per relayed chunk (64 streams, a chunk each 10 ms).
"""

import argparse
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.harness.proxies import (
    JSON_ANSWER,
    MOCK,
    MOCK_STREAMS,
    OURS,
    PROXY,
    Front,
    cpu_ns,
    free_port,
    gateway,
    latencies,
    memory_with_streams,
    nginx,
    raise_file_limit,
    read_streams,
    request_body,
    rss_kb,
    running,
    wrk,
    wrk_script,
)  # fmt: skip

CACHE = Path(".cache/peers")
RATE = 500.0
STREAMS = (1000, 5000)
START_S_MAX = 90.0
PEER_KEY = "sk-a-key-that-is-long-enough-for-everybody"


class NotHereError(Exception):
    """A peer cannot be run on this machine; the message says why."""


@dataclass(frozen=True)
class Peer:
    name: str
    version: str
    language: str
    install: Callable[[Path, str], None]
    """(folder, version)"""
    command: Callable[[Path, Path, int, int], list[str]]
    """(where it is installed, folder to run in, its port, the mock's port)"""
    environment: Callable[[Path, int, int], dict[str, str]]
    """(folder to run in, its port, the mock's port)"""
    front: Callable[[int], Front]
    """How it wants to be asked; the mock's port."""


def said_by(command: Sequence[str], what: str, folder: Path | None = None) -> None:
    """Run one step of an installation. Raises `NotHereError`."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotHereError(f"{what}: {error}") from None
    if done.returncode:
        raise NotHereError(f"{what}: {(done.stderr or done.stdout).strip().splitlines()[-1][:200]}")


def from_python(package: str) -> Callable[[Path, str], None]:
    def install(folder: Path, version: str) -> None:
        uv = os.environ.get("UV", "uv")
        said_by([uv, "venv", "-q", "--clear", str(folder)], "an environment could not be made")
        name, bracket, extra = package.partition("[")
        python = str(folder / "bin" / "python")
        wanted = f"{name}{bracket}{extra}=={version}"
        said_by([uv, "pip", "install", "-q", "--python", python, wanted], f"{wanted} could not be installed")

    return install


def from_node(package: str) -> Callable[[Path, str], None]:
    def install(folder: Path, version: str) -> None:
        if shutil.which("npm") is None:
            raise NotHereError("npm is not installed")
        folder.mkdir(parents=True)
        (folder / "package.json").write_text("{}")
        said_by(["npm", "install", "--silent", f"{package}@{version}"], f"{package} could not be installed", folder)

    return install


def _litellm(installed: Path, folder: Path, port: int, mock: int) -> list[str]:
    config = folder / "litellm.yaml"
    config.write_text(
        "model_list:\n  - model_name: assistant\n    litellm_params:\n      model: openai/mock\n"
        f"      api_base: http://127.0.0.1:{mock}/v1\n      api_key: {PEER_KEY}\n"
        f"general_settings:\n  master_key: {PEER_KEY}\n"
    )
    program = str((installed / "bin" / "litellm").absolute())
    return [program, "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]


def _ferrogw(installed: Path, folder: Path, port: int, mock: int) -> list[str]:
    (folder / "ferrogw.yaml").write_text("strategy:\n  mode: fallback\ntargets:\n  - virtual_key: openai\n")
    return [str((installed / "bin" / "ferrogw").absolute()), "serve"]


def _node_server(installed: Path, folder: Path, port: int, mock: int) -> list[str]:
    script = installed / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    return ["node", str(script.absolute()), f"--port={port}", "--headless"]


PEERS = (
    Peer(
        "vllm-router", "0.1.17", "Rust", from_python("vllm-router"),
        lambda installed, folder, port, mock: [
            str((installed / "bin" / "vllm-router").absolute()), "--host", "127.0.0.1", "--port", str(port),
            "--worker-urls", f"http://127.0.0.1:{mock}", "--policy", "round_robin", "--log-level", "error",
            "--prometheus-port", str(free_port()),
        ],
        lambda folder, port, mock: {},
        lambda mock: Front({}),
    ),
    Peer(
        "ferrogw", "1.5.10", "Go", from_python("ferrogw"), _ferrogw,
        lambda folder, port, mock: {
            "OPENAI_API_KEY": PEER_KEY, "OPENAI_BASE_URL": f"http://127.0.0.1:{mock}", "PORT": str(port),
            "GATEWAY_CONFIG": str(folder / "ferrogw.yaml"), "RATE_LIMIT_RPS": "1000000", "RATE_LIMIT_BURST": "1000000",
            "MASTER_KEY": PEER_KEY,
        },
        lambda mock: Front({"Authorization": f"Bearer {PEER_KEY}"}, "gpt-4o"),
    ),
    Peer(
        "Portkey", "1.15.2", "Node", from_node("@portkey-ai/gateway"), _node_server,
        lambda folder, port, mock: {"NODE_ENV": "production"},
        lambda mock: Front(
            {
                "Authorization": f"Bearer {PEER_KEY}", "x-portkey-provider": "openai",
                "x-portkey-custom-host": f"http://127.0.0.1:{mock}/v1",
            },
            "gpt-4o",
        ),
    ),
    Peer(
        "LiteLLM", "1.108.7", "Python", from_python("litellm[proxy]"), _litellm,
        lambda folder, port, mock: {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"},
        lambda mock: Front({"Authorization": f"Bearer {PEER_KEY}"}),
    ),
)  # fmt: skip


# --- starting ---------------------------------------------------------------------------------------------------------


@dataclass
class Started:
    pid: int
    port: int
    front: Front
    seconds: float
    """Until the first answer with status 200."""


def answers(port: int, front: Front, *, streams: bool = False) -> bool:
    body = request_body(300, stream=streams, model=front.model)
    headers = {"content-type": "application/json", **front.headers}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 (loopback)
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def peer_running(peer: Peer, folder: Path, mock: int, streams: bool) -> Iterator[Started]:
    """Raises `NotHereError`."""
    installed = CACHE / f"{peer.name}-{peer.version}"
    if not (installed / ".complete").exists():
        shutil.rmtree(installed, ignore_errors=True)
        print(f"installing {peer.name} {peer.version}", file=sys.stderr)
        peer.install(installed, peer.version)
        (installed / ".complete").touch()
    folder.mkdir(parents=True, exist_ok=True)
    port, front = free_port(), peer.front(mock)
    environment = {**os.environ, **peer.environment(folder, port, mock)}
    with (folder / f"{peer.name}.log").open("w") as out:
        began = time.perf_counter()
        process = subprocess.Popen(
            peer.command(installed, folder, port, mock), cwd=folder, env=environment, stdin=subprocess.DEVNULL,
            stdout=out, stderr=out,
        )  # fmt: skip
        try:
            while not _listens(port) or not answers(port, front, streams=streams):
                if process.poll() is not None or time.perf_counter() - began > START_S_MAX:
                    said = (folder / f"{peer.name}.log").read_text(errors="replace").strip().splitlines()
                    raise NotHereError(f"it did not start: {said[-1][:200] if said else 'it said nothing'}")
                time.sleep(0.02)
            yield Started(process.pid, port, front, time.perf_counter() - began)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def ours(folder: Path, mock: int, streams: bool, *, bodies: bool) -> Iterator[Started]:
    began = time.perf_counter()
    with gateway(folder, mock, bodies=bodies) as (pid, port):
        while not answers(port, OURS, streams=streams):
            time.sleep(0.02)
        yield Started(pid, port, OURS, time.perf_counter() - began)


@contextmanager
def nginx_proxy(folder: Path, mock: int, streams: bool) -> Iterator[Started]:
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    began = time.perf_counter()
    text = PROXY.format(upstream=mock, port=port, buffering="off" if streams else "on")
    with nginx(folder, "proxy", text, port) as process:
        while not answers(port, Front({}), streams=streams):
            time.sleep(0.005)
        yield Started(process.pid, port, Front({}), time.perf_counter() - began)


# --- measuring --------------------------------------------------------------------------------------------------------


@dataclass
class Row:
    name: str
    start_s: float
    idle_mb: float
    streams_mb: list[float | None]
    request_us: float
    chunk_us: float | None
    even_us: float | None
    added_ms: tuple[float, float, float] | None
    """p50, p95 and p99 over what the mock takes by itself; `None` where the rate was not kept."""


def at_even_rate(started: Started, alone: Sequence[float], seconds: float) -> tuple[float, tuple[float, ...]] | None:
    """CPU per request and added latency; `None` where more than one in twenty answers was missing or late."""
    latencies(started.port, RATE, 0.5, started.front)
    before = cpu_ns(started.pid)
    found = latencies(started.port, RATE, seconds, started.front)
    spent = cpu_ns(started.pid) - before
    if len(found) < 0.95 * RATE * seconds or statistics.median(found) > 0.5:
        return None
    with_it, without = percentiles(found), percentiles(alone)
    return spent / 1000 / len(found), tuple((a - b) * 1000 for a, b in zip(with_it, without, strict=True))


def percentiles(values: Sequence[float]) -> tuple[float, float, float]:
    cuts = statistics.quantiles(values, n=100)
    return cuts[49], cuts[94], cuts[98]


def measure(
    name: str, started: Started, chunks: Started | None, folder: Path, seconds: float, alone: list[float]
) -> Row:
    """`chunks` is the same proxy before the mock of streams."""
    script = wrk_script(folder, "peer", request_body(1400, stream=False, model=started.front.model), started.front)
    idle = rss_kb(started.pid) / 1024
    wrk(started.port, script, 32, 1.0)
    each = []
    for _ in range(3):
        before = cpu_ns(started.pid)
        count = wrk(started.port, script, 32, seconds)
        each.append((cpu_ns(started.pid) - before) / 1000 / max(1, count))
    even = at_even_rate(started, alone, 2 * seconds)
    chunk: float | None = None
    memory: list[float | None] = []
    if chunks is not None:
        try:
            before = cpu_ns(chunks.pid)
            count = read_streams(chunks.port, 64, seconds, usage=True, front=chunks.front)
            chunk = (cpu_ns(chunks.pid) - before) / 1000 / count
        except (SystemExit, OSError) as error:
            print(f"{name}: streams: {error}", file=sys.stderr)
        for streams in STREAMS:
            try:
                memory.append(memory_with_streams(chunks.pid, chunks.port, [streams], chunks.front)[0] / 1024)
            except (OSError, TimeoutError) as error:
                print(f"{name}: {streams} open streams: {type(error).__name__} {error}", file=sys.stderr)
                memory.append(None)
    return Row(
        name, started.seconds, idle, memory, statistics.median(each), chunk,
        None if even is None else even[0], None if even is None else (even[1][0], even[1][1], even[1][2]),
    )  # fmt: skip


def run(only: Sequence[str], seconds: float) -> tuple[list[Row], list[str]]:
    for tool in ("nginx", "wrk"):
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is not installed: the comparison needs it (e.g. apt install nginx-light wrk)")
    raise_file_limit()
    rows: list[Row] = []
    missing: list[str] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="weighbridge-peers-")))
        mock, streams = free_port(), free_port()
        stack.enter_context(nginx(folder, "mock", MOCK.format(port=mock, answer=JSON_ANSWER), mock))
        stack.enter_context(running([*MOCK_STREAMS, str(streams)], streams))
        latencies(mock, RATE, 0.5)
        alone = latencies(mock, RATE, 2 * seconds)
        for number, (name, start) in enumerate(starts()):
            if only and not any(one.lower() in name.lower() for one in only):
                continue
            print(f"measuring {name}", file=sys.stderr)
            try:
                with start(folder / f"{number}-json", mock, False) as plain:
                    try:
                        with start(folder / f"{number}-streams", streams, True) as chunks:
                            rows.append(measure(name, plain, chunks, folder, seconds, alone))
                    except NotHereError as error:
                        print(f"{name}: streams: {error}", file=sys.stderr)
                        rows.append(measure(name, plain, None, folder, seconds, alone))
            except NotHereError as error:
                missing.append(f"{name}: {error}")
    return rows, missing


Start = Callable[[Path, int, bool], AbstractContextManager[Started]]
"""(folder, port of the mock, whether streams pass through)"""


def starts() -> Iterator[tuple[str, Start]]:
    yield "nginx `proxy_pass`", nginx_proxy
    yield "weighbridge, everything on", lambda folder, mock, streams: ours(folder, mock, streams, bodies=True)
    yield "weighbridge, bodies not captured", lambda folder, mock, streams: ours(folder, mock, streams, bodies=False)
    for peer in PEERS:
        yield f"{peer.name} {peer.version} ({peer.language})", _start_of(peer)


def _start_of(peer: Peer) -> Start:
    return lambda folder, mock, streams: peer_running(peer, folder, mock, streams)


# --- telling ----------------------------------------------------------------------------------------------------------

PAGE = """# Beside other gateways

One run on one machine, one mock provider, one worker each. Written by
`scripts/bench peers --write docs/evidence/peers.md`; how each is installed, configured and asked stands in
`bench/peers.py`.

{rows}

{missing}{where}

- CPU is that of the whole process tree, from `/proc`, in microseconds: per 1.4 KB request with 32 connections that
  never wait (median of three), per request at an even {rate:.0f} a second, per relayed chunk of 64 streams with a chunk
  each 10 ms.
- Added latency is p50 / p95 / p99 at that even rate, from when a request was due to its whole answer, less what the
  mock provider takes without a proxy. No figure: the rate was not kept, or there was no answer.
- Memory is resident, of the tree: before load, and with so many streams open that have had one chunk.
- They do not do the same work. Weighbridge checks one of 1,000 keys, routes with sticky arms, prices the answer and
  writes an exchange log with fdatasync; in the first row it also redacts, encrypts and keeps both bodies. The peers run
  with their defaults: no log of requests, no database.
"""


def page(rows: Sequence[Row], missing: Sequence[str]) -> str:
    base = next((row for row in rows if row.name.startswith("nginx")), None)
    streams = " / ".join(f"{count:,}" for count in STREAMS)
    table = [
        "| proxy | CPU / request | x nginx | CPU / request at 500/s | added p50 / p95 / p99, ms | CPU / chunk | "
        f"MB idle / {streams} streams | first answer after |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        times = "" if base is None else f"{row.request_us / base.request_us:.1f}"
        added = "-" if row.added_ms is None else " / ".join(f"{one:.2f}" for one in row.added_ms)
        memory = " / ".join("-" if one is None else f"{one:.0f}" for one in (row.idle_mb, *row.streams_mb))
        table.append(
            f"| {row.name} | {row.request_us:,.1f} | {times} | {_us(row.even_us)} | {added} | {_us(row.chunk_us)} | "
            f"{memory} | {row.start_s:.2f} s |"
        )
    absent = "".join(f"Not run here: {one}.\n\n" for one in missing)
    where = f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {os.cpu_count()} shared cores."
    return PAGE.format(rows="\n".join(table), missing=absent, where=where, rate=RATE)


def _us(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="This gateway beside nginx and other gateways.")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="only proxies whose name contains one")
    parser.add_argument("--quick", action="store_true", help="short loads")
    parser.add_argument("--write", type=Path, help="a Markdown file to write the result to")
    given = parser.parse_args()
    rows, missing = run(given.only, 2.0 if given.quick else 5.0)
    text = page(rows, missing)
    print(text)
    if given.write is not None:
        given.write.parent.mkdir(parents=True, exist_ok=True)
        given.write.write_text(text)


if __name__ == "__main__":
    main()
