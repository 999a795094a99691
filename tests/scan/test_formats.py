"""Each claimed format is read without options: from what its tool wrote, or from its published columns."""

import csv
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from anthropic.types.beta import BetaCacheCreation
from anthropic.types.beta.organization import (
    BetaAnalyticsCostBucketedResult,
    BetaAnalyticsCostReportTimeBucket,
    BetaAnalyticsServerToolUse,
    BetaAnalyticsUsageBucketedResult,
    BetaAnalyticsUsageReportTimeBucket,
)
from langfuse.api import ObservationsV2Response, ObservationV2
from langfuse.api.observations import ObservationsV2Meta
from openai.types.admin.organization import UsageCompletionsResponse, UsageCostsResponse
from openai.types.admin.organization.usage_completions_response import (
    Data,
    DataResultOrganizationUsageCompletionsResult,
)

from weighbridge.errors import UsageError
from weighbridge.scan.formats import FORMATS
from weighbridge.scan.read import FileAccount, load, usage_database
from weighbridge.scan.scan import scan

FIXTURES = Path(__file__).parent / "fixtures"
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
Row = tuple[object, ...]
DOCUMENT = Path(__file__).parents[2] / "docs" / "scan.md"


def read(path: Path) -> tuple[FileAccount, list[Row]]:
    """Rows of application, model, requests, fresh, read, written, written 1 h, seen, reasoning, nano-dollars, batch."""
    with usage_database() as connection:
        (account,) = load(connection, [path], {})
        rows = connection.execute(
            "SELECT application, model, requests, fresh, cache_read, cache_write, cache_write_1h, output, reasoning, "
            "stated_nanousd, batch FROM raw WHERE bad IS NULL ORDER BY rowid"
        ).fetchall()
    return account, rows


def passed(account: FileAccount) -> dict[str, int]:
    return {one.reason: one.rows for one in account.passed_over}


def skipped(account: FileAccount) -> dict[str, int]:
    return {one.reason: one.rows for one in account.skipped}


def test_an_openai_usage_report_is_read_bucket_by_bucket(tmp_path: Path) -> None:
    result = DataResultOrganizationUsageCompletionsResult(
        object="organization.usage.completions.result",
        input_tokens=1000,
        output_tokens=500,
        input_cached_tokens=700,
        input_cache_write_tokens=100,
        num_model_requests=5,
        project_id="proj_1",
        model="gpt-5.6-terra",
        batch=True,
    )
    bucket = Data(object="bucket", start_time=1730419200, end_time=1730505600, results=[result, result])
    empty = Data(object="bucket", start_time=1730505600, end_time=1730592000, results=[])
    page = UsageCompletionsResponse(object="page", data=[bucket, empty], has_more=False, next_page=None)
    row = ("proj_1", "gpt-5.6-terra", 5, 200, 700, 100, None, 500, None, None, True)
    for name, text, rows in (
        ("line", page.model_dump_json(), 2),
        ("document", page.model_dump_json(indent=2), 2),
        ("pages", page.model_dump_json() + "\n" + page.model_dump_json(), 4),
    ):
        path = tmp_path / name
        path.write_text(text)
        account, found = read(path)
        assert ("openai-usage", [row] * rows) == (account.format, found)


def test_an_anthropic_usage_report_of_either_kind_is_read_with_its_cache_classes_apart(tmp_path: Path) -> None:
    account, rows = read(FIXTURES / "anthropic_usage.json")
    assert ("anthropic-usage", 3, ()) == (account.format, account.rows_read, account.skipped)
    assert ("apikey_01A", "claude-opus-5-5", None, 1500, 200, 500, 1000, 500, None, None, None) == rows[0]
    assert True is rows[1][-1]
    result = BetaAnalyticsUsageBucketedResult(
        uncached_input_tokens=1500,
        cache_creation=BetaCacheCreation(ephemeral_1h_input_tokens=1000, ephemeral_5m_input_tokens=500),
        cache_read_input_tokens=200,
        output_tokens=500,
        model="claude-opus-5-5",
        product="claude_code",
        requests=7,
        server_tool_use=BetaAnalyticsServerToolUse(web_search_requests=0),
    )
    start = datetime(2026, 11, 1, tzinfo=UTC)
    bucket = BetaAnalyticsUsageReportTimeBucket(
        starting_at=start, ending_at=start + timedelta(days=1), results=[result]
    )
    path = tmp_path / "analytics.json"
    path.write_text(json.dumps({"data": [bucket.model_dump(mode="json")], "has_more": False, "next_page": None}))
    account, rows = read(path)
    assert "anthropic-usage" == account.format
    assert [("claude_code", "claude-opus-5-5", 7, 1500, 200, 500, 1000, 500, None, None, None)] == rows


def test_a_service_tier_without_a_known_price_leaves_the_cost_unknown() -> None:
    bill = scan([FIXTURES / "anthropic_usage.json"], NOW).bill
    assert [("claude-opus-5-5", "the price of the service tier priority is not known", None)] == [
        (one.model, one.why, one.requests) for one in bill.unknown
    ]
    opus = 1500 * 4_000 + 200 * 200 + 500 * 5_000 + 1000 * 8_000 + 500 * 20_000
    sonnet_in_batch = (80_000 * 2_000 + 4_000 * 10_000) // 2
    assert opus + sonnet_in_batch == bill.total.cost_nanousd
    assert bill.total.requests is None


def test_openrouter_activity_is_read_with_the_charge_of_own_keys_on_top() -> None:
    account, rows = read(FIXTURES / "openrouter.json")
    assert ("openrouter", 3, ()) == (account.format, account.rows_read, account.skipped)
    items = json.loads((FIXTURES / "openrouter.json").read_text())["data"]
    paid = sum(Decimal(str(one["usage"])) + Decimal(str(one["byok_usage_inference"])) for one in items)
    assert paid * 10**9 == sum(int(str(row[9])) for row in rows)
    assert (None, "openai/gpt-5.6-terra", 40, 280_000, 120_000, None, None, 30_000, 5_000, 1_250_000_000, None) in rows


def test_lines_of_bedrock_are_read_from_the_cost_and_usage_report_and_all_others_accounted_for() -> None:
    path = FIXTURES / "aws_cur2.csv"
    account, rows = read(path)
    assert ("aws-cur2", 5) == (account.format, account.rows_read)
    assert {
        "a line of another service": 1,
        "a tax, fee, credit or discount": 1,
        "use of Bedrock that is not billed by tokens": 1,
    } == passed(account)
    assert {"its unit is not known": 1} == skipped(account)
    assert [
        ("Claude4.5Sonnet", 29_481, 0, 0, 0),
        ("Claude4.5Sonnet", 0, 0, 0, 31_102),
        ("Claude4.5Sonnet", 0, 0, 433_893, 0),
        ("Claude4.6Sonnet", 0, 5_372_659, 0, 0),
        ("Nova2.0Lite", 1_000_000, 0, 0, 0),
    ] == [(row[1], row[3], row[4], row[5], row[7]) for row in rows]
    assert [None, None, None, None, True] == [row[-1] for row in rows]
    with path.open() as file:
        lines = [line for line in csv.DictReader(file) if int(line["identity_line_item_id"][2:]) <= 5]
    expected = sum(Decimal(line["line_item_unblended_cost"]) for line in lines)
    assert expected * 10**9 == scan([path], NOW).bill.total.cost_nanousd


def test_a_cost_and_usage_report_is_read_with_its_legacy_headings_and_as_parquet(tmp_path: Path) -> None:
    text = (FIXTURES / "aws_cur2.csv").read_text()
    head, _, rest = text.partition("\n")
    old = {
        "pricing_unit": "pricing/unit",
        "identity_line_item_id": "identity/LineItemId",
        "bill_payer_account_id": "bill/PayerAccountId",
        "line_item_iam_principal": "line_item_iam_principal",
    }

    def legacy(name: str) -> str:
        words = name.removeprefix("line_item_").split("_")
        return old.get(name) or "lineItem/" + "".join(word.capitalize() for word in words)

    path = tmp_path / "legacy.csv"
    path.write_text(",".join(map(legacy, head.split(","))) + "\n" + rest)
    account, rows = read(path)
    assert "aws-cur" == account.format
    assert read(FIXTURES / "aws_cur2.csv")[1] == rows
    parquet = tmp_path / "cur.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"COPY (FROM read_csv('{FIXTURES / 'aws_cur2.csv'}')) TO '{parquet}' (FORMAT parquet)")
    account, found = read(parquet)
    assert "aws-cur2" == account.format
    assert rows == found


def test_meters_of_language_models_are_read_from_an_azure_cost_export() -> None:
    account, rows = read(FIXTURES / "azure_cost.csv")
    assert ("azure-cost", 6, ()) == (account.format, account.rows_read, account.skipped)
    assert {
        "a line of another service, or one not billed by tokens": 1,
        "a purchase, refund or adjustment": 1,
    } == passed(account)
    assert [
        ("gpt 4o 1120", 1_200_500, 0, 0, 3_001_250_000),
        ("gpt 4o 1120", 0, 400_000, 0, 500_000_000),
        ("gpt 4o 1120", 0, 0, 90_000, 900_000_000),
        ("gpt-5.5", 2_500_000, 0, 0, 12_500_000_000),
        ("gpt-5.5", 0, 0, 250_000, 7_500_000_000),
        ("V4 Pro", 10_000, 0, 0, 17_400_000),
    ] == [(row[1], row[3], row[4], row[7], row[9]) for row in rows]
    bill = scan([FIXTURES / "azure_cost.csv"], NOW).bill
    assert (24_418_650_000, "2026-11-02") == (bill.total.cost_nanousd, str(bill.last_day))


def test_a_charge_in_another_currency_than_dollars_is_not_taken_for_dollars(tmp_path: Path) -> None:
    path = tmp_path / "euro.csv"
    path.write_text((FIXTURES / "azure_cost.csv").read_text().replace(",USD,", ",EUR,"))
    account, rows = read(path)
    assert 6 == account.rows_read
    assert {None} == {row[9] for row in rows}


def test_spans_as_the_opentelemetry_sdk_writes_them_are_read_and_sums_over_spans_passed_over() -> None:
    account, rows = read(FIXTURES / "otlp.jsonl")
    assert ("otlp", 4, ()) == (account.format, account.rows_read, account.skipped)
    assert {"a span that is no call of a model": 4, "a failed call without a token count": 1} == passed(account)
    assert [
        ("support-bot", "gpt-5.6-terra", 1, 400, 800, None, None, 180, 120, None, None),
        ("support-bot", "gpt-5.6-terra", 1, 900, 0, None, None, 90, None, None, None),
        ("support-bot", "claude-sonnet-5-5", 1, 1000, 3000, 1000, None, 250, None, None, None),
        ("search", "gemini-3.8-flash", 1, 4000, 0, None, None, 200, None, None, None),
    ] == rows


def test_langfuse_observations_are_read_with_their_disjoint_usage_types(tmp_path: Path) -> None:
    start = datetime(2026, 11, 1, 10, tzinfo=UTC)

    def observation(ident: str, kind: str, usage: dict[str, int] | None, cost: float | None) -> ObservationV2:
        return ObservationV2(
            id=ident, trace_id="t", start_time=start, end_time=start, project_id="p", type=kind, trace_name="support",
            user_id="ann", model=None if usage is None else "gpt-4o", usage_details=usage, total_cost=cost, latency=1.5,
            input="canary-in-langfuse", output="an answer",
        )  # fmt: skip

    openai = {"input": 400, "input_cached_tokens": 600, "output": 70, "output_reasoning_tokens": 30, "total": 1100}
    anthropic = {"input": 300, "cache_read_input_tokens": 5000, "cache_creation_input_tokens": 700, "output": 80}
    odd = {"input": 10, "input_image_tokens": 85, "output": 5, "total": 100}
    page = ObservationsV2Response(
        data=[
            observation("1", "GENERATION", openai, 0.00275),
            observation("2", "GENERATION", anthropic, None),
            observation("3", "SPAN", None, None),
            observation("4", "GENERATION", odd, 0.01),
        ],
        meta=ObservationsV2Meta(),
    )
    expected = [
        ("support", "gpt-4o", 1, 400, 600, None, None, 70, 30, 2_750_000, None),
        ("support", "gpt-4o", 1, 300, 5000, 700, None, 80, None, None, None),
    ]
    lines = "\n".join(json.dumps(one) for one in json.loads(page.json())["data"])
    for name, text in (("page.json", page.json()), ("lines.jsonl", lines)):
        path = tmp_path / name
        path.write_text(text)
        account, rows = read(path)
        assert ("langfuse", expected) == (account.format, rows)
        assert {"an observation that is no call of a model": 1} == passed(account)
        assert {"its usage types do not add up to its total: one of them is not known here": 1} == skipped(account)


def test_a_helicone_export_is_read_and_its_own_cache_hits_are_not_charged() -> None:
    account, rows = read(FIXTURES / "helicone.jsonl")
    assert ("helicone", 2) == (account.format, account.rows_read)
    assert {"answered from Helicone's own cache, so nobody charged for it": 1} == passed(account)
    assert {"its total does not say whether cached tokens are among the prompt tokens": 1} == skipped(account)
    assert [
        ("support", "gpt-4o-2024-08-06", 1, 400, 600, 0, None, 100, 0, 2_750_000, None),
        ("support", "claude-sonnet-5-5", 1, 300, 5000, 700, None, 80, 0, 4_200_000, None),
    ] == rows
    account, rows = read(FIXTURES / "helicone.csv")
    assert "helicone" == account.format
    assert [("support", "gpt-4o-2024-08-06", 1, 1000, 0, None, None, 100, None, 2_750_000, None)] == rows


def halved(path: Path, folder: Path) -> Path:
    content = path.read_bytes()
    half = folder / path.name
    half.write_bytes(content[: len(content) // 2])
    return half


@pytest.mark.parametrize(
    "path", sorted(path for path in FIXTURES.iterdir() if path.suffix != ".md"), ids=lambda path: path.name
)
def test_half_a_file_is_read_as_far_as_it_goes_or_refused_and_the_account_says_which(
    path: Path, tmp_path: Path
) -> None:
    whole, _ = read(path)
    good = tmp_path / "good.csv"
    good.write_text("model,input_tokens,output_tokens\ngpt-4o,10,2\n")
    with usage_database() as connection:
        account, _ = load(connection, [halved(path, tmp_path), good], {})
    assert account.rows_read < whole.rows_read or account.problem or account.skipped
    if path.suffix == ".json":
        # One document is read whole or not at all.
        assert (0, True) == (account.rows_read, account.problem is not None)
    assert account.format in (whole.format, None)


def test_no_text_of_a_prompt_reaches_the_database(tmp_path: Path) -> None:
    names = ("otlp.jsonl", "helicone.jsonl", "helicone.csv")
    assert all(b"canary-in-" in (FIXTURES / name).read_bytes() for name in names)
    with usage_database() as connection:
        load(connection, [FIXTURES / name for name in names], {})
        connection.execute("CHECKPOINT")
        row = connection.execute("SELECT path FROM duckdb_databases() WHERE NOT internal").fetchone()
        assert row is not None
        kept = b"".join(file.read_bytes() for file in Path(str(row[0])).parent.iterdir() if file.is_file())
    assert len(kept) > 0
    assert b"canary-in-" not in kept


def test_a_cost_report_is_named_and_the_usage_report_asked_for(tmp_path: Path) -> None:
    start = datetime(2026, 11, 1, tzinfo=UTC)
    result = BetaAnalyticsCostBucketedResult(
        amount="123.45", currency="USD", list_amount="150", model="claude-opus-5-5"
    )
    bucket = BetaAnalyticsCostReportTimeBucket(starting_at=start, ending_at=start + timedelta(days=1), results=[result])
    anthropic = tmp_path / "anthropic.json"
    anthropic.write_text(json.dumps({"data": [bucket.model_dump(mode="json")], "has_more": False}))
    costs = UsageCostsResponse.model_validate(
        {
            "object": "page",
            "data": [
                {
                    "object": "bucket",
                    "start_time": 1730419200,
                    "end_time": 1730505600,
                    "results": [{"object": "organization.costs.result", "amount": {"value": 0.06, "currency": "usd"}}],
                }
            ],
            "has_more": False,
            "next_page": None,
        }
    )
    openai = tmp_path / "openai.json"
    openai.write_text(costs.model_dump_json())
    for path, said in ((anthropic, "an Anthropic cost report; give the usage"), (openai, "an OpenAI cost report")):
        with pytest.raises(UsageError, match=said):
            read(path)


def test_every_claimed_format_is_documented_and_cites_where_its_columns_are_published() -> None:
    text = DOCUMENT.read_text()
    for one in FORMATS:
        assert f"`{one.name}`" in text, one.name
        assert "https://" in one.schema
        assert "read 2026-" in one.schema
