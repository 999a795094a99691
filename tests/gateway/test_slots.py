"""Places at an endpoint, and the queue before it."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from weighbridge.gateway.slots import Slots, share_of


@dataclass
class Waiting:
    name: int
    events: list[str] = field(default_factory=list)
    done: bool = False

    def place_given(self) -> None:
        self.events.append("given")

    def waited_too_long(self) -> None:
        self.events.append("late")
        self.done = True


@given(st.integers(1, 64), st.integers(0, 1000))
def test_the_workers_parts_sum_to_the_limit(workers: int, more: int) -> None:
    limit = workers + more
    assert limit == sum(share_of(limit, workers, index) for index in range(workers))


def test_places_are_given_in_the_order_of_asking() -> None:
    slots: Slots[Waiting] = Slots(1, 2, 20)
    rows = [Waiting(number) for number in range(4)]
    assert ["in", "waits", "waits", "full"] == [slots.enter(row, 0) for row in rows]
    slots.leave()
    slots.leave()
    assert [[], ["given"], ["given"], []] == [row.events for row in rows]


def test_whoever_waits_too_long_is_told_and_whoever_left_is_passed_over() -> None:
    slots: Slots[Waiting] = Slots(1, 5, 20)
    rows = [Waiting(number) for number in range(4)]
    for at, row in enumerate(rows):
        slots.enter(row, at)
    rows[1].done = True
    slots.expire(22)
    assert [[], [], ["late"], []] == [row.events for row in rows]
    slots.leave()
    assert ["given"] == rows[3].events
    assert 1 == slots.taken


def test_a_larger_limit_lets_the_waiting_in() -> None:
    slots: Slots[Waiting] = Slots(1, 5, 20)
    rows = [Waiting(number) for number in range(3)]
    for row in rows:
        slots.enter(row, 0)
    slots.resize(3, 5, 20)
    assert [[], ["given"], ["given"]] == [row.events for row in rows]


@given(st.integers(1, 5), st.integers(0, 5), st.lists(st.sampled_from(["enter", "leave", "tick", "gone"]), max_size=80))
def test_the_limits_hold_whatever_happens(limit: int, queue_max: int, events: list[str]) -> None:
    slots: Slots[Waiting] = Slots(limit, queue_max, 4)
    tick = inside = 0
    rows: list[Waiting] = []
    for number, event in enumerate(events):
        if event == "enter":
            row = Waiting(number)
            entry = slots.enter(row, tick)
            inside += entry == "in"
            if entry == "waits":
                rows.append(row)
        elif event == "leave" and inside:
            given_before = sum(row.events.count("given") for row in rows)
            slots.leave()
            inside += sum(row.events.count("given") for row in rows) - given_before - 1
        elif event == "tick":
            tick += 1
            slots.expire(tick)
        elif event == "gone" and rows and rows[-1].events == []:
            rows[-1].done = True
        assert inside == slots.taken <= limit
        assert len(slots.waiting) <= queue_max
        assert all(len(row.events) <= 1 for row in rows)
