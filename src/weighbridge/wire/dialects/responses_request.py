"""OpenAI responses requests, read."""

import msgspec

from weighbridge.wire.conversation import (
    Cache,
    Call,
    CallKind,
    Conversation,
    Document,
    Format,
    Image,
    Loss,
    Part,
    Reasoning,
    Refusal,
    Result,
    Role,
    Text,
    Tool,
    ToolChoice,
    Turn,
)
from weighbridge.wire.dialects.chat_request import CHOICES, KINDS, allowed_choice, image_from, split_data_url
from weighbridge.wire.dialects.fields import Fields, Raw, is_text, shown, text_of
from weighbridge.wire.dialects.reasoning import unsealed
from weighbridge.wire.refusal import BadRequest

_OWN = {
    "previous_response_id": "server_state",
    "conversation": "server_state",
    "background": "server_state",
    "background_options": "server_state",
    "prompt": "server_state",
    "context_management": "server_state",
    "top_logprobs": "logprobs",
}
_ECHOED = (
    "instructions", "max_output_tokens", "metadata", "parallel_tool_calls", "reasoning", "temperature", "text",
    "tool_choice", "tools", "top_p", "truncation", "user",
)  # fmt: skip


def read_request(body: bytes) -> Conversation:
    """Raises `BadRequest` for anything that is no responses request."""
    losses: list[Loss] = []
    whole = Fields(body, "", losses)
    echo = tuple((name, value) for name in _ECHOED if (value := whole.peek(name)) is not None)
    model = whole.needed("model")
    instructions = whole.text("instructions")
    turns = [Turn("system", (Text(instructions),))] if instructions else []
    turns += _input(whole)
    if not turns:
        raise BadRequest("'input' must say something", param="input", code="invalid_value")
    effort = _reasoning(whole)
    form, verbosity = _text_options(whole)
    whole.drop_default(background=b"false", truncation=b'"disabled"', service_tier=b'"auto"', top_logprobs=b"0")
    whole.lose_each(_OWN)
    _include(whole)
    options = whole.fields("stream_options")
    if options is not None:
        options.drop("include_obfuscation")
        options.close()
    user = whole.text("safety_identifier")
    older_user = whole.text("user")
    conversation = Conversation(
        model=model,
        turns=tuple(turns),
        tools=tuple(_tools(whole)),
        tool_choice=_tool_choice(whole),
        parallel_calls=whole.flag("parallel_tool_calls"),
        format=form,
        max_tokens=whole.count("max_output_tokens"),
        temperature=whole.number("temperature"),
        top_p=whole.number("top_p"),
        stream=whole.flag("stream") is True,
        effort=effort,
        verbosity=verbosity,
        user=user if user is not None else older_user,
        metadata=whole.raw("metadata"),
        store=whole.flag("store"),
        service_tier=whole.text("service_tier"),
        cache_key=whole.text("prompt_cache_key"),
        echo=echo,
    )
    whole.close()
    return msgspec.structs.replace(conversation, losses=tuple(losses))


def _include(whole: Fields) -> None:
    for what in whole.texts("include") or ():
        if what == "message.output_text.logprobs":
            whole.lose("logprobs", "include")
        elif what != "reasoning.encrypted_content":
            whole.lose("unknown_field", f"include:{what}")


def _reasoning(whole: Fields) -> str | None:
    row = whole.fields("reasoning")
    if row is None:
        return None
    effort = row.text("effort")
    # Reasoning is always shown: asking for it loses nothing.
    row.drop("summary", "generate_summary")
    row.lose_each({"context": "reasoning_options", "mode": "reasoning_options"})
    row.close()
    return effort


def _text_options(whole: Fields) -> tuple[Format | None, str | None]:
    row = whole.fields("text")
    if row is None:
        return None, None
    verbosity = row.text("verbosity")
    inner = row.fields("format")
    form = None
    kind = "text" if inner is None else inner.needed("type")
    if inner is not None and kind == "json_schema":
        form = Format(
            inner.raw("schema") or Raw(b"{}"), inner.text("name"), inner.text("description"),
            inner.flag("strict") is not False,
        )  # fmt: skip
    elif kind == "json_object":
        form = Format()
    elif kind != "text":
        at = "text.format.type"
        raise BadRequest(f"{at!r} is {kind!r}; it must be text, json_schema or json_object", param=at)
    if inner is not None:
        inner.close()
    row.close()
    return form, verbosity


# --- turns ------------------------------------------------------------------------------------------------------------


def _input(whole: Fields) -> list[Turn]:
    value = whole.raw("input")
    if value is None:
        return []
    if is_text(value):
        return [Turn("user", (Text(text_of(value)),))]
    try:
        rows = msgspec.json.decode(value, type=list[Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise BadRequest(
            f"'input' must be a string or a list of items, not {shown(value)}", param="input", code="invalid_type"
        ) from None
    turns: list[Turn] = []
    for place, row in enumerate(rows):
        turn = _item(Fields(row, f"input[{place}]", whole.losses))
        if turn is None:
            continue
        # Reasoning, text and calls of one answer are items of their own here, one turn elsewhere.
        last = turns[-1] if turns else None
        if last is not None and last.role == turn.role == "assistant":
            turns[-1] = Turn("assistant", last.parts + turn.parts)
        else:
            turns.append(turn)
    return turns


def _item(row: Fields) -> Turn | None:
    kind = row.text("type") or "message"
    if kind == "message":
        turn = _message(row)
    elif kind in ("function_call", "custom_tool_call"):
        custom = kind == "custom_tool_call"
        arguments = row.text("input" if custom else "arguments") or ""
        call_kind: CallKind = "custom" if custom else "function"
        turn = Turn("assistant", (Call(row.needed("call_id"), row.needed("name"), arguments, call_kind),))
    elif kind in ("function_call_output", "custom_tool_call_output"):
        content = tuple(part for part in _content(row, "output") if isinstance(part, Text | Image | Document))
        call_kind = "custom" if kind == "custom_tool_call_output" else "function"
        turn = Turn("user", (Result(row.needed("call_id"), content, kind=call_kind),))
    elif kind == "reasoning":
        turn = Turn("assistant", (_thought(row),))
    else:
        row.lose("server_state" if kind == "item_reference" else "unknown_part")
        return None
    row.drop("id", "status", "phase")
    row.close()
    return turn


def _message(row: Fields) -> Turn:
    written = row.needed("role")
    roles: dict[str, Role] = {
        "user": "user", "assistant": "assistant", "system": "system", "developer": "system",
    }  # fmt: skip
    role = roles.get(written)
    if role is None:
        at = row.place("role")
        raise BadRequest(f"{at!r} is {written!r}; it must be user, assistant, system or developer", param=at)
    return Turn(role, tuple(_content(row, "content")))


def _thought(row: Fields) -> Reasoning:
    summary = [piece.text("text") or "" for piece in row.objects("summary")]
    content = [piece.text("text") or "" for piece in row.objects("content")]
    text, seal, item_id = "\n\n".join(content or summary), row.text("encrypted_content"), row.text("id")
    own = unsealed(text, seal)
    if own is not None:
        return own
    if seal is not None or not content:
        return Reasoning(text, "responses", data=seal, id=item_id)
    return Reasoning(text, "reasoning_content")


def _content(row: Fields, name: str) -> list[Part]:
    value = row.raw(name)
    if value is None:
        return []
    if is_text(value):
        return [Text(text_of(value))]
    at = row.place(name)
    try:
        rows = msgspec.json.decode(value, type=list[Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise BadRequest(f"{at!r} must be a string or a list of parts", param=at, code="invalid_type") from None
    parts: list[Part] = []
    for place, piece in enumerate(rows):
        parts += _part(Fields(piece, f"{at}[{place}]", row.losses))
    return parts


def _part(row: Fields) -> list[Part]:
    kind = row.needed("type")
    part: Part
    if kind in ("input_text", "output_text", "text"):
        part = Text(row.needed("text"), _marker(row))
        row.drop_default(annotations=b"[]", logprobs=b"[]")
        row.lose_each({"annotations": "annotations"})
        row.drop("logprobs")
    elif kind == "refusal":
        part = Refusal(row.needed("refusal"))
    elif kind == "input_image" and row.peek("file_id") is None:
        part = image_from(row.needed("image_url"), row.text("detail"), _marker(row))
    elif kind == "input_file" and row.peek("file_id") is None:
        part = _file(row)
    else:
        row.lose("provider_file" if kind in ("input_image", "input_file") else "unknown_part")
        return []
    row.close()
    return [part]


def _file(row: Fields) -> Document:
    name, url, cache = row.text("filename"), row.text("file_url"), _marker(row)
    row.drop("detail")
    if url is not None:
        return Document("application/pdf", None, url, name, cache)
    data = row.needed("file_data")
    media_type, plain = split_data_url(data)
    return Document(media_type or "application/pdf", plain if plain is not None else data, None, name, cache)


def _marker(row: Fields) -> Cache | None:
    inner = row.fields("prompt_cache_breakpoint")
    if inner is None:
        return None
    inner.drop("mode")
    cache = Cache(inner.text("ttl"))
    inner.close()
    return cache


# --- tools ------------------------------------------------------------------------------------------------------------


def _tools(whole: Fields) -> list[Tool]:
    tools = []
    for row in whole.objects("tools"):
        kind = row.needed("type")
        if kind == "function":
            tool = Tool(
                row.needed("name"), row.text("description"), row.raw("parameters"), row.flag("strict") is not False
            )
        elif kind == "custom":
            form = row.fields("format")
            grammar = None
            if form is not None and form.text("type") == "grammar":
                grammar = form.needed("syntax"), form.needed("definition")
            tool = Tool(row.needed("name"), row.text("description"), kind="custom", grammar=grammar)
        else:
            row.lose("hosted_tool")
            continue
        row.close()
        tools.append(tool)
    return tools


def _tool_choice(whole: Fields) -> ToolChoice | None:
    value = whole.raw("tool_choice")
    if value is None:
        return None
    if is_text(value):
        word = text_of(value)
        if word in CHOICES:
            return ToolChoice(CHOICES[word])
        raise BadRequest(
            f"'tool_choice' is {word!r}; it must be auto, none, required or an object", param="tool_choice"
        )
    row = Fields(value, "tool_choice", whole.losses)
    kind = row.needed("type")
    if kind in KINDS:
        return ToolChoice("named", row.needed("name"), KINDS[kind])
    if kind == "allowed_tools":
        return allowed_choice(row)
    row.lose("hosted_tool")
    return None
