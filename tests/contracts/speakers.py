"""Official clients of each dialect, asked the same question, and what they made of the answer."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, NamedTuple, cast

import anthropic
import openai

Dialect = Literal["openai", "anthropic", "openai-responses"]
DIALECTS: tuple[Dialect, ...] = ("openai", "anthropic", "openai-responses")
SYSTEM, QUESTION = "You are terse.", "What is the weather in Bonn and Rome?"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


class Said(NamedTuple):
    """An answer as its client holds it, in no dialect."""

    text: str
    calls: Sequence[tuple[str, Any]]
    stop: Literal["stop", "length", "calls", "refusal"]
    tokens: tuple[int, int, int, int]
    """All input, read from a cache, all output, reasoning."""


class Asked(NamedTuple):
    said: Said
    exchange: str
    headers: dict[str, str]


def _headers(response: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _asked(said: Said, response: Any) -> Asked:
    headers = _headers(response)
    return Asked(said, headers.get("x-weighbridge-id", ""), headers)


class ChatSpeaker:
    def __init__(self, listen: str, key: str, headers: Mapping[str, str]) -> None:
        self.client = openai.OpenAI(
            base_url=f"http://{listen}/v1", api_key=key, max_retries=0, timeout=20, default_headers=headers
        )

    def arguments(self, model: str, *, tools: bool) -> dict[str, Any]:
        row: dict[str, Any] = {
            "model": model,
            "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}],
            "max_tokens": 50,
        }
        if tools:
            row["tools"] = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
        return row

    def ask(self, model: str, *, stream: bool, tools: bool) -> Asked:
        arguments = self.arguments(model, tools=tools)
        if not stream:
            raw = self.client.chat.completions.with_raw_response.create(**arguments)
            return _asked(self.said(raw.parse()), raw)
        manager = self.client.chat.completions.stream(**arguments, stream_options={"include_usage": True})
        with manager as events:
            # For these two the helper has no completion; what it has gathered is whole.
            with suppress(openai.LengthFinishReasonError, openai.ContentFilterFinishReasonError):
                events.until_done()
            return _asked(self.said(events.current_completion_snapshot), events._response)

    def begin(self, model: str) -> Any:
        """A stream, to be read or left."""
        return self.client.chat.completions.create(**self.arguments(model, tools=False), stream=True)

    def close(self) -> None:
        self.client.close()

    def said(self, completion: Any) -> Said:
        [choice] = completion.choices
        calls = [(call.function.name, json.loads(call.function.arguments)) for call in choice.message.tool_calls or ()]
        usage = completion.usage
        stops: dict[str, Any] = {"stop": "stop", "length": "length", "tool_calls": "calls", "content_filter": "refusal"}
        stop: Any = "refusal" if choice.message.refusal else stops[choice.finish_reason]
        cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else 0
        thought = usage.completion_tokens_details.reasoning_tokens if usage.completion_tokens_details else 0
        tokens = (usage.prompt_tokens, cached or 0, usage.completion_tokens, thought or 0)
        return Said(choice.message.content or choice.message.refusal or "", calls, stop, tokens)


class MessagesSpeaker:
    def __init__(self, listen: str, key: str, headers: Mapping[str, str]) -> None:
        self.client = anthropic.Anthropic(
            base_url=f"http://{listen}", api_key=key, max_retries=0, timeout=20, default_headers=headers
        )

    def arguments(self, model: str, *, tools: bool) -> dict[str, Any]:
        row: dict[str, Any] = {
            "model": model,
            "system": SYSTEM,
            "messages": [{"role": "user", "content": QUESTION}],
            "max_tokens": 50,
        }
        if tools:
            row["tools"] = [{"name": "weather", "input_schema": SCHEMA}]
        return row

    def ask(self, model: str, *, stream: bool, tools: bool) -> Asked:
        arguments = self.arguments(model, tools=tools)
        if not stream:
            raw = self.client.messages.with_raw_response.create(**arguments)
            return _asked(self.said(raw.parse()), raw)
        with self.client.messages.stream(**arguments) as events:
            return _asked(self.said(events.get_final_message()), events.response)

    def begin(self, model: str) -> Any:
        """A stream, to be read or left."""
        return self.client.messages.create(**self.arguments(model, tools=False), stream=True)

    def close(self) -> None:
        self.client.close()

    def said(self, message: Any) -> Said:
        text = "".join(block.text for block in message.content if block.type == "text")
        calls = [(block.name, block.input) for block in message.content if block.type == "tool_use"]
        stops: dict[str, Any] = {
            "end_turn": "stop", "max_tokens": "length", "tool_use": "calls", "refusal": "refusal",
        }  # fmt: skip
        usage = message.usage
        read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
        thought = usage.output_tokens_details.thinking_tokens if usage.output_tokens_details else 0
        tokens = (usage.input_tokens + read + written, read, usage.output_tokens, thought or 0)
        return Said(text, calls, stops[message.stop_reason], tokens)


class ResponsesSpeaker:
    def __init__(self, listen: str, key: str, headers: Mapping[str, str]) -> None:
        self.client = openai.OpenAI(
            base_url=f"http://{listen}/v1", api_key=key, max_retries=0, timeout=20, default_headers=headers
        )

    def arguments(self, model: str, *, tools: bool) -> dict[str, Any]:
        row: dict[str, Any] = {"model": model, "instructions": SYSTEM, "input": QUESTION, "max_output_tokens": 50}
        if tools:
            row["tools"] = [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": True}]
        return row

    def ask(self, model: str, *, stream: bool, tools: bool) -> Asked:
        arguments = self.arguments(model, tools=tools)
        if not stream:
            raw = self.client.responses.with_raw_response.create(**arguments)
            return _asked(self.said(raw.parse()), raw)
        with self.client.responses.stream(**arguments) as events:
            last = [event for event in events if event.type in ("response.completed", "response.incomplete")]
            return _asked(self.said(cast(Any, last[0]).response), events._response)

    def begin(self, model: str) -> Any:
        """A stream, to be read or left."""
        return self.client.responses.create(**self.arguments(model, tools=False), stream=True)

    def close(self) -> None:
        self.client.close()

    def said(self, response: Any) -> Said:
        parts = [part for item in response.output if item.type == "message" for part in item.content]
        text = "".join(part.refusal if part.type == "refusal" else part.text for part in parts)
        calls = [(item.name, json.loads(item.arguments)) for item in response.output if item.type == "function_call"]
        stop: Literal["stop", "length", "calls", "refusal"] = "calls" if calls else "stop"
        if any(part.type == "refusal" for part in parts):
            stop = "refusal"
        elif response.status == "incomplete":
            stop = "length" if response.incomplete_details.reason == "max_output_tokens" else "refusal"
        usage = response.usage
        cached, thought = usage.input_tokens_details.cached_tokens, usage.output_tokens_details.reasoning_tokens
        return Said(text, calls, stop, (usage.input_tokens, cached, usage.output_tokens, thought))


Speaker = ChatSpeaker | MessagesSpeaker | ResponsesSpeaker


def speaker(dialect: Dialect, listen: str, key: str, headers: Mapping[str, str] | None = None) -> Speaker:
    """`headers` go with every request, as other gateways want them."""
    kinds: dict[Dialect, type[Speaker]] = {
        "openai": ChatSpeaker, "anthropic": MessagesSpeaker, "openai-responses": ResponsesSpeaker,
    }  # fmt: skip
    return kinds[dialect](listen, key, headers or {})


STATUS_ERRORS = (openai.APIStatusError, anthropic.APIStatusError)
ERRORS = (openai.OpenAIError, anthropic.AnthropicError)
