"""The admin process beside a real gateway: started when asked for, replaced when killed, gone with `serve`."""

import os
import select
import signal
from pathlib import Path

from tests.app.serving import Serving, ask, serving, write_config
from tests.fakes.provider import FakeProvider


def admin_pids(running: Serving) -> list[int]:
    return running.children()["weighbridge.app.dashboard"]


def test_it_starts_when_somebody_asks_and_is_replaced_when_it_dies_while_the_gateway_goes_on(tmp_path: Path) -> None:
    with FakeProvider() as provider, serving(write_config(tmp_path, provider.url)) as running:
        assert [] == admin_pids(running)
        assert 200 == running.page("/healthz")[0]
        (first,) = admin_pids(running)
        os.kill(first, signal.SIGKILL)
        running.until("the admin process ended")
        assert 200 == ask(running.listen).status
        status, page = running.page("/sign-in")
        assert (200, True) == (status, "Password" in page)
        (second,) = admin_pids(running)
        assert first != second
        assert 0 == running.end()
        assert not Path(f"/proc/{second}").exists()


def test_it_ends_when_serve_is_killed(tmp_path: Path) -> None:
    with serving(write_config(tmp_path)) as running:
        running.page("/healthz")
        (pid,) = admin_pids(running)
        watch = os.pidfd_open(pid)
        running.process.kill()
        assert [watch] == select.select([watch], [], [], 60)[0]
        os.close(watch)
