"""Many runs at once decide as the product does: same traffic, same request of the alarm."""

import msgspec
import numpy as np
import pytest

from bench.ramp import MARGIN, PLAN, RATES, SHARES, control_alarms, pair_alarms, rate_alarms
from bench.ramp_runs import NEVER, Floats, first_control, first_fall, first_rate, traffic
from weighbridge.ramp.controller import decide
from weighbridge.ramp.streams import Monitor, Sight
from weighbridge.records.ramp import RAMP_SCHEMA, Approval, Guardrail, RampState, Stage

RUNS = 12
NAMES: tuple[Guardrail, ...] = tuple(RATES)
STATE = RampState(
    schema=RAMP_SCHEMA, ramp="r", route="assistant", incumbent="old", candidate="new", identities=("a", "b"),
    prices=(None, None), verdict="v", finding=None, proposed_by="bench", plan=PLAN, revision=1, stage="proposed",
    came_from=None, time_ns=0, approvals=(Approval(by="bench", time_ns=0, up_to="settled"),),
)  # fmt: skip
BAD: Floats = np.array([0.35, *(1.2 * rate for rate in list(RATES.values())[1:])])
BASE: Floats = np.array(list(RATES.values()))


def goes_back(state: RampState, monitor: Monitor) -> bool:
    return decide(state, monitor.evidence(0.0), ()).target in ("rolled_back", "rejected")


@pytest.mark.parametrize("stage", ["shadow", "canary", "few", "quarter", "half"])
def test_with_a_live_control_every_run_goes_back_at_the_event_where_the_controller_does(stage: Stage) -> None:
    chance = np.random.default_rng(3)
    share = SHARES[stage] / 10_000 or 0.5
    used = {name: 40 * place for place, name in enumerate(NAMES)}
    seen = traffic(chance, RUNS, 3000, share, BASE, BAD, drift=30)
    alarms, plans = control_alarms(stage, NAMES)
    first, counted = first_control(
        seen.stream, seen.candidate, alarms, plans, np.array([list(used.values())] * RUNS, dtype=np.int64)
    )
    state = msgspec.structs.replace(STATE, stage=stage, used=used)
    for run in range(RUNS):
        monitor, found = Monitor(state), int(NEVER)
        for event in range(seen.stream.shape[1]):
            place = int(seen.stream[run, event])
            if place >= 0:
                monitor.take(Sight(event, bool(seen.candidate[run, event]), "all", (NAMES[place],), ()))
            if monitor.alarmed:
                assert goes_back(state, monitor)
                found = event
                break
        assert found == first[run]
        assert list(monitor.used().values())[: len(NAMES)] == counted[run].tolist()
    assert (first != NEVER).any(), "no run of this traffic raises an alarm, so nothing was compared"


def test_without_a_control_every_run_goes_back_at_the_request_where_the_controller_does() -> None:
    chance = np.random.default_rng(4)
    bounds = np.array([[rate * 1.2 for rate in RATES.values()]] * RUNS)
    bad = chance.random((RUNS, 400, len(NAMES))) < 2.0 * BASE
    alarms, plans = rate_alarms(NAMES, bounds)
    first, _ = first_rate(bad, alarms, plans)
    for run in range(RUNS):
        state = msgspec.structs.replace(
            STATE, stage="all", baseline=dict(zip(NAMES, bounds[run].tolist(), strict=True))
        )
        monitor, found = Monitor(state), int(NEVER)
        for request in range(bad.shape[1]):
            wrong = tuple(name for place, name in enumerate(NAMES) if bad[run, request, place])
            monitor.take(Sight(request, True, "all", wrong, ()))
            if monitor.alarmed:
                assert goes_back(state, monitor)
                found = request
                break
        assert found == first[run]
    assert (first != NEVER).any()


@pytest.mark.parametrize("slices", [1, 4])
def test_a_fall_of_quality_takes_every_run_back_at_the_pair_where_the_controller_goes_back(slices: int) -> None:
    chance = np.random.default_rng(5)
    d = chance.choice([-1.0, 0.0, 1.0, -0.25], (RUNS, 800), p=[0.2, 0.65, 0.05, 0.1])
    places = chance.integers(slices, size=d.shape)
    alarms, plans = pair_alarms(slices)
    first, _ = first_fall(d, places, alarms, plans)
    names = tuple(f"s{place}" for place in range(slices)) if slices > 1 else ()
    plan = msgspec.structs.replace(PLAN, slices=names, margin=MARGIN)
    state = msgspec.structs.replace(STATE, stage="few", plan=plan)
    for run in range(RUNS):
        monitor, found = Monitor(state), int(NEVER)
        for pair in range(d.shape[1]):
            candidate = 0.5 + d[run, pair] / 2
            monitor.judged_pair(f"s{places[run, pair]}", candidate, candidate - d[run, pair])
            if monitor.alarmed:
                assert goes_back(state, monitor)
                found = pair
                break
        assert found == first[run]
    assert (first != NEVER).any()


def test_requests_are_drawn_at_the_rates_that_were_asked_for() -> None:
    seen = traffic(np.random.default_rng(6), 200, 400, 0.25, np.array([0.1]), np.array([0.5]))
    ours, theirs = seen.candidate_requests[:, -1].sum(), seen.control_requests[:, -1].sum()
    assert ours / (ours + theirs) == pytest.approx(0.25, rel=0.02)
    assert seen.candidate.sum() / ours == pytest.approx(0.5, rel=0.03)
    assert (~seen.candidate).sum() / theirs == pytest.approx(0.1, rel=0.03)
