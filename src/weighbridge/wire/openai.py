"""The OpenAI chat dialect: `POST /v1/chat/completions` and its answers, JSON and event stream."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice

import msgspec

from weighbridge.wire.assembly import ToolCall, answer_text, assemble, tool_calls
from weighbridge.wire.chat import NOTHING_SAID, AnswerFacts, ChatRequest, Turns, word
from weighbridge.wire.openai_answer import ABSENT, Answer, Loose, answer_of, error_of, loose_of
from weighbridge.wire.raw import RawObject
from weighbridge.wire.refusal import BadRequest
from weighbridge.wire.sse import last_events
from weighbridge.wire.usage import tier_of, usage_of

__all__ = [
    "PATH", "ToolCall", "answer_text", "assemble", "edited", "error_body", "error_event", "first_user_of",
    "parse_request", "read_answer", "read_stream", "response_schema", "tool_calls", "tools_of", "turns_of", "usage_of",
]  # fmt: skip

PATH = "/chat/completions"
"""Below the base URL, which ends in `/v1` at most hosts."""

TOKENS_MAX = 1 << 31
CHOICES_MAX = 128
STREAM_EVENTS_READ_MAX = 12
"""How many events from a stream's end are searched for usage, finish reason and error."""

MESSAGES_AT_ONCE_BYTES_MAX = 16 << 10
"""Past this a list of messages is decoded one by one: only its start is needed."""

SYSTEM_TURNS_MAX = 1024
"""How many leading system and developer turns are read: each takes some microseconds of the gateway's loop."""

_NULL = msgspec.Raw(b"null")
_MODEL_EDITED = ("model",)
_NOTHING = (ABSENT, _NULL)
_USER = msgspec.Raw(b'"user"')
_SYSTEM = (msgspec.Raw(b'"system"'), msgspec.Raw(b'"developer"'))

_text = msgspec.json.Decoder(str).decode
_text_or_null = msgspec.json.Decoder(str | None).decode
_flag_or_null = msgspec.json.Decoder(bool | None).decode
_count_or_null = msgspec.json.Decoder(int | None).decode
_objects = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode
_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode
_scan = json.JSONDecoder().raw_decode
PLAIN_TURNS_MAX = 16
ESCAPES_LOOKED_AT_MAX = 256
_BACKSLASH = 0x5C
_PLAIN_TURN = re.compile(
    rb'[ \t\r\n]*[\[,][ \t\r\n]*\{[ \t\r\n]*"role"[ \t\r\n]*:[ \t\r\n]*"(user|system|developer)"'
    rb'[ \t\r\n]*,[ \t\r\n]*"content"[ \t\r\n]*:[ \t\r\n]*"'
)
_USER_TEXT = re.compile(rb'"user"[ \t\r\n]*,[ \t\r\n]*"content"[ \t\r\n]*:[ \t\r\n]*"')
_TURN_ENDS = re.compile(rb"[ \t\r\n]*\}")
_GAP = re.compile(r"[ \t\r\n]*")
_COMMA = re.compile(r"[ \t\r\n]*,?[ \t\r\n]*")


# --- requests ---------------------------------------------------------------------------------------------------------


def parse_request(body: bytes) -> ChatRequest:
    """Read what routing needs. Raises `BadRequest`; fields that the gateway does not judge are not looked at."""
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise BadRequest(f"the body is not UTF-8: byte {error.start} is wrong", code="invalid_json") from None
    raw = RawObject(body)
    fields = raw.fields
    try:
        model = _text(fields.get("model", _NULL))
        stream = "stream" in fields and _flag_or_null(fields["stream"]) is True
        # Most requests lack most of these, and looking is cheaper than decoding.
        limit = _count_or_null(fields["max_completion_tokens"]) if "max_completion_tokens" in fields else None
        if not limit and "max_tokens" in fields:
            limit = _count_or_null(fields["max_tokens"])
        choices = _count_or_null(fields["n"]) if "n" in fields else None
        user = _text_or_null(fields["user"]) if "user" in fields else None
        wants_usage = not stream or _asks_usage(fields.get("stream_options"))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise _wrong_type(fields) from None
    if (limit is not None and not 0 < limit <= TOKENS_MAX) or (choices is not None and not 0 < choices <= CHOICES_MAX):
        raise _out_of_range(fields, limit, choices)
    return ChatRequest(raw, model, stream, wants_usage, limit, choices or 1, user)


_TYPES: tuple[tuple[str, Callable[[msgspec.Raw], object], str], ...] = (
    ("model", _text, "a string"),
    ("stream", _flag_or_null, "true or false"),
    ("max_completion_tokens", _count_or_null, "a whole number"),
    ("max_tokens", _count_or_null, "a whole number"),
    ("n", _count_or_null, "a whole number"),
    ("user", _text_or_null, "a string"),
)


def _wrong_type(fields: Mapping[str, msgspec.Raw]) -> BadRequest:
    """Which field it was: worked out only once something is wrong."""
    if "model" not in fields:
        return BadRequest("the field 'model' is missing", param="model", code="missing_required_parameter")
    for name, decode, expected in _TYPES:
        value = fields.get(name, _NULL if name != "model" else fields["model"])
        try:
            decode(value)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return BadRequest(f"{name!r} must be {expected}, not {_shown(value)}", param=name, code="invalid_type")
    shown = _shown(fields["stream_options"])
    message = f"'stream_options.include_usage' must be true or false; stream_options is {shown}"
    return BadRequest(message, param="stream_options", code="invalid_type")


def _out_of_range(fields: Mapping[str, msgspec.Raw], limit: int | None, choices: int | None) -> BadRequest:
    if choices is not None and not 0 < choices <= CHOICES_MAX:
        name, largest = "n", CHOICES_MAX
    else:
        name, largest = "max_completion_tokens" if "max_completion_tokens" in fields else "max_tokens", TOKENS_MAX
    shown = _shown(fields[name])
    return BadRequest(
        f"{name!r} must be a whole number from 1 to {largest}, not {shown}", param=name, code="invalid_value"
    )


def _shown(value: msgspec.Raw) -> str:
    return bytes(value)[:40].decode(errors="replace")


def _asks_usage(options: msgspec.Raw | None) -> bool:
    if options is None or options == _NULL:
        return False
    fields = RawObject(bytes(options), "'stream_options'").fields
    return _flag_or_null(fields.get("include_usage", _NULL)) is True


def turns_of(request: ChatRequest) -> Turns:
    """The system prompt and the first user turn. Reads no further than that turn, however long the conversation is,
    and no further than `SYSTEM_TURNS_MAX`: a first user turn after that many is not looked for.
    """
    turns = request.turns
    if turns is None:
        messages = request.raw.fields.get("messages", ABSENT)
        turns = _plain_turns(bytes(messages)) if len(messages) > MESSAGES_AT_ONCE_BYTES_MAX else None
        turns = request.turns = turns or _read_turns(messages)
    return turns


def first_user_of(request: ChatRequest) -> bytes:
    """The content of the first user turn, as `turns_of` gives it, by a shorter way where that turn is a plain text.

    Quotes within a JSON string are escaped, so `"user"` stands for itself. If the first one is the role of a turn whose
    text comes next, that is the turn.
    """
    if request.turns is None:
        messages = bytes(request.raw.fields.get("messages", ABSENT))
        at = messages.find(b'"user"')
        found = _USER_TEXT.match(messages, at) if at > 0 else None
        if found is not None and messages[at - 8 : at].rstrip().endswith(b'"role":'):
            start = found.end() - 1
            end = _text_end(messages, start + 1)
            if messages[end + 1 : end + 2] == b"}":
                return messages[start : end + 1]
    return turns_of(request).first_user


def _plain_turns(messages: bytes) -> Turns | None:
    """The short way for turns of a role and a text, in this order and with nothing else; `None` for any other form.

    Thirty times cheaper than the long way for long texts, a little dearer for short ones. A strict decoder has accepted
    these bytes, so a text ends at the first quote that is not escaped.
    """
    system: list[bytes] = []
    at = 0
    while (found := _PLAIN_TURN.match(messages, at)) is not None and len(system) < PLAIN_TURNS_MAX:
        start = found.end() - 1
        end = _text_end(messages, start + 1)
        closing = _TURN_ENDS.match(messages, end + 1)
        if end < 0 or closing is None:
            return None
        at = closing.end()
        content = messages[start : end + 1]
        if found[1] == b"user":
            return Turns(b"\n".join(system) if system else None, content)
        system.append(content)
    return None


def _text_end(text: bytes, at: int) -> int:
    """Where the quote is that ends a JSON string; -1 where that takes more looks than a decoder would cost."""
    for _ in range(ESCAPES_LOOKED_AT_MAX):
        end = text.find(b'"', at)
        if text[end - 1] != _BACKSLASH:
            return end
        before = text[max(0, end - ESCAPES_LOOKED_AT_MAX) : end]
        slashes = len(before) - len(before.rstrip(b"\\"))
        if slashes == len(before):
            break
        if slashes % 2 == 0:
            return end
        at = end + 1
    return -1


def _read_turns(messages: msgspec.Raw) -> Turns:
    system: list[bytes] = []
    for fields in islice(_leading(messages), SYSTEM_TURNS_MAX + 1):
        role = fields.get("role")
        if role == _USER:
            return Turns(b"\n".join(system) if system else None, bytes(fields.get("content", ABSENT)))
        if role in _SYSTEM:
            system.append(bytes(fields.get("content", ABSENT)))
    return Turns(b"\n".join(system) if system else None, bytes(messages))


def _leading(messages: msgspec.Raw) -> Iterable[Mapping[str, msgspec.Raw]]:
    """The messages from the first on, as raw fields. A long list is not decoded further than it is read.

    What is no list of objects has none: the provider will say what it thinks of it.
    """
    if len(messages) > MESSAGES_AT_ONCE_BYTES_MAX:
        return _leading_of_many(bytes(messages).decode())
    try:
        rows = _objects(messages)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ()
    if _encode(rows) == bytes(messages):  # as in `RawObject`: no name is repeated
        return rows
    return map(_message_fields, map(bytes, _list(messages)))


def _leading_of_many(text: str) -> Iterator[Mapping[str, msgspec.Raw]]:
    for start, end in _places(text):
        yield _message_fields(text[start:end].encode())


def _message_fields(message: bytes) -> Mapping[str, msgspec.Raw]:
    return RawObject(message, "a message").fields if message[:1] == b"{" else {}


def _places(text: str) -> Iterator[tuple[int, int]]:
    """Where each element of a JSON list stands. The text has been accepted by a strict decoder before."""
    at = _GAP.match(text, 1).end()  # type: ignore[union-attr]
    while text[:1] == "[" and text[at : at + 1] not in ("]", ""):
        end = _scan(text, at)[1]
        yield at, end
        at = _COMMA.match(text, end).end()  # type: ignore[union-attr]


def response_schema(request: ChatRequest) -> bytes | None:
    """The raw `response_format`, `None` where the request has none."""
    value = request.raw.fields.get("response_format")
    return None if value is None or value == _NULL else bytes(value)


def tools_of(request: ChatRequest) -> bytes | None:
    value = request.raw.fields.get("tools")
    return None if value is None or value == _NULL else bytes(value)


def edited(
    request: ChatRequest, model: str, model_json: bytes, system_prompt: str | None
) -> tuple[bytes, tuple[str, ...]]:
    """The body for the provider and the names of what was changed in it: `model`, `stream_options`, `system_prompt`.

    Usage is asked for in a stream whose client did not. A request that needs no change goes out as it came in.
    """
    if request.wants_usage and system_prompt is None:  # most requests
        if request.model == model:
            return request.raw.body, ()
        body = request.raw.body
        start, end = request.raw.span("model")
        return b"".join((body[:start], model_json, body[end:])), _MODEL_EDITED
    edits: dict[str, bytes] = {}
    names: tuple[str, ...] = ()
    if request.model != model:
        edits["model"], names = model_json, _MODEL_EDITED
    if not request.wants_usage:
        edits["stream_options"], names = (
            _with_usage(request.raw.fields.get("stream_options")),
            (*names, "stream_options"),
        )
    if system_prompt is not None:
        edits["messages"] = _with_system_prompt(bytes(request.raw.fields.get("messages", b"")), system_prompt)
        names = (*names, "system_prompt")
    return request.raw.spliced(edits), names


def _with_usage(options: msgspec.Raw | None) -> bytes:
    if options is None or options == _NULL:
        return b'{"include_usage":true}'
    return RawObject(bytes(options), "'stream_options'").spliced({"include_usage": b"true"})


def _with_system_prompt(messages: bytes, system_prompt: str) -> bytes:
    """The leading system and developer turns replaced by this prompt; put first where there are none."""
    text = messages.decode()
    if text[:1] != "[":
        raise BadRequest("'messages' must be a list of messages", param="messages", code="invalid_type")
    rest = "]"
    for number, (start, end) in enumerate(_places(text)):
        if number > SYSTEM_TURNS_MAX:
            raise BadRequest(
                f"'messages' begins with more than {SYSTEM_TURNS_MAX} system turns, and this route puts its own prompt "
                "in their place; join them",
                param="messages",
                code="too_many_system_turns",
            )
        if _message_fields(text[start:end].encode()).get("role") not in _SYSTEM:
            rest = "," + text[start:]
            break
    turn = _encode({"role": "system", "content": system_prompt})
    return b"[" + turn + rest.encode()


# --- answers ----------------------------------------------------------------------------------------------------------


def read_answer(body: bytes) -> AnswerFacts:
    """Usage, finish reason and a possible error of a JSON answer, or of the data of one stream event."""
    finish, partial = None, False
    try:
        answer: Answer | Loose = answer_of(body)
        if isinstance(answer, Answer) and answer.choices:
            finish, partial = answer.choices[0].finish_reason, True
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        try:
            answer = loose_of(body)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            return NOTHING_SAID
    raw = answer.usage
    if raw in _NOTHING:
        usage_raw, usage = None, None
    else:
        usage_raw, usage = bytes(raw), usage_of(raw, tier_of(answer.service_tier))
    error = None if answer.error in _NOTHING else _error_name(answer.error)
    return AnswerFacts(usage, usage_raw, finish, error, partial)


def _error_name(raw: msgspec.Raw) -> str:
    try:
        error = error_of(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return "error"
    return word(None if error.code is None else str(error.code)) or word(error.type) or "error"


def read_stream(tail: bytes) -> AnswerFacts:
    """The same of a stream, from its last events. `tail` may start in the middle of an event."""
    usage = usage_raw = finish = error = None
    partial = False
    for data in last_events(tail, STREAM_EVENTS_READ_MAX):
        if data == b"[DONE]":
            continue
        said = read_answer(data)
        if usage_raw is None and said.usage_raw is not None:
            usage, usage_raw, partial = said.usage, said.usage_raw, said.partial
        finish = finish or said.finish_reason
        error = error or said.error
        if usage_raw is not None and finish is not None:
            break
    return AnswerFacts(usage, usage_raw, finish, error, partial)


# --- our own errors ---------------------------------------------------------------------------------------------------


def error_body(message: str, kind: str, code: str | None, param: str | None = None) -> bytes:
    return _encode({"error": {"message": message, "type": kind, "param": param, "code": code}})


def error_event(message: str, kind: str, code: str) -> bytes:
    """An event that official clients raise as an error. Never followed by `[DONE]` or a clean end."""
    return b"data: " + error_body(message, kind, code) + b"\n\n"
