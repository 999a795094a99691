import json
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from pathlib import Path

import pytest
from genai_prices import Usage, calc_price
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.scan.bill import DIMENSIONS, Bill, make_bill
from weighbridge.scan.price import at_price
from weighbridge.scan.read import load, usage_database

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
HEADINGS = "time,application,provider,model,input_tokens,cached_input_tokens,output_tokens,cost_usd,batch"


def bill(folder: Path, *rows: str) -> Bill:
    path = folder / "usage.csv"
    path.write_text("\n".join([HEADINGS, *rows]) + "\n")
    with usage_database() as connection:
        load(connection, [path], {})
        at_price(connection, NOW)
        return make_bill(connection)


def book(provider: str, model: str, when: datetime, given: int, cached: int, made: int) -> int:
    """By the price book's own arithmetic, in nano-dollars rounded up."""
    usage = Usage(input_tokens=given, cache_read_tokens=cached, output_tokens=made)
    found = calc_price(usage, model, provider_id=provider, genai_request_timestamp=when)
    return int((Decimal(found.total_price) * 10**9).to_integral_value(ROUND_CEILING))


def test_a_row_without_a_stated_cost_costs_its_tokens_at_the_book_price(tmp_path: Path) -> None:
    found = bill(tmp_path, "2026-10-01T10:00:00Z,a,openai,gpt-4o,1003,500,77,,")
    assert book("openai", "gpt-4o", NOW, 1003, 500, 77) == found.total.cost_nanousd


def test_a_price_that_depends_on_the_hour_is_taken_at_the_hour_of_the_row(tmp_path: Path) -> None:
    times = ("2026-10-02T02:00:00Z", "2026-10-02T12:00:00Z")
    found = bill(tmp_path, *(f"{time},{time},deepseek,deepseek-v4-pro,100000,0,5000,," for time in times))
    expected = {
        time: book("deepseek", "deepseek-v4-pro", datetime.fromisoformat(time), 100000, 0, 5000) for time in times
    }
    assert expected == {line.name: line.sum.cost_nanousd for line in found.by["application"]}
    assert 2 == len(set(expected.values()))


def test_what_the_file_states_wins_and_is_held_against_the_book(tmp_path: Path) -> None:
    found = bill(tmp_path, "2026-10-01T10:00:00Z,a,openai,gpt-4o,1000,0,100,0.002,")
    assert 2_000_000 == found.total.cost_nanousd == found.stated_nanousd
    assert (1100, 2_000_000, 3_500_000) == (
        found.checked.tokens,
        found.checked.stated_nanousd,
        found.checked.book_nanousd,
    )


def test_a_batch_row_costs_half_where_that_is_known_and_is_unknown_elsewhere(tmp_path: Path) -> None:
    row = "2026-10-01T10:00:00Z,a,{},{},1000,0,100,,true"
    found = bill(tmp_path, row.format("openai", "gpt-4o"), row.format("moonshotai", "kimi-k2.6"))
    assert 1_750_000 == found.total.cost_nanousd
    assert [("kimi-k2.6", "the price of the service tier batch is not known")] == [
        (one.model, one.why) for one in found.unknown
    ]


def test_an_unknown_price_is_unknown_with_its_tokens_and_never_zero(tmp_path: Path) -> None:
    found = bill(
        tmp_path,
        "2026-10-01T10:00:00Z,a,openai,gpt-4o,1000,0,100,,",
        "2026-10-01T10:00:00Z,b,in-house,own-7b,900,0,50,,",
    )
    assert (3_500_000, 1, 950) == (
        found.total.cost_nanousd,
        found.total.unknown_requests,
        found.total.unknown_tokens,
    )
    assert ["own-7b"] == [one.model for one in found.unknown]


def test_past_a_context_tier_its_own_price_holds_for_all_tokens(tmp_path: Path) -> None:
    lengths = (271_999, 272_000, 272_001, 300_000)
    found = bill(tmp_path, *(f"2026-10-01T10:00:00Z,{one},openai,gpt-5.5,{one},1000,500,," for one in lengths))
    assert {str(one): book("openai", "gpt-5.5", NOW, one, 1000, 500) for one in lengths} == {
        line.name: line.sum.cost_nanousd for line in found.by["application"]
    }


def test_a_bucket_is_priced_by_its_mean_request_and_not_at_all_where_requests_are_not_counted(tmp_path: Path) -> None:
    path = tmp_path / "usage.jsonl"
    row = {"model": "gpt-5.5", "provider": "openai", "input_tokens": 900_000, "output_tokens": 4000}
    path.write_text("\n".join(json.dumps({**row, "requests": count, "application": str(count)}) for count in (2, 4)))
    with usage_database() as connection:
        load(connection, [path], {})
        at_price(connection, NOW)
        costs = {line.name: line.sum.cost_nanousd for line in make_bill(connection).by["application"]}
    long, short = (900_000 * 10 + 4000 * 45, 900_000 * 5 + 4000 * 30)
    assert {"2": long * 1000, "4": short * 1000} == costs


def test_a_service_tier_costs_what_the_book_says_of_it(tmp_path: Path) -> None:
    path = tmp_path / "usage.jsonl"
    row = {"model": "gpt-5.5", "provider": "openai", "input_tokens": 1000, "output_tokens": 100}
    tiers = ("default", "flex", "priority", "imaginary")
    path.write_text("\n".join(json.dumps({**row, "service_tier": tier, "application": tier}) for tier in tiers))
    with usage_database() as connection:
        load(connection, [path], {})
        at_price(connection, NOW)
        found = make_bill(connection)
    costs = {line.name: line.sum.cost_nanousd for line in found.by["application"]}
    standard = 1000 * 5000 + 100 * 30_000
    assert (standard, standard // 2) == (costs["default"], costs["flex"])
    assert costs["priority"] > standard
    assert ["the price of the service tier imaginary is not known"] == [one.why for one in found.unknown]


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["gpt-4o", "gpt-4o-mini", "gpt-5", "own-model"]),
        st.integers(0, 10**6),
        st.integers(0, 10**5),
        st.one_of(st.none(), st.decimals(0, 100, places=9)),
        st.sampled_from(["a", "b", ""]),
        st.integers(1, 28),
    ),
    min_size=1,
    max_size=40,
)


@given(rows=ROWS)
def test_each_dimension_adds_up_to_the_total_and_the_total_to_an_independent_sum(
    rows: list[tuple[str, int, int, Decimal | None, str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    expected = unknown = 0
    lines = []
    for model, given_, made, cost, application, day in rows:
        stated = "" if cost is None else format(cost, "f")
        lines.append(f"2026-10-{day:02d}T10:00:00Z,{application},openai,{model},{given_},0,{made},{stated},")
        if cost is not None:
            expected += int(cost * 10**9)
        elif model == "own-model":
            unknown += 1
        else:
            expected += book("openai", model, NOW, given_, 0, made)
    found = bill(tmp_path_factory.mktemp("bill"), *lines)
    assert (expected, unknown) == (found.total.cost_nanousd, found.total.unknown_requests)
    for dimension in DIMENSIONS:
        for field in ("cost_nanousd", "requests", "input_tokens", "output_tokens", "unknown_requests"):
            total = getattr(found.total, field)
            assert total == sum(getattr(line.sum, field) for line in found.by[dimension])
