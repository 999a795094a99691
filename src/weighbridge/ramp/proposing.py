"""From a verdict to the first state of a ramp, or the reason why there is none."""

import uuid

import msgspec

from weighbridge.config.vectors import WHY, serves_embeddings
from weighbridge.errors import ControlError
from weighbridge.ramp.facts import ReadingDesk, prices
from weighbridge.ramp.plan import plan_of
from weighbridge.records.canonical import parse
from weighbridge.records.evidence import Evidence as TrialEvidence
from weighbridge.records.evidence import Verdict
from weighbridge.records.ramp import RAMP_SCHEMA, RampState
from weighbridge.records.trial import trial_id
from weighbridge.store.control import RampAct

CONTROLLER = "controller"
"""In place of a person, where the controller moves a ramp."""


def proposed(desk: ReadingDesk, asked: RampAct, who: str, running: RampState | None) -> RampState:
    """The first state of a ramp; `running` is the route's newest one. Raises `ControlError` where there may be none."""
    loaded = desk.loaded
    route = next((row for row in loaded.config.route if row.name == asked.route), None)
    if route is None:
        raise ControlError(f"there is no route {asked.route!r} in {loaded.file}")
    if serves_embeddings(loaded.config, route):
        raise ControlError(f"no ramp on {asked.route}: {WHY}")
    if running is not None and not running.over and running.stage != "settled":
        raise ControlError(
            f"route {asked.route} has a ramp in stage {running.stage} already; roll it back or let it settle first"
        )
    if running is not None and running.stage == "settled" and route.incumbent == running.incumbent:
        raise ControlError(
            f"{running.candidate} is settled on {asked.route}: make it the incumbent of the route in {loaded.file} "
            "and reload, then the next candidate can be proposed"
        )
    stored = None if asked.verdict is None else desk.object(asked.verdict)
    if stored is None or asked.verdict is None:
        raise ControlError(f"there is no verdict {(asked.verdict or 'named')[:12]} in this store, or it was changed")
    verdict = parse(stored, Verdict)
    candidate = asked.candidate or verdict.candidate or ""
    spoilt = running if running is not None and running.verdict == asked.verdict and _failed(running) else None
    problem = _unfit(desk, verdict, asked.route, candidate, route.incumbent, route.candidates, spoilt)
    if problem is not None:
        raise ControlError(f"no ramp of {candidate or 'nothing'} on {asked.route}: {problem}")
    plan = plan_of(loaded, asked.route, verdict)
    table = desk.table
    named = table is not None and all(
        any(arm.name == name for arm in table.arms) for name in (route.incumbent, candidate)
    )
    state = RampState(
        schema=RAMP_SCHEMA, ramp=f"r-{uuid.uuid4().hex[:12]}", route=asked.route, incumbent=route.incumbent,
        candidate=candidate, identities=(loaded.arm_identity(route.incumbent), loaded.arm_identity(candidate)),
        prices=(None, None), verdict=asked.verdict, finding=verdict.findings[0] if verdict.findings else None,
        proposed_by=who, plan=plan, revision=0, stage="proposed", came_from=None,
        time_ns=desk.clock.wall_ns(), assignment=0 if running is None else running.assignment + 1,
        reasons=(asked.why or f"proposed by {who}",), by=who,
    )  # fmt: skip
    if named and table is not None:
        state = msgspec.structs.replace(state, prices=prices(table, state))
    return state


def _unfit(
    desk: ReadingDesk, verdict: Verdict, route: str, candidate: str, incumbent: str, candidates: tuple[str, ...],
    verdict_used: RampState | None,
) -> str | None:  # fmt: skip
    """Why a verdict does not allow a ramp; `verdict_used` is the ramp of the same verdict that an alarm ended."""
    loaded = desk.loaded
    if (verdict.route, verdict.candidate, verdict.incumbent) != (route, candidate, incumbent):
        return f"the verdict is about {verdict.candidate} beside {verdict.incumbent} on {verdict.route}"
    if verdict_used is not None:
        return (
            f"this verdict allowed a ramp that was taken back ({'; '.join(verdict_used.reasons)}); mend the "
            "cause and run the trial again (--fresh)"
        )
    if candidate not in candidates:
        return f"it is not among the route's candidates ({', '.join(candidates) or 'none'})"
    if verdict.overall.verdict != "non_inferior":
        return f"the verdict on the whole is {verdict.overall.verdict}: " + "; ".join(verdict.overall.reasons)
    body = None if verdict.evidence is None else desk.object(verdict.evidence)
    if body is None:
        return "the evidence of the verdict is not in the store"
    span = parse(body, TrialEvidence).span.digest
    identity = loaded.arm_identity(candidate)
    if trial_id(route, identity, span, verdict.margin, verdict.alpha, verdict.seed) != verdict.trial:
        return "the arm was changed since that trial (model, endpoint, precision or prompt); run it again"
    return None


def _failed(state: RampState) -> bool:
    """Did evidence, not a person, end it?"""
    return state.over and state.by == CONTROLLER
