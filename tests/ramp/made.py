"""Ramps for tests."""

import msgspec

from weighbridge.ramp.controller import Evidence
from weighbridge.records.ramp import RAMP_SCHEMA, Approval, GateView, RampPlan, RampState, Stage, StageTerms, StreamView

SHARES: dict[Stage, int] = {"shadow": 0, "canary": 100, "few": 500, "quarter": 2500, "half": 5000, "all": 10_000}

PLAN = RampPlan(
    stages=tuple(
        StageTerms(stage=stage, basis_points=share, hold_s=60.0, conversations_min=10, pairs_min=5)
        for stage, share in SHARES.items()
    ),
    alpha=0.05, margin=0.03, guardrails=("errors", "refusals"), events_planned=1000, slow_planned=3000,
    pairs_planned=2000, quality="pairs", ratio=1.0, shadow_basis_points=1000, pair_basis_points=500,
    copies_nanousd=10**9, approvals=1, stick_by="conversation", verdict_s_max=30 * 86_400.0,
    candidate_per_minute=1000, incumbent_per_minute=1000,
)  # fmt: skip

STATE = RampState(
    schema=RAMP_SCHEMA, ramp="r-1", route="assistant", incumbent="incumbent", candidate="candidate",
    identities=("i", "c"), prices=(None, None), verdict="v" * 64, finding=None, proposed_by="ada", plan=PLAN,
    revision=1, stage="proposed", came_from=None, time_ns=1,
)  # fmt: skip

ENOUGH = Evidence(held_s=1e6, conversations=10**6, pairs=10**6)
OPEN = tuple(
    GateView(name=name, open=True, why="")
    for name in ("arm", "licence", "send", "verdict", "price", "budget", "headroom", "way_back")
)


def at(stage: Stage, *, approved: Stage | None = "settled", came_from: Stage | None = None) -> RampState:
    rows = () if approved is None else (Approval(by="ada", time_ns=1, up_to=approved),)
    return msgspec.structs.replace(STATE, stage=stage, approvals=rows, came_from=came_from)


def alarm(name: str = "errors") -> StreamView:
    return StreamView(name=name, seen=20, value=9e9, threshold=1e6, alarmed=True)


def gate(name: str, is_open: bool | None, why: str = "because") -> GateView:
    return GateView(name=name, open=is_open, why=why)
