"""A stream in one dialect becomes a stream in another: bytes in, bytes out, whatever pieces they come in."""

import re
from collections.abc import Iterable, Iterator
from typing import Protocol

from weighbridge.wire.carried import STOP_OF
from weighbridge.wire.chat import AnswerFacts, word
from weighbridge.wire.conversation import Answer, BadAnswer, Conversation, Dialect, Envelope, Failure, Loss
from weighbridge.wire.dialects import (
    anthropic_answer,
    chat_answer,
    chat_answer_out,
    responses_answer,
    responses_answer_out,
)
from weighbridge.wire.dialects.events import Closed, Event, Failed, Gathered, Pinged
from weighbridge.wire.dialects.failures import read_failure
from weighbridge.wire.sse import EventHold, data_of

EVENT_BYTES_MAX = 8 << 20
"""A larger event ends a translated stream with an error: it cannot be passed on unread."""

BROKEN = "upstream_broken"
"""The code of an answer that is not whole, or not what its dialect says."""

_END = re.compile(rb"\n\r?\n")


class Reader(Protocol):
    def read(self, data: bytes) -> Iterator[Event]: ...

    def end(self) -> Iterator[Event]: ...


class Writer(Protocol):
    def write(self, event: Event) -> bytes: ...

    def fail(self, failure: Failure) -> bytes: ...


def reader_of(dialect: Dialect) -> Reader:
    if dialect == "anthropic":
        return anthropic_answer.AnthropicReader()
    if dialect == "openai-responses":
        return responses_answer.ResponsesReader()
    return chat_answer.ChatReader()


def writer_of(dialect: Dialect, asked: Conversation, envelope: Envelope) -> Writer:
    if dialect == "anthropic":
        return anthropic_answer.AnthropicWriter(asked, envelope)
    if dialect == "openai-responses":
        return responses_answer_out.ResponsesWriter(asked, envelope)
    return chat_answer_out.ChatWriter(asked, envelope)


class StreamTranslator:
    """`feed` what the provider sends, `end` when it has closed; both give the bytes for the client.

    The client always learns how it ended: with the last event of its dialect where the answer is whole, with an error
    event where it is not. Once `over`, nothing more is written. `fail` ends the stream with an error of our own.
    """

    def __init__(self, upstream: Dialect, client: Dialect, asked: Conversation, envelope: Envelope) -> None:
        self._hold = EventHold(EVENT_BYTES_MAX)
        self._reader = reader_of(upstream)
        self._writer = writer_of(client, asked, envelope)
        self._gathered = Gathered()
        self._answer: Answer | None = None
        self._seen = False
        self.over = False
        self.whole = False
        """The answer is complete and the client was told so."""

    def feed(self, piece: bytes) -> bytes:
        if self.over:
            return b""
        passing, whole = self._hold.feed(piece)
        if passing:
            return self._broken(f"the provider sent an event of more than {EVENT_BYTES_MAX} bytes")
        return b"".join(self._read(whole)) if whole else b""

    def end(self) -> bytes:
        if self.over:
            return b""
        left = self._hold.flush()
        written = b"".join(self._read(left)) if left.strip() else b""
        if not self.over:
            written += b"".join(self._write(self._reader.end()))
        if not self.over:
            if not self._seen and left.lstrip()[:1] == b"{":
                return written + self.fail(read_failure(502, left))
            written += self._broken("the provider broke off in the middle of the answer")
        return written

    def fail(self, failure: Failure) -> bytes:
        if self.over:
            return b""
        self.over = True
        self._gathered.add(Failed(failure))
        return self._writer.fail(failure)

    @property
    def answer(self) -> Answer:
        """What was said, as far as it came. Ask once the stream is over."""
        if self._answer is None:
            self._answer = self._gathered.answer()
        return self._answer

    @property
    def losses(self) -> tuple[Loss, ...]:
        return tuple(self._gathered.losses)

    def facts(self) -> AnswerFacts:
        """For the exchange's record, as `read_stream` gives them where nothing is translated; finish reasons in chat's
        words, so that arms can be compared."""
        said = self._gathered
        reason = STOP_OF[said.finish.reason].openai if said.finish is not None else None
        failure = said.failure
        # A word, never the message: providers put prompts and keys there.
        error = None if failure is None else word(failure.code) or failure.kind
        return AnswerFacts(said.usage, said.usage_raw, reason, error, partial=not self.whole)

    def _broken(self, message: str) -> bytes:
        return self.fail(Failure("server", message, 502, BROKEN))

    def _read(self, whole: bytes) -> Iterator[bytes]:
        at = 0
        for end in (*(found.end() for found in _END.finditer(whole)), len(whole)):
            event, at = whole[at:end], end
            data = data_of(event)
            if self.over:
                return
            if data:
                self._seen = True
                yield from self._write(self._reader.read(data))
            elif event[:1] == b":":
                yield from self._write((Pinged(),))

    def _write(self, events: Iterable[Event]) -> Iterator[bytes]:
        try:
            for event in events:
                if self.over:
                    return
                self._gathered.add(event)
                written = self._writer.write(event)
                if isinstance(event, Closed | Failed):
                    self.over, self.whole = True, isinstance(event, Closed)
                yield written
        except BadAnswer as error:
            yield self._broken(str(error))
