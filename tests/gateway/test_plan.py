"""What follows a failure, decided without a socket; and the budget that all retries share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.gateway.plan import RULES, Failure, Plan, RetryBudget, Step, next_step

ALL = frozenset(("connect", "429", "5xx"))
KINDS: tuple[Failure, ...] = tuple(RULES)


def step(
    failure: Failure,
    *,
    endpoints: tuple[str, ...] = ("a", "b"),
    at: int = 0,
    asked: int = 0,
    policies: frozenset[str] = ALL,
    retries_max: int = 1,
    retry_after_s: float | None = None,
    usable: tuple[bool, ...] = (True, True),
) -> Step | None:
    plan = Plan(retries_max, policies, wait_s_max=2.0)
    return next_step(
        plan, endpoints=endpoints, at=at, asked=asked, failure=failure, retry_after_s=retry_after_s, jitter=0.5,
        usable=lambda place: usable[place],
    )  # fmt: skip


@pytest.mark.parametrize("failure", ["connect", "limited", "error", "refused_us", "full"])
def test_the_next_lane_is_asked_at_once(failure: Failure) -> None:
    assert Step(1, 0.0) == step(failure)


def test_a_request_that_was_sent_and_not_answered_is_not_asked_again_unless_set() -> None:
    assert step("ambiguous") is None
    assert Step(1, 0.0) == step("ambiguous", policies=ALL | {"ambiguous"})


def test_there_is_at_most_one_other_attempt_unless_set() -> None:
    assert step("error", asked=1) is None
    assert Step(1, 0.0) == step("error", asked=1, retries_max=2)


def test_a_full_endpoint_costs_no_attempt() -> None:
    assert Step(1, 0.0) == step("full", asked=1)
    assert step("full", endpoints=("a", "a")) is None


@pytest.mark.parametrize(("retry_after", "wait"), [(0.0, 0.0), (1.5, 1.5), (2.1, None), (3600.0, None)])
def test_retry_after_is_kept_within_the_bound(retry_after: float, wait: float | None) -> None:
    alone = step("limited", endpoints=("a",), usable=(True,), retry_after_s=retry_after)
    assert alone == (None if wait is None else Step(0, wait))


def test_another_lane_need_not_wait_for_the_first_ones_retry_after() -> None:
    assert Step(1, 0.0) == step("limited", retry_after_s=3600.0)


@pytest.mark.parametrize("failure", ["refused_us", "full"])
def test_the_same_lane_is_not_asked_again_where_that_cannot_help(failure: Failure) -> None:
    assert step(failure, endpoints=("a",), usable=(True,)) is None


def test_a_lane_that_is_out_is_passed_over() -> None:
    endpoints, usable = ("a", "b", "c"), (True, False, True)
    assert Step(2, 0.0) == step("error", endpoints=endpoints, usable=usable)


@given(
    st.sampled_from(KINDS),
    st.lists(st.sampled_from("abc"), min_size=1, max_size=5),
    st.data(),
    st.integers(0, 5),
    st.integers(0, 5),
    st.one_of(st.none(), st.floats(0, 1e6)),
    st.sets(st.sampled_from(["connect", "429", "5xx", "ambiguous"])),
)
def test_whatever_fails_the_rules_hold(
    failure: Failure,
    endpoints: list[str],
    data: st.DataObject,
    asked: int,
    retries_max: int,
    retry_after_s: float | None,
    policies: set[str],
) -> None:
    at = data.draw(st.integers(0, len(endpoints) - 1))
    usable = data.draw(st.lists(st.booleans(), min_size=len(endpoints), max_size=len(endpoints)))
    made = step(
        failure, endpoints=tuple(endpoints), at=at, asked=asked, policies=frozenset(policies), retries_max=retries_max,
        retry_after_s=retry_after_s, usable=tuple(usable),
    )  # fmt: skip
    if made is None:
        return
    rule = RULES[failure]
    assert usable[made.place]
    assert not rule.sent or asked < retries_max
    assert rule.policy is None or rule.policy in policies
    assert rule.same_lane or made.place != at
    assert rule.same_endpoint or made.place == at or endpoints[made.place] != endpoints[at]
    assert 0 <= made.wait_s <= 2.0


@pytest.mark.parametrize("requests", [0, 1, 14, 15, 100, 1000])
def test_a_fifth_of_the_requests_may_be_retried_and_three_always(requests: int) -> None:
    budget = RetryBudget()
    for _ in range(requests):
        budget.requests += 1
    granted = sum(budget.take() for _ in range(2 * requests + 10))
    assert max(3, requests // 5) == granted == budget.taken
    assert 2 * requests + 10 - granted == budget.refused


@given(st.lists(st.sampled_from(["request", "retry", "retry", "second"]), max_size=600))
def test_in_any_ten_seconds_retries_stay_within_a_fifth_or_three(events: list[str]) -> None:
    budget, now = RetryBudget(), 0
    requests: list[int] = []
    retries: list[int] = []
    for event in events:
        if event == "second":
            budget.second()
            now += 1
        elif event == "request":
            budget.requests += 1
            requests.append(now)
        elif budget.take():
            retries.append(now)
            recent = [sum(at > now - RetryBudget.BUCKETS for at in rows) for rows in (requests, retries)]
            assert recent[1] <= max(3, recent[0] // 5)
    assert len(retries) <= len(requests) / 5 + 3 * (now // RetryBudget.BUCKETS + 1)
