"""Load on a proxy: saturated requests (wrk), an even open loop, streams that run, streams that wait."""

import asyncio
import json
import math
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httptools
import uvloop

from bench.harness.processes import NotMeasuredError, cpu_ns, rss_mb
from bench.harness.providers import CHUNKS, CONTENT, HELD, paced

KEY = "sk-bench-0500"
SYSTEM = "You are a helpful assistant that answers briefly, in the tone of the brand and by the policy of the company."
LINE = "Please summarise the following ticket for the support team. "
HELD_S_MAX = 120.0
"""For opening streams; whoever needs longer is said to have opened fewer."""


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


@dataclass(frozen=True)
class Target:
    """A proxy that runs: the process at the top of its tree, where it listens and how it wants to be asked."""

    pid: int
    port: int
    front: Front


@dataclass(frozen=True)
class Spent:
    """What came out, and the CPU time of the proxy's process tree meanwhile."""

    count: int
    cpu_ns: int

    @property
    def us(self) -> float:
        """CPU microseconds for each. Raises `NotMeasuredError` where nothing came out."""
        if not self.count:
            raise NotMeasuredError("nothing came out")
        return self.cpu_ns / 1000 / self.count


def request_body(
    size: int, *, stream: bool, usage: bool = False, model: str = "assistant", first: str = "Summarise."
) -> bytes:
    """A chat request of about `size` bytes."""
    body: dict[str, object] = {
        "model": model,
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": f"{first} {LINE * max(1, (size - 270) // len(LINE))}"},
        ],
        "temperature": 0.2,
        "max_tokens": 256,
    }
    if stream:
        body["stream"] = True
        if usage:
            body["stream_options"] = {"include_usage": True}
    return json.dumps(body, separators=(",", ":")).encode()


# --- saturated --------------------------------------------------------------------------------------------------------


def saturated(target: Target, folder: Path, size: int, connections: int, seconds: float) -> Spent:
    """Requests on connections that never wait. Raises `NotMeasuredError` where some are not answered with 200."""
    script = folder / "request.lua"
    headers = {"Content-Type": "application/json", **target.front.headers}
    body = request_body(size, stream=False, model=target.front.model).decode()
    script.write_text(
        f"wrk.method='POST'\nwrk.body=[==[{body}]==]\n"
        + "".join(f"wrk.headers['{header}']='{value}'\n" for header, value in headers.items())
    )
    before = cpu_ns(target.pid)
    said = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{max(1, math.ceil(seconds))}s", "--timeout", "30s", "-s", str(script),
         f"http://127.0.0.1:{target.port}/v1/chat/completions"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    spent = cpu_ns(target.pid) - before
    if "Non-2xx" in said or "Socket errors" in said:
        wrong = next(line.strip() for line in said.splitlines() if "Non-2xx" in line or "Socket errors" in line)
        raise NotMeasuredError(f"wrk saw errors ({wrong})")
    return Spent(int(next(line for line in said.splitlines() if " requests in " in line).split()[0]), spent)


# --- streams ----------------------------------------------------------------------------------------------------------


class _Stream(asyncio.Protocol):
    """A client that asks for a stream."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self.started = asyncio.get_running_loop().create_future()
        """With its first chunk."""
        self.wrong: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.transport.write(self._request)

    def connection_lost(self, error: Exception | None) -> None:
        self._fail("the proxy closed the connection")

    def _fail(self, why: str) -> None:
        self.wrong = self.wrong or why
        self._start()

    def _start(self) -> None:
        if not self.started.done():
            self.started.set_result(None)


class _StreamReader(_Stream):
    """Reads streams one after the other on one connection; counts chunks."""

    def __init__(self, request: bytes, counts: list[int]) -> None:
        super().__init__(request)
        self._counts = counts
        self._tail, self._got = b"", 0

    def data_received(self, data: bytes) -> None:
        # An event may be cut anywhere: what is kept is too short to be counted twice.
        joined = self._tail + data
        here = joined.count(CONTENT)
        self._counts[0] += here
        self._got += here
        self._tail = joined[-(len(CONTENT) - 1) :]
        if here:
            self._start()
        if joined.endswith(b"0\r\n\r\n"):
            if self._got != CHUNKS:
                self._fail(f"a stream had {self._got} chunks instead of {CHUNKS}")
            self._tail, self._got = b"", 0
            self.transport.write(self._request)


class _HeldStream(_Stream):
    """A client that has the first chunk of its stream and waits for more."""

    def data_received(self, data: bytes) -> None:
        if CONTENT in data:
            self._start()


async def _opened(target: Target, make: Callable[[], _Stream], count: int) -> list[_Stream]:
    """So many streams that have begun, opened a hundred at a time. Raises `NotMeasuredError`, `OSError`."""
    loop = asyncio.get_running_loop()
    opened: list[_Stream] = []
    until = loop.time() + HELD_S_MAX
    while len(opened) < count:
        some = min(100, count - len(opened))
        connecting = [loop.create_connection(make, "127.0.0.1", target.port) for _ in range(some)]
        made = [stream for _, stream in await asyncio.gather(*connecting)]
        opened += made
        waiting = [one.started for one in made]
        await asyncio.wait(waiting, timeout=max(0.0, until - loop.time()))
        wrong = next((one.wrong for one in opened if one.wrong), None)
        started = sum(one.started.done() and one.wrong is None for one in opened)
        if started < len(opened):
            _leave(opened)
            why = wrong or f"no more within {HELD_S_MAX:.0f} s"
            raise NotMeasuredError(f"{started:,} of {count:,} streams began: {why}")
    return opened


def _leave(opened: Sequence[_Stream]) -> None:
    for one in opened:
        one.transport.abort()


def running_streams(target: Target, connections: int, every_ms: int, seconds: float, *, usage: bool) -> Spent:
    """Chunks relayed while so many streams run; their opening is not counted. Raises `NotMeasuredError`, `OSError`."""
    body = request_body(
        1000, stream=True, usage=usage, model=target.front.model, first=f"Say {paced(every_ms)}, please."
    )
    request = target.front.request(body)
    counts = [0]

    async def load() -> Spent:
        opened = await _opened(target, lambda: _StreamReader(request, counts), connections)
        await asyncio.sleep(0.5)
        before, had = cpu_ns(target.pid), counts[0]
        await asyncio.sleep(seconds)
        spent = Spent(counts[0] - had, cpu_ns(target.pid) - before)
        wrong = [one.wrong for one in opened if one.wrong is not None]
        _leave(opened)
        if wrong:
            raise NotMeasuredError(f"{len(wrong)} of {connections} streams: {wrong[0]}")
        return spent

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(load())


def held_streams_mb(target: Target, counts: Sequence[int]) -> list[float | str]:
    """Resident MB of a process tree while so many streams are open, for each count; why not, where it cannot."""
    body = json.dumps({"model": target.front.model, "stream": True, "messages": [{"role": "user", "content": HELD}]})
    request = target.front.request(body.encode())

    async def load() -> list[float | str]:
        opened: list[_Stream] = []
        found: list[float | str] = []
        for count in counts:
            try:
                opened += await _opened(target, lambda: _HeldStream(request), count - len(opened))
            except (NotMeasuredError, OSError) as error:
                found += [str(error)] * (len(counts) - len(found))
                break
            await asyncio.sleep(1)
            found.append(rss_mb(target.pid))
        _leave(opened)
        return found

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(load())


# --- open loop --------------------------------------------------------------------------------------------------------


class _Asker(asyncio.Protocol):
    """One kept connection that asks again and again, and says how long each answer took."""

    def __init__(self, idle: list["_Asker"], seconds: list[float]) -> None:
        self._idle, self._seconds = idle, seconds

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._idle.append(self)

    def ask(self, request: bytes) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._sent = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() == 200:
            self._seconds.append(time.perf_counter() - self._sent)
        self._idle.append(self)


def open_loop(target: Target, rate: float, seconds: float, *, size: int = 1400) -> tuple[list[float], Spent]:
    """Seconds that each answer took at an even rate, which waits for nobody: who is slow gets more connections.

    From the write of a request to the end of its answer. Raises `NotMeasuredError` where the rate was not kept: more
    than one answer in a hundred was missing a second after the last request was sent.
    """
    request = target.front.request(request_body(size, stream=False, model=target.front.model))
    asked = int(rate * seconds)

    async def load() -> tuple[list[float], Spent]:
        loop = asyncio.get_running_loop()
        idle: list[_Asker] = []
        everyone: list[_Asker] = []
        found: list[float] = []

        async def another() -> None:
            everyone.append((await loop.create_connection(lambda: _Asker(idle, found), "127.0.0.1", target.port))[1])

        for _ in range(16):
            await another()
        before = cpu_ns(target.pid)
        start = time.perf_counter() + 0.1
        for number in range(asked):
            if (wait := start + number / rate - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            if not idle:
                await another()
            idle.pop().ask(request)
        await asyncio.sleep(1)
        spent = Spent(len(found), cpu_ns(target.pid) - before)
        for one in everyone:
            one.transport.abort()
        if len(found) < 0.99 * asked:
            raise NotMeasuredError(f"{len(found):,} of {asked:,} answers at {rate:.0f} requests/s")
        return found, spent

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(load())
