"""`kill -9` of worker, keeper or supervisor under load: no finished exchange is lost, and the store verifies.

Clients note the id of every answer that they have read to its end. After many kills and restarts each of those ids must
be in the log with outcome ok and with its bodies, once.
"""

import http.client
import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.app.serving import Serving, ask, gone, serving, write_config
from tests.fakes.provider import FakeProvider
from weighbridge.exchanges.keys import master_key
from weighbridge.exchanges.reader import BodyReader, read
from weighbridge.exchanges.verify import verify
from weighbridge.store.database import remembered
from weighbridge.store.layout import Layout

CLIENTS = 4
PAUSE_S_MAX = 0.4


class Load:
    """Clients that go on whatever happens, and remember what they were answered."""

    def __init__(self, listen: str) -> None:
        self._listen = listen
        self._stop = threading.Event()
        self.answered: list[str] = []
        self.broken: Counter[str] = Counter()
        self._threads = [threading.Thread(target=self._client, args=(number,)) for number in range(CLIENTS)]

    def _client(self, number: int) -> None:
        turn = number
        while not self._stop.is_set():
            turn += 1
            try:
                answer = ask(self._listen, stream=turn % 2 == 0, timeout_s=20)
            except (OSError, http.client.HTTPException) as error:
                self.broken[type(error).__name__] += 1
                time.sleep(0.02)
                continue
            whole = answer.status == 200 and (turn % 2 == 1 or answer.body.endswith(b"data: [DONE]\n\n"))
            if whole and answer.id is not None:
                self.answered.append(answer.id)
            else:
                self.broken[str(answer.status)] += 1

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def goes_on(self) -> None:
        """Waits until each client has been answered since now, about."""
        before, deadline = len(self.answered), time.monotonic() + 60
        while len(self.answered) < before + CLIENTS:
            assert time.monotonic() < deadline, f"no answers any more: {self.broken}"
            time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def kept_serving(file: Path) -> Iterator[list[Serving]]:
    """The serve process that runs now is the last one of the list; a test that kills it starts the next one."""
    running: list[Serving] = []
    try:
        running.append(Serving(file).ready())
        yield running
    finally:
        for one in running:
            with suppress(ProcessLookupError):
                one.process.kill()
            one.process.wait()


def kill(victim: str, running: list[Serving], file: Path) -> None:
    served = running[-1]
    if victim == "worker":
        pid = random.choice(served.worker_pids())
    elif victim == "keeper":
        pid = served.keeper_pid()
    else:
        pid = served.process.pid
    os.kill(pid, signal.SIGKILL)
    assert gone(pid)
    if victim == "supervisor":
        served.process.wait()
        running.append(Serving(file).ready())
    else:
        # A pid of the dead one is no victim for the next kill.
        deadline = time.monotonic() + 30
        while len(running[-1].worker_pids()) < 2 or not running[-1].children()["weighbridge.app.keeper"]:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def audited(layout: Layout, answered: list[str]) -> Counter[str]:
    """Each answered exchange is there once, ok and with its bodies; returns all outcomes."""
    outcomes: Counter[str] = Counter()
    bodies = BodyReader(layout, master_key(layout, None))
    found: Counter[str] = Counter()
    missing = set(answered)
    for exchange in read(layout):
        outcomes[exchange.outcome] += 1
        found[exchange.id] += 1
        if exchange.id in missing:
            assert exchange.outcome == "ok", exchange
            assert exchange.request is not None
            assert exchange.response is not None
            assert isinstance(bodies.get(exchange.request), bytes), exchange
            assert isinstance(bodies.get(exchange.response), bytes), exchange
            missing.discard(exchange.id)
    assert not missing, f"{len(missing)} of {len(answered)} answered exchanges are lost: {sorted(missing)[:3]}"
    assert set(found.values()) == {1}
    report = verify(layout, master=master_key(layout, None), known=remembered(layout.database))
    assert report.ok, report.problems
    return outcomes


def survives(tmp_path: Path, kills: int, seed: int) -> None:
    random.seed(seed)
    victims = [("worker", "keeper", "supervisor")[number % 3] for number in range(kills)]
    random.shuffle(victims)
    with FakeProvider() as provider:
        file = write_config(tmp_path, provider.url)
        text = file.read_text()
        file.write_text(
            text.replace(
                '[server]\nlisten = "127.0.0.1:0"', f'[server]\nworkers = 2\nlisten = "127.0.0.1:{free_port()}"'
            )
        )
        with kept_serving(file) as running:
            with Load(running[0].listen) as load:
                for victim in victims:
                    time.sleep(random.uniform(0, PAUSE_S_MAX))
                    kill(victim, running, file)
                    load.goes_on()
            layout = running[-1].layout
            # While it is still serving, and again when everything is sealed.
            audited(layout, load.answered)
            assert running[-1].end() == 0
        outcomes = audited(layout, load.answered)
    assert len(load.answered) == len(set(load.answered))
    print(
        f"\n{kills} kills: {len(load.answered)} answered exchanges, 0 lost; log {dict(outcomes)}; "
        f"broken for clients {dict(load.broken)}"
    )


@pytest.mark.promise(5)
def test_nine_kills_lose_no_finished_exchange(tmp_path: Path) -> None:
    survives(tmp_path, 9, seed=1)


@pytest.mark.promise(5)
@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_fifty_kills_lose_no_finished_exchange(tmp_path: Path, seed: int) -> None:
    survives(tmp_path, 50, seed)


def test_when_the_supervisor_dies_its_workers_finish_what_they_have(tmp_path: Path) -> None:
    from tests.fakes.provider import Script

    with FakeProvider() as provider:
        provider.answers["model-a"] = Script(delay_s=1.0)
        file = write_config(tmp_path, provider.url)
        with serving(file) as served:
            answers: list[int] = []
            client = threading.Thread(target=lambda: answers.append(ask(served.listen).status))
            client.start()
            while not provider.seen:
                time.sleep(0.01)
            served.end(signal.SIGKILL)
            client.join(30)
            assert answers == [200]
