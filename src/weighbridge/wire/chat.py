"""What a gateway needs to know of a chat request and of its answer, whatever the dialect."""

import msgspec

from weighbridge.records.usage import Usage
from weighbridge.wire.raw import RawObject


class Turns(msgspec.Struct, frozen=True, gc=False):
    """The start of a conversation, as raw JSON: enough to tell conversations and system prompts apart."""

    system: bytes | None
    """The content of the leading system or developer turns, joined by a line feed; `None` where there is none."""
    first_user: bytes
    """The content of the first user turn; the whole list of messages where there is none."""


class ChatRequest:
    """A parsed request: facts for routing beside the client's own bytes."""

    __slots__ = ("choices", "max_tokens", "model", "raw", "stream", "turns", "user", "wants_usage")

    def __init__(
        self,
        raw: RawObject,
        model: str,
        stream: bool,
        wants_usage: bool,
        max_tokens: int | None,
        choices: int,
        user: str | None,
    ) -> None:
        self.raw, self.model, self.stream, self.wants_usage = raw, model, stream, wants_usage
        self.max_tokens, self.choices, self.user = max_tokens, choices, user
        self.turns: Turns | None = None
        """Read on demand, by the dialect."""


class AnswerFacts(msgspec.Struct, frozen=True, gc=False):
    """What an answer says about itself. `None` is: it does not say."""

    usage: Usage | None = None
    usage_raw: bytes | None = None
    finish_reason: str | None = None
    error: str | None = None
    """The message of an error that came inside a 200, or as an event of a stream."""
    partial: bool = False
    """The usage stood on an event with choices: in a stream that was cut it may not be the last word."""


NOTHING_SAID = AnswerFacts()
