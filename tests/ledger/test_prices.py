"""Prices: equal to the price book to the nano-dollar, and unknown where nobody states them."""

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from genai_prices import Usage as BookUsage
from genai_prices import calc_price
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelPrice

from weighbridge.config.tree import ArmSection, EndpointSection, PriceSection
from weighbridge.ledger.prices import PriceFound, PriceUnknown, book_version, compile_price
from weighbridge.records.usage import Price, Usage, cost_nanousd

AT = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
NOON, PEAK = AT, AT.replace(hour=2)


def endpoint(provider: str | None = "openai", base_url: str = "https://api.example.com/v1") -> EndpointSection:
    return EndpointSection(name="there", base_url=base_url, provider=provider)


def arm(model: str = "gpt-4o-2024-08-06", price: PriceSection | None = None) -> ArmSection:
    return ArmSection(name="it", endpoint="there", model=model, price=price)


def found(result: PriceFound | PriceUnknown) -> PriceFound:
    assert isinstance(result, PriceFound), result
    return result


def why(result: PriceFound | PriceUnknown) -> str:
    assert isinstance(result, PriceUnknown), result
    return result.why


BOOK_MODELS = [(provider.id, model.id) for provider in get_snapshot().providers for model in provider.models]

USAGES = [
    Usage(1, 1),
    Usage(1_234, 567),
    Usage(999, 1, cache_read=1_024),
    Usage(17, 3_001, reasoning=2_048),
    Usage(31, 7, cache_read=13, cache_write=11, reasoning=5),
    Usage(31, 7, cache_read=13, cache_write=11, cache_write_1h=3, reasoning=5),
]


def book_cost(provider: str, model: str, usage: Usage, at: datetime) -> int:
    """What the book itself computes, rounded up to nano-dollars once. Its `input` and `output` include the parts.

    A millionth of a nano-dollar over is the noise of its prices (0.18000000000000002), not a nano-dollar more.
    """
    spoken = BookUsage(
        input_tokens=usage.input_total,
        output_tokens=usage.output + usage.reasoning,
        cache_read_tokens=usage.cache_read,
        cache_write_tokens=usage.cache_write + usage.cache_write_1h,
        cache_write_1h_tokens=usage.cache_write_1h,
        output_reasoning_tokens=usage.reasoning,
    )
    total = calc_price(spoken, model, provider_id=provider, genai_request_timestamp=at).total_price
    return math.ceil((total * Decimal(10**9)).quantize(Decimal("1e-6")))


@pytest.mark.parametrize("at", [NOON, PEAK, datetime(2025, 1, 1, tzinfo=UTC)], ids=["noon", "peak", "2025"])
def test_every_priced_model_of_the_book_costs_the_same_to_the_nanodollar(at: datetime) -> None:
    compared = 0
    for provider, model in BOOK_MODELS:
        result = compile_price(arm(model), endpoint(provider), at)
        if isinstance(result, PriceUnknown):
            continue
        for usage in USAGES:
            ours = cost_nanousd(usage, result.price)
            if ours is not None:
                assert book_cost(provider, model, usage, at) == ours, (provider, model, usage, result.version)
                compared += 1
    assert compared > 6_000


def test_a_book_model_is_unknown_only_for_a_missing_token_price_or_an_id_that_is_no_request_name() -> None:
    reasons = [
        result.why
        for provider, model in BOOK_MODELS
        if isinstance(result := compile_price(arm(model), endpoint(provider), AT), PriceUnknown)
    ]
    assert reasons
    allowed = ("it has no price for input tokens", "it has no price for output tokens", "knows no model")
    assert all(any(words in reason for words in allowed) for reason in reasons)
    assert all(reason.endswith("state `price` for the arm") for reason in reasons)
    assert len(reasons) < 0.2 * len(BOOK_MODELS)


def test_a_book_price_with_the_noise_of_a_binary_fraction_is_the_price_that_was_meant() -> None:
    # The book holds 0.18000000000000002 here.
    price = found(compile_price(arm("Qwen/Qwen3-VL-8B-Instruct"), endpoint("huggingface_together"), AT)).price
    assert 180_000_000 == price.input


def test_a_tiered_price_is_the_books_on_both_sides_of_every_tier() -> None:
    tiered = 0
    for provider, model in BOOK_MODELS:
        result = compile_price(arm(model), endpoint(provider), AT)
        if isinstance(result, PriceUnknown) or result.price.input_tokens_max is None:
            continue
        assert result.price.input_tokens_max == result.price.tiers[0].above
        for tier in result.price.tiers:
            for used in (Usage(tier.above, 10), Usage(tier.above + 1, 10), Usage(1, 10, cache_read=tier.above)):
                cost = cost_nanousd(used, result.price)
                assert cost is None or book_cost(provider, model, used, AT) == cost
        tiered += 1
    assert tiered > 50


def test_a_class_without_a_price_of_its_own_makes_the_cost_unknown_not_zero() -> None:
    priced = found(compile_price(arm("gpt-4o-2024-08-06"), endpoint(), AT)).price
    assert priced.cache_write is None
    assert cost_nanousd(Usage(10, 10, cache_write=1), priced) is None


def test_reasoning_costs_what_output_costs_where_the_book_has_no_own_price() -> None:
    priced = found(compile_price(arm("gpt-4o-2024-08-06"), endpoint(), AT)).price
    assert priced.output == priced.reasoning


def test_the_version_names_the_book_its_release_and_the_matched_model() -> None:
    assert f"{book_version()} openai/gpt-4o" == found(compile_price(arm(), endpoint(), AT)).version


def test_the_provider_is_found_by_its_base_url_where_none_is_named() -> None:
    priced = found(compile_price(arm(), endpoint(None, "https://api.openai.com/v1"), AT))
    assert found(compile_price(arm(), endpoint("openai"), AT)) == priced


def test_an_override_wins_over_the_book_and_has_its_own_version() -> None:
    section = PriceSection(input="0.35", output="0.40", cache_read="0.05", per_request="0.001")
    priced = found(compile_price(arm(price=section), endpoint(), AT))
    expected = Price(
        input=350_000_000,
        output=400_000_000,
        cache_read=50_000_000,
        reasoning=400_000_000,
        image_input=350_000_000,
        per_request_nanousd=1_000_000,
    )
    assert expected == priced.price
    assert priced.version.startswith("config:")
    other = PriceSection(input="0.36", output="0.40", cache_read="0.05", per_request="0.001")
    assert found(compile_price(arm(price=other), endpoint(), AT)).version != priced.version


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:8000/v1", "http://localhost:8000", "http://[::1]:1/v1"])
def test_an_own_server_without_a_stated_price_is_unknown(base_url: str) -> None:
    assert "states no price" in why(compile_price(arm("Qwen2.5-72B-Instruct"), endpoint(None, base_url), AT))


def test_an_unknown_model_or_provider_is_unknown_with_the_next_step() -> None:
    for given in (endpoint("openai"), endpoint("no-such-provider"), endpoint(None, "https://llm.example.com/v1")):
        reason = why(compile_price(arm("no-such-model-7"), given, AT))
        assert "'no-such-model-7'" in reason
        assert "state `price`" in reason


def test_a_price_by_time_of_day_names_the_moment_when_it_changes() -> None:
    at_noon = found(compile_price(arm("deepseek-v4-pro"), endpoint("deepseek"), NOON))
    at_peak = found(compile_price(arm("deepseek-v4-pro"), endpoint("deepseek"), PEAK))
    assert at_peak.price.input == 2 * at_noon.price.input
    assert datetime(2026, 11, 26, 1, tzinfo=UTC) == datetime.fromtimestamp((at_noon.until_ns or 0) / 1e9, UTC)
    assert datetime(2026, 11, 25, 4, tzinfo=UTC) == datetime.fromtimestamp((at_peak.until_ns or 0) / 1e9, UTC)


def test_no_price_of_the_book_changes_before_its_stated_end() -> None:
    """Walk each dated model from change to change: between two of them the book's own answer stays the same."""
    walked = 0
    for provider in get_snapshot().providers:
        for model in provider.models:
            if isinstance(model.prices, ModelPrice):
                continue
            at = datetime(2026, 7, 1, tzinfo=UTC)
            for _ in range(6):
                result = compile_price(arm(model.id), endpoint(provider.id), at)
                if isinstance(result, PriceUnknown) or result.until_ns is None:
                    break
                until = datetime.fromtimestamp(result.until_ns / 1e9, UTC)
                assert until > at
                before = until - timedelta(seconds=1)
                assert found(compile_price(arm(model.id), endpoint(provider.id), before)).price == result.price
                at = until
                walked += 1
    assert walked > 20
