from hypothesis import given
from hypothesis import strategies as st

from tests.reports.made import exchange
from tests.reports.rowwise import kept_call
from weighbridge.records.evidence import Pair
from weighbridge.records.usage import Usage
from weighbridge.reports.measure import change, compare, measure, month, percentile


def pair(item: str, replay: str | None, failure: str | None = None) -> Pair:
    return Pair(item=item, item_digest="", replay=replay, replay_digest=None, cluster=item, slice="s",
                incumbent=1.0, candidate=1.0, failure=failure)  # fmt: skip


@given(st.lists(st.integers(0, 10**9), min_size=1), st.sampled_from([0.5, 0.95, 1.0]))
def test_a_percentile_is_the_smallest_value_that_the_share_does_not_exceed(values: list[int], share: float) -> None:
    found = percentile(values, share)
    assert found is not None
    assert sum(value <= found for value in values) >= share * len(values)
    assert sum(value < found for value in values) < share * len(values)


def test_nothing_has_no_percentile() -> None:
    assert percentile([], 0.5) is None


def test_only_requests_that_both_answered_are_compared() -> None:
    kept = {name: kept_call(exchange(name)) for name in ("a", "a2", "b", "b2", "c")}
    found = compare(
        "x", "y", [pair("a", "a2"), pair("b", "b2", "refused"), pair("c", None), pair("gone", "a2")], kept, None, None
    )
    assert found is not None
    assert 1 == found.incumbent.requests == found.candidate.requests
    assert compare("x", "y", [pair("c", None)], kept, None, None) is None


def test_reasoning_and_cached_tokens_count_on_their_sides() -> None:
    found = measure("x", [kept_call(exchange("a", usage=Usage(10, 5, cache_read=30, reasoning=15)))])
    assert (found.input_tokens, found.cached_tokens, found.output_tokens) == (40, 30, 20)


def test_answers_that_ran_into_the_token_limit_are_counted() -> None:
    calls = [kept_call(one) for one in (exchange("a", finish_reason="length"), exchange("b"))]
    assert measure("x", calls).length_stops == 1


def test_a_change_from_or_to_the_unknown_is_unknown() -> None:
    assert (change(None, 1.0), change(1.0, None), change(0.0, 1.0), change(2.0, 1.0)) == (None, None, None, -0.5)


def test_a_month_needs_a_week_of_log_and_both_costs() -> None:
    assert month(100, 6.9, 1.0, 1.0) is None
    assert month(100, 30.0, None, 1.0) is None
    found = month(70, 7.0, 10.0, 2.0)
    assert found is not None
    assert (found.requests, found.now_nanousd, found.then_nanousd) == (300, 3000, 600)
