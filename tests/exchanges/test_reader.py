"""Reading the log while it is written, after its writer died, and behind damage."""

from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from tests.exchanges.loop import Bench, attempted, die, finished, held, posted, store
from weighbridge.exchanges.framing import Corrupt, Scan
from weighbridge.exchanges.reader import BodyReader, Follower, read
from weighbridge.store.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return store(tmp_path)


def test_a_finished_exchange_is_read_once_with_what_every_frame_said(layout: Layout) -> None:
    bench = Bench(layout)
    identity = bench.request(like=held("-", user="ann", trial="t-1", item="x-1", redacted=True))
    (exchange,) = read(layout)
    assert identity == exchange.id
    assert ("ok", 200, "gpt-4o", 1_420_000) == (exchange.outcome, exchange.status, exchange.arm, exchange.cost_nanousd)
    assert ("ann", "t-1", "x-1", True) == (exchange.user, exchange.trial, exchange.item, exchange.redacted)
    (attempt,) = exchange.attempts
    assert ("openai", "gpt-4o-2024-08-06", ("model",), "stop") == (
        attempt.endpoint, attempt.model, attempt.edits, attempt.finish_reason,
    )  # fmt: skip
    assert exchange.usage is not None
    assert 376 == exchange.usage.total
    bench.close()


def test_a_running_exchange_is_left_out_and_lost_once_its_worker_is_gone(layout: Layout) -> None:
    bench = Bench(layout)
    bench.request()
    running = bench.begin()
    bench.loop.turn()
    assert ["ok"] == [one.outcome for one in read(layout)]
    die(bench)
    assert [(running.id, "lost")] == [(one.id, one.outcome) for one in read(layout) if one.outcome != "ok"]


def test_an_exchange_that_spans_segments_is_put_together(layout: Layout) -> None:
    bench = Bench(layout)
    frame = bench.begin()
    bench.loop.turn()
    assert 2 == bench.log.roll()
    bench.end(frame.id)
    bench.loop.turn()
    assert [frame.id] == [one.id for one in read(layout)]
    bench.close()


def test_filters_take_what_fits_all_of_them(layout: Layout) -> None:
    bench = Bench(layout)
    bench.request(like=held("-", slice="task=math"))
    bench.request(like=held("-", purpose="trial", trial="t-1"))
    late = bench.request(like=held("-", route="other", user="ann", key="k2", time_ns=1_764_000_009_000_000_000))
    assert 1 == len(list(read(layout, slice="task=math")))
    assert 2 == len(list(read(layout, purpose="user")))
    assert 0 == len(list(read(layout, purpose="user", trial="t-1")))
    for found in (
        read(layout, route="other"),
        read(layout, user="ann"),
        read(layout, key="k2"),
        read(layout, since_ns=1_764_000_009_000_000_000),
        read(layout, ids=[late]),
    ):
        assert [late] == [one.id for one in found]
    assert 2 == len(list(read(layout, until_ns=1_764_000_009_000_000_000)))
    bench.close()


def test_the_digest_is_over_the_stored_bytes_of_all_frames_in_order(layout: Layout) -> None:
    bench = Bench(layout)
    bench.request()
    bench.close()
    (path,) = layout.open_log.iterdir()
    joined = b"".join(bytes(payload) for _, payload in Scan(path.read_bytes()))
    assert sha256(joined).hexdigest() == next(iter(read(layout))).digest


def test_a_changed_byte_in_the_middle_is_named_and_reading_can_go_on_behind_it(layout: Layout) -> None:
    bench = Bench(layout)
    ids = [bench.request() for _ in range(3)]
    bench.close()
    (path,) = layout.open_log.iterdir()
    data = bytearray(path.read_bytes())
    offsets = [offset for offset, _ in Scan(bytes(data))]
    data[offsets[4] + 20] ^= 1  # the second exchange's `held`
    path.write_bytes(data)
    with pytest.raises(Corrupt) as caught:
        list(read(layout))
    assert (str(path), offsets[4]) == (caught.value.file, caught.value.offset)
    reported: list[Corrupt] = []
    assert [ids[0], ids[2]] == [one.id for one in read(layout, damaged=reported.append)]
    assert [offsets[4]] == [one.offset for one in reported]


def test_a_follower_reports_each_exchange_once_as_it_ends(layout: Layout) -> None:
    bench = Bench(layout)
    bench.request()
    running = bench.begin()
    bench.loop.turn()
    follower = Follower(layout)
    assert [] == follower.poll()
    bench.end(running.id)
    bench.loop.turn()
    new = bench.request()
    assert [running.id, new] == [one.id for one in follower.poll()]
    assert [] == follower.poll()
    bench.log.roll()
    rolled = bench.request()
    assert [rolled] == [one.id for one in follower.poll()]
    other = Bench(layout)
    elsewhere = other.request()
    lost = other.begin()
    assert [elsewhere] == [one.id for one in follower.poll()]
    other.loop.turn()
    die(other)
    assert [(lost.id, "lost")] == [(one.id, one.outcome) for one in follower.poll()]
    assert [] == follower.poll()
    bench.close()
    assert 6 == len(Follower(layout, history=True).poll())


def test_bodies_are_read_back_from_open_segments(layout: Layout) -> None:
    bench = Bench(layout)
    bench.request(b'{"q":"hello"}', b'{"a":"world"}')
    (exchange,) = read(layout)
    reader = BodyReader(layout, bench.master)
    assert b'{"q":"hello"}' == reader.get(exchange.request)
    assert b'{"a":"world"}' == reader.get(exchange.response)
    later = bench.request(b"later")
    assert b"later" == reader.get(next(one for one in read(layout) if one.id == later).request)
    bench.close()


def test_a_body_that_was_not_captured_is_none(layout: Layout) -> None:
    bench = Bench(layout, bodies=False)
    bench.request()
    (exchange,) = read(layout)
    assert exchange.request is None
    assert BodyReader(layout, bench.master).get(exchange.request) is None
    bench.close()


def test_the_cost_is_unknown_as_soon_as_one_attempt_is(layout: Layout) -> None:
    bench = Bench(layout, bodies=False)
    frame = bench.begin()
    bench.log.append(attempted(frame.id))
    bench.log.append(msgspec.structs.replace(posted(frame.id), cost_nanousd=None, usage=None))
    bench.log.append(attempted(frame.id, 2))
    bench.log.append(posted(frame.id, 2))
    bench.log.append(finished(frame.id))
    bench.loop.turn()
    (exchange,) = read(layout)
    assert exchange.cost_nanousd is None
    assert [None, 1_420_000] == [attempt.cost_nanousd for attempt in exchange.attempts]
    bench.close()
