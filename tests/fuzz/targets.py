"""What is fed with bytes from strangers: one function per surface, which raises where a promise is broken.

Each takes any bytes and returns nothing, so that hypothesis and atheris can drive the same functions. The first bytes
decide how the rest is cut into pieces.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from tests.fuzz.answers import ENVELOPE, usage_block, whole
from tests.fuzz.cutting import pieces
from tests.fuzz.kept import config, redaction
from tests.fuzz.provider_side import provider
from tests.gateway.running import chat, request_bytes
from tests.gateway.side import Side
from weighbridge.gateway.client import Client
from weighbridge.wire import openai
from weighbridge.wire.conversation import Dialect, Target
from weighbridge.wire.dialects import DIALECTS, StreamTranslator, read_request, surface, write_request
from weighbridge.wire.dialects.following import StreamFollower
from weighbridge.wire.refusal import BadRequest
from weighbridge.wire.sse import EventHold, without_usage

BUFFER: Final = 1024
"""An event that is longer passes through a hold in parts."""


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


def passed_body(data: bytes) -> None:
    """Any body at an endpoint of its own dialect: refused as bad, or what goes out is what came in, but for the
    declared edits."""
    for dialect in DIALECTS:
        try:
            sent, edits = _edited(dialect, data)
        except BadRequest:
            continue
        before, after = msgspec.json.decode(data), msgspec.json.decode(sent)
        changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
        assert changed <= set(edits), (changed, edits)
        assert "other" == after["model"]


def _edited(dialect: Dialect, data: bytes) -> tuple[bytes, tuple[str, ...]]:
    """What a gateway reads of a request on the way, and what it sends."""
    if dialect == "openai":
        request = openai.parse_request(data)
        openai.first_user_of(request)
        openai.tools_of(request), openai.response_schema(request)
        return openai.edited(request, "other", b'"other"', None)
    request = surface.parse_request(dialect, data)
    surface.first_user_of(dialect, request)
    surface.tools_of(request), surface.response_schema(dialect, request)
    return surface.edited(dialect, request, "other", b'"other"', None)


def translated_body(data: bytes) -> None:
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


def passed_stream(data: bytes) -> None:
    """Any stream in any pieces comes out as it came in, whole events stay whole, and what is read of it does not depend
    on the pieces."""
    parts = pieces(data)
    whole_stream = b"".join(parts)
    assert whole_stream == b"".join(_held(parts))
    hold = EventHold(BUFFER)
    for part in parts:
        _, events = hold.feed(part)
        assert not events or events.endswith((b"\n\n", b"\n\r\n")), events
    at_once = without_usage(whole_stream)
    assert at_once == without_usage(at_once), "taken out twice is another stream"
    assert len(at_once) <= len(whole_stream)
    for dialect in DIALECTS[1:]:
        cut, uncut = StreamFollower(dialect), StreamFollower(dialect)
        assert whole_stream == b"".join([*map(cut.feed, parts), cut.end()])
        assert whole_stream == uncut.feed(whole_stream) + uncut.end()
        assert cut.facts() == uncut.facts()


def translated_stream(data: bytes) -> None:
    """Any stream of a provider, translated for a client of each other dialect: whole events, the same in any pieces."""
    asked = read_request("openai", chat(stream=True))
    parts = pieces(data)
    for upstream in DIALECTS:
        for client in DIALECTS:
            if upstream == client:
                continue
            cut, uncut = (StreamTranslator(upstream, client, asked, ENVELOPE) for _ in range(2))
            written = b"".join([*map(cut.feed, parts), cut.end()])
            assert not written or written.endswith(b"\n\n"), "a client needs whole events"
            assert written == uncut.feed(b"".join(parts)) + uncut.end()
            assert cut.facts() == uncut.facts()
            assert cut.over


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "http": http,
    "http_after_a_request": http_after_a_request,
    "provider": provider,
    "passed_body": passed_body,
    "translated_body": translated_body,
    "passed_stream": passed_stream,
    "translated_stream": translated_stream,
    "whole_answer": whole,
    "usage_block": usage_block,
    "redaction": redaction,
    "config": config,
}
