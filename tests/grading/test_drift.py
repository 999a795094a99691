"""Traffic that moved away from the sample of a verdict."""

import msgspec

from tests.trials.test_labels import judged_trial
from tests.trials.world import Traffic
from weighbridge.grading.drift import EXCHANGES_MIN, distance, drift
from weighbridge.records.exchange import Exchange


def later(**tasks: int) -> list[Exchange]:
    """Exchanges after every span of the made trials."""
    traffic = Traffic()
    for task, count in tasks.items():
        for _ in range(count):
            traffic.ask(task)
    return [msgspec.structs.replace(one, time_ns=one.time_ns + 10**15) for one in traffic.exchanges]


def test_traffic_like_the_sample_gives_no_warning() -> None:
    _, evidence = judged_trial(40)
    found = drift(evidence, later(a=60, b=60))
    assert found is not None
    assert (0.0, ()) == (found.moved, found.warnings)


def test_a_moved_mix_and_a_new_slice_are_said_with_their_figures() -> None:
    _, evidence = judged_trial(40)
    found = drift(evidence, later(a=20, b=60, c=20))
    assert found is not None
    assert 0.3 == round(found.moved, 9)
    assert "30% of it lies in other slices now" in found.warnings[0]
    assert "task=a 50% -> 20%" in found.warnings[0]
    assert "slice task=c is 20% of the traffic since then and was not judged" == found.warnings[1]


def test_what_came_before_the_end_of_the_span_and_what_was_not_answered_does_not_count() -> None:
    _, evidence = judged_trial(40)
    earlier = [msgspec.structs.replace(one, time_ns=0) for one in later(c=200)]
    failed = [msgspec.structs.replace(one, outcome="upstream_error") for one in later(c=200)]
    assert drift(evidence, [*earlier, *failed, *later(a=EXCHANGES_MIN - 1)]) is None
    assert drift(evidence, later(a=EXCHANGES_MIN)) is not None


def test_a_verdict_on_one_slice_speaks_for_no_mix_and_so_none_can_move_away_from_it() -> None:
    _, evidence = judged_trial(40)
    assert drift(msgspec.structs.replace(evidence, only_slice="task=a"), later(c=200)) is None


def test_the_distance_is_total_variation() -> None:
    assert 0.5 == distance({"a": 0.5, "b": 0.5}, {"a": 1.0})
    assert 1.0 == distance({"a": 1.0}, {"b": 1.0})
