"""Facts about what is billed for calls that failed: of providers that the price book knows."""

import pytest

from weighbridge.ledger.failed import failed_billing, failed_calls
from weighbridge.records.table import FailedCalls


@pytest.mark.parametrize(
    ("provider", "rule"),
    [
        ("google", "unbilled"),
        ("openrouter", "unbilled"),
        ("azure", "processed_billed"),
        ("openai", "refusals_unbilled"),
    ],
)  # fmt: skip
def test_what_a_provider_says_holds(provider: str, rule: FailedCalls) -> None:
    assert rule == failed_calls(provider)


def test_where_nobody_says_only_refusals_cost_nothing() -> None:
    assert "refusals_unbilled" == failed_calls(None) == failed_calls("unheard-of")


def test_every_name_is_one_of_the_price_book() -> None:
    from genai_prices import data_snapshot

    known = {provider.id for provider in data_snapshot.get_snapshot().providers}
    assert set() == set(failed_billing()) - known
