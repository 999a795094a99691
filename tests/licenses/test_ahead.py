"""When a line will be crossed at a growth."""

import msgspec
import pytest

from tests.licenses.profiles import ON, org
from weighbridge.licenses.ahead import ahead
from weighbridge.licenses.check import check
from weighbridge.licenses.profile import Range


def test_a_line_ahead_is_told_with_its_month_and_consequence() -> None:
    who = org("product", users={"product": 80e6})
    (row,) = ahead("qwen-2024", who, 0.05, ON)
    assert (5, "2027-04") == (row.months, row.month)
    assert "there are no rights until the licensor grants a licence" in row.sentence


def test_in_the_month_told_the_verdict_has_changed_and_not_before() -> None:
    for users, growth in ((80e6, 0.05), (99e6, 0.3), (50e6, 0.02), (25e6, 0.5)):
        (row,) = ahead("qwen-2024", org("product", users={"product": users}), growth, ON)
        months = (row.months - 1, row.months)
        grown = [org("product", users={"product": users * (1 + growth) ** month}) for month in months]
        at = [check("qwen-2024", who, ON).verdict for who in grown]
        assert ["obligations", "permission"] == at


def test_the_nearest_comes_first_and_the_upper_end_of_a_band_counts() -> None:
    who = org("product", users={"product": ("1", "60000000")}, revenue={"product_month": 15e6}, via="self_hosted")
    rows = ahead("kimi-k3", who, 0.1, ON)
    assert ["organization.revenue_usd.product_month", "organization.users_monthly.product"] == [
        row.field for row in rows
    ]


@pytest.mark.parametrize(
    ("query", "who"),
    [
        ("llama-4", org("product", users={"all_products": 600e6}, users_on={"2025-04-05": 600e6})),
        ("qwen-2024", org("product", users={"product": 101e6})),
        ("qwen-2024", org("product", users={"product": 0.0})),
        ("qwen-2024", org("product")),
        ("kimi-k3", org("internal", revenue={"group_12_months": 19e6}, businesses=("model_service",))),
        ("kimi-k3", org("product", revenue={"group_12_months": 19e6}, businesses=())),
        ("qwen-2024", org("product", users={"product": 10.0})),
        ("jamba-open-model", org("product", revenue={"entity_year": 49e6})),
    ],
    ids=["frozen at release", "crossed", "zero", "unknown", "exempt", "not gated", "too far", "no source"],
)  # fmt: skip
def test_lines_that_do_not_come_nearer_are_left_out(query: str, who: object) -> None:
    assert () == ahead(query, who, 0.05, ON)  # type: ignore[arg-type]


def test_metered_tokens_count_as_well() -> None:
    who = msgspec.structs.replace(org("product"), output_tokens_month=Range(9e6, 9e6))
    (row,) = ahead("yandexgpt-5-lite", who, 0.2, ON)
    assert 1 == row.months


def test_without_growth_there_is_nothing_ahead() -> None:
    with pytest.raises(ValueError, match="above 0"):
        ahead("mit", org("product"), 0, ON)
