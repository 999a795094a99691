"""A month lands on somebody to the last nano-dollar, and the FOCUS export says the same."""

import csv
import io
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ledger.made import DAY_NS, HOUR_NS, NOV_1_NS, Books, loaded
from weighbridge.errors import UsageError
from weighbridge.exchanges.reader import read
from weighbridge.exchanges.relation import relation
from weighbridge.ledger.focus import COLUMNS, Exported, export
from weighbridge.ledger.postings import postings
from weighbridge.ledger.rates import put_rates
from weighbridge.ledger.statement import Month, Statement, statement
from weighbridge.records.usage import Usage

NOVEMBER = Month.parse("2026-11", "UTC")


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return Books(tmp_path)


def stated(books: Books, more: str = "", month: Month = NOVEMBER) -> Statement:
    with postings(books.layout) as sql:
        return statement(sql, month, loaded(more).config.commitment)


def exported(books: Books, more: str = "") -> tuple[list[dict[str, str]], Exported]:
    config = loaded(more)
    with postings(books.layout) as sql:
        put_rates(sql, books.layout)
        out = io.StringIO()
        done = export(sql, config, NOVEMBER, statement(sql, NOVEMBER, config.config.commitment), out)
    return list(csv.DictReader(io.StringIO(out.getvalue()))), done


def traffic(books: Books) -> None:
    books.request(Usage(86, 300, 1_920), user="ann")
    books.request(Usage(12, 7, service_tier="flex"), at_ns=NOV_1_NS + DAY_NS)
    books.seal()
    books.request(Usage(300_000, 11), at_ns=NOV_1_NS + 2 * DAY_NS, team=None)
    books.request(Usage(1_003, 9, 1, reasoning=5), arm="open", key="batch")
    books.request(Usage(10, 1, web_searches=2), purpose="trial", trial="t", item="x")


def test_the_relation_has_each_exchange_of_sealed_and_open_segments_once(books: Books) -> None:
    traffic(books)
    with relation(books.layout) as sql:
        rows = sql.execute("SELECT id, cost_nanousd FROM exchanges ORDER BY id").fetchall()
    assert sorted((one.id, one.cost_nanousd) for one in read(books.layout)) == rows
    assert 5 == len(rows)


def test_the_lines_of_a_month_sum_to_what_was_booked(books: Books) -> None:
    traffic(books)
    said = stated(books)
    assert (books.booked, books.booked, 0) == (said.total_nanousd, said.allocated_nanousd, said.unknown)
    assert {("support", "app", "ann"), ("support", "app", None), (None, "app", None), ("support", "batch", None)} == {
        (line.team, line.key, line.user) for line in said.lines
    }


def test_a_month_begins_and_ends_on_clocks_of_its_zone(books: Books) -> None:
    books.request(Usage(100, 1), at_ns=NOV_1_NS - 1)
    books.request(Usage(200, 1), at_ns=NOV_1_NS)
    books.request(Usage(400, 1), at_ns=NOV_1_NS + 30 * DAY_NS - 1)
    books.request(Usage(800, 1), at_ns=NOV_1_NS + 30 * DAY_NS)
    assert 602 == sum(line.tokens for line in stated(books).lines)
    tokyo = stated(books, month=Month.parse("2026-11", "Asia/Tokyo"))
    assert 302 == sum(line.tokens for line in tokyo.lines)


def test_what_nobody_can_price_is_counted_and_an_upper_bound_is_marked(books: Books) -> None:
    books.request(Usage(1, 1, service_tier="ultra"))
    books.request(None, cost=77, estimated=True, outcome="client_gone")
    said = stated(books)
    assert (1, 77) == (said.unknown, said.total_nanousd)
    assert 77 == sum(line.estimated_nanousd for line in said.lines)


def test_what_of_own_gpus_no_request_used_is_a_line_of_its_own(books: Books) -> None:
    books.request(Usage(1_000_000, 1_000_000), arm="open")
    more = """
[[commitment]]
name = "two-cards"
endpoint = "own"
kind = "gpu_hours"
gpus = 2
usd_per_gpu_hour = "2.95"
since = "2026-11-16"
source = "lease of 2026-11-10"
"""
    said = stated(books, more)
    (cards,) = said.commitments
    assert 2 * 15 * 24 * 2_950_000_000 == cards.paid_nanousd
    assert 0 == cards.booked_nanousd  # the request was on the first, before the cards were paid for
    assert said.total_nanousd == said.allocated_nanousd == books.booked + cards.unused_nanousd


def test_tokens_past_a_plan_are_billed_beside_its_fee(books: Books) -> None:
    plan = """
[[commitment]]
name = "plan"
endpoint = "own"
kind = "token_plan"
usd_per_month = "0.0003"
included_tokens = 1000
since = "2026-01-01"
source = "contract"
"""
    books.request(Usage(1_500, 0), arm="open")
    (row,) = stated(books, plan).commitments
    assert (500, 0) == (row.excess_tokens, row.unused_nanousd)


def test_a_month_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="'november' is not a month"):
        Month.parse("november", "UTC")


def test_the_export_sums_to_the_statement_and_has_a_row_per_token_class(books: Books) -> None:
    traffic(books)
    rows, done = exported(books)
    assert Decimal(books.booked) / 10**9 == sum(Decimal(row["BilledCost"]) for row in rows)
    assert (books.booked, len(rows), 0) == (done.billed_nanousd, done.rows, done.unknown)
    cached = [row for row in rows if row["x_TokenClass"] == "cache_read" and row["x_Model"] == "gpt-5.5"]
    assert [("1920.0", "tokens", "0.0000005")] == [
        (row["ConsumedQuantity"], row["ConsumedUnit"], row["ListUnitPrice"]) for row in cached
    ]
    long = next(row for row in rows if row["SubAccountId"] == "unattributed" and row["x_TokenClass"] == "input")
    assert "0.00001" == long["ListUnitPrice"]
    flex = next(row for row in rows if row["x_ServiceTier"] == "flex" and row["x_TokenClass"] == "input")
    assert "0.0000025" == flex["ListUnitPrice"]
    assert {"2.0"} == {row["ConsumedQuantity"] for row in rows if row["x_TokenClass"] == "web_searches"}
    assert "all" not in {row["x_TokenClass"] for row in rows}


def test_a_cost_whose_rates_are_gone_is_exported_in_one_piece(books: Books) -> None:
    traffic(books)
    books.layout.database.unlink()
    rows, _ = exported(books)
    assert {"all"} == {row["x_TokenClass"] for row in rows}
    assert Decimal(books.booked) / 10**9 == sum(Decimal(row["BilledCost"]) for row in rows)


REQUIRED = (
    "BilledCost", "BillingAccountId", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory",
    "ChargeDescription", "ChargePeriodEnd", "ChargePeriodStart", "ContractedCost", "EffectiveCost", "HostProviderName",
    "InvoiceIssuerName", "ListCost", "PricingUnit", "ServiceCategory", "ServiceName", "ServiceProviderName",
    "ServiceSubcategory",
)  # fmt: skip


def test_every_row_has_what_the_specification_requires(books: Books) -> None:
    traffic(books)
    rows, _ = exported(books, """
[[commitment]]
name = "cards"
endpoint = "own"
kind = "gpu_hours"
gpus = 1
usd_per_gpu_hour = "1"
since = "2026-01-01"
source = "lease"
""")  # fmt: skip
    for row in rows:
        assert list(COLUMNS) == list(row)
        assert [] == [name for name in REQUIRED if not row[name]]
        assert row["BillingPeriodStart"] <= row["ChargePeriodStart"] < row["ChargePeriodEnd"] <= row["BillingPeriodEnd"]
        assert row["ChargeCategory"] in ("Usage", "Adjustment")
        if row["ListUnitPrice"]:
            exact = Decimal(row["ListUnitPrice"]) * Decimal(row["PricingQuantity"])
            assert abs(exact - Decimal(row["ListCost"])) < Decimal("0.00000001")
    assert "unused" in {row["x_TokenClass"] for row in rows}


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.builds(Usage, *(st.integers(0, 400_000) for _ in range(3))), st.sampled_from(["closed", "open"]),
            st.integers(0, 29 * 24), st.sampled_from([None, "a", "b"]),
        ),
        min_size=1, max_size=12,
    )
)  # fmt: skip
def test_whatever_was_used_statement_and_export_meet_the_sum(
    tmp_path_factory: pytest.TempPathFactory, calls: list[tuple[Usage, str, int, str | None]]
) -> None:
    books = Books(tmp_path_factory.mktemp("books"))
    for usage, arm, hour, team in calls:
        books.request(usage, arm=arm, at_ns=NOV_1_NS + hour * HOUR_NS, team=team)
    said = stated(books)
    rows, _ = exported(books)
    books.close()
    assert books.booked == said.total_nanousd == said.allocated_nanousd
    assert Decimal(books.booked) / 10**9 == sum((Decimal(row["BilledCost"]) for row in rows), Decimal(0))
