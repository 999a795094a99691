"""Reading captured requests and responses."""

import json

import pytest

from weighbridge.grading.answers import answer_of, prompt_sha256, question_of


def completion(message: dict[str, object], finish: str = "stop") -> bytes:
    return json.dumps({"id": "x", "choices": [{"index": 0, "message": message, "finish_reason": finish}]}).encode()


def test_the_last_user_text_is_the_prompt() -> None:
    parts = [{"type": "text", "text": " sec"}, {"type": "image_url", "image_url": {}}, {"type": "text", "text": "ond "}]
    body = json.dumps(
        {
            "model": "m",
            "messages": [
                {"role": "system", "content": "s"},
                {"role": "user", "content": "first"},
                {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
                {"role": "tool", "content": "t", "tool_call_id": "1"},
                {"role": "user", "content": parts},
                {"role": "assistant", "content": "a"},
            ],
        }
    ).encode()  # fmt: skip
    assert question_of(body).text == "second"
    assert question_of(body).parallel_tool_calls


def test_a_request_without_a_user_has_no_prompt() -> None:
    assert question_of(b'{"messages": [{"role": "system", "content": "s"}], "parallel_tool_calls": false}').text is None
    assert not question_of(b'{"messages": [], "parallel_tool_calls": false}').parallel_tool_calls


@pytest.mark.parametrize("body", [b"", b"[]", b'{"messages": 3}', b"\xff"])
def test_what_is_no_conversation_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="not a conversation"):
        question_of(body)


def test_the_prompts_name_is_the_hash_of_its_stripped_text() -> None:
    assert prompt_sha256(" What is 6 x 7?\n") == prompt_sha256("What is 6 x 7?")
    assert prompt_sha256("é") == "4a99557e4033c3539de2eb65472017cad5f9557f7a0625a09f1c3f6e2ba69c4c"


def test_text_tool_calls_refusal_and_cut_are_told_apart() -> None:
    assert answer_of(completion({"role": "assistant", "content": "hi"})).text == "hi"
    assert (
        answer_of(completion({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]})).text == "ab"
    )
    assert answer_of(completion({"content": None, "refusal": "I cannot"})).refusal
    assert answer_of(completion({"content": ""}, "content_filter")).refusal
    assert answer_of(completion({"content": "so far"}, "length")).cut
    function = {"name": "f", "arguments": '{"x": 1}'}
    call = answer_of(completion({"content": None, "tool_calls": [{"id": "1", "function": function}]})).tool_calls[0]
    assert (call.name, call.arguments) == ("f", '{"x": 1}')
    bare = answer_of(completion({"tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}]})).tool_calls[0]
    assert bare.arguments == '{"x":1}'


def test_a_stream_reads_like_the_answer_it_is() -> None:
    events = [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
        {"choices": [{"index": 0, "delta": {"content": "for"}}]},
        {"choices": [{"index": 0, "delta": {"content": "ty-two"}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ]
    body = b"".join(b"data: " + json.dumps({"id": "x", **event}).encode() + b"\n\n" for event in events)
    assert answer_of(body + b"data: [DONE]\n\n").text == "forty-two"
    assert answer_of(body).text == "forty-two"


@pytest.mark.parametrize("end", [b"", b'data: {"error": {"message": "upstream died"}}\n\n'])
def test_a_stream_that_broke_off_is_no_answer(end: bytes) -> None:
    event = b'data: {"id": "x", "choices": [{"index": 0, "delta": {"content": "for"}}]}\n\n'
    with pytest.raises(ValueError, match=r"broke off|carries an error"):
        answer_of(event + end)


DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    "body",
    [
        b'{"messages":' + DEEP + b',"choices":' + DEEP + b"}",
        b'{"x":' + DEEP + b',"choices":[{"message":{"content":"a"}}]}',
        b'data: {"choices":' + DEEP + b"}\n\ndata: [DONE]\n\n",
    ],
)
def test_an_answer_that_is_nested_too_deeply_is_refused_and_its_question_too(body: bytes) -> None:
    with pytest.raises(ValueError, match="not a chat completion"):
        answer_of(body)
    with pytest.raises(ValueError, match="not a conversation"):
        question_of(body)


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"choices": []}', b'{"error": {"message": "no"}}', b"data: [DONE]\n\n", b"<html>"]
)
def test_a_body_without_an_answer_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="not a chat completion"):
        answer_of(body)
