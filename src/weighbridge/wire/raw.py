"""A JSON object as the client wrote it: top-level names, raw values, and where they stand."""

import re
from collections.abc import Mapping

import msgspec

from weighbridge.wire.refusal import BadRequest

Raw = msgspec.Raw

_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.Encoder().encode
_text = msgspec.json.Decoder(str).decode
_NAME = re.compile(rb'[ \t\r\n]*("(?:[^"\\]|\\.)*")[ \t\r\n]*:[ \t\r\n]*', re.S)
_NEXT = re.compile(rb"[ \t\r\n]*[,}]")


class RawObject:
    """The fields of a JSON object with each value's own bytes. Raises `BadRequest` for anything that is not one.

    A repeated name is refused: what the gateway judged must be what the provider reads, and parsers differ in which of
    two values they take.
    """

    __slots__ = ("_spans", "body", "fields")

    def __init__(self, body: bytes, what: str = "the body") -> None:
        try:
            fields = _fields(body)
        except RecursionError:
            raise BadRequest(f"{what} is nested too deeply", code="invalid_json") from None
        except msgspec.ValidationError:
            raise BadRequest(f"{what} must be a JSON object", code="invalid_json") from None
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise BadRequest(f"{what} is not valid JSON: {error}", code="invalid_json") from None
        self.body, self.fields = body, fields
        self._spans: dict[str, tuple[int, int]] | None = None
        # Written compactly again it is the same: then nothing was repeated, and positions follow from the lengths.
        if _encode(fields) != body:
            self._spans = _walk(body, fields, what)

    def span(self, name: str) -> tuple[int, int]:
        """Start and end of a field's value in `body`."""
        if self._spans is not None:
            return self._spans[name]
        at = 1
        for field, value in self.fields.items():
            start = at + len(_encode(field)) + 1
            if field == name:
                return start, start + len(value)
            at = start + len(value) + 1
        raise KeyError(name)

    def rewritten(self, more: Mapping[str, bytes], without: frozenset[str]) -> bytes:
        """The object with fewer fields, and with more where it has none of that name. Values keep their bytes; what
        stood between fields does not."""
        kept = [(name, bytes(value)) for name, value in self.fields.items() if name not in without]
        added = [(name, value) for name, value in more.items() if name not in self.fields]
        return b"{%b}" % b",".join(b"%b:%b" % (_encode(name), value) for name, value in (*added, *kept))

    def spliced(self, edits: Mapping[str, bytes]) -> bytes:
        """The body with these values put in; a name that is not there yet is added at the end. The rest stays."""
        body, at = self.body, 0
        pieces: list[bytes] = []
        spans = sorted((*self.span(name), value) for name, value in edits.items() if name in self.fields)
        for start, end, value in spans:
            pieces += (body[at:start], value)
            at = end
        added = [b"%b:%b" % (_encode(name), value) for name, value in edits.items() if name not in self.fields]
        if added:
            close = body.rindex(b"}")
            pieces += (body[at:close], b"," if self.fields else b"", b",".join(added), body[close:])
        else:
            pieces.append(body[at:])
        return b"".join(pieces)


def _walk(body: bytes, fields: dict[str, Raw], what: str) -> dict[str, tuple[int, int]]:
    """Positions in a body that is not compact. The decoder has accepted it, so only repetition is left to find."""
    spans: dict[str, tuple[int, int]] = {}
    at = body.index(b"{") + 1
    if not fields:
        return spans
    for name, value in fields.items():
        found = _NAME.match(body, at)
        raw = bytes(value)
        if found is None or _text(found[1]) != name or not body.startswith(raw, found.end()):
            raise BadRequest(f"{what} has the field {name!r} more than once", param=name, code="duplicate_field")
        spans[name] = found.end(), found.end() + len(raw)
        closing = _NEXT.match(body, found.end() + len(raw))
        if closing is None:
            raise BadRequest(f"{what} has the field {name!r} more than once", param=name, code="duplicate_field")
        at = closing.end()
    if body[at - 1 : at] != b"}":
        found = _NAME.match(body, at)
        name = _text(found[1]) if found else "?"
        raise BadRequest(f"{what} has the field {name!r} more than once", param=name, code="duplicate_field")
    return spans
