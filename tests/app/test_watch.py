"""When alerts are raised and when they end: rules over figures, with a clock of the test's."""

from hypothesis import given
from hypothesis import strategies as st

from weighbridge.app.watch import Change, Series, Watch
from weighbridge.records.alerts import AlertKind, Grew, Labels, Level, Rule, Share

BY_ENDPOINT = ("endpoint",)


def kind(rule: Rule) -> AlertKind:
    return AlertKind(name="it", severity="page", title="It", meaning="It is so.", first_step="look", rule=rule)


def watch(rule: Rule, raised: tuple[tuple[str, Labels], ...] = ()) -> Watch:
    return Watch(raised, (kind(rule),))


def told(changes: tuple[Change, ...]) -> list[tuple[str, dict[str, str]]]:
    return [(change.state, change.labels) for change in changes]


def gauge(value: float, **labels: str) -> dict[Series, float]:
    return {("metric", tuple(sorted(labels.items()))): value}


LEVEL = Level(metric="metric", above=0, by=BY_ENDPOINT, for_s=10)


def test_a_level_is_raised_once_it_has_lasted_and_ends_once() -> None:
    looks = watch(LEVEL)
    assert [] == told(looks.look(0, gauge(1, endpoint="a")))
    assert [] == told(looks.look(9.9, gauge(1, endpoint="a")))
    assert [("raised", {"endpoint": "a"})] == told(looks.look(10, gauge(1, endpoint="a")))
    assert [] == told(looks.look(12, gauge(1, endpoint="a")))
    assert [("ended", {"endpoint": "a"})] == told(looks.look(14, gauge(0, endpoint="a")))


def test_a_level_that_was_gone_in_between_has_to_last_again() -> None:
    looks = watch(LEVEL)
    looks.look(0, gauge(1, endpoint="a"))
    looks.look(5, gauge(0, endpoint="a"))
    assert [] == told(looks.look(11, gauge(1, endpoint="a")))


def test_each_endpoint_is_a_case_of_its_own() -> None:
    looks = watch(Level(metric="metric", above=0, by=BY_ENDPOINT))
    both = {**gauge(1, endpoint="a"), **gauge(0, endpoint="b")}
    assert [("raised", {"endpoint": "a"})] == told(looks.look(0, both))
    assert [("raised", {"endpoint": "b"})] == told(looks.look(1, {**both, **gauge(1, endpoint="b")}))


def test_a_level_below_a_bound_is_raised_too() -> None:
    assert [("raised", {})] == told(watch(Level(metric="metric", below=5)).look(0, gauge(4)))


GREW = Grew(metric="metric", more_than=2, within_s=60, where=(("code", "x"),))


def test_a_counter_that_grew_is_raised_and_ends_when_it_has_stood_still_for_the_window() -> None:
    looks = watch(GREW)
    assert [] == told(looks.look(0, gauge(10, code="y")))
    assert [("raised", {})] == told(looks.look(2, gauge(3, code="x")))
    assert [] == told(looks.look(50, gauge(3, code="x")))
    assert [("ended", {})] == told(looks.look(70, gauge(3, code="x")))


def test_what_grew_slowly_is_not_raised() -> None:
    looks = watch(GREW)
    for minute in range(20):
        assert () == looks.look(61.0 * minute, gauge(2.0 * minute, code="x"))


SHARE = Share(
    metric="metric", label="outcome", bad=("error", "timeout"), good=("ok",), above=0.5, at_least=4, within_s=60
)


def outcomes(**counts: float) -> dict[Series, float]:
    return {("metric", (("outcome", name),)): value for name, value in counts.items()}


def test_a_share_counts_the_bad_among_the_bad_and_good_and_nothing_else() -> None:
    assert () == watch(SHARE).look(0, outcomes(ok=2, error=1, timeout=1))  # a half is not more than a half
    assert () == watch(SHARE).look(0, outcomes(refused=50, error=3))  # three are fewer than four
    assert [("raised", {})] == told(watch(SHARE).look(0, outcomes(ok=2, error=2, timeout=1, refused=50)))


def test_a_share_is_of_the_window_and_not_of_all_time() -> None:
    looks = watch(SHARE)
    looks.look(0, outcomes(ok=10_000))
    assert [("raised", {})] == told(looks.look(61, outcomes(ok=10_000, error=5)))


def test_what_was_raised_before_a_restart_ends_or_goes_on() -> None:
    case = ("it", (("endpoint", "a"),))
    assert [("ended", {"endpoint": "a"})] == told(watch(LEVEL, (case,)).look(0, gauge(0, endpoint="a")))
    now = Level(metric="metric", above=0, by=BY_ENDPOINT)
    assert () == watch(now, (case,)).look(0, gauge(1, endpoint="a"))


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 3)), max_size=60))
def test_raised_and_ended_take_turns(steps: list[tuple[int, int]]) -> None:
    looks, now, value, states = watch(Grew(metric="metric", more_than=1, within_s=60)), 0.0, 0.0, []
    for passed, more in steps:
        now, value = now + passed, value + more
        states += [change.state for change in looks.look(now, gauge(value))]
    assert ["raised", "ended"] * (len(states) // 2) + ["raised"] * (len(states) % 2) == states
