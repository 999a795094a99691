"""Money in integers: exact, rounded up once, unknown never 0."""

from decimal import ROUND_CEILING, Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.records.usage import Price, Usage, cost_nanousd, nanousd_per_million, usd

TOKENS = st.integers(0, 10**9)
RATES = st.integers(0, 10**12)
USAGES = st.builds(Usage, TOKENS, TOKENS, TOKENS, TOKENS, TOKENS, TOKENS)
PRICES = st.builds(Price, RATES, RATES, RATES, RATES, RATES, RATES, st.integers(0, 10**9))


@given(USAGES, PRICES)
def test_a_cost_is_the_exact_sum_rounded_up_once(usage: Usage, price: Price) -> None:
    exact = sum(
        Decimal(tokens) * Decimal(rate or 0)
        for tokens, rate in (
            (usage.input, price.input),
            (usage.output, price.output),
            (usage.cache_read, price.cache_read),
            (usage.cache_write, price.cache_write),
            (usage.cache_write_1h, price.cache_write_1h),
            (usage.reasoning, price.reasoning),
        )
    ) / Decimal(10**6)
    expected = int(exact.to_integral_value(ROUND_CEILING)) + price.per_request_nanousd
    assert cost_nanousd(usage, price) == expected


@given(USAGES)
def test_the_classes_are_disjoint_and_sum_to_the_total(usage: Usage) -> None:
    assert usage.total == usage.input_total + usage.output + usage.reasoning


@pytest.mark.parametrize("used", ["cache_read", "cache_write", "cache_write_1h", "reasoning"])
def test_a_used_class_without_a_price_makes_the_cost_unknown(used: str) -> None:
    usage = msgspec.structs.replace(Usage(input=1, output=1), **{used: 1})
    assert cost_nanousd(usage, Price(input=10**9, output=10**9)) is None
    assert cost_nanousd(usage, msgspec.structs.replace(Price(10**9, 10**9), **{used: 0})) == 2_000


def test_an_unused_class_without_a_price_does_no_harm() -> None:
    assert cost_nanousd(Usage(1_000_000, 1_000_000), Price(input=2, output=3)) == 5


def test_a_fraction_of_a_nanodollar_is_rounded_up() -> None:
    assert cost_nanousd(Usage(1, 0), Price(input=1, output=0)) == 1


def test_past_the_context_tier_the_cost_is_unknown() -> None:
    price = Price(input=1, output=1, cache_read=1, input_tokens_max=100)
    assert cost_nanousd(Usage(60, 5, cache_read=40), price) is not None
    assert cost_nanousd(Usage(61, 5, cache_read=40), price) is None


@pytest.mark.parametrize(
    ("text", "nanousd"),
    [
        ("1000000", 10**15),
        ("0.350000000000000000000000000000000", 350_000_000),
        ("0.35", 350_000_000),
        ("2.5", 2_500_000_000),
        ("0", 0),
        ("0.000000001", 1),
        ("15", 15 * 10**9),
    ],
)
def test_a_price_text_is_read_without_losing_a_digit(text: str, nanousd: int) -> None:
    assert nanousd_per_million(text) == nanousd


@pytest.mark.parametrize(
    "text",
    ["", "cheap", "-1", "nan", "inf", "1e-10", "0.0000000001", "1,5", "1e999999", "1e-999999999", "1000000.1", "0.5"
     "0000000000000000000000000000000000001"],
)  # fmt: skip
def test_a_price_text_that_is_none_is_refused_with_its_value(text: str) -> None:
    with pytest.raises(ValueError, match=repr(text).replace("(", r"\(")):
        nanousd_per_million(text)


@pytest.mark.parametrize(
    ("nanousd", "text"),
    [
        (None, "unknown"),
        (0, "$0"),
        (1_500_000_000, "$1.50"),
        (1_234_567_000_000, "$1,234.57"),
        (12_300_000, "$0.0123"),
        (1, "$0.0000000010"),
        (-1_500_000_000, "$-1.50"),
    ],
)
def test_money_for_people_never_hides_a_known_cost(nanousd: int | None, text: str) -> None:
    assert usd(nanousd) == text


def test_a_cost_that_no_call_can_have_is_unknown() -> None:
    assert cost_nanousd(Usage(1 << 29, 0), Price(input=1 << 50, output=0)) == -(-(1 << 79) // 10**6)
    assert cost_nanousd(Usage(1 << 30, 0), Price(input=1 << 50, output=0)) is None
