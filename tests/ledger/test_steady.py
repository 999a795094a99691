"""Promise 15: a clock that jumps opens no window early and none twice."""

import pytest

from weighbridge.ledger.steady import CONFIRM_NS, NS, STEP_NS, Anchor, LedgerClock
from weighbridge.ledger.windows import window_of

pytestmark = pytest.mark.promise(15)

HOUR, DAY = 3600 * NS, 86_400 * NS
NOON = 1_795_608_000 * NS
"""2026-11-25 12:00 UTC."""


class Machine:
    """A wall clock and a counting one, and the ledger's clock over both."""

    def __init__(self) -> None:
        self.wall, self.steady = NOON, 5 * HOUR
        self.clock = LedgerClock("boot-1")
        self.now()

    def now(self) -> int:
        return self.clock.now_ns(self.wall, self.steady)

    def live(self, ns: int, wall_too: int | None = None) -> None:
        """Time passes, looked at once a second or less often."""
        step = max(NS, ns // 100)
        for _ in range(ns // step):
            self.wall += step if wall_too is None else wall_too
            self.steady += step
            self.now()


def test_time_that_passes_is_followed() -> None:
    machine = Machine()
    machine.live(3 * HOUR)
    assert NOON + 3 * HOUR == machine.now()


def test_a_step_of_a_day_forward_opens_no_window_and_back_again_none_twice() -> None:
    machine = Machine()
    opened = {window_of("day", "UTC", machine.now())}
    for step in (DAY, -DAY, -HOUR, HOUR, 365 * DAY, -365 * DAY):
        machine.wall += step
        opened.add(window_of("day", "UTC", machine.now()))
        machine.live(60 * NS)
        opened.add(window_of("day", "UTC", machine.now()))
    assert 1 == len(opened)
    assert NOON + 360 * NS == machine.now()
    assert 0 == machine.clock.step_ns


def test_a_step_that_stands_for_an_hour_is_believed() -> None:
    machine = Machine()
    machine.wall += DAY
    machine.live(CONFIRM_NS - 60 * NS)
    assert DAY == machine.clock.step_ns
    machine.live(120 * NS)
    assert (0, machine.wall) == (machine.clock.step_ns, machine.now())


def test_time_never_goes_back_even_when_a_step_back_is_believed() -> None:
    machine = Machine()
    before = machine.now()
    machine.wall -= DAY
    seen = []
    for _ in range(50):
        machine.live(200 * NS)
        seen.append(machine.now())
    assert sorted(seen) == seen
    assert before <= seen[0]


def test_a_slow_wall_clock_is_followed_not_suspected() -> None:
    machine = Machine()
    machine.live(10 * HOUR, wall_too=int(360 * NS * (1 - 200e-6)))
    assert (0, machine.wall) == (machine.clock.step_ns, machine.now())


def test_a_restart_in_the_same_boot_does_not_launder_a_step() -> None:
    machine = Machine()
    anchor = machine.clock.anchor
    assert anchor is not None
    again = LedgerClock("boot-1", anchor, machine.now())
    assert NOON + 10 * NS == again.now_ns(machine.wall + DAY, machine.steady + 10 * NS)


def test_after_a_start_of_the_machine_the_wall_is_believed_but_not_backwards() -> None:
    remembered = Anchor(NOON, 5 * HOUR, "boot-1")
    assert NOON + DAY == LedgerClock("boot-2", remembered, NOON).now_ns(NOON + DAY, NS)
    assert NOON == LedgerClock("boot-2", remembered, NOON).now_ns(NOON - DAY, NS)


def test_small_corrections_are_followed_at_once() -> None:
    machine = Machine()
    machine.wall += STEP_NS - 1
    assert machine.wall == machine.now()
