"""A provider of chat completions that keeps its own exact bill and fails on demand.

In a test: `with FakeProvider() as provider:` runs it in a thread; `provider.url` is the base URL, `provider.seen` what
came in, `provider.bill` what was charged, and `provider.answers[model]` a `Script` of how to answer that model.

As a program: `python -m tests.fakes.provider [--port 0]` prints its base URL; `GET /_bill` shows the bill.
"""

import argparse
import asyncio
import json
import ssl
import threading
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

UsageStyle = Literal["own_event", "with_choices", "every_event", "never", "null_until_end"]


@dataclass
class Script:
    """How to answer a model. The defaults are a well-behaved host."""

    text: str = "Hello from the fake."
    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    body: bytes | None = None
    """In place of the answer that would be made."""
    usage: dict[str, Any] | None = None
    """In place of the counted one."""
    usage_style: UsageStyle = "own_event"
    piece_words: int = 1
    rechunk: int | None = None
    """Write streams in pieces of so many bytes."""
    line_end: str = "\n"
    spaced: bool = False
    """JSON with spaces after `,` and `:`, as many Python servers send it."""
    done: bool = True
    """End streams with `[DONE]`."""
    before: Sequence[str] = ()
    """Lines sent before the first event, e.g. comments."""
    delay_s: float = 0.0
    """Before the head."""
    chunk_delay_s: float = 0.0
    hang: bool = False
    """Never answer."""
    hang_after: int | None = None
    """Never go on after so many bytes of the body."""
    cut_after: int | None = None
    """Close the connection after so many bytes of the body."""
    raw: bytes | None = None
    """The whole HTTP answer, byte for byte; then close."""
    framing: Literal["auto", "close"] = "auto"
    """`close`: no length, the end of the connection is the end of the answer."""
    error_event: dict[str, Any] | None = None
    """In place of the end of a stream."""
    tool_calls: Sequence[tuple[str, str]] = ()
    """(name, arguments) in place of text."""
    close_after: bool = False
    first: list["Script"] = field(default_factory=list)
    """How to answer the first requests, one each, before all others."""


@dataclass
class Charge:
    model: str
    prompt_tokens: int
    completion_tokens: int
    stream: bool
    whole: bool
    """Its last byte was written."""


@dataclass
class Seen:
    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes
    connection: int
    """Which connection it came in on."""

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)


@dataclass
class FakeProvider:
    answers: dict[str, Script] = field(default_factory=dict)
    host: str = "127.0.0.1"
    """As named in `url`; it listens on loopback in any case."""
    port: int = 0
    tls: ssl.SSLContext | None = None
    bill: list[Charge] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    open_connections: int = 0
    cancelled: int = 0
    """Answers whose client went away before their end."""

    # --- life ---------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        if not ready.wait(10):
            raise RuntimeError("the fake provider did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    @property
    def url(self) -> str:
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://{self.host}:{self.port}/v1"

    def wait_for(self, count: int, wait_s: float = 10.0) -> None:
        """Until so many requests have come in."""
        end = time.monotonic() + wait_s
        while len(self.seen) < count:
            if time.monotonic() > end:
                raise AssertionError(f"{len(self.seen)} of {count} requests came in within {wait_s} s")
            time.sleep(0.005)

    def close_connections(self) -> None:
        """Close every kept connection, as a server does with idle ones."""
        self._loop.call_soon_threadsafe(self._close_all)

    def _close_all(self) -> None:
        for writer in self._writers:
            writer.close()

    def _run(self, ready: threading.Event) -> None:
        asyncio.run(self.serve(ready))

    async def serve(self, ready: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        server = await asyncio.start_server(
            self._connection, "127.0.0.1", self.port, ssl=self.tls, limit=64 << 20, backlog=1024
        )
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._stop.wait()
        server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()

    # --- HTTP ---------------------------------------------------------------------------------------------------------

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_connections += 1
        number = self.connections
        self._writers.add(writer)
        try:
            while await self._one(reader, writer, number):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            self.open_connections -= 1
            self._writers.discard(writer)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> bool:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError:
            return False
        first, *lines = head.split("\r\n")[:-2]
        method, path, _ = first.split(" ")
        headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
        body = await reader.readexactly(length)
        seen = Seen(method, path, headers, body, number)
        if path == "/_bill":
            await self._send(writer, 200, [], json.dumps([vars(row) for row in self.bill]).encode())
            return True
        self.seen.append(seen)
        if path == "/v1/models":
            rows = [{"id": model, "object": "model"} for model in self.answers]
            await self._send(writer, 200, [], json.dumps({"object": "list", "data": rows}).encode())
            return True
        request = json.loads(body)
        script = self.answers.get(request["model"], Script())
        if script.first:
            script = script.first.pop(0)
        return await self._answer(reader, writer, request, script)

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: dict[str, Any], script: Script
    ) -> bool:
        if script.delay_s:
            await asyncio.sleep(script.delay_s)
        if script.hang:
            await self._until_gone(reader)
            return False
        if script.raw is not None:
            writer.write(script.raw)
            await writer.drain()
            return False
        usage = script.usage or self._usage(request, script)
        if script.status != 200 or script.body is not None:
            body = script.body if script.body is not None else _error(script.status)
            await self._send(writer, script.status, script.headers, body, script)
            return not script.close_after
        if request.get("stream"):
            return await self._stream(reader, writer, request, script, usage)
        answer = self._completion(request, script, usage)
        charge = self._charge(request, usage, stream=False)
        await self._send(writer, 200, script.headers, _dump(answer, script), script)
        charge.whole = script.cut_after is None and script.hang_after is None
        return not (script.close_after or script.cut_after is not None or script.framing == "close")

    async def _until_gone(self, reader: asyncio.StreamReader) -> None:
        while await reader.read(4096):
            pass
        self.cancelled += 1

    async def _send(
        self,
        writer: asyncio.StreamWriter,
        status: int,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        script: Script | None = None,
    ) -> None:
        head = f"HTTP/1.1 {status} Fake\r\nContent-Type: application/json\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers)
        if script is None or script.framing == "auto":
            head += f"Content-Length: {len(body)}\r\n"
        writer.write(head.encode() + b"\r\n")
        cut = script.cut_after if script is not None else None
        writer.write(body[:cut])
        await writer.drain()
        if script is not None and cut is not None:
            writer.close()
        elif script is not None and script.hang_after is not None:
            await asyncio.Event().wait()

    # --- streams ------------------------------------------------------------------------------------------------------

    async def _stream(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        request: dict[str, Any],
        script: Script,
        usage: dict[str, Any],
    ) -> bool:
        charge = self._charge(request, usage, stream=True)
        head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in script.headers)
        chunked = script.framing == "auto"
        writer.write(
            (head + ("Transfer-Encoding: chunked\r\n" if chunked else "Connection: close\r\n") + "\r\n").encode()
        )
        sent = 0
        stop_at = script.cut_after if script.cut_after is not None else script.hang_after
        async for piece in _pieces(self.stream_bytes(request, script, usage), script):
            if stop_at is not None:
                piece = piece[: stop_at - sent]
            if piece:
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                sent += len(piece)
                try:
                    await writer.drain()
                except ConnectionError:
                    self.cancelled += 1
                    raise
            if stop_at is not None and sent >= stop_at:
                if script.cut_after is not None:
                    writer.transport.abort() if chunked else writer.close()
                    return False
                await self._until_gone(reader)
                return False
            if script.chunk_delay_s:
                await asyncio.sleep(script.chunk_delay_s)
                if writer.transport.is_closing():
                    self.cancelled += 1
                    return False
        if chunked:
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        charge.whole = True
        return chunked and not script.close_after

    def stream_bytes(self, request: dict[str, Any], script: Script, usage: dict[str, Any] | None = None) -> list[bytes]:
        """The events of a stream, one by one."""
        usage = usage or script.usage or self._usage(request, script)
        end = script.line_end
        asked = bool((request.get("stream_options") or {}).get("include_usage"))
        base = {"id": "chatcmpl-fake", "object": "chat.completion.chunk", "created": 1, "model": request["model"]}
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        if script.tool_calls:
            deltas = [{"role": "assistant", "content": None}]
            for index, (name, arguments) in enumerate(script.tool_calls):
                start = {"index": index, "id": f"call_{index}", "type": "function"}
                deltas.append({"tool_calls": [{**start, "function": {"name": name, "arguments": ""}}]})
                for at in range(0, len(arguments), 5):
                    deltas.append({"tool_calls": [{"index": index, "function": {"arguments": arguments[at : at + 5]}}]})
        else:
            words = script.text.split(" ")
            for at in range(0, len(words), script.piece_words):
                deltas.append({"content": (" " if at else "") + " ".join(words[at : at + script.piece_words])})
        rows = [{**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
        reason = "tool_calls" if script.tool_calls else "stop"
        rows.append({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
        if script.error_event is not None:
            rows[-1] = {"error": script.error_event}
        elif script.usage_style == "with_choices":
            rows[-1] |= {"usage": usage}
        elif script.usage_style == "every_event":
            rows = [{**row, "usage": {**usage, "completion_tokens": at}} for at, row in enumerate(rows)]
            rows[-1]["usage"] = usage
        elif script.usage_style != "never" and asked:
            if script.usage_style == "null_until_end":
                rows = [{**row, "usage": None} for row in rows]
            rows.append({**base, "choices": [], "usage": usage})
        events = [f"{line}{end}".encode() for line in script.before]
        events += [b"data: %b%b" % (_dump(row, script), 2 * end.encode()) for row in rows]
        if script.done and script.error_event is None:
            events.append(b"data: [DONE]" + 2 * end.encode())
        return events

    # --- what is said and charged -------------------------------------------------------------------------------------

    def _usage(self, request: dict[str, Any], script: Script) -> dict[str, Any]:
        prompt = sum(len(str(message.get("content"))) for message in request.get("messages", ())) // 4 + 1
        completion = len(script.text) // 4 + 1
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}

    def _charge(self, request: dict[str, Any], usage: dict[str, Any], *, stream: bool) -> Charge:
        charge = Charge(request["model"], usage["prompt_tokens"], usage["completion_tokens"], stream, False)
        self.bill.append(charge)
        return charge

    def _completion(self, request: dict[str, Any], script: Script, usage: dict[str, Any]) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": script.text}
        if script.tool_calls:
            calls = [
                {"id": f"call_{at}", "type": "function", "function": {"name": name, "arguments": arguments}}
                for at, (name, arguments) in enumerate(script.tool_calls)
            ]
            message = {"role": "assistant", "content": None, "tool_calls": calls}
        answer = {
            "id": "chatcmpl-fake",
            "object": "chat.completion",
            "created": 1,
            "model": request["model"],
            "choices": [
                {"index": 0, "message": message, "finish_reason": "tool_calls" if script.tool_calls else "stop"}
            ],
        }
        return answer if script.usage_style == "never" else {**answer, "usage": usage}


def _dump(value: object, script: Script) -> bytes:
    return json.dumps(value, separators=None if script.spaced else (",", ":"), ensure_ascii=False).encode()


def _error(status: int) -> bytes:
    return json.dumps(
        {"error": {"message": f"the fake says {status}", "type": "fake_error", "param": None, "code": "fake"}}
    ).encode()


async def _pieces(events: list[bytes], script: Script) -> AsyncIterator[bytes]:
    if script.rechunk is None:
        for event in events:
            yield event
        return
    whole = b"".join(events)
    for at in range(0, len(whole), script.rechunk):
        yield whole[at : at + script.rechunk]


def main() -> None:
    parser = argparse.ArgumentParser(description="A provider of chat completions that answers with fixed text.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--chunk-delay-s", type=float, default=0.0)
    given = parser.parse_args()
    provider = FakeProvider(port=given.port)
    with provider:
        print(provider.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
