"""Which segments there are, sealed and open, in one consistent look; and their bytes."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import zstandard

from weighbridge.exchanges.chain import Chain, SealedFile, Snapshot
from weighbridge.exchanges.framing import FRAMES_MAGIC, HEADER_BYTES, Corrupt, Scan, check_header, read_all
from weighbridge.exchanges.live import is_live
from weighbridge.store.layout import Layout

_TRIES = 100
_PIECE_BYTES = 64 << 10
_ZEROS_BYTES = 1024


@dataclass
class Segment:
    """One segment of frames. `fd` is open where it is not sealed, so that it can be read even after it is unlinked."""

    incarnation: str
    number: int
    path: Path
    sealed: SealedFile | None = None
    fd: int = -1

    @property
    def name(self) -> str:
        return segment_name(self.incarnation, self.number)

    def read(self) -> bytes:
        """The segment's bytes as they were written, decompressed. Raises `Corrupt`, `FileNotFoundError`."""
        if self.sealed is None:
            return read_all(self.fd)
        return decompress(self.path, self.path.read_bytes(), self.sealed.raw_bytes)

    def payloads(self) -> Iterator[memoryview]:
        """Each frame, not decoded; none where its days are over.

        Raises `Corrupt` where it is damaged: at the end of what can be read, and only if it is sealed.
        """
        try:
            data = self.read()
        except FileNotFoundError:
            return  # its days are over
        if not check_header(data, FRAMES_MAGIC, self.path):
            return
        scan = Scan(data, HEADER_BYTES, None)
        for _, payload in scan:
            yield payload
        if scan.damage is not None and self.sealed is not None:
            raise Corrupt(self.path, *scan.damage)

    def read_from(self, start: int, *, growing: bool) -> bytes:
        """`read()[start:]`; of a segment that is `growing`, without most of the zeros that follow."""
        if self.sealed is not None:
            return self.read()[start:]
        if not growing:
            return read_all(self.fd, start)
        pieces = []
        while piece := os.pread(self.fd, _PIECE_BYTES, start):
            pieces.append(piece)
            start += len(piece)
            if not any(piece[-_ZEROS_BYTES:]):
                break
        return b"".join(pieces)


@dataclass
class View:
    """All segments at one moment, in log order: by incarnation, then number. Close it to give the descriptors back."""

    snapshot: Snapshot
    segments: list[Segment] = field(default_factory=list)
    live: frozenset[str] = frozenset()
    """Incarnations whose writer may still add frames."""

    def close(self) -> None:
        for segment in self.segments:
            if segment.fd >= 0:
                os.close(segment.fd)
                segment.fd = -1

    def __enter__(self) -> "View":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def segment_name(incarnation: str, number: int) -> str:
    return f"{incarnation}-{number:06d}.wbx"


def parse_name(name: str) -> tuple[str, int] | None:
    """Incarnation and number of a segment's file name, whatever its suffix; `None` for other files."""
    stem = name.partition(".")[0]
    incarnation, dash, number = stem.partition("-")
    if not dash or len(incarnation) != 16 or len(number) < 6 or not number.isdigit():
        return None
    return incarnation, int(number)


def open_names(folder: Path, suffix: str) -> list[tuple[str, int, Path]]:
    """Segments in a folder of open ones, in log order."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(folder):
            parsed = parse_name(name)
            if parsed is not None and name.endswith(suffix) and not name.startswith("."):
                found.append((*parsed, folder / name))
    return sorted(found)


def look(layout: Layout, chain: Chain) -> View:
    """A consistent view of the log, also while the keeper seals.

    Whether a writer lives is asked before its segments are listed for good, so that everything a dead one wrote is in
    the list. Open files are opened before the chain is read: what was sealed and unlinked before is in the chain then.
    """
    for _ in range(_TRIES):
        before = {incarnation for incarnation, _, _ in open_names(layout.open_log, ".wbx")}
        live = {incarnation for incarnation in before if is_live(layout, incarnation)}
        segments = []
        try:
            for incarnation, number, path in open_names(layout.open_log, ".wbx"):
                if incarnation not in before:
                    live.add(incarnation)
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                segments.append(Segment(incarnation, number, path, None, fd))
        except FileNotFoundError:
            View(chain.snapshot(), segments).close()
            continue  # sealed in this moment: it is in the next listing's chain
        snapshot = chain.snapshot()
        view = View(snapshot, segments, frozenset(live))
        _add_sealed(layout, view)
        return view
    raise Corrupt(layout.open_log, None, f"the folder changed {_TRIES} times while it was read")


def _add_sealed(layout: Layout, view: View) -> None:
    kept = []
    for segment in view.segments:
        if segment.name in view.snapshot.done:
            os.close(segment.fd)  # a leftover: its sealed form is what counts
        else:
            kept.append(segment)
    for source, file in view.snapshot.segments.items():
        parsed = parse_name(source)
        if parsed is not None:
            kept.append(Segment(*parsed, layout.root / file.path, file))
    view.segments = sorted(kept, key=lambda one: (one.incarnation, one.number))


def decompress(path: Path, packed: bytes, raw_bytes: int | None) -> bytes:
    try:
        raw = zstandard.ZstdDecompressor().decompress(packed, max_output_size=raw_bytes or 0)
    except zstandard.ZstdError as error:
        raise Corrupt(path, None, f"cannot be decompressed: {error}") from None
    if raw_bytes is not None and len(raw) != raw_bytes:
        raise Corrupt(path, None, f"holds {len(raw)} bytes, {raw_bytes} were sealed")
    return raw


def compress(raw: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=6, write_checksum=True).compress(raw)
