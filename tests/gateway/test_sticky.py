"""Who has which arm: a share grows without moving anybody it had, and a conversation keeps its arm over a step."""

import random
from pathlib import Path

import msgspec
import pytest

from tests.gateway.running import table as table_of
from weighbridge.gateway.lanes import Lanes
from weighbridge.gateway.sticky import KEEP_MINUTES, SLOTS, Memory
from weighbridge.gateway.way import Way
from weighbridge.records.ramp import RampInForce, Stage
from weighbridge.records.table import Share

MINUTE_NS = 60 * 10**9


class Clock:
    now_ns = 1_000_000 * MINUTE_NS

    def __call__(self) -> int:
        return self.now_ns


def way(basis_points: int, *, stage: Stage = "few", assignment: int = 0, memory: Memory | None = None) -> Way:
    table = table_of("http://127.0.0.1:9/v1")
    route = table.routes[0]
    candidate = route.candidates[0]
    rows = (
        Share(arm=route.incumbent, basis_points=10_000 - basis_points),
        Share(arm=candidate, basis_points=basis_points),
    )
    ramp = RampInForce(record="r", stage=stage, candidate=candidate, assignment=assignment)
    shares = tuple(row for row in rows if row.basis_points)
    table = msgspec.structs.replace(
        table, routes=(msgspec.structs.replace(route, shares=shares, ramp=ramp), *table.routes[1:])
    )
    made = Lanes(table, lambda _: "secret").ways[route.name]
    if made.ramped:
        made.memory = memory
    return made


def ids(count: int) -> list[int]:
    chance = random.Random(7)
    return [chance.getrandbits(64) for _ in range(count)]


@pytest.mark.promise(27)
def test_of_a_million_conversations_none_changes_its_arm_but_by_a_step_and_then_only_towards_the_candidate() -> None:
    known = ids(1_000_000)
    incumbent = way(0).lane_of(1).arm
    before = [incumbent] * len(known)
    for basis_points in (100, 500, 2500):
        lane_of = way(basis_points).lane_of
        after = [lane_of(one).arm for one in known]
        again = way(basis_points).lane_of
        assert all(again(one).arm == arm for one, arm in zip(known[:100_000], after, strict=False))
        moved_back = sum(old != incumbent and new != old for old, new in zip(before, after, strict=True))
        assert 0 == moved_back
        share = sum(arm != incumbent for arm in after) / len(known)
        assert share == pytest.approx(basis_points / 10_000, rel=0.05)
        before = after


def test_a_conversation_that_began_before_a_step_keeps_its_arm_after_it_on_every_worker(tmp_path: Path) -> None:
    clock = Clock()
    known = ids(20_000)
    one = Memory(tmp_path / "assignments", clock)
    lane_of = way(500, memory=one).lane_of
    before = [lane_of(each).arm for each in known]
    other = Memory(tmp_path / "assignments", clock)
    lane_of = way(5000, stage="half", memory=other).lane_of
    assert before == [lane_of(each).arm for each in known]
    fresh = [lane_of(each).arm for each in ids(40_000)[20_000:]]
    assert 10_000 == pytest.approx(fresh.count("open"), rel=0.1)


@pytest.mark.promise(27)
def test_nothing_before_a_rollback_is_remembered_after_it(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "assignments", Clock())
    known = ids(2000)
    lane_of = way(5000, stage="half", memory=memory).lane_of
    incumbent = way(0).lane_of(1).arm
    assert any(lane_of(each).arm != incumbent for each in known)
    back = way(0, stage="rolled_back", memory=memory).lane_of
    assert {incumbent} == {back(each).arm for each in known}
    again = way(100, stage="canary", assignment=1, memory=memory).lane_of
    assert sum(again(each).arm != incumbent for each in known) < 60


def test_a_day_after_the_last_request_the_table_in_force_decides(tmp_path: Path) -> None:
    clock = Clock()
    memory = Memory(tmp_path / "assignments", clock)
    memory.put(123 << 40, 9)
    clock.now_ns += (KEEP_MINUTES - 1) * MINUTE_NS
    assert 9 == memory.get(123 << 40)
    clock.now_ns += MINUTE_NS
    assert 0 == memory.get(123 << 40)


def test_a_hundred_thousand_conversations_are_kept_and_a_slot_of_another_key_is_no_match(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "assignments", Clock())
    known = ids(100_000)
    for each in known:
        memory.put(each, 5)
    assert sum(memory.get(each) == 5 for each in known) > 99_500
    assert 0 == sum(memory.get(each ^ 1) for each in known[:50_000])
    assert (tmp_path / "assignments").stat().st_size == SLOTS * 16
