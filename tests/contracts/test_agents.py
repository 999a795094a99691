"""A coding agent over three calls, with each official client before each kind of provider: a long prefix with cache
markers, parallel tools with their results, reasoning that the provider wants back, and a prefix that never changes.

The provider is strict: signatures and sealed reasoning must come back as they went out, calls must have their results.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import anthropic
import openai
import pytest

from tests.app.serving import CLIENT_KEY
from tests.contracts.conftest import REASONING_HOSTS, Stage
from tests.contracts.speakers import DIALECTS, SCHEMA, Dialect
from tests.fakes.provider import Script

RULES = "Read before you write. " * 400
THOUGHTS = ("Two files to read.", "One more to be sure.")
STEPS = (
    (("read", '{"city": "a.py"}'), ("read", '{"city": "b.py"}')),
    (("read", '{"city": "c.py"}'),),
)
UPSTREAMS = (*DIALECTS, *REASONING_HOSTS, "qwen")


class Call(NamedTuple):
    id: str
    arguments: dict[str, Any]


class Turn(NamedTuple):
    text: str
    calls: Sequence[Call]


class ChatAgent:
    """Appends the message that it got, as its makers' examples do."""

    def __init__(self, listen: str) -> None:
        self.client = openai.OpenAI(base_url=f"http://{listen}/v1", api_key=CLIENT_KEY, max_retries=0, timeout=20)
        self.turns: list[Any] = [{"role": "system", "content": RULES}, {"role": "user", "content": "Fix the bug."}]

    def ask(self, model: str) -> Turn:
        tools: Any = [{"type": "function", "function": {"name": "read", "parameters": SCHEMA}}]
        said = self.client.chat.completions.create(
            model=model, messages=self.turns, tools=tools, max_completion_tokens=2000
        )
        message = said.choices[0].message
        self.turns.append(message)
        calls: Any = message.tool_calls or ()
        return Turn(message.content or "", [Call(call.id, json.loads(call.function.arguments)) for call in calls])

    def give(self, results: dict[str, str]) -> None:
        self.turns += [{"role": "tool", "tool_call_id": name, "content": text} for name, text in results.items()]


class MessagesAgent:
    """Streams, thinks, and marks the rules, the tools and the newest turn for the cache."""

    def __init__(self, listen: str) -> None:
        self.client = anthropic.Anthropic(base_url=f"http://{listen}", api_key=CLIENT_KEY, max_retries=0, timeout=20)
        self.turns: list[Any] = [{"role": "user", "content": [{"type": "text", "text": "Fix the bug."}]}]

    def ask(self, model: str) -> Turn:
        marked: Any = {"type": "ephemeral"}
        for turn in self.turns:
            if isinstance(turn["content"][-1], dict):
                turn["content"][-1].pop("cache_control", None)
        self.turns[-1]["content"][-1]["cache_control"] = marked
        with self.client.messages.stream(
            model=model, max_tokens=2000, messages=self.turns, thinking={"type": "enabled", "budget_tokens": 1024},
            system=[{"type": "text", "text": RULES, "cache_control": marked}],
            tools=[{"name": "read", "input_schema": SCHEMA, "cache_control": marked}],
        ) as stream:  # fmt: skip
            said = stream.get_final_message()
        self.turns.append({"role": "assistant", "content": said.content})
        calls = [Call(block.id, dict(block.input)) for block in said.content if block.type == "tool_use"]
        return Turn("".join(block.text for block in said.content if block.type == "text"), calls)

    def give(self, results: dict[str, str]) -> None:
        rows = [{"type": "tool_result", "tool_use_id": name, "content": text} for name, text in results.items()]
        self.turns.append({"role": "user", "content": rows})


class ResponsesAgent:
    """Keeps nothing at the provider: reasoning travels sealed."""

    def __init__(self, listen: str) -> None:
        self.client = openai.OpenAI(base_url=f"http://{listen}/v1", api_key=CLIENT_KEY, max_retries=0, timeout=20)
        self.turns: list[Any] = [{"role": "user", "content": "Fix the bug."}]

    def ask(self, model: str) -> Turn:
        tools: Any = [{"type": "function", "name": "read", "parameters": SCHEMA, "strict": True}]
        with self.client.responses.stream(
            model=model, instructions=RULES, input=self.turns, tools=tools, max_output_tokens=2000, store=False,
            include=["reasoning.encrypted_content"],
        ) as stream:  # fmt: skip
            said = stream.get_final_response()
        self.turns += said.output
        calls = [Call(item.call_id, json.loads(item.arguments)) for item in said.output if item.type == "function_call"]
        return Turn(said.output_text, calls)

    def give(self, results: dict[str, str]) -> None:
        self.turns += [
            {"type": "function_call_output", "call_id": name, "output": text} for name, text in results.items()
        ]


Agent = ChatAgent | MessagesAgent | ResponsesAgent
AGENTS: dict[Dialect, Callable[[str], Agent]] = {
    "openai": ChatAgent, "anthropic": MessagesAgent, "openai-responses": ResponsesAgent,
}  # fmt: skip


WORKED: dict[tuple[str, Dialect, str], list[dict[str, Any]]] = {}
"""Each agent works once, whatever is asked about it."""


def worked(stage: Stage, client: Dialect, upstream: str) -> list[dict[str, Any]]:
    """The three requests as the provider got them."""
    key = stage.listen, client, upstream
    if key not in WORKED:
        WORKED[key] = _work(stage, client, upstream)
    return WORKED[key]


def _work(stage: Stage, client: Dialect, upstream: str) -> list[dict[str, Any]]:
    base = Script(cache_read=3000, wants_reasoning=upstream in REASONING_HOSTS, text_with_calls=True, text="Reading.")
    agent = AGENTS[client](stage.listen)
    stage.provider.seen.clear()
    for thought, step in zip(THOUGHTS, STEPS, strict=True):
        stage.provider.answers[f"m-{upstream}"] = replace(base, reasoning=thought, tool_calls=step)
        turn = agent.ask(f"to-{upstream}")
        assert "Reading." == turn.text
        assert [json.loads(arguments) for _, arguments in step] == [call.arguments for call in turn.calls]
        assert len(turn.calls) == len({call.id for call in turn.calls})
        agent.give({call.id: f"content of {call.arguments['city']}" for call in turn.calls})
    stage.provider.answers[f"m-{upstream}"] = replace(base, text="Fixed.", text_with_calls=False)
    assert Turn("Fixed.", []) == agent.ask(f"to-{upstream}")
    last = stage.last()
    assert last.usage is not None
    assert ("ok", 3000) == (last.outcome, last.usage.cache_read)
    return [json.loads(seen.body) for seen in stage.provider.seen]


def turns_of(request: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = request["messages"] if "messages" in request else request["input"]
    return found


def unmarked(value: object) -> str:
    """As it was written, but for the markers of caches: those move from turn to turn and count for no prefix. One text
    in a list, as a marker needs it, is that text: hosts render both alike."""
    text = re.sub(r', "(cache_control|prompt_cache_breakpoint)": \{[^{}]*\}', "", json.dumps(value))
    return re.sub(r'\[\{"type": "text", "text": ("(?:[^"\\]|\\.)*")\}\]', r"\1", text)


@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize("client", DIALECTS)
def test_an_agent_works_over_three_calls_and_its_prefix_stays_what_it_was(
    stage: Stage, client: Dialect, upstream: str
) -> None:
    first, second, third = worked(stage, client, upstream)
    for before, after in ((first, second), (second, third)):
        known = turns_of(before)
        assert [unmarked(turn) for turn in known] == [unmarked(turn) for turn in turns_of(after)[: len(known)]]
        for name in ("system", "instructions", "tools"):
            assert unmarked(before.get(name)) == unmarked(after.get(name))
    results = json.dumps(turns_of(third))
    places = [results.index(f"content of {name}.py") for name in "abc"]
    assert sorted(places) == places


@pytest.mark.parametrize("upstream", REASONING_HOSTS)
@pytest.mark.parametrize("client", DIALECTS)
def test_reasoning_goes_back_to_every_host_that_demands_it_on_each_turn_with_tools(
    stage: Stage, client: Dialect, upstream: str
) -> None:
    _, second, third = worked(stage, client, upstream)
    for request, thoughts in ((second, THOUGHTS[:1]), (third, THOUGHTS)):
        asked = [turn for turn in turns_of(request) if turn["role"] == "assistant"]
        assert list(thoughts) == [turn["reasoning_content"] for turn in asked]


@pytest.mark.parametrize("client", DIALECTS)
def test_signed_thinking_goes_back_to_its_maker_through_every_client(stage: Stage, client: Dialect) -> None:
    _, second, third = worked(stage, client, "anthropic")
    for request, thoughts in ((second, THOUGHTS[:1]), (third, THOUGHTS)):
        blocks = [block for turn in turns_of(request) if turn["role"] == "assistant" for block in turn["content"]]
        # The signature was checked by the provider; a block without one would have been refused.
        assert list(thoughts) == [block["thinking"] for block in blocks if block["type"] == "thinking"]


@pytest.mark.parametrize("client", DIALECTS)
def test_sealed_reasoning_goes_back_to_its_maker_through_every_client(stage: Stage, client: Dialect) -> None:
    _, _, third = worked(stage, client, "openai-responses")
    items = [item for item in turns_of(third) if item.get("type") == "reasoning"]
    assert list(THOUGHTS) == ["".join(part["text"] for part in item["summary"]) for item in items]


def test_markers_for_the_cache_reach_the_hosts_that_have_them(stage: Stage) -> None:
    for upstream in ("anthropic", "qwen"):
        sent = worked(stage, "anthropic", upstream)
        for request in sent:
            assert 2 <= json.dumps(request).count('"cache_control"') <= 4
    assert 0 == json.dumps(worked(stage, "anthropic", "deepseek")).count("cache_control")
