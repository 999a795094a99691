"""Routes and ramps: the stage, what it waits for, its guardrails as they stand, exposure, and what a person may do."""

import math
from collections.abc import Sequence

import msgspec

from weighbridge.admin.pages.sources import Sources, Told
from weighbridge.errors import WeighbridgeError
from weighbridge.ramp.custody import past_of
from weighbridge.ramp.stages import ENDED, LADDER, next_of
from weighbridge.records.evidence import Verdict
from weighbridge.records.ramp import GateView, RampState, RampStatus, Stage, StreamView
from weighbridge.records.table import Route
from weighbridge.store.control import RampAction
from weighbridge.trials.plan import read_object


class Rung(msgspec.Struct, frozen=True, kw_only=True):
    """One stage of the ladder, beside where the ramp is."""

    stage: Stage
    percent: float | None
    """Of the route's traffic to the candidate; `None` before it has a plan."""
    done: bool
    here: bool
    approved: int
    """By how many people."""


class Meter(msgspec.Struct, frozen=True, kw_only=True):
    """One guardrail. `part`: how much of the way to the alarm its evidence has gone, 0 to 1, on the scale of logs."""

    stream: StreamView
    part: float


class Proposable(msgspec.Struct, frozen=True, kw_only=True):
    digest: str
    candidate: str
    trial: str | None
    created_ns: int


class RouteView(msgspec.Struct, frozen=True, kw_only=True):
    route: Route
    status: RampStatus | None
    """`None`: no ramp was ever proposed, or the keeper does not answer."""
    keeper_why: str | None
    ladder: tuple[Rung, ...]
    meters: tuple[Meter, ...]
    actions: tuple[RampAction, ...]
    up_to: tuple[Stage, ...]
    """What may be approved."""
    acceptable: tuple[GateView, ...]
    """Gates that an approval may take upon itself where their answer is unknown when a step is due: those that are not
    closed now, the unknown ones first. A gate that is open for the next stage may be unknown for a later one."""
    past: tuple[RampState, ...]
    """Newest first."""
    past_why: str | None
    proposable: tuple[Proposable, ...]
    """Verdicts that allow a ramp, newest first."""


def routes(sources: Sources, told: Told) -> tuple[RouteView, ...]:
    return tuple(view_of(sources, route, told) for route in sources.table.routes)


def route_view(sources: Sources, name: str, told: Told) -> RouteView | None:
    route = next((one for one in sources.table.routes if one.name == name), None)
    return None if route is None else view_of(sources, route, told)


def view_of(sources: Sources, route: Route, told: Told) -> RouteView:
    status = next((row for row in told.ramps or () if row.state.route == route.name), None)
    past: Sequence[RampState] = ()
    why = None
    if status is not None:
        try:
            past = past_of(sources.layout, status.state)
        except WeighbridgeError as error:
            why = str(error)
    return RouteView(
        route=route, status=status, keeper_why=told.why, ladder=() if status is None else ladder_of(status.state),
        meters=() if status is None else tuple(Meter(stream=one, part=part_of(one)) for one in status.streams),
        actions=actions_of(None if status is None else status.state), up_to=_up_to(status),
        acceptable=() if status is None else _acceptable(status.gates),
        past=tuple(reversed(past)), past_why=why, proposable=_proposable(sources, route, status),
    )  # fmt: skip


def ladder_of(state: RampState) -> tuple[Rung, ...]:
    at = LADDER.index(state.standing) if state.standing in LADDER else None
    rungs = []
    for number, stage in enumerate(LADDER):
        terms = state.plan.terms(stage)
        names = {row.by for row in state.approvals if row.up_to in LADDER and LADDER.index(row.up_to) >= number}
        rungs.append(
            Rung(
                stage=stage, percent=None if terms is None else terms.basis_points / 100,
                done=at is not None and number < at, here=number == at, approved=len(names),
            )
        )  # fmt: skip
    return tuple(rungs)


def part_of(stream: StreamView) -> float:
    """Evidence multiplies, so its logarithm adds up: below 1 it speaks for the candidate."""
    if stream.alarmed:
        return 1.0
    if stream.value <= 1.0 or stream.threshold <= 1.0:
        return 0.0
    return min(1.0, math.log(stream.value) / math.log(stream.threshold))


def actions_of(state: RampState | None) -> tuple[RampAction, ...]:
    """What the table of stages lets a person ask for; the keeper decides."""
    if state is None or state.stage in ENDED:
        return ("propose",)
    if state.stage == "settled":
        return ("rollback", "propose")
    if state.stage == "proposed":
        return ("approve", "start", "reject")
    if state.stage == "shadow":
        return ("approve", "advance", "pause", "reject")
    if state.stage == "paused":
        return ("resume", "approve", "rollback")
    return ("approve", "advance", "pause", "rollback")


def _acceptable(gates: Sequence[GateView]) -> tuple[GateView, ...]:
    return tuple(sorted((gate for gate in gates if gate.open is not False), key=lambda gate: gate.open is True))


def _up_to(status: RampStatus | None) -> tuple[Stage, ...]:
    if status is None or status.state.over:
        return ()
    first = next_of(status.state.standing)
    return () if first is None else LADDER[LADDER.index(first) :]


def _proposable(sources: Sources, route: Route, status: RampStatus | None) -> tuple[Proposable, ...]:
    if status is not None and not status.state.over and status.state.stage != "settled":
        return ()
    found = []
    for entry in reversed([one for one in sources.chain().objects if one.kind == "verdict"]):
        if not entry.label.startswith(f"{route.name}/"):
            continue
        verdict = read_object(sources.layout, entry.digest, Verdict)
        if (
            verdict.route == route.name
            and verdict.candidate in route.candidates
            and verdict.overall.verdict == "non_inferior"
        ):
            found.append(
                Proposable(
                    digest=entry.digest, candidate=verdict.candidate, trial=verdict.trial, created_ns=verdict.created_ns
                )
            )  # fmt: skip
    return tuple(found[:10])
