"""TLS to the provider: JSON and streams, an authority of one's own, and an end that somebody on the line made."""

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from tests.fakes.provider import FakeProvider, Script
from tests.gateway.running import Running, call, chat, endpoint, table
from tests.upstream.tls import Authority, server_context
from weighbridge.records.table import Limits


def test_requests_and_streams_over_tls_on_one_connection(tmp_path: Path) -> None:
    context, trusted = server_context(tmp_path)
    with FakeProvider(tls=context, host="localhost") as provider:
        route_table = table("", endpoints=[endpoint(provider.url, ca_file=str(trusted))])
        with Running(tmp_path / "store", route_table) as gateway:
            provider.answers["model-a"] = Script(text="word " * 2000)
            assert 200 == call(gateway.port, chat()).status
            answer = call(gateway.port, chat(stream=True))
            assert answer.whole
            assert answer.body.endswith(b"data: [DONE]\n\n")
            assert ["ok", "ok"] == [row.outcome for row in gateway.finished(2)]
        assert 1 == provider.connections


def test_a_certificate_that_nobody_vouches_for_is_a_502_with_the_reason(tmp_path: Path) -> None:
    context, _ = server_context(tmp_path)
    with FakeProvider(tls=context, host="localhost") as provider:
        with Running(tmp_path / "store", table("", endpoints=[endpoint(provider.url)])) as gateway:
            answer = call(gateway.port, chat())
        assert (502, "upstream_unreachable") == (answer.status, answer.error["code"])
        assert "CERTIFICATE_VERIFY_FAILED" in answer.error["message"]
        assert [] == provider.seen


def test_a_server_that_never_shakes_hands_is_given_up(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/v1"
        limits = Limits(connect_s_max=0.3)
        with Running(tmp_path, table("", endpoints=[endpoint(url)], limits=limits)) as gateway:
            answer = call(gateway.port, chat())
    assert (504, "upstream_unreachable") == (answer.status, answer.error["code"])
    assert "within 0.3 s" in answer.error["message"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("abrupt", [False, True])
def test_an_answer_without_length_is_whole_only_after_a_proper_close(
    tmp_path: Path, stream: bool, abrupt: bool
) -> None:
    from tests.gateway.test_errors import ServerThread

    context, trusted = server_context(tmp_path)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]))
        kind = b"text/event-stream" if stream else b"application/json"
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n\r\ndata: {}\n\n" % kind)
        await writer.drain()
        if abrupt:
            writer.transport.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        writer.close()

    with ServerThread(answer, tls=context) as server:
        url = f"https://localhost:{server.port}/v1"
        route_table = table("", endpoints=[endpoint(url, ca_file=str(trusted))])
        with Running(tmp_path / "store", route_table) as gateway:
            got = call(gateway.port, chat(stream=stream))
            (finished,) = gateway.finished()
    if abrupt:
        assert "upstream_cut" == finished.outcome
        assert not got.whole if stream else got.status == 502
    else:
        assert "ok" == finished.outcome
        assert got.whole
        assert b"data: {}\n\n" == got.body


def test_a_ca_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    endpoints = [endpoint("https://127.0.0.1:1/v1", ca_file=str(tmp_path / "missing.pem"))]
    with Running(tmp_path, table("", endpoints=endpoints)) as gateway:
        answer = call(gateway.port, chat())
    assert (503, "endpoint_not_usable") == (answer.status, answer.error["code"])
    assert "missing.pem" in answer.error["message"]


def asking_for_certificates(authority: Authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("localhost"))
    context.load_verify_locations(authority.file)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def test_a_client_certificate_is_shown_to_the_endpoint_that_has_one_configured(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, private = authority.issue("gateway")
    with FakeProvider(tls=asking_for_certificates(authority), host="localhost") as provider:
        files = {"ca_file": str(authority.file), "client_cert": str(certificate), "client_key": str(private)}
        with Running(tmp_path / "store", table("", endpoints=[endpoint(provider.url, **files)])) as gateway:
            assert 200 == call(gateway.port, chat()).status
            without = endpoint(provider.url, ca_file=str(authority.file))
            gateway.use(table("", number=2, endpoints=[without]))
            assert 502 == call(gateway.port, chat()).status
        assert 1 == len(provider.seen)


def test_an_authority_of_ones_own_stands_in_place_of_the_systems(tmp_path: Path) -> None:
    mine, other = Authority(tmp_path), Authority(tmp_path, "other")
    with FakeProvider(tls=asking_for_certificates(mine), host="localhost") as provider:
        files = {"ca_file": str(other.file)}
        with Running(tmp_path / "store", table("", endpoints=[endpoint(provider.url, **files)])) as gateway:
            answer = call(gateway.port, chat())
    assert "CERTIFICATE_VERIFY_FAILED" in answer.error["message"]


def test_a_key_of_another_certificate_is_said(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, _ = authority.issue("one")
    _, private = authority.issue("two")
    files = {"client_cert": str(certificate), "client_key": str(private)}
    with Running(tmp_path / "store", table("", endpoints=[endpoint("https://127.0.0.1:1/v1", **files)])) as gateway:
        answer = call(gateway.port, chat())
    assert 503 == answer.status
    assert "client_cert" in answer.error["message"]
    assert "KEY_VALUES_MISMATCH" in answer.error["message"]
