"""A bound on what a stream has said, by bytes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.wire.dialects.following import StreamFollower
from weighbridge.wire.said import text_bytes

CHAT = {"id": "c", "object": "chat.completion.chunk", "model": "m"}


def event(row: object) -> bytes:
    return b"data: " + json.dumps(row).encode() + b"\n\n"


@pytest.mark.parametrize(
    ("row", "least", "most"),
    [
        ({**CHAT, "choices": [{"index": 0, "delta": {"content": "four"}, "finish_reason": None}]}, 4, 6),
        ({**CHAT, "choices": [{"index": 0, "delta": {"reasoning_content": "thought"}}]}, 7, 9),
        ({**CHAT, "choices": [{"delta": {"tool_calls": [{"function": {"arguments": '{"a":'}}]}}]}, 5, 7),
        ({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "four"}}, 4, 16),
        ({"type": "response.output_text.delta", "delta": "four"}, 4, 6),
        ({**CHAT, "choices": [], "usage": {"prompt_tokens": 5}}, 0, 1),
        ({**CHAT, "choices": [{"delta": {"content": "\u4e2d\ud83d\ude00"}}]}, 7, 9),
    ],
)
def test_text_counts_by_its_bytes_whatever_the_dialect(row: object, least: int, most: int) -> None:
    assert least <= text_bytes(event(row)) <= most


@given(st.lists(st.text(min_size=1), max_size=20), st.integers(0, 400))
def test_a_stream_that_is_cut_anywhere_counts_at_least_the_text_that_came(texts: list[str], at: int) -> None:
    events = [event({**CHAT, "choices": [{"delta": {"content": text}}]}) for text in texts]
    stream = b"".join(events)[:at]
    whole = came = 0
    for one, text in zip(events, texts, strict=True):
        whole += len(one)
        if whole <= len(stream):
            came += len(text.encode("utf-8", "surrogatepass"))
    assert came <= text_bytes(stream) <= len(stream)


def test_the_mark_at_the_end_of_a_stream_is_no_text() -> None:
    assert 0 == text_bytes(b"data: [DONE]\n\n")


@pytest.mark.parametrize(("block", "grows"), [("server_tool_use", True), ("tool_use", False)])
def test_tools_that_a_provider_runs_by_itself_make_its_first_count_of_the_input_a_beginning(
    block: str, grows: bool
) -> None:
    start = {"usage": {"input_tokens": 9, "output_tokens": 1}, "model": "m", "role": "assistant", "id": "i"}
    follower = StreamFollower("anthropic")
    for row in (
        {"type": "message_start", "message": {"type": "message", "content": [], **start}},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": block, "id": "t", "name": "n", "input": {}},
        },
    ):
        follower.feed(event(row))
    facts = follower.facts()
    assert facts.usage is not None
    assert (9, True, grows) == (facts.usage.input, facts.partial, facts.grows)
