"""OpenAI responses requests, written from a conversation in another dialect."""

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
from weighbridge.wire.dialects.chat_request_out import plain_text
from weighbridge.wire.dialects.fields import Raw, encode

Json = dict[str, object]
_NO_SCHEMA = Raw(b'{"type":"object","properties":{}}')


def write_request(asked: Conversation, target: Target) -> tuple[bytes, tuple[Loss, ...]]:
    """The body for a responses host, and what it could not say. Reasoning comes back encrypted, so that the client can
    keep it: nothing of the conversation stays at the provider unless the client asked for that."""
    writer = _Writer()
    body = writer.body(asked, target)
    return encode(body), tuple(writer.losses)


class _Writer:
    def __init__(self) -> None:
        self.losses: list[Loss] = []

    def lose(self, feature: str, at: str) -> None:
        self.losses.append(Loss(feature, at))

    def body(self, asked: Conversation, target: Target) -> Json:
        body: Json = {
            "model": target.model,
            "input": self.items(asked),
            "store": asked.store is True,
            "include": ["reasoning.encrypted_content"],
        }
        if asked.tools:
            body["tools"] = [self.tool(tool, f"tools[{place}]") for place, tool in enumerate(asked.tools)]
        if asked.tool_choice is not None:
            body["tool_choice"] = tool_choice(asked.tool_choice)
        text = self.text_options(asked)
        if text:
            body["text"] = text
        effort = asked.effort
        if asked.thinking is not None:
            if asked.thinking.budget is not None:
                self.lose("thinking_budget", "thinking.budget_tokens")
            effort = effort or ("none" if asked.thinking.mode == "off" else None)
        if asked.stop:
            self.lose("stop", "stop")
        if asked.top_k is not None:
            self.lose("top_k", "top_k")
        if asked.cache is not None:
            self.lose("cache_marker", "cache_control")
        optional: Json = {
            "reasoning": None if effort is None else {"effort": effort},
            "parallel_tool_calls": asked.parallel_calls,
            "max_output_tokens": asked.max_tokens,
            "temperature": asked.temperature,
            "top_p": asked.top_p,
            "user": asked.user,
            "metadata": asked.metadata,
            "service_tier": asked.service_tier,
            "prompt_cache_key": asked.cache_key,
            "stream": True if asked.stream else None,
        }
        body.update((name, value) for name, value in optional.items() if value is not None)
        return body

    def text_options(self, asked: Conversation) -> Json:
        text: Json = {}
        form = asked.format
        if form is not None and form.schema is None:
            text["format"] = {"type": "json_object"}
        elif form is not None:
            schema: Json = {
                "type": "json_schema",
                "name": form.name or "answer",
                "schema": form.schema,
                "strict": form.strict is not False,
            }
            if form.description is not None:
                schema["description"] = form.description
            text["format"] = schema
        if asked.verbosity is not None:
            text["verbosity"] = asked.verbosity
        return text

    # --- turns --------------------------------------------------------------------------------------------------------

    def items(self, asked: Conversation) -> list[Json]:
        items: list[Json] = []
        for place, turn in enumerate(asked.turns):
            items += self.turn(turn, f"messages[{place}]")
        if asked.turns and asked.turns[-1].role == "assistant":
            self.lose("prefill", f"messages[{len(asked.turns) - 1}]")
        return items

    def turn(self, turn: Turn, at: str) -> list[Json]:
        """Results, calls and reasoning are items of their own; what stands between them is one message each time."""
        items: list[Json] = []
        said: list[Json] = []

        def flush() -> None:
            if said:
                items.append({"type": "message", "role": turn.role, "content": list(said)})
                said.clear()

        for part in turn.parts:
            if isinstance(part, Text | Image | Document | Refusal):
                said.append(self.part(part, turn.role == "assistant", at))
                continue
            flush()
            item = self.item(part, at)
            if item is not None:
                items.append(item)
        flush()
        return items

    def item(self, part: Call | Result | Reasoning, at: str) -> Json | None:
        if isinstance(part, Reasoning):
            return self.reasoning(part, at)
        if part.cache is not None:
            self.lose("cache_marker", at)
        custom = part.kind == "custom"
        if isinstance(part, Call):
            kind, field = ("custom_tool_call", "input") if custom else ("function_call", "arguments")
            return {"type": kind, "call_id": part.id, field: part.arguments, "name": part.name}
        if part.is_error:
            self.lose("tool_result_error", at)
        kind = "custom_tool_call_output" if custom else "function_call_output"
        return {"type": kind, "call_id": part.call_id, "output": self.output(part.content, at)}

    def output(self, content: Sequence[Text | Image | Document], at: str) -> object:
        if not content:
            return ""
        if len(content) == 1 and isinstance(content[0], Text) and content[0].cache is None:
            return content[0].text
        return [self.part(part, False, at) for part in content]

    def reasoning(self, part: Reasoning, at: str) -> Json | None:
        if part.source != "responses" or part.id is None:
            self.lose("foreign_reasoning", at)
            return None
        summary = [{"type": "summary_text", "text": part.text}] if part.text else []
        item: Json = {"type": "reasoning", "id": part.id, "summary": summary}
        if part.data is not None:
            item["encrypted_content"] = part.data
        return item

    def part(self, part: Part, by_model: bool, at: str) -> Json:
        row: Json
        if isinstance(part, Text):
            row = {"type": "output_text" if by_model else "input_text", "text": part.text}
            if by_model:
                row["annotations"] = []
        elif isinstance(part, Refusal):
            return {"type": "refusal", "refusal": part.text}
        elif isinstance(part, Image):
            url = part.url if part.data is None else f"data:{part.media_type};base64,{part.data}"
            row = {"type": "input_image", "image_url": url, "detail": part.detail or "auto"}
        elif isinstance(part, Document):
            row = self.document(part, at)
        else:
            raise TypeError(f"{type(part).__name__} is an item, no part of a message")
        if part.cache is not None:
            row.update(self.marker(part.cache, at))
        return row

    def document(self, part: Document, at: str) -> Json:
        if part.data is None:
            row: Json = {"type": "input_file", "file_url": part.url}
            if part.name is not None:
                row["filename"] = part.name
            return row
        if part.media_type == "text/plain":
            self.lose("document_borders", at)
            return {"type": "input_text", "text": plain_text(part.data)}
        data = f"data:{part.media_type};base64,{part.data}"
        return {"type": "input_file", "filename": part.name or "document.pdf", "file_data": data}

    def marker(self, cache: Cache, at: str) -> Json:
        if cache.ttl in ("30m", "12h"):
            return {"prompt_cache_breakpoint": {"mode": "explicit", "ttl": cache.ttl}}
        if cache.ttl is not None:
            self.lose("cache_ttl", at)
        return {"prompt_cache_breakpoint": {"mode": "explicit"}}

    def tool(self, tool: Tool, at: str) -> Json:
        if tool.cache is not None:
            self.lose("cache_marker", at)
        row: Json = {"type": tool.kind, "name": tool.name}
        if tool.description is not None:
            row["description"] = tool.description
        if tool.kind == "custom":
            if tool.grammar is not None:
                syntax, definition = tool.grammar
                row["format"] = {"type": "grammar", "syntax": syntax, "definition": definition}
            return row
        row["parameters"] = _NO_SCHEMA if tool.schema is None else tool.schema
        row["strict"] = tool.strict is True  # here a schema is strict unless it says otherwise; elsewhere it is not
        return row


def tool_choice(choice: ToolChoice) -> object:
    if choice.allowed is not None:
        tools = [{"type": "function", "name": name} for name in choice.allowed]
        return {"type": "allowed_tools", "mode": choice.mode, "tools": tools}
    if choice.mode == "named":
        return {"type": choice.kind, "name": choice.name}
    return choice.mode
