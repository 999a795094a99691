"""OpenAI chat requests, read and written."""

from typing import Literal

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
    Result,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    Turn,
)
from weighbridge.wire.conversation import Refusal as RefusalPart
from weighbridge.wire.dialects.chat_reasoning import reasoning_of
from weighbridge.wire.dialects.fields import Fields, Raw, is_text, shown, text_of
from weighbridge.wire.refusal import BadRequest

CHOICES: dict[str, Literal["auto", "none", "required"]] = {"auto": "auto", "none": "none", "required": "required"}
KINDS: dict[str, CallKind] = {"function": "function", "custom": "custom"}
_OWN = {
    "seed": "seed",
    "presence_penalty": "penalties",
    "frequency_penalty": "penalties",
    "logit_bias": "logit_bias",
    "logprobs": "logprobs",
    "top_logprobs": "logprobs",
    "n": "choices",
    "functions": "legacy_functions",
    "function_call": "legacy_functions",
    "audio": "unknown_part",
    "modalities": "unknown_part",
    "web_search_options": "hosted_tool",
}


def read_request(body: bytes) -> Conversation:
    """Raises `BadRequest` for anything that is no chat request."""
    losses: list[Loss] = []
    whole = Fields(body, "", losses)
    model = whole.needed("model")
    turns = _turns(whole)
    stream = whole.flag("stream") is True
    options = whole.fields("stream_options")
    wants_usage = not stream
    if options is not None:
        wants_usage = options.flag("include_usage") is True or not stream
        options.drop("include_obfuscation")
        options.close()
    whole.drop_default(
        n=b"1", logprobs=b"false", presence_penalty=b"0", frequency_penalty=b"0", modalities=b'["text"]',
        logit_bias=b"{}", service_tier=b'"auto"',
    )  # fmt: skip
    whole.lose_each(_OWN)
    limit = whole.count("max_completion_tokens")
    older_limit = whole.count("max_tokens")
    user = whole.text("safety_identifier")
    older_user = whole.text("user")
    thinking = whole.fields("thinking")
    conversation = Conversation(
        model=model,
        turns=turns,
        tools=tuple(_tools(whole)),
        tool_choice=_tool_choice(whole),
        parallel_calls=whole.flag("parallel_tool_calls"),
        format=_format(whole),
        max_tokens=limit if limit is not None else older_limit,
        temperature=whole.number("temperature"),
        top_p=whole.number("top_p"),
        top_k=whole.count("top_k"),
        stop=_stop(whole),
        stream=stream,
        wants_usage=wants_usage,
        effort=whole.text("reasoning_effort"),
        thinking=None if thinking is None else _thinking(thinking),
        verbosity=whole.text("verbosity"),
        user=user if user is not None else older_user,
        metadata=whole.raw("metadata"),
        store=whole.flag("store"),
        service_tier=whole.text("service_tier"),
        cache_key=whole.text("prompt_cache_key"),
        cache=_marker(whole),
    )
    whole.close()
    return msgspec.structs.replace(conversation, losses=tuple(losses))


def _stop(whole: Fields) -> tuple[str, ...]:
    value = whole.raw("stop")
    if value is None:
        return ()
    if is_text(value):
        return (text_of(value),)
    try:
        return tuple(msgspec.json.decode(value, type=list[str]))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        message = f"'stop' must be a string or a list of strings, not {shown(value)}"
        raise BadRequest(message, param="stop", code="invalid_type") from None


def _thinking(fields: Fields) -> Thinking | None:
    kind = fields.text("type")
    budget = fields.count("budget_tokens")
    fields.close()
    if kind == "disabled":
        return Thinking("off")
    return Thinking("on" if kind == "enabled" else "auto", budget)


# --- turns ------------------------------------------------------------------------------------------------------------


def _turns(whole: Fields) -> tuple[Turn, ...]:
    turns = [_turn(message) for message in whole.objects("messages")]
    if not turns:
        raise BadRequest("'messages' must have at least one message", param="messages", code="invalid_value")
    return tuple(turns)


def _turn(message: Fields) -> Turn:
    role = message.needed("role")
    if message.text("name") is not None and role not in ("tool", "function"):
        message.lose("speaker_name", "name")
    if role in ("system", "developer"):
        turn = Turn("system", tuple(_content(message)))
    elif role == "user":
        turn = Turn("user", tuple(_content(message)))
    elif role == "assistant":
        turn = Turn("assistant", tuple(_assistant(message)))
    elif role == "tool":
        turn = Turn("user", (_result(message),))
    elif role == "function":
        message.lose("legacy_functions", "role")
        message.drop("content")
        turn = Turn("user", ())
    else:
        at = message.place("role")
        raise BadRequest(
            f"{at!r} is {role!r}; it must be system, developer, user, assistant or tool", param=at, code="invalid_value"
        )
    message.close()
    return turn


def _assistant(message: Fields) -> list[Part]:
    parts: list[Part] = list(reasoning_of(message))
    parts += _content(message)
    refusal = message.text("refusal")
    if refusal:
        parts.append(RefusalPart(refusal))
    for call in message.objects("tool_calls"):
        parts.append(_call(call))
    message.lose_each({"function_call": "legacy_functions", "audio": "unknown_part"})
    message.drop("annotations")
    message.drop_default(tool_calls=b"[]")
    return parts


def _call(row: Fields) -> Call:
    kind: CallKind = "custom" if row.text("type") == "custom" else "function"
    inner = row.fields(kind)
    if inner is None:
        at = row.place(kind)
        raise BadRequest(f"the field {at!r} is missing", param=at, code="missing_required_parameter")
    arguments = inner.text("input" if kind == "custom" else "arguments") or ""
    call = Call(row.needed("id"), inner.needed("name"), arguments, kind)
    inner.close()
    row.drop("index")
    row.close()
    return call


def _result(message: Fields) -> Result:
    call_id = message.needed("tool_call_id")
    message.drop("name")
    parts = _content(message)
    content = tuple(part for part in parts if isinstance(part, Text | Image | Document))
    cache = next((part.cache for part in reversed(content) if part.cache), None)
    return Result(call_id, content, cache=_marker(message) or cache)


def _content(message: Fields) -> list[Part]:
    value = message.raw("content")
    if value is None:
        return []
    if is_text(value):
        text = Text(text_of(value), _marker(message))
        return [text] if text.text or text.cache else []
    at = message.place("content")
    try:
        rows = msgspec.json.decode(value, type=list[Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise BadRequest(
            f"{at!r} must be a string or a list of parts, not {shown(value)}", param=at, code="invalid_type"
        ) from None
    parts: list[Part] = []
    for place, row in enumerate(rows):
        part = _part(Fields(row, f"{at}[{place}]", message.losses))
        if part is not None:
            parts.append(part)
    return parts


def _part(row: Fields) -> Part | None:
    kind = row.text("type")
    part: Part | None = None
    if kind == "text":
        part = Text(row.needed("text"), _marker(row))
    elif kind == "refusal":
        part = RefusalPart(row.needed("refusal"))
    elif kind == "image_url":
        part = _image(row)
    elif kind == "file":
        part = _file(row)
    else:
        row.lose("unknown_part")
        return None
    row.close()
    return part


def _image(row: Fields) -> Image:
    value = row.raw("image_url")
    if value is not None and is_text(value):
        return image_from(text_of(value), None, _marker(row))
    inner = Fields(value or Raw(b"null"), row.place("image_url"), row.losses)
    image = image_from(inner.needed("url"), inner.text("detail"), _marker(row))
    inner.close()
    return image


def image_from(url: str, detail: str | None, cache: Cache | None) -> Image:
    media_type, data = split_data_url(url)
    detail = None if detail == "auto" else detail
    if data is not None:
        return Image(media_type, data, None, detail, cache)
    return Image(None, None, url, detail, cache)


def split_data_url(url: str) -> tuple[str | None, str | None]:
    """Media type and base64 of a `data:` address; `(None, None)` for any other."""
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        return None, None
    return head[5:-7].partition(";")[0], data


def _file(row: Fields) -> Document | None:
    inner = Fields(row.raw("file") or Raw(b"null"), row.place("file"), row.losses)
    name, data = inner.text("filename"), inner.text("file_data")
    if inner.text("file_id") is not None or data is None:
        inner.lose("provider_file")
        row.drop("cache_control", "prompt_cache_breakpoint")
        return None
    inner.close()
    media_type, plain = split_data_url(data)
    return Document(media_type or "application/pdf", plain if plain is not None else data, None, name, _marker(row))


def _marker(row: Fields) -> Cache | None:
    """Both marks that chat hosts take: OpenAI's breakpoint, and `cache_control` as at OpenRouter and Qwen."""
    marker = None
    for name in ("cache_control", "prompt_cache_breakpoint"):
        inner = row.fields(name)
        if inner is not None:
            marker = Cache(inner.text("ttl"))
            inner.drop("type", "mode")
            inner.close()
    return marker


# --- tools and format -------------------------------------------------------------------------------------------------


def _tools(whole: Fields) -> list[Tool]:
    tools = []
    for row in whole.objects("tools"):
        kind = row.needed("type")
        inner = row.fields(kind) if kind in ("function", "custom") else None
        if inner is None:
            row.lose("hosted_tool")
            continue
        if kind == "function":
            tool = Tool(
                inner.needed("name"), inner.text("description"), inner.raw("parameters"), inner.flag("strict"),
                cache=_marker(row),
            )  # fmt: skip
        else:
            tool = Tool(
                inner.needed("name"), inner.text("description"), kind="custom", grammar=_grammar(inner),
                cache=_marker(row),
            )  # fmt: skip
        inner.close()
        row.close()
        tools.append(tool)
    return tools


def _grammar(inner: Fields) -> tuple[str, str] | None:
    form = inner.fields("format")
    if form is None or form.text("type") != "grammar":
        return None
    grammar = form.fields("grammar") or form
    return grammar.needed("syntax"), grammar.needed("definition")


def _tool_choice(whole: Fields) -> ToolChoice | None:
    value = whole.raw("tool_choice")
    if value is None:
        return None
    if is_text(value):
        word = text_of(value)
        if word in CHOICES:
            return ToolChoice(CHOICES[word])
        raise BadRequest(
            f"'tool_choice' is {word!r}; it must be auto, none, required or an object", param="tool_choice",
            code="invalid_value",
        )  # fmt: skip
    row = Fields(value, "tool_choice", whole.losses)
    kind = row.needed("type")
    if kind in KINDS:
        inner = row.fields(kind)
        return ToolChoice("named", (inner or row).needed("name"), KINDS[kind])
    if kind == "allowed_tools":
        return allowed_choice(row.fields("allowed_tools") or row)
    row.lose("hosted_tool")
    return None


def allowed_choice(row: Fields) -> ToolChoice:
    """`{mode, tools: [..]}` with each tool's name, nested as in chat or not as in responses."""
    names = []
    for tool in row.objects("tools"):
        kind = tool.needed("type")
        if kind not in ("function", "custom"):
            tool.lose("hosted_tool")
            continue
        names.append((tool.fields(kind) or tool).needed("name"))
    return ToolChoice("required" if row.text("mode") == "required" else "auto", allowed=tuple(names))


def _format(whole: Fields) -> Format | None:
    row = whole.fields("response_format")
    kind = None if row is None else row.needed("type")
    if row is None or kind == "text":
        return None
    if kind == "json_object":
        return Format()
    inner = row.fields("json_schema") if kind == "json_schema" else None
    if inner is None:
        raise BadRequest(
            f"'response_format.type' is {kind!r}; it must be text, json_object, or json_schema with 'json_schema'",
            param="response_format", code="invalid_value",
        )  # fmt: skip
    form = Format(
        inner.raw("schema") or Raw(b"{}"), inner.text("name"), inner.text("description"), inner.flag("strict") is True
    )
    inner.close()
    row.close()
    return form
