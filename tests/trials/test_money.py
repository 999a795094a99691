"""The purse: the upper bound of each replay is held before it is sent."""

import pytest

from tests.trials.world import Traffic
from weighbridge.records.exchange import Attempt
from weighbridge.records.usage import Price, Usage
from weighbridge.trials.money import Purse, bound_nanousd, cost_of, output_bound, total_cost

PRICE = Price(input=1_000_000, output=2_000_000, cache_write=1_250_000, reasoning=3_000_000, per_request_nanousd=5)


def test_bytes_bound_input_tokens_and_the_dearest_class_is_assumed() -> None:
    item = Traffic()
    item.ask(max_tokens=100)
    (one,) = item.frame().items
    tokens = one.request_bytes + 256
    assert bound_nanousd(one, 100, PRICE) == -(-(tokens * 1_250_000 + 100 * 3_000_000) // 1_000_000) + 5
    assert bound_nanousd(one, 100, None) is None


def test_the_output_bound_is_the_requests_own_limit_then_the_routes_then_a_multiple_of_the_longest_answer() -> None:
    traffic = Traffic()
    traffic.ask(max_tokens=100)
    traffic.ask()
    limited, free = traffic.frame().items
    assert output_bound(limited, 500, 9000) == 100
    assert output_bound(free, 500, 9000) == 500
    assert output_bound(free, None, 9000) == 36_000
    assert output_bound(free, None, 10) == 4096


def test_nothing_is_held_past_the_cap_and_what_comes_back_makes_room() -> None:
    purse = Purse(100)
    assert purse.hold(60)
    assert not purse.hold(60)
    purse.settle(60, 10)
    assert purse.hold(60)
    assert purse.spent_nanousd == 10
    assert purse.left_nanousd == 90


def test_a_cost_that_the_log_tells_later_stays_held_until_then() -> None:
    traffic = Traffic()
    exchange = traffic.ask(cost_nanousd=7)
    purse = Purse(100)
    purse.hold(60)
    purse.settle_later(60, exchange.id)
    assert not purse.hold(60)
    purse.hear(exchange)
    assert purse.hold(60)
    assert (purse.spent_nanousd, purse.unknown, purse.waiting) == (7, 0, False)


def test_an_unknown_cost_is_booked_at_its_bound_and_counted() -> None:
    traffic = Traffic()
    exchange = traffic.ask(cost_nanousd=None)
    purse = Purse(100)
    purse.hold(60)
    purse.settle_later(60, exchange.id)
    purse.hear(exchange)
    assert (purse.spent_nanousd, purse.unknown) == (60, 1)


def test_with_a_cap_an_unknown_price_is_never_held() -> None:
    assert not Purse(100).hold(None)
    assert Purse(None).hold(None)


@pytest.mark.parametrize(
    ("status", "usage", "cost"),
    [(503, None, 0), (None, None, None), (200, None, None), (503, Usage(input=1, output=1), None)],
)
def test_an_error_status_without_usage_is_not_billed_everything_else_unknown_stays_unknown(
    status: int | None, usage: Usage | None, cost: int | None
) -> None:
    traffic = Traffic()
    exchange = traffic.ask(outcome="upstream_error", cost_nanousd=None)
    attempt = Attempt(attempt=1, arm="new", endpoint="host", model="m", status=status, usage=usage)
    exchange = type(exchange)(
        **{**{f: getattr(exchange, f) for f in exchange.__struct_fields__}, "attempts": (attempt,)}
    )
    assert cost_of(exchange) == cost
    assert total_cost([exchange, traffic.ask(cost_nanousd=5)]) == (None if cost is None else 5)


def test_what_was_refused_before_it_was_sent_cost_nothing() -> None:
    assert cost_of(Traffic().ask(outcome="refused", cost_nanousd=None)) == 0
