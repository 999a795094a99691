"""Savings are a sum of rows at measured ratios, minus what everything else cost; unmeasured is unknown."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.exchanges.loop import held
from tests.ledger.made import CLOSED, HOUR_NS, NOV_1_NS, OPEN, Books, loaded
from weighbridge.cli.savings_output import print_saved
from weighbridge.config.tree import PriceRowSection
from weighbridge.ledger.postings import postings
from weighbridge.ledger.prices import Terms
from weighbridge.ledger.ratios import token_ratios
from weighbridge.ledger.savings import JudgedRow, Savings, Verdicts, savings
from weighbridge.records.evidence import VerdictWord
from weighbridge.records.usage import Usage, cost_nanousd, usd

SLICE = held("-").slice
UNTIL = datetime(2026, 12, 1, tzinfo=UTC)
STATED = PriceRowSection(
    model="gpt-5.5", provider="openai", source="a test", input="5", output="30", cache_read="0.5", cache_write="6",
)  # fmt: skip
SIBLING = """
[[arm]]
name = "small"
endpoint = "closed-api"
model = "gpt-5.5-small"
weights = "closed"
price = { input = "1", output = "2" }
"""


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return Books(tmp_path)


def tried(books: Books, pairs: int = 40, *, noise: int = 0) -> int:
    """Replays in which the open arm needs 125 % of the input tokens and twice the output; what they cost."""
    spent = 0
    for number in range(pairs):
        wobble = (number % 3 - 1) * noise
        item = books.request(Usage(800, 100 + wobble))
        used = Usage(1_000, 200)
        books.request(used, arm="open", purpose="trial", trial="t", item=item)
        spent += cost_nanousd(used, OPEN) or 0
    return spent


def judged(word: VerdictWord = "non_inferior", incumbent: str = "closed") -> Verdicts:
    """A verdict on the open arm in the slice that all these requests are in."""
    row = JudgedRow(
        verdict=word, difference=0.01, interval=(-0.01, 0.03), margin=0.02, trial="t", incumbent=incumbent
    )  # fmt: skip
    return {("assistant", SLICE, "open"): row}


def saved(books: Books, more: str = "", verdicts: Verdicts | None = None) -> Savings:
    with postings(books.layout) as sql:
        return savings(
            sql, loaded(more), Terms(rows=(STATED,)), None, UNTIL, judged() if verdicts is None else verdicts
        )


def test_the_saving_is_what_the_incumbent_would_have_cost_minus_paid_minus_every_other_purpose(books: Books) -> None:
    spent = tried(books)
    moved = Usage(10_000, 500)
    for _ in range(3):
        books.request(moved, arm="open", at_ns=NOV_1_NS + HOUR_NS)
    books.request(Usage(100, 100), arm="open", purpose="judge")
    said = saved(books)
    # At 0.8 of the input tokens and half of the output, fresh as the incumbent's own traffic was.
    would = 3 * (cost_nanousd(Usage(8_000, 250), CLOSED) or 0)
    paid = 3 * (cost_nanousd(moved, OPEN) or 0)
    judge = cost_nanousd(Usage(100, 100), OPEN)
    assert {"trial": spent, "judge": judge} == said.other_purposes
    (row,) = said.incumbent.rows
    assert (3, paid, would, "measured") == (
        row.requests, row.paid_nanousd, row.would_have_cost and row.would_have_cost.nanousd, row.cache,
    )  # fmt: skip
    assert would - paid == said.incumbent.gross.nanousd
    assert would - paid - spent - (judge or 0) == said.incumbent.net.nanousd


def test_a_ratio_that_scatters_gives_an_interval_around_the_saving(books: Books) -> None:
    tried(books, noise=30)
    books.request(Usage(10_000, 5_000), arm="open")
    gross = saved(books).incumbent.gross
    assert gross.low_nanousd < gross.nanousd < gross.high_nanousd


def test_too_few_pairs_are_no_measurement_and_no_saving(books: Books) -> None:
    tried(books, pairs=29)
    books.request(Usage(10_000, 500), arm="open")
    said = saved(books).incumbent
    assert (0, 1) == (said.gross.nanousd, said.not_measured)
    assert "no trial has measured closed beside open" in (said.rows[0].why_unknown or "")


def test_the_incumbents_cache_is_taken_as_its_own_traffic_had_it(books: Books) -> None:
    tried(books)  # 40 requests of 800 fresh tokens
    for _ in range(40):
        books.request(Usage(0, 100, 800))
    books.request(Usage(10_000, 0), arm="open")
    row = saved(books).incumbent.rows[0]
    assert cost_nanousd(Usage(4_000, 0, 4_000), CLOSED) == (row.would_have_cost and row.would_have_cost.nanousd)


def test_only_requests_of_users_are_in_the_sum(books: Books) -> None:
    tried(books)
    books.request(Usage(10_000, 500), arm="open", purpose="shadow")
    said = saved(books)
    assert ((), 0) == (said.incumbent.rows, said.incumbent.gross.nanousd)
    assert said.incumbent.net.nanousd < 0


def test_a_closed_alternative_that_nobody_tried_is_unknown_and_not_a_saving(books: Books) -> None:
    tried(books)
    books.request(Usage(10_000, 500), arm="open")
    (alternative,) = saved(books, SIBLING).alternatives
    assert ("small", 1, 0) == (alternative.against, alternative.not_measured, alternative.gross.nanousd)


def test_the_ratio_of_two_arms_is_the_same_whichever_was_the_incumbent(books: Books) -> None:
    tried(books, noise=20)
    with postings(books.layout) as sql:
        there, back = token_ratios(sql, "closed", "open"), token_ratios(sql, "open", "closed")
    assert there is not None
    assert back is not None
    assert pytest.approx(1) == there.output.value * back.output.value
    assert (0.8, 40) == (there.input.value, there.input.pairs)


def test_a_slice_without_a_verdict_saves_nothing_however_cheap_it_was(books: Books) -> None:
    tried(books)
    books.request(Usage(10_000, 500), arm="open")
    for nothing in ({}, judged(incumbent="another")):
        said = saved(books, verdicts=nothing).incumbent
        assert (0, 1, {}) == (said.gross.nanousd, said.not_measured, said.by_verdict)
        assert said.rows[0].would_have_cost is None
        assert "no verdict on open in this slice" in (said.rows[0].why_unknown or "")


@pytest.mark.parametrize("word", ["non_inferior", "inferior", "undecided"])
def test_every_saving_stands_with_the_verdict_on_its_own_rows(
    books: Books, word: VerdictWord, capsys: pytest.CaptureFixture[str]
) -> None:
    tried(books)
    books.request(Usage(10_000, 500), arm="open")
    said = saved(books, SIBLING, judged(word))
    assert {word: said.incumbent.gross} == said.incumbent.by_verdict
    for against in (said.incumbent, *said.alternatives):
        assert all(row.judged is not None for row in against.rows if row.would_have_cost is not None)
    print_saved(said.incumbent)
    total, row = capsys.readouterr().out.splitlines()
    shown = {"non_inferior": "as good", "inferior": "worse", "undecided": "undecided"}[word]
    assert f"{usd(said.incumbent.gross.nanousd)} {shown}" in total
    assert f"{shown} (+1.0 points, margin 2); 1 requests on open" in row
