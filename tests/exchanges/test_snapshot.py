"""A snapshot is the store at one moment: it verifies by itself, whatever the store does afterwards."""

import os
from pathlib import Path

from tests.exchanges.loop import Bench, store
from tests.exchanges.stores import rich_store
from weighbridge.exchanges.erase import erase
from weighbridge.exchanges.reader import read
from weighbridge.exchanges.snapshot import hold, sweep_snapshots, take_snapshot
from weighbridge.exchanges.verify import verify
from weighbridge.store.layout import Layout


def test_a_snapshot_of_a_store_in_use_verifies_and_holds_what_was_written_so_far(tmp_path: Path) -> None:
    keeper = rich_store(tmp_path)
    before = {one.id for one in read(keeper.layout)}
    content, live = take_snapshot(keeper.layout, "one")
    assert (keeper.bench.incarnation,) == live
    for _ in range(5):
        keeper.bench.request()
    keeper.bench.log.roll()
    keeper.seal()
    layout = Layout(content)
    report = verify(layout, master=keeper.bench.master)
    assert () == report.problems
    assert before == {one.id for one in read(layout)}
    assert verify(keeper.layout, master=keeper.bench.master).ok
    keeper.bench.close()


def test_secret_keys_locks_and_earlier_snapshots_stay_behind(tmp_path: Path) -> None:
    keeper = rich_store(tmp_path)
    keeper.layout.master_key.write_text("secret")
    take_snapshot(keeper.layout, "one")
    content, _ = take_snapshot(keeper.layout, "two")
    names = {path.relative_to(content).as_posix() for path in content.rglob("*") if path.is_file()}
    assert "keys/signing.pub" in names
    assert not names & {"keys/signing.key", "keys/master.key", "keeper.lock"}
    assert [] == [name for name in names if name.startswith(("run/", "snapshots/"))]
    keeper.bench.close()


def test_what_is_erased_after_a_snapshot_stays_in_it_until_it_is_swept_away(tmp_path: Path) -> None:
    keeper = rich_store(tmp_path)
    identity = next(one.id for one in read(keeper.layout) if one.request is not None)
    content, _ = take_snapshot(keeper.layout, "one")
    held = hold(keeper.layout.snapshots / "one")
    erase(keeper.layout, keeper.chain, keeper.key, exchanges=[identity], time_ns=1)
    sweep_snapshots(keeper.layout)
    assert verify(Layout(content), master=keeper.bench.master).ok
    os.close(held)
    sweep_snapshots(keeper.layout, keep=("one",))
    assert content.is_dir()
    sweep_snapshots(keeper.layout)
    assert not content.exists()
    keeper.bench.close()


def test_the_zeros_that_a_segment_was_given_in_advance_are_not_copied(tmp_path: Path) -> None:
    layout = store(tmp_path)
    bench = Bench(layout, segment_bytes_max=8 << 20)
    bench.request()
    content, _ = take_snapshot(layout, "one")
    (copy,) = Layout(content).open_log.iterdir()
    assert copy.stat().st_size < 200_000 < (layout.open_log / copy.name).stat().st_size
    bench.close()
