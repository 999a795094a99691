"""Anthropic messages requests, written from a conversation in another dialect."""

from collections.abc import Sequence

from weighbridge.wire.conversation import (
    Cache,
    Call,
    Conversation,
    Document,
    Image,
    Loss,
    Part,
    Reasoning,
    Refusal,
    Result,
    Target,
    Text,
    Tool,
    ToolChoice,
    Turn,
)
from weighbridge.wire.dialects.anthropic_request import INVALID_JSON
from weighbridge.wire.dialects.chat_request_out import plain_text
from weighbridge.wire.dialects.fields import Raw, encode, is_object

Json = dict[str, object]

_NO_SCHEMA = Raw(b'{"type":"object","properties":{}}')


def write_request(asked: Conversation, target: Target) -> tuple[bytes, tuple[Loss, ...]]:
    """The body for a messages host, and what it could not say."""
    writer = _Writer()
    body = writer.body(asked, target)
    return encode(body), tuple(writer.losses)


def tool_input(arguments: str) -> Raw | dict[str, str]:
    """Arguments as the JSON object that a tool use must have; text that is none goes under `INVALID_JSON`."""
    if not arguments.strip():
        return Raw(b"{}")
    return Raw(arguments.encode()) if is_object(arguments) else {INVALID_JSON: arguments}


class _Writer:
    def __init__(self) -> None:
        self.losses: list[Loss] = []

    def lose(self, feature: str, at: str) -> None:
        self.losses.append(Loss(feature, at))

    def body(self, asked: Conversation, target: Target) -> Json:
        limit = asked.max_tokens
        if limit is None:
            limit = target.max_tokens
            self.lose("max_tokens_missing", "max_tokens")
        body: Json = {"model": target.model, "max_tokens": limit}
        turns = list(asked.turns)
        system: list[Json] = []
        while turns and turns[0].role == "system":
            system += self.blocks(turns.pop(0).parts, "system")
        if system:
            body["system"] = system
        body["messages"] = self.messages(turns, len(asked.turns) - len(turns))
        self.tools(asked, body)
        self.output(asked, body)
        if asked.temperature is not None and asked.temperature > 1:
            self.lose("temperature_range", "temperature")
        if asked.user is not None:
            body["metadata"] = {"user_id": asked.user}
        if asked.cache is not None:
            body["cache_control"] = self.marker(asked.cache, "cache_control")
        optional: Json = {
            "temperature": asked.temperature,
            "top_p": asked.top_p,
            "top_k": asked.top_k,
            "stop_sequences": list(asked.stop) or None,
            "stream": True if asked.stream else None,
        }
        body.update((name, value) for name, value in optional.items() if value is not None)
        # `store: false` asks for what holds anyway.
        lost = {
            "verbosity": asked.verbosity,
            "metadata": asked.metadata,
            "store": asked.store or None,
            "service_tier": asked.service_tier,
        }
        for name, value in lost.items():
            if value is not None:
                self.lose(name, name)
        if asked.cache_key is not None:
            self.lose("cache_key", "prompt_cache_key")
        return body

    def output(self, asked: Conversation, body: Json) -> None:
        config: Json = {}
        thinking = asked.thinking
        if asked.effort == "none" or (thinking is not None and thinking.mode == "off"):
            body["thinking"] = {"type": "disabled"}
        elif asked.effort is not None:
            if asked.effort == "minimal":
                self.lose("effort_minimal", "reasoning_effort")
            config["effort"] = "low" if asked.effort == "minimal" else asked.effort
            body["thinking"] = {"type": "adaptive"}
        if thinking is not None and thinking.mode != "off":
            on = thinking.budget is not None
            body["thinking"] = {"type": "enabled", "budget_tokens": thinking.budget} if on else {"type": "adaptive"}
        form = asked.format
        if form is not None and form.schema is None:
            self.lose("json_object", "response_format")
        elif form is not None:
            config["format"] = {"type": "json_schema", "schema": form.schema}
            if form.name is not None or form.description is not None:
                self.lose("schema_label", "response_format.name")
            if not form.strict:
                self.lose("schema_loose", "response_format.strict")
        if config:
            body["output_config"] = config

    # --- tools --------------------------------------------------------------------------------------------------------

    def tools(self, asked: Conversation, body: Json) -> None:
        choice = asked.tool_choice
        tools = list(asked.tools)
        if choice is not None and choice.allowed is not None:
            self.lose("tool_choice_allowed", "tool_choice")
            tools = [tool for tool in tools if tool.name in choice.allowed]
        rows = [self.tool(tool, f"tools[{place}]") for place, tool in enumerate(tools)]
        if rows:
            body["tools"] = rows
            chosen = self.tool_choice(choice, asked.parallel_calls)
            if chosen is not None:
                body["tool_choice"] = chosen

    def tool(self, tool: Tool, at: str) -> Json:
        if tool.kind == "custom":
            self.lose("custom_tool", at)
        row: Json = {"name": tool.name}
        if tool.description is not None:
            row["description"] = tool.description
        row["input_schema"] = _NO_SCHEMA if tool.schema is None else tool.schema
        if tool.strict is not None:
            row["strict"] = tool.strict
        if tool.cache is not None:
            row["cache_control"] = self.marker(tool.cache, at)
        return row

    def tool_choice(self, choice: ToolChoice | None, parallel: bool | None) -> Json | None:
        if choice is None and parallel is None:
            return None
        mode = "auto" if choice is None else choice.mode
        row: Json = {"type": {"required": "any", "named": "tool"}.get(mode, mode)}
        if choice is not None and choice.name is not None:
            row["name"] = choice.name
        if parallel is not None and mode != "none":
            row["disable_parallel_tool_use"] = not parallel
        return row

    # --- turns --------------------------------------------------------------------------------------------------------

    def messages(self, turns: Sequence[Turn], first: int) -> list[Json]:
        """Results that stand in turns of their own are put into one user turn: all that answer one assistant turn
        must stand in the message right after it, before any text."""
        messages: list[Json] = []
        results: list[Json] = []
        for place, turn in enumerate(turns):
            at = f"messages[{first + place}]"
            rows = self.blocks(turn.parts, at)
            if turn.role == "user" and turn.parts and all(isinstance(part, Result) for part in turn.parts):
                results += rows
                continue
            if results and turn.role == "user":
                rows = results + rows
            elif results:
                messages.append({"role": "user", "content": results})
            results = []
            if rows:
                messages.append({"role": turn.role, "content": rows})
        if results:
            messages.append({"role": "user", "content": results})
        return messages

    def blocks(self, parts: Sequence[Part], at: str) -> list[Json]:
        rows: list[Json] = []
        for part in parts:
            row = self.block(part, at)
            if row is None:
                continue
            cache = None if isinstance(part, Reasoning | Refusal) else part.cache
            if cache is not None:
                row["cache_control"] = self.marker(cache, at)
            rows.append(row)
        return rows

    def block(self, part: Part, at: str) -> Json | None:
        if isinstance(part, Text):
            return {"type": "text", "text": part.text} if part.text else None
        if isinstance(part, Image):
            if part.detail is not None:
                self.lose("image_detail", at)
            if part.data is None:
                return {"type": "image", "source": {"type": "url", "url": part.url}}
            source = {"type": "base64", "media_type": part.media_type, "data": part.data}
            return {"type": "image", "source": source}
        if isinstance(part, Document):
            return self.document(part)
        if isinstance(part, Call):
            return self.call(part, at)
        if isinstance(part, Result):
            return self.result(part, at)
        if isinstance(part, Refusal):
            self.lose("refusal_turn", at)
            return {"type": "text", "text": part.text}
        return self.reasoning(part, at)

    def call(self, part: Call, at: str) -> Json:
        if part.kind == "custom":
            self.lose("custom_tool", at)
        given = tool_input(part.arguments)
        if isinstance(given, dict):
            self.lose("invalid_arguments", at)
        return {"type": "tool_use", "id": part.id, "name": part.name, "input": given}

    def reasoning(self, part: Reasoning, at: str) -> Json | None:
        if part.source == "anthropic" and part.data is not None:
            return {"type": "redacted_thinking", "data": part.data}
        if part.source == "anthropic" and part.signature is not None:
            return {"type": "thinking", "thinking": part.text, "signature": part.signature}
        self.lose("foreign_reasoning", at)
        return None

    def document(self, part: Document) -> Json:
        source: Json
        if part.data is None:
            source = {"type": "url", "url": part.url}
        elif part.media_type == "text/plain":
            source = {"type": "text", "media_type": "text/plain", "data": plain_text(part.data)}
        else:
            source = {"type": "base64", "media_type": part.media_type, "data": part.data}
        row: Json = {"type": "document", "source": source}
        if part.name is not None:
            row["title"] = part.name
        return row

    def result(self, part: Result, at: str) -> Json:
        if part.kind == "custom":
            self.lose("custom_tool", at)
        row: Json = {"type": "tool_result", "tool_use_id": part.call_id}
        content = self.blocks(part.content, at)
        if content:
            row["content"] = content
        if part.is_error:
            row["is_error"] = True
        return row

    def marker(self, cache: Cache, at: str) -> Json:
        if cache.ttl in (None, "5m", "1h"):
            return {"type": "ephemeral"} if cache.ttl is None else {"type": "ephemeral", "ttl": cache.ttl}
        self.lose("cache_ttl", at)
        return {"type": "ephemeral"}
