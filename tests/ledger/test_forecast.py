"""When the money ends: exact on what is regular, honest on what is short, and covered as claimed on known structure."""

from datetime import date, timedelta

import numpy as np
import pytest

from bench.forecast import DISTANCES, WEEK, back_test, made, pooled
from weighbridge.ledger.forecast import HISTORY_DAYS_MIN, Floats, Future, NotEnough, ends, future

SUNDAY = date(2026, 3, 1)


def known(spend: Floats, days: int) -> Future:
    found = future(spend, SUNDAY, days)
    assert isinstance(found, Future), found
    return found


def test_a_constant_spend_ends_on_the_day_that_division_says() -> None:
    found = ends(known(np.full(90, 10.0), 60), 105.0)
    eleventh = SUNDAY + timedelta(days=11)
    assert (eleventh, eleventh, eleventh, 1.0) == (found.p10, found.p50, found.p90, found.reached)


def test_weekdays_are_continued_as_weekdays() -> None:
    spend = np.resize(np.array([10.0, 10, 10, 10, 10, 1, 1]), 12 * 7)  # from a Monday to a Sunday
    made_days = np.diff(known(spend, 14).expected, prepend=0.0)
    assert made_days[5] < 3 < 8 < made_days[0]
    assert pytest.approx(52, rel=0.02) == known(spend, 7).expected[-1]


def test_growth_is_continued_and_damped() -> None:
    spend = 10 * np.exp(0.01 * np.arange(84))
    found = known(spend, 28)
    undamped = float(np.sum(10 * np.exp(0.01 * np.arange(84, 112))))
    flat = 28 * float(spend[-1])
    assert flat < found.expected[-1] < undamped * 1.01


@pytest.mark.parametrize("days", [0, 1, HISTORY_DAYS_MIN - 1])
def test_a_short_history_has_no_forecast_and_says_so(days: int) -> None:
    found = future(np.ones(days), SUNDAY, 30)
    assert isinstance(found, NotEnough)
    assert f"not enough history: {days} days" in found.why


def test_days_before_the_first_spend_are_no_history() -> None:
    found = future(np.concatenate([np.zeros(300), np.ones(10)]), SUNDAY, 30)
    assert isinstance(found, NotEnough)


def test_a_budget_that_lasts_has_no_day_and_says_how_far_was_looked() -> None:
    found = ends(known(np.full(90, 10.0), 30), 1e9)
    assert (None, None, None, 0.0, SUNDAY + timedelta(days=30)) == (
        found.p10, found.p50, found.p90, found.reached, found.through,
    )  # fmt: skip


def test_the_early_day_is_never_after_the_late_one_and_days_of_no_spend_do_no_harm() -> None:
    rng = np.random.default_rng(5)
    spend = made(rng, 140, noise=0.5) * (rng.random(140) < 0.6)
    found = ends(known(spend, 90), 40 * float(spend.mean()))
    assert found.p10 is not None
    assert found.p50 is not None
    assert found.p10 <= found.p50 <= (found.p90 or date.max)


def test_paths_never_fall() -> None:
    paths = known(made(np.random.default_rng(6), 100, week=WEEK), 90).paths
    assert bool(np.all(np.diff(paths, axis=1) >= 0))


def test_the_band_of_80_percent_covers_75_to_90_of_known_series() -> None:
    scores = back_test(7)
    assert all(0.7 <= pooled(scores, distance, "profile").coverage <= 0.92 for distance in DISTANCES)


@pytest.mark.long
def test_the_band_covers_as_claimed_over_many_seeds() -> None:
    scores = back_test(70)
    assert all(0.75 <= pooled(scores, distance, "profile").coverage <= 0.90 for distance in DISTANCES)
