"""A request head that was parsed and checked before, known again byte for byte.

Clients send the same head with each request of a connection, but for the length. Parsing it anew costs more than
anything else about a small request. A seen head is one immutable value: what one request said can never be paired with
the bytes of another.
"""

from typing import NamedTuple, Self

from weighbridge.gateway.admit import Caller

LENGTH_DIGITS_MAX = 9

_LENGTH_NAMES = (b"\r\nContent-Length: ", b"\r\ncontent-length: ")


class SeenHead(NamedTuple):
    """The head of a request that the parser and every check have passed, and what it said."""

    before: bytes
    """From the request line to the last byte before the digits of the length."""
    after: bytes
    """From the line end behind those digits to the end of the head, the empty line with it."""
    caller: Caller
    """Holds for as long as the table stands that the key was found in: the user of this compares `caller.lanes`."""

    @classmethod
    def of(cls, data: bytes, line: bytes, caller: Caller, head_bytes_max: int) -> Self | None:
        """`None` where `data` is not one whole request with the request line `line` and a plain length.

        The caller of this vouches that the parser took the request, with its body, from these bytes and no others. That
        the line stands at the start excludes a part of a request that was left over in the parser.
        """
        if not data.startswith(line):
            return None
        end = data.find(b"\r\n\r\n") + 4
        for name in _LENGTH_NAMES:
            at = data.find(name, 0, end)
            if at < 0:
                continue
            start = at + len(name)
            stop = data.find(b"\r", start)
            digits = data[start:stop]
            if digits.isdigit() and len(data) == end + int(digits) and end + LENGTH_DIGITS_MAX <= head_bytes_max:
                return cls(data[:start], data[stop:end], caller)
        return None

    def body_of(self, data: bytes) -> bytes | None:
        """The body of a request that is `before`, digits, `after`, and as many bytes as the digits say; else `None`."""
        before, after, _ = self
        start = len(before)
        end = data.find(after, start, start + LENGTH_DIGITS_MAX + len(after))
        if end < 0 or not data.startswith(before):
            return None
        digits = data[start:end]
        body = data[end + len(after) :]
        return body if digits.isdigit() and len(body) == int(digits) else None
