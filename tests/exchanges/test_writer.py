"""The worker's end of the log: when callbacks come, what a segment is, what a worker loads."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from tests.exchanges.loop import Bench, finished, held, posted, store
from tests.faults.files import LosesUnsynced
from weighbridge.exchanges import writer
from weighbridge.exchanges.bodies import BodySealer, Captured
from weighbridge.exchanges.files import SystemFiles
from weighbridge.exchanges.framing import Scan
from weighbridge.exchanges.live import is_live
from weighbridge.exchanges.reader import BodyReader, read
from weighbridge.records.usage import Usage
from weighbridge.store.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return store(tmp_path)


class CountsWrites(SystemFiles):
    def __init__(self) -> None:
        self.writes = 0

    def pwritev(self, fd: int, buffers: object, offset: int) -> int:
        self.writes += 1
        return super().pwritev(fd, buffers, offset)  # type: ignore[arg-type]


def test_all_frames_of_a_loop_turn_are_one_write_and_all_bodies_another(layout: Layout) -> None:
    files = CountsWrites()
    bench = Bench(layout, files=files)
    bench.request()
    before = files.writes
    for _ in range(10):
        frame = bench.begin()
        bench.end(frame.id)
    bench.loop.turn()
    assert 2 == files.writes - before
    bench.close()


def test_a_callback_comes_after_its_frames_can_be_read_and_not_before(layout: Layout) -> None:
    bench = Bench(layout)
    seen: list[int] = []
    bench.begin()
    bench.log.when_written(lambda: seen.append(len(_payloads(layout))))
    assert [] == seen
    bench.loop.turn()
    assert [1] == seen
    bench.close()


def _payloads(layout: Layout) -> list[bytes]:
    return [bytes(payload) for path in layout.open_log.iterdir() for _, payload in Scan(path.read_bytes())]


def test_one_callback_that_fails_does_not_take_the_others_with_it(layout: Layout) -> None:
    bench = Bench(layout)
    called: list[int] = []

    def fails() -> None:
        raise ZeroDivisionError

    bench.begin()
    bench.log.when_written(fails)
    bench.log.when_written(lambda: called.append(1))
    with pytest.raises(ZeroDivisionError):
        bench.loop.turn()
    bench.loop.turn()
    assert [1] == called
    bench.close()


def test_in_power_durability_a_callback_waits_for_the_sync(layout: Layout) -> None:
    class Held(LosesUnsynced):
        synced = 0

        def fdatasync(self, fd: int) -> None:
            super().fdatasync(fd)
            self.synced += 1

    files = Held()
    bench = Bench(layout, files=files, durability="power", bodies=False)
    synced: list[int] = []
    bench.begin()
    bench.log.when_durable(lambda: synced.append(files.synced))
    bench.loop.turn()
    assert [] == synced
    bench.loop.turn_until(lambda: bool(synced))
    assert synced[0] >= 1
    bench.close()


def test_in_process_durability_it_waits_for_the_write_only(layout: Layout) -> None:
    bench = Bench(layout)
    called: list[int] = []
    bench.begin()
    bench.log.when_durable(lambda: called.append(1))
    bench.loop.turn()
    assert [1] == called
    bench.close()


def test_a_full_segment_is_followed_by_the_next_and_numbers_have_no_gap(layout: Layout) -> None:
    bench = Bench(layout, segment_bytes_max=2000)
    ids = [bench.request() for _ in range(20)]
    bench.close()
    numbers = sorted(int(path.stem.split("-")[1]) for path in layout.open_log.iterdir())
    assert list(range(1, len(numbers) + 1)) == numbers
    assert len(numbers) > 3
    assert ids == [one.id for one in read(layout)]


def test_roll_names_the_first_open_segment_and_does_nothing_when_nothing_was_written(layout: Layout) -> None:
    bench = Bench(layout)
    assert 1 == bench.log.roll()
    bench.request()
    assert 2 == bench.log.roll()
    assert 2 == bench.log.roll()
    bench.close()


def test_close_leaves_segments_cut_to_length_and_the_worker_gone(layout: Layout) -> None:
    bench = Bench(layout)
    bench.request()
    assert is_live(layout, bench.incarnation)
    bench.close()
    bench.close()
    assert not is_live(layout, bench.incarnation)
    for path in (*layout.open_log.iterdir(), *layout.open_bodies.iterdir()):
        scan = Scan(path.read_bytes())
        for _ in scan:
            pass
        assert ("closed", path.stat().st_size) == (scan.stop, scan.end)


def test_a_worker_that_wrote_nothing_leaves_nothing(layout: Layout) -> None:
    Bench(layout).close()
    assert [] == [*layout.open_log.iterdir(), *layout.open_bodies.iterdir(), *layout.run.iterdir()]


def test_files_are_private(layout: Layout) -> None:
    bench = Bench(layout)
    bench.request()
    for path in layout.root.rglob("*"):
        assert 0o700 if path.is_dir() else path.stat().st_mode & 0o777 == 0o600, path
    bench.close()


def test_a_large_body_has_room_beyond_a_chunk(layout: Layout) -> None:
    bench = Bench(layout, chunk_bytes=8 << 10)
    bench.request(b"q" * (3 << 20), b"a" * 100)
    (exchange,) = read(layout)
    assert b"q" * (3 << 20) == BodyReader(layout, bench.master).get(exchange.request)
    bench.close()


def test_a_worker_that_cannot_write_at_all_does_not_start(tmp_path: Path) -> None:
    layout = store(tmp_path)
    layout.open_log.rmdir()
    with pytest.raises(FileNotFoundError):
        Bench(layout)
    assert [] == list(layout.run.iterdir())


def test_frames_after_the_end_of_the_loop_turn_go_with_the_next(layout: Layout) -> None:
    bench = Bench(layout, bodies=False)
    frame = held(bench.next_id())
    bench.log.append(frame)
    bench.log.when_written(lambda: bench.log.append(finished(frame.id)))
    bench.loop.turn()
    assert 1 == len(_payloads(layout))
    bench.loop.turn()
    assert 2 == len(_payloads(layout))
    bench.close()


def test_a_frame_that_cannot_be_encoded_is_written_as_unknown_and_those_after_it_as_they_are(layout: Layout) -> None:
    bench = Bench(layout)
    first = bench.begin()
    bench.log.append(msgspec.structs.replace(posted(first.id), usage=Usage(10**30, 1)))
    bench.log.append(msgspec.structs.replace(finished(first.id), cost_nanousd=1 << 70))
    second = bench.request()
    assert [second] == bench.written
    one, two = read(layout)
    assert ("ok", None, None) == (one.outcome, one.cost_nanousd, one.attempts[0].usage)
    assert (second, 1_420_000) == (two.id, two.cost_nanousd)
    assert [] == bench.states
    bench.close()


def test_a_mistake_of_ours_while_writing_fails_those_who_wait_and_closes_admission(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(layout)
    called: list[str] = []

    def broken(*_: object) -> bytes:
        raise ZeroDivisionError("oops")

    with monkeypatch.context() as patch:
        patch.setattr(writer, "pack_prefix", broken)
        identity = bench.begin().id
        bench.log.when_written(lambda: called.append("written"), lambda: called.append("failed"))
        bench.loop.turn()
        bench.loop.turn()
        assert ["failed"] == called
        assert [("full", "the exchange log cannot be written: unexpected ZeroDivisionError: oops")] == bench.states
    bench.loop.turn_until(lambda: bench.log.state == "ok")
    bench.end(identity)
    bench.loop.turn()
    assert [identity] == [one.id for one in read(layout)]
    bench.close()


def test_bodies_that_fail_by_a_mistake_of_ours_are_spoken_of_in_no_frame(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(layout)
    real = BodySealer.seal

    def broken(sealer: BodySealer, captured: Sequence[Captured]) -> list[tuple[bytes, ...]]:
        real(sealer, captured)  # the references stand in the frames by then
        raise ZeroDivisionError("oops")

    with monkeypatch.context() as patch:
        patch.setattr(BodySealer, "seal", broken)
        bench.request()
    assert 1 == len(bench.written)
    (exchange,) = read(layout)
    assert (None, None) == (exchange.request, exchange.response)
    assert "no_bodies" == bench.states[0][0]
    bench.close()


def test_the_writer_and_the_bodies_load_nothing_heavy() -> None:
    code = (
        "import sys; from weighbridge.exchanges import writer, bodies, redact; "
        "heavy = {'numpy','duckdb','jinja2','rich','typer','apsw','genai_prices','prometheus_client','jsonschema',"
        "'license_expression','zstandard'} & set(sys.modules); sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
