"""How much an answer has said: a bound on its tokens that needs no tokenizer."""

from typing import Any

import msgspec

from weighbridge.wire.sse import events_of

_decode = msgspec.json.Decoder().decode
_PARTS = ("choices", "delta", "content_block")
"""Where an event of a stream holds text, in any dialect: chat, messages, responses."""


def text_bytes(stream: bytes) -> int:
    """At most so many tokens stand in the events of a stream: a token is at least one byte of text, in UTF-8.

    One more is counted for each event, for tokens that leave no text. An event that cannot be read, as the last one of
    a stream that was cut, counts with all of its bytes.
    """
    total = 0
    for data in events_of(stream):
        if data == b"[DONE]":
            continue
        try:
            event = _decode(data)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            total += len(data)
            continue
        total += 1
        if isinstance(event, dict):
            total += sum(_text_in(event.get(part)) for part in _PARTS)
    return total


def _text_in(value: Any) -> int:
    """Bytes of all strings within."""
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, dict):
        return sum(map(_text_in, value.values()))
    if isinstance(value, list):
        return sum(map(_text_in, value))
    return 0
