"""The one-call client against a real server: answers, pooling, faults, addresses, TLS."""

import asyncio
import json
import socket
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.fakes.provider import FakeProvider, Script
from tests.upstream.tls import server_context
from weighbridge.upstream import Broken, Client, Reply, TlsFiles, Unreachable

T = TypeVar("T")
PATH = "/chat/completions"
HEADERS = [(b"content-type", b"application/json"), (b"authorization", b"Bearer x")]


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(coroutine)


def body(model: str = "m", **more: Any) -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}], **more}).encode()


async def one(url: str, sent: bytes | None = None, *, timeout_s: float = 10, **how: Any) -> Reply:
    async with Client(url, **how) as client:
        return await client.post(PATH, HEADERS, sent if sent is not None else body(), timeout_s)


def test_a_call_returns_status_headers_and_body_below_the_prefix_of_the_base_url(provider: FakeProvider) -> None:
    reply = run(one(provider.url))
    assert 200 == reply.status
    assert "Hello from the fake." == json.loads(reply.body)["choices"][0]["message"]["content"]
    assert b"application/json" == reply.header(b"content-type")
    assert "/v1/chat/completions" == provider.seen[0].path
    assert "Bearer x" == provider.seen[0].header("authorization")
    assert f"127.0.0.1:{provider.port}" == provider.seen[0].header("host")
    assert "identity" == provider.seen[0].header("accept-encoding")


def test_a_stream_comes_back_as_its_bytes(provider: FakeProvider) -> None:
    reply = run(one(provider.url, body(stream=True)))
    assert reply.body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_an_error_status_is_an_answer_like_another(provider: FakeProvider, status: int) -> None:
    provider.answers["m"] = Script(status=status, headers=[("retry-after", "7")])
    reply = run(one(provider.url))
    assert (status, b"7") == (reply.status, reply.header(b"retry-after"))


def test_get_is_there_too(provider: FakeProvider) -> None:
    async def get() -> Reply:
        async with Client(provider.url) as client:
            return await client.get("/models", HEADERS, 5)

    assert 200 == run(get()).status


def test_connections_are_kept_and_used_again(provider: FakeProvider) -> None:
    async def many() -> None:
        async with Client(provider.url) as client:
            for _ in range(20):
                await client.post(PATH, HEADERS, body(), 5)

    run(many())
    assert 1 == provider.connections


def test_no_more_connections_are_open_than_allowed(provider: FakeProvider) -> None:
    provider.answers["m"] = Script(delay_s=0.05)

    async def many() -> None:
        async with Client(provider.url, connections_max=3) as client:
            await asyncio.gather(*(client.post(PATH, HEADERS, body(), 10) for _ in range(12)))

    run(many())
    assert 12 == len(provider.bill)
    assert 3 == provider.connections


def test_a_kept_connection_that_the_server_has_closed_is_replaced_unseen(provider: FakeProvider) -> None:
    async def twice() -> list[int]:
        async with Client(provider.url) as client:
            first = await client.post(PATH, HEADERS, body(), 5)
            provider.close_connections()
            second = await client.post(PATH, HEADERS, body(), 5)
            return [first.status, second.status]

    assert [200, 200] == run(twice())


@pytest.mark.parametrize(
    "script",
    [
        Script(cut_after=20),
        Script(raw=b""),
        Script(raw=b"HTTP/1.1 200 OK\r\n"),
        Script(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"),
        Script(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
        Script(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
        Script(raw=b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
        Script(raw=b"SSH-2.0-x\r\n"),
    ],
)
def test_an_answer_that_is_not_whole_is_broken_never_short(provider: FakeProvider, script: Script) -> None:
    provider.answers["m"] = script
    with pytest.raises(Broken):
        run(one(provider.url))


def test_an_answer_that_ends_with_its_connection_is_whole(provider: FakeProvider) -> None:
    provider.answers["m"] = Script(framing="close", text="long " * 1000)
    assert run(one(provider.url)).body.endswith(b"}")


def test_interim_answers_are_skipped(provider: FakeProvider) -> None:
    provider.answers["m"] = Script(
        raw=b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nlink: x\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    )
    reply = run(one(provider.url))
    assert (200, b"ok", None) == (reply.status, reply.body, reply.header(b"link"))


def test_a_second_answer_is_thrown_away_with_its_connection(provider: FakeProvider) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    provider.answers["m"] = Script(raw=answer + b"ok" + answer + b"no")

    async def twice() -> list[bytes]:
        async with Client(provider.url) as client:
            return [(await client.post(PATH, HEADERS, body(), 5)).body for _ in range(2)]

    assert [b"ok", b"ok"] == run(twice())
    assert 2 == provider.connections


def test_an_answer_over_the_limit_is_refused(provider: FakeProvider) -> None:
    provider.answers["m"] = Script(text="x" * 100_000)
    with pytest.raises(Broken, match="larger than 50000 bytes"):
        run(one(provider.url, response_bytes_max=50_000))


def test_a_server_that_never_answers_ends_in_a_timeout(provider: FakeProvider) -> None:
    provider.answers["m"] = Script(hang=True)
    with pytest.raises(TimeoutError):
        run(one(provider.url, timeout_s=0.1))


def test_a_call_that_timed_out_leaves_no_connection_to_be_used_again(provider: FakeProvider) -> None:
    provider.answers["slow"] = Script(delay_s=0.3)

    async def twice() -> bytes:
        async with Client(provider.url) as client:
            with pytest.raises(TimeoutError):
                await client.post(PATH, HEADERS, body("slow"), 0.05)
            return (await client.post(PATH, HEADERS, body("m"), 5)).body

    assert "m" == json.loads(run(twice()))["model"]


def test_a_header_cannot_smuggle_a_line(provider: FakeProvider) -> None:
    async def bad(headers: list[tuple[bytes, bytes]], path: str = PATH) -> None:
        async with Client(provider.url) as client:
            await client.post(path, headers, b"{}", 5)

    for headers, path in (([(b"x", b"a\r\nb: c")], PATH), ([(b"x\n", b"a")], PATH), ([], "/a HTTP/1.1\r\nx: y")):
        with pytest.raises(ValueError, match="line break"):
            run(bad(headers, path))
    assert [] == provider.seen


# --- addresses --------------------------------------------------------------------------------------------------------


def test_a_closed_port_is_unreachable_and_says_where() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(Unreachable, match=f"cannot connect to 127.0.0.1:{port}") as caught:
            run(one(f"http://127.0.0.1:{port}/v1"))
    assert "connect" == caught.value.why


def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    with pytest.raises(Unreachable, match="does not resolve") as caught:
        run(one("http://no-such-host.invalid/v1"))
    assert "name" == caught.value.why


def test_a_name_that_leads_inside_is_refused_though_it_resolves(provider: FakeProvider) -> None:
    """`localhost` stands for any name here: without the permission of having been written as one, it is guarded."""
    with pytest.raises(Unreachable, match=r"'localhost' resolves to .* loopback address") as caught:
        run(one(f"http://localhost:{provider.port}/v1", address_is_own=False))
    assert "address" == caught.value.why
    assert 0 == provider.connections


def test_a_name_is_resolved_once_for_a_connection(provider: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second look-up could give another address than the one that was checked (DNS rebinding)."""
    asked: list[str] = []

    async def call() -> None:
        loop = asyncio.get_running_loop()
        real = loop.getaddrinfo

        async def counted(host: Any, port: Any, **how: Any) -> Any:
            asked.append(host)
            return await real("127.0.0.1", port, **how)

        monkeypatch.setattr(loop, "getaddrinfo", counted)
        await one(f"http://provider.test:{provider.port}/v1", address_is_own=True)

    run(call())
    assert ["provider.test"] == [host for host in asked if host != "127.0.0.1"]
    assert f"provider.test:{provider.port}" == provider.seen[0].header("host")


def test_localhost_in_the_configuration_is_its_own_permission(provider: FakeProvider) -> None:
    assert 200 == run(one(f"http://localhost:{provider.port}/v1")).status


# --- TLS --------------------------------------------------------------------------------------------------------------


def test_tls_with_an_authority_of_ones_own(tmp_path: Path) -> None:
    context, trusted = server_context(tmp_path)
    with FakeProvider(tls=context, host="localhost") as provider:
        assert 200 == run(one(provider.url, tls=TlsFiles(ca_file=str(trusted)))).status
        assert 200 == run(one(provider.url, body(stream=True), tls=TlsFiles(ca_file=str(trusted)))).status


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    context, _ = server_context(tmp_path)
    with FakeProvider(tls=context, host="localhost") as provider:
        with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED") as caught:
            run(one(provider.url))
        assert "tls" == caught.value.why
        assert [] == provider.seen


def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    context, trusted = server_context(tmp_path, "elsewhere.example")
    with FakeProvider(tls=context, host="localhost") as provider, pytest.raises(Unreachable):
        run(one(provider.url, tls=TlsFiles(ca_file=str(trusted))))


@pytest.mark.parametrize("abrupt", [False, True])
def test_over_tls_an_answer_without_length_is_whole_only_after_a_proper_close(tmp_path: Path, abrupt: bool) -> None:
    """Otherwise anybody on the line could shorten it."""
    context, trusted = server_context(tmp_path)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\npart one, ")
        await writer.drain()
        if abrupt:
            writer.transport.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        else:
            writer.write(b"part two")
            writer.close()

    async def call() -> Reply:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        async with server:
            return await one(f"https://localhost:{port}", tls=TlsFiles(ca_file=str(trusted)))

    if abrupt:
        with pytest.raises(Broken):
            run(call())
    else:
        assert b"part one, part two" == run(call()).body


def test_a_file_of_authorities_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ca_file .*missing.pem"):
        Client("https://host/v1", tls=TlsFiles(ca_file=str(tmp_path / "missing.pem")))
