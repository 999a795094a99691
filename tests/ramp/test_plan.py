"""What is expected to reach users before an alarm, said before a stage begins: near to what is measured."""

import pytest

from tests.ramp.made import at
from weighbridge.ramp.plan import exposure
from weighbridge.ramp.stages import LIVE
from weighbridge.records.ramp import ExposureView, Stage


def view(stage: Stage, word: str, *, rate: float | None = 0.01, cost: float | None = None) -> ExposureView:
    return next(row for row in exposure(at("proposed"), stage, rate, cost) if word in row.harm)


@pytest.mark.parametrize(("stage", "low", "high"), [("few", 40, 140), ("quarter", 70, 260), ("all", 30, 160)])
def test_ten_times_the_errors_are_expected_to_be_found_within_about_what_the_benchmark_measures(
    stage: Stage, low: int, high: int
) -> None:
    found = view(stage, "errors rise from 1.0% to 10%").requests
    assert found is not None
    assert low <= found <= high


def test_every_stage_with_users_has_an_exposure_in_requests_and_dollars_and_shadow_has_none() -> None:
    for stage in LIVE:
        row = view(stage, "errors", cost=1000.0)
        assert row.requests is not None
        assert 1000 * row.requests == row.nanousd
    assert () == exposure(at("proposed"), "shadow", 0.01, None)


def test_an_unknown_rate_is_assumed_and_said_and_an_unknown_cost_stays_unknown() -> None:
    row = view("few", "(assumed)", rate=None)
    assert row.requests is not None
    assert row.nanousd is None
