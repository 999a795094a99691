"""Concurrency: up while all is well, halved when the host asks for less."""

import pytest

from weighbridge.trials.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_it_grows_by_one_a_round_and_never_past_the_most() -> None:
    pace = Pace(6, Clock())
    assert pace.limit == 4
    for _ in range(5):
        pace.went_well()
    assert pace.limit == 5
    for _ in range(100):
        pace.went_well()
    assert pace.limit == 6


def test_a_burst_of_refusals_halves_it_once() -> None:
    clock = Clock()
    pace = Pace(64, clock)
    for _ in range(1000):
        pace.went_well()
    before = pace.limit
    for _ in range(20):
        pace.throttled(None)
    assert pace.limit == before // 2
    clock.now += 2
    pace.throttled(None)
    assert pace.limit == before // 4


def test_it_never_falls_below_one() -> None:
    clock = Clock()
    pace = Pace(2, clock)
    for _ in range(10):
        clock.now += 2
        pace.throttled(None)
    assert pace.limit == 1


def test_retry_after_quiets_new_replays_until_then() -> None:
    clock = Clock()
    pace = Pace(8, clock)
    pace.throttled(5.0)
    assert pace.pause_s == 5.0
    clock.now += 6
    assert pace.pause_s == 0.0


def test_a_concurrency_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="1 or more"):
        Pace(0)
