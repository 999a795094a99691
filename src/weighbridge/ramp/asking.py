"""What a person may ask of a ramp, and in whose name. Pure but for the secrets of approvers."""

import hmac
import logging

from weighbridge.config import Loaded, secret
from weighbridge.errors import ControlError
from weighbridge.ramp.controller import GATES, Decision
from weighbridge.ramp.stages import LADDER, next_of
from weighbridge.records.ramp import Approval, RampState, Stage
from weighbridge.store.control import RampAct

log = logging.getLogger("keeper")


def name_of(loaded: Loaded, token: str | None, login: str) -> str:
    """Who asks. Raises `ControlError` for a token that is nobody's."""
    approvers = loaded.config.approver
    if token is None:
        return login
    for row in approvers:
        try:
            known = secret(row.token, loaded.folder)
        except LookupError as error:
            log.error("approver %s cannot be told by a token: %s", row.name, error.args[0])
            continue
        if hmac.compare_digest(known.encode(), token.encode()):
            return row.name
    raise ControlError(
        "the token is nobody's; it must be that of an [[approver]] of the configuration"
        + ("" if approvers else ", and there is none")
    )


def target_of(asked: RampAct, state: RampState) -> Stage:
    """Where an action leads. Raises `ControlError` where it leads nowhere."""
    match asked.action:
        case "start":
            if state.stage != "proposed":
                raise ControlError(f"the ramp of {state.route} was started already, it is in stage {state.stage}")
            return "shadow"
        case "advance":
            above = next_of(state.stage)
            if above is None or state.stage == "proposed":
                raise ControlError(f"the ramp of {state.route} is in stage {state.stage}: there is no step from there")
            return above
        case "resume":
            if state.stage != "paused" or state.came_from is None:
                raise ControlError(f"the ramp of {state.route} is not paused, it is in stage {state.stage}")
            return state.came_from
        case "pause":
            return "paused"
        case _:
            return "rejected"


def approval(loaded: Loaded, state: RampState, asked: RampAct, who: str, *, by_person: bool, now_ns: int) -> Approval:
    """Raises `ControlError` where it would be none."""
    if state.over:
        raise ControlError(f"the ramp of {state.route} is over ({state.stage}); propose a new one")
    if loaded.config.approver and asked.token is None and not by_person:
        raise ControlError(
            "approvers are configured, so an approval needs a token (`weighbridge ramp approve --token env:NAME`) "
            "or somebody who is signed in"
        )
    up_to = asked.up_to or next_of(state.standing)
    if up_to is None or up_to not in LADDER[1:]:
        raise ControlError(f"{up_to} is no stage to approve; allowed are {', '.join(LADDER[1:])}")
    unknown = [name for name in asked.accepts if name not in GATES]
    if unknown:
        raise ControlError(f"{unknown[0]!r} is not a gate; allowed are {', '.join(GATES)}")
    return Approval(by=who, time_ns=now_ns, up_to=up_to, accepts=asked.accepts)


def approval_words(row: Approval, why: str) -> str:
    said = f"{row.by} approves up to {row.up_to}" + (f", accepts {', '.join(row.accepts)}" if row.accepts else "")
    return said if not why else f"{said}: {why}"


def alert_words(state: RampState, decision: Decision) -> tuple[str, tuple[str, ...]]:
    """Subject and lines for people, after the controller itself paused a ramp or took it back."""
    if state.stage == "paused":
        what = f"route {state.route}: the ramp of {state.candidate} is paused"
        to_do = (
            f"to do: look at the evidence (`weighbridge ramp status {state.route}`), then `weighbridge ramp "
            f"resume` or `weighbridge ramp rollback {state.route}`"
        )
    else:
        what = f"route {state.route}: taken back from {state.candidate} to {state.incumbent}"
        to_do = (
            f"to do: nothing for users, all are on {state.incumbent}. Find the cause (`weighbridge ramp history "
            f"{state.route}`), mend it, run the trial again and propose a new ramp"
        )
    return what, (*decision.reasons, to_do)
