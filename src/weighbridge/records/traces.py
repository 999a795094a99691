"""The `traceparent` header (W3C Trace Context, level 1): which trace of the client a request belongs to."""

import re

import msgspec

HEADER = b"traceparent"

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)


class TraceParent(msgspec.Struct, frozen=True):
    trace_id: int
    span_id: int
    sampled: bool


def parsed(text: str | None) -> TraceParent | None:
    """`None` for what is no such header: a trace begins anew then, as the specification says."""
    found = None if text is None else _FORM.fullmatch(text)
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5] is not None):
        return None
    trace_id, span_id = int(found[2], 16), int(found[3], 16)
    if not trace_id or not span_id:
        return None
    return TraceParent(trace_id, span_id, bool(int(found[4], 16) & 1))


def kept(header: bytes | None) -> str | None:
    """What of a client's header goes into the log: a valid one, else nothing."""
    if header is None or len(header) > 128:
        return None
    text = header.decode("latin-1")
    return text if parsed(text) is not None else None
