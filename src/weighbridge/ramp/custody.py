"""The chain of custody of shares: from any route table back to the verdict that allowed it.

Every change of a ramp is an object in the signed log that names the one before. `check` walks them all: each must be an
arrow of the table of stages, by a cause that may take it, with the approvals it needs, and each stored route table must
hold exactly the share that the object it names allows.
"""

import msgspec

from weighbridge.errors import WeighbridgeError
from weighbridge.exchanges.chain import Chain
from weighbridge.ramp.controller import approvers_of
from weighbridge.ramp.stages import move_between
from weighbridge.records.canonical import digest, parse
from weighbridge.records.drill import Drill
from weighbridge.records.evidence import Verdict
from weighbridge.records.ramp import RampState
from weighbridge.records.table import Route, RouteTable
from weighbridge.store.layout import Layout

CHANGES_MAX = 100_000


class Broken(msgspec.Struct, frozen=True, kw_only=True):
    where: str
    what: str


class Custody(msgspec.Struct, frozen=True, kw_only=True):
    """What was checked, and what does not follow."""

    changes: int
    tables: int
    broken: tuple[Broken, ...]


def past_of(layout: Layout, newest: RampState) -> tuple[RampState, ...]:
    """All changes up to this one, oldest first. Raises `WeighbridgeError` where one is gone or was changed."""
    found = [newest]
    while (name := found[-1].prev) is not None and len(found) < CHANGES_MAX:
        found.append(_read(layout, name))
    return tuple(reversed(found))


def _read(layout: Layout, name: str) -> RampState:
    try:
        stored = layout.object(name).read_bytes()
    except OSError as error:
        raise WeighbridgeError(f"change {name[:12]} of a ramp cannot be read: {error.strerror}") from None
    if digest(stored) != name:
        raise WeighbridgeError(f"change {name[:12]} of a ramp was altered; run `weighbridge verify`")
    return parse(stored, RampState)


def check(layout: Layout, tables: tuple[bytes, ...]) -> Custody:
    """Walk every change in the signed log, and every stored route table. Missing and altered objects are named."""
    states: dict[str, RampState] = {}
    broken: list[Broken] = []
    objects = Chain(layout).snapshot().objects
    for entry in objects:
        if entry.kind == "ramp":
            try:
                states[entry.digest] = _read(layout, entry.digest)
            except (WeighbridgeError, ValueError) as error:
                broken.append(Broken(where=f"objects/{entry.digest}", what=str(error)))
    verdicts = {entry.digest for entry in objects if entry.kind == "verdict"}
    for name, state in states.items():
        broken += [Broken(where=f"objects/{name}", what=what) for what in _wrong(layout, state, states, verdicts)]
    parsed = [parse(body, RouteTable) for body in tables]
    drills = {entry.digest for entry in objects if entry.kind == "drill"}
    for table in parsed:
        for route in table.routes:
            what = _share_wrong(route, states) or _drill_wrong(layout, route, drills)
            if what is not None:
                broken.append(Broken(where=f"route table {table.number}", what=f"route {route.name}: {what}"))
    return Custody(changes=len(states), tables=len(parsed), broken=tuple(broken))


def _wrong(layout: Layout, state: RampState, states: dict[str, RampState], verdicts: set[str]) -> list[str]:
    found: list[str] = []
    if state.verdict not in verdicts:
        found.append(f"the verdict {state.verdict[:12]} that allows it is not in the signed log")
    before = None if state.prev is None else states.get(state.prev)
    if state.prev is not None and before is None:
        return [*found, f"the change before it, {state.prev[:12]}, is not in the signed log"]
    if before is not None and before.revision + 1 != state.revision:
        found.append(f"revision {state.revision} follows {before.revision}")
    if before is None or before.ramp != state.ramp:
        if state.stage != "proposed":
            found.append(f"begins in stage {state.stage}")
        if before is not None and not (before.over or before.stage == "settled"):
            found.append(f"replaces a ramp that was still in stage {before.stage}")
        return [*found, *_not_allowed(layout, state)]
    if before.plan != state.plan or before.verdict != state.verdict or before.identities != state.identities:
        found.append("what was fixed when it was proposed is not what it was")
    if before.stage != state.stage:
        move = move_between(before.stage, state.stage)
        if move is None:
            found.append(f"went from {before.stage} to {state.stage}, which no ramp may")
        elif "approved" in move.needs and len(approvers_of(state, state.stage)) < state.plan.approvals:
            found.append(f"went to {state.stage} without the {state.plan.approvals} approvals that it needs")
    if state.stage == "paused" and before.stage != "paused" and state.came_from != before.stage:
        found.append(f"paused in {before.stage} but says {state.came_from}")
    return found


def _not_allowed(layout: Layout, state: RampState) -> list[str]:
    try:
        verdict = parse(layout.object(state.verdict).read_bytes(), Verdict)
    except (OSError, ValueError):
        return []  # named as missing already
    if (verdict.route, verdict.candidate, verdict.overall.verdict) != (state.route, state.candidate, "non_inferior"):
        return [f"its verdict is about {verdict.candidate} on {verdict.route}: {verdict.overall.verdict}"]
    return []


def _drill_wrong(layout: Layout, route: Route, known: set[str]) -> str | None:
    drill = route.drill
    if drill is None:
        return None
    if drill.record not in known:
        return f"the drill {drill.record[:12]} that it names is not in the signed log"
    try:
        announced = parse(layout.object(drill.record).read_bytes(), Drill)
    except (OSError, ValueError):
        return f"the announcement {drill.record[:12]} of its drill cannot be read"
    said = (announced.route, announced.arm, announced.basis_points, announced.until_ns)
    if said != (route.name, drill.arm, drill.basis_points, drill.until_ns):
        return f"its drill is not the one that announcement {drill.record[:12]} allows"
    return None


def _share_wrong(route: Route, states: dict[str, RampState]) -> str | None:
    shares = {row.arm: row.basis_points for row in route.shares}
    others = sum(points for arm, points in shares.items() if arm != route.incumbent)
    if route.ramp is None:
        return f"{others / 100:g}% go elsewhere than to the incumbent, and no ramp is named" if others else None
    state = states.get(route.ramp.record)
    if state is None:
        return f"the change {route.ramp.record[:12]} that it names is not in the signed log"
    if (
        state.route != route.name
        or shares.get(state.candidate, 0) != state.basis_points
        or others != state.basis_points
    ):
        return f"its shares are not the {state.basis_points / 100:g}% that change {route.ramp.record[:12]} allows"
    return None
