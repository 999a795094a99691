"""The worker as a process: what it says, what it loads, how it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.fakes.provider import FakeProvider, Script
from tests.gateway.running import KEY, call, chat, connected, read_answer, request_bytes, table, until
from weighbridge.exchanges.framing import Scan
from weighbridge.records.canonical import canonical
from weighbridge.records.frames import Finished, Frame
from weighbridge.records.table import Limits, RouteTable
from weighbridge.store.layout import Layout

_frame = msgspec.msgpack.Decoder(Frame).decode
NOT_IN_A_WORKER = (
    "numpy", "duckdb", "apsw", "sqlite3", "rich", "typer", "click", "jinja2", "genai_prices", "prometheus_client",
    "jsonschema", "license_expression", "starlette", "aiohttp", "pydantic", "zstandard", "hypothesis",
)  # fmt: skip


class Worker:
    def __init__(self, store: Path, *, listen: str = "127.0.0.1:0", environment: dict[str, str] | None = None) -> None:
        ours, theirs = socket.socketpair()
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "weighbridge.gateway.worker", "--store", str(store), "--folder", str(store),
                "--listen", listen, "--index", "0", "--supervisor-fd", str(theirs.fileno()),
            ],
            pass_fds=(theirs.fileno(),),
            env={**os.environ, **(environment or {})},
            stderr=subprocess.PIPE,
        )  # fmt: skip
        theirs.close()
        self.line = ours
        self.lines = ours.makefile("rb")

    def says(self) -> dict[str, Any]:
        self.line.settimeout(15)
        found: dict[str, Any] = json.loads(self.lines.readline())
        return found

    def ready(self) -> int:
        said = self.says()
        assert said["op"] == "ready"
        self.incarnation = said["incarnation"]
        return int(said["listen"].rpartition(":")[2])

    def ask(self, op: str) -> dict[str, Any]:
        self.line.sendall(json.dumps({"op": op}).encode() + b"\n")
        return self.says()


@contextmanager
def worker(store: Path, **how: Any) -> Iterator[Worker]:
    made = Worker(store, **how)
    try:
        yield made
    finally:
        made.lines.close()
        made.line.close()
        if made.process.poll() is None:
            made.process.kill()
        made.process.communicate()


def publish(store: Path, route_table: RouteTable) -> Layout:
    layout = Layout(store)
    layout.create()
    layout.table.write_bytes(canonical(route_table))
    return layout


def log_of(layout: Layout) -> list[Finished]:
    rows = []
    for path in sorted(layout.open_log.glob("*.wbx")):
        rows += [_frame(payload) for _, payload in Scan(path.read_bytes())]
    return [row for row in rows if isinstance(row, Finished)]


def test_it_says_once_where_it_listens_and_serves_there(tmp_path: Path, provider: FakeProvider) -> None:
    publish(tmp_path, table(provider.url))
    with worker(tmp_path) as process:
        port = process.ready()
        assert call(port, chat()).status == 200
        assert len(process.incarnation) == 16


def test_after_a_thousand_requests_it_has_loaded_nothing_that_it_does_not_need(
    tmp_path: Path, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # measuring it would load sqlite3 into it
    publish(tmp_path, table(provider.url))
    with worker(tmp_path) as process:
        port = process.ready()
        with connected(port) as line:
            for number in range(1000):
                line.sendall(request_bytes(chat(stream=number % 2 == 0)))
                assert read_answer(line).status == 200
        loaded = {name.partition(".")[0] for name in process.ask("modules")["modules"]}
    assert set() == loaded & set(NOT_IN_A_WORKER)
    assert {"httptools", "uvloop", "msgspec"} <= loaded  # the answer is about the worker, not about nothing


def test_sigterm_finishes_what_runs_and_takes_nothing_new(tmp_path: Path, provider: FakeProvider) -> None:
    provider.answers["model-a"] = Script(delay_s=0.5)
    layout = publish(tmp_path, table(provider.url))
    with worker(tmp_path) as process:
        port = process.ready()
        with connected(port) as line:
            line.sendall(request_bytes(chat()))
            until(lambda: len(provider.seen), lambda count: count == 1)
            process.process.send_signal(signal.SIGTERM)
            answer = read_answer(line)
        assert 200 == answer.status
        assert 0 == process.process.wait(10)
        with pytest.raises(OSError, match="refused"):
            connected(port).__enter__()
    assert ["ok"] == [row.outcome for row in log_of(layout)]


def test_what_outlasts_the_drain_is_cut_and_recorded(tmp_path: Path, provider: FakeProvider) -> None:
    provider.answers["model-a"] = Script(hang_after=400)
    layout = publish(tmp_path, table(provider.url, limits=Limits(drain_s_max=0.3)))
    with worker(tmp_path) as process:
        port = process.ready()
        with connected(port) as line:
            line.sendall(request_bytes(chat(stream=True)))
            until(lambda: len(provider.seen), lambda count: count == 1)
            time.sleep(0.1)
            process.process.send_signal(signal.SIGTERM)
            answer = read_answer(line)
        assert not answer.whole
        assert b"shutting down" in answer.body
        assert 0 == process.process.wait(10)
    assert ["upstream_cut"] == [row.outcome for row in log_of(layout)]


def test_it_ends_when_the_supervisor_is_gone(tmp_path: Path, provider: FakeProvider) -> None:
    publish(tmp_path, table(provider.url))
    with worker(tmp_path) as process:
        process.ready()
        process.lines.close()
        process.line.close()
        assert 0 == process.process.wait(10)


def test_without_a_table_it_says_so_and_ends(tmp_path: Path) -> None:
    Layout(tmp_path).create()
    with worker(tmp_path) as process:
        _, said = process.process.communicate(timeout=15)
    assert 1 == process.process.returncode
    assert b"no route table can be read" in said


def test_a_damaged_table_is_replaced_by_the_last_good_one_and_said(tmp_path: Path, provider: FakeProvider) -> None:
    layout = publish(tmp_path, table(provider.url))
    layout.table.rename(layout.table_last_good)
    layout.table.write_bytes(b"{")
    with worker(tmp_path) as process:
        port = process.ready()
        assert call(port, chat()).status == 200
        process.process.send_signal(signal.SIGTERM)
        _, said = process.process.communicate(timeout=15)
    assert b"last good table" in said


def test_two_workers_share_a_port(tmp_path: Path, provider: FakeProvider) -> None:
    layout = publish(tmp_path, table(provider.url))
    with worker(tmp_path) as first:
        port = first.ready()
        with worker(tmp_path, listen=f"127.0.0.1:{port}") as second:
            assert port == second.ready()
            for _ in range(40):
                assert call(port, chat()).status == 200
            answered = {row.id.partition("-")[0] for row in log_of(layout)}
            assert {first.incarnation, second.incarnation} == answered


def test_metrics_are_samples_of_name_labels_and_number(tmp_path: Path, provider: FakeProvider) -> None:
    publish(tmp_path, table(provider.url))
    with worker(tmp_path) as process:
        port = process.ready()
        call(port, chat())
        call(port, chat(), key="wrong")
        samples = process.ask("metrics")["samples"]
    found = {(name, tuple(sorted(labels.items()))): value for name, labels, value in samples}
    of = (("arm", "closed"), ("purpose", "user"), ("route", "assistant"))
    assert 1 == found["weighbridge_requests_total", (("arm", "closed"), ("outcome", "ok"), *of[1:])]
    assert 1 == found["weighbridge_refusals_total", (("code", "invalid_api_key"),)]
    assert 1 == found["weighbridge_request_duration_seconds_count", of]
    assert 65_000 == found["weighbridge_cost_nanousd_total", of]
    assert 1 == found["weighbridge_log_state", (("state", "ok"),)]
    assert KEY not in json.dumps(samples)
