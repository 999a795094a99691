"""Every way to be refused, in the client's dialect, and what the provider says passed through."""

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.fakes.provider import FakeProvider, Script
from tests.gateway.running import (
    KEY,
    Running,
    call,
    chat,
    connected,
    endpoint,
    key_digest,
    read_answer,
    request_bytes,
    table,
    until,
)
from weighbridge.records.table import Endpoint, Key, Limits, Route


@pytest.mark.parametrize(
    ("how", "status", "code", "says"),
    [
        ({"key": "wrong"}, 401, "invalid_api_key", "incorrect API key"),
        ({"key": None}, 401, "invalid_api_key", "no key was given"),
        ({"key": None, "headers": [("Authorization", "Basic eA==")]}, 401, "invalid_api_key", "Bearer KEY"),
        ({"key": None, "headers": [("api-key", "")]}, 401, "invalid_api_key", "no key was given"),
        ({"path": "/v2/completions"}, 404, "unknown_path", "POST /v1/chat/completions"),
        ({"path": "/v1/chat/completions/"}, 404, "unknown_path", "there is no"),
        ({"method": "GET"}, 405, "method_not_allowed", "use POST"),
        ({"method": "DELETE", "path": "/healthz"}, 405, "method_not_allowed", "use GET, HEAD"),
        ({"headers": [("x-weighbridge-tag", "refund")]}, 400, "invalid_tag", "NAME=VALUE"),
        ({"headers": [("x-weighbridge-tag", "a=" + "b" * 200)]}, 400, "invalid_tag", "NAME=VALUE"),
        ({"headers": [("x-weighbridge-tag", "a=1," * 17)]}, 400, "invalid_tag", "more than 16"),
    ],
)
def test_a_refusal_says_why_and_how_to_go_on(
    gateway: Running, provider: FakeProvider, how: dict[str, Any], status: int, code: str, says: str
) -> None:
    answer = call(gateway.port, chat() if how.get("method", "POST") == "POST" else b"", **how)
    assert (status, code) == (answer.status, answer.error["code"])
    assert says in answer.error["message"]
    assert {"message", "type", "param", "code"} == set(answer.error)
    assert answer.headers["x-request-id"] in answer.error["message"]
    assert [] == provider.seen


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"", "invalid_json", None),
        (b"{", "invalid_json", None),
        (b"[]", "invalid_json", None),
        (b'{"messages":[]}', "missing_required_parameter", "model"),
        (b'{"model":"assistant","model":"other"}', "duplicate_field", "model"),
        (b'{"model":"assistant","messages":[{"role":"user","role":"x","content":"y"}]}', "duplicate_field", "role"),
        (b'{"model":"assistant","x":"\xff"}', "invalid_json", None),
        (b'{"model":"assistant","x":' + b"[" * 50_000 + b"]" * 50_000 + b"}", "invalid_json", None),
        (b'{"model":"assistant","max_tokens":1e400}', "invalid_type", "max_tokens"),
        (b'{"model":"assistant","n":' + b"9" * 9_000 + b"}", "invalid_type", "n"),
        (chat("unheard-of"), "model_not_found", "model"),
        (chat("x" * 100_000), "model_not_found", "model"),
    ],
)
def test_a_body_that_cannot_be_used_is_refused_with_the_field(
    gateway: Running, body: bytes, code: str, param: str | None
) -> None:
    answer = call(gateway.port, body)
    assert (404 if code == "model_not_found" else 400) == answer.status
    assert (code, param) == (answer.error["code"], answer.error["param"])
    assert len(answer.body) < 1000


def test_the_connection_lives_on_after_a_refusal_that_was_read_whole(gateway: Running) -> None:

    with connected(gateway.port) as line:
        for body, status in ((chat("nope"), 404), (b"{", 400), (chat(), 200)):
            line.sendall(request_bytes(body))
            assert status == read_answer(line).status
        line.sendall(request_bytes(chat(), key="wrong"))
        assert 401 == read_answer(line).status
        line.sendall(request_bytes(chat()))
        assert 200 == read_answer(line).status


def test_refusals_of_strangers_are_counted_and_leave_no_frame(gateway: Running) -> None:
    for _ in range(3):
        call(gateway.port, chat(), key="wrong")
    assert [] == gateway.frames()
    samples = gateway.on_loop(gateway.gateway.samples)
    assert ("weighbridge_refusals_total", {"code": "invalid_api_key"}, 3) in samples


# --- the provider -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 402, 404, 409, 413, 422, 429, 500, 502, 503, 529])
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_of_the_provider_reaches_the_client_with_its_body_and_headers(
    gateway: Running, provider: FakeProvider, status: int, stream: bool
) -> None:
    headers = [
        ("retry-after", "7"), ("x-ratelimit-remaining-requests", "0"), ("x-request-id", "req_123"),
        ("Set-Cookie", "a=b"), ("Keep-Alive", "timeout=5"), ("x-weighbridge-arm", "forged"),
    ]  # fmt: skip
    provider.answers["model-a"] = Script(status=status, headers=headers)
    answer = call(gateway.port, chat(stream=stream))
    assert status == answer.status
    assert f"the fake says {status}" == answer.error["message"]
    assert ("7", "0", "req_123") == (
        answer.headers["retry-after"],
        answer.headers["x-ratelimit-remaining-requests"],
        answer.headers["x-request-id"],
    )
    assert "closed" == answer.headers["x-weighbridge-arm"]
    assert not {"set-cookie", "keep-alive"} & set(answer.headers)
    (finished,) = gateway.finished()
    assert ("upstream_error", status) == (finished.outcome, finished.status)
    (posted,) = gateway.posted()
    assert (status, f"upstream answered {status}: fake") == (posted.status, posted.error)
    # A provider's refusal is not billed; whether a failure was is not known.
    assert (0 if status < 500 else None) == posted.cost_nanousd


SECRET_SEEN = b'{"error":{"message":"wrong key upstream-secret","code":"invalid_api_key"}}'


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [401, 403])
def test_a_provider_that_refuses_our_key_is_our_error_and_none_of_its_words_pass(
    gateway: Running, provider: FakeProvider, status: int, stream: bool
) -> None:
    headers = [("www-authenticate", "Bearer upstream-secret"), ("x-echo", "upstream-secret")]
    provider.answers["model-a"] = Script(status=status, body=SECRET_SEEN, headers=headers)
    answer = call(gateway.port, chat(stream=stream))
    assert (502, "upstream_auth", "server_error") == (answer.status, answer.error["code"], answer.error["type"])
    assert f"endpoint 'fake' failed: it refused the gateway itself (HTTP {status})" in answer.error["message"]
    assert "The operator must check api_key" in answer.error["message"]
    assert "upstream-secret" not in repr(answer)
    (finished,) = gateway.finished()
    assert ("upstream_error", 502) == (finished.outcome, finished.status)
    (posted,) = gateway.posted()
    assert (status, 0) == (posted.status, posted.cost_nanousd)
    assert "upstream-secret" not in repr(gateway.frames())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_a_redirect_is_not_passed_on_because_it_would_lead_the_prompt_past_the_send_gate(
    gateway: Running, provider: FakeProvider, status: int, stream: bool
) -> None:
    provider.answers["model-a"] = Script(status=status, body=b"", headers=[("Location", "http://elsewhere/v1")])
    answer = call(gateway.port, chat(stream=stream))
    assert (502, "upstream_redirect") == (answer.status, answer.error["code"])
    assert "location" not in answer.headers
    assert "elsewhere" not in repr(answer)
    assert "must set base_url of this endpoint" in answer.error["message"]
    assert "upstream_error" == gateway.finished()[0].outcome
    assert status == gateway.posted()[0].status


def test_an_error_inside_a_good_status_passes_through_and_is_noted(gateway: Running, provider: FakeProvider) -> None:
    provider.answers["model-a"] = Script(body=b'{"error":{"message":"overloaded"}}')
    assert 200 == call(gateway.port, chat()).status
    (finished,) = gateway.finished()
    assert "upstream_error" == finished.outcome
    assert "error" == gateway.posted()[0].error  # what it says is in the captured body, not in the row


def test_a_provider_that_cannot_be_reached_is_a_502_that_says_so(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with Running(tmp_path, table(f"http://127.0.0.1:{taken.getsockname()[1]}/v1")) as gateway:
            answer = call(gateway.port, chat())
            assert (502, "upstream_unreachable") == (answer.status, answer.error["code"])
            assert "cannot connect to 127.0.0.1" in answer.error["message"]
            (finished,) = gateway.finished()
            assert ("upstream_error", 0) == (finished.outcome, finished.cost_nanousd)


def test_a_name_that_leads_inside_is_not_connected_to(tmp_path: Path, provider: FakeProvider) -> None:
    guarded = Endpoint(name="fake", dialect="openai", base_url=f"http://localhost:{provider.port}/v1", loopback=True)
    with Running(tmp_path, table("", endpoints=[guarded])) as gateway:
        answer = call(gateway.port, chat())
    assert (502, "upstream_unreachable") == (answer.status, answer.error["code"])
    assert "loopback address" in answer.error["message"]
    assert 0 == provider.connections


def in_coding(lines: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n\r\n2\r\n{}\r\n0\r\n\r\n"


CODINGS = [
    b"Transfer-Encoding: gzip, chunked",
    b"transfer-encoding: chunked, chunked",
    b"Transfer-Encoding: gzip",
    b"Transfer-Encoding: chunked\r\nx: y\r\nTransfer-Encoding: chunked",
]


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (Script(raw=b""), "upstream_error"),
        (Script(raw=b"SSH-2.0-x\r\n"), "upstream_error"),
        (Script(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc"), "upstream_error"),
        (Script(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"), "upstream_error"),
        (Script(raw=b"HTTP/1.1 200 OK\r\nx: 1\n y\r\n\r\n"), "upstream_error"),
        (Script(raw=b"HTTP/1.1 99 Low\r\n\r\n"), "upstream_error"),
        (Script(raw=b"HTTP/1.1 0 None\r\nContent-Length: 2\r\n\r\n{}"), "upstream_error"),
        (Script(raw=b"HTTP/1.1 709 High\r\nContent-Length: 2\r\n\r\n{}"), "upstream_error"),
        (Script(raw=b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\n{}"), "upstream_error"),
        (Script(raw=b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), "upstream_error"),
        *((Script(raw=in_coding(coding)), "upstream_error") for coding in CODINGS),
        (Script(raw=b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), "upstream_error"),
        (Script(raw=b"HTTP/1.1 100 Continue\r\n\r\n" * 20), "upstream_error"),
        (Script(raw=b"HTTP/1.1 200 OK\r\nx: " + b"a" * 50_000 + b"\r\n\r\n"), "upstream_error"),
        (Script(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}"), "upstream_cut"),
        (Script(cut_after=30), "upstream_cut"),
    ],
)
def test_an_answer_that_is_no_whole_http_is_a_502(
    gateway: Running, provider: FakeProvider, script: Script, code: str
) -> None:
    provider.answers["model-a"] = script
    answer = call(gateway.port, chat())
    assert (502, code) == (answer.status, answer.error["code"])
    assert "'fake' failed" in answer.error["message"]
    (finished,) = gateway.finished()
    assert code == finished.outcome
    # The next request gets a fresh connection and is not disturbed.
    provider.answers["model-a"] = Script()
    assert 200 == call(gateway.port, chat()).status


def test_interim_answers_are_skipped(gateway: Running, provider: FakeProvider) -> None:
    provider.answers["model-a"] = Script(
        raw=b"HTTP/1.1 103 Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    )
    answer = call(gateway.port, chat())
    assert (200, b"{}") == (answer.status, answer.body)
    assert "link" not in answer.headers


def test_a_second_answer_in_the_same_read_reaches_nobody(gateway: Running, provider: FakeProvider) -> None:
    good = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    for raw in (good + b"{}" + good + b"[]", good + b"{}" + good[:9]):
        provider.answers["model-a"] = Script(raw=raw)
        assert b"{}" == call(gateway.port, chat()).body
        provider.answers["model-a"] = Script()
        assert b"Hello" in call(gateway.port, chat()).body


def test_bytes_on_an_idle_connection_end_it(tmp_path: Path) -> None:
    """They would be taken for the answer to the next request."""
    writers: list[asyncio.StreamWriter] = []
    served: list[int] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with_number = len(writers)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
                await reader.readexactly(length)
                served.append(with_number)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    with ServerThread(answer) as server, Running(tmp_path, table(f"http://127.0.0.1:{server.port}/v1")) as gateway:
        assert b"{}" == call(gateway.port, chat()).body
        server.on_loop(lambda: writers[0].write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"))

        until(
            lambda: gateway.on_loop(lambda: sum(pool.open for _, pool in gateway.gateway._pools.values())),
            lambda count: count == 0,
        )
        assert b"{}" == call(gateway.port, chat()).body
    assert [1, 2] == served


class ServerThread:
    """An asyncio server with a handler of the test's own."""

    def __init__(self, handler: Any, tls: ssl.SSLContext | None = None) -> None:
        self._handler, self._tls = handler, tls

    def __enter__(self) -> "ServerThread":
        ready = threading.Event()

        async def serve() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            server = await asyncio.start_server(self._handler, "127.0.0.1", 0, ssl=self._tls)
            self.port = server.sockets[0].getsockname()[1]
            ready.set()
            await self._stop.wait()
            server.close()

        self._thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
        self._thread.start()
        assert ready.wait(10)
        return self

    def on_loop(self, function: Any) -> None:
        self._loop.call_soon_threadsafe(function)

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)


@pytest.mark.parametrize("stream", [False, True])
def test_the_204_of_a_provider_has_no_body_and_no_framing(
    gateway: Running, provider: FakeProvider, stream: bool
) -> None:
    head = b"HTTP/1.1 204 No Content\r\ncontent-type: text/event-stream\r\n\r\n"
    provider.answers["model-a"] = Script(raw=head)
    answer = call(gateway.port, chat(stream=stream))
    assert 204 == answer.status
    assert not {"content-length", "transfer-encoding"} & set(answer.headers)


def test_an_answer_over_the_limit_is_a_502(tmp_path: Path, provider: FakeProvider) -> None:
    provider.answers["model-a"] = Script(text="x" * 400_000)
    with Running(tmp_path, table(provider.url, limits=Limits(response_bytes_max=100_000))) as gateway:
        answer = call(gateway.port, chat())
    assert 502 == answer.status
    assert "larger than 100000 bytes" in answer.error["message"]


def test_a_missing_secret_closes_its_endpoint_and_names_the_variable(tmp_path: Path, provider: FakeProvider) -> None:
    def missing(reference: str) -> str:
        raise LookupError("the environment variable PROVIDER_KEY is not set")

    route_table = table("", endpoints=[endpoint(provider.url, api_key="env:PROVIDER_KEY")])
    with Running(tmp_path, route_table, secret=missing) as gateway:
        answer = call(gateway.port, chat())
        assert (503, "endpoint_not_usable") == (answer.status, answer.error["code"])
        assert "PROVIDER_KEY" in answer.error["message"]
        assert ["refused"] == [row.outcome for row in gateway.finished()]
    assert [] == provider.seen


def test_when_all_connections_are_in_use_the_next_request_is_told_to_wait(
    tmp_path: Path, provider: FakeProvider
) -> None:
    provider.answers["model-a"] = Script(delay_s=0.4)
    with Running(tmp_path, table(provider.url, limits=Limits(upstream_connections_max=2))) as gateway:

        async def many() -> list[object]:
            async with openai.AsyncOpenAI(base_url=gateway.base_url, api_key=KEY, max_retries=0) as client:
                calls = [
                    client.chat.completions.create(model="assistant", messages=[{"role": "user", "content": "x"}])
                    for _ in range(5)
                ]
                return list(await asyncio.gather(*calls, return_exceptions=True))

        results = asyncio.run(many())
    refused = [row for row in results if isinstance(row, openai.InternalServerError)]
    assert 3 == len(refused)
    assert {"upstream_connections_max"} == {row.code for row in refused}
    assert {"1"} == {row.response.headers["retry-after"] for row in refused}


def test_connections_over_the_limit_are_refused_and_the_others_served(tmp_path: Path, provider: FakeProvider) -> None:

    with (
        Running(tmp_path, table(provider.url, limits=Limits(client_connections_max=2))) as gateway,
        connected(gateway.port) as first,
        connected(gateway.port) as second,
        connected(gateway.port) as third,
    ):
        assert 503 == read_answer(third).status
        for line in (first, second):
            line.sendall(request_bytes(chat()))
            assert 200 == read_answer(line).status


# --- the official client ----------------------------------------------------------------------------------------------


@pytest.fixture
def client(gateway: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.base_url, api_key=KEY, max_retries=0) as made:
        yield made


def ask(client: openai.OpenAI, model: str = "assistant", **more: Any) -> Any:
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hi"}], **more)


def test_the_official_client_gets_an_answer(client: openai.OpenAI) -> None:
    answer = ask(client)
    assert "Hello from the fake." == answer.choices[0].message.content
    assert "stop" == answer.choices[0].finish_reason
    assert 8 > answer.usage.prompt_tokens > 0


def test_the_official_client_gets_a_stream_with_and_without_usage(client: openai.OpenAI) -> None:
    chunks = list(ask(client, stream=True))
    assert "Hello from the fake." == "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert not any(chunk.usage for chunk in chunks)
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    assert [] == chunks[-1].choices
    assert chunks[-1].usage.completion_tokens > 0


def test_the_official_client_lists_routes_and_aliases(client: openai.OpenAI) -> None:
    assert ["assistant", "gpt-4o"] == [model.id for model in client.models.list()]


@pytest.mark.parametrize(
    ("model", "more", "expected"),
    [
        ("unheard-of", {}, openai.NotFoundError),
        ("assistant", {"extra_body": {"max_tokens": "many"}}, openai.BadRequestError),
    ],
)
def test_the_official_client_raises_its_own_classes(
    client: openai.OpenAI, model: str, more: dict[str, Any], expected: type[openai.APIStatusError]
) -> None:
    with pytest.raises(expected) as caught:
        ask(client, model, **more)
    assert caught.value.request_id is not None
    assert caught.value.request_id in str(caught.value)


def test_the_official_client_tells_a_wrong_key(gateway: Running) -> None:
    with (
        openai.OpenAI(base_url=gateway.base_url, api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        ask(client)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, openai.BadRequestError),
        (409, openai.ConflictError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
    ],
)
def test_the_official_client_raises_for_the_providers_errors_too(
    client: openai.OpenAI, provider: FakeProvider, status: int, expected: type[openai.APIStatusError]
) -> None:
    provider.answers["model-a"] = Script(status=status)
    with pytest.raises(expected, match=f"the fake says {status}"):
        ask(client)


def test_the_official_client_reads_the_reason_for_a_body_that_is_too_large(
    tmp_path: Path, provider: FakeProvider
) -> None:
    with (
        Running(tmp_path, table(provider.url, limits=Limits(body_bytes_max=10_000))) as gateway,
        openai.OpenAI(base_url=gateway.base_url, api_key=KEY, max_retries=0) as client,
    ):
        with pytest.raises(openai.APIStatusError) as caught:
            client.chat.completions.create(model="assistant", messages=[{"role": "user", "content": "x" * 3_000_000}])
        assert 413 == caught.value.status_code
        assert "larger than 10000 bytes" in str(caught.value)


def test_the_official_client_raises_when_a_stream_is_cut(client: openai.OpenAI, provider: FakeProvider) -> None:
    provider.answers["model-a"] = Script(cut_after=500)
    with pytest.raises(openai.APIError, match="broke off") as caught:
        list(ask(client, stream=True))
    assert "upstream_cut" == caught.value.code


def test_tools_and_every_other_field_pass_through(client: openai.OpenAI, provider: FakeProvider) -> None:
    provider.answers["model-a"] = Script(tool_calls=[("find", '{"q": 1}')])
    tools: Any = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object", "x-odd": [1.50]}}}]
    more: dict[str, Any] = {"tools": tools, "seed": 7, "extra_body": {"vendor_field": {"deep": [None, 1e-7, "ü"]}}}
    call_made = ask(client, **more).choices[0].message.tool_calls[0]
    assert ("find", '{"q": 1}') == (call_made.function.name, call_made.function.arguments)
    sent = json.loads(provider.seen[0].body)
    assert (tools, 7, {"deep": [None, 1e-7, "ü"]}) == (sent["tools"], sent["seed"], sent["vendor_field"])
    streamed = list(ask(client, stream=True, **more))
    joined = "".join(
        piece.function.arguments or "" for chunk in streamed for piece in chunk.choices[0].delta.tool_calls or []
    )
    assert '{"q": 1}' == joined


# --- keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["api-key", "x-api-key", "Api-Key"])
def test_a_key_is_also_taken_from_the_headers_of_other_clients(gateway: Running, header: str) -> None:
    assert 200 == call(gateway.port, chat(), key=None, headers=[(header, KEY)]).status


def test_a_key_sees_its_own_routes_only(tmp_path: Path, provider: FakeProvider) -> None:
    routes = [Route(name="one", incumbent="closed", aliases=("uno",)), Route(name="two", incumbent="closed")]
    keys = [
        Key(name="all", digest=key_digest("k-all"), routes=("*",)),
        Key(name="one", digest=key_digest("k-one"), routes=("one",)),
        Key(name="none", digest=key_digest("k-none"), routes=()),
    ]
    with Running(tmp_path, table(provider.url, routes=routes, keys=keys)) as gateway:

        def models(key: str) -> list[str]:
            answer = call(gateway.port, method="GET", path="/v1/models", key=key)
            return [row["id"] for row in answer.json["data"]]

        assert ["one", "two", "uno"] == models("k-all")
        assert ["one", "uno"] == models("k-one")
        assert [] == models("k-none")
        assert 200 == call(gateway.port, chat("uno"), key="k-one").status
        answer = call(gateway.port, chat("two"), key="k-one")
        assert (404, "model_not_found") == (answer.status, answer.error["code"])
        assert answer.error["message"].startswith("the model 'two' does not exist or this key may not use it")


def test_arms_of_a_route_are_not_models(gateway: Running) -> None:
    for name in ("closed", "open", "model-a"):
        assert 404 == call(gateway.port, chat(name)).status


def test_health_and_readiness_need_no_key(gateway: Running) -> None:
    assert {"status": "ok"} == call(gateway.port, method="GET", path="/healthz", key=None).json
    assert {"status": "ready", "table": 1} == call(gateway.port, method="GET", path="/readyz?x=1", key=None).json
