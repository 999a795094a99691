"""Proxies from the environment: a tunnel, TLS inside it, and nothing less guarded than without."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.provider import FakeProvider, Script
from tests.fakes.proxy import FakeProxy
from tests.gateway.running import Running, call, chat, table
from tests.upstream.tls import Authority
from weighbridge.config.proxies import proxy_for
from weighbridge.records.table import Endpoint
from weighbridge.upstream import Proxy

NAME = "models.example"
"""Resolves nowhere: only the proxy knows where it is."""


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[FakeProvider]:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*Authority(tmp_path).issue(NAME))
    with FakeProvider(tls=context) as running:
        yield running


def endpoint(tmp_path: Path, url: str = f"https://{NAME}/v1", **more: Any) -> Endpoint:
    return Endpoint(name="fake", dialect="openai", base_url=url, ca_file=str(tmp_path / "authority.pem"), **more)


def test_a_call_goes_through_the_tunnel_and_the_proxy_reads_no_prompt(
    tmp_path: Path, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeProxy(user="me:p%ss", reach={NAME: ("127.0.0.1", provider.port)}) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:p%25ss@127.0.0.1:{proxy.port}")
        with Running(tmp_path / "store", table("", endpoints=[endpoint(tmp_path)])) as gateway:
            assert 200 == call(gateway.port, chat(text="the prompt")).status
            provider.answers["model-a"] = Script(text="word " * 500)
            assert call(gateway.port, chat(text="the prompt", stream=True)).whole
        assert [f"CONNECT {NAME}:443"] == proxy.asked  # the tunnel is kept, too
        assert proxy.carried
        assert b"the prompt" not in proxy.carried
    assert [NAME] == list({row.header("host") for row in provider.seen})
    assert [None] == list({row.header("proxy-authorization") for row in provider.seen})


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"user": "me:other"}, "answered 407; check user and password"),
        ({"answer": b"HTTP/1.1 403 Forbidden\r\n\r\n"}, "answered 403"),
        ({"answer": b"SSH-2.0-nope\r\n\r\n"}, "is not HTTP"),
        ({"answer": b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK"}, "bytes of its own"),
        ({"answer": b"HTTP/1.1 200 OK\r\n"}, "closed the connection"),
        ({"answer": b"HTTP/1.1 200 OK\r\nx: " + b"x" * 20_000}, "larger than"),
    ],
)
def test_a_proxy_that_opens_no_tunnel_is_a_502_that_says_so_without_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any], says: str
) -> None:
    Authority(tmp_path)
    with FakeProxy(**how) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:hidden@127.0.0.1:{proxy.port}")
        with Running(tmp_path / "store", table("", endpoints=[endpoint(tmp_path)])) as gateway:
            answer = call(gateway.port, chat())
    assert (502, "upstream_unreachable") == (answer.status, answer.error["code"])
    assert says in answer.error["message"]
    assert "hidden" not in answer.body.decode()


def test_the_certificate_is_the_providers_also_through_a_proxy(
    tmp_path: Path, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = f"https://other.{NAME}/v1"
    with FakeProxy(reach={f"other.{NAME}": ("127.0.0.1", provider.port)}) as proxy:
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        with Running(tmp_path / "store", table("", endpoints=[endpoint(tmp_path, other)])) as gateway:
            answer = call(gateway.port, chat())
    assert 502 == answer.status
    assert "CERTIFICATE_VERIFY_FAILED" in answer.error["message"]
    assert [] == provider.seen


def test_a_name_that_leads_inside_is_refused_before_the_proxy_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Authority(tmp_path)
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        return real("169.254.169.254" if host == NAME else host, port, *rest, **more)

    from weighbridge.upstream import dialer

    async def resolved(host: str, port: int) -> Any:
        import asyncio

        return await asyncio.to_thread(resolve, host, port, type=socket.SOCK_STREAM)

    monkeypatch.setattr(dialer, "_resolved", resolved)
    with FakeProxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with Running(tmp_path / "store", table("", endpoints=[endpoint(tmp_path)])) as gateway:
            answer = call(gateway.port, chat())
        assert [] == proxy.asked
    assert "link-local (cloud metadata)" in answer.error["message"]


def test_this_machine_is_never_asked_for_through_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeProvider() as here, FakeProxy() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        with Running(tmp_path, table(here.url)) as gateway:
            assert 200 == call(gateway.port, chat()).status
        assert [] == proxy.asked


@pytest.mark.parametrize(
    ("environment", "url", "expected"),
    [
        ({}, "https://a.example", None),
        ({"HTTPS_PROXY": "http://p:1"}, "https://a.example", "http://p:1"),
        ({"https_proxy": "http://p:1"}, "https://a.example", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1"}, "http://a.example", None),
        ({"HTTP_PROXY": "http://p:1"}, "http://a.example", "http://p:1"),
        ({"HTTP_PROXY": "http://p:1", "REQUEST_METHOD": "GET"}, "http://a.example", None),
        ({"ALL_PROXY": "http://p:1"}, "https://a.example", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "a.example"}, "https://a.example", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": ".example"}, "https://a.example:8443", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "a.example"}, "https://ba.example", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, "https://a.example", None),
        ({"HTTPS_PROXY": ""}, "https://a.example", None),
        ({"HTTPS_PROXY": "http://p:1"}, "https://localhost:8443", None),
        ({"HTTPS_PROXY": "http://p:1"}, "https://[::1]:8443", None),
        ({"HTTPS_PROXY": "http://p:1"}, "https://10.0.0.1", "http://p:1"),
    ],
)
def test_the_variables_mean_what_they_mean_elsewhere(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], url: str, expected: str | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert expected == proxy_for(url)


@pytest.mark.parametrize("text", ["socks5://u:hidden@p:1", "https://u:hidden@p:1", "http://u:hidden@p:xx", "http://"])
def test_a_proxy_that_is_not_understood_is_said_without_its_password(text: str) -> None:
    with pytest.raises(ValueError, match="proxy") as refused:
        Proxy.parse(text)
    assert "hidden" not in str(refused.value)
    assert "hidden" not in repr(Proxy.parse("http://u:hidden@p:1"))
