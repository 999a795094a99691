"""Outcomes without reading the log for them: what was told in each sealed segment, kept in `<store>/run/told/`.

A sealed segment never changes, so what was told in it is written down once, under the SHA-256 that the signed chain has
of it: by sealing, which has the frames in hand, else by whoever asks first. Whoever removes that folder loses time and
nothing else. Segments that are not sealed are read.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator

import msgspec

from weighbridge.exchanges.chain import Chain
from weighbridge.exchanges.merge import frame_of
from weighbridge.exchanges.segments import Segment, look
from weighbridge.records.frames import Told
from weighbridge.store.layout import Layout

FORM = "1"
"""Part of the names of kept files: another number makes them anew."""
TOLD_TAG = 5
"""Of `Told` among the frames."""

_encode = msgspec.json.Encoder().encode
_decoder: msgspec.json.Decoder[Told] = msgspec.json.Decoder(Told)


def told(layout: Layout) -> Iterator[Told]:
    """Every outcome of the log, in log order of each worker. Raises `Corrupt` where a segment is damaged."""
    wanted: set[str] = set()
    with look(layout, Chain(layout)) as view:
        for segment in view.segments:
            if segment.sealed is None:
                yield from told_in(segment)
                continue
            sha256 = segment.sealed.sha256
            wanted.add(_name(sha256))
            kept = _kept(layout, sha256)
            if kept is None:
                kept = list(told_in(segment))
                keep_told(layout, sha256, kept)
            yield from kept
    _tidy(layout, wanted)


def told_in(segment: Segment) -> Iterator[Told]:
    """The outcomes of one segment, out of its frames."""
    for payload in segment.payloads():
        # A frame is an array whose first element is its kind: most need no decoding to be passed over.
        if payload[0] & 0xF0 == 0x90 and payload[1] != TOLD_TAG:
            continue
        frame = frame_of(payload)
        if isinstance(frame, Told):
            yield frame


def keep_told(layout: Layout, sha256: str, frames: Iterable[Told]) -> None:
    """Write down what was told in the sealed segment with this digest. What fails here is only read again later."""
    path = layout.told / _name(sha256)
    part = path.with_suffix(f".{os.getpid()}.tmp")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        part.write_bytes(b"".join(_encode(frame) + b"\n" for frame in frames))
        part.replace(path)


def _kept(layout: Layout, sha256: str) -> list[Told] | None:
    try:
        return [_decoder.decode(line) for line in (layout.told / _name(sha256)).read_bytes().splitlines()]
    except (OSError, msgspec.MsgspecError):
        return None


def _name(sha256: str) -> str:
    return f"{FORM}-{sha256}.jsonl"


def _tidy(layout: Layout, wanted: set[str]) -> None:
    """Remove what is kept of segments that are gone."""
    with contextlib.suppress(OSError):
        for name in os.listdir(layout.told):
            if name.endswith(".jsonl") and name not in wanted:
                (layout.told / name).unlink(missing_ok=True)
