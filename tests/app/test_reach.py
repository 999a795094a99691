"""How commands reach a keeper or a gateway: the running one, or one of their own that is gone afterwards."""

import http.client
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.serving import ask, gone, serving, write_config
from tests.fakes.provider import FakeProvider
from weighbridge.app import gateway_of, keeper_of
from weighbridge.config import Loaded, load
from weighbridge.errors import ConfigError, WeighbridgeError
from weighbridge.records.trial import ITEM_HEADER, TOKEN_HEADER
from weighbridge.store.control import ControlClient, IssueToken, ObjectRow, Ping, Pong, PutObject, TokenText
from weighbridge.store.layout import Layout


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


@pytest.fixture
def file(tmp_path: Path, provider: FakeProvider) -> Path:
    return write_config(tmp_path, provider.url)


@pytest.fixture
def loaded(file: Path) -> Loaded:
    return load(file)


def pid_of(control: ControlClient) -> int:
    return control.call(Ping(), Pong).pid


def listen_of(base_url: str) -> str:
    return base_url.removeprefix("http://").removesuffix("/v1")


def test_a_temporary_keeper_does_the_work_and_is_gone_afterwards(loaded: Loaded) -> None:
    with keeper_of(loaded) as control:
        pid = pid_of(control)
        row = control.call(PutObject(kind="gold", label="x", body=b"{}"), ObjectRow)
    assert gone(pid)
    layout = Layout(loaded.store_path)
    assert layout.object(row.digest).read_bytes() == b"{}"
    assert not layout.control.exists()


def test_the_running_keeper_is_used_and_goes_on(file: Path, loaded: Loaded) -> None:
    with serving(file) as served:
        with keeper_of(loaded) as control:
            assert pid_of(control) == served.keeper_pid()
        with gateway_of(loaded) as gateway:
            assert not gateway.temporary
            assert listen_of(gateway.base_url) == served.listen
        assert ask(served.listen).status == 200


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt()])
def test_a_temporary_keeper_is_gone_also_after_an_error_or_ctrl_c(loaded: Loaded, error: BaseException) -> None:
    pids: list[int] = []

    def command() -> None:
        with keeper_of(loaded) as control:
            pids.append(pid_of(control))
            raise error

    with pytest.raises(type(error)):
        command()
    assert gone(pids[0])


def test_a_temporary_gateway_serves_a_trial_without_any_client_key(file: Path, provider: FakeProvider) -> None:
    (file.parent / "app.key").unlink()
    loaded = load(file)
    with gateway_of(loaded) as gateway:
        assert gateway.temporary
        assert any("client key 'app' is left out" in warning for warning in gateway.warnings)
        token = gateway.control.call(
            IssueToken(trial="t-1", route="assistant", arm="candidate", budget_nanousd=None), TokenText
        )
        listen = listen_of(gateway.base_url)
        connection = http.client.HTTPConnection(listen, timeout=30)
        headers = {TOKEN_HEADER: token.text, ITEM_HEADER: "0194f0c1a2b3abcd-1"}
        body = '{"model":"assistant","messages":[{"role":"user","content":"hello"}]}'
        connection.request("POST", "/v1/chat/completions", body, headers)
        assert connection.getresponse().status == 200
        connection.close()
        assert provider.bill[0].model == "model-b"
        pid = pid_of(gateway.control)
    assert gone(pid)
    with pytest.raises(OSError, match="refused"):
        ask(listen)


def test_a_temporary_gateway_takes_no_request_without_a_token(loaded: Loaded) -> None:
    with gateway_of(loaded) as gateway:
        assert ask(listen_of(gateway.base_url), key="wrong").status == 401


def test_a_configuration_that_cannot_be_published_is_an_error_and_leaves_nothing(file: Path) -> None:
    file.write_text(file.read_text().replace('name = "app"', 'name = "trial"'))
    loaded = load(file)
    with pytest.raises(WeighbridgeError, match=r"key\[trial\]") as caught, gateway_of(loaded):
        pass
    assert caught.value.exit_code == ConfigError.exit_code
    assert not Layout(loaded.store_path).control.exists()


def test_two_commands_share_one_temporary_gateway_and_the_last_one_ends_it(loaded: Loaded) -> None:
    entered, leave = threading.Event(), threading.Event()

    def first_command() -> None:
        with gateway_of(loaded) as gateway:
            assert gateway.temporary
            entered.set()
            leave.wait(30)

    first = threading.Thread(target=first_command)
    first.start()
    assert entered.wait(30)
    with gateway_of(loaded) as second:
        assert not second.temporary
        pid = pid_of(second.control)
        leave.set()
        listen = listen_of(second.base_url)
        for _ in range(10):
            assert ask(listen).status == 200
    first.join(30)
    assert not first.is_alive()
    assert gone(pid)


def test_commands_that_start_at_the_same_time_wait_for_each_other(loaded: Loaded) -> None:
    rows: list[str] = []

    def command(number: int) -> None:
        with keeper_of(loaded) as control:
            rows.append(control.call(PutObject(kind="gold", label="x", body=b"%d" % number), ObjectRow).digest)

    commands = [threading.Thread(target=command, args=(number,)) for number in range(4)]
    for one in commands:
        one.start()
    for one in commands:
        one.join(60)
    assert len(set(rows)) == 4


COMMAND = """
import sys, time
from weighbridge.app import gateway_of
from weighbridge.config import load
from weighbridge.store.control import Ping, Pong
with gateway_of(load(sys.argv[1])) as gateway:
    print(gateway.control.call(Ping(), Pong).pid, gateway.base_url, flush=True)
    time.sleep(60)
"""


def test_when_a_command_is_killed_its_temporary_gateway_ends(file: Path) -> None:
    command = subprocess.Popen([sys.executable, "-c", COMMAND, str(file)], stdout=subprocess.PIPE, text=True)
    assert command.stdout is not None
    pid = int(command.stdout.readline().split()[0])
    os.kill(command.pid, signal.SIGKILL)
    command.wait()
    assert gone(pid)
    with keeper_of(load(file)) as control:
        assert control.call(Ping(), Pong).workers == 0
