"""Agents and conversations are judged step by step, and the verdict says what that leaves open."""

import json

import pytest

from tests.trials.test_conclude import concluded
from tests.trials.test_replay import Host, Trial
from tests.trials.world import Traffic, asked
from weighbridge.grading.answers import question_of

TOOL_CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}


def request(*turns: dict[str, object]) -> bytes:
    return json.dumps({"model": "gpt", "messages": [{"role": "user", "content": "begin"}, *turns]}).encode()


def test_steps_on_recorded_context_are_counted_and_the_verdict_says_what_they_cannot_tell() -> None:
    traffic = Traffic()
    traffic.gold_lines.append(json.dumps({"prompt": "begin", "answer": "right"}).encode())
    for number in range(40):
        talk = f"talk{number // 4}"
        step = number % 4
        turns: tuple[dict[str, object], ...] = (
            {"role": "assistant", "tool_calls": [TOOL_CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "3"},
        )
        traffic.ask("a", conversation=talk, request=request(*(turns * step)) if step else None)
    trial = Trial(traffic, asked())
    evidence, verdict = concluded(trial, trial.run(Host(lambda item, attempt: "right")))
    later = sum(trial.items[pair.item].later for pair in evidence.pairs)
    assert 0 < later < len(evidence.pairs)
    for note in (evidence.note, verdict.note):
        assert f"{later} of {len(evidence.pairs)} judged requests are later turns or steps of an agent" in note
        assert "it cannot price one" in note


def test_first_turns_alone_say_nothing_of_steps() -> None:
    traffic = Traffic()
    for _ in range(40):
        traffic.ask("a")
    trial = Trial(traffic, asked())
    evidence, _ = concluded(trial, trial.run(Host(lambda item, attempt: "right")))
    assert "steps" not in evidence.note


@pytest.mark.parametrize(
    ("body", "later"),
    [
        (request(), False),
        (request({"role": "assistant", "content": "yes?"}, {"role": "user", "content": "go on"}), True),
        (json.dumps({"model": "m", "input": "one question"}).encode(), False),
        (
            json.dumps(
                {
                    "model": "m",
                    "input": [
                        {"role": "user", "content": "begin"},
                        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
                        {"type": "function_call_output", "call_id": "c1", "output": "3"},
                    ],
                }
            ).encode(),
            True,
        ),
    ],
    ids=["first turn", "second turn", "one input", "a tool's step in responses"],
)
def test_a_later_turn_is_known_by_what_a_model_said_before(body: bytes, later: bool) -> None:
    assert later == question_of(body).later
