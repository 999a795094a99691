"""Answers that are not passed on as they come: those in another dialect than the client's, and those nobody reads."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from weighbridge.gateway.outgoing import lost_line
from weighbridge.gateway.refusal import status_line
from weighbridge.wire import openai
from weighbridge.wire.chat import NOTHING_SAID, AnswerFacts, word
from weighbridge.wire.conversation import Conversation, Dialect, Envelope, Failure, Loss
from weighbridge.wire.dialects import (
    ProviderFailedError,
    StreamTranslator,
    read_failure,
    status_for,
    surface,
    translate_answer,
    translate_to_stream,
    translated_headers,
    write_failure,
)
from weighbridge.wire.dialects.following import StreamFollower
from weighbridge.wire.dialects.stream import BROKEN

if TYPE_CHECKING:
    from weighbridge.gateway.exchange import Exchange
    from weighbridge.records.frames import Outcome

_LINE = re.compile(rb"\r\n([^:\r\n]+):[ \t]*([^\r\n]*)")


class Follow(Protocol):
    """What stands between the pieces of a provider's stream and the client."""

    over: bool
    whole: bool

    def feed(self, piece: bytes) -> bytes: ...

    def end(self) -> bytes: ...

    def fail(self, failure: Failure) -> bytes: ...

    def facts(self) -> AnswerFacts: ...


class Passing:
    """An answer that nobody reads: a file, a sound. Its break is seen by the missing end of the message."""

    over = False

    def __init__(self) -> None:
        self.whole = False

    def feed(self, piece: bytes) -> bytes:
        return piece

    def end(self) -> bytes:
        self.whole = True
        return b""

    def fail(self, failure: Failure) -> bytes:
        return b""

    def facts(self) -> AnswerFacts:
        return NOTHING_SAID


def follow_of(exchange: "Exchange") -> Follow | None:
    """For a stream that begins; `None` for chat to chat, which the relay passes on itself."""
    door, asked = exchange.door, exchange.asked
    if door.asked == "other":
        return Passing()
    if asked is not None:
        return StreamTranslator(exchange.lane.dialect, door.dialect, asked, envelope_of(exchange))
    return None if door.dialect == "openai" else StreamFollower(door.dialect)


def envelope_of(exchange: "Exchange") -> Envelope:
    return Envelope(exchange.id, exchange.wall_ns // 1_000_000_000)


def stream_outcome(follow: Follow, facts: AnswerFacts) -> "Outcome":
    if follow.whole and facts.error is None:
        return "ok"
    return "upstream_cut" if facts.error in (None, BROKEN) else "upstream_error"


def broken(follow: Follow, message: str, code: str) -> bytes:
    """The event that tells the client that its answer breaks off."""
    return follow.fail(Failure("server", message, 502, code))


class Whole(NamedTuple):
    """A JSON answer as the client gets it."""

    status: int
    kind: bytes
    """Content type."""
    body: bytes
    facts: AnswerFacts
    losses: Sequence[Loss]
    error: str | None
    """What the log says of it, where it is no good answer."""


def whole_answer(
    status: int, answer: bytes, upstream: Dialect, client: Dialect, asked: Conversation, envelope: Envelope
) -> Whole:
    """Raises `BadAnswer` where a good status comes with no answer of the dialect."""
    if not 200 <= status < 300:
        return _failed(read_failure(status, answer), client, NOTHING_SAID, f"upstream answered {status}")
    facts = openai.read_answer(answer) if upstream == "openai" else surface.read_answer(upstream, answer)
    try:
        if asked.stream:
            stream, losses = translate_to_stream(upstream, client, answer, asked, envelope)
            return Whole(status, b"text/event-stream", stream, facts, losses, None)
        body, said = translate_answer(upstream, client, answer, asked, envelope)
    except ProviderFailedError as error:
        return _failed(error.failure, client, facts, f"upstream answered {status} with an error inside")
    return Whole(status, b"application/json", body, facts, said.losses, None)


def _failed(failure: Failure, client: Dialect, facts: AnswerFacts, error: str) -> Whole:
    said = AnswerFacts(facts.usage, facts.usage_raw, facts.finish_reason, word(failure.code) or failure.kind)
    return Whole(status_for(client, failure), b"application/json", write_failure(client, failure), said, (), error)


def answer_head(exchange: "Exchange", head: bytes, status: int, kind: bytes, losses: Sequence[Loss]) -> bytes:
    """The head for the client up to what says where the body ends. Of the provider's lines those pass that say when to
    retry, what is left, and how the request is called there."""
    lines = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in _LINE.findall(head))
    passed = "".join(f"{name}: {value}\r\n" for name, value in translated_headers(exchange.door.dialect, lines))
    client = exchange.client
    return b"%b\r\ncontent-type: %b\r\n%b%b%bx-weighbridge-id: %b\r\nx-weighbridge-attempt: %d\r\n%b" % (
        status_line(status),
        kind,
        passed.encode("latin-1"),
        exchange.tag(),
        lost_line((*exchange.losses, *losses)),
        exchange.id.encode(),
        exchange.attempt,
        b"connection: close\r\n" if client is not None and client.close_after else b"",
    )
