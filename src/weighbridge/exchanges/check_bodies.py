"""Verification of captured bodies: that each one a frame speaks of is there, or gone for a reason that was signed."""

from pathlib import Path

import msgspec

from weighbridge.errors import StoreError
from weighbridge.exchanges.blocks import COMMITMENT_BYTES, StoredBody, block_head, commitment_of, open_block
from weighbridge.exchanges.bodystore import object_records, open_record, record_commitment
from weighbridge.exchanges.chain import Snapshot
from weighbridge.exchanges.check_log import LogFacts, read_checked
from weighbridge.exchanges.findings import Findings
from weighbridge.exchanges.framing import BODIES_MAGIC, Corrupt, Scan, check_header
from weighbridge.exchanges.keys import DataKeys
from weighbridge.exchanges.live import ended_with_machine, is_live
from weighbridge.exchanges.segments import open_names
from weighbridge.store.layout import Layout


class BodyCheck:
    """`master` is the 32-byte master key, or `None`: then bodies are found but not decrypted."""

    def __init__(self, layout: Layout, findings: Findings, snapshot: Snapshot, master: bytes | None) -> None:
        self._layout, self._findings, self._snapshot = layout, findings, snapshot
        self._keys = None if master is None else DataKeys(layout, master)
        self._present: set[bytes] = set()
        findings.counts.bodies_checked = master is not None

    def run(self, facts: LogFacts) -> None:
        # Open segments first: what is sealed meanwhile is then found in both places and not in neither.
        for _, _, path in open_names(self._layout.open_bodies, ".wbb"):
            if path.name not in self._snapshot.done:
                try:
                    self._open_segment(path)
                except FileNotFoundError:
                    continue
                except Corrupt:
                    continue  # the check of the log has said so
        for name, file in sorted(self._snapshot.bodies.items()):
            if read_checked(self._layout, self._findings, file) is not None:
                self._object(self._layout.root / name, file.count)
        self._compare(facts)

    def _object(self, path: Path, count: int) -> None:
        day, team = path.parent.parent.name, path.parent.name
        found = 0
        try:
            cipher = None if self._keys is None else self._keys.find(day, team)
            for offset, payload in object_records(path, path.read_bytes()):
                found += 1
                try:
                    commitment = record_commitment(payload)
                    self._present.add(commitment)
                    if cipher is not None:
                        self._commitment(path, offset, open_record(payload, cipher, day, team))
                except ValueError as error:
                    self._findings.problem(path, str(error), offset)
                    continue
                stone = self._snapshot.erased.get(commitment)
                if stone is not None and stone.kind == "erased":
                    self._findings.problem(path, f"a body of {stone.exchange} was erased, and is here", offset)
        except Corrupt as damage:
            self._findings.corrupt(damage)
        except StoreError as error:
            self._findings.problem(path, str(error))
        if found != count:
            self._findings.problem(path, f"{count} bodies were sealed, {found} are here")

    def _open_segment(self, path: Path) -> None:
        data = path.read_bytes()
        if not check_header(data, BODIES_MAGIC, path):
            return
        start: int | None = None
        scan = Scan(data)
        while True:
            for offset, payload in scan:
                self._block(path, offset, payload)
            start = scan.resume
            if start is None:
                return
            scan = Scan(data, start, None)

    def _block(self, path: Path, offset: int, payload: memoryview) -> None:
        try:
            head, _ = block_head(payload)
            for at in range(0, len(head.commitments), COMMITMENT_BYTES):
                self._present.add(head.commitments[at : at + COMMITMENT_BYTES])
            if self._keys is None or (head.day, head.team) in self._snapshot.retired:
                return
            cipher = self._keys.find(head.day, head.team)
            if cipher is None:
                self._findings.problem(path, f"the key of {head.day}, team {head.team} is gone", offset)
                return
            for stored in open_block(payload, cipher):
                self._commitment(path, offset, stored)
        except (ValueError, msgspec.MsgspecError) as error:
            self._findings.problem(path, str(error), offset)
        except StoreError as error:
            self._findings.problem(path, str(error))

    def _commitment(self, path: Path, offset: int, stored: StoredBody) -> None:
        if commitment_of(stored.body, stored.key) != stored.commitment:
            self._findings.problem(path, "a body does not fit its commitment", offset)

    def _compare(self, facts: LogFacts) -> None:
        counts, snapshot = self._findings.counts, self._snapshot
        machine_ended: dict[str, bool] = {}
        for commitment, (identity, ref) in facts.bodies.items():
            stone = snapshot.erased.get(commitment)
            if stone is not None:
                if stone.kind == "erased":
                    counts.bodies_erased += 1
                else:
                    counts.bodies_lost += 1
            elif (ref.day, ref.team) in snapshot.retired:
                counts.bodies_retired += 1
            elif commitment in self._present:
                counts.bodies += 1
            elif self._may_be_lost(identity.partition("-")[0], facts, machine_ended):
                counts.bodies_lost += 1
            else:
                self._findings.problem(identity, f"a body of this exchange is gone ({ref.size} bytes, {ref.day})")

    def _may_be_lost(self, incarnation: str, facts: LogFacts, known: dict[str, bool]) -> bool:
        """Only while its segments are open: when they are sealed, what the machine lost is signed."""
        if incarnation not in known:
            known[incarnation] = (
                incarnation in facts.cut_short
                and not is_live(self._layout, incarnation)
                and ended_with_machine(self._layout, incarnation)
            )
        return known[incarnation]
