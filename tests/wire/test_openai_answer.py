"""What an answer says, and a streamed answer put together."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.provider import FakeProvider, Script, UsageStyle
from weighbridge.records.usage import Usage
from weighbridge.wire import openai
from weighbridge.wire.assembly import refusal_text


def chunk(delta: dict[str, Any], **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": None, **more}
    return b"data: " + json.dumps({"id": "c", "model": "m", "choices": [choice]}).encode() + b"\n\n"


def stream_of(style: UsageStyle = "own_event", **script: Any) -> bytes:
    request = {"model": "m", "messages": [], "stream": True, "stream_options": {"include_usage": True}}
    return b"".join(FakeProvider().stream_bytes(request, Script(usage_style=style, **script)))


ANSWER = {
    "id": "x",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}


def test_a_json_answer_says_usage_finish_reason_and_keeps_the_raw_block() -> None:
    said = openai.read_answer(json.dumps(ANSWER).encode())
    assert Usage(3, 2) == said.usage
    assert "stop" == said.finish_reason
    assert said.usage_raw is not None
    assert ANSWER["usage"] == json.loads(said.usage_raw)
    assert said.error is None


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"error":{"message":"overloaded","type":"x"}}', "x"),
        (b'{"error":{"message":"m","type":"x","code":"y"}}', "y"),
        (b'{"error":{"message":"m","type":"x","code":"no such: sk-123 in prompt"}}', "x"),
        (b'{"error":"plain text"}', "error"),
        (b'{"error":[[]]}', "error"),
        (b'{"error":{"code":500}}', "500"),
        (b'{"error":null,"choices":[]}', None),
    ],
)
def test_an_error_inside_a_good_status_is_noticed(body: bytes, error: str | None) -> None:
    assert error == openai.read_answer(body).error


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"null", b'{"choices":{}}', b'{"choices":[{"finish_reason":5}]}', b'{"usage":7}', b"\xff"],
)
def test_an_answer_of_another_shape_says_nothing_and_breaks_nothing(body: bytes) -> None:
    assert openai.read_answer(body).usage is None


def test_usage_is_read_even_where_the_choices_have_another_shape() -> None:
    body = {**ANSWER, "choices": [{"finish_reason": 5}]}
    assert Usage(3, 2) == openai.read_answer(json.dumps(body).encode()).usage


@pytest.mark.parametrize("style", ["own_event", "with_choices", "every_event", "null_until_end"])
def test_a_stream_says_its_last_usage_wherever_the_host_puts_it(style: UsageStyle) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
    said = openai.read_stream(stream_of(style, usage=usage))
    assert (Usage(9, 4), "stop") == (said.usage, said.finish_reason)
    assert (style not in ("own_event", "null_until_end")) == said.partial


def test_a_stream_that_starts_in_the_middle_of_an_event_is_read_all_the_same() -> None:
    stream = stream_of(text="one two three four")
    assert openai.read_stream(stream[100:]).usage is not None


def test_an_error_event_is_noticed() -> None:
    assert "overloaded" == openai.read_stream(stream_of(error_event={"message": "boom", "type": "overloaded"})).error


@given(st.binary(max_size=300))
def test_no_bytes_make_reading_fail(raw: bytes) -> None:
    openai.read_answer(raw)
    openai.read_stream(raw)
    openai.assemble(raw)
    openai.answer_text(raw)
    openai.tool_calls(raw)


# --- assembling -------------------------------------------------------------------------------------------------------


def test_text_is_joined_and_the_rest_taken_over() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
    whole = openai.assemble(stream_of(text="Hello big world", usage=usage))
    assert {
        "id": "chatcmpl-fake",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Hello big world"}, "finish_reason": "stop"}
        ],
        "usage": usage,
    } == whole


def test_tool_calls_are_put_together_by_index() -> None:
    whole = openai.assemble(stream_of(tool_calls=[("find", '{"q": "parcel"}'), ("close", '{"id": 7}')]))
    message = whole["choices"][0]["message"]
    assert message["content"] is None
    assert "tool_calls" == whole["choices"][0]["finish_reason"]
    assert [
        {"id": "call_0", "type": "function", "function": {"name": "find", "arguments": '{"q": "parcel"}'}},
        {"id": "call_1", "type": "function", "function": {"name": "close", "arguments": '{"id": 7}'}},
    ] == message["tool_calls"]


def test_reasoning_refusals_and_log_probabilities_are_kept() -> None:
    stream = (
        chunk({"role": "assistant", "reasoning_content": "Let me "})
        + chunk({"reasoning_content": "think."})
        + chunk({"refusal": "I cannot "}, logprobs={"content": [{"token": "I"}], "refusal": None})
        + chunk({"refusal": "do that."}, logprobs={"content": [{"token": "cannot"}], "refusal": None})
        + chunk({}, finish_reason="stop")
        + b"data: [DONE]\n\n"
    )
    choice = openai.assemble(stream)["choices"][0]
    assert "Let me think." == choice["message"]["reasoning_content"]
    assert "I cannot do that." == choice["message"]["refusal"] == refusal_text(stream)
    assert [{"token": "I"}, {"token": "cannot"}] == choice["logprobs"]["content"]


def test_several_choices_are_kept_apart() -> None:
    stream = chunk({"content": "a"}, index=1) + chunk({"content": "b"}, index=0) + chunk({"content": "c"}, index=1)
    whole = openai.assemble(stream + b"data: [DONE]\n\n")
    assert ["b", "ac"] == [choice["message"]["content"] for choice in whole["choices"]]


def test_a_stream_that_broke_off_says_so_and_one_with_an_error_carries_it() -> None:
    assert openai.assemble(chunk({"content": "a"}))["incomplete"] is True
    assert {"message": "boom"} == openai.assemble(stream_of(error_event={"message": "boom"}))["error"]


def test_a_hostile_index_costs_nothing() -> None:
    piece = {"tool_calls": [{"index": 10**9, "function": {"name": "x", "arguments": ""}}, {"index": -5}]}
    assert len(openai.assemble(chunk(piece))["choices"][0]["message"]["tool_calls"]) <= 1024


@pytest.mark.parametrize("text", ["Hello big world", "", "ünï 🙂"])
def test_graders_see_the_same_text_streamed_or_not(text: str) -> None:
    answer = {"choices": [{"message": {"content": text}}]}
    assert text == openai.answer_text(json.dumps(answer).encode()) == openai.answer_text(stream_of(text=text))


def test_graders_see_the_same_tool_calls_streamed_or_not() -> None:
    calls = [("find", '{"q": "parcel"}')]
    answer = {
        "choices": [
            {
                "message": {
                    "content": None,
                    "tool_calls": [{"id": "call_0", "function": {"name": "find", "arguments": calls[0][1]}}],
                }
            }
        ]
    }
    expected = [openai.ToolCall("find", '{"q": "parcel"}', "call_0")]
    assert expected == openai.tool_calls(json.dumps(answer).encode()) == openai.tool_calls(stream_of(tool_calls=calls))
    assert "" == openai.answer_text(json.dumps(answer).encode())


def test_content_in_parts_is_joined_and_the_older_function_call_is_seen() -> None:
    parts = {"choices": [{"message": {"content": [{"type": "text", "text": "a"}, {"type": "image"}, {"text": "b"}]}}]}
    assert "ab" == openai.answer_text(json.dumps(parts).encode())
    older = {"choices": [{"message": {"function_call": {"name": "f", "arguments": "{}"}}}]}
    assert [openai.ToolCall("f", "{}")] == openai.tool_calls(json.dumps(older).encode())


def test_our_errors_have_the_shape_of_the_dialect() -> None:
    body = json.loads(openai.error_body("no", "invalid_request_error", "code", "model"))
    assert {"error": {"message": "no", "type": "invalid_request_error", "param": "model", "code": "code"}} == body
    event = openai.error_event("no", "server_error", "code")
    assert event.startswith(b"data: {")
    assert event.endswith(b"\n\n")
