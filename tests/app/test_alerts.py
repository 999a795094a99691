"""Faults put into a real gateway: each is told by name, and is over when its runbook was followed."""

import contextlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.app.serving import Serving, ask, serving, write_config
from tests.fakes.provider import FakeProvider, Script
from weighbridge.exchanges.verify import verify
from weighbridge.store.alerts import read_alerts, still_raised
from weighbridge.store.control import Reload, TableNumber

WAIT_S_MAX = 60.0


class Hook:
    """A webhook. `until(name, state)` waits for one message; it is kept."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.more = threading.Condition()

    def until(self, name: str, state: str = "raised", wait_s: float = WAIT_S_MAX) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            return next((one for one in self.got if (name, state) == (one["alert"], one["state"])), None)

        with self.more:
            assert self.more.wait_for(found, wait_s), f"no {name} {state} in {self.got}"
            message = found()
        assert message is not None
        return message


@contextmanager
def webhook() -> Iterator[tuple[str, Hook]]:
    hook = Hook()

    class Take(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()
            with hook.more:
                hook.got.append(body)
                hook.more.notify_all()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Take) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/alerts", hook
        finally:
            server.shutdown()
            thread.join()


def told_at(file: Path, url: str, more: str = "") -> Path:
    file.write_text(f'{file.read_text()}{more}\n[alerts]\nwebhook = "{url}"\n')
    return file


def raised_now(served: Serving) -> list[str]:
    return [event.alert for event in still_raised(read_alerts(served.layout))]


def test_an_upstream_that_is_down_is_told_with_what_to_do_and_over_when_it_answers_again(tmp_path: Path) -> None:
    with (
        FakeProvider() as provider,
        webhook() as (url, hook),
        serving(told_at(write_config(tmp_path, provider.url), url)) as served,
    ):
        provider.answers["model-a"] = Script(status=500)
        for _ in range(6):
            assert 500 == ask(served.listen).status
        message = hook.until("upstream-down")
        assert ("page", {"route": "assistant", "arm": "incumbent"}) == (message["severity"], message["labels"])
        assert "docs/runbooks/upstream-down.md" == message["runbook"]
        assert ["upstream-down"] == raised_now(served)
        del provider.answers["model-a"]
        for _ in range(7):
            assert 200 == ask(served.listen).status
        hook.until("upstream-down", "ended")
        assert [] == raised_now(served)
        assert 1 == served.metric("weighbridge_alerts_total", alert="upstream-down")


def test_a_price_in_another_unit_is_told_and_over_with_the_reload_that_mends_it(tmp_path: Path) -> None:
    with webhook() as (url, hook):
        file = told_at(write_config(tmp_path), url)
        good = file.read_text()
        with serving(file) as served:
            file.write_text(good.replace('input = "1", output = "2"', 'input = "0.000001", output = "0.000002"'))
            with served.control() as control:
                control.call(Reload(), TableNumber)
                message = hook.until("price-implausible")
                assert {"arm": "incumbent"} == message["labels"]
                assert "input costs $0.0000010 per million tokens" in message["lines"][0]
                file.write_text(good)
                control.call(Reload(), TableNumber)
            hook.until("price-implausible", "ended")


def test_an_arm_without_a_price_is_told_under_a_hard_budget_and_without_one(tmp_path: Path) -> None:
    with FakeProvider() as provider, webhook() as (url, hook):
        file = write_config(tmp_path, provider.url)
        file.write_text(file.read_text().replace('price = { input = "1", output = "2" }\n', ""))
        with serving(told_at(file, url)) as served:
            assert 200 == ask(served.listen).status
            assert {"route": "assistant", "arm": "incumbent"} == hook.until("price-unknown")["labels"]


@pytest.mark.long
def test_a_keeper_that_does_not_come_back_is_told_by_serve_itself(tmp_path: Path) -> None:
    with webhook() as (url, hook), serving(told_at(write_config(tmp_path), url)) as served:
        served.layout.database.rename(served.layout.root / "away.db")
        served.layout.database.mkdir()  # no keeper can open it
        for name in ("keeper.db-wal", "keeper.db-shm"):
            (served.layout.root / name).unlink(missing_ok=True)
        os.kill(served.keeper_pid(), signal.SIGKILL)
        assert "page" == hook.until("keeper-down", wait_s=180)["severity"]
        served.layout.database.rmdir()
        (served.layout.root / "away.db").rename(served.layout.database)
        hook.until("keeper-down", "ended")


def test_a_budget_that_refuses_is_told_and_a_higher_limit_lets_requests_pass_at_once(tmp_path: Path) -> None:
    with FakeProvider() as provider, webhook() as (url, hook):
        file = write_config(tmp_path, provider.url)
        charged = file.read_text().replace('secret = "file:app.key"', 'secret = "file:app.key"\nbudget = "support"')
        file.write_text(charged)
        budget = '[[budget]]\nname = "support"\nlimit_usd = "0.0001"\nwindow = "month"\nhard = true'
        with serving(told_at(file, url, budget)) as served:
            for _ in range(4):
                assert 429 == ask(served.listen).status
            assert "page" == hook.until("budget-refuses")["severity"]
            file.write_text(file.read_text().replace("0.0001", "10.00"))
            with served.control() as control:
                control.call(Reload(), TableNumber)
            assert 200 == ask(served.listen).status


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 64 MiB; skips where this user may not mount one."""
    folder.mkdir(mode=0o700)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m,mode=0700", "small", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.long
def test_a_full_disk_is_told_also_in_the_store_and_is_over_when_there_is_room(tmp_path: Path) -> None:
    with FakeProvider() as provider, webhook() as (url, hook):
        file = told_at(write_config(tmp_path, provider.url), url)
        with small_disk(tmp_path / "weighbridge-data") as store, serving(file) as served:
            waste = store / "core"
            with contextlib.suppress(OSError), waste.open("wb", buffering=0) as out:
                while out.write(bytes(1 << 16)):
                    pass
            answered = 0
            while 200 == ask(served.listen).status:
                answered += 1
            assert "page" == hook.until("disk-full")["severity"]
            assert "disk-full" in raised_now(served)
            waste.unlink()
            hook.until("disk-full", "ended")
            assert 200 == ask(served.listen).status
            served.end()
            found = verify(served.layout)
            assert () == found.problems
            assert answered + 1 <= found.counts.exchanges
