"""What was asked and what was answered, out of the bytes of a chat completion."""

from hashlib import sha256
from typing import Any

import msgspec

from weighbridge.wire.openai import assemble


class ToolCall(msgspec.Struct, frozen=True):
    name: str
    arguments: str
    """The model's JSON text, as sent; it may be broken."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    refusal: bool = False
    """The model or its host declined by the protocol: a `refusal` field or a content filter. A polite no in the text
    is graded like any other text."""
    cut: bool = False
    """The answer ended at its token limit."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    text: str | None
    """The last user text; `None` where the request has none."""
    body: bytes
    """The whole request, for graders of one's own."""
    parallel_tool_calls: bool = True


class _Part(msgspec.Struct):
    type: str = ""
    text: str = ""


_Content = str | list[_Part] | None


class _Turn(msgspec.Struct):
    role: str = ""
    content: msgspec.Raw = msgspec.Raw(b"null")


class _Request(msgspec.Struct):
    messages: list[_Turn] = []
    parallel_tool_calls: bool | None = None


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, object] | None = None


class _Call(msgspec.Struct):
    function: _Function | None = None


class _Reply(msgspec.Struct):
    content: _Content = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    message: _Reply = msgspec.field(default_factory=_Reply)
    finish_reason: str | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    error: msgspec.UnsetType | object = msgspec.UNSET
    incomplete: bool = False
    """A stream that ended without its closing event (`wire.openai.assemble` says so)."""


_request = msgspec.json.Decoder(_Request)
_content = msgspec.json.Decoder(_Content)


def _joined(content: _Content) -> str:
    if isinstance(content, list):
        return "".join(part.text for part in content)
    return content or ""


def question_of(body: bytes) -> Question:
    """Read a captured request. Raises `ValueError` where it is not a chat completion."""
    try:
        request = _request.decode(body)
        turns = [turn for turn in request.messages if turn.role == "user"]
        text = _joined(_content.decode(turns[-1].content)).strip() if turns else None
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"the request is not a chat completion: {error}") from None
    return Question(text=text or None, body=body, parallel_tool_calls=request.parallel_tool_calls is not False)


def prompt_sha256(text: str) -> str:
    """The name of a prompt in a gold file: SHA-256 of the last user text, UTF-8, stripped, 64 hex digits."""
    return sha256(text.strip().encode(errors="surrogatepass")).hexdigest()


def answer_of(body: bytes) -> Answer:
    """Read a captured response, JSON or event stream. Raises `ValueError` where there is no answer in it."""
    start = body.lstrip()[:1]
    try:
        tree: Any = msgspec.json.decode(body) if start == b"{" else assemble(body)
        completion = msgspec.convert(tree, _Completion, strict=True)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise ValueError(f"the response is not a chat completion: {error}") from None
    if not completion.choices:
        raise ValueError("the response is not a chat completion: it has no choices")
    choice = completion.choices[0]
    if completion.error not in (msgspec.UNSET, None):
        raise ValueError("the response carries an error besides its beginning")
    if completion.incomplete and choice.finish_reason is None:
        raise ValueError("the response broke off before its end")
    calls = tuple(
        ToolCall(call.function.name or "", _arguments(call.function.arguments))
        for call in choice.message.tool_calls or ()
        if call.function is not None
    )
    return Answer(
        text=_joined(choice.message.content),
        tool_calls=calls,
        refusal=bool(choice.message.refusal) or choice.finish_reason == "content_filter",
        cut=choice.finish_reason == "length",
    )


def _arguments(value: str | dict[str, object] | None) -> str:
    """Arguments are a JSON text in a string; some hosts send the object itself."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    try:
        return msgspec.json.encode(value).decode()
    except RecursionError as error:
        raise ValueError(f"the response is not a chat completion: {error}") from None
