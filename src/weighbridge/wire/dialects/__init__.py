"""From one dialect to another. A request is read into a `Conversation` and written for the endpoint; an answer is read
into events and written for the client. Pure: bytes in, bytes and losses out.

    asked = read_request("anthropic", body)
    upstream_body, losses = write_request("openai", asked, Target(model="Qwen2.5-72B-Instruct"))
    if refused(losses): ...                                   # weighbridge.wire.carried
    client_body, answer = translate_answer("openai", "anthropic", upstream_answer, asked, envelope)
    stream = StreamTranslator("openai", "anthropic", asked, envelope)

Between the same dialect nothing is translated: the provider's bytes are passed on, and `surface` reads from Anthropic
and responses traffic what `weighbridge.wire.openai` reads from chat. `fields` reads JSON so that a field
nobody took becomes a loss. `events` are what happens in a stream, and `Ordered` puts interleaved pieces one after the
other. `reasoning` seals what a model wants back. `usages` and `failures` are the usage blocks and errors of each
dialect. `weighbridge.wire.carried` is the table of what each dialect has a place for.
"""

from collections.abc import Iterator

import msgspec

from weighbridge.wire.conversation import Answer, BadAnswer, Conversation, Dialect, Envelope, Failure, Loss, Target
from weighbridge.wire.dialects import (
    anthropic_answer,
    anthropic_request,
    anthropic_request_out,
    chat_answer,
    chat_answer_out,
    chat_request,
    chat_request_out,
    responses_answer,
    responses_answer_out,
    responses_request,
    responses_request_out,
)
from weighbridge.wire.dialects.events import Event, Failed, Gathered
from weighbridge.wire.dialects.failures import read_failure, status_for, translated_headers, write_failure
from weighbridge.wire.dialects.stream import StreamTranslator, reader_of, writer_of
from weighbridge.wire.refusal import BadRequest
from weighbridge.wire.sse import events_of

__all__ = [
    "DIALECTS", "PATHS", "ProviderFailedError", "StreamTranslator", "answer_dialect", "read_answer", "read_failure",
    "read_request",
    "refusal", "status_for", "translate_answer", "translate_to_stream", "translated_headers", "write_answer",
    "write_failure", "write_request",
]  # fmt: skip

FIRST_EVENT_BYTES = 1 << 20

DIALECTS: tuple[Dialect, ...] = ("openai", "anthropic", "openai-responses")

PATHS: dict[Dialect, str] = {"openai": "/chat/completions", "anthropic": "/messages", "openai-responses": "/responses"}
"""Below the base URL, which ends in `/v1` at most hosts."""

_READ = {
    "openai": chat_request.read_request,
    "anthropic": anthropic_request.read_request,
    "openai-responses": responses_request.read_request,
}
_WRITE = {
    "openai": chat_request_out.write_request,
    "anthropic": anthropic_request_out.write_request,
    "openai-responses": responses_request_out.write_request,
}
_READ_ANSWER = {
    "openai": chat_answer.read_answer,
    "anthropic": anthropic_answer.read_answer,
    "openai-responses": responses_answer.read_answer,
}
_WRITE_ANSWER = {
    "openai": chat_answer_out.write_answer,
    "anthropic": anthropic_answer.write_answer,
    "openai-responses": responses_answer_out.write_answer,
}


class ProviderFailedError(Exception):
    """An answer with status 200 that is an error. `failure` says which."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def read_request(client: Dialect, body: bytes) -> Conversation:
    """Raises `BadRequest` for anything that is no request of the dialect. What no other dialect has a place for is in
    `losses`."""
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise BadRequest(f"the body is not UTF-8: byte {error.start} is wrong", code="invalid_json") from None
    return _READ[client](body)


def write_request(upstream: Dialect, asked: Conversation, target: Target) -> tuple[bytes, tuple[Loss, ...]]:
    """The body for the endpoint, and everything that the request says and the body does not."""
    body, losses = _WRITE[upstream](asked, target)
    return body, tuple(dict.fromkeys(asked.losses + losses))


def _gathered(upstream: Dialect, events: Iterator[Event]) -> Gathered:
    gathered = Gathered()
    for event in events:
        if isinstance(event, Failed):
            raise ProviderFailedError(event.failure)
        gathered.add(event)
    if not gathered.closed:
        raise BadAnswer(f"the provider's answer does not say how it ended, which a whole answer of {upstream} does")
    return gathered


def read_answer(upstream: Dialect, body: bytes) -> Answer:
    """A whole answer, JSON or event stream. Raises `BadAnswer` where it is none or is not whole, `ProviderFailedError`
    where it is an error."""
    if body.lstrip()[:1] == b"{":
        return _gathered(upstream, _READ_ANSWER[upstream](body)).answer()
    return _gathered(upstream, _stream_events(upstream, body)).answer()


def _stream_events(upstream: Dialect, stream: bytes) -> Iterator[Event]:
    reader = reader_of(upstream)
    for data in events_of(stream):
        yield from reader.read(data)
    yield from reader.end()


class _Shape(msgspec.Struct):
    choices: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    type: str | None = None
    object: str | None = None


_shape = msgspec.json.Decoder(_Shape).decode


def answer_dialect(body: bytes) -> Dialect:
    """Whose answer these bytes are, JSON or event stream. Anything that is not plainly another one's is chat's."""
    first = body if body.lstrip()[:1] == b"{" else next(events_of(body[:FIRST_EVENT_BYTES]), b"")
    try:
        shape = _shape(first)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return "openai"
    if shape.choices is not msgspec.UNSET:
        return "openai"
    if shape.object == "response" or (shape.type or "").startswith("response."):
        return "openai-responses"
    return "anthropic" if shape.type in ("message", "message_start", "ping", "error") else "openai"


def write_answer(client: Dialect, answer: Answer, asked: Conversation, envelope: Envelope) -> bytes:
    return _WRITE_ANSWER[client](answer, asked, envelope)


def translate_answer(
    upstream: Dialect, client: Dialect, body: bytes, asked: Conversation, envelope: Envelope
) -> tuple[bytes, Answer]:
    """The client's JSON answer, and what it says. Raises as `read_answer` does."""
    answer = read_answer(upstream, body)
    return write_answer(client, answer, asked, envelope), answer


def translate_to_stream(
    upstream: Dialect, client: Dialect, body: bytes, asked: Conversation, envelope: Envelope
) -> tuple[bytes, tuple[Loss, ...]]:
    """A JSON answer to a client that asked for a stream. Raises as `read_answer` does."""
    whole = read_answer(upstream, body)
    writer = writer_of(client, asked, envelope)
    return b"".join(map(writer.write, _READ_ANSWER[upstream](body))), whole.losses


def refusal(error: BadRequest) -> Failure:
    """A request that could not be read, as an error for its client."""
    return Failure("invalid_request", str(error), 400, error.code, error.param)
