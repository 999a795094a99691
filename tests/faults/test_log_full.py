"""A disk that fails or is full: nothing is half written, requests are refused, and it recovers by itself."""

from pathlib import Path

import pytest

from tests.exchanges.loop import Bench, store
from tests.faults.files import Fault, NthFails, SmallDisk
from weighbridge.exchanges import syncer, writer
from weighbridge.exchanges.chain import Chain, signing_key
from weighbridge.exchanges.reader import BodyReader, read
from weighbridge.exchanges.seal import seal_all
from weighbridge.exchanges.verify import verify
from weighbridge.store.layout import Layout

pytestmark = pytest.mark.promise(13)

REQUESTS = 6


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for space and sync at once: the tests need no pauses in order to be true."""
    monkeypatch.setattr(syncer, "PROBE_S", 0.002)
    monkeypatch.setitem(writer.SYNC_S, "power", 0.0)


class Asked:
    """One request and what it was told."""

    def __init__(self, bench: Bench, request: bytes = b'{"q":1}') -> None:
        self.id = bench.begin(request).id
        self.is_written = self.is_refused = self.is_durable = False
        bench.log.when_written(self._written, self._refused)

    def _written(self) -> None:
        self.is_written = True

    def _refused(self) -> None:
        self.is_refused = True

    def durable(self) -> None:
        self.is_durable = True


class Run:
    """Requests one by one, a roll in the middle, and what was promised to whom."""

    def __init__(self, layout: Layout, files: NthFails) -> None:
        self.bench = Bench(layout, files=files, durability="power", chunk_bytes=8 << 10, segment_bytes_max=4 << 10)
        self.asked: list[Asked] = []

    def go(self) -> None:
        for number in range(REQUESTS):
            if number == REQUESTS // 2:
                self.bench.log.roll()
            self.one(number)
        self.bench.loop.turn_until(lambda: self.bench.log.state == "ok")
        self.bench.close()

    def one(self, number: int) -> None:
        bench = self.bench
        asked = Asked(bench, b'{"q":%d}' % number)
        self.asked.append(asked)
        bench.loop.turn_until(lambda: asked.is_written or asked.is_refused)
        if asked.is_refused:
            assert bench.log.state == "full"
        bench.end(asked.id, b'{"a":%d}' % number, outcome="refused" if asked.is_refused else "ok")
        bench.log.when_durable(asked.durable)
        bench.loop.turn_until(lambda: asked.is_durable)


def _calls(tmp_path: Path) -> int:
    files = NthFails(1 << 30, "EIO")
    Run(store(tmp_path / "count"), files).go()
    return files.calls


@pytest.mark.parametrize("fault", ["ENOSPC", "EIO", "short"])
@pytest.mark.parametrize("times", [1, 3])
def test_whichever_call_fails_everything_acknowledged_is_there_and_the_store_verifies(
    tmp_path: Path, fault: Fault, times: int
) -> None:
    every_call_fails(tmp_path, fault, times)


def every_call_fails(tmp_path: Path, fault: Fault, times: int) -> int:
    """A life of a log for each of its calls to the disk, in which that one fails; how many."""
    calls = _calls(tmp_path)
    assert calls > 30
    seen: set[str] = set()
    for number in range(1, calls + 1):
        layout = store(tmp_path / f"{number}")
        files = NthFails(number, fault, times)
        try:
            run = Run(layout, files)
        except OSError:
            continue  # the very first segment: the worker does not start
        run.go()
        seen.update(files.failed)
        found = {one.id: one for one in read(layout)}
        expected = {one.id: "refused" if one.is_refused else "ok" for one in run.asked}
        assert expected == {one.id: one.outcome for one in found.values()}, f"call {number} ({files.failed})"
        reader = BodyReader(layout, run.bench.master)
        for one in found.values():
            for ref in (one.request, one.response):
                assert ref is None or isinstance(reader.get(ref), bytes)
        report = verify(layout, master=run.bench.master)
        assert report.ok, f"call {number} ({files.failed}): {report.problems}"
        if number % 5:
            continue
        sealed = seal_all(layout, Chain(layout), signing_key(layout), run.bench.master, time_ns=1)
        assert [] == sealed.problems
        assert set(found) == {one.id for one in read(layout)}
    assert seen >= ({"pwritev"} if fault == "short" else {"create", "fallocate", "pwritev", "fdatasync"})
    return calls


def states_in_order(bench: Bench) -> list[str]:
    """Each state once, in the order in which they were first reached."""
    return list(dict.fromkeys(state for state, _ in bench.states))


def is_full(bench: Bench) -> bool:
    return bench.log.state == "full"


def test_bodies_stop_first_then_admission_and_both_come_back_with_the_space(tmp_path: Path) -> None:
    layout = store(tmp_path)
    disk = SmallDisk(1400 << 10)
    bench = Bench(layout, files=disk, chunk_bytes=64 << 10)
    while not bench.states:
        bench.request(b"q" * 3000, b"a" * 3000)
    assert "bodies are not captured" in bench.log.reason
    dropped = bench.log.bodies_dropped
    identity = bench.request(b"q" * 3000)
    assert dropped + 2 == bench.log.bodies_dropped
    assert next(read(layout, ids=[identity])).request is None
    running = []
    while not is_full(bench):
        running.append(bench.begin().id)
        bench.loop.turn()
    for identity in running:  # what was let in can be settled: the room for it was kept
        bench.end(identity)
        bench.loop.turn()
    assert set(running) <= {one.id for one in read(layout) if one.outcome == "ok"}
    disk.space *= 4
    bench.loop.turn_until(lambda: bench.log.state == "ok")
    identity = bench.request(b"again")
    assert b"again" == BodyReader(layout, bench.master).get(next(read(layout, ids=[identity])).request)
    assert ["no_bodies", "full", "ok"] == states_in_order(bench)
    bench.close()
    assert verify(layout, master=bench.master).ok


def test_a_request_that_cannot_be_recorded_is_told_before_anything_is_sent_for_it(tmp_path: Path) -> None:
    disk = SmallDisk(10 << 20)
    bench = Bench(store(tmp_path), files=disk, bodies=False, chunk_bytes=512 << 10)
    disk.space = 0
    asked: list[Asked] = []
    while not any(one.is_refused for one in asked):
        # Nobody listens to `full`: in the end even what was kept for open requests is used up.
        asked.append(Asked(bench))
        bench.loop.turn()
        bench.loop.turn()
    assert is_full(bench)
    assert [False] == [one.is_written for one in asked if one.is_refused]
    disk.space = 64 << 20
    bench.loop.turn_until(lambda: bench.log.state == "ok")
    for one in asked:
        bench.end(one.id, outcome="refused" if one.is_refused else "ok")
    bench.loop.turn()
    bench.close()
    assert {one.id: "refused" if one.is_refused else "ok" for one in asked} == {
        one.id: one.outcome for one in read(bench.layout)
    }


def test_a_segment_that_cannot_be_followed_by_another_goes_on_while_it_has_room(tmp_path: Path) -> None:
    disk = SmallDisk(1 << 20)
    bench = Bench(store(tmp_path), files=disk, bodies=False, chunk_bytes=512 << 10, segment_bytes_max=4000)
    disk.space = disk.used
    ids = [bench.request() for _ in range(40)]
    assert 1 == bench.log.roll()
    assert "full" not in [state for state, _ in bench.states]
    disk.space = 8 << 20
    assert 2 == bench.log.roll()
    assert ids == [one.id for one in read(bench.layout)]
    bench.close()
