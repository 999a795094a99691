"""The quote: figures from measured traffic and the planner, unknown where something is unknown."""

import pytest

from tests.trials.world import EXACT, Traffic, asked, config
from weighbridge.grading.book import GraderBook
from weighbridge.records.usage import Price
from weighbridge.stats.planner import plan
from weighbridge.trials.quote import Quote, SliceQuote, quote_of

PRICE = Price(input=1_000_000_000, output=2_000_000_000)


def quoted(traffic: Traffic, graders: str = EXACT, price: Price | None = PRICE, margin: float = 0.1) -> Quote:
    loaded = config(graders)
    return quote_of(
        traffic.frame(loaded),
        loaded.config.route[0],
        GraderBook(loaded, "assistant"),
        asked(margin),
        price,
        concurrency=10,
        variance=0.15,
        price_source="test",
        note="",
    )


def two_slices(many: int = 900, few: int = 30) -> Traffic:
    traffic = Traffic()
    for _ in range(many):
        traffic.ask("a")
    for _ in range(few):
        traffic.ask("b", cost_nanousd=10_000)
    return traffic


def row(quote: Quote, name: str) -> SliceQuote:
    return next(one for one in quote.slices if one.slice == name)


def test_nothing_is_said_of_splits_where_no_prompt_was_tuned() -> None:
    quote = quoted(two_slices())
    assert quote.split is None
    assert not any("split" in line for line in quote.assumptions)


def test_pairs_come_from_the_planner_with_alpha_shared_by_the_judged_slices() -> None:
    quote = quoted(two_slices())
    planned = plan(0.1, 0.05, 2)
    assert (row(quote, "task=a").pairs_50, row(quote, "task=a").pairs_80) == (planned.n50, planned.n80)


def test_money_is_measured_tokens_times_the_candidates_price() -> None:
    one = row(quoted(two_slices()), "task=a")
    assert one.replays == one.pairs_80
    # 100 tokens in at $1 a million, 10 out at $2.
    assert one.usd == pytest.approx(one.replays * (100 * 1e-6 + 10 * 2e-6))


def test_minutes_are_measured_latency_over_concurrency() -> None:
    one = row(quoted(two_slices()), "task=a")
    assert one.minutes == pytest.approx(one.replays * 0.6 / 60 / 10)


def test_a_slice_with_too_little_traffic_says_so_and_decides_no_spend() -> None:
    quote = quoted(two_slices())
    small = row(quote, "task=b")
    assert small.replays == 30
    assert "30 usable, about" in small.reasons[0]
    assert quote.spend_decided == pytest.approx(900 * 3000 / (900 * 3000 + 30 * 10_000))


def test_unknown_price_and_unknown_spend_stay_unknown() -> None:
    quote = quoted(two_slices(), price=None)
    assert quote.usd is None
    traffic = two_slices()
    traffic.ask("a", cost_nanousd=None)
    quote = quoted(traffic)
    assert quote.spend_decided is None
    assert row(quote, "task=a").spend_share is None


def test_a_slice_that_cannot_be_judged_costs_nothing_and_says_why() -> None:
    quote = quoted(two_slices(), EXACT + 'slice = "task=a"\n')
    silent = row(quote, "task=b")
    assert (silent.pairs_50, silent.replays, silent.usd, silent.reasons) == (None, 0, 0.0, ("no grader",))
    assert quote.usd == row(quote, "task=a").usd


def test_agreement_promises_no_verdict() -> None:
    one = row(quoted(two_slices(), EXACT + 'reference = "incumbent"\n'), "task=a")
    assert one.pairs_50 is None
    assert "never certifies" in one.reasons[0]
