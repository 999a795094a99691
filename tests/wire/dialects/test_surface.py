"""Anthropic and responses traffic that is not translated: facts for routing and billing, and declared edits."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.records.usage import Usage
from weighbridge.wire.conversation import Dialect
from weighbridge.wire.dialects import surface
from weighbridge.wire.refusal import BadRequest

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "dialects"
ANTHROPIC = (
    b'{"model":"claude", "max_tokens":9,"system":"Be kind","stream":true,"metadata":{"user_id":"u"},'
    b'"messages":[{"role":"user","content":"Hi"}],"x":1.0}'
)
RESPONSES = b'{"model":"gpt","input":[{"role":"user","content":"Hi"}],"instructions":"Be kind","user":"u"}'


def test_what_routing_needs_is_read_from_either_dialect() -> None:
    request = surface.parse_request("anthropic", ANTHROPIC)
    assert ("claude", True, 9, "u", True) == (
        request.model,
        request.stream,
        request.max_tokens,
        request.user,
        request.wants_usage,
    )
    other = surface.parse_request("openai-responses", RESPONSES)
    assert ("gpt", False, None, "u") == (other.model, other.stream, other.max_tokens, other.user)
    for client, parsed in (("anthropic", request), ("openai-responses", other)):
        turns = surface.turns_of(client, parsed)  # type: ignore[arg-type]
        assert (b'"Be kind"', b'"Hi"') == (turns.system, turns.first_user)


def test_edits_touch_nothing_else() -> None:
    request = surface.parse_request("anthropic", ANTHROPIC)
    assert (ANTHROPIC, ()) == surface.edited("anthropic", request, "claude", b'"claude"', None)
    body, names = surface.edited("anthropic", request, "claude-2", b'"claude-2"', "Be brief")
    assert ("model", "system_prompt") == names
    assert ANTHROPIC.replace(b'"claude"', b'"claude-2"').replace(b"Be kind", b"Be brief") == body


@pytest.mark.parametrize(
    ("client", "body", "param"),
    [
        ("anthropic", b'{"max_tokens":5}', "model"),
        ("anthropic", b'{"model":"m","max_tokens":"5"}', "max_tokens"),
        ("anthropic", b'{"model":"m","max_tokens":-1}', "max_tokens"),
        ("anthropic", b'{"model":"m","metadata":[]}', "metadata"),
        ("openai-responses", b'{"model":"m","stream":"yes"}', "stream"),
        ("openai-responses", b'{"model":"m","model":"n"}', "model"),
    ],
)
def test_a_field_of_the_wrong_type_is_refused_by_name(client: Dialect, body: bytes, param: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        surface.parse_request(client, body)
    assert param == refusal.value.param


STREAM = (GOLDEN / "anthropic-thinking-tools.sse").read_bytes()


def test_the_bill_of_an_anthropic_stream_needs_its_start_and_its_end_only() -> None:
    facts = surface.read_stream("anthropic", STREAM)
    assert (Usage(12, 60, 2000, 100, 200, 30, service_tier="standard"), "tool_calls", False) == (
        facts.usage,
        facts.finish_reason,
        facts.partial,
    )
    assert facts == surface.read_stream("anthropic", STREAM[:500] + STREAM[-400:])


def test_a_cut_stream_is_partial_and_an_error_is_a_word() -> None:
    assert surface.read_stream("anthropic", STREAM[:-300]).partial
    broken = surface.read_stream("anthropic", (GOLDEN / "anthropic-overloaded.sse").read_bytes())
    assert ("overloaded", True) == (broken.error, broken.partial)


def test_a_json_answer_gives_the_same_facts() -> None:
    usage = {"input_tokens": 5, "output_tokens": 2, "cache_read_input_tokens": 3}
    facts = surface.read_answer(
        "anthropic", json.dumps({"content": [], "stop_reason": "end_turn", "usage": usage}).encode()
    )
    assert (Usage(5, 2, 3), "stop", None) == (facts.usage, facts.finish_reason, facts.error)
    assert facts.usage_raw is not None
    assert usage == json.loads(facts.usage_raw)
    said = {"status": "completed", "output": [], "usage": {"input_tokens": 5, "output_tokens": 2}}
    assert Usage(5, 2) == surface.read_answer("openai-responses", json.dumps(said).encode()).usage


@given(st.sampled_from(["anthropic", "openai-responses"]), st.binary(max_size=80))
def test_any_answer_is_read_without_a_crash(upstream: Dialect, body: bytes) -> None:
    assert surface.read_answer(upstream, body).usage is None
    assert surface.read_stream(upstream, b"data: " + body + b"\n\n").usage is None
