"""OpenAI chat requests, written from a conversation in another dialect."""

import base64
from collections.abc import Sequence

from weighbridge.wire.conversation import (
    Cache,
    Call,
    Conversation,
    Document,
    Format,
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
from weighbridge.wire.dialects.chat_reasoning import from_details
from weighbridge.wire.dialects.fields import Raw, encode

Json = dict[str, object]


def write_request(asked: Conversation, target: Target) -> tuple[bytes, tuple[Loss, ...]]:
    """The body for a chat host, and what it could not say. Streams ask for usage, whatever the client asked for."""
    writer = _Writer(target)
    body = writer.body(asked)
    return encode(body), tuple(writer.losses)


class _Writer:
    def __init__(self, target: Target) -> None:
        self.target = target
        self.losses: list[Loss] = []

    def lose(self, feature: str, at: str) -> None:
        self.losses.append(Loss(feature, at))

    def body(self, asked: Conversation) -> Json:
        target = self.target
        body: Json = {"model": target.model, "messages": self.messages(asked)}
        if asked.tools:
            body["tools"] = [self.tool(tool, f"tools[{place}]") for place, tool in enumerate(asked.tools)]
        if asked.tool_choice is not None:
            body["tool_choice"] = tool_choice(asked.tool_choice)
        if asked.parallel_calls is not None and asked.tools:
            body["parallel_tool_calls"] = asked.parallel_calls
        if asked.format is not None:
            body["response_format"] = response_format(asked.format)
        if asked.max_tokens is not None:
            body[target.max_tokens_field] = asked.max_tokens
        if asked.top_k is not None and not target.top_k:
            self.lose("top_k", "top_k")
        if asked.cache is not None:
            self.lose("cache_marker", "cache_control")
        self.reasoning(asked, body)
        optional: Json = {
            "temperature": asked.temperature,
            "top_p": asked.top_p,
            "top_k": asked.top_k if target.top_k else None,
            "verbosity": asked.verbosity,
            "user": asked.user,
            "metadata": asked.metadata,
            "store": asked.store,
            "service_tier": asked.service_tier,
            "prompt_cache_key": asked.cache_key,
            "stop": list(asked.stop) or None,
            "stream": True if asked.stream else None,
            "stream_options": {"include_usage": True} if asked.stream else None,
        }
        body.update((name, value) for name, value in optional.items() if value is not None)
        return body

    def reasoning(self, asked: Conversation, body: Json) -> None:
        thinking, switch = asked.thinking, self.target.thinking_switch
        if asked.effort is not None:
            body["reasoning_effort"] = asked.effort
        if thinking is None:
            return
        if thinking.budget is not None:
            self.lose("thinking_budget", "thinking.budget_tokens")
        if switch == "thinking":
            body["thinking"] = {"type": "disabled" if thinking.mode == "off" else "enabled"}
        elif thinking.mode == "off" and asked.effort != "none":
            if switch == "reasoning_effort":
                body["reasoning_effort"] = "none"
            else:
                self.lose("thinking_off", "thinking")

    # --- turns --------------------------------------------------------------------------------------------------------

    def messages(self, asked: Conversation) -> list[Json]:
        messages: list[Json] = []
        for place, turn in enumerate(asked.turns):
            at = f"messages[{place}]"
            if turn.role == "assistant":
                messages.append(self.assistant(turn, at))
            elif turn.role == "system":
                messages.append({"role": "system", "content": self.content(turn.parts, at, "\n\n")})
            else:
                messages += self.user(turn, at)
        if asked.turns and asked.turns[-1].role == "assistant":
            self.lose("prefill", f"messages[{len(asked.turns) - 1}]")
        return messages

    def user(self, turn: Turn, at: str) -> list[Json]:
        """Results first, each a message of its own; then what else the turn says, with the images of the results."""
        messages: list[Json] = []
        rest: list[Part] = []
        moved: list[Part] = []
        for place, part in enumerate(turn.parts):
            if not isinstance(part, Result):
                rest.append(part)
                continue
            here = f"{at}.content[{place}]"
            if part.is_error:
                self.lose("tool_result_error", here)
            texts: list[Part] = []
            for piece in part.content:
                (texts if isinstance(piece, Text) else moved).append(piece)
            if len(texts) < len(part.content):
                self.lose("tool_result_media", here)
            if part.cache is not None and texts and isinstance(texts[-1], Text):
                texts[-1] = Text(texts[-1].text, part.cache)
            messages.append({"role": "tool", "tool_call_id": part.call_id, "content": self.content(texts, here, "\n")})
        if moved or rest or not messages:
            messages.append({"role": "user", "content": self.content([*moved, *rest], at, "\n\n")})
        return messages

    def assistant(self, turn: Turn, at: str) -> Json:
        message: Json = {"role": "assistant"}
        texts = [part for part in turn.parts if isinstance(part, Text)]
        refusals = [part.text for part in turn.parts if isinstance(part, Refusal)]
        calls = [part for part in turn.parts if isinstance(part, Call)]
        thoughts = [part for part in turn.parts if isinstance(part, Reasoning)]
        first_call = next((place for place, part in enumerate(turn.parts) if isinstance(part, Call)), None)
        if first_call is not None and any(isinstance(part, Text | Reasoning) for part in turn.parts[first_call:]):
            self.lose("part_order", at)
        message["content"] = self.content(texts, at, "") if texts else (None if calls or refusals else "")
        if refusals:
            message["refusal"] = "".join(refusals)
        self.thoughts(thoughts, bool(calls), message, at)
        if calls:
            message["tool_calls"] = [self.call(call, at) for call in calls]
        return message

    def thoughts(self, thoughts: Sequence[Reasoning], with_calls: bool, message: Json, at: str) -> None:
        field = self.target.reasoning_field
        for thought in thoughts:
            rows = (thought.data or "").encode()
            if thought.source == "reasoning_details" and from_details(rows):
                message["reasoning_details"] = Raw(rows)
            elif thought.source in ("reasoning_content", "reasoning"):
                name = field or thought.source
                message[name] = str(message.get(name, "")) + thought.text
            elif field is not None and thought.text:
                message[field] = str(message.get(field, "")) + thought.text
            else:
                self.lose("foreign_reasoning", at)
        if field is not None and with_calls and "reasoning_details" not in message:
            message.setdefault(field, "")

    def call(self, call: Call, at: str) -> Json:
        if call.cache is not None:
            self.lose("cache_marker", at)
        if call.kind == "custom":
            return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
        return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}

    # --- parts --------------------------------------------------------------------------------------------------------

    def content(self, parts: Sequence[Part], at: str, joint: str) -> object:
        """A plain string for a single text without marker: the form that every host takes."""
        texts = [part for part in parts if isinstance(part, Text)]
        marked = any(part.cache is not None for part in texts)
        if len(texts) == len(parts) and (self.target.flat_text or len(texts) < 2):
            if marked and not self.target.flat_text and self.target.cache_markers:
                return [self.part(part, at) for part in parts]
            if marked:
                self.lose("cache_marker", at)
            if len(texts) > 1:
                self.lose("text_parts", at)
            return joint.join(part.text for part in texts)
        return [self.part(part, at) for part in parts]

    def part(self, part: Part, at: str) -> Json:
        row: Json
        if isinstance(part, Text):
            row = {"type": "text", "text": part.text}
        elif isinstance(part, Image):
            image: Json = {"url": part.url if part.data is None else f"data:{part.media_type};base64,{part.data}"}
            if part.detail is not None:
                image["detail"] = part.detail
            row = {"type": "image_url", "image_url": image}
        elif isinstance(part, Document):
            row = self.document(part, at)
        elif isinstance(part, Refusal):
            row = {"type": "text", "text": part.text}
        else:
            self.lose("unknown_part", at)
            return {"type": "text", "text": ""}
        if not isinstance(part, Refusal) and part.cache is not None:
            row.update(self.marker(part.cache, at))
        return row

    def document(self, part: Document, at: str) -> Json:
        if part.data is None:
            self.lose("document_url", at)
            return {"type": "text", "text": ""}
        if part.media_type == "text/plain":
            self.lose("document_borders", at)
            return {"type": "text", "text": plain_text(part.data)}
        file: Json = {
            "filename": part.name or "document.pdf",
            "file_data": f"data:{part.media_type};base64,{part.data}",
        }
        return {"type": "file", "file": file}

    def marker(self, cache: Cache, at: str) -> Json:
        form = self.target.cache_markers
        if form is None:
            self.lose("cache_marker", at)
            return {}
        if form == "cache_control":
            if cache.ttl in (None, "5m", "1h"):
                return {form: {"type": "ephemeral"} if cache.ttl is None else {"type": "ephemeral", "ttl": cache.ttl}}
            self.lose("cache_ttl", at)
            return {form: {"type": "ephemeral"}}
        if cache.ttl in (None, "30m", "12h"):
            return {form: {"mode": "explicit"} if cache.ttl is None else {"mode": "explicit", "ttl": cache.ttl}}
        self.lose("cache_ttl", at)
        return {form: {"mode": "explicit"}}

    def tool(self, tool: Tool, at: str) -> Json:
        if tool.cache is not None and self.target.cache_markers != "cache_control":
            self.lose("cache_marker", at)
        inner: Json = {"name": tool.name}
        if tool.description is not None:
            inner["description"] = tool.description
        if tool.kind == "custom":
            if tool.grammar is not None:
                syntax, definition = tool.grammar
                inner["format"] = {"type": "grammar", "grammar": {"syntax": syntax, "definition": definition}}
            return {"type": "custom", "custom": inner}
        if tool.schema is not None:
            inner["parameters"] = tool.schema
        if tool.strict is not None:
            inner["strict"] = tool.strict
        row: Json = {"type": "function", "function": inner}
        if tool.cache is not None and self.target.cache_markers == "cache_control":
            row.update(self.marker(tool.cache, at))
        return row


def plain_text(data: str) -> str:
    """The text of a plain-text document."""
    return base64.b64decode(data).decode(errors="replace")


def tool_choice(choice: ToolChoice) -> object:
    if choice.allowed is not None:
        tools = [{"type": "function", "function": {"name": name}} for name in choice.allowed]
        return {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode, "tools": tools}}
    if choice.mode == "named":
        return {"type": choice.kind, choice.kind: {"name": choice.name}}
    return choice.mode


def response_format(form: Format) -> Json:
    if form.schema is None:
        return {"type": "json_object"}
    schema: Json = {"name": form.name or "answer", "schema": form.schema, "strict": form.strict is not False}
    if form.description is not None:
        schema["description"] = form.description
    return {"type": "json_schema", "json_schema": schema}
