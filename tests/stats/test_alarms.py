"""Alarms: a false one is as rare as promised, a true one as fast as promised, also after the plan and over stages."""

import math
import random
from statistics import median

import pytest

from weighbridge.stats.alarms import (
    RISE,
    ControlAlarm,
    PairAlarm,
    RateAlarm,
    TurnAlarm,
    pairs_until,
    rated_until,
    threshold,
    units_until,
)


def control_delay(
    share: float, low: float, high: float, seed: int, *, planned: int = 1000, level: float = 0.025 / 8
) -> float:
    """Candidate requests until the alarm; requests without an event change nothing and are skipped by their number."""
    chance = random.Random(seed)
    alarm = ControlAlarm(share, planned, level)
    rate = share * high + (1 - share) * low
    quiet = share * (1 - high) / (1 - rate)
    requests = 0.0
    for _ in range(200_000):
        requests += math.log(1.0 - chance.random()) / math.log(1.0 - rate) * quiet
        candidate = chance.random() < share * high / rate
        requests += candidate
        if alarm.event(candidate=candidate):
            return requests
    return math.inf


def test_the_threshold_spends_the_level_and_no_more_however_long_the_stream_is() -> None:
    planned, level = 500, 0.01
    ends = [planned] + [planned * 2**j for j in range(1, 40)]
    spent = sum(end / threshold(planned, level, end) for end in ends)
    assert spent == pytest.approx(level, rel=1e-9)
    assert threshold(planned, level, 0) < threshold(planned, level, planned + 1)


def test_the_threshold_never_falls() -> None:
    values = [threshold(100, 0.01, seen) for seen in range(1000)]
    assert values == sorted(values)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.25, 0.5])
def test_no_factor_of_the_control_alarm_has_a_mean_over_one_without_a_difference(share: float) -> None:
    for ratio in (1.0, 1.5):
        alarm = ControlAlarm(share, 100, 0.01, ratio)
        null = ratio * share / (ratio * share + 1 - share)
        for up, down in zip(alarm._candidate, alarm._control, strict=True):
            assert null * up + (1 - null) * down == pytest.approx(1.0)
            assert null / 2 * up + (1 - null / 2) * down < 1.0


def test_an_equal_candidate_is_rarely_taken_back_also_where_the_stream_is_twice_as_long_as_planned() -> None:
    planned, level, runs = 200, 0.2, 400
    alarms = 0
    for seed in range(runs):
        chance = random.Random(seed)
        used = 0
        for share in (0.05, 0.25, 0.5, 0.5):  # four stages, each with a fresh detector
            alarm = ControlAlarm(share, planned, level, used=used)
            for _ in range(planned // 2):
                alarm.event(candidate=chance.random() < share)
            used = alarm.seen
            if alarm.alarmed:
                alarms += 1
                break
    assert alarms / runs <= level


def test_an_equal_candidate_at_the_margin_is_rarely_taken_back_by_pairs() -> None:
    planned, level, runs = 500, 0.2, 300
    alarms = 0
    for seed in range(runs):
        chance = random.Random(seed)
        alarm = PairAlarm(0.03, planned, level)
        for _ in range(planned):  # E[D] = -0.03 exactly: a fifth of the pairs differ
            u = chance.random()
            alarm.pair(-1.0 if u < 0.115 else 1.0 if u < 0.2 else 0.0)
        alarms += alarm.alarmed
    assert alarms / runs <= level


def test_a_rate_at_its_bound_rarely_alarms() -> None:
    planned, level, runs = 2000, 0.2, 150
    alarms = 0
    for seed in range(runs):
        chance = random.Random(seed)
        alarm = RateAlarm(0.02, planned, level)
        for _ in range(planned):
            alarm.unit(bad=chance.random() < 0.02)
        alarms += alarm.alarmed
    assert alarms / runs <= level


@pytest.mark.parametrize(
    ("low", "high", "at_5", "at_25"),
    [(0.01, 0.5, 15, 30), (0.01, 0.1, 100, 180), (0.01, 0.03, 900, 1400), (0.05, 0.25, 70, 100)],
)
def test_a_rise_of_errors_is_found_within_the_promised_candidate_requests(
    low: float, high: float, at_5: int, at_25: int
) -> None:
    runs = 301 if high / low < 4 else 2001
    assert median(control_delay(0.05, low, high, seed) for seed in range(runs)) <= at_5
    assert median(control_delay(0.25, low, high, seed) for seed in range(runs)) <= at_25


def test_doubled_latency_is_found_within_the_promised_candidate_requests() -> None:
    assert median(control_delay(0.05, 0.1, 0.5, seed, planned=3000) for seed in range(1501)) <= 35
    assert median(control_delay(0.25, 0.1, 0.5, seed, planned=3000) for seed in range(1501)) <= 60


@pytest.mark.parametrize(("worse", "better", "promised"), [(0.14, 0.04, 600), (0.22, 0.02, 200)])
def test_a_fall_of_quality_is_found_within_the_promised_pairs(worse: float, better: float, promised: int) -> None:
    def delay(seed: int) -> int:  # the same request for both arms: most pairs agree
        chance = random.Random(seed)
        alarm = PairAlarm(0.03, 2000, 0.025)
        while not alarm.pair(-1.0 if (u := chance.random()) < worse else 1.0 if u < worse + better else 0.0):
            pass
        return alarm.seen

    assert median(delay(seed) for seed in range(301)) <= promised


@pytest.mark.parametrize(("after", "promised"), [(0.8, 700), (0.7, 200)])
def test_a_fall_of_quality_is_found_within_the_promised_answers_to_different_requests(
    after: float, promised: int
) -> None:
    def delay(seed: int) -> int:
        chance = random.Random(seed)
        alarm = TurnAlarm(0.03, 2000, 0.025)
        while not alarm.alarmed:
            alarm.score(float(chance.random() < after), candidate=True)
            alarm.score(float(chance.random() < 0.9), candidate=False)
        return alarm.seen

    assert median(delay(seed) for seed in range(1001)) <= promised


def test_answers_of_both_arms_are_paired_in_turn_and_a_fall_is_found() -> None:
    chance = random.Random(3)
    alarm = TurnAlarm(0.03, 2000, 0.025)
    for _ in range(20_000):
        candidate = chance.random() < 0.25
        if alarm.score(float(chance.random() < (0.7 if candidate else 0.9)), candidate=candidate):
            break
    assert alarm.alarmed
    assert alarm.seen <= 400


def test_each_score_is_used_in_one_pair_at_most() -> None:
    alarm = TurnAlarm(0.03, 100, 0.1)
    for _ in range(5):
        alarm.score(1.0, candidate=True)
    alarm.score(0.0, candidate=False)
    assert 1 == alarm.seen
    for _ in range(9):
        alarm.score(0.0, candidate=False)
    assert 5 == alarm.seen


def test_an_alarm_stays() -> None:
    alarm = RateAlarm(0.01, 10, 0.4)
    while not alarm.unit(bad=True):
        pass
    before = alarm.state
    assert alarm.unit(bad=False)
    assert before == alarm.state


def test_the_outlook_is_near_what_is_simulated() -> None:
    found = median(control_delay(0.05, 0.01, 0.1, seed) for seed in range(101))
    assert units_until(0.1, 0.05, 1000, 0.025 / 8) == pytest.approx(found, rel=0.2)
    assert math.isinf(units_until(0.01, 0.05, 1000, 0.01, baseline=0.01))
    assert math.isinf(pairs_until(0.02, 0.03, 1000, 0.01))
    assert pairs_until(0.1, 0.03, 2000, 0.025, variance=0.25) == pytest.approx(673, rel=0.2)  # of TurnAlarm, simulated


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_without_a_control_there_is_no_control_alarm(share: float) -> None:
    with pytest.raises(ValueError, match="share is"):
        ControlAlarm(share, 100, 0.01)


def test_a_bound_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(ValueError, match="bound is"):
        RateAlarm(0.95, 100, 0.01)
    assert 6 == len(RISE)


def test_how_long_it_takes_without_a_control_is_foreseen() -> None:
    chance, found = random.Random(7), []
    for _ in range(60):
        alarm, units = RateAlarm(0.012, 1000, 0.0025), 0
        while not alarm.alarmed:
            units += 1
            alarm.unit(bad=chance.random() < 0.1)
        found.append(units)
    assert rated_until(0.1, 0.012, 1000, 0.0025) == pytest.approx(median(found), rel=0.25)
    assert math.isinf(rated_until(0.01, 0.012, 1000, 0.0025))
