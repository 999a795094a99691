"""What is fed with bytes from strangers: one function per surface, which raises where a promise is broken.

Each takes any bytes and returns nothing, so that hypothesis and atheris can drive the same functions. The first bytes
decide how the rest is cut into pieces.
"""

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Final

import msgspec

from tests.gateway.running import chat, request_bytes
from tests.gateway.side import Side
from weighbridge.gateway.client import Client
from weighbridge.wire import openai
from weighbridge.wire.conversation import Envelope, Target
from weighbridge.wire.dialects import DIALECTS, StreamTranslator, read_request, write_request
from weighbridge.wire.refusal import BadRequest
from weighbridge.wire.sse import EventHold, without_usage

BUFFER: Final = 1024
"""An event that is longer passes through a hold in parts."""


def pieces(data: bytes) -> list[bytes]:
    """Up to four cuts, at places that the first four bytes name; the rest is what is cut."""
    places, rest = data[:4], data[4:]
    cuts = sorted({0, len(rest), *(place * len(rest) // 256 for place in places)})
    return [rest[start:end] for start, end in pairwise(cuts)]


# --- HTTP -------------------------------------------------------------------------------------------------------------


_STATUS = re.compile(rb"(?:^|[}\n])HTTP/1\.1 (\d{3}) ")
"""Of each answer: one begins the bytes, or stands behind the body or the head of the one before."""


def http(data: bytes) -> None:
    """Any bytes on a connection: answers are HTTP, none is an error of ours, nothing is kept without end."""
    side = Side(Client)
    written = side.send(pieces(data)).removesuffix(b"(end)")
    admitted = len(side.who())
    assert not written or written.startswith(b"HTTP/1.1 "), written[:40]
    ours = [int(status) for status in _STATUS.findall(written) if status >= b"500" and status != b"505"]
    # The endpoint of this gateway cannot be used: what is let in is answered with 503, and nothing else is.
    assert len(ours) <= admitted, (ours, admitted)
    assert set(ours) <= {503}, ours


def http_after_a_request(data: bytes) -> None:
    """The same behind a request whose head is known already."""
    http(data[:4] + request_bytes(chat()) + data[4:])


# --- JSON -------------------------------------------------------------------------------------------------------------


def chat_body(data: bytes) -> None:
    """Any body: refused as bad, or what goes out is what came in, but for the declared edits."""
    try:
        request = openai.parse_request(data)
        openai.first_user_of(request)
        sent, edits = openai.edited(request, "other", b'"other"', None)
    except BadRequest:
        return
    before, after = msgspec.json.decode(data), msgspec.json.decode(sent)
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    assert changed <= set(edits), (changed, edits)
    assert "other" == after["model"]


def messages_body(data: bytes) -> None:
    """Any body in any dialect: read and written for each other dialect, or refused as bad."""
    for dialect in DIALECTS:
        try:
            asked = read_request(dialect, data)
        except BadRequest:
            continue
        for other in DIALECTS:
            try:
                written, _ = write_request(other, asked, Target(model="other"))
            except BadRequest:
                continue
            msgspec.json.decode(written)


# --- streams ----------------------------------------------------------------------------------------------------------


def _held(parts: list[bytes]) -> Iterator[bytes]:
    hold = EventHold(BUFFER)
    for part in parts:
        passing, whole = hold.feed(part)
        yield passing
        yield whole
    yield hold.flush()


def event_stream(data: bytes) -> None:
    """Any stream in any pieces comes out as it came in, and whole events stay whole."""
    parts = pieces(data)
    whole = b"".join(parts)
    assert whole == b"".join(_held(parts))
    hold = EventHold(BUFFER)
    for part in parts:
        _, events = hold.feed(part)
        assert not events or events.endswith((b"\n\n", b"\n\r\n")), events


def without_our_usage(data: bytes) -> None:
    """Taking our usage out of whole events does not depend on how they came."""
    whole = b"".join(pieces(data))
    at_once = without_usage(whole)
    assert at_once == without_usage(at_once), "taken out twice is another stream"
    assert len(at_once) <= len(whole)


def translated_stream(data: bytes) -> None:
    """Any stream of a provider, translated for a client of each other dialect: whole events."""
    asked = read_request("openai", chat(stream=True))
    parts = pieces(data)
    for provider in DIALECTS:
        for client in DIALECTS:
            if provider == client:
                continue
            stream = StreamTranslator(provider, client, asked, ENVELOPE)
            written = b"".join([*map(stream.feed, parts), stream.end()])
            assert not written or written.endswith(b"\n\n"), "a client needs whole events"


ENVELOPE = Envelope(id="wb-1", created_s=0)

TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "http": http,
    "http_after_a_request": http_after_a_request,
    "chat_body": chat_body,
    "messages_body": messages_body,
    "event_stream": event_stream,
    "without_our_usage": without_our_usage,
    "translated_stream": translated_stream,
}
