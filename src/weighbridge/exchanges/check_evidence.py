"""Verification of objects: verdict -> evidence and findings -> the exchanges they came from."""

from collections import Counter
from hashlib import sha256
from typing import TypeVar

import msgspec

from weighbridge.exchanges.chain import ObjectEntry, Snapshot
from weighbridge.exchanges.check_log import LogFacts
from weighbridge.exchanges.findings import Findings
from weighbridge.records.evidence import Evidence, Verdict
from weighbridge.store.layout import Layout

T = TypeVar("T", bound=msgspec.Struct)


class _PlanUnit(msgspec.Struct, frozen=True):
    items: tuple[str, ...]


class _Plan(msgspec.Struct, frozen=True):
    """Of a stored trial plan: which exchanges, in which order."""

    trial: str
    units: tuple[_PlanUnit, ...]


class EvidenceCheck:
    def __init__(self, layout: Layout, findings: Findings, snapshot: Snapshot, facts: LogFacts) -> None:
        self._layout, self._findings, self._facts = layout, findings, facts
        self._entries = {entry.digest: entry for entry in snapshot.objects}
        self._orders: dict[str, list[list[str]]] = {}

    def run(self) -> None:
        stored = {digest: body for digest, entry in self._entries.items() if (body := self._bytes(entry)) is not None}
        self._findings.counts.objects = len(self._entries)
        for digest, body in stored.items():
            if self._entries[digest].kind == "trial":
                self._plan(digest, body)
        evidence: dict[str, Evidence] = {}
        for digest, body in stored.items():
            if self._entries[digest].kind == "evidence":
                found = self._parsed(digest, body, Evidence)
                if found is not None:
                    evidence[digest] = found
                    self._evidence(digest, found)
        for digest, body in stored.items():
            if self._entries[digest].kind == "verdict":
                verdict = self._parsed(digest, body, Verdict)
                if verdict is not None:
                    self._verdict(digest, verdict, evidence)

    def _bytes(self, entry: ObjectEntry) -> bytes | None:
        path = self._layout.object(entry.digest)
        try:
            body = path.read_bytes()
        except OSError as error:
            self._findings.problem(path, f"the {entry.kind} about {entry.label} is gone ({error.strerror})")
            return None
        if sha256(body).hexdigest() != entry.digest:
            self._findings.problem(path, f"the {entry.kind} about {entry.label} is not the one that was signed")
            return None
        return body

    def _parsed(self, digest: str, body: bytes, kind: type[T]) -> T | None:
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.MsgspecError as error:
            self._findings.problem(self._layout.object(digest), f"is not a {kind.__name__}: {error}")
            return None

    def _plan(self, digest: str, body: bytes) -> None:
        try:
            plan = msgspec.json.decode(body, type=_Plan)
        except msgspec.MsgspecError as error:
            self._findings.problem(self._layout.object(digest), f"is not a trial plan: {error}")
            return
        self._orders.setdefault(plan.trial, []).append([item for unit in plan.units for item in unit.items])

    def _evidence(self, digest: str, evidence: Evidence) -> None:
        for pair in evidence.pairs:
            self._findings.counts.pairs += 1
            self._row(digest, pair.item, pair.item_digest)
            if pair.replay is not None and pair.replay_digest is not None:
                self._row(digest, pair.replay, pair.replay_digest)
        orders = self._orders.get(evidence.trial, [])
        known = self._facts.digests
        whole = [order for order in orders if all(identity in known for identity in order)]
        if orders and not whole and self._facts.rows_retired:
            return  # rows of the span are past their days
        spans = [
            sha256("".join(f"{identity} {known[identity]}\n" for identity in order).encode()).hexdigest()
            for order in whole
        ]
        if orders and evidence.span.digest not in spans:
            self._findings.problem(
                self._layout.object(digest),
                f"the span of {evidence.span.exchanges} exchanges of trial {evidence.trial} is not what the log holds",
            )

    def _row(self, digest: str, identity: str, expected: str) -> None:
        found = self._facts.digests.get(identity)
        if found is None and self._facts.rows_retired:
            self._findings.counts.pairs_retired += 1
        elif found is None:
            self._findings.problem(self._layout.object(digest), f"exchange {identity} is not in the log")
        elif found != expected:
            self._findings.problem(self._layout.object(digest), f"exchange {identity} is not what the evidence says")

    def _verdict(self, digest: str, verdict: Verdict, evidence: dict[str, Evidence]) -> None:
        path = self._layout.object(digest)
        self._findings.counts.verdicts += 1
        for finding in verdict.findings:
            if finding not in self._entries:
                self._findings.problem(path, f"its finding {finding} is not in the store")
        if verdict.evidence is None:
            self._findings.problem(path, "names no evidence")
            return
        found = evidence.get(verdict.evidence)
        if found is None:
            if verdict.evidence not in self._entries:
                self._findings.problem(path, f"its evidence {verdict.evidence} is not in the store")
            return
        if (found.trial, found.route, found.candidate) != (verdict.trial, verdict.route, verdict.candidate):
            self._findings.problem(path, "its evidence is about another trial")
        pairs = Counter(pair.slice for pair in found.pairs)
        for row in verdict.verdicts:
            if row.n != pairs[row.slice]:
                self._findings.problem(path, f"says {row.n} pairs for {row.slice}, its evidence has {pairs[row.slice]}")
