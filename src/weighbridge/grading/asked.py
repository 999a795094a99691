"""What an answer has to obey, out of the request: the tools that were offered, and the shape that was asked for."""

import msgspec

from weighbridge.grading.answers import Answer

Schema = dict[str, object]


class _Function(msgspec.Struct):
    name: str = ""


class _Tool(msgspec.Struct):
    function: _Function | None = None
    name: str | None = None
    type: str = "function"


class _JsonSchema(msgspec.Struct):
    schema: Schema | None = None


class _Format(msgspec.Struct):
    type: str = "text"
    json_schema: _JsonSchema | None = None
    schema: Schema | None = None


class _Text(msgspec.Struct):
    format: _Format | None = None


class _Request(msgspec.Struct):
    """A chat completion, a message or a response: the names that are there say which."""

    tools: tuple[_Tool, ...] | None = None
    response_format: _Format | None = None
    text: _Text | None = None
    output_format: _Format | None = None


class Asked(msgspec.Struct, frozen=True):
    tools: frozenset[str]
    """Names of those that the application carries out."""
    json: bool
    """The text must be JSON: an object, or what `schema` says."""
    schema: Schema | None


_request = msgspec.json.Decoder(_Request)


def asked_of(body: bytes) -> Asked:
    """Read a request in any dialect. Raises `ValueError` where it cannot be read."""
    try:
        request = _request.decode(body)
    except RecursionError as error:
        raise ValueError(f"the request is nested too deeply: {error}") from None
    names = (tool.function.name if tool.function is not None else tool.name for tool in request.tools or ())
    form = request.response_format or request.output_format or (None if request.text is None else request.text.format)
    if form is None or form.type not in ("json_object", "json_schema"):
        return Asked(frozenset(name for name in names if name), False, None)
    schema = form.schema if form.json_schema is None else form.json_schema.schema
    return Asked(frozenset(name for name in names if name), True, schema)


def calls_fit(asked: Asked, answer: Answer) -> bool:
    """Does it call only tools that were offered, with arguments that are a JSON object?"""
    for call in answer.tool_calls:
        if call.name not in asked.tools:
            return False
        try:
            if not isinstance(msgspec.json.decode(call.arguments or "{}"), dict):
                return False
        except (msgspec.MsgspecError, RecursionError):
            return False
    return True
