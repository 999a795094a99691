import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from weighbridge.exchanges.incoming import Incoming, Refused, incoming

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
REQUEST = {"model": "gpt-4o", "messages": [{"role": "user", "content": "how much is 7 times 6"}], "user": "ann"}
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_793_000_000,
    "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "42"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 12, "completion_tokens": 1, "total_tokens": 13},
}
ROW = {"time": "2026-11-01T10:00:00Z", "request": REQUEST, "response": ANSWER}


def rows(folder: Path, *lines: object) -> list[Incoming | Refused]:
    path = folder / "log.jsonl"
    path.write_text("\n".join(one if isinstance(one, str) else json.dumps(one) for one in lines) + "\n")
    return list(incoming(path, NOW))


def one(folder: Path, row: object) -> Incoming:
    (found,) = rows(folder, row)
    assert isinstance(found, Incoming), found
    return found


def test_a_row_is_read_with_its_bodies_as_they_are_its_time_and_who_asked(tmp_path: Path) -> None:
    found = one(tmp_path, {**ROW, "team": "support", "tags": {"task": "sum", "lang": ["de", "en"]}, "latency_ms": 812})
    assert (REQUEST, ANSWER) == (json.loads(found.request), json.loads(found.answer))
    assert datetime(2026, 11, 1, 10, tzinfo=UTC).timestamp() * 1e9 == found.time_ns
    assert (("gpt-4o", "gpt-4o-2024-08-06"), "ann", "support", 812_000_000) == (
        found.models,
        found.user,
        found.team,
        found.duration_ns,
    )
    assert (("task", "sum"), ("lang", "de"), ("lang", "en")) == found.tags


@pytest.mark.parametrize(
    "row",
    [
        {"time": "2026-11-01T10:00:00Z", "request_body": REQUEST, "response_body": ANSWER},
        {"timestamp": 1_793_527_200, "request": json.dumps(REQUEST), "response": json.dumps(ANSWER)},
        {"startTime": "2026-11-01 10:00:00", "proxy_server_request": {"body": REQUEST}, "response": ANSWER},
        {"time": 1_793_527_200_000, **REQUEST, "response": ANSWER},
    ],
    ids=["helicone", "texts", "litellm", "flat"],
)
def test_other_logs_keep_the_same_under_other_names(tmp_path: Path, row: dict[str, object]) -> None:
    found = one(tmp_path, row)
    assert (REQUEST, ANSWER) == (json.loads(found.request), json.loads(found.answer))
    assert datetime(2026, 11, 1, 10, tzinfo=UTC).timestamp() * 1e9 == found.time_ns


def test_without_a_time_the_answer_says_when_it_was_made(tmp_path: Path) -> None:
    assert 1_793_000_000 * 10**9 == one(tmp_path, {"request": REQUEST, "response": ANSWER}).time_ns


def test_the_mark_does_not_depend_on_spaces_and_does_on_every_word(tmp_path: Path) -> None:
    spaced = json.dumps(ROW, indent=None, separators=(",  ", " : "))
    other = {**ROW, "response": {**ANSWER, "choices": [{**ANSWER["choices"][0], "finish_reason": "length"}]}}  # type: ignore[index]
    first, second, third = rows(tmp_path, ROW, spaced, other)
    assert isinstance(first, Incoming)
    assert isinstance(second, Incoming)
    assert isinstance(third, Incoming)
    assert first.mark == second.mark != third.mark


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('{"request": {', "not a JSON object"),
        ("[1, 2]", "not a JSON object"),
        ('{"request": "\\ud800"}', "not a JSON object"),
        ({"response": ANSWER}, "no request"),
        ({"request": REQUEST}, "no answer"),
        ({**ROW, "request": {"model": "gpt-4o"}}, "the request has no messages"),
        ({**ROW, "request": {**REQUEST, "model": 7}}, "the request is no chat completion"),
        ({**ROW, "response": {"error": {"code": "rate_limit_exceeded"}}}, "the answer is an error (rate_limit_"),
        ({**ROW, "response": {"choices": []}}, "the answer has no choices"),
        ({**ROW, "response": {"text": "42"}}, "the answer is no chat completion"),
        ({**ROW, "time": "yesterday"}, "time is no time: yesterday"),
        ({**ROW, "time": "2031-01-01"}, "before 2015 or in the future"),
        ({**ROW, "time": [1]}, "time is neither a text nor a number"),
        ({**ROW, "tags": "a"}, "user, team or latency"),
        ({"request": REQUEST, "response": {**ANSWER, "created": None}}, "no time"),
    ],
)
def test_a_bad_row_is_refused_with_its_reason_its_line_and_its_text_and_the_next_is_read(
    tmp_path: Path, row: object, reason: str
) -> None:
    good, bad, last = rows(tmp_path, ROW, row, {**ROW, "user": "bob"})
    assert isinstance(good, Incoming)
    assert isinstance(last, Incoming)
    assert isinstance(bad, Refused)
    assert reason in bad.reason
    assert (2, row if isinstance(row, str) else json.dumps(row)) == (bad.line, bad.row)


def test_a_packed_file_is_read_and_one_that_breaks_off_says_where(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl.gz"
    packed = gzip.compress((json.dumps(ROW) + "\n").encode() * 3)
    path.write_bytes(packed)
    assert 3 == sum(isinstance(row, Incoming) for row in incoming(path, NOW))
    path.write_bytes(packed[:-9])
    with pytest.raises(Exception, match="cannot be unpacked past line"):
        list(incoming(path, NOW))
