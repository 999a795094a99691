"""What gates look at, gathered: configuration, route table, the terms of today, the verdict and its evidence."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from weighbridge.config import Loaded
from weighbridge.grading.drift import drift_of
from weighbridge.licenses import finding as finding_of
from weighbridge.licenses import profile
from weighbridge.ramp.desk import BaseDesk
from weighbridge.ramp.gates import GateFacts
from weighbridge.records.canonical import canonical, digest, parse
from weighbridge.records.evidence import Evidence as TrialEvidence
from weighbridge.records.evidence import Finding, Verdict
from weighbridge.records.permission import arm_refusal
from weighbridge.records.ramp import RampState
from weighbridge.records.table import RouteTable

if TYPE_CHECKING:
    from weighbridge.ramp.watch import Watch


class ReadingDesk(BaseDesk, Protocol):
    """What of the office's desk changes nothing."""

    def object(self, digest: str) -> bytes | None: ...


class Facts:
    def __init__(self, desk: ReadingDesk) -> None:
        self._desk = desk
        self._findings: dict[tuple[str, str, str], Finding] = {}
        self._evidence_of: tuple[str, TrialEvidence] | None = None
        """By the digest of its verdict, the last that was asked for."""

    def of(self, state: RampState, watch: "Watch | None", spent_nanousd: int) -> GateFacts:
        """What the gates look at now. `watch` is that of the stage, `None` before it was begun."""
        desk, table = self._desk, self._desk.table
        route = None if table is None else table.route(state.route)
        arms = () if route is None else (route.incumbent, *route.candidates)
        there = (
            table is not None and route is not None and route.incumbent == state.incumbent and state.candidate in arms
        )
        refusal = (
            arm_refusal(table, route, state.candidate) if there and table is not None and route is not None else None
        )
        stored = desk.object(state.verdict)
        verdict = None if stored is None else parse(stored, Verdict)
        return GateFacts(
            identities=identities(desk.loaded, state) if table is None or there else (None, None),
            prices=(state.prices if table is None or not there else prices(table, state)),
            finding=self._findings.get(self._key(state, desk.loaded)),
            send_refusal=refusal,
            verdict_age_s=float("inf") if verdict is None else (desk.clock.wall_ns() - verdict.created_ns) / 1e9,
            drift=None if watch is None else self._drift(state, watch.slices),
            copies_spent_nanousd=spent_nanousd,
            candidate_limited=(0, 0) if watch is None else watch.limited(state.candidate),
            incumbent_limited=(0, 0) if watch is None else watch.limited(state.incumbent),
            per_minute=None if watch is None else watch.per_minute(),
        )

    def _key(self, state: RampState, loaded: Loaded) -> tuple[str, str, str]:
        today = datetime.fromtimestamp(self._desk.clock.wall_ns() // 1_000_000_000, UTC).date().isoformat()
        arm = next((row for row in loaded.config.arm if row.name == state.candidate), None)
        about = digest(canonical(loaded.config.organization)) + ("" if arm is None else digest(canonical(arm)))
        return state.candidate, today, about

    def finding(self, state: RampState, loaded: Loaded) -> Finding | None:
        """What the candidate's terms mean today; worked out once a day and configuration."""
        key = self._key(state, loaded)
        if key not in self._findings and all(row.name != state.candidate for row in loaded.config.arm):
            return None
        if key not in self._findings:
            made = finding_of(loaded.arm(state.candidate), key[1], profile(loaded.config.organization, loaded.file))
            self._findings = {**self._findings, key: made}
        return self._findings[key]

    def _drift(self, state: RampState, counts: Mapping[str, int]) -> tuple[str, ...] | None:
        evidence = self._certified(state)
        found = None if evidence is None or not evidence.pairs else drift_of(evidence, counts)
        return None if found is None else found.warnings

    def _certified(self, state: RampState) -> TrialEvidence | None:
        """The evidence of the verdict that allows a ramp; read once."""
        if self._evidence_of is None or self._evidence_of[0] != state.verdict:
            stored = self._desk.object(state.verdict)
            named = None if stored is None else parse(stored, Verdict).evidence
            body = None if named is None else self._desk.object(named)
            if body is None:
                return None
            self._evidence_of = state.verdict, parse(body, TrialEvidence)
        return self._evidence_of[1]

    def trial_failures(self, state: RampState) -> tuple[int, int] | None:
        """Failed and all of the candidate's answers in the trial that certified it."""
        evidence = self._certified(state)
        pairs = () if evidence is None else evidence.pairs
        return (sum(pair.candidate < 0.5 for pair in pairs), len(pairs)) if pairs else None


def identities(loaded: Loaded, state: RampState) -> tuple[str | None, str | None]:
    found: list[str | None] = []
    for name in (state.incumbent, state.candidate):
        try:
            found.append(loaded.arm_identity(name) if any(row.name == name for row in loaded.config.arm) else None)
        except OSError:
            found.append(None)
    return found[0], found[1]


def prices(table: RouteTable, state: RampState) -> tuple[str | None, str | None]:
    """Rates and version in one word each: whichever changes, the price did."""
    said: list[str | None] = []
    for name in (state.incumbent, state.candidate):
        arm = table.arm(name)
        parts = [arm, *(() if arm.escalate is None else (table.arm(arm.escalate.to),))]
        words = [
            None if one.price is None else f"{one.price_version} {digest(canonical(one.price))[:8]}" for one in parts
        ]
        said.append(None if None in words else " then ".join(word for word in words if word is not None))
    return said[0], said[1]
