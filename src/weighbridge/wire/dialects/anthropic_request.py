"""Anthropic messages requests, read."""

import base64
from typing import Literal

import msgspec

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
    Result,
    Role,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    Turn,
)
from weighbridge.wire.dialects.fields import Fields, Raw, is_text, text_of
from weighbridge.wire.dialects.reasoning import unsealed
from weighbridge.wire.refusal import BadRequest

INVALID_JSON = "INVALID_JSON"
"""Anthropic's own convention for arguments that are no JSON: the text under this key."""


_CHOICES: dict[str, Literal["auto", "none", "required"]] = {"auto": "auto", "none": "none", "any": "required"}
_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system"}


def read_request(body: bytes, *, counting: bool = False) -> Conversation:
    """Raises `BadRequest` for anything that is no messages request. `counting`: the body of `count_tokens`, which has
    no `max_tokens`."""
    losses: list[Loss] = []
    whole = Fields(body, "", losses)
    model = whole.needed("model")
    limit = whole.count("max_tokens")
    if limit is None and not counting:
        raise BadRequest("the field 'max_tokens' is missing", param="max_tokens", code="missing_required_parameter")
    system = blocks(whole, "system")
    turns = [Turn("system", tuple(system))] if system else []
    turns += [_turn(message) for message in whole.objects("messages")]
    if len(turns) == bool(system):
        raise BadRequest("'messages' must have at least one message", param="messages", code="invalid_value")
    choice, parallel = _tool_choice(whole)
    effort, form = _output(whole)
    metadata = whole.fields("metadata")
    user = metadata.text("user_id") if metadata is not None else None
    if metadata is not None:
        metadata.close()
    whole.drop_default(service_tier=b'"auto"', speed=b'"standard"')
    whole.lose_each(
        {
            "container": "server_state", "thread": "server_state", "mcp_servers": "hosted_tool",
            "service_tier": "service_tier",
        }
    )  # fmt: skip
    conversation = Conversation(
        model=model,
        turns=tuple(turns),
        tools=tuple(_tools(whole)),
        tool_choice=choice,
        parallel_calls=parallel,
        format=form,
        max_tokens=limit,
        temperature=whole.number("temperature"),
        top_p=whole.number("top_p"),
        top_k=whole.count("top_k"),
        stop=tuple(whole.texts("stop_sequences") or ()),
        stream=whole.flag("stream") is True,
        effort=effort,
        thinking=_thinking(whole),
        user=user,
        cache=marker(whole),
    )
    whole.close()
    return msgspec.structs.replace(conversation, losses=tuple(losses))


def _output(whole: Fields) -> tuple[str | None, Format | None]:
    form = None
    row = whole.fields("output_config")
    older = whole.fields("output_format")
    effort = row.text("effort") if row is not None else None
    inner = (row.fields("format") if row is not None else None) or older
    if inner is not None:
        form = Format(inner.raw("schema") or Raw(b"{}"), strict=True)
        inner.drop("type")
        inner.close()
    if row is not None:
        row.close()
    return effort, form


def _thinking(whole: Fields) -> Thinking | None:
    row = whole.fields("thinking")
    if row is None:
        return None
    kind, budget = row.needed("type"), row.count("budget_tokens")
    row.drop("display")
    row.close()
    if kind == "disabled":
        return Thinking("off")
    return Thinking("on" if kind == "enabled" else "auto", budget)


def _tool_choice(whole: Fields) -> tuple[ToolChoice | None, bool | None]:
    row = whole.fields("tool_choice")
    if row is None:
        return None, None
    kind, alone = row.needed("type"), row.flag("disable_parallel_tool_use")
    parallel = None if alone is None else not alone
    if kind == "tool":
        choice = ToolChoice("named", row.needed("name"))
    elif kind in _CHOICES:
        choice = ToolChoice(_CHOICES[kind])
    else:
        at = row.place("type")
        raise BadRequest(f"{at!r} is {kind!r}; it must be auto, any, tool or none", param=at, code="invalid_value")
    row.close()
    return choice, parallel


def _tools(whole: Fields) -> list[Tool]:
    tools = []
    for row in whole.objects("tools"):
        if row.text("type") not in (None, "custom"):
            row.lose("hosted_tool")
            continue
        tools.append(
            Tool(
                row.needed("name"),
                row.text("description"),
                row.raw("input_schema"),
                row.flag("strict"),
                cache=marker(row),
            )
        )
        row.close()
    return tools


def marker(row: Fields) -> Cache | None:
    inner = row.fields("cache_control")
    if inner is None:
        return None
    inner.drop("type")
    cache = Cache(inner.text("ttl"))
    inner.close()
    return cache


# --- turns ------------------------------------------------------------------------------------------------------------


def _turn(message: Fields) -> Turn:
    role = message.needed("role")
    parts = tuple(blocks(message, "content"))
    message.close()
    if role in _ROLES:
        return Turn(_ROLES[role], parts)
    at = message.place("role")
    raise BadRequest(f"{at!r} is {role!r}; it must be user, assistant or system", param=at, code="invalid_value")


def blocks(owner: Fields, name: str) -> list[Part]:
    """Content as a string or as a list of blocks."""
    value = owner.raw(name)
    if value is None:
        return []
    if is_text(value):
        text = text_of(value)
        return [Text(text)] if text else []
    parts: list[Part] = []
    for row in _rows(value, owner.place(name), owner.losses):
        parts += _block(row)
    return parts


def _rows(value: Raw, at: str, losses: list[Loss]) -> list[Fields]:
    try:
        rows = msgspec.json.decode(value, type=list[Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise BadRequest(f"{at!r} must be a string or a list of blocks", param=at, code="invalid_type") from None
    return [Fields(row, f"{at}[{place}]", losses) for place, row in enumerate(rows)]


def _block(row: Fields) -> list[Part]:
    kind = row.needed("type")
    parts: list[Part]
    if kind == "text":
        parts = [Text(row.needed("text"), marker(row))]
        row.lose_each({"citations": "citations"})
    elif kind == "image":
        parts = list(_image(row))
    elif kind == "document":
        parts = _document(row)
    elif kind in ("thinking", "redacted_thinking"):
        parts = [_reasoning(row, kind)]
    elif kind == "tool_use":
        parts = [_call(row)]
    elif kind == "tool_result":
        parts = [_result(row)]
    else:
        row.lose("unknown_part")
        return []
    row.close()
    return parts


def _reasoning(row: Fields, kind: str) -> Reasoning:
    if kind == "redacted_thinking":
        data = row.needed("data")
        return unsealed("", data) or Reasoning("", "anthropic", data=data)
    text, signature = row.text("thinking") or "", row.text("signature")
    return unsealed(text, signature) or Reasoning(text, "anthropic", signature or None)


def _call(row: Fields) -> Call:
    given = row.raw("input")
    arguments = "{}" if given is None else bytes(given).decode()
    row.drop_default(caller=b'{"type":"direct"}')
    return Call(row.needed("id"), row.needed("name"), invalid_json_of(arguments) or arguments, cache=marker(row))


class _Wrapped(msgspec.Struct, forbid_unknown_fields=True):
    INVALID_JSON: str


_wrapped = msgspec.json.Decoder(_Wrapped).decode


def invalid_json_of(arguments: str) -> str | None:
    """The text that was put under `INVALID_JSON`; `None` for any other arguments."""
    if INVALID_JSON not in arguments[:40]:
        return None
    try:
        return _wrapped(arguments).INVALID_JSON
    except msgspec.MsgspecError:
        return None


def _result(row: Fields) -> Result:
    parts = blocks(row, "content")
    content = tuple(part for part in parts if isinstance(part, Text | Image | Document))
    return Result(row.needed("tool_use_id"), content, row.flag("is_error") is True, cache=marker(row))


def _source(row: Fields) -> Fields:
    source = row.fields("source")
    if source is None:
        at = row.place("source")
        raise BadRequest(f"the field {at!r} is missing", param=at, code="missing_required_parameter")
    return source


def _image(row: Fields) -> list[Image]:
    source = _source(row)
    kind = source.needed("type")
    if kind == "file":
        source.lose("provider_file")
        row.drop("cache_control", "transformations")
        return []
    if kind == "url":
        image = Image(url=source.needed("url"), cache=marker(row))
    else:
        image = Image(source.needed("media_type"), source.needed("data"), cache=marker(row))
    source.close()
    return [image]


def _document(row: Fields) -> list[Part]:
    source = _source(row)
    kind, name, cache = source.needed("type"), row.text("title"), marker(row)
    row.lose_each({"context": "document_context"})
    citations = row.fields("citations")
    if citations is not None and citations.flag("enabled"):
        row.lose("citations", "citations")
    if kind == "url":
        return [Document("application/pdf", None, source.needed("url"), name, cache)]
    if kind == "base64":
        return [Document(source.needed("media_type"), source.needed("data"), None, name, cache)]
    if kind == "text":
        data = base64.b64encode(source.needed("data").encode()).decode()
        return [Document("text/plain", data, None, name, cache)]
    if kind == "content":
        row.lose("document_borders")
        return blocks(source, "content")
    source.lose("provider_file")
    return []
