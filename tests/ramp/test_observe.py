"""What is seen of a request: the arm that was asked first answers for it, and what cannot be told is not guessed."""

import json

import msgspec
import pytest

from weighbridge.ramp.observe import RECENT_MIN, Observer, look_at
from weighbridge.ramp.sightings import Look
from weighbridge.ramp.streams import SLOW, Sight
from weighbridge.records.exchange import Attempt, BodyState, Exchange
from weighbridge.records.frames import Asked, BodyRef, Outcome
from weighbridge.records.ramp import Guardrail
from weighbridge.records.usage import Usage

WATCHED: tuple[Guardrail, ...] = ("errors", "refusals", "broken")
REQUEST, RESPONSE = BodyRef("d", "t", b"q", 1), BodyRef("d", "t", b"a", 1)


def attempt(arm: str, number: int = 1, **more: object) -> Attempt:
    made = Attempt(
        attempt=number, arm=arm, endpoint="e", model="m", status=200, usage=Usage(10, 20), cost_nanousd=5,
        duration_ns=10**9, finish_reason="stop",
    )  # fmt: skip
    return msgspec.structs.replace(made, **more)


def exchange(*attempts: Attempt, outcome: Outcome = "ok", **more: object) -> Exchange:
    last = attempts[-1] if attempts else None
    made = Exchange(
        id="x-1", time_ns=1, purpose="user", route="assistant", arm=None if last is None else last.arm, key="k",
        team=None, user=None, tags=(), slice="all", conversation=f"{7:016x}", table=1, stream=False, outcome=outcome,
        status=200,
        attempts=attempts, usage=None if last is None else last.usage, cost_nanousd=5, price_version=None,
        duration_ns=10**9, first_byte_ns=10**8, request_bytes=1, response_bytes=1, max_tokens=None, held_nanousd=None,
        request=REQUEST, response=RESPONSE, trial=None, item=None, error=None, digest="d",
    )  # fmt: skip
    return msgspec.structs.replace(made, **more)


def seen(
    one: Exchange, watched: tuple[Guardrail, ...] = WATCHED, bodies: dict[bytes, bytes] | None = None
) -> Sight | None:
    def body(reference: BodyRef) -> BodyState:
        return None if bodies is None else bodies.get(reference.commitment)

    look = look_at(one, "old", "new", watched, body)
    return None if look is None else Observer().sight(look, {})


def looked(one: Exchange) -> Look:
    look = look_at(one, "old", "new", WATCHED, None)
    assert look is not None
    return look


def bad(one: Exchange) -> tuple[Guardrail, ...]:
    sight = seen(one)
    assert sight is not None
    return sight.bad


@pytest.mark.parametrize("outcome", ["upstream_error", "upstream_cut", "timeout"])
def test_a_failure_is_one_event_and_says_nothing_else(outcome: Outcome) -> None:
    sight = seen(exchange(attempt("new", status=500), outcome=outcome))
    assert sight is not None
    assert (("errors",), ("refusals", "broken"), True) == (sight.bad, sight.unknown, sight.candidate)


@pytest.mark.parametrize("asked", ["openai-embeddings", "anthropic-count-tokens", "other"])
def test_what_only_the_incumbent_is_ever_asked_says_nothing_beside_the_candidate(asked: Asked) -> None:
    """An embedding has no output: among the incumbent's answers it would be a broken one."""
    one = exchange(attempt("old", usage=Usage(10, 0), finish_reason=None), asked=asked)
    assert seen(one) is None
    assert seen(msgspec.structs.replace(one, asked="openai")) is not None


def test_what_came_to_the_incumbent_because_the_candidate_cannot_be_asked_says_nothing_of_either() -> None:
    assert seen(exchange(attempt("old", fallback=True))) is None
    assert seen(exchange(attempt("old"))) is not None


def test_where_another_arm_stood_in_the_one_that_was_asked_first_has_failed() -> None:
    sight = seen(exchange(attempt("new", status=500, error="x"), attempt("old", 2, fallback=True)))
    assert sight is not None
    assert (True, ("errors",)) == (sight.candidate, sight.bad)


def test_a_second_try_of_the_same_arm_that_went_well_is_no_failure() -> None:
    closed = attempt("new", status=None, error="the kept connection was closed", usage=None, finish_reason=None)
    assert () == bad(exchange(closed, attempt("new", 2)))


@pytest.mark.parametrize("outcome", ["refused", "client_gone", "lost"])
def test_what_is_nobodys_fault_is_not_seen(outcome: Outcome) -> None:
    assert seen(exchange(attempt("new"), outcome=outcome)) is None
    assert seen(exchange(outcome=outcome)) is None
    assert seen(exchange(attempt("another"))) is None


def test_refused_empty_and_cut_answers_are_told_apart() -> None:
    assert ("refusals",) == bad(exchange(attempt("new", finish_reason="content_filter")))
    assert ("broken",) == bad(exchange(attempt("new", finish_reason="length")))
    assert ("broken",) == bad(exchange(attempt("new", usage=Usage(10, 0))))
    assert () == bad(exchange(attempt("new", usage=Usage(10, 0), finish_reason="tool_calls")))


def test_a_provider_that_states_nothing_is_unknown_and_not_good() -> None:
    sight = seen(exchange(attempt("new", usage=None, finish_reason=None)))
    assert sight is not None
    assert {"refusals", "broken", "tokens"} <= set(sight.unknown)


def test_percentiles_come_from_the_incumbent_alone_and_not_from_a_handful() -> None:
    observer = Observer()
    for number in range(RECENT_MIN - 1):
        observer.learn(looked(exchange(attempt("old"), duration_ns=number)))
        observer.learn(looked(exchange(attempt("new"), duration_ns=10**12)))
    assert "latency" not in observer.percentiles(SLOW)
    observer.learn(looked(exchange(attempt("old"), duration_ns=RECENT_MIN - 1)))
    assert 0.9 * RECENT_MIN == observer.percentiles(SLOW)["latency"]


def test_what_another_arm_answered_in_its_place_says_nothing_of_what_is_usual_for_the_incumbent() -> None:
    observer = Observer()
    for number in range(RECENT_MIN):
        stood_in = exchange(attempt("old", status=500, error="x"), attempt("new", 2, fallback=True), duration_ns=number)
        observer.learn(looked(stood_in))
    assert {} == observer.percentiles(SLOW)


def answer(content: str | None, calls: list[tuple[str, str]] | None = None) -> bytes:
    tools = [
        {"id": "c", "type": "function", "function": {"name": name, "arguments": text}} for name, text in calls or []
    ]
    message = {"role": "assistant", "content": content} | ({"tool_calls": tools} if tools else {})
    return json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()


SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "required": ["a"]}}}


@pytest.mark.parametrize(
    ("request_fields", "said", "found"),
    [
        ({"response_format": SCHEMA}, answer('{"a": 1}'), ()),
        ({"response_format": SCHEMA}, answer('{"b": 1}'), ("schema",)),
        ({"response_format": SCHEMA}, answer("sorry"), ("schema",)),
        ({"response_format": {"type": "json_object"}}, answer("[1]"), ("schema",)),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, answer(None, [("f", "{}")]), ()),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, answer(None, [("g", "{}")]), ("tools",)),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, answer(None, [("f", "{")]), ("tools",)),
        ({}, answer("text"), ()),
    ],
)
def test_an_answer_obeys_the_schema_and_calls_what_was_offered(
    request_fields: dict[str, object], said: bytes, found: tuple[Guardrail, ...]
) -> None:
    asked = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}], **request_fields}).encode()
    sight = seen(exchange(attempt("new")), ("schema", "tools"), {b"q": asked, b"a": said})
    assert sight is not None
    assert found == tuple(name for name in sight.bad if name in ("schema", "tools"))
    assert not {"schema", "tools"} & set(sight.unknown)


def test_without_captured_bodies_obedience_is_unknown() -> None:
    sight = seen(exchange(attempt("new")), ("schema", "tools"))
    assert sight is not None
    assert {"schema", "tools"} <= set(sight.unknown)
