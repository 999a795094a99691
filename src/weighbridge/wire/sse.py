"""Event streams as they arrive: in any pieces, whole events out.

Only whole events are passed on, so that an error event can always follow, and so that an event can be taken out again.
An event ends with an empty line (`LF LF` or `CRLF CRLF`). One that is larger than the limit is passed on as it comes:
bounded memory is worth more than a clean cut.
"""

import re
from collections.abc import Iterator

import msgspec

DONE = b"[DONE]\n\n"

_END = re.compile(rb"\n\r?\n")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_USAGE_OBJECT = re.compile(rb'"usage"\s*:\s*\{')
_NULL_USAGE = re.compile(rb',\s*"usage"\s*:\s*null(?=\s*[,}])')


class EventHold:
    """Holds back the last, unfinished event of a stream."""

    __slots__ = ("held", "limit", "open", "passing")

    def __init__(self, limit: int) -> None:
        self.limit, self.held = limit, b""
        self.passing = False
        """An oversized event is on its way: a part of it was passed on."""
        self.open = False
        """An event is unfinished, so the next piece must go through `feed`."""

    def feed(self, piece: bytes) -> tuple[bytes, bytes]:
        """`(passing, whole)`: bytes that pass untouched, being of an oversized event, then whole events."""
        passing = b""
        piece = self.held + piece
        if self.passing:
            found = _END.search(piece)
            if found is None:
                # The end of the event may be split over two pieces: three bytes wait.
                self.held = piece[-3:]
                return piece[:-3], b""
            passing, piece = piece[: found.end()], piece[found.end() :]
            self.passing = False
        at = _last_end(piece)
        whole, self.held = piece[:at], piece[at:]
        if len(self.held) > self.limit:
            passing, whole = passing + whole + self.held[:-3], b""
            self.passing, self.held = True, self.held[-3:]
        self.open = self.passing or bool(self.held)
        return passing, whole

    def flush(self) -> bytes:
        """What is left when the stream has ended."""
        left, self.held, self.passing, self.open = self.held, b"", False, False
        return left


def _last_end(piece: bytes) -> int:
    """Where the last whole event of `piece` ends, 0 where there is none."""
    plain = piece.rfind(b"\n\n")
    crlf = piece.rfind(b"\n\r\n")
    return max(plain + 2 if plain >= 0 else 0, crlf + 3 if crlf >= 0 else 0)


def without_usage(events: bytes) -> bytes:
    """Whole events as the client would have got them had nobody asked for usage.

    An event with usage and no choices goes; one that also carries choices stays as it is (some hosts put usage on the
    last content chunk, asked or not). A `"usage":null` beside choices goes too: it is there only because we asked.
    """
    kept: list[bytes] = []
    at = 0
    for end in (*(found.end() for found in _END.finditer(events)), len(events)):
        event, at = events[at:end], end
        if b'"usage"' in event:
            if _USAGE_OBJECT.search(event):
                facts = _chunk_of(event)
                if facts is not None and not facts.choices and facts.usage != _ABSENT:
                    continue
            elif b"null" in event:
                event = _NULL_USAGE.sub(b"", event)
        kept.append(event)
    return b"".join(kept)


_ABSENT = msgspec.Raw(b"")


class _Chunk(msgspec.Struct, gc=False):
    choices: list[msgspec.Raw] | None = None
    usage: msgspec.Raw = _ABSENT


_chunk = msgspec.json.Decoder(_Chunk).decode


def _chunk_of(event: bytes) -> _Chunk | None:
    data = data_of(event)
    try:
        return _chunk(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None


def data_of(event: bytes) -> bytes:
    """The data of one event: its `data:` lines joined, comments and other fields left out."""
    lines = []
    for line in _LINE_END.split(event):
        if line.startswith(b"data:"):
            lines.append(line[6:] if line[5:6] == b" " else line[5:])
    return b"\n".join(lines)


def events_of(stream: bytes) -> Iterator[bytes]:
    """The data of each event of a stream that is held as a whole; events without data are skipped."""
    at = 0
    for end in (*(found.end() for found in _END.finditer(stream)), len(stream)):
        data = data_of(stream[at:end])
        at = end
        if data:
            yield data


def last_events(tail: bytes, count: int) -> Iterator[bytes]:
    """The data of up to `count` events from the end of a stream, last first."""
    end = len(tail)
    while end > 0 and count > 0:
        # Where the event before this one ends. The last byte, of this one's own end, is left out of the search.
        plain, crlf = tail.rfind(b"\n\n", 0, end - 1), tail.rfind(b"\n\r\n", 0, end - 1)
        start = max(plain + 2 if plain >= 0 else 0, crlf + 3 if crlf >= 0 else 0)
        data = data_of(tail[start:end])
        end = start
        if data:
            count -= 1
            yield data
