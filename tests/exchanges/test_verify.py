"""Whatever is changed, cut or taken away is found; what was not touched always verifies."""

import random
import shutil
from pathlib import Path

import msgspec
import pytest

from tests.exchanges.loop import Bench, store
from tests.exchanges.stores import Keeper, put_verdict, rich_store
from weighbridge.exchanges.chain import Chain
from weighbridge.exchanges.reader import read
from weighbridge.exchanges.verify import verify
from weighbridge.store.database import Head, Remembered
from weighbridge.store.layout import Layout


def files_of(layout: Layout) -> list[Path]:
    """Everything that holds content; locks of running workers, and sums that are made again where they lack, do not."""
    return sorted(path for path in layout.root.rglob("*") if path.is_file() and layout.run not in path.parents)


def test_an_untouched_store_verifies_and_says_what_was_erased(tmp_path: Path) -> None:
    keeper = rich_store(tmp_path)
    report = verify(keeper.layout, master=keeper.bench.master)
    assert () == report.problems
    assert "intact, 4 bodies erased" == report.summary
    counts = report.counts
    assert (1, 5, 1, 1) == (counts.verdicts, counts.pairs, counts.exchanges_lost, counts.objects - 3)
    assert counts.bodies_checked
    assert counts.bodies > 80
    keeper.bench.close()


def test_an_empty_store_verifies(tmp_path: Path) -> None:
    assert "intact" == verify(store(tmp_path)).summary


def test_no_store_is_a_problem(tmp_path: Path) -> None:
    assert not verify(Layout(tmp_path / "nowhere")).ok


def flips(tmp_path: Path, count: int, seed: int) -> None:
    keeper = rich_store(tmp_path)
    layout, master = keeper.layout, keeper.bench.master
    assert verify(layout, master=master).ok
    chance = random.Random(seed)
    sizes = [(path, path.stat().st_size) for path in files_of(layout)]
    for at in chance.sample(range(sum(size for _, size in sizes)), count):
        path, place = _place(sizes, at)
        with path.open("r+b") as file:
            file.seek(place)
            (before,) = file.read(1)
            file.seek(place)
            file.write(bytes([before ^ chance.randrange(1, 256)]))
            file.flush()
            report = verify(layout, master=master)
            file.seek(place)
            file.write(bytes([before]))
        assert not report.ok, f"{path.name} at {place} of {path.stat().st_size}"
        named = {problem.where.partition(":")[0] for problem in report.problems}
        # With another public key every signature is wrong, and it is those that are named besides.
        assert path.relative_to(layout.root).as_posix() in named or path == layout.signing_public, (path, named)
    assert verify(layout, master=master).ok
    keeper.bench.close()


def _place(sizes: list[tuple[Path, int]], at: int) -> tuple[Path, int]:
    """Byte `at` of all files together: which file, and where in it."""
    for path, size in sizes:
        if at < size:
            return path, at
        at -= size
    raise IndexError(at)


@pytest.mark.promise(12)
def test_each_of_many_changed_bytes_is_found_and_its_file_named(tmp_path: Path) -> None:
    flips(tmp_path, 250, seed=1)


@pytest.mark.promise(12)
@pytest.mark.long
def test_each_of_a_thousand_changed_bytes_is_found_and_its_file_named(tmp_path: Path) -> None:
    flips(tmp_path, 1000, seed=2)


def test_each_file_that_is_taken_away_is_found(tmp_path: Path) -> None:
    keeper = rich_store(tmp_path)
    layout, master = keeper.layout, keeper.bench.master
    for path in files_of(layout):
        if path in (layout.signing_key, layout.master_key):
            continue  # without them nothing new can be signed or read; nothing that was signed has changed
        aside = tmp_path / "aside"
        path.rename(aside)
        report = verify(layout, master=master)
        aside.rename(path)
        assert not report.ok, path
    assert verify(layout, master=master).ok
    keeper.bench.close()


def test_each_file_that_is_cut_is_found(tmp_path: Path) -> None:
    keeper = rich_store(tmp_path, live=False)
    layout, master = keeper.layout, keeper.bench.master
    chance = random.Random(3)
    for path in files_of(layout):
        whole = path.read_bytes()
        content = len(whole.rstrip(b"\0"))
        for size in {0, content - 1, *(chance.randrange(1, content) for _ in range(4))}:
            path.write_bytes(whole[:size])
            assert not verify(layout, master=master).ok, (path, size, content)
        path.write_bytes(whole)
    assert verify(layout, master=master).ok


def test_rows_cut_from_the_tail_are_found_also_when_the_zeros_are_put_back(tmp_path: Path) -> None:
    layout = store(tmp_path)
    bench = Bench(layout)
    for _ in range(5):
        bench.request()
    keeper = Keeper(bench)
    keeper.checkpoint()
    path = layout.segment(bench.incarnation, 1)
    data = path.read_bytes()
    content = len(data.rstrip(b"\0"))
    path.write_bytes(data[: content - 200] + bytes(len(data) - content + 200))
    (problem, *_) = verify(layout).problems
    assert "log/open/" in problem.where
    bench.close()


def test_lines_cut_from_the_chain_are_found(tmp_path: Path) -> None:
    keeper = rich_store(tmp_path, live=False)
    layout = keeper.layout
    lines = layout.chain.read_bytes().splitlines(keepends=True)
    for kept in range(len(lines)):
        layout.chain.write_bytes(b"".join(lines[:kept]))
        assert not verify(layout).ok
    layout.chain.write_bytes(b"".join(lines))
    assert verify(layout).ok


def test_a_chain_put_back_with_its_head_is_found_by_who_remembers_a_later_one(tmp_path: Path) -> None:
    layout = store(tmp_path)
    bench = Bench(layout)
    keeper = Keeper(bench)
    bench.request()
    bench.log.roll()
    keeper.seal()
    shutil.copytree(layout.root, tmp_path / "old")
    bench.request()
    bench.close()
    keeper.seal()
    now = Chain(layout).snapshot()
    known = Remembered(head=Head(now.seq, now.digest))
    assert verify(layout, known=known).ok
    old = Layout(tmp_path / "old")
    for path in old.open_log.iterdir():
        path.unlink()
    assert verify(old).ok
    assert not verify(old, known=known).ok


def test_a_line_that_was_never_committed_does_not_count(tmp_path: Path) -> None:
    keeper = rich_store(tmp_path, live=False)
    with keeper.layout.chain.open("ab") as file:
        file.write(b'{"seq":99,"time_ns":1')
    assert verify(keeper.layout).ok
    keeper.bench = Bench(keeper.layout)
    keeper.bench.request()
    keeper.bench.close()
    keeper.seal()
    assert verify(keeper.layout).ok


def test_an_exchange_that_evidence_speaks_of_must_be_what_it_says(tmp_path: Path) -> None:
    bench = Bench(store(tmp_path))
    keeper = Keeper(bench)
    ids = [bench.request(), bench.request()]
    one, other = read(keeper.layout, ids=ids)
    put_verdict(keeper, [(one, msgspec.structs.replace(other, digest="0" * 64))])
    report = verify(keeper.layout)
    assert [f"exchange {other.id} is not what the evidence says"] == [problem.what for problem in report.problems]
    bench.close()


def test_without_the_master_key_bodies_are_found_but_not_decrypted_and_that_is_said(tmp_path: Path) -> None:
    keeper = rich_store(tmp_path)
    report = verify(keeper.layout)
    assert report.ok
    assert not report.counts.bodies_checked
    assert any("not decrypted" in note for note in report.notes)
    keeper.bench.close()
