"""The exported exchange: JSON lines and Parquet, sealed or not."""

import json
from pathlib import Path

import duckdb
import pytest

from tests.exchanges.loop import Bench, held, store
from tests.exchanges.stores import Keeper, rich_store
from weighbridge.exchanges.erase import erase
from weighbridge.exchanges.export import body_json, jsonl, parquet
from weighbridge.exchanges.reader import BodyReader, read
from weighbridge.exchanges.rows import time_text

DOCUMENTED = {
    "id", "time", "route", "arm", "key", "team", "user", "tags", "slice", "purpose", "table", "attempts", "usage",
    "cost_nanousd", "price_version", "outcome", "timings", "request", "response",
}  # fmt: skip


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(store(tmp_path))


def exported(bench: Bench) -> list[dict[str, object]]:
    return [json.loads(line) for line in jsonl(read(bench.layout), BodyReader(bench.layout, bench.master))]


def test_one_object_per_exchange_with_the_documented_fields_unsealed_frames_included(bench: Bench) -> None:
    bench.request(b'{"q": 1}', b'{"a": [1, 2]}', like=held("-", user="ann", tags=(("task", "a"), ("task", "b"))))
    (row,) = exported(bench)
    assert set(row) >= DOCUMENTED
    assert ({"q": 1}, {"a": [1, 2]}) == (row["request"], row["response"])
    assert {"task": ["a", "b"]} == row["tags"]
    assert ("2025-11-24T16:00:00.000000Z", "ann", "task=refund") == (row["time"], row["user"], row["slice"])
    assert {"duration_ns": 312_000_000, "first_byte_ns": 250_000_000} == row["timings"]
    bench.close()


def test_a_body_that_was_not_captured_is_null_and_an_erased_one_says_so(bench: Bench) -> None:
    keeper = Keeper(bench)
    gone = bench.request(b'{"q":1}')
    erase(bench.layout, keeper.chain, keeper.key, exchanges=[gone], time_ns=1)
    (row,) = exported(bench)
    assert ("erased", "erased") == (row["request"], row["response"])
    bench.close()
    (line,) = jsonl(read(bench.layout), None)
    assert json.loads(line)["request"] is None


def test_a_stream_is_given_as_the_completion_it_adds_up_to(bench: Bench) -> None:
    events = b"".join(
        b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n'
        % piece
        for piece in (b"Hel", b"lo")
    )
    bench.request(b'{"stream":true}', events + b"data: [DONE]\n\n", like=held("-"))
    (row,) = exported(bench)
    response = row["response"]
    assert isinstance(response, dict)
    assert "Hello" == response["choices"][0]["message"]["content"]
    bench.close()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"b" : 1.10,\n "a": 12345678901234567890123}', b'{"b":1.10,"a":12345678901234567890123}'),
        (b"not json", b'"not json"'),
        (b'{"cut": "of', b'"{\\"cut\\": \\"of"'),
        (b"", b'""'),
        (b"\xff\xfe", '"\ufffd\ufffd"'.encode()),
        (b'{"a":"\xff"}', '"{\\"a\\":\\"\ufffd\\"}"'.encode()),
    ],
)
def test_a_body_stays_what_it_was_on_one_line(body: bytes, expected: bytes) -> None:
    assert expected == body_json(body)


@pytest.mark.parametrize("start", [b"", b"data: "])
def test_a_body_that_is_nested_too_deeply_is_given_without_ending_the_export(start: bytes) -> None:
    body = start + b'{"choices":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n\n"
    given = json.loads(body_json(body))
    assert (body.decode() if not start else {"object": "chat.completion", "choices": [], "incomplete": True}) == given


def test_parquet_holds_the_same_rows(tmp_path: Path) -> None:
    keeper = rich_store(tmp_path, live=False)
    layout = keeper.layout
    reader = BodyReader(layout, keeper.bench.master)
    path = tmp_path / "out.parquet"
    count = parquet(read(layout), reader, path)
    lines = [json.loads(line) for line in jsonl(read(layout), reader)]
    assert len(lines) == count
    columns = "id, strftime(time, '%Y-%m-%dT%H:%M:%S.%fZ'), outcome, cost_nanousd, request::varchar, \"table\""
    found = duckdb.read_parquet(str(path)).project(columns).fetchall()
    expected = [
        (
            row["id"], row["time"], row["outcome"], row["cost_nanousd"],
            json.dumps(row["request"], separators=(",", ":")), row["table"],
        )
        for row in lines
    ]  # fmt: skip
    assert expected == [(*row[:4], row[4] if row[4] is not None else "null", row[5]) for row in found]
    assert [path] == [one for one in tmp_path.iterdir() if one.is_file()]


def test_time_is_utc_to_the_microsecond() -> None:
    assert "2025-11-24T16:00:00.000001Z" == time_text(1_764_000_000_000_001_999)
