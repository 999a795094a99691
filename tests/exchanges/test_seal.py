"""Sealing changes how the log lies on disk and nothing of what it says, wherever it is stopped."""

import threading
from pathlib import Path

import duckdb
import pytest

from tests.exchanges.loop import Bench, die, held, store
from tests.exchanges.stores import Keeper
from weighbridge.exchanges.chain import Chain, signing_key
from weighbridge.exchanges.reader import BodyReader, Follower, read
from weighbridge.exchanges.relation import relation
from weighbridge.exchanges.seal import seal_all
from weighbridge.exchanges.verify import verify
from weighbridge.records.exchange import Exchange
from weighbridge.store.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return store(tmp_path)


def everything(layout: Layout, master: bytes) -> list[tuple[Exchange, object, object]]:
    reader = BodyReader(layout, master)
    return [(one, reader.get(one.request), reader.get(one.response)) for one in read(layout)]


def test_a_sealed_log_reads_as_before(layout: Layout) -> None:
    bench = Bench(layout, segment_bytes_max=3000)
    for number in range(30):
        bench.request(b"q%d" % number, b"a%d" % number)
    bench.close()
    before = everything(layout, bench.master)
    sealed = Keeper(bench).seal()
    assert (30, 60, []) == (sealed.exchanges, sealed.bodies, sealed.problems)
    assert [] == [*layout.open_log.iterdir(), *layout.open_bodies.iterdir()]
    assert before == everything(layout, bench.master)
    assert verify(layout, master=bench.master).ok


def test_a_segment_in_use_is_left_alone(layout: Layout) -> None:
    bench = Bench(layout)
    bench.request()
    assert 0 == Keeper(bench).seal().segments
    bench.log.roll()
    assert 2 == Keeper(bench).seal().segments
    bench.close()


def test_what_a_dead_worker_left_is_sealed_and_its_unfinished_exchange_is_lost(layout: Layout) -> None:
    bench = Bench(layout)
    bench.request()
    bench.begin()
    bench.loop.turn()
    die(bench)
    before = everything(layout, bench.master)
    assert ["ok", "lost"] == [one.outcome for one, _, _ in before]
    Keeper(bench).seal()
    assert before == everything(layout, bench.master)
    assert verify(layout, master=bench.master).ok


@pytest.mark.parametrize("where", ["in its last segment", "in one that was sealed while it ran", "before an empty one"])
def test_what_died_with_a_worker_is_a_row_before_and_after_it_is_sealed(layout: Layout, where: str) -> None:
    bench = Bench(layout)
    done = bench.request()
    open_one = bench.begin()
    bench.loop.turn()
    if where != "in its last segment":
        bench.log.roll()
        Keeper(bench).seal()
    if where == "in one that was sealed while it ran":
        bench.request()
    die(bench)
    with relation(layout) as log:
        before = log.sql("SELECT id, outcome, cost_nanousd FROM exchanges ORDER BY id").fetchall()
    assert (open_one.id, "lost") in [row[:2] for row in before]
    assert (done, "ok") in [row[:2] for row in before]
    Keeper(bench).seal()
    with relation(layout) as log:
        assert before == log.sql("SELECT id, outcome, cost_nanousd FROM exchanges ORDER BY id").fetchall()
    assert verify(layout, master=bench.master).ok


def test_the_parquet_file_has_one_row_per_finished_exchange_also_of_those_that_span_segments(layout: Layout) -> None:
    bench = Bench(layout)
    spans = bench.begin(like=held("-", tags=(("task", "refund"), ("task", "late"), ("lang", "de"))))
    bench.loop.turn()
    bench.log.roll()
    Keeper(bench).seal()
    bench.end(spans.id)
    bench.loop.turn()
    other = bench.request()
    bench.begin()
    bench.loop.turn()
    bench.close()
    Keeper(bench).seal()
    wanted = "id, tags['task'], usage.total, attempts[1].model, time, outcome"
    rows = duckdb.read_parquet(f"{layout.rows}/*.parquet").project(wanted).order("id").fetchall()
    assert [spans.id, other] == [row[0] for row in rows]
    assert (["refund", "late"], 376, "gpt-4o-2024-08-06", "ok") == (rows[0][1], rows[0][2], rows[0][3], rows[0][5])
    assert "2025-11-24 16:00:00" == str(rows[0][4])


def _steps(tmp_path: Path) -> list[str]:
    bench = _two_segments(tmp_path / "count")
    steps: list[str] = []
    seal_all(bench.layout, Chain(bench.layout), signing_key(bench.layout), bench.master, time_ns=1, step=steps.append)
    return steps


def _two_segments(folder: Path) -> Bench:
    bench = Bench(store(folder), segment_bytes_max=2500)
    for number in range(10):
        bench.request(b"q%d" % number)
    bench.close()
    return bench


class Stop(Exception):  # noqa: N818 (not an error: the machine stops here)
    pass


def test_wherever_sealing_stops_the_store_reads_the_same_and_the_next_run_ends_it(tmp_path: Path) -> None:
    steps = _steps(tmp_path)
    assert {"frames written", "rows written", "committed", "removed", "bodies written", "bodies committed"} <= set(
        steps
    )
    for stop_at in range(len(steps)):
        bench = _two_segments(tmp_path / str(stop_at))
        layout, left = bench.layout, [stop_at]

        def step(_: str, left: list[int] = left) -> None:
            if not left[0]:
                raise Stop
            left[0] -= 1

        before = everything(layout, bench.master)
        with pytest.raises(Stop):
            seal_all(layout, Chain(layout), signing_key(layout), bench.master, time_ns=1, step=step)
        assert before == everything(layout, bench.master), steps[stop_at]
        report = verify(layout, master=bench.master)
        assert report.ok, (steps[stop_at], report.problems)
        Keeper(bench).seal()
        assert before == everything(layout, bench.master)
        assert [] == [*layout.open_log.iterdir(), *layout.open_bodies.iterdir()]
        assert verify(layout, master=bench.master).ok


def test_readers_miss_nothing_and_see_nothing_twice_while_the_keeper_seals(layout: Layout) -> None:
    bench = Bench(layout, segment_bytes_max=1500)
    follower = Follower(layout)
    ids: list[str] = []
    done = threading.Event()
    wrong: list[str] = []

    def look() -> None:
        while not done.is_set():
            known = list(ids)
            found = [one.id for one in read(layout)]
            if len(set(found)) != len(found) or not set(known) <= set(found):
                wrong.append(f"{len(known)} known, {len(found)} found, {len(set(found))} different")

    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    followed: list[str] = []
    keeper = Keeper(bench)
    for _ in range(12):
        for _ in range(5):
            ids.append(bench.request())
        keeper.seal()
        followed += [one.id for one in follower.poll()]
    done.set()
    for reader in readers:
        reader.join()
    assert [] == wrong
    assert ids == followed
    bench.close()


def test_a_damaged_segment_is_not_sealed_and_said(layout: Layout) -> None:
    bench = Bench(layout)
    bench.request()
    bench.close()
    (path,) = layout.open_log.iterdir()
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)
    sealed = Keeper(bench).seal()
    assert [str(path)] == [problem.file for problem in sealed.problems]
    assert path.exists()


def test_a_segment_that_lost_what_a_checkpoint_signed_is_not_sealed(layout: Layout) -> None:
    bench = Bench(layout)
    bench.request()
    keeper = Keeper(bench)
    keeper.checkpoint()
    bench.request()
    die(bench)
    (path,) = layout.open_log.iterdir()
    data = path.read_bytes()
    path.write_bytes(data[:16] + bytes(len(data) - 16))
    (problem,) = (one for one in keeper.seal().problems if one.file == str(path))
    assert "signed" in problem.what
    assert not verify(layout).ok
