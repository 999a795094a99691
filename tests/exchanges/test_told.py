"""What was told is found again without reading the log for it: by sealing, or by whoever asks first."""

from pathlib import Path

import pytest

from tests.exchanges.loop import Bench, store
from tests.exchanges.stores import Keeper
from weighbridge.exchanges import told as kept
from weighbridge.exchanges.reader import read
from weighbridge.exchanges.segments import Segment
from weighbridge.exchanges.told import told
from weighbridge.records.frames import Told
from weighbridge.store.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return store(tmp_path)


def outcome(number: int) -> Told:
    return Told(f"x-{number}", number, "app", "assistant", f"{number:016x}", "all", None, "resolved", number % 2)


def filled(layout: Layout) -> tuple[Bench, list[Told]]:
    """Several segments with requests and outcomes mixed."""
    bench = Bench(layout, segment_bytes_max=3000)
    frames = [outcome(number) for number in range(20)]
    for frame in frames:
        bench.request()
        bench.log.append(frame)
        bench.loop.turn()
    bench.close()
    return bench, frames


def by_reading(layout: Layout) -> list[Told]:
    found: list[Told] = []
    for _ in read(layout, told=found.append):
        pass
    return found


def test_outcomes_are_the_same_open_sealed_and_with_what_was_kept_removed(layout: Layout) -> None:
    bench, frames = filled(layout)
    assert frames == list(told(layout)) == by_reading(layout)
    assert Keeper(bench).seal().segments > 2
    assert frames == list(told(layout)) == by_reading(layout)
    for path in layout.told.iterdir():
        path.unlink()
    assert frames == list(told(layout))
    assert any(path.stat().st_size for path in layout.told.iterdir())


def test_a_sealed_segment_is_not_read_again_for_its_outcomes(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, frames = filled(layout)
    Keeper(bench).seal()

    def refuse(segment: Segment) -> object:
        raise AssertionError(f"{segment.name} was read")

    monkeypatch.setattr(kept, "told_in", refuse)
    assert frames == list(told(layout))


def test_what_is_kept_and_cannot_be_read_is_made_again(layout: Layout) -> None:
    bench, frames = filled(layout)
    Keeper(bench).seal()
    for path in layout.told.iterdir():
        path.write_bytes(b"not a line of ours\n")
    assert frames == list(told(layout))
    assert frames == list(told(layout))


def test_what_is_kept_of_segments_that_are_gone_is_removed(layout: Layout) -> None:
    bench, _ = filled(layout)
    Keeper(bench).seal()
    stray = layout.told / f"1-{'0' * 64}.jsonl"
    stray.write_bytes(b"")
    list(told(layout))
    assert not stray.exists()
