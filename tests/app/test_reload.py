"""Reloading under load: routes, keys and certificates change, and no request or stream notices."""

import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.app.serving import CLIENT_KEY, Serving, ask, serving, write_config
from tests.fakes.provider import FakeProvider, Script
from tests.gateway.running import until
from tests.upstream.tls import Authority

RELOADS = 20


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def reload(file: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "weighbridge", "reload", "--config", str(file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


class Load:
    """Clients that ask again and again, half of them for streams; every answer is looked at."""

    def __init__(self, listen: str, clients: int) -> None:
        self._listen = listen
        self._stop = threading.Event()
        self.answers: list[tuple[int, bool, str | None]] = []
        """(status, whole, route table) of each."""
        self.problems: list[str] = []
        self._threads = [threading.Thread(target=self._ask, args=(at % 2 == 0,)) for at in range(clients)]

    def _ask(self, stream: bool) -> None:
        while not self._stop.is_set():
            try:
                answer = ask(self._listen, stream=stream)
            except (OSError, http.client.HTTPException) as error:
                self.problems.append(repr(error))
                continue
            whole = answer.body.endswith(b"data: [DONE]\n\n") if stream else bool(json.loads(answer.body)["choices"])
            self.answers.append((answer.status, whole, answer.table))

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_no_request_and_no_stream_fails_during_twenty_reloads(tmp_path: Path) -> None:
    slow = Script(text="word " * 40, chunk_delay_s=0.01)
    with FakeProvider(answers={"model-a": slow}) as provider:
        file = write_config(tmp_path, provider.url)
        edit(file, "[server]", "[server]\nworkers = 2")
        edit(file, 'name = "assistant"', 'name = "assistant"\naliases = ["alias-0"]')
        with serving(file) as served, Load(served.listen, clients=6) as load:
            for number in range(1, RELOADS + 1):
                edit(file, f"alias-{number - 1}", f"alias-{number}")
                seen = len(load.answers)
                if number % 2:
                    served.send(signal.SIGHUP)
                    served.until(rf"serve: reloaded: route table {number + 1} is current")
                else:
                    assert 0 == reload(file).returncode
                while len(load.answers) < seen + 3 and not load.problems:
                    threading.Event().wait(0.01)  # each table is used, however fast the reloads are
            served.until(rf"worker 0: route table {RELOADS + 1}")
            served.until(rf"worker 1: route table {RELOADS + 1}")
        tables = {table for _, _, table in load.answers}
    assert [] == load.problems
    assert {(200, True)} == {(status, whole) for status, whole, _ in load.answers}
    assert len(tables) > RELOADS / 2


def test_a_bad_configuration_is_refused_with_an_exit_code_and_the_old_one_goes_on(tmp_path: Path) -> None:
    with FakeProvider() as provider:
        file = write_config(tmp_path, provider.url)
        with serving(file) as served:
            good = file.read_text()
            edit(file, 'incumbent = "incumbent"', 'incumbent = "nobody"')
            refused = reload(file)
            assert (64, True) == (refused.returncode, "route[assistant].incumbent" in refused.stderr)
            file.write_text(good)
            (tmp_path / "app.key").unlink()  # well formed, and still not to be served
            refused = reload(file)
            assert (1, True) == (refused.returncode, "app.key" in refused.stderr)
            answer = ask(served.listen)
            assert (200, "1") == (answer.status, answer.table)
    assert 1 == reload(file).returncode  # nothing serves


# --- TLS towards clients ----------------------------------------------------------------------------------------------


class Secured:
    """A serve over TLS, and clients for it."""

    def __init__(self, served: Serving, authority: Authority) -> None:
        self.served, self.authority = served, authority

    def context(self, certificate: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.authority.file))
        if certificate is not None:
            context.load_cert_chain(*certificate)
        return context

    @contextmanager
    def connected(self, context: ssl.SSLContext | None = None) -> Iterator[http.client.HTTPSConnection]:
        host, _, port = self.served.listen.rpartition(":")
        line = http.client.HTTPSConnection(host, int(port), context=context or self.context(), timeout=30)
        try:
            line.connect()
            yield line
        finally:
            line.close()

    def serial(self) -> str:
        with self.connected() as line:
            shown = line.sock.getpeercert()
            assert shown
            return str(shown["serialNumber"])


def asked(line: http.client.HTTPSConnection, *, stream: bool = False) -> http.client.HTTPResponse:
    body = {"model": "assistant", "messages": [{"role": "user", "content": "hello"}], "stream": stream}
    line.request("POST", "/v1/chat/completions", json.dumps(body), {"authorization": f"Bearer {CLIENT_KEY}"})
    return line.getresponse()


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


@contextmanager
def secured(tmp_path: Path, provider: FakeProvider, more: str = "") -> Iterator[Secured]:
    authority = Authority(tmp_path)
    authority.issue("gateway")
    file = write_config(tmp_path, provider.url)
    edit(file, "[server]", f'[server]\ntls_cert = "gateway.crt"\ntls_key = "gateway.key"\n{more}')
    with serving(file) as served:
        yield Secured(served, authority)


def test_clients_are_served_over_tls_and_told_so(tmp_path: Path, provider: FakeProvider) -> None:
    with secured(tmp_path, provider) as it:
        it.served.until(r"OPENAI_BASE_URL=https://127\.0\.0\.1")
        with it.connected() as line:
            answer = asked(line)
            assert (200, True) == (answer.status, bool(answer.read()))
            assert asked(line, stream=True).read().endswith(b"data: [DONE]\n\n")
        with pytest.raises((OSError, http.client.HTTPException)):
            ask(it.served.listen)  # in the clear


def test_a_renewed_certificate_is_used_after_sighup_and_open_streams_go_on(
    tmp_path: Path, provider: FakeProvider
) -> None:
    provider.answers["model-a"] = Script(text="word " * 100, chunk_delay_s=0.02)
    with secured(tmp_path, provider) as it, it.connected() as line:
        before = it.serial()
        running = asked(line, stream=True)
        it.authority.issue("gateway")
        it.served.send(signal.SIGHUP)
        it.served.until("new connections get the renewed certificate")
        renewed = it.serial()
        assert before != renewed
        assert running.read().endswith(b"data: [DONE]\n\n")

        (tmp_path / "gateway.key").write_text("this is no key")
        it.served.send(signal.SIGHUP)
        it.served.until("going on with the certificate in use: cannot listen with TLS: tls_cert")
        assert renewed == it.serial()


def test_clients_must_show_a_certificate_where_an_authority_for_them_is_set(
    tmp_path: Path, provider: FakeProvider
) -> None:
    with secured(tmp_path, provider, 'tls_client_ca = "authority.pem"\n') as it:
        with it.connected(it.context(it.authority.issue("client"))) as line:
            assert 200 == asked(line).status
        other = Authority(tmp_path, "other").issue("stranger")
        for certificate in (None, other):
            with (
                pytest.raises((OSError, http.client.HTTPException)),
                it.connected(it.context(certificate)) as line,
            ):
                asked(line)
        assert 1 == len(provider.seen)


def test_commands_of_this_machine_reach_a_gateway_with_tls_and_keys_do_not_pass_there(
    tmp_path: Path, provider: FakeProvider
) -> None:
    from weighbridge.store.control import Ping, Pong

    with secured(tmp_path, provider, 'tls_client_ca = "authority.pem"\n') as it:
        it.served.until("route assistant: ")
        with it.served.control() as control:
            # The worker serves before the keeper has heard its hello.
            local = until(lambda: control.call(Ping(), Pong).local, lambda found: found is not None, 60)
        assert local is not None
        refused = ask(local)
        assert (403, "tls_required") == (refused.status, json.loads(refused.body)["error"]["code"])
    assert [] == provider.seen


def test_a_certificate_that_cannot_be_used_is_named_at_the_start(tmp_path: Path, provider: FakeProvider) -> None:
    file = write_config(tmp_path, provider.url)
    edit(file, "[server]", '[server]\ntls_cert = "missing.crt"')
    ended = subprocess.run(
        [sys.executable, "-m", "weighbridge", "serve", "--config", str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ},
        check=False,
    )
    assert 1 == ended.returncode
    assert "missing.crt" in ended.stderr
    assert "Traceback" not in ended.stderr
