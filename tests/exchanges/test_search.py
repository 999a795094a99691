"""A kept relation sees each exchange once, sealed or not; searching it gives the newest that fit."""

from datetime import datetime
from pathlib import Path

import msgspec
import pytest

from tests.exchanges.loop import Bench, die, held, store
from tests.exchanges.stores import Keeper
from weighbridge.exchanges.kept import KeptRelation
from weighbridge.exchanges.reader import read
from weighbridge.exchanges.relation import relation
from weighbridge.exchanges.search import Page, Spans, Wanted, find, search, utc
from weighbridge.records.frames import Held

SECOND = 1_000_000_000
START = 1_764_000_000 * SECOND


def ids(kept: KeptRelation) -> list[str]:
    kept.refresh()
    with kept.cursor() as sql:
        return [row[0] for row in sql.execute(f"SELECT id FROM {kept.source()} ORDER BY id").fetchall()]  # noqa: S608 (our own text)


def at(bench: Bench, second: int, like: Held | None = None) -> str:
    return bench.request(like=msgspec.structs.replace(like or held("-"), time_ns=START + second * SECOND))


def asked(kept: KeptRelation, wanted: Wanted, spans: Spans | None = None) -> Page:
    kept.refresh()
    return search(kept, wanted, spans or {})


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(store(tmp_path))


def test_each_exchange_is_there_once_before_during_and_after_sealing(bench: Bench) -> None:
    keeper = Keeper(bench)
    kept = KeptRelation(bench.layout)
    made = [bench.request() for _ in range(3)]
    assert made == ids(kept)
    running = bench.begin()
    bench.loop.turn()
    bench.log.roll()
    keeper.seal()
    made.append(bench.request())
    assert made == ids(kept)
    bench.end(running.id)
    bench.loop.turn()
    assert sorted([*made, running.id]) == ids(kept)
    bench.log.roll()
    keeper.seal()
    assert sorted([*made, running.id]) == ids(kept)
    assert sorted([*made, running.id]) == ids(KeptRelation(bench.layout))
    bench.close()


def test_one_that_starts_late_sees_what_an_earlier_one_sees(bench: Bench) -> None:
    keeper, early = Keeper(bench), KeptRelation(bench.layout)
    bench.request()
    running = bench.begin()
    bench.loop.turn()
    ids(early)
    bench.log.roll()
    keeper.seal()
    bench.end(running.id)  # begins in a sealed segment, ends in an open one
    bench.loop.turn()
    assert ids(early) == ids(KeptRelation(bench.layout))
    assert 2 == len(ids(early))
    bench.close()


def test_what_a_dead_worker_left_open_is_lost_until_its_segment_is_sealed(bench: Bench) -> None:
    kept = KeptRelation(bench.layout)
    bench.request()
    bench.begin()
    bench.loop.turn()
    assert 1 == len(ids(kept))
    die(bench)
    assert 2 == len(ids(kept))
    assert ["lost"] == [row.outcome for row in asked(kept, Wanted(outcome="lost")).rows]
    Keeper(bench).seal()
    kept.refresh()
    with relation(bench.layout) as sealed, kept.cursor() as sql:
        expected = sealed.execute("SELECT id, outcome FROM exchanges ORDER BY id").fetchall()
        assert expected == sql.execute(f"SELECT id, outcome FROM {kept.source()} ORDER BY id").fetchall()  # noqa: S608 (our own text)


def test_the_newest_come_first_and_the_next_page_goes_on_behind(bench: Bench) -> None:
    keeper = Keeper(bench)
    made = [at(bench, number) for number in range(6)]
    bench.log.roll()
    keeper.seal()
    made += [at(bench, number) for number in range(6, 10)]
    kept = KeptRelation(bench.layout)
    first = asked(kept, Wanted(limit=4))
    assert [*reversed(made)][:4] == [row.id for row in first.rows]
    assert first.more
    last = first.rows[-1]
    second = asked(kept, Wanted(limit=6, after=(last.time, last.id)))
    assert [*reversed(made)][4:] == [row.id for row in second.rows]
    assert not second.more
    bench.close()


def test_files_older_than_what_was_found_are_not_read(bench: Bench) -> None:
    keeper = Keeper(bench)
    kept = KeptRelation(bench.layout)
    spans: dict[str, tuple[datetime, datetime]] = {}
    for number in range(20):
        at(bench, number)
        bench.log.roll()
        keeper.seal()
        kept.refresh()
        new = next(name for name in kept.rows if name not in spans)
        spans[new] = (utc(START + number * SECOND), utc(START + number * SECOND))
    for name, (first, _) in spans.items():
        if first < utc(START + 10 * SECOND):
            (bench.layout.root / name).unlink()  # reading it would fail
    found = search(kept, Wanted(limit=3), spans)
    assert [utc(START + number * SECOND) for number in (19, 18, 17)] == [row.time for row in found.rows]
    since = search(kept, Wanted(since=utc(START + 15 * SECOND)), spans)
    assert 5 == len(since.rows)
    bench.close()


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(user="ada"), {0}),
        (Wanted(route="other"), {1}),
        (Wanted(slice="task=chat"), {2}),
        (Wanted(purpose="trial"), {3}),
        (Wanted(team="support", route="assistant"), {0, 2, 3}),
        (Wanted(teams=("support",)), {0, 1, 2, 3}),
        (Wanted(teams=()), set()),
        (Wanted(teams=("other-team",), user="ada"), set()),
        (Wanted(user="a' OR 'a'='a"), set()),
        (Wanted(since=utc(START + 2 * SECOND)), {2, 3}),
        (Wanted(until=utc(START + 2 * SECOND)), {0, 1}),
    ],
)
def test_only_what_fits_is_found(bench: Bench, wanted: Wanted, expected: set[int]) -> None:
    like = [held("-", user="ada"), held("-", route="other"), held("-", slice="task=chat"), held("-", purpose="trial")]
    made = [at(bench, number, one) for number, one in enumerate(like)]
    assert expected == {made.index(row.id) for row in asked(KeptRelation(bench.layout), wanted).rows}
    bench.close()


def test_one_exchange_is_found_with_all_that_the_log_says_of_it(bench: Bench) -> None:
    keeper = Keeper(bench)
    made = []
    for _ in range(3):
        made.append(bench.request())
        bench.log.roll()
        keeper.seal()
    slow = bench.begin()
    bench.loop.turn()
    for _ in range(3):
        bench.log.roll()
        keeper.seal()
    bench.end(slow.id)
    bench.loop.turn()
    kept = KeptRelation(bench.layout)
    kept.refresh()
    expected = {one.id: one for one in read(bench.layout)}
    for identity in (*made, slow.id):
        assert expected[identity] == find(kept, identity)
    assert find(kept, f"{bench.incarnation}-ffff") is None
    assert find(kept, "../../etc/passwd") is None
    bench.close()
