"""What a gateway needs of Anthropic and responses traffic that it does not translate: a few facts, and declared edits.

The same surface as `weighbridge.wire.openai` offers for chat, by dialect: the client's bytes stay as they are.
"""

from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from weighbridge.wire.carried import STOP_OF
from weighbridge.wire.chat import NOTHING_SAID, AnswerFacts, ChatRequest, Turns, word
from weighbridge.wire.conversation import BadAnswer, Dialect
from weighbridge.wire.dialects import anthropic_answer, responses_answer
from weighbridge.wire.dialects.events import (
    CallBegan,
    CallEnded,
    CallPiece,
    Event,
    Gathered,
    ReasoningPiece,
    ReasoningSealed,
    RefusalPiece,
    TextPiece,
)
from weighbridge.wire.dialects.fields import Raw, encode
from weighbridge.wire.dialects.stream import reader_of
from weighbridge.wire.raw import RawObject
from weighbridge.wire.refusal import BadRequest
from weighbridge.wire.sse import events_of

T = TypeVar("T")

_text = msgspec.json.Decoder(str).decode
_text_or_null = msgspec.json.Decoder(str | None).decode
_flag_or_null = msgspec.json.Decoder(bool | None).decode
_count_or_null = msgspec.json.Decoder(int | None).decode
_UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)
_NULL = Raw(b"null")
_SYSTEM_FIELD = {"anthropic": "system", "openai-responses": "instructions"}
_LIMIT_FIELD = {"anthropic": "max_tokens", "openai-responses": "max_output_tokens"}
TOKENS_MAX = 1 << 31
CONTENT = (TextPiece, RefusalPiece, ReasoningPiece, ReasoningSealed, CallBegan, CallPiece, CallEnded)


class _User(msgspec.Struct):
    user_id: str | None = None


class _Row(msgspec.Struct):
    role: str | None = None
    content: Raw = Raw(b"")


_user = msgspec.json.Decoder(_User).decode
_rows = msgspec.json.Decoder(list[_Row]).decode


def parse_request(client: Dialect, body: bytes) -> ChatRequest:
    """What routing needs. Raises `BadRequest`. Usage comes with every stream of these dialects."""
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise BadRequest(f"the body is not UTF-8: byte {error.start} is wrong", code="invalid_json") from None
    raw = RawObject(body)
    model = _field(raw, "model", _text, "a string")
    stream = _field(raw, "stream", _flag_or_null, "true or false") is True
    name = _LIMIT_FIELD[client]
    limit = _field(raw, name, _count_or_null, "a whole number")
    if limit is not None and not 0 <= limit <= TOKENS_MAX:
        message = f"{name!r} must be a whole number from 0 to {TOKENS_MAX}, not {limit}"
        raise BadRequest(message, param=name, code="invalid_value")
    user = None
    if client == "openai-responses":
        user = _field(raw, "safety_identifier", _text_or_null, "a string")
        user = user or _field(raw, "user", _text_or_null, "a string")
    elif raw.fields.get("metadata", _NULL) != _NULL:
        user = _field(raw, "metadata", _user, "an object whose 'user_id' is a string").user_id
    return ChatRequest(raw, model, stream, True, limit, 1, user)


def _field(raw: RawObject, name: str, decode: Callable[[Raw], T], expected: str) -> T:
    value = raw.fields.get(name)
    if value is None and name == "model":
        raise BadRequest("the field 'model' is missing", param="model", code="missing_required_parameter")
    try:
        return decode(_NULL if value is None else value)
    except _UNREADABLE:
        shown = bytes(value or b"")[:40].decode(errors="replace")
        raise BadRequest(f"{name!r} must be {expected}, not {shown}", param=name, code="invalid_type") from None


def turns_of(client: Dialect, request: ChatRequest) -> Turns:
    """The system prompt and the first user turn, as raw JSON."""
    turns = request.turns
    if turns is None:
        system = _set(request, _SYSTEM_FIELD[client])
        spoken = request.raw.fields.get("messages" if client == "anthropic" else "input", Raw(b""))
        turns = request.turns = Turns(system, _first_user(spoken))
    return turns


def first_user_of(client: Dialect, request: ChatRequest) -> bytes:
    return turns_of(client, request).first_user


def _first_user(spoken: Raw) -> bytes:
    try:
        rows = _rows(spoken)
    except _UNREADABLE:
        return bytes(spoken)
    return next((bytes(row.content) for row in rows if row.role == "user"), bytes(spoken))


def _set(request: ChatRequest, name: str) -> bytes | None:
    value = request.raw.fields.get(name)
    return None if value is None or value == _NULL else bytes(value)


def tools_of(request: ChatRequest) -> bytes | None:
    return _set(request, "tools")


def response_schema(client: Dialect, request: ChatRequest) -> bytes | None:
    """The raw `output_config` or `text`, `None` where the request has none."""
    return _set(request, "output_config" if client == "anthropic" else "text")


def edited(
    client: Dialect, request: ChatRequest, model: str, model_json: bytes, system_prompt: str | None
) -> tuple[bytes, tuple[str, ...]]:
    """The body for the provider and the names of what was changed in it: `model`, `system_prompt`."""
    edits: dict[str, bytes] = {}
    if request.model != model:
        edits["model"] = model_json
    names = tuple(edits)
    if system_prompt is not None:
        edits[_SYSTEM_FIELD[client]] = encode(system_prompt)
        names = (*names, "system_prompt")
    return (request.raw.spliced(edits) if edits else request.raw.body), names


def read_answer(upstream: Dialect, body: bytes) -> AnswerFacts:
    """Usage, finish reason and a possible error of a JSON answer."""
    read = anthropic_answer.read_answer if upstream == "anthropic" else responses_answer.read_answer
    return _facts(read(body))


def read_stream(upstream: Dialect, stream: bytes) -> AnswerFacts:
    """The same of a stream. Give it the whole, or its start and its end: Anthropic counts the input at the start."""
    reader = reader_of(upstream)

    def happened() -> Iterator[Event]:
        for data in events_of(stream):
            try:
                yield from reader.read(data)
            except BadAnswer:
                continue  # an event that was cut in two: where start meets end, or at a break

    return _facts(happened())


def _facts(events: Iterator[Event]) -> AnswerFacts:
    said = Gathered()
    try:
        for event in events:
            if not isinstance(event, CONTENT):
                said.add(event)
    except BadAnswer:
        return NOTHING_SAID
    reason = STOP_OF[said.finish.reason].openai if said.finish is not None else None
    failure = said.failure
    error = None if failure is None else word(failure.code) or failure.kind
    return AnswerFacts(said.usage, said.usage_raw, reason, error, partial=not said.closed)
