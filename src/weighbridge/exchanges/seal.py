"""Sealing: a segment that is closed becomes a file that will not change any more.

Each step leaves a store that reads the same: write, sync, rename, sync the folder, commit a line of the chain, and only
then remove the open segment. What a crash leaves behind is swept away by the next run.

A segment with damage is not sealed: it stays as it is, and `verify` names the place.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import groupby
from pathlib import Path

from weighbridge.exchanges.blocks import block_head, open_block
from weighbridge.exchanges.bodystore import OBJECT_SUFFIX, BodyReader, object_bytes, seal_record
from weighbridge.exchanges.chain import Chain, OpenPrefix, SealedFile, SigningKey, Snapshot, Tombstone
from weighbridge.exchanges.files import nothing, sync_folder, write_new
from weighbridge.exchanges.framing import (
    BODIES_MAGIC,
    FRAMES_MAGIC,
    HEADER_BYTES,
    Corrupt,
    Scan,
    check_header,
    closed_frame,
    read_all,
)
from weighbridge.exchanges.keys import KEY_FILE, DataKeys
from weighbridge.exchanges.live import ended_with_machine, forget_all_but, is_live
from weighbridge.exchanges.merge import Merge, frame_of
from weighbridge.exchanges.rows import row_of, write_parquet
from weighbridge.exchanges.segments import Segment, compress, look, open_names
from weighbridge.exchanges.told import keep_told
from weighbridge.records.exchange import Exchange
from weighbridge.records.frames import BodyRef, Finished, Held, Told
from weighbridge.store.layout import Layout

Step = Callable[[str], object]


@dataclass
class Sealed:
    """What a run did. `problems` are segments that were left open because of damage."""

    segments: int = 0
    exchanges: int = 0
    bodies: int = 0
    problems: list[Corrupt] = field(default_factory=list)


def seal_all(
    layout: Layout, chain: Chain, key: SigningKey, master: bytes | None, *, time_ns: int, step: Step = nothing
) -> Sealed:
    """Seal every segment that is closed or whose writer is gone. For the keeper; it takes seconds for a full segment.

    `master` is needed where bodies were captured; without it body segments stay open. Raises `OSError`, and `Corrupt`
    when the chain itself cannot be trusted.
    """
    result = Sealed()
    sweep(layout, chain)
    with look(layout, chain) as view:
        for incarnation, found in groupby(view.segments, key=lambda one: one.incarnation):
            live = incarnation in view.live
            segments = list(found)
            earlier: list[Segment] = []
            for segment in segments:
                if segment.sealed is None:
                    over = not live and segment is segments[-1]
                    try:
                        _seal_frames(layout, chain, key, segment, earlier, live, over, time_ns, step, result)
                    except Corrupt as damage:
                        result.problems.append(damage)
                earlier.append(segment)
    if master is not None:
        keys = DataKeys(layout, master)
        for incarnation, number, path in open_names(layout.open_bodies, ".wbb"):
            live = is_live(layout, incarnation)
            try:
                _seal_bodies(layout, chain, key, keys, path, f"{incarnation}-{number:06d}", live, time_ns, step, result)
            except Corrupt as damage:
                result.problems.append(damage)
            except FileNotFoundError:
                pass  # its writer removed it: it was empty
    sweep(layout, chain)
    return result


def _whole(path: Path, data: bytes, magic: bytes, live: bool) -> Scan | None:
    """A scan that has run over a segment fit to be sealed; `None` while it is in use. Raises `Corrupt`."""
    if not check_header(data, magic, path):
        scan = Scan(data, len(data))
        return None if live else scan
    scan = Scan(data)
    for _ in scan:
        pass
    if live and scan.stop != "closed":
        return None
    if scan.damage is not None:
        raise Corrupt(path, *scan.damage)
    return scan


def check_prefix(layout: Layout, path: Path, data: bytes, prefixes: tuple[OpenPrefix, ...]) -> None:
    """What a checkpoint signed must still be there. Raises `Corrupt`."""
    for prefix in prefixes:
        if layout.root / prefix.file == path and sha256(data[: prefix.bytes]).hexdigest() != prefix.sha256:
            raise Corrupt(path, None, f"its first {prefix.bytes} bytes are not the ones that were signed")


def _prefixes(chain: Chain) -> tuple[OpenPrefix, ...]:
    head = chain.head()
    return () if head is None else head.open


def _seal_frames(
    layout: Layout,
    chain: Chain,
    key: SigningKey,
    segment: Segment,
    earlier: list[Segment],
    live: bool,
    over: bool,
    time_ns: int,
    step: Step,
    result: Sealed,
) -> None:
    """`over`: the worker is gone and wrote nothing after this segment. What has no end by then was lost with it."""
    data = segment.read()
    scan = _whole(segment.path, data, FRAMES_MAGIC, live)
    if scan is None:
        return
    check_prefix(layout, segment.path, data, _prefixes(chain))
    over = over and scan.stop != "closed"  # a worker that closed its last segment has ended every exchange
    if not scan.frames and not (over and _left_open(segment, data[: scan.end], earlier)):
        if any(name[:2] == (segment.incarnation, segment.number + 1) for name in open_names(layout.open_log, ".wbx")):
            chain.append(key, time_ns=time_ns, sealed=(_nothing_in(segment.name),))  # the numbers have no gap
        segment.path.unlink(missing_ok=True)
        return
    # Every sealed segment ends with a closing frame, also that of a worker that did not live to write its own.
    raw = data[: scan.end] if scan.stop == "closed" else data[: scan.end] + closed_frame(scan.frames)
    frames = _Contents(segment, raw, earlier, over)
    lost = _lost_bodies(layout, chain, segment, frames) if scan.stop != "closed" else ()
    path = layout.sealed(segment.incarnation, segment.number)
    packed = compress(raw)
    write_new(path, (packed,))
    sync_folder(path.parent)
    step("frames written")
    sealed = SealedFile(
        kind="frames", path=relative(layout, path), source=segment.name, bytes=len(packed),
        sha256=sha256(packed).hexdigest(), count=scan.frames, first_ns=frames.first_ns, last_ns=frames.last_ns,
        raw_bytes=len(raw),
    )  # fmt: skip
    rows = _write_rows(layout, segment, frames.exchanges())
    step("rows written")
    chain.append(key, time_ns=time_ns, sealed=(sealed, rows), tombstones=lost)
    step("committed")
    keep_told(layout, sealed.sha256, frames.told)
    segment.path.unlink(missing_ok=True)  # not synced: a name that comes back after a crash is swept away
    step("removed")
    result.segments += 1
    result.exchanges += rows.count


def _left_open(segment: Segment, raw: bytes, earlier: list[Segment]) -> bool:
    """Whether a worker that died with an empty segment left exchanges without an end in those before it."""
    return len(raw) >= HEADER_BYTES and any(True for _ in _Contents(segment, raw, earlier, True).exchanges())


def _nothing_in(source: str) -> SealedFile:
    return SealedFile(kind="done", path="", source=source, bytes=0, sha256="", count=0)


class _Contents:
    """The exchanges that end in a segment, put together with what earlier segments of the worker say about them.

    `over`: also those that never ended, whatever segment they began in.
    """

    def __init__(self, segment: Segment, raw: bytes, earlier: list[Segment], over: bool) -> None:
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self.references: list[tuple[str, BodyRef]] = []
        self.told: list[Told] = []
        self._segment, self._raw, self._over = segment, raw, over
        unknown = self._survey(raw)
        self._earlier = earlier if over else _needed(earlier, unknown)

    def exchanges(self) -> Iterator[Exchange]:
        """One at a time: a full segment holds more than a hundred thousand."""
        merge = Merge()
        for before in self._earlier:
            with contextlib.suppress(FileNotFoundError):  # its days are over
                for _ in _exchanges(merge, before.path, before.read()):
                    pass
        yield from _exchanges(merge, self._segment.path, self._raw)
        if self._over:
            yield from merge.finish()

    def _survey(self, raw: bytes) -> set[str]:
        """Times and body references; returns the ids that end here and began in an earlier segment."""
        begun, ended = set(), set()
        for _, payload in Scan(raw):
            frame = frame_of(payload)
            if isinstance(frame, Held):
                begun.add(frame.id)
                reference = frame.request
            elif isinstance(frame, Finished):
                ended.add(frame.id)
                reference = frame.response
            elif isinstance(frame, Told):
                reference = None
                self.told.append(frame)
            else:
                continue
            if reference is not None:
                self.references.append((frame.id, reference))
            self.first_ns = frame.time_ns if self.first_ns is None else min(self.first_ns, frame.time_ns)
            self.last_ns = frame.time_ns if self.last_ns is None else max(self.last_ns, frame.time_ns)
        return ended - begun


def _needed(earlier: list[Segment], unknown: set[str]) -> list[Segment]:
    """The earlier segments, back to the one in which the oldest of the unknown exchanges begins."""
    found: list[Segment] = []
    missing = set(unknown)
    for segment in reversed(earlier):
        if not missing:
            break
        with contextlib.suppress(FileNotFoundError):  # its days are over
            data = segment.read()
            found.insert(0, segment)
            for _, payload in Scan(data):
                frame = frame_of(payload)
                if isinstance(frame, Held):
                    missing.discard(frame.id)
    return found


def _exchanges(merge: Merge, path: Path, data: bytes) -> Iterator[Exchange]:
    for offset, payload in Scan(data):
        if (done := merge.add(payload, path, offset)) is not None:
            yield done


def _lost_bodies(layout: Layout, chain: Chain, segment: Segment, frames: _Contents) -> tuple[Tombstone, ...]:
    """Bodies that a machine lost with the frames around them already on disk. Only where it went down meanwhile."""
    if not frames.references or not ended_with_machine(layout, segment.incarnation):
        return ()
    reader = BodyReader(layout, bytes(32))
    gone = chain.snapshot()
    return tuple(
        Tombstone(kind="lost", day=ref.day, team=ref.team, commitment=ref.commitment.hex(), exchange=identity)
        for identity, ref in frames.references
        if not reader.has(ref) and ref.commitment not in gone.erased and (ref.day, ref.team) not in gone.retired
    )


def _write_rows(layout: Layout, segment: Segment, exchanges: Iterator[Exchange]) -> SealedFile:
    path = layout.parquet(segment.incarnation, segment.number)
    temporary = path.with_name(f".{path.name}.tmp")
    count = write_parquet(temporary, map(row_of, exchanges))
    fd = os.open(temporary, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fchmod(fd, 0o600)
        os.fsync(fd)
        digest = sha256(read_all(fd)).hexdigest()
        size = os.fstat(fd).st_size
    finally:
        os.close(fd)
    os.rename(temporary, path)
    sync_folder(path.parent)
    return SealedFile(
        kind="rows", path=relative(layout, path), source=segment.name, bytes=size, sha256=digest, count=count
    )


def _seal_bodies(
    layout: Layout,
    chain: Chain,
    key: SigningKey,
    keys: DataKeys,
    path: Path,
    stem: str,
    live: bool,
    time_ns: int,
    step: Step,
    result: Sealed,
) -> None:
    data = path.read_bytes()
    scan = _whole(path, data, BODIES_MAGIC, live)
    if scan is None:
        return
    check_prefix(layout, path, data, _prefixes(chain))
    records = _records(layout, chain.snapshot(), keys, path, data[: scan.end])
    sealed = []
    for (day, team), payloads in sorted(records.items()):
        target = layout.body_folder(day, team) / f"{stem}.0{OBJECT_SUFFIX}"
        packed = object_bytes(payloads)
        write_new(target, (packed,))
        sync_folder(target.parent)
        step("bodies written")
        sealed.append(
            SealedFile(
                kind="bodies", path=relative(layout, target), source=path.name, bytes=len(packed),
                sha256=sha256(packed).hexdigest(), count=len(payloads),
            )
        )  # fmt: skip
    if not sealed:
        if not scan.frames:
            path.unlink(missing_ok=True)
            return
        sealed = [_nothing_in(path.name)]
    chain.append(key, time_ns=time_ns, sealed=tuple(sealed))
    step("bodies committed")
    path.unlink(missing_ok=True)
    step("bodies removed")
    result.segments += 1
    result.bodies += sum(map(len, records.values()))


def _records(
    layout: Layout, snapshot: Snapshot, keys: DataKeys, path: Path, data: bytes
) -> dict[tuple[str, str], list[bytes]]:
    """The bodies of a segment as records of objects, by day and team; without what is erased or retired."""
    found: dict[tuple[str, str], list[bytes]] = {}
    for offset, payload in Scan(data):
        try:
            head, _ = block_head(payload)
            if (head.day, head.team) in snapshot.retired:
                continue
            cipher = keys.find(head.day, head.team)
            if cipher is None:
                raise Corrupt(layout.body_folder(head.day, head.team), None, "the key of this day and team is gone")
            for stored in open_block(payload, cipher):
                if stored.commitment not in snapshot.erased:
                    found.setdefault((head.day, head.team), []).append(seal_record(stored, cipher, head.day, head.team))
        except ValueError as error:
            raise Corrupt(path, offset, str(error)) from None
    return found


def sweep(layout: Layout, chain: Chain) -> None:
    """Remove what crashes left: files that the chain replaced, dropped or never got to name. Raises `Corrupt`."""
    chain.check_head()
    snapshot = chain.snapshot()
    for folder, suffix in ((layout.open_log, ".wbx"), (layout.open_bodies, ".wbb")):
        for _, _, path in open_names(folder, suffix):
            if path.name in snapshot.done:
                path.unlink(missing_ok=True)
    known = {file.path for file in (*snapshot.segments.values(), *snapshot.rows.values(), *snapshot.bodies.values())}
    for path in sealed_files(layout):
        name = relative(layout, path)
        source = path.name.partition(".")[0]
        has_source = layout.open_log.joinpath(f"{source}.wbx").exists() or (
            path.suffix == OBJECT_SUFFIX and layout.open_bodies.joinpath(f"{source}.wbb").exists()
        )
        if name not in known and (has_source or name in snapshot.dropped or path.name.endswith(".tmp")):
            path.unlink(missing_ok=True)
    for day, team in snapshot.retired:
        remove_folder(layout.body_folder(day, team))
    in_use = {name[0] for name in open_names(layout.open_log, ".wbx") + open_names(layout.open_bodies, ".wbb")}
    forget_all_but(layout, in_use)


def remove_folder(folder: Path) -> None:
    """Remove the key and the objects of a day and team, and the day's folder with its last team."""
    if not folder.is_dir():
        return
    folder.joinpath(KEY_FILE).unlink(missing_ok=True)  # first: without it the rest says nothing
    for path in folder.iterdir():
        path.unlink(missing_ok=True)
    folder.rmdir()
    with contextlib.suppress(OSError):  # other teams are still there
        folder.parent.rmdir()
    sync_folder(folder.parent.parent if not folder.parent.exists() else folder.parent)


def sealed_files(layout: Layout) -> Iterator[Path]:
    """Everything in the folders of sealed files, temporary files of the keeper included, keys left out."""
    for folder in (layout.sealed_log, layout.rows):
        if folder.is_dir():
            yield from sorted(path for path in folder.iterdir() if path.is_file())
    for day in sorted(layout.bodies.iterdir()) if layout.bodies.is_dir() else ():
        if day.is_dir() and day != layout.open_bodies:
            for team in sorted(day.iterdir()):
                yield from sorted(path for path in team.iterdir() if OBJECT_SUFFIX in path.name)


def relative(layout: Layout, path: Path) -> str:
    return path.relative_to(layout.root).as_posix()
