from weighbridge.ledger import book


def test_a_listed_model_is_found_under_the_name_that_the_provider_takes() -> None:
    found = book.listed("openai", "gpt-4o-2024-08-06")
    assert found is not None
    assert found.id == "gpt-4o"


def test_what_the_book_does_not_list_is_none_and_not_a_guess() -> None:
    assert book.listed("openai", "no-such-model") is None
    assert book.listed("no-such-provider", "gpt-4o") is None


def test_every_dated_price_of_the_book_gives_its_dates_in_order() -> None:
    from genai_prices.data_snapshot import get_snapshot
    from genai_prices.types import ModelPrice

    dated = [
        (one.id, info.id)
        for one in get_snapshot().providers
        for info in one.models
        if not isinstance(info.prices, ModelPrice)
    ]
    found = [row for provider, model in dated if (row := book.listed(provider, model)) is not None]
    assert any(row.changes for row in found)
    assert all(list(row.changes) == sorted(row.changes) for row in found)


def test_providers_are_those_of_the_book() -> None:
    assert {"openai", "anthropic"} <= book.providers()
