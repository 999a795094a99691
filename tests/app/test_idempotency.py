"""Promise 7 on two workers, over kills: the same key a hundred times is one call, one charge, one answer."""

import http.client
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from tests.app.serving import CLIENT_KEY, serving, write_config
from tests.fakes.provider import FakeProvider, Script
from tests.gateway.running import until
from weighbridge.exchanges.reader import read
from weighbridge.store.control import Erase, ErasedCount, Seal, SealedCount

Said = tuple[int, bytes, str | None, str | None]


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


@pytest.fixture
def file(tmp_path: Path, provider: FakeProvider) -> Path:
    made = write_config(tmp_path, provider.url)
    made.write_text(made.read_text().replace("[server]", "[server]\nworkers = 2"))
    return made


def ask(listen: str, token: str, *, text: str = "hello", stream: bool = False, timeout_s: float = 60.0) -> Said:
    """Status, body, exchange id, and whether it says that it is a replay."""
    connection = http.client.HTTPConnection(listen, timeout=timeout_s)
    try:
        body = {"model": "assistant", "messages": [{"role": "user", "content": text}], "stream": stream}
        headers = {
            "authorization": f"Bearer {CLIENT_KEY}", "content-type": "application/json", "idempotency-key": token,
        }  # fmt: skip
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        reply = connection.getresponse()
        return (
            reply.status,
            reply.read(),
            reply.getheader("x-weighbridge-id"),
            reply.getheader("x-weighbridge-replayed"),
        )
    finally:
        connection.close()


def together(listen: str, token: str, count: int, *, stream: bool = False) -> list[Said]:
    said: list[Said] = []
    threads = [threading.Thread(target=lambda: said.append(ask(listen, token, stream=stream))) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return said


@pytest.mark.promise(7)
@pytest.mark.parametrize("stream", [False, True])
def test_a_hundred_before_during_and_after_are_one_call_one_charge_and_one_answer(
    file: Path, provider: FakeProvider, stream: bool
) -> None:
    provider.answers["model-a"] = Script(text="word " * 30, delay_s=0.3, chunk_delay_s=0.005)
    with serving(file) as served:
        said = together(served.listen, "order-17", 100, stream=stream)
        said += together(served.listen, "order-17", 5, stream=stream)
        assert 105 == len(said)
        assert 1 == len(provider.seen) == len(provider.bill)
        assert {200} == {status for status, _, _, _ in said}
        assert 1 == len({body for _, body, _, _ in said})
        assert 1 == len({exchange for _, _, exchange, _ in said})
        assert Counter({"yes": 104, None: 1}) == Counter(replayed for _, _, _, replayed in said)
        assert 422 == ask(served.listen, "order-17", text="another", stream=stream)[0]
        assert 200 == ask(served.listen, "order-18", stream=stream)[0]
        assert 2 == len(provider.bill)
        with served.control() as control:
            control.call(Seal(), SealedCount)
        rows = [row for row in read(served.layout) if row.key == "app"]
        assert Counter({"ok": 2, "replayed": 104, "refused": 1}) == Counter(row.outcome for row in rows)
        charged = [row for row in rows if row.cost_nanousd]
        assert 2 == len(charged)
        assert {0} == {row.cost_nanousd for row in rows if row.outcome != "ok"}


@pytest.mark.promise(7)
def test_an_answer_is_replayed_after_kill_and_restart(file: Path, provider: FakeProvider) -> None:
    with serving(file) as served:
        first = ask(served.listen, "order")
        for pid in (*served.worker_pids(), served.keeper_pid(), served.process.pid):
            os.kill(pid, signal.SIGKILL)
        served.process.wait(30)
    with serving(file) as served:
        again = ask(served.listen, "order")
        assert (first[:3], "yes") == (again[:3], again[3])
        assert 1 == len(provider.bill)


@pytest.mark.promise(7)
def test_the_keeper_is_killed_while_a_request_runs_and_its_answer_is_kept_all_the_same(
    file: Path, provider: FakeProvider
) -> None:
    provider.answers["model-a"] = Script(delay_s=1.0)
    with serving(file) as served:
        said: list[Said] = []
        threads = [threading.Thread(target=lambda: said.append(ask(served.listen, "order"))) for _ in range(4)]
        for thread in threads:
            thread.start()
        provider.wait_for(1)
        os.kill(served.keeper_pid(), signal.SIGKILL)
        for thread in threads:
            thread.join()
        said.append(ask(served.listen, "order"))
        assert [200] * 5 == [row[0] for row in said]
        assert 1 == len({row[1] for row in said}) == len(provider.bill)


@pytest.mark.promise(7)
def test_what_a_killed_worker_had_sent_is_not_sent_again(file: Path, provider: FakeProvider) -> None:
    provider.answers["model-a"] = Script(first=[Script(hang=True)])
    with serving(file) as served:

        def first() -> None:
            with pytest.raises((OSError, http.client.HTTPException)):
                ask(served.listen, "order")

        thread = threading.Thread(target=first)
        thread.start()
        provider.wait_for(1)
        for pid in served.worker_pids():
            os.kill(pid, signal.SIGKILL)
        thread.join()
        served.until("is back", after=0)
        status, body, _, _ = ask(served.listen, "order")
        assert (409, "idempotent_answer_lost") == (status, json.loads(body)["error"]["code"])
        assert 1 == len(provider.seen)


def test_a_client_that_left_gets_the_answer_when_it_asks_again(file: Path, provider: FakeProvider) -> None:
    provider.answers["model-a"] = Script(delay_s=0.5)
    with serving(file) as served:
        with pytest.raises(TimeoutError):
            ask(served.listen, "order", timeout_s=0.2)
        status, _, _, replayed = ask(served.listen, "order")
        assert (200, "yes") == (status, replayed)
        assert 1 == len(provider.bill)


@pytest.mark.parametrize("status", [400, 429, 500])
def test_an_error_is_no_answer_to_keep(file: Path, provider: FakeProvider, status: int) -> None:
    provider.answers["model-a"] = Script(first=[Script(status=status, headers=[("retry-after", "60")])] * 2)
    file.write_text(file.read_text().replace('slice_by = ["tag:task"]', "retries_max = 0"))
    with serving(file) as served:
        assert [status, status, 200] == [ask(served.listen, "order")[0] for _ in range(3)]
        assert 3 == len(provider.seen)


@pytest.mark.parametrize("token", ["", "x" * 256, "a\tb"])
def test_what_is_no_key_is_refused(file: Path, provider: FakeProvider, token: str) -> None:
    with serving(file) as served:
        status, body, _, _ = ask(served.listen, token)
        assert (400, "invalid_idempotency_key") == (status, json.loads(body)["error"]["code"])


def test_the_same_body_to_another_path_is_another_request(file: Path, provider: FakeProvider) -> None:
    body = json.dumps({"model": "assistant", "prompt": "x", "messages": [{"role": "user", "content": "x"}]})
    headers = {"authorization": f"Bearer {CLIENT_KEY}", "idempotency-key": "order"}
    with serving(file) as served:
        seen = []
        for path in ("/v1/chat/completions", "/v1/completions", "/v1/chat/completions"):
            connection = http.client.HTTPConnection(served.listen, timeout=60)
            connection.request("POST", path, body, headers)
            seen.append(connection.getresponse().status)
            connection.close()
        assert [200, 422, 200] == seen
        assert 1 == len(provider.seen)


def test_without_the_header_the_keeper_is_not_asked(file: Path, provider: FakeProvider) -> None:
    with serving(file) as served:
        from tests.app.serving import ask as plain

        assert {200} == {plain(served.listen).status for _ in range(5)}
        assert 5 == len(provider.bill)
        until(lambda: served.metric("weighbridge_idempotent_total"), lambda total: total == 0)


def test_an_erased_answer_is_not_replayed_and_its_request_not_sent_again(file: Path, provider: FakeProvider) -> None:
    provider.answers["model-a"] = Script(text="canary-7c1f")
    with serving(file) as served:
        status, body, exchange, _ = ask(served.listen, "order")
        assert (200, True) == (status, b"canary-7c1f" in body)
        assert 200 == ask(served.listen, "another")[0]
        with served.control() as control:
            control.call(Erase(exchanges=(str(exchange),)), ErasedCount)
        again = ask(served.listen, "order")
        assert 409 == again[0]
        assert b"canary-7c1f" not in again[1]
        assert (200, "yes") == (ask(served.listen, "another")[0], ask(served.listen, "another")[3])
        assert 2 == len(provider.bill)
        db = apsw.Connection(str(served.layout.database), flags=apsw.SQLITE_OPEN_READONLY)
        rows = db.execute("SELECT state, answer FROM idempotency ORDER BY state").fetchall()
        db.close()
        assert [("answered", True), ("lost", False)] == [(state, answer is not None) for state, answer in rows]
