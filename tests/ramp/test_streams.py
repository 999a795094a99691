"""What a stage counts: once per conversation, on the arm that was asked first, and nothing where nothing is known."""

import msgspec
import pytest

from tests.ramp.made import PLAN, at
from weighbridge.ramp.streams import Monitor, Sight, guardrail_level, quality_levels
from weighbridge.records.ramp import RampPlan, RampState


def sight(conversation: int, *, candidate: bool, bad: tuple[str, ...] = (), unknown: tuple[str, ...] = ()) -> Sight:
    return Sight(conversation, candidate, "all", bad, unknown)  # type: ignore[arg-type]  # names of guardrails


def planned(state: RampState, **changes: object) -> RampState:
    return msgspec.structs.replace(state, plan=msgspec.structs.replace(state.plan, **changes))


def test_a_burst_of_errors_in_one_conversation_is_one_event() -> None:
    monitor = Monitor(at("few"))
    for _ in range(100):
        monitor.take(sight(7, candidate=True, bad=("errors",)))
    stream = monitor.evidence(0.0).streams[0]
    assert ("errors", 1, 1, 1) == (stream.name, stream.seen, stream.candidate_bad, stream.candidate_n)


def test_an_outage_of_both_arms_alike_is_no_alarm_while_one_arm_alone_is_found() -> None:
    monitor = Monitor(at("few"))
    for number in range(2000):
        monitor.take(sight(number, candidate=number % 20 == 0, bad=("errors",)))
    assert not monitor.alarmed
    for number in range(2000, 2600):
        candidate = number % 20 == 0
        monitor.take(sight(number, candidate=candidate, bad=("errors",) if candidate else ()))
    assert monitor.alarmed


def test_the_levels_of_all_streams_together_are_alpha() -> None:
    for slices in ((), ("task=a", "task=b", "task=c")):
        plan: RampPlan = msgspec.structs.replace(PLAN, slices=slices)
        whole = len(plan.guardrails) * guardrail_level(plan) + sum(quality_levels(plan).values())
        assert whole == pytest.approx(plan.alpha)


def test_what_cannot_be_told_of_most_requests_is_named_and_not_counted() -> None:
    monitor = Monitor(at("few"))
    for number in range(10):
        monitor.take(sight(number, candidate=True, unknown=("refusals",)))
    evidence = monitor.evidence(0.0)
    assert 1 == len(evidence.missing)
    assert "guardrail refusals cannot be told for 10 of 10 requests" in evidence.missing[0]
    assert 0 == evidence.streams[1].candidate_n


def test_at_the_whole_share_streams_go_on_against_the_baseline_of_the_stage_before() -> None:
    half = Monitor(planned(at("half"), quality="answers"))
    for number in range(4000):
        bad = ("errors",) if number % 100 < 2 else ()
        half.take(sight(number, candidate=number % 2 == 0, bad=bad))
        half.judged_answer("all", float(number % 100 < 90), candidate=number % 2 == 0)
    baseline = half.baseline()
    assert {"errors", "refusals", "quality"} == set(baseline)
    assert 0.02 <= baseline["errors"] < 0.05
    assert 0.10 <= baseline["quality"] < 0.15
    whole = Monitor(msgspec.structs.replace(planned(at("all"), quality="answers"), baseline=baseline, used=half.used()))
    assert () == whole.evidence(0.0).missing
    for number in range(400):
        whole.judged_answer("all", float(number % 2), candidate=True)
    assert ["quality"] == [view.name for view in whole.evidence(0.0).streams if view.alarmed]


def test_without_a_baseline_the_whole_share_is_not_watched_and_that_is_missing() -> None:
    assert "no baseline" in Monitor(at("all")).evidence(0.0).missing[0]


def test_units_of_earlier_stages_count_against_the_plan() -> None:
    monitor = Monitor(msgspec.structs.replace(at("few"), used={"errors": 5000}))
    monitor.take(sight(1, candidate=False, bad=("errors",)))
    fresh = Monitor(at("few"))
    assert 5001 == monitor.used()["errors"]
    assert monitor.evidence(0.0).streams[0].threshold > fresh.evidence(0.0).streams[0].threshold


def test_pairs_that_fall_below_the_margin_alarm_on_the_whole_and_on_their_slice() -> None:
    state = planned(at("few"), slices=("task=a", "task=b"))
    monitor = Monitor(state)
    for _ in range(60):
        monitor.judged_pair("task=a", 0.0, 1.0)
        monitor.judged_pair("task=b", 1.0, 1.0)
    alarmed = {view.name for view in monitor.evidence(0.0).streams if view.alarmed}
    assert "quality@task=a" in alarmed
    assert "quality@task=b" not in alarmed
    assert 120 == monitor.pairs


def test_a_candidate_that_fails_more_than_in_its_trial_is_a_doubt_and_no_alarm() -> None:
    monitor = Monitor(planned(at("few"), quality="answers"), trial_failures=(10, 500))
    for _ in range(80):
        monitor.judged_answer("all", 0.0, candidate=True)
        monitor.judged_answer("all", 0.0, candidate=False)  # the traffic changed for both
    evidence = monitor.evidence(0.0)
    assert evidence.doubt is not None
    assert evidence.doubt.alarmed
    assert not monitor.alarmed


def test_in_the_shadow_both_arms_are_held_against_each_other_on_the_same_requests() -> None:
    monitor = Monitor(at("shadow"))
    for number in range(60):
        monitor.take(sight(number, candidate=False))
        monitor.take(sight(number, candidate=True, bad=("errors",)))
    assert monitor.alarmed


def test_tasks_that_fail_on_the_candidate_alone_are_an_alarm_and_those_of_another_stage_say_nothing() -> None:
    monitor = Monitor(planned(at("few"), guardrails=("errors", "outcomes")))
    assert any("outcomes: nothing was told" in one for one in monitor.evidence(0.0).missing)
    for number in range(1000):
        monitor.take(sight(number, candidate=number % 20 == 0))
        monitor.outcome(number, failed=number % 50 == 1)
        monitor.outcome(number + 5000, failed=True)
    assert not monitor.alarmed
    assert not monitor.evidence(0.0).missing
    for number in range(1000, 2000):
        monitor.take(sight(number, candidate=number % 20 == 0))
        monitor.outcome(number, failed=number % 20 == 0)
    view = next(stream for stream in monitor.evidence(0.0).streams if stream.name == "outcomes")
    assert view.alarmed
    assert (20, 1900) == (view.control_bad, view.control_n)


def test_the_first_outcome_of_a_conversation_counts_once() -> None:
    monitor = Monitor(planned(at("few"), guardrails=("outcomes",)))
    monitor.take(sight(7, candidate=True))
    for _ in range(50):
        monitor.outcome(7, failed=True)
    assert [(1, 1)] == [(one.candidate_bad, one.candidate_n) for one in monitor.evidence(0.0).streams[:1]]


def test_a_doubt_that_somebody_settled_begins_anew_and_may_come_back() -> None:
    monitor = Monitor(planned(at("few"), quality="answers"), trial_failures=(10, 500))

    def doubted() -> bool:
        evidence = monitor.evidence(0.0)
        return evidence.doubt is not None and evidence.doubt.alarmed

    for _ in range(80):
        monitor.judged_answer("all", 0.0, candidate=True)
    assert doubted()
    monitor.settle_doubt()
    for _ in range(80):
        monitor.judged_answer("all", 0.0, candidate=True, doubts=False)
    assert not doubted()
    for _ in range(80):
        monitor.judged_answer("all", 0.0, candidate=True)
    assert doubted()
