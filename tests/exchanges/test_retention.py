"""What is past its days goes, with a signed reason, and nothing earlier."""

from pathlib import Path

import pytest

from tests.exchanges.loop import Bench, held, store
from tests.exchanges.stores import Keeper, put_verdict
from weighbridge.clock import JumpingClock
from weighbridge.exchanges.bodies import DAY_NS
from weighbridge.exchanges.reader import BodyReader, read
from weighbridge.exchanges.retention import Retired, retire
from weighbridge.exchanges.verify import verify

START_NS = 1_764_028_800_000_000_000  # 2025-11-25T00:00:00Z


class Store:
    """A store with one request on each of some days, sealed."""

    def __init__(self, folder: Path, days: int) -> None:
        self.clock = JumpingClock(START_NS)
        self.bench = Bench(store(folder), wall_ns=self.clock.wall_ns)
        self.keeper, self.layout = Keeper(self.bench), self.bench.layout
        for _ in range(days):
            self.bench.request(b"q", b"a", like=held("-", time_ns=self.clock.wall_ns()))
            self.bench.log.roll()
            self.clock.advance(86_400)
        self.keeper.seal()

    def retire(self, *, keep_days: int = 30, keep_rows_days: int = 800) -> Retired:
        return retire(
            self.layout, self.keeper.chain, self.keeper.key, keep_days=keep_days, keep_rows_days=keep_rows_days,
            time_ns=self.clock.wall_ns(),
        )  # fmt: skip

    def states(self) -> list[object]:
        reader = BodyReader(self.layout, self.bench.master)
        return [reader.get(one.request) for one in read(self.layout)]


def test_bodies_are_kept_for_their_days_and_then_go_with_their_key(tmp_path: Path) -> None:
    kept = Store(tmp_path, days=5)  # it is the sixth day now
    assert 0 == kept.retire(keep_days=5).body_folders
    assert 2 == kept.retire(keep_days=3).body_folders
    assert ["erased", "erased", b"q", b"q", b"q"] == kept.states()
    days = sorted(path.name for path in kept.layout.bodies.iterdir() if path != kept.layout.open_bodies)
    assert ["2025-11-27", "2025-11-28", "2025-11-29"] == days
    assert "intact, 4 bodies past their days" == verify(kept.layout, master=kept.bench.master).summary
    assert 0 == kept.retire(keep_days=3).body_folders
    kept.bench.close()


def test_rows_go_by_whole_segments_when_their_last_frame_is_too_old(tmp_path: Path) -> None:
    kept = Store(tmp_path, days=4)
    assert 0 == kept.retire(keep_rows_days=4).segments
    assert 2 == kept.retire(keep_rows_days=2).segments
    assert 2 == len(list(read(kept.layout)))
    assert 2 == len(list(kept.layout.rows.iterdir())) == len(list(kept.layout.sealed_log.iterdir()))
    report = verify(kept.layout, master=kept.bench.master)
    assert report.ok, report.problems
    kept.bench.close()


def test_evidence_on_retired_rows_is_counted_and_not_called_damage(tmp_path: Path) -> None:
    kept = Store(tmp_path, days=2)
    put_verdict(kept.keeper, [tuple(read(kept.layout))])  # type: ignore[list-item]
    kept.clock.advance(10 * 86_400)
    kept.retire(keep_rows_days=5)
    report = verify(kept.layout, master=kept.bench.master)
    assert report.ok, report.problems
    assert 2 == report.counts.pairs_retired
    kept.bench.close()


def test_a_late_body_of_a_retired_day_is_not_sealed_back_in(tmp_path: Path) -> None:
    kept = Store(tmp_path, days=1)
    kept.clock.jump_wall(-86_400)
    kept.bench.request(b"late", b"late")
    kept.clock.jump_wall(40 * 86_400)
    assert 1 == kept.retire().body_folders
    kept.bench.close()
    assert [] == kept.keeper.seal().problems
    assert ["erased", "erased"] == kept.states()
    assert verify(kept.layout, master=kept.bench.master).ok


def test_wherever_retiring_stops_the_next_run_ends_it(tmp_path: Path) -> None:
    class Stop(Exception):  # noqa: N818 (not an error: the machine stops here)
        pass

    def stop(_: str) -> None:
        raise Stop

    kept = Store(tmp_path, days=2)
    with pytest.raises(Stop):
        retire(
            kept.layout, kept.keeper.chain, kept.keeper.key, keep_days=0, keep_rows_days=0,
            time_ns=START_NS + 10 * DAY_NS, step=stop,
        )  # fmt: skip
    assert verify(kept.layout, master=kept.bench.master).ok
    kept.retire()
    assert [kept.layout.open_bodies] == list(kept.layout.bodies.iterdir())
    assert [] == [*kept.layout.sealed_log.iterdir(), *kept.layout.rows.iterdir()]
    assert verify(kept.layout, master=kept.bench.master).ok
    kept.bench.close()
