import gzip
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionMessage
from openai.types.chat.chat_completion import Choice
from openai.types.completion_usage import CompletionTokensDetails, PromptTokensDetails

from weighbridge.errors import UsageError
from weighbridge.scan.read import FileAccount, load, usage_database

FIXTURES = Path(__file__).parent / "fixtures"
HEADINGS = "time,application,model,input_tokens,cached_input_tokens,output_tokens"
Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return to_file


def read(
    *paths: Path, mapping: dict[str, str] | None = None
) -> tuple[tuple[FileAccount, ...], list[tuple[object, ...]]]:
    with usage_database() as connection:
        accounts = load(connection, paths, mapping or {})
        rows = connection.execute(
            "SELECT application, model, requests, fresh, cache_read, output, reasoning, stated_nanousd, batch, failed "
            "FROM raw WHERE bad IS NULL ORDER BY ALL"
        ).fetchall()
    return accounts, rows


def completion(model: str, given: int, cached: int, made: int, reasoning: int) -> ChatCompletion:
    return ChatCompletion(
        id="chatcmpl-1",
        object="chat.completion",
        created=1_760_000_000,
        model=model,
        choices=[
            Choice(
                index=0,
                finish_reason="stop",
                logprobs=None,
                message=ChatCompletionMessage(role="assistant", content="an answer"),
            )
        ],
        usage=CompletionUsage(
            prompt_tokens=given,
            completion_tokens=made,
            total_tokens=given + made,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=cached),
            completion_tokens_details=CompletionTokensDetails(reasoning_tokens=reasoning),
        ),
    )


def test_spend_logs_as_litellm_writes_them_are_read_without_options() -> None:
    (account,), rows = read(FIXTURES / "litellm.jsonl")
    assert ("litellm", 6, ()) == (account.format, account.rows_read, account.skipped)
    assert ("contracts", "claude-sonnet-4-5", 1, 3000, 6000, 700, 0, 21_300_000, None, False) in rows
    assert ("search", "gpt-5", 1, 3000, 0, 260, 640, 12_750_000, None, False) in rows
    lines = [json.loads(line) for line in (FIXTURES / "litellm.jsonl").read_text().splitlines()]
    independent = sum(Decimal(str(line["spend"])) for line in lines)
    assert round(independent * 10**9) == sum(int(str(row[7])) for row in rows)


@pytest.mark.parametrize("wrap", ["bare", "logged", "batch"])
def test_openai_style_answers_are_read_bare_logged_and_as_batch_output(write: Write, wrap: str) -> None:
    body = completion("gpt-4o-2024-08-06", 1000, 400, 90, 30).model_dump(mode="json")
    record = {
        "bare": body,
        "logged": {"application": "bot", "request": {"messages": []}, "response": body},
        "batch": {"custom_id": "r-1", "response": {"status_code": 200, "request_id": "x", "body": body}, "error": None},
    }[wrap]
    (account,), rows = read(write("log.jsonl", json.dumps(record) + "\n"))
    assert "openai-jsonl" == account.format
    name = "bot" if wrap == "logged" else None
    batch = True if wrap == "batch" else None
    failed = False if wrap == "batch" else None
    assert [(name, "gpt-4o-2024-08-06", 1, 600, 400, 60, 30, None, batch, failed)] == rows


def test_the_documented_columns_are_read_from_csv_json_lines_and_arrays(write: Write) -> None:
    record = {"model": "gpt-4o", "input_tokens": 10, "output_tokens": 2, "cost_usd": "0.01"}
    expected = [(None, "gpt-4o", 1, 10, 0, 2, None, 10_000_000, None, None)]
    assert expected == read(write("a.csv", "Model;Input Tokens;Output-Tokens;cost\ngpt-4o;10;2;0.01\n"))[1]
    assert expected == read(write("a.jsonl", json.dumps(record)))[1]
    assert expected == read(write("a.json", json.dumps([record])))[1]
    packed = write("a.gz", "")
    packed.write_bytes(gzip.compress(json.dumps(record).encode()))
    assert expected == read(packed)[1]


def test_a_heading_that_is_not_known_is_asked_for_and_can_be_mapped(write: Write) -> None:
    path = write("odd.csv", "engine,in,out\ngpt-4o,10,2\n")
    with pytest.raises(UsageError, match=r"no column found for model, input_tokens, output_tokens.*It has: engine, in"):
        read(path)
    (account,), rows = read(path, mapping={"model": "engine", "input_tokens": "in", "output_tokens": "out"})
    assert (1, [(None, "gpt-4o", 1, 10, 0, 2, None, None, None, None)]) == (account.rows_read, rows)


def test_rows_that_cannot_be_used_are_counted_with_their_reason_and_the_rest_is_read(write: Write) -> None:
    path = write(
        "half.csv",
        f"{HEADINGS}\n"
        "2026-01-01T00:00:00Z,a,gpt-4o,10,0,2\n"
        "2026-01-01T00:00:00Z,a,,10,0,2\n"
        "2026-01-01T00:00:00Z,a,gpt-4o,ten,0,2\n"
        "2026-01-01T00:00:00Z,a,gpt-4o,-1,0,2\n"
        "2026-01-01T00:00:00Z,a,gpt-4o,1.5,0,2\n"
        "yesterday,a,gpt-4o,10,0,2\n"
        "2026-01-01T00:00:00Z,a,gpt-4o,10,11,2\n"
        "2026-01-01T00:00:00Z,a,gpt-4o,10\n",
    )
    (account,), rows = read(path)
    assert 1 == len(rows) == account.rows_read
    assert {
        "input tokens is not a whole number of 0 or more": 3,
        "no model": 1,
        "the time cannot be read": 1,
        "more cached tokens than input tokens": 1,
        "not a row of this table: missing columns": 1,
    } == {one.reason: one.rows for one in account.skipped}
    assert (9,) == next(one.lines for one in account.skipped if "missing columns" in one.reason)


def test_broken_lines_of_json_are_counted_and_named_wherever_they_stand(write: Write) -> None:
    good = json.dumps({"model": "gpt-4o", "input_tokens": 10, "output_tokens": 2})
    (account,), rows = read(write("log.jsonl", "\n".join(['{"model": "gp', good, "[1]", good, '{"model"'])))
    assert 2 == len(rows)
    assert [(3, (1, 3, 5))] == [(one.rows, one.lines) for one in account.skipped]


def test_a_file_that_cannot_be_read_does_not_stop_the_others(write: Write) -> None:
    good = write("good.csv", "model,input_tokens,output_tokens\ngpt-4o,10,2\n")
    bad = write("bad.bin", "\x00\x01\x02 not text")
    empty = write("empty.csv", "")
    accounts, rows = read(bad, good, empty)
    assert 1 == len(rows)
    assert [True, False, True] == [account.problem is not None for account in accounts]


def test_the_same_content_twice_is_counted_once_and_said(write: Write) -> None:
    text = "model,input_tokens,output_tokens\ngpt-4o,10,2\n"
    accounts, rows = read(write("a.csv", text), write("b.csv", text))
    assert 1 == len(rows)
    assert "same content" in str(accounts[1].problem)


def test_a_prompt_is_in_nothing_that_the_scan_keeps(write: Write, tmp_path: Path) -> None:
    canary = "canary-7f3a-prompt"
    body = completion("gpt-4o", 1000, 0, 90, 0).model_dump(mode="json")
    body["choices"][0]["message"]["content"] = canary
    record = {"messages": [{"role": "user", "content": canary}], "prompt": canary, "response": body}
    with usage_database() as connection:
        path = write("log.jsonl", "\n".join([json.dumps(record)] * 500))
        load(connection, [path], {})
        connection.execute("CHECKPOINT")
        row = connection.execute("SELECT path FROM duckdb_databases() WHERE NOT internal").fetchone()
        assert row is not None
        kept = b"".join(file.read_bytes() for file in Path(str(row[0])).parent.iterdir() if file.is_file())
    assert len(kept) > 0
    assert canary.encode() not in kept


def test_the_database_is_gone_afterwards() -> None:
    with usage_database() as connection:
        row = connection.execute("SELECT path FROM duckdb_databases() WHERE NOT internal").fetchone()
        assert row is not None
        folder = Path(str(row[0])).parent
        assert folder.is_dir()
    assert not folder.exists()
