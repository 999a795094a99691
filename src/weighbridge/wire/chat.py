"""What a gateway needs to know of a chat request and of its answer, whatever the dialect."""

import re
from typing import Literal

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
    """The code, else the type, of an error that came inside a 200 or as an event of a stream; `error` where it has
    neither. Never its message: providers put prompts and keys there."""
    partial: bool = False
    """The usage stood on an event with choices: in a stream that was cut it may not be the last word."""
    grows: bool = False
    """The provider runs tools of its own within the answer: what it says to have read is not the last word either."""


NOTHING_SAID = AnswerFacts()


# --- what of an answer may stand in a row of the log, in clear -------------------------------------------------------

WORD_CHARS_MAX = 64
USAGE_RAW_BYTES_MAX = 4096

_WORD = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.:\-]{{0,{WORD_CHARS_MAX - 1}}}")
_NAMES = re.compile(rf'(?:[^"]++|"[A-Za-z0-9_.\-]{{1,{WORD_CHARS_MAX}}}+")*+'.encode())
_PriceWord = Literal[
    "auto", "batch", "default", "eu", "fast", "flex", "global", "high", "low", "medium", "not_available", "on_demand",
    "priority", "scale", "standard", "us",
]  # fmt: skip
"""What decides a price beside numbers (service tier, speed, place), where a provider says it within the block."""
_Said = int | float | bool | None | _PriceWord
_said = msgspec.json.Decoder(dict[str, _Said | dict[str, _Said | dict[str, _Said]]]).decode
_NUMBERS = re.compile(rf'[^"]*+(?:"[A-Za-z0-9_.\-]{{1,{WORD_CHARS_MAX}}}+"[ \t\r\n]*+:[^"]*+)*+'.encode())
"""JSON whose only strings are names of fields, of a plain form."""


def word(text: str | None) -> str | None:
    """A code or a finish reason; `None` for anything longer or freer than such words are."""
    return text if text is None or _WORD.fullmatch(text) else None


def plain_usage(raw: bytes | None) -> bytes | None:
    """A usage block (valid JSON) of numbers, and words of a closed list, byte for byte; `None` for any other."""
    if raw is None or len(raw) > USAGE_RAW_BYTES_MAX or raw[:1] != b"{":
        return None
    if _NUMBERS.fullmatch(raw):  # most blocks; the other way takes twice as long
        return raw
    try:
        _said(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
    return raw if _NAMES.fullmatch(raw) else None
