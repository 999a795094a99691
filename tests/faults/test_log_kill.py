"""`kill -9` of a log writer at a random moment: what it had written is there, and the store verifies."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.exchanges.loop import store
from weighbridge.exchanges.chain import Chain, signing_key
from weighbridge.exchanges.checkpoint import Checkpointer
from weighbridge.exchanges.keys import master_key
from weighbridge.exchanges.reader import BodyReader, read
from weighbridge.exchanges.seal import seal_all
from weighbridge.exchanges.verify import verify
from weighbridge.store.layout import Layout

CHILD = Path(__file__).with_name("log_child.py")
REPOSITORY = CHILD.parent.parent.parent


class Writer:
    """One child process; `kill` gives the ids that it had said were written."""

    def __init__(self, layout: Layout) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(CHILD), str(layout.root)],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"
        self._said = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        self._said = self._process.stdout.read()

    def kill(self) -> list[str]:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._reader.join()
        return self._said.decode().rpartition("\n")[0].splitlines()


def kill_again_and_again(folder: Path, kills: int, seed: int) -> tuple[int, int]:
    """Two writers at a time, the keeper at work beside them. Returns exchanges answered and exchanges lost."""
    chance = random.Random(seed)
    layout = store(folder)
    master, key, chain = master_key(layout, None), signing_key(layout), Chain(layout)
    checkpoints = Checkpointer(layout, chain, key)
    answered: set[str] = set()
    writers = [Writer(layout), Writer(layout)]
    for number in range(kills):
        time.sleep(chance.uniform(0.005, 0.15))  # the random moment; nothing waits for it
        answered.update(writers.pop(0).kill())
        writers.append(Writer(layout))
        assert [] == checkpoints.run(number)
        if number % 10 == 9:
            assert [] == seal_all(layout, chain, key, master, time_ns=number).problems
            report = verify(layout, master=master)
            assert report.ok, report.problems
    for writer in writers:
        answered.update(writer.kill())
    found = {one.id: one for one in read(layout)}
    assert set() == {identity for identity in answered if identity not in found or found[identity].outcome != "ok"}
    reader = BodyReader(layout, master)
    for one in chance.sample(sorted(found.values(), key=lambda one: one.id), min(len(found), 500)):
        assert one.request is not None
        assert isinstance(reader.get(one.request), bytes)
        assert one.response is None or isinstance(reader.get(one.response), bytes)
    assert [] == seal_all(layout, chain, key, master, time_ns=kills).problems
    assert found == {one.id: one for one in read(layout)}
    report = verify(layout, master=master)
    assert report.ok, report.problems
    assert [] == [
        *layout.open_log.iterdir(),
        *layout.open_bodies.iterdir(),
        *(path for path in layout.run.iterdir() if path != layout.told),
    ]
    return len(answered), sum(one.outcome == "lost" for one in found.values())


@pytest.mark.promise(5)
def test_twenty_kills_lose_nothing_that_was_written(tmp_path: Path) -> None:
    answered, _ = kill_again_and_again(tmp_path, kills=20, seed=1)
    assert answered > 500


@pytest.mark.promise(5)
@pytest.mark.long
def test_two_hundred_kills_lose_nothing_that_was_written(tmp_path: Path) -> None:
    answered, lost = kill_again_and_again(tmp_path, kills=200, seed=2)
    assert answered > 10_000
    assert lost > 0
