"""A provider that keeps its own exact bill and fails on demand: chat completions, messages, responses, embeddings.

In a test: `with FakeProvider() as provider:` runs it in a thread; `provider.url` is the base URL, `provider.seen` what
came in, `provider.bill` what was charged, and `provider.answers[model]` a `Script` of how to answer that model.

As a program: `python -m tests.fakes.provider [--port 0]` prints its base URL; `GET /_bill` shows the bill.
"""

import argparse
import asyncio
import base64
import json
import re
import ssl
import struct
import threading
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from tests.fakes import dialects
from tests.fakes.dialects import Spoken

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
    text_with_calls: bool = False
    reasoning: str = ""
    """Thought before the answer: `reasoning_content` in chat, signed thinking in messages, sealed in responses."""
    refusal: str | None = None
    """In place of the text, in the field made for it."""
    finish: Literal["stop", "length", "tool_calls", "refusal", "content_filter"] | None = None
    """In place of what follows from the rest."""
    cache_read: int = 0
    cache_write: int = 0
    reasoned: int = 0
    """Tokens of each class, beside those that are counted from the texts."""
    wants_reasoning: bool = False
    """As DeepSeek does: an assistant turn with calls and no `reasoning_content` is a 400."""
    close_after: bool = False
    bills_sent: bool = False
    """A stream that is cut, or left, is charged at what was written of it until then."""
    first: list["Script"] = field(default_factory=list)
    """How to answer the first requests, one each, before all others."""


class Tokens(NamedTuple):
    """Disjoint."""

    input: int
    output: int
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0


@dataclass
class Charge:
    model: str
    prompt_tokens: int
    completion_tokens: int
    stream: bool
    whole: bool
    """Its last byte was written."""
    tokens: Tokens = Tokens(0, 0)  # noqa: RUF009 (a named tuple is immutable)


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
    wants_headers: bool = True
    """Messages without a key and a version are refused, as their maker does; hosts of open models want neither."""
    bill: list[Charge] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    open_connections: int = 0
    cancelled: int = 0
    """Answers whose client went away before their end."""
    others: dict[str, tuple[int, str, bytes]] = field(default_factory=dict)
    """(status, content type, body) of any other `METHOD /path`, query left out."""

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
        other = self.others.get(f"{method} {path.partition('?')[0]}")
        if other is not None:
            status, kind, content = other
            await self._send(writer, status, [("Content-Type", kind)], content)
            return True
        request = json.loads(body)
        refused = None
        if "/publishers/anthropic/models/" in path:
            refused = dialects.refused_by_vertex(path, headers, request)
            path = dialects.as_anthropics_own(path, request)
            seen = Seen(method, path, [*headers, ("anthropic-version", "2023-06-01")], body, number)
        script = self.answers.get(request["model"], Script())
        spoken: Spoken = {"/v1/messages": "anthropic", "/v1/responses": "openai-responses"}.get(
            path.removeprefix("/openai").removeprefix("/anthropic"), "openai"
        )  # type: ignore[assignment]
        refused = refused or self._refused(seen, request, script, spoken)
        if refused is not None:
            await self._send(writer, 400, [], _refusal_body(spoken, refused))
            return True
        if path in ("/v1/messages/count_tokens", "/v1/embeddings", "/v1/completions"):
            await self._send(writer, 200, script.headers, json.dumps(self._small(path, request, script)).encode())
            return True
        if script.first:
            script = script.first.pop(0)
        return await self._answer(reader, writer, request, script, spoken)

    def _refused(self, seen: Seen, request: dict[str, Any], script: Script, spoken: Spoken) -> str | None:
        given = seen.headers if self.wants_headers else [("x-api-key", "any"), ("anthropic-version", "2023-06-01")]
        if seen.path == "/v1/messages/count_tokens":
            return dialects.refused_by_anthropic(given, request, counting=True)
        if spoken == "anthropic":
            return dialects.refused_by_anthropic(given, request)
        if spoken == "openai-responses":
            return dialects.refused_by_responses(request)
        if script.wants_reasoning:
            for turn in request.get("messages", ()):
                if turn["role"] == "assistant" and turn.get("tool_calls") and turn.get("reasoning_content") is None:
                    return "The reasoning_content in the thinking mode must be passed back to the API."
        return None

    def _small(self, path: str, request: dict[str, Any], script: Script) -> dict[str, Any]:
        """Answers that are no conversation."""
        tokens = self._tokens(request, script)
        if path.endswith("count_tokens"):
            return {"input_tokens": tokens.input}
        self._charge(request, tokens, stream=False).whole = True
        if path.endswith("embeddings"):
            rows = request["input"] if isinstance(request["input"], list) else [request["input"]]
            vector: object = [0.5, 0.25]
            if request.get("encoding_format") == "base64":
                vector = base64.b64encode(struct.pack("<2f", 0.5, 0.25)).decode()
            data = [{"object": "embedding", "index": at, "embedding": vector} for at in range(len(rows))]
            usage = {"prompt_tokens": tokens.input, "total_tokens": tokens.input}
            return {"object": "list", "model": request["model"], "data": data, "usage": usage}
        choice = {"index": 0, "text": script.text, "finish_reason": "stop", "logprobs": None}
        usage = {
            "prompt_tokens": tokens.input,
            "completion_tokens": tokens.output,
            "total_tokens": tokens.input + tokens.output,
        }
        model = request["model"]
        return {
            "id": "cmpl-fake",
            "object": "text_completion",
            "created": 1,
            "model": model,
            "choices": [choice],
            "usage": usage,
        }

    async def _answer(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        request: dict[str, Any],
        script: Script,
        spoken: Spoken = "openai",
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
        tokens = self._tokens(request, script)
        usage = script.usage or self._usage(request, script)
        if script.status != 200 or script.body is not None:
            body = script.body if script.body is not None else _error(script.status, spoken)
            await self._send(writer, script.status, script.headers, body, script)
            return not script.close_after
        if request.get("stream"):
            if spoken == "anthropic":
                events = dialects.anthropic_events(request, script, tokens)
            elif spoken == "openai-responses":
                events = dialects.responses_events(request, script, tokens)
            else:
                events = self.stream_bytes(request, script, usage)
            return await self._stream(reader, writer, request, script, events)
        if spoken == "anthropic":
            answer = dialects.anthropic_answer(request, script, tokens)
        elif spoken == "openai-responses":
            answer = dialects.responses_answer(request, script, tokens)
        else:
            answer = self._completion(request, script, usage)
        charge = self._charge(request, tokens, stream=False)
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
        events: list[bytes],
    ) -> bool:
        charge = self._charge(request, self._tokens(request, script), stream=True)
        head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in script.headers)
        chunked = script.framing == "auto"
        writer.write(
            (head + ("Transfer-Encoding: chunked\r\n" if chunked else "Connection: close\r\n") + "\r\n").encode()
        )
        sent, said = 0, bytearray()
        stop_at = script.cut_after if script.cut_after is not None else script.hang_after
        async for piece in _pieces(events, script):
            if stop_at is not None:
                piece = piece[: stop_at - sent]
            if piece:
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                sent += len(piece)
                if script.bills_sent:
                    said += piece
                    charge.completion_tokens = _written(said)
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
        if script.bills_sent:
            charge.completion_tokens = charge.tokens.output + charge.tokens.reasoning
        return chunked and not script.close_after

    def stream_bytes(self, request: dict[str, Any], script: Script, usage: dict[str, Any] | None = None) -> list[bytes]:
        """The events of a stream, one by one."""
        usage = usage or script.usage or self._usage(request, script)
        end = script.line_end
        asked = bool((request.get("stream_options") or {}).get("include_usage"))
        base = {"id": "chatcmpl-fake", "object": "chat.completion.chunk", "created": 1, "model": request["model"]}
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        deltas += [{"reasoning_content": piece} for piece in dialects.pieces(script.reasoning)]
        if script.text_with_calls:
            deltas += [{"content": piece} for piece in dialects.pieces(script.text)]
        if script.tool_calls:
            deltas[0] = {"role": "assistant", "content": None}
            for index, (name, arguments) in enumerate(script.tool_calls):
                start = {"index": index, "id": f"call_{index}", "type": "function"}
                deltas.append({"tool_calls": [{**start, "function": {"name": name, "arguments": ""}}]})
                for at in range(0, len(arguments), 5):
                    deltas.append({"tool_calls": [{"index": index, "function": {"arguments": arguments[at : at + 5]}}]})
        elif script.refusal is not None:
            deltas += [{"refusal": piece} for piece in dialects.pieces(script.refusal)]
        else:
            words = script.text.split(" ")
            for at in range(0, len(words), script.piece_words):
                deltas.append({"content": (" " if at else "") + " ".join(words[at : at + script.piece_words])})
        rows = [{**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
        reason = _finish(script)
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

    def _tokens(self, request: dict[str, Any], script: Script) -> Tokens:
        """What a call is charged with: by the characters of its texts, whatever the dialect wraps them in."""
        if script.usage is not None:
            return Tokens(script.usage["prompt_tokens"], script.usage["completion_tokens"])
        if "messages" not in request:
            prompt = len(str(request.get("input", request.get("prompt")))) // 4 + 1
        else:
            prompt = sum(len(str(message.get("content"))) for message in request["messages"]) // 4 + 1
        return Tokens(prompt, len(script.text) // 4 + 1, script.cache_read, script.cache_write, script.reasoned)

    def _usage(self, request: dict[str, Any], script: Script) -> dict[str, Any]:
        tokens = self._tokens(request, script)
        prompt = tokens.input + tokens.cache_read + tokens.cache_write
        completion = tokens.output + tokens.reasoning
        usage: dict[str, Any] = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }
        if tokens.cache_read or tokens.cache_write:
            details = {"cached_tokens": tokens.cache_read, "cache_write_tokens": tokens.cache_write}
            usage["prompt_tokens_details"] = details
        if tokens.reasoning:
            usage["completion_tokens_details"] = {"reasoning_tokens": tokens.reasoning}
        return usage

    def _charge(self, request: dict[str, Any], tokens: Tokens, *, stream: bool) -> Charge:
        prompt = tokens.input + tokens.cache_read + tokens.cache_write
        charge = Charge(request["model"], prompt, tokens.output + tokens.reasoning, stream, False, tokens)
        self.bill.append(charge)
        return charge

    def _completion(self, request: dict[str, Any], script: Script, usage: dict[str, Any]) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": script.text}
        if script.tool_calls:
            calls = [
                {"id": f"call_{at}", "type": "function", "function": {"name": name, "arguments": arguments}}
                for at, (name, arguments) in enumerate(script.tool_calls)
            ]
            text = script.text if script.text_with_calls else None
            message = {"role": "assistant", "content": text, "tool_calls": calls}
        elif script.refusal is not None:
            message = {"role": "assistant", "content": None, "refusal": script.refusal}
        if script.reasoning:
            message["reasoning_content"] = script.reasoning
        answer = {
            "id": "chatcmpl-fake",
            "object": "chat.completion",
            "created": 1,
            "model": request["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": _finish(script)}],
        }
        return answer if script.usage_style == "never" else {**answer, "usage": usage}


def _written(said: bytes | bytearray) -> int:
    """Tokens of the text in these events, as a provider counts that stops when it is left."""
    texts = re.findall(rb'"(?:content|text|reasoning_content)":"((?:[^"\\]|\\.)*)', bytes(said))
    return len(b"".join(texts)) // 4 + 1


def _dump(value: object, script: Script) -> bytes:
    return json.dumps(value, separators=None if script.spaced else (",", ":"), ensure_ascii=False).encode()


def _finish(script: Script) -> str:
    finish = dialects.finish_of(script)
    return "stop" if finish == "refusal" else finish


def _refusal_body(spoken: Spoken, message: str) -> bytes:
    if spoken == "anthropic":
        error: dict[str, Any] = {"type": "invalid_request_error", "message": message}
        if message == dialects.UNTHREADED:
            error["details"] = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
        return json.dumps({"type": "error", "error": error, "request_id": "req_fake"}).encode()
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return json.dumps({"error": error}).encode()


_ANTHROPIC_ERRORS = {429: "rate_limit_error", 529: "overloaded_error", 404: "not_found_error", 413: "request_too_large"}


def _error(status: int, spoken: Spoken = "openai") -> bytes:
    if spoken == "anthropic":
        error = {"type": _ANTHROPIC_ERRORS.get(status, "api_error"), "message": f"the fake says {status}"}
        return json.dumps({"type": "error", "error": error, "request_id": "req_fake"}).encode()
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
