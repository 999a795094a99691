"""Verification of segments, sealed and open, and of the exchanges in them."""

import time
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import groupby
from pathlib import Path

from weighbridge.exchanges.chain import Chain, OpenPrefix, SealedFile
from weighbridge.exchanges.findings import Findings
from weighbridge.exchanges.framing import BODIES_MAGIC, FRAMES_MAGIC, HEADER_BYTES, Corrupt, Scan, check_header
from weighbridge.exchanges.live import ended_with_machine, is_live
from weighbridge.exchanges.merge import Merge
from weighbridge.exchanges.seal import sealed_files
from weighbridge.exchanges.segments import Segment, View, decompress, look, open_names, parse_name
from weighbridge.records.exchange import Exchange
from weighbridge.records.frames import BodyRef
from weighbridge.store.layout import Layout

_LIVE_TRIES = 5
_LIVE_WAIT_S = 0.005


@dataclass
class LogFacts:
    """What the other checks need to know of the log."""

    digests: dict[str, str] = field(default_factory=dict)
    """Exchange -> digest over its frames."""
    bodies: dict[bytes, tuple[str, BodyRef]] = field(default_factory=dict)
    """Commitment -> exchange and reference."""
    rows_retired: bool = False
    cut_short: set[str] = field(default_factory=set)
    """Incarnations that did not close an open segment: their worker, or the machine, went down."""


def read_checked(layout: Layout, findings: Findings, file: SealedFile) -> bytes | None:
    """The bytes of a sealed file if they are the ones that were signed."""
    path = layout.root / file.path
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        findings.problem(path, f"the file is gone; it held {file.count} {_HOLDS[file.kind]}")
        return None
    except OSError as error:
        findings.problem(path, f"cannot be read: {error.strerror}")
        return None
    if len(data) != file.bytes:
        findings.problem(path, f"holds {len(data)} bytes, {file.bytes} were signed")
        return None
    if sha256(data).hexdigest() != file.sha256:
        findings.problem(path, "its bytes are not the ones that were signed")
        return None
    return data


_HOLDS = {"frames": "frames", "rows": "rows", "bodies": "bodies", "done": "nothing"}


def check_log(layout: Layout, chain: Chain, findings: Findings, prefixes: tuple[OpenPrefix, ...]) -> LogFacts:
    with look(layout, chain) as view:
        check = _LogCheck(layout, findings, view, prefixes)
        for file in view.snapshot.rows.values():
            read_checked(layout, findings, file)
        for incarnation, segments in groupby(view.segments, key=lambda one: one.incarnation):
            check.incarnation(incarnation, list(segments))
    check.body_segments()
    check.signed_prefixes()
    check.strays()
    return check.facts


class _LogCheck:
    def __init__(self, layout: Layout, findings: Findings, view: View, prefixes: tuple[OpenPrefix, ...]) -> None:
        self._layout, self._findings, self._view = layout, findings, view
        self._snapshot = view.snapshot
        self._prefixes = {layout.root / prefix.file: prefix for prefix in prefixes}
        self.facts = LogFacts()
        self.facts.rows_retired = any(
            gone.why == "retired" and ".wbx" in gone.path for gone in view.snapshot.dropped.values()
        )

    def incarnation(self, incarnation: str, segments: list[Segment]) -> None:
        findings, counts = self._findings, self._findings.counts
        self._numbers(incarnation, segments)
        merge = Merge()
        live = incarnation in self._view.live
        problems_before = len(findings.problems)
        for segment in segments:
            counts.segments += 1
            try:
                self._segment(segment, live, merge)
            except Corrupt as damage:
                findings.corrupt(damage)
            except FileNotFoundError:
                findings.problem(segment.path, "the segment is gone")
        for pending in merge.unfinished():
            if pending.held.request is not None:
                self.facts.bodies[pending.held.request.commitment] = (pending.held.id, pending.held.request)
        if not live:
            lost = merge.finish()
            counts.exchanges_lost += len(lost)
            for exchange in lost:
                self._note(exchange)
        if merge.headless and not self.facts.rows_retired and len(findings.problems) == problems_before:
            some = ", ".join(sorted(merge.headless)[:3])
            findings.problem(segments[0].path, f"frames of {len(merge.headless)} exchanges have no beginning ({some})")

    def _numbers(self, incarnation: str, segments: list[Segment]) -> None:
        known = {segment.number for segment in segments}
        for name in self._snapshot.done:
            parsed = parse_name(name)
            if parsed is not None and parsed[0] == incarnation and name.endswith(".wbx"):
                known.add(parsed[1])
        for number in range(1, max(known, default=0)):
            if number not in known:
                path = self._layout.segment(incarnation, number)
                self._findings.problem(path, "the segment is gone: later ones of its worker are here")

    def _note(self, exchange: Exchange) -> None:
        self.facts.digests[exchange.id] = exchange.digest
        for ref in (exchange.request, exchange.response):
            if ref is not None:
                self.facts.bodies[ref.commitment] = (exchange.id, ref)

    def _feed(self, merge: Merge, segment: Segment, scan: Scan) -> None:
        counts = self._findings.counts
        for offset, payload in scan:
            counts.frames += 1
            if (done := merge.add(payload, segment.path, offset)) is not None:
                counts.exchanges += 1
                self._note(done)

    def _segment(self, segment: Segment, live: bool, merge: Merge) -> None:
        findings = self._findings
        if segment.sealed is not None:
            packed = read_checked(self._layout, findings, segment.sealed)
            if packed is None:
                return
            data = decompress(segment.path, packed, segment.sealed.raw_bytes)
        else:
            data = segment.read()
        if not check_header(data, FRAMES_MAGIC, segment.path):
            self._empty(segment.path)
            return
        scan = Scan(data)
        self._feed(merge, segment, scan)
        if segment.sealed is None:
            for _ in range(_LIVE_TRIES if live else 0):
                if scan.damage is None:
                    break
                time.sleep(_LIVE_WAIT_S)  # a write that is under way looks like damage until it is done
                data, before = segment.read(), scan
                scan = Scan(data, before.end, before.frames)
                self._feed(merge, segment, scan)
                scan.frames += before.frames
            self._open(segment.path, data, scan)
        elif scan.damage is not None or scan.end != len(data) or scan.frames != segment.sealed.count:
            what = f"{segment.sealed.count} frames were sealed, {scan.frames} are here"
            offset, what = scan.damage or (scan.end, what)
            findings.problem(segment.path, what, offset)
        while scan.resume is not None:
            # Behind the damage too: one changed byte is one problem, and not a hundred missing exchanges.
            scan = Scan(data, scan.resume, None)
            self._feed(merge, segment, scan)
            if scan.damage is not None:
                findings.problem(segment.path, scan.damage[1], scan.damage[0])

    def _empty(self, path: Path) -> None:
        """A segment without a header: nothing of it had reached the disk, unless it was signed."""
        self.facts.cut_short.add(path.name.partition("-")[0])
        if path in self._prefixes:
            self._findings.problem(path, f"is empty; {self._prefixes[path].bytes} bytes of it were signed")

    def _open(self, path: Path, data: bytes, scan: Scan) -> None:
        incarnation = path.name.partition("-")[0]
        damage = scan.damage
        if scan.doubtful is not None and (
            is_live(self._layout, incarnation) or not ended_with_machine(self._layout, incarnation)
        ):
            damage = scan.doubtful
        if damage is not None:
            self._findings.problem(path, damage[1], damage[0])
        elif scan.stop == "torn":
            self._findings.counts.torn_tails += 1
        if scan.stop != "closed":
            self.facts.cut_short.add(incarnation)
        signed = HEADER_BYTES
        prefix = self._prefixes.get(path)
        if prefix is not None:
            signed = prefix.bytes
            if scan.damage is None and sha256(data[: prefix.bytes]).hexdigest() != prefix.sha256:
                self._findings.problem(path, f"its first {prefix.bytes} bytes are not the ones that were signed")
        self._findings.counts.unsigned_bytes += max(0, scan.end - signed)

    def body_segments(self) -> None:
        for incarnation, _, path in open_names(self._layout.open_bodies, ".wbb"):
            if path.name not in self._snapshot.done:
                try:
                    self._body_segment(path, is_live(self._layout, incarnation))
                except Corrupt as damage:
                    self._findings.corrupt(damage)
                except FileNotFoundError:
                    continue  # sealed in this moment

    def _body_segment(self, path: Path, live: bool) -> None:
        for left in reversed(range(_LIVE_TRIES)):
            data = path.read_bytes()
            if not check_header(data, BODIES_MAGIC, path):
                self._empty(path)
                return
            scan = Scan(data)
            for _ in scan:
                pass
            if scan.damage is None or not live or not left:
                self._open(path, data, scan)
                return
            time.sleep(_LIVE_WAIT_S)

    def signed_prefixes(self) -> None:
        for path, prefix in self._prefixes.items():
            if path.name not in self._snapshot.done and not path.exists():
                self._findings.problem(path, f"an open segment is gone; {prefix.bytes} bytes of it were signed")

    def strays(self) -> None:
        """Sealed files that the chain does not name, and that no interrupted seal explains."""
        layout, snapshot = self._layout, self._snapshot
        known = {
            file.path for file in (*snapshot.segments.values(), *snapshot.rows.values(), *snapshot.bodies.values())
        }
        for path in sealed_files(layout):
            name = self._findings.place(path)
            stem = path.name.partition(".")[0]
            explained = (
                name in known
                or name in snapshot.dropped
                or path.name.startswith(".")
                or layout.open_log.joinpath(f"{stem}.wbx").exists()
                or layout.open_bodies.joinpath(f"{stem}.wbb").exists()
                or f"{stem}.wbb" in snapshot.done
            )
            if not explained:
                self._findings.problem(path, "the chain does not name this file")
