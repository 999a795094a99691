"""Prices that the operator states, service tiers, hours with a zone, and what own servers and plans are booked at."""

from datetime import UTC, datetime

import pytest

from weighbridge.config.tree import ArmSection, CommitmentSection, EndpointSection, PriceRowSection
from weighbridge.ledger.prices import PriceAnswer, PriceFound, PriceUnknown, Terms, compile_price, compile_schedule
from weighbridge.records.usage import Usage, cost_nanousd

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
ENDPOINT = EndpointSection(name="there", base_url="https://api.example.com/v1", provider="openai")
OWN = EndpointSection(name="own", base_url="http://127.0.0.1:8000/v1")


def row(given: str, made: str, **said: str | int) -> PriceRowSection:
    base: dict[str, str | int] = {"model": "gpt-5.5", "provider": "openai", "source": "contract"}
    return PriceRowSection(input=given, output=made, **(base | said))  # type: ignore[arg-type]


def answer(at: datetime, *rows: PriceRowSection, model: str = "gpt-5.5") -> PriceAnswer:
    return compile_price(ArmSection(name="it", endpoint="there", model=model), ENDPOINT, at, Terms(rows=rows))


def found(answer: PriceAnswer) -> PriceFound:
    assert isinstance(answer, PriceFound), answer
    return answer


@pytest.mark.parametrize(
    ("tier", "per_million"),
    [(None, 5), ("default", 5), ("flex", 2.5), ("batch", 2.5), ("priority", 12.5), ("fast", 12.5)],
)
def test_a_call_costs_what_the_tier_costs_that_its_response_reports(tier: str | None, per_million: float) -> None:
    price = found(answer(NOON)).price
    assert round(per_million * 1e9) == cost_nanousd(Usage(100_000, 0, service_tier=tier), price) * 10  # type: ignore[operator]


def test_a_tier_that_nobody_priced_has_an_unknown_cost_and_never_the_standard_one() -> None:
    price = found(answer(NOON)).price
    assert cost_nanousd(Usage(1, 1, service_tier="ultra"), price) is None


def test_a_class_that_a_tier_does_not_price_itself_is_unknown_there() -> None:
    flex = found(answer(NOON)).price.served("flex")
    assert flex is not None
    assert (True, True) == (flex.cache_write is None, flex.cache_read is not None)


def test_a_tier_has_its_own_context_lengths() -> None:
    price = found(answer(NOON)).price
    assert 5_000_000_000 * 300_000 // 10**6 == cost_nanousd(Usage(300_000, 0, service_tier="flex"), price)
    assert 10_000_000_000 * 300_000 // 10**6 == cost_nanousd(Usage(300_000, 0), price)


def test_a_tier_holds_from_the_day_on_which_the_book_says_so() -> None:
    before = found(answer(datetime(2026, 10, 11, 23, 59, tzinfo=UTC)))
    assert None is cost_nanousd(Usage(1, 1, service_tier="flex"), before.price)
    assert round(datetime(2026, 10, 12, tzinfo=UTC).timestamp()) * 10**9 == before.until_ns


def test_a_search_has_its_fee_and_an_unpriced_one_an_unknown_cost() -> None:
    price = found(answer(NOON)).price
    assert 3 * 10_000_000 == cost_nanousd(Usage(0, 0, web_searches=3), price)
    stated = found(answer(NOON, row("1", "2"))).price
    assert None is cost_nanousd(Usage(0, 0, web_searches=1), stated)


def test_an_operators_row_wins_over_the_book_and_names_its_source() -> None:
    priced = found(answer(NOON, row("1", "2", since="2026-11-01", source="contract 7")))
    assert (1_000_000_000, "contract 7", "2026-11-01") == (priced.price.input, priced.source, priced.date)
    assert priced.version.startswith("row:")


def test_the_row_that_began_last_holds_and_a_row_that_has_not_begun_does_not() -> None:
    rows = (row("3", "3", since="2026-12-01"), row("2", "2", since="2026-11-01"), row("1", "1"))
    priced = found(answer(NOON, *rows))
    assert 2_000_000_000 == priced.price.input
    assert round(datetime(2026, 12, 1, tzinfo=UTC).timestamp()) * 10**9 == priced.until_ns
    assert 3_000_000_000 == found(answer(datetime(2026, 12, 1, tzinfo=UTC), *rows)).price.input


@pytest.mark.parametrize(
    ("moment", "dollars"),
    [
        ("2026-11-25T00:59:59+00:00", 1), ("2026-11-25T01:00:00+00:00", 2), ("2026-11-25T03:59:59+00:00", 2),
        ("2026-11-25T04:00:00+00:00", 1), ("2026-11-25T23:59:59+00:00", 1),
    ],
)  # fmt: skip
def test_hours_of_the_day_hold_on_clocks_of_their_zone_to_the_second(moment: str, dollars: int) -> None:
    rows = (row("1", "1"), row("2", "2", hours="09:00-12:00", time_zone="Asia/Shanghai"))
    assert dollars * 10**9 == found(answer(datetime.fromisoformat(moment), *rows)).price.input


def test_hours_past_midnight_and_over_a_change_of_clocks_are_those_that_the_clock_shows() -> None:
    rows = (row("1", "1"), row("2", "2", hours="22:00-06:00", time_zone="Europe/Berlin"))
    summer_ends = [("2026-10-25T04:59:59+00:00", 2), ("2026-10-25T05:00:00+00:00", 1)]  # 06:00 is an hour later in UTC
    for moment, dollars in [("2026-10-24T20:00:00+00:00", 2), ("2026-10-24T19:59:59+00:00", 1), *summer_ends]:
        assert dollars * 10**9 == found(answer(datetime.fromisoformat(moment), *rows)).price.input, moment


def test_a_row_for_a_tier_is_laid_over_the_books_price() -> None:
    priced = found(answer(NOON, row("4", "9", service_tier="scale")))
    assert (5_000_000_000, 4_000) == (priced.price.input, cost_nanousd(Usage(1, 0, service_tier="scale"), priced.price))
    assert "+ row:" in priced.version


def test_a_row_for_long_contexts_holds_past_its_length_for_all_tokens() -> None:
    price = found(answer(NOON, row("1", "1"), row("2", "3", above_input_tokens=1_000))).price
    assert (1_000_000, 2_002_000) == (cost_nanousd(Usage(1_000, 0), price), cost_nanousd(Usage(1_001, 0), price))


def test_a_schedule_answers_as_single_moments_do() -> None:
    rows = (row("1", "1"), row("2", "2", hours="09:00-12:00", time_zone="Asia/Shanghai"))
    arm = ArmSection(name="it", endpoint="there", model="gpt-5.5")
    schedule = found(compile_schedule(arm, ENDPOINT, NOON, Terms(rows=rows)))
    for change in schedule.later[:-1]:
        at = datetime.fromtimestamp(change.from_ns / 1e9, UTC)
        assert change.price == found(answer(at, *rows)).price
        assert (at.hour, at.minute) in ((1, 0), (4, 0))
    assert 6 == len(schedule.later) - 1
    assert round(datetime(2026, 11, 26, tzinfo=UTC).timestamp()) * 10**9 == schedule.until_ns


def commitment(kind: str, **said: str | int | float) -> CommitmentSection:
    base: dict[str, object] = {"name": "it", "endpoint": "own", "kind": kind, "since": "2026-01-01", "source": "lease"}
    return CommitmentSection(**(base | said))  # type: ignore[arg-type]


def own(*commitments: CommitmentSection, at: datetime = NOON) -> PriceAnswer:
    return compile_price(ArmSection(name="it", endpoint="own", model="q"), OWN, at, Terms(commitments=commitments))


def test_own_gpus_are_booked_by_the_seconds_that_tokens_take_and_never_at_zero() -> None:
    gpus = commitment(
        "gpu_hours", gpus=8, usd_per_gpu_hour="4.50", prefill_tokens_per_s=50_000, decode_tokens_per_s=5_000
    )
    price = found(own(gpus)).price
    # 8 x $4.50 an hour is one cent a second: 50,000 input tokens, or 5,000 output tokens.
    assert (10_000_000, 10_000_000) == (cost_nanousd(Usage(50_000, 0), price), cost_nanousd(Usage(0, 5_000), price))
    half = commitment("gpu_hours", gpus=8, usd_per_gpu_hour="4.50", prefill_tokens_per_s=50_000,
                      decode_tokens_per_s=5_000, load=0.5)  # fmt: skip
    assert 20_000_000 == cost_nanousd(Usage(50_000, 0), found(own(half)).price)


def test_a_token_of_a_plan_is_booked_at_its_share_of_the_fee() -> None:
    plan = commitment("token_plan", usd_per_month="30", included_tokens=60_000_000)
    assert 500_000_000 == found(own(plan)).price.output
    assert isinstance(own(plan, at=datetime(2025, 12, 31, tzinfo=UTC)), PriceUnknown)


def test_a_subscription_alone_gives_a_token_no_price() -> None:
    assert isinstance(own(commitment("subscription", usd_per_month="200")), PriceUnknown)
