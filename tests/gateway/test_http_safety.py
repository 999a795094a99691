"""Strict HTTP: every row of what llhttp refuses by itself and of what it lets pass and we refuse."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import httptools
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.provider import FakeProvider, Script
from tests.gateway.running import (
    KEY,
    Answer,
    Running,
    call,
    chat,
    connected,
    key_digest,
    read_answer,
    request_bytes,
    table,
    until,
)
from weighbridge.records.table import Key, Limits

HEAD = f"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {KEY}\r\n".encode()
SOURCE = Path(__file__).resolve().parents[2] / "src"


def send(port: int, data: bytes) -> Answer:
    with connected(port) as line:
        line.sendall(data)
        return read_answer(line)


def framed(extra: bytes, body: bytes | None = None) -> bytes:
    content = chat() if body is None else body
    return HEAD + b"Content-Length: %d\r\n" % len(content) + extra + b"\r\n" + content


def chunked(body: bytes, *, extension: bytes = b"", end: bytes = b"0\r\n\r\n", coding: bytes = b"chunked") -> bytes:
    return HEAD + b"Transfer-Encoding: " + coding + b"\r\n\r\n" + b"%x%b\r\n%b\r\n" % (len(body), extension, body) + end


def test_the_lenient_flags_of_the_parser_are_never_touched() -> None:
    found = [str(path) for path in SOURCE.rglob("*.py") if "set_dangerous_leniencies" in path.read_text()]
    assert [] == found
    assert hasattr(httptools.HttpRequestParser, "set_dangerous_leniencies")  # the name that is looked for exists


REFUSED_BY_LLHTTP = {
    "two equal lengths": framed(b"Content-Length: %d\r\n" % len(chat())),
    "two lengths": framed(b"Content-Length: 3\r\n"),
    "a list of lengths": HEAD + b"Content-Length: 3, 3\r\n\r\nabc",
    "a plus before the length": HEAD + b"Content-Length: +3\r\n\r\nabc",
    "a negative length": HEAD + b"Content-Length: -3\r\n\r\nabc",
    "a hexadecimal length": HEAD + b"Content-Length: 0x3\r\n\r\nabc",
    "a length with a gap": HEAD + b"Content-Length: 3 4\r\n\r\nabc",
    "an empty length": HEAD + b"Content-Length: \r\n\r\n",
    "a length over 64 bits": HEAD + b"Content-Length: 18446744073709551616\r\n\r\n",
    "length, then coding": framed(b"Transfer-Encoding: chunked\r\n"),
    "coding, then length": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "coding identity": chunked(chat(), coding=b"identity"),
    "coding xchunked": chunked(chat(), coding=b"xchunked"),
    "chunked, identity": chunked(chat(), coding=b"chunked, identity"),
    "coding twice": chunked(chat(), coding=b"chunked\r\nTransfer-Encoding: chunked"),
    "coding behind a vertical tab": chunked(chat(), coding=b"\x0bchunked"),
    "a space before the colon": framed(b"x-tra : 1\r\n"),
    "a folded header": framed(b"x-tra: 1\r\n  2\r\n"),
    "a folded coding": chunked(chat(), coding=b"\r\n chunked"),
    "a folded first line": b"POST /v1/chat/completions HTTP/1.1\r\n Host: gateway\r\n\r\n",
    "a bare line feed": framed(b"x-tra: 1\n"),
    "a bare carriage return": framed(b"x-tra: 1\rx: 2\r\n"),
    "NUL in a value": framed(b"x-tra: a\x00b\r\n"),
    "a control byte in a value": framed(b"x-tra: a\x01b\r\n"),
    "an empty header name": framed(b": 1\r\n"),
    "an odd header name": framed(b"x(tra): 1\r\n"),
    "no colon": framed(b"x-tra\r\n"),
    "a chunk size with a space before": HEAD + b"Transfer-Encoding: chunked\r\n\r\n 3\r\nabc\r\n0\r\n\r\n",
    "a chunk size with 0x": HEAD + b"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
    "a negative chunk size": HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n",
    "a chunk size of 17 digits": HEAD
    + b"Transfer-Encoding: chunked\r\n\r\n"
    + b"1"
    + b"0" * 16
    + b"\r\nabc\r\n0\r\n\r\n",
    "a chunk extension ended by a line feed": chunked(chat(), extension=b";a=b\n"),
    "no line end after a chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    "HTTP/1.2": b"POST /v1/chat/completions HTTP/1.2\r\nHost: gateway\r\nContent-Length: 0\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a method in lower case": b"post /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "an unknown method": b"STEAL /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "a space in the target": b"GET /v1/mo dels HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "NUL in the target": b"GET /v1/mo\x00dels HTTP/1.1\r\nHost: gateway\r\n\r\n",
}

REFUSED_BY_US = {
    "a coding before chunked": (chunked(chat(), coding=b"gzip, chunked"), 400, "transfer_encoding"),
    "a key as trailer": (chunked(chat(), end=b"0\r\nAuthorization: Bearer other\r\n\r\n"), 400, "trailers"),
    "any trailer": (chunked(chat(), end=b"0\r\nx-tra: 1\r\n\r\n"), 400, "trailers"),
    "HTTP/0.9": (b"GET /v1/models\r\n\r\n", 505, "http_version"),
    "HTTP/2.0 as a version": (b"GET /v1/models HTTP/2.0\r\nHost: g\r\n\r\n", 505, "http_version"),
    "chunked on HTTP/1.0": (chunked(chat()).replace(b"HTTP/1.1", b"HTTP/1.0"), 400, "transfer_encoding"),
    "no host": (b"GET /healthz HTTP/1.1\r\n\r\n", 400, "missing_host"),
    "two hosts": (b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "repeated_header"),
    "two keys": (framed(b"Authorization: Bearer other\r\n"), 400, "repeated_header"),
    "two api-keys": (framed(b"api-key: a\r\nAPI-Key: b\r\n"), 400, "repeated_header"),
    "two trial tokens": (framed(b"x-weighbridge-trial: a\r\nx-weighbridge-trial: b\r\n"), 400, "repeated_header"),
    "two conversations": (framed(b"x-conversation-id: a\r\nx-conversation-id: b\r\n"), 400, "repeated_header"),
    "an absolute target": (b"GET http://other/healthz HTTP/1.1\r\nHost: g\r\n\r\n", 400, "request_target"),
    "a star as target": (b"OPTIONS * HTTP/1.1\r\nHost: g\r\n\r\n", 400, "request_target"),
    "an upgrade": (framed(b"Upgrade: websocket\r\nConnection: upgrade\r\n"), 400, "upgrade"),
    "an upgrade to HTTP/2": (framed(b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n"), 400, "upgrade"),
    "CONNECT": (b"CONNECT other:443 HTTP/1.1\r\nHost: g\r\n\r\n", 400, "upgrade"),
    "a compressed body": (framed(b"Content-Encoding: gzip\r\n"), 415, "content_encoding"),
    "another expectation": (framed(b"Expect: 200-ok\r\n"), 417, "expectation"),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, FakeProvider]]:
    with (
        FakeProvider() as provider,
        Running(
            tmp_path_factory.mktemp("store"), table(provider.url, limits=Limits(body_bytes_max=100_000))
        ) as running,
    ):
        yield running, provider


@pytest.mark.promise(29)
@pytest.mark.parametrize("name", REFUSED_BY_LLHTTP)
def test_what_the_parser_refuses_is_answered_400_and_the_connection_ends(
    shared: tuple[Running, FakeProvider], name: str
) -> None:
    gateway, provider = shared
    sent = len(provider.seen)
    with connected(gateway.port) as line:
        line.sendall(REFUSED_BY_LLHTTP[name])
        answer = read_answer(line)
        assert (400, "close") == (answer.status, answer.headers["connection"])
        assert answer.error["code"] in ("malformed_http", "transfer_encoding")
        assert_ended(line)
    assert sent == len(provider.seen)


@pytest.mark.promise(29)
@pytest.mark.parametrize("name", REFUSED_BY_US)
def test_what_the_parser_lets_pass_is_refused_by_us_and_the_connection_ends(
    shared: tuple[Running, FakeProvider], name: str
) -> None:
    gateway, provider = shared
    data, status, code = REFUSED_BY_US[name]
    sent = len(provider.seen)
    with connected(gateway.port) as line:
        line.sendall(data)
        answer = read_answer(line)
        assert (status, code) == (answer.status, answer.error["code"])
        if code != "request_target":
            assert "close" == answer.headers["connection"]
            assert_ended(line)
    assert sent == len(provider.seen)


def assert_ended(line: socket.socket) -> None:
    line.shutdown(socket.SHUT_WR)
    with suppress(ConnectionResetError):
        assert b"" == line.recv(1)


def test_a_header_that_comes_after_the_body_decides_nothing(gateway: Running, provider: FakeProvider) -> None:
    sent = chunked(chat(), end=b"0\r\nx-weighbridge-tag: task=stolen\r\n\r\n")
    assert 400 == send(gateway.port, sent).status
    assert [] == gateway.held()


def test_well_formed_chunk_extensions_do_not_go_upstream(shared: tuple[Running, FakeProvider]) -> None:
    gateway, provider = shared
    assert 200 == send(gateway.port, chunked(chat(), extension=b";name=value")).status
    assert provider.seen[-1].header("content-length") is not None
    assert provider.seen[-1].header("transfer-encoding") is None


def test_a_foreign_host_changes_nothing_and_goes_nowhere(shared: tuple[Running, FakeProvider]) -> None:
    """A gateway stands behind names that it cannot know, so no decision hangs on the name."""
    gateway, provider = shared
    assert 200 == send(gateway.port, framed(b"").replace(b"Host: gateway", b"Host: evil.example")).status
    assert f"127.0.0.1:{provider.port}" == provider.seen[-1].header("host")


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        b"GET /healthz HTTP/1.1\r\nHost: g\r\nx: " + b"a" * 40_000 + b"\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: g\r\n" + b"x: 1\r\n" * 6_000 + b"\r\n",
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: g\r\n\r\n",
        b"\r\n" * 20_000 + b"GET /healthz HTTP/1.1\r\nHost: g\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: g\r\nx: " + b"a" * 40_000,
    ],
)
def test_a_head_over_the_limit_is_refused_however_it_grows(shared: tuple[Running, FakeProvider], head: bytes) -> None:
    answer = send(shared[0].port, head)
    assert (431, "head_too_large") == (answer.status, answer.error["code"])


def test_a_head_at_the_limit_passes(shared: tuple[Running, FakeProvider]) -> None:
    start = b"GET /healthz HTTP/1.1\r\nHost: g\r\nx: "
    room = Limits().head_bytes_max - len(start) - 4
    assert 200 == send(shared[0].port, start + b"a" * room + b"\r\n\r\n").status
    assert 431 == send(shared[0].port, start + b"a" * (room + 1) + b"\r\n\r\n").status


def test_a_large_body_behind_a_head_in_one_write_is_not_taken_for_a_large_head(
    shared: tuple[Running, FakeProvider],
) -> None:
    assert 200 == call(shared[0].port, chat(text="x" * 90_000)).status


def test_a_body_over_the_limit_is_refused_before_it_is_sent(shared: tuple[Running, FakeProvider]) -> None:
    answer = send(shared[0].port, HEAD + b"Content-Length: 100001\r\n\r\n")
    assert (413, "body_too_large") == (answer.status, answer.error["code"])
    assert 200 == call(shared[0].port, chat(text="x" * (100_000 - len(chat(text=""))))).status


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"2710\r\n" + b"a" * 10_000 + b"\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1;" + b"e" * 10_000 + b"\r\na\r\n",
    ],
)
def test_a_chunked_body_without_end_is_refused_at_the_limit_framing_counted(
    shared: tuple[Running, FakeProvider], data: bytes
) -> None:
    gateway, _ = shared
    head, _, chunk = data.partition(b"\r\n\r\n")
    with connected(gateway.port) as line:
        line.sendall(head + b"\r\n\r\n")
        for _ in range(14):
            try:
                line.sendall(chunk)
            except OSError:
                break
        answer = read_answer(line)
    assert (413, "body_too_large") == (answer.status, answer.error["code"])


def test_the_answer_to_a_large_body_arrives_though_the_client_is_still_sending(
    shared: tuple[Running, FakeProvider],
) -> None:
    """Closing at once would reset the connection, and the client would see a broken pipe in place of the reason."""
    with connected(shared[0].port) as line:
        line.sendall(HEAD + b"Content-Length: 5000000\r\n\r\n")
        for _ in range(50):
            line.sendall(b"x" * 100_000)
        assert 413 == read_answer(line).status


def test_a_stranger_cannot_make_us_keep_a_body(shared: tuple[Running, FakeProvider]) -> None:
    """The key is looked at when the head is there, before the body."""
    with connected(shared[0].port) as line:
        line.sendall(HEAD.replace(KEY.encode(), b"wrong") + b"Content-Length: 90000\r\n\r\n")
        assert 401 == read_answer(line).status


# --- expectations, pipelining, HEAD -----------------------------------------------------------------------------------


def test_a_client_that_waits_to_be_asked_is_asked_after_the_head_is_checked(
    shared: tuple[Running, FakeProvider],
) -> None:
    gateway, _ = shared
    with connected(gateway.port) as line:
        line.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(chat()))
        assert b"HTTP/1.1 100 Continue\r\n\r\n" == line.recv(100)
        line.sendall(chat())
        assert 200 == read_answer(line).status
    with connected(gateway.port) as line:
        line.sendall(
            HEAD.replace(KEY.encode(), b"wrong") + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(chat())
        )
        assert 401 == read_answer(line).status


def test_of_pipelined_requests_the_first_is_answered_and_the_connection_ends(gateway: Running) -> None:
    with connected(gateway.port) as line:
        line.sendall(request_bytes(chat()) + request_bytes(chat(text="second")))
        answer = read_answer(line)
        assert 200 == answer.status
        assert b"" == line.recv(1)
    assert 1 == len(gateway.finished())


def test_what_follows_a_refused_request_in_one_write_is_not_taken_for_it(gateway: Running) -> None:
    with connected(gateway.port) as line:
        line.sendall(request_bytes(method="GET", path="/nowhere") + request_bytes(chat()))
        assert 404 == read_answer(line).status
        assert b"" == line.recv(1)
    assert [] == gateway.held()


def test_a_request_that_comes_while_another_runs_is_not_taken(gateway: Running, provider: FakeProvider) -> None:
    provider.answers["model-a"] = Script(delay_s=0.2)
    with connected(gateway.port) as line:
        line.sendall(request_bytes(chat()))
        until(lambda: len(provider.seen), lambda count: count == 1)
        line.sendall(request_bytes(chat(text="second")))
        assert 200 == read_answer(line).status
        assert b"" == line.recv(1)
    assert 1 == len(provider.seen)


def test_rubbish_behind_a_request_costs_the_connection_and_not_the_answer(gateway: Running) -> None:
    with connected(gateway.port) as line:
        line.sendall(request_bytes(chat()) + b"\x00\x01 rubbish")
        assert 200 == read_answer(line).status
        assert b"" == line.recv(1)


def test_pipelined_health_checks_are_all_answered(gateway: Running) -> None:
    with connected(gateway.port) as line:
        line.sendall(request_bytes(method="GET", path="/healthz") * 3)
        data = b""
        while data.count(b'{"status":"ok"}') < 3:
            data += line.recv(4096)


@pytest.mark.parametrize("path", ["/healthz", "/nowhere", "/v1/models"])
def test_the_answer_to_head_has_no_body(gateway: Running, path: str) -> None:
    with connected(gateway.port) as line:
        line.sendall(request_bytes(method="HEAD", path=path))
        head = read_answer(line, head_only=True)
        assert int(head.headers["content-length"]) > 0
        line.sendall(request_bytes(method="GET", path="/healthz"))
        assert b'{"status":"ok"}' == read_answer(line).body


def test_a_connection_is_kept_and_one_that_asks_to_be_closed_is_closed(gateway: Running) -> None:
    with connected(gateway.port) as line:
        for number in range(3):
            line.sendall(request_bytes(chat(text=str(number))))
            assert 200 == read_answer(line).status
        line.sendall(request_bytes(chat(), headers=[("Connection", "close")]))
        assert "close" == read_answer(line).headers["connection"]
        assert b"" == line.recv(1)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_of_http_1_0_gets_an_answer_without_chunks(gateway: Running, stream: bool) -> None:
    with connected(gateway.port) as line:
        line.sendall(request_bytes(chat(stream=stream)).replace(b"HTTP/1.1", b"HTTP/1.0", 1))
        answer = read_answer(line)
        assert 200 == answer.status
        assert "transfer-encoding" not in answer.headers
        assert answer.body.endswith(b"[DONE]\n\n" if stream else b"}")


# --- however it is cut ------------------------------------------------------------------------------------------------


def test_a_request_in_single_bytes_is_the_same_request(gateway: Running, provider: FakeProvider) -> None:
    data = request_bytes(chat(text="grüße", stream=True), headers=[("x-weighbridge-tag", "task=a")])
    with connected(gateway.port) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(data)):
            line.sendall(data[at : at + 1])
        assert 200 == read_answer(line).status
    assert (("task", "a"),) == gateway.held()[0].tags


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 600), max_size=6), st.integers(0, 3))
def test_requests_cut_anywhere_on_one_connection_are_all_answered(
    shared: tuple[Running, FakeProvider], cuts: list[int], again: int
) -> None:
    """Some take the short way for a head that was seen before, some do not: there is no telling from outside."""
    data = request_bytes(chat(text="cut"), headers=[("x-weighbridge-tag", "task=cut")])
    with connected(shared[0].port) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(again):
            line.sendall(data)
            assert 200 == read_answer(line).status
        places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
        for start, end in pairwise(places):
            line.sendall(data[start:end])
        answer = read_answer(line)
    assert 200 == answer.status
    frames = shared[0].of(answer.headers["x-weighbridge-id"])
    assert "task=cut" == frames[0].slice  # type: ignore[union-attr]


@pytest.mark.promise(29)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400), st.booleans())
def test_no_bytes_bring_it_down_or_make_it_answer_with_an_error_of_its_own(
    shared: tuple[Running, FakeProvider], junk: bytes, behind_a_head: bool
) -> None:
    gateway, _ = shared
    with connected(gateway.port) as line:
        line.sendall((HEAD if behind_a_head else b"") + junk)
        line.shutdown(socket.SHUT_WR)
        try:
            data = line.recv(65536)
        except ConnectionResetError:
            data = b""
    assert not data or data.startswith((b"HTTP/1.1 2", b"HTTP/1.1 4", b"HTTP/1.1 505"))


# --- a head that was seen before --------------------------------------------------------------------------------------


@contextmanager
def on_one_line(gateway: Running) -> Iterator[socket.socket]:
    with connected(gateway.port) as line:
        line.sendall(request_bytes(chat(text="first")))
        assert 200 == read_answer(line).status
        yield line


def test_another_header_on_a_kept_connection_is_noticed(gateway: Running) -> None:
    with on_one_line(gateway) as line:
        line.sendall(request_bytes(chat(), headers=[("x-weighbridge-tag", "task=new")]))
        assert 200 == read_answer(line).status
        line.sendall(request_bytes(chat(), key="other"))
        assert 401 == read_answer(line).status
    assert ["task=none", "task=new"] == [held.slice for held in gateway.held()]


def test_another_length_on_a_kept_connection_is_another_body(gateway: Running, provider: FakeProvider) -> None:
    with on_one_line(gateway) as line:
        for text in ("a", "b" * 5000, "c"):
            line.sendall(request_bytes(chat(text=text)))
            assert 200 == read_answer(line).status
    assert [chat("model-a", text) for text in ("first", "a", "b" * 5000, "c")] == [seen.body for seen in provider.seen]


@pytest.mark.parametrize(
    "length", [b"+%d", b"%d, %d", b"0x%x", b" %d", b"%d_0", b"-%d", b"%d\r\nTransfer-Encoding: chunked"]
)
def test_a_seen_head_with_a_length_of_another_form_gets_no_short_way(gateway: Running, length: bytes) -> None:
    body = chat(text="first")
    data = request_bytes(body)
    number = b"%d" % len(body)
    written = length % ((len(body),) * length.count(b"%"))
    with on_one_line(gateway) as line:
        line.sendall(data.replace(b"Content-Length: " + number, b"Content-Length: " + written))
        answer = read_answer(line)
        # A space before the number is legal; everything else is not.
        assert (200 if length == b" %d" else 400) == answer.status


def test_a_key_that_was_taken_back_does_not_live_on_in_kept_connections(
    gateway: Running, provider: FakeProvider
) -> None:
    with on_one_line(gateway) as line:
        gateway.use(table(provider.url, number=2, keys=()))
        line.sendall(request_bytes(chat(text="first")))
        assert 401 == read_answer(line).status


def test_a_key_that_expired_does_not_live_on_in_kept_connections(gateway: Running, provider: FakeProvider) -> None:
    ends_ns = gateway.gateway.wall_ns() + 3_600_000_000_000
    keys = [Key(name="tests", digest=key_digest(KEY), routes=("*",), expires_ns=ends_ns)]
    gateway.use(table(provider.url, number=2, keys=keys))
    with on_one_line(gateway) as line:
        line.sendall(request_bytes(chat(text="in time")))
        assert 200 == read_answer(line).status
        gateway.gateway.wall_ns = lambda: ends_ns
        gateway.sweep()
        line.sendall(request_bytes(chat(text="too late")))
        assert 401 == read_answer(line).status
    assert 401 == call(gateway.port, chat()).status
