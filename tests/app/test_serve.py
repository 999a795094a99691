"""`weighbridge serve`: what it says, how it drains, and that the death of any one process mends itself."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.app.serving import Serving, ask, gone, serving, write_config
from tests.fakes.provider import FakeProvider, Script
from weighbridge.exchanges.chain import fingerprint, public_key
from weighbridge.store.control import Ping, Pong


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


@pytest.fixture
def file(tmp_path: Path, provider: FakeProvider) -> Path:
    return write_config(tmp_path, provider.url)


@pytest.fixture
def served(file: Path) -> Iterator[Serving]:
    with serving(file) as started:
        yield started


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def refused(file: Path, environment: dict[str, str] | None = None) -> tuple[int, str]:
    """The exit code and the last line of a serve that cannot start."""
    ended = subprocess.run(
        [sys.executable, "-m", "weighbridge", "serve", "--config", str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **(environment or {})},
    )
    assert "Traceback" not in ended.stderr
    return ended.returncode, ended.stderr.splitlines()[-1]


def test_it_says_where_to_point_clients_what_goes_where_and_what_is_kept(served: Serving) -> None:
    served.until(rf"OPENAI_BASE_URL=http://{served.listen}/v1")
    served.until(r"route assistant: to incumbent \(model-a at 127\.0\.0\.1:\d+\); trials may ask candidate")
    served.until(r"client keys: app")
    served.until(r"captured: prompts and answers for 'tests', approved by tests, secrets redacted.*keys/master\.key")


def test_it_names_the_key_that_the_log_is_signed_with_and_says_when_it_is_not_the_one_it_was(
    served: Serving, file: Path
) -> None:
    first = fingerprint(public_key(served.layout))
    assert served.until(r"the log is signed with key (SHA256:\S+);")[1] == first
    served.end()
    for path in (served.layout.signing_key, served.layout.signing_public):
        path.unlink()
    with serving(file) as other:
        second = fingerprint(public_key(served.layout))
        assert second != first
        assert other.until(r"the log is signed with key (SHA256:\S+);")[1] == second
        assert other.until(r"note: the signing key of \S+ is (SHA256:\S+), but (SHA256:\S+) is").groups() == (
            second,
            first,
        )


def test_a_request_goes_through(served: Serving, provider: FakeProvider) -> None:
    answer = ask(served.listen)
    assert answer.status == 200
    assert answer.id is not None
    assert len(provider.bill) == 1


def test_the_admin_pages_count_requests_and_tell_health(served: Serving) -> None:
    for _ in range(3):
        ask(served.listen)
    assert served.metric("weighbridge_requests_total", outcome="ok") == 3
    status, health = served.page("/healthz")
    assert status == 200
    assert '"status": "ok"' in health
    assert served.page("/nope")[0] == 404


def test_sigterm_lets_a_running_request_finish(served: Serving, provider: FakeProvider) -> None:
    provider.answers["model-a"] = Script(delay_s=1.0)
    with ThreadPoolExecutor() as pool:
        running = pool.submit(ask, served.listen)
        while not provider.seen:
            pass
        assert served.end() == 0
        assert running.result().status == 200
    assert served.log[-1].endswith("serve: stopped")


def test_a_second_signal_does_not_wait_for_a_running_request(served: Serving, provider: FakeProvider) -> None:
    provider.answers["model-a"] = Script(hang=True)
    client = threading.Thread(target=_ignore_the_end, args=(served.listen,))
    client.start()
    while not provider.seen:
        pass
    served.send(signal.SIGINT)
    served.until("stopping: open requests may finish")
    assert served.end(signal.SIGINT) == 0
    client.join()


def _ignore_the_end(listen: str) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        ask(listen)


def test_a_signal_before_it_is_ready_ends_it_without_leftovers(file: Path) -> None:
    started = Serving(file)
    while not any(started.children().values()):
        assert started.process.poll() is None
    children = [pid for pids in started.children().values() for pid in pids]
    assert started.end() == 0
    assert all(gone(pid) for pid in children)


def test_nothing_is_left_behind_after_the_end(served: Serving) -> None:
    pids = [served.keeper_pid(), *served.worker_pids()]
    assert served.end() == 0
    assert all(gone(pid) for pid in pids)
    assert not served.layout.control.exists()


# --- deaths -----------------------------------------------------------------------------------------------------------


def test_a_killed_worker_is_replaced_and_counters_do_not_go_back(served: Serving) -> None:
    for _ in range(4):
        ask(served.listen)
    assert served.metric("weighbridge_requests_total") == 4
    os.kill(served.worker_pids()[0], signal.SIGKILL)
    served.until(r"worker 0 \(pid \d+\) was ended by signal 9 \(SIGKILL\)")
    served.until("worker 0 is back")
    ask(served.listen)
    assert served.metric("weighbridge_requests_total") == 5
    assert served.metric("weighbridge_worker_restarts_total") == 1


def test_with_two_workers_one_goes_on_while_the_other_is_replaced(file: Path) -> None:
    edit(file, "[capture]", "[capture]\n")
    edit(file, "[server]", "[server]\nworkers = 2")
    with serving(file) as served:
        os.kill(served.worker_pids()[0], signal.SIGKILL)
        served.until("was ended by signal 9")
        for _ in range(5):
            assert ask(served.listen).status == 200
        served.until("is back")
        assert served.metric("weighbridge_workers") == 2


def test_a_killed_keeper_is_replaced_while_workers_go_on(served: Serving, file: Path) -> None:
    os.kill(served.keeper_pid(), signal.SIGKILL)
    served.until(r"the keeper \(pid \d+\) was ended by signal 9")
    assert ask(served.listen).status == 200
    served.until("the keeper is back")
    assert served.metric("weighbridge_keeper_up") == 1
    while _workers(served) < 1:
        pass  # the worker says hello again by itself
    edit(file, 'name = "assistant"', 'name = "assistant"\naliases = ["other"]')
    served.send(signal.SIGHUP)
    served.until("reloaded: route table 2 is current")
    served.until("worker 0: route table 2")
    assert ask(served.listen, model="other").table == "2"


def test_a_keeper_comes_back_also_while_the_configuration_file_is_being_edited(served: Serving, file: Path) -> None:
    good = file.read_text()
    file.write_text(good + "\n[[route]")
    os.kill(served.keeper_pid(), signal.SIGKILL)
    served.until("the keeper is back")
    with served.control() as control:
        assert control.call(Ping(), Pong).table == 1


def _workers(served: Serving) -> int:
    with served.control() as control:
        return control.call(Ping(), Pong).workers


def test_when_the_supervisor_is_killed_its_children_end_and_the_next_one_starts_at_once(file: Path) -> None:
    port = _free_port()
    edit(file, '[server]\nlisten = "127.0.0.1:0"', f'[server]\nlisten = "127.0.0.1:{port}"')
    with serving(file) as first:
        pids = [first.keeper_pid(), *first.worker_pids()]
        first.end(signal.SIGKILL)
        with serving(file) as second:
            assert ask(second.listen).status == 200
            assert all(gone(pid) for pid in pids)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- reload -----------------------------------------------------------------------------------------------------------


def test_sighup_publishes_and_a_bad_configuration_changes_nothing(served: Serving, file: Path) -> None:
    assert ask(served.listen, model="other").status == 404
    edit(file, 'name = "assistant"', 'name = "assistant"\naliases = ["other"]')
    served.send(signal.SIGHUP)
    served.until("worker 0: route table 2")
    assert ask(served.listen, model="other").status == 200
    edit(file, 'incumbent = "incumbent"', 'incumbent = "nobody"')
    served.send(signal.SIGHUP)
    served.until(r"not reloaded, everything stays as it was: .*route\[assistant\]\.incumbent")
    assert ask(served.listen, model="other").table == "2"


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_a_second_instance_is_refused_and_says_where_the_first_one_is(served: Serving, file: Path) -> None:
    code, line = refused(file)
    assert code == 1
    assert f"already serves the store {served.layout.root} on {served.listen}" in line


def test_a_port_in_use_is_named_with_its_key(file: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        edit(file, '[server]\nlisten = "127.0.0.1:0"', f'[server]\nlisten = "127.0.0.1:{port}"')
        code, line = refused(file)
    assert code == 1
    assert f"server.listen: 127.0.0.1:{port} is in use" in line


def test_a_missing_client_secret_is_refused_as_a_configuration_error(file: Path) -> None:
    (file.parent / "app.key").unlink()
    code, line = refused(file)
    assert code == 64
    assert "key[app].secret" in line
    assert "app.key cannot be read" in line


def test_a_worker_that_cannot_start_ends_everything_with_its_reason(file: Path) -> None:
    edit(file, "[capture]", '[capture]\nencrypt_key = "env:WB_TEST_NOT_SET"')
    code, line = refused(file)
    assert code == 1
    assert "before it was ready" in line


def test_a_store_that_cannot_be_written_is_named(file: Path) -> None:
    (file.parent / "taken").write_text("a file, not a folder")
    edit(file, "[capture]", '[store]\npath = "taken"\n[capture]')
    code, line = refused(file)
    assert code == 1
    assert "taken" in line
