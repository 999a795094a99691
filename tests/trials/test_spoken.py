"""Requests of every dialect, as people and the search for slices read them."""

import json
from typing import Any

import pytest

from weighbridge.records.frames import Asked
from weighbridge.trials.labelled import request_text
from weighbridge.trials.prompts import prompt_of

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}}
REQUESTS: dict[Asked, dict[str, Any]] = {
    "openai": {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": [{"type": "text", "text": "Weather in Bonn?"}]},
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"city":"Bonn"}'}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "rain"},
        ],
        "tools": [{"type": "function", "function": {"name": "look", "parameters": SCHEMA}}],
    },
    "anthropic": {
        "model": "m", "max_tokens": 9, "system": [{"type": "text", "text": "Be short."}],
        "messages": [
            {"role": "user", "content": "Weather in Bonn?"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hidden", "signature": "s"},
                {"type": "tool_use", "id": "c1", "name": "look", "input": {"city": "Bonn"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "rain"}]},
        ],
        "tools": [{"name": "look", "input_schema": SCHEMA}],
    },
    "openai-responses": {
        "model": "m", "instructions": "Be short.",
        "input": [
            {"role": "user", "content": "Weather in Bonn?"},
            {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"city":"Bonn"}'},
            {"type": "function_call_output", "call_id": "c1", "output": "rain"},
        ],
        "tools": [{"type": "function", "name": "look", "parameters": SCHEMA}],
    },
}  # fmt: skip
ALL = pytest.mark.parametrize("asked", list(REQUESTS))


@ALL
def test_a_request_is_shown_turn_by_turn_in_whichever_dialect_it_was_asked(asked: Asked) -> None:
    shown = request_text(json.dumps(REQUESTS[asked], separators=(",", ":")).encode(), asked)
    lines = [line for line in shown.splitlines() if line and not line.isupper()]
    assert ["Be short.", "Weather in Bonn?", '[look {"city":"Bonn"}]', "[result]", "rain"] == lines
    assert "hidden" not in shown


@ALL
def test_the_same_question_is_the_same_prompt_in_every_dialect(asked: Asked) -> None:
    prompt = prompt_of("x", json.dumps(REQUESTS[asked], separators=(",", ":")).encode(), asked)
    assert prompt is not None
    assert ("Be short.", ("look",), "Weather in Bonn?") == (prompt.system, prompt.tools, prompt.text)


@pytest.mark.parametrize("asked", [*REQUESTS, "openai-embeddings"])
def test_what_is_no_conversation_is_shown_as_it_was_sent_and_no_prompt(asked: Asked) -> None:
    assert '{"input":7}' == request_text(b'{"input":7}', asked)
    assert prompt_of("x", b'{"input":7}', asked) is None
