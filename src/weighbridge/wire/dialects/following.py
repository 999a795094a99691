"""A stream that is passed on as it comes, and looked at: Anthropic messages and responses, to clients of their own.

The same surface as `StreamTranslator`. Only the few events that say how an answer began and ended are read; pieces of
text go by unread. Every byte of the provider's goes to the client.
"""

import re

from weighbridge.wire.carried import STOP_OF
from weighbridge.wire.chat import AnswerFacts, word
from weighbridge.wire.conversation import BadAnswer, Dialect, Failure
from weighbridge.wire.dialects.events import (
    CallBegan,
    CallEnded,
    CallPiece,
    Failed,
    Gathered,
    ReasoningPiece,
    ReasoningSealed,
    RefusalPiece,
    TextPiece,
)
from weighbridge.wire.dialects.failures import write_failure
from weighbridge.wire.dialects.fields import encode
from weighbridge.wire.dialects.stream import EVENT_BYTES_MAX, reader_of
from weighbridge.wire.sse import EventHold, events_of

CONTENT = (TextPiece, RefusalPiece, ReasoningPiece, ReasoningSealed, CallBegan, CallPiece, CallEnded)
"""What an answer says; a gateway that passes it on needs none of it."""

_TELLING = {
    "anthropic": re.compile(rb'"(?:message_(?:start|delta|stop)|error|server_tool_use)"'),
    "openai-responses": re.compile(
        rb'"(?:response\.(?:created|output_item\.added|completed|incomplete|failed)|error)"'
    ),
}
_OWN_TOOL = b'"server_tool_use"'


class StreamFollower:
    """`feed` what the provider sends, `end` when it has closed; both give what goes to the client: the same bytes, cut
    into whole events. `over` once the dialect's own last event was there; `fail` is an event of our own."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        # The last event of a responses stream repeats the whole answer: it needs the room.
        self._hold = EventHold(EVENT_BYTES_MAX)
        self._reader = reader_of(dialect)
        self._telling = _TELLING[dialect]
        self._said = Gathered()
        self._events = 0
        self.over = self.whole = self._grows = False

    def feed(self, piece: bytes) -> bytes:
        passing, whole = self._hold.feed(piece)
        if whole:
            self._look(whole)
        return passing + whole

    def end(self) -> bytes:
        left = self._hold.flush()
        if left:
            self._look(left)
        return left

    def fail(self, failure: Failure) -> bytes:
        """What is held back of an unfinished event is dropped: only then can an event of ours follow."""
        self.over = True
        self._said.add(Failed(failure))
        start = b"\n\n" if self._hold.passing else b""
        if self._dialect == "anthropic":
            return start + b"event: error\ndata: " + write_failure("anthropic", failure) + b"\n\n"
        row = {
            "type": "error", "code": failure.code, "message": failure.message, "param": failure.param,
            "sequence_number": self._events,
        }  # fmt: skip
        return start + b"event: error\ndata: " + encode(row) + b"\n\n"

    def facts(self) -> AnswerFacts:
        said = self._said
        reason = STOP_OF[said.finish.reason].openai if said.finish is not None else None
        failure = said.failure
        error = None if failure is None else word(failure.code) or failure.kind
        return AnswerFacts(said.usage, said.usage_raw, reason, error, partial=not self.whole, grows=self._grows)

    def _look(self, whole: bytes) -> None:
        self._events += whole.count(b"data:")
        if self._telling.search(whole) is None:
            return
        for data in events_of(whole):
            found = self._telling.search(data)
            if found is None:
                continue
            self._grows = self._grows or found[0] == _OWN_TOOL
            try:
                for event in self._reader.read(data):
                    if not isinstance(event, CONTENT):
                        self._said.add(event)
            except BadAnswer:
                continue  # the client will say what it thinks of it
        if self._said.closed:
            self.over = self.whole = True
