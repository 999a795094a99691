"""What was asked and what was answered, out of the bytes of a conversation in any dialect."""

from hashlib import sha256
from typing import Any

import msgspec

from weighbridge.wire.conversation import Answer as SaidAnswer
from weighbridge.wire.conversation import BadAnswer, Call, Refusal, Text
from weighbridge.wire.dialects import ProviderFailedError, answer_dialect, read_answer
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
    later: bool = False
    """The request holds answers that a model gave earlier: a later turn of a conversation, or a step of an agent."""


class _Part(msgspec.Struct):
    type: str = ""
    text: str = ""


_Content = str | list[_Part] | None


class _Turn(msgspec.Struct):
    role: str = ""
    type: str = ""
    content: msgspec.Raw = msgspec.Raw(b"null")


class _Choosing(msgspec.Struct):
    disable_parallel_tool_use: bool | None = None


class _Request(msgspec.Struct):
    """A chat completion, a message or a response: the names that are there say which."""

    messages: list[_Turn] = []
    input: str | list[_Turn] = []
    parallel_tool_calls: bool | None = None
    tool_choice: str | _Choosing | None = None


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
    """Read a captured request. Raises `ValueError` where it is not a conversation."""
    try:
        request = _request.decode(body)
        text = request.input if isinstance(request.input, str) else None
        turns = request.messages or (request.input if isinstance(request.input, list) else [])
        said = [_joined(_content.decode(turn.content)) for turn in turns if turn.role == "user"]
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"the request is not a conversation: {error}") from None
    if said:
        # Where results of tools stand in user turns too, the last turn with a text is the question.
        text = next((one for one in reversed(said) if one.strip()), said[-1])
    choosing = request.tool_choice if isinstance(request.tool_choice, _Choosing) else _Choosing()
    parallel = request.parallel_tool_calls is not False and choosing.disable_parallel_tool_use is not True
    # A call of a tool stands in OpenAI's responses as an item without a role.
    later = any(turn.role == "assistant" or turn.type in ("function_call", "reasoning") for turn in turns)
    return Question(text=(text or "").strip() or None, body=body, parallel_tool_calls=parallel, later=later)


def prompt_sha256(text: str) -> str:
    """The name of a prompt in a gold file: SHA-256 of the last user text, UTF-8, stripped, 64 hex digits."""
    return sha256(text.strip().encode(errors="surrogatepass")).hexdigest()


def answer_of(body: bytes) -> Answer:
    """Read a captured response, JSON or event stream, in any dialect. Raises `ValueError` where there is no answer in
    it."""
    dialect = answer_dialect(body)
    if dialect == "openai":
        return _chat_answer(body)
    try:
        said = read_answer(dialect, body)
    except ProviderFailedError as error:
        raise ValueError("the response carries an error besides its beginning") from error
    except (BadAnswer, RecursionError) as error:
        raise ValueError(f"the response is not whole, or none of its dialect: {error}") from None
    return _translated(said)


def _translated(said: SaidAnswer) -> Answer:
    reason = said.finish.reason if said.finish is not None else None
    refusal = "".join(part.text for part in said.parts if isinstance(part, Refusal))
    return Answer(
        text="".join(part.text for part in said.parts if isinstance(part, Text)),
        tool_calls=tuple(ToolCall(part.name, part.arguments) for part in said.parts if isinstance(part, Call)),
        refusal=bool(refusal) or reason == "filter",
        cut=reason in ("length", "context"),
    )


def _chat_answer(body: bytes) -> Answer:
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
