"""The power goes: what was acknowledged in `power` durability is there, and the store verifies."""

import random
from functools import partial
from pathlib import Path

import pytest

from tests.exchanges.loop import Bench, die, store
from tests.faults.files import LosesUnsynced
from weighbridge.exchanges import writer
from weighbridge.exchanges.chain import Chain, signing_key
from weighbridge.exchanges.checkpoint import Checkpointer
from weighbridge.exchanges.files import SystemFiles
from weighbridge.exchanges.reader import BodyReader, read
from weighbridge.exchanges.seal import seal_all
from weighbridge.exchanges.verify import verify


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(writer.SYNC_S, "power", 0.001)


def cut_once(folder: Path, seed: int) -> tuple[int, int]:
    """One life of a worker that ends in a power cut. Returns acknowledged rows and lost sectors."""
    chance = random.Random(seed)
    layout, files = store(folder), LosesUnsynced()
    bench = Bench(layout, files=files, durability="power", segment_bytes_max=20_000)
    checkpoints = Checkpointer(layout, Chain(layout), signing_key(layout), files=KeeperFiles(files))
    acknowledged: list[str] = []

    def ask() -> None:
        frame = bench.begin(chance.randbytes(chance.randrange(1, 3000)))
        bench.end(frame.id, chance.randbytes(chance.randrange(1, 3000)))
        bench.log.when_durable(lambda: acknowledged.append(frame.id))

    for turn in range(chance.randrange(5, 60)):
        for _ in range(chance.randrange(1, 6)):
            ask()
        bench.loop.turn()
        if chance.random() < 0.2:
            bench.loop.turn_until(partial(_has_more, acknowledged, len(acknowledged)))
        if turn % 7 == 3:
            checkpoints.run(turn)
    promised = list(acknowledged)
    lost = files.cut(chance)
    die(bench, machine=True)
    found = {one.id: one for one in read(layout)}
    assert set(promised) <= {one.id for one in found.values() if one.outcome == "ok"}
    reader = BodyReader(layout, bench.master)
    for identity in promised:
        assert isinstance(reader.get(found[identity].request), bytes)
        assert isinstance(reader.get(found[identity].response), bytes)
    report = verify(layout, master=bench.master)
    assert report.ok, report.problems
    sealed = seal_all(layout, Chain(layout), signing_key(layout), bench.master, time_ns=1)
    assert [] == sealed.problems
    assert found == {one.id: one for one in read(layout)}
    report = verify(layout, master=bench.master)
    assert report.ok, report.problems
    return len(promised), lost


def _has_more(acknowledged: list[str], before: int) -> bool:
    return len(acknowledged) > before


class KeeperFiles(SystemFiles):
    """The keeper's syncs reach the same disk: they make the worker's writes durable too."""

    def __init__(self, disk: LosesUnsynced) -> None:
        self._disk = disk

    def fdatasync(self, fd: int) -> None:
        self._disk.sync_same_file(fd)


@pytest.mark.promise(14)
def test_no_acknowledged_row_is_lost_in_a_power_cut(tmp_path: Path) -> None:
    rows = sectors = 0
    for seed in range(8):
        acknowledged, lost = cut_once(tmp_path / f"{seed}", seed)
        rows += acknowledged
        sectors += lost
    assert rows > 100
    assert sectors > 10


@pytest.mark.promise(14)
@pytest.mark.long
def test_no_acknowledged_row_is_lost_in_a_hundred_power_cuts(tmp_path: Path) -> None:
    for seed in range(100, 200):
        cut_once(tmp_path / f"{seed}", seed)
