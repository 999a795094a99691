"""Facts about cancelling: of providers that the price book knows."""

import pytest

from weighbridge.ledger.cancel import cancel_stops_billing, cancelling


@pytest.mark.parametrize("provider", ["aws", "groq", "google", "minimax"])
def test_providers_that_bill_on_are_known(provider: str) -> None:
    assert cancel_stops_billing(provider) is False


def test_what_nobody_says_is_unknown() -> None:
    assert cancel_stops_billing(None) is cancel_stops_billing("unheard-of") is None


def test_every_name_is_one_of_the_price_book() -> None:
    from genai_prices import data_snapshot

    known = {provider.id for provider in data_snapshot.get_snapshot().providers}
    assert set() == set(cancelling()) - known
