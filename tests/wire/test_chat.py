"""What of an answer may stand in a row of the log."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.wire.chat import plain_usage, word


@pytest.mark.parametrize(
    "text", [None, "stop", "tool_calls", "invalid_request_error", "BadRequestError", "1301", "a:b.c-d"]
)
def test_a_code_stays_as_it_is(text: str | None) -> None:
    assert text == word(text)


@pytest.mark.parametrize("text", ["", "two words", "a" * 65, "stop\n", "\x1b[2J", "arr\u00eat", "\u202e"])
def test_what_is_no_code_is_unknown(text: str) -> None:
    assert word(text) is None


@pytest.mark.parametrize(
    "block",
    [
        {},
        {"prompt_tokens": 312, "completion_tokens": 64, "total_tokens": 376, "prompt_tokens_details": None},
        {"prompt_tokens": 1, "queue_time": 0.05, "is_byok": False, "cost_details": {"a": {"upstream": 1e-5}}},
        {"input_tokens": 3, "service_tier": "standard", "inference_geo": "not_available"},
    ],
)
def test_a_block_of_numbers_is_kept_byte_for_byte(block: object) -> None:
    raw = json.dumps(block).encode()
    assert raw == plain_usage(raw)


@pytest.mark.parametrize(
    "block",
    [
        [],
        None,
        {"prompt_tokens": "312"},
        {"prompt_tokens": 1, "note": {"said": "text"}},
        {"what the client said": 1},
        {"prompt_tokens\n": 1},
        {"a" * 65: 1},
        {f"field_{number}": number for number in range(400)},
        {"service_tier": "as the prompt said"},
    ],
)
def test_a_block_with_text_or_without_end_is_left_out(block: object) -> None:
    assert plain_usage(json.dumps(block).encode()) is None


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail(raw: bytes) -> None:
    assert plain_usage(raw) in (None, raw)
