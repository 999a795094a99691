"""Promise 25: a bad endpoint leaves, the last one never. On a clock that the test turns."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from weighbridge.gateway.outliers import TABLE, Endpoint, Event, Outliers, State

pytestmark = pytest.mark.promise(25)

STATES: tuple[State, ...] = ("in", "out", "half_open")
EVENTS: tuple[Event, ...] = ("tripped", "rested", "good", "bad")


def pair() -> Outliers:
    made = Outliers()
    made.watch([frozenset("ab")])
    return made


@pytest.mark.parametrize(("state", "event"), list(itertools.product(STATES, EVENTS)))
def test_the_table_is_what_happens(state: State, event: Event) -> None:
    endpoint = Endpoint()
    endpoint.state = state
    changed = endpoint.on(event, 100.0)
    assert (changed, endpoint.state) == ((state, event) in TABLE, TABLE.get((state, event), state))


def test_five_failures_in_a_row_and_it_is_out_at_once() -> None:
    outliers = pair()
    for number in range(5):
        assert outliers.admits("a", 0.1 * number)
        outliers.note("a", False, 0.1 * number)
    assert not outliers.admits("a", 0.5)
    assert outliers.admits("b", 0.5)
    assert {"a": 1} == outliers.ejections


def test_a_good_answer_in_between_begins_the_row_anew() -> None:
    outliers = pair()
    for number in range(40):
        outliers.note("a", number % 4 == 3, 3.0 * number)  # never ten answers within the window
    assert outliers.admits("a", 121.0)


@pytest.mark.parametrize("per_second", [1, 3, 20, 200])
def test_flapping_half_and_half_is_out_within_ten_seconds(per_second: int) -> None:
    outliers = pair()
    for number in range(60 * per_second):
        now = number / per_second
        outliers.note("a", number % 2 == 0, now)
        if not outliers.admits("a", now):
            assert now <= 10.0
            return
    raise AssertionError("it stayed")


@given(st.integers(2, 20), st.integers(1, 40))
def test_an_endpoint_that_fails_less_than_half_stays(good_for_each_bad: int, per_second: int) -> None:
    outliers = pair()
    for number in range(400):
        outliers.note("a", number % (good_for_each_bad + 1) != good_for_each_bad, number / per_second)
        assert "in" == outliers.endpoints["a"].state


def test_it_rests_thirty_seconds_times_n_and_never_over_three_hundred() -> None:
    outliers, now = pair(), 0.0
    for _ in range(5):
        outliers.note("a", False, now)
    for count in range(1, 15):
        rest = min(30.0 * count, 300.0)
        assert not outliers.admits("a", now + rest - 0.01)
        now += rest
        assert outliers.admits("a", now)
        outliers.note("a", False, now)  # the probe fails


def test_one_live_request_probes_and_its_end_decides() -> None:
    outliers = pair()
    for _ in range(5):
        outliers.note("a", False, 0.0)
    assert outliers.admits("a", 30.0)
    assert not outliers.admits("a", 30.0)
    outliers.note("a", None, 31.0)  # the client of the probe left: nothing is known, so another one probes
    assert outliers.admits("a", 31.0)
    outliers.note("a", True, 31.5)
    assert outliers.admits("a", 31.5)
    assert outliers.admits("a", 31.5)
    outliers.note("a", False, 32.0)
    assert outliers.admits("a", 32.0)  # what it did before it left is forgotten


def test_time_in_service_makes_an_ejection_forgotten() -> None:
    outliers = pair()
    for _ in range(5):
        outliers.note("a", False, 0.0)
    assert outliers.admits("a", 30.0)
    outliers.note("a", True, 30.0)
    for _ in range(5):
        outliers.note("a", False, 331.0)
    assert 361.0 == outliers.endpoints["a"].rests_until


def test_the_last_endpoint_never_leaves() -> None:
    outliers = pair()
    for name in "ab":
        for _ in range(20):
            outliers.note(name, False, 0.0)
    assert not outliers.admits("a", 1.0)
    assert outliers.admits("b", 1.0)


def test_an_endpoint_that_is_last_in_one_chain_stays_for_all() -> None:
    outliers = Outliers()
    outliers.watch([frozenset("ab"), frozenset("bc")])
    for name in "acb":
        for _ in range(20):
            outliers.note(name, False, 0.0)
    assert [False, True, False] == [outliers.admits(name, 1.0) for name in "abc"]


def test_another_table_keeps_what_is_known_and_a_new_chain_has_one_endpoint_at_least() -> None:
    outliers = Outliers()
    outliers.watch([frozenset("ab"), frozenset("cd")])
    for name in "ac":
        for _ in range(5):
            outliers.note(name, False, 0.0)
    outliers.watch([frozenset("ab"), frozenset("ac")])
    assert 1 == [outliers.admits(name, 1.0) for name in "ac"].count(True)
    assert outliers.admits("b", 1.0)


class Life(RuleBasedStateMachine):
    """Any answers, in any order, over any time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.groups = [frozenset("ab"), frozenset("bcd"), frozenset("ce")]
        self.outliers = Outliers()
        self.outliers.watch(self.groups)

    @rule(seconds=st.sampled_from([0.01, 0.5, 5.0, 31.0, 400.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(name=st.sampled_from("abcde"), good=st.sampled_from([True, False, False, None]), times=st.integers(1, 12))
    def answers(self, name: str, good: bool | None, times: int) -> None:
        for _ in range(times):
            if self.outliers.admits(name, self.now):
                self.outliers.note(name, good, self.now)

    @invariant()
    def every_chain_has_an_endpoint(self) -> None:
        for group in self.groups:
            assert any(self.outliers.endpoints[name].state == "in" for name in group)

    @invariant()
    def nobody_rests_longer_than_five_minutes(self) -> None:
        assert all(row.rests_until <= self.now + 300.0 for row in self.outliers.endpoints.values())


TestLife = Life.TestCase
