"""Where a ramp goes next, and why: (state, evidence, gates) -> decision. Pure: no clock, no disk, no chance."""

from typing import Final, Literal

import msgspec

from weighbridge.ramp.stages import Cause, Condition, back_of, move_between, next_of, reaches
from weighbridge.records.ramp import GateView, RampState, Stage, StreamView

GateEffect = Literal["back", "hold"]

GATES: Final[dict[str, GateEffect]] = {
    "arm": "back", "licence": "back", "send": "back",
    "verdict": "hold", "drift": "hold", "price": "hold", "budget": "hold", "headroom": "hold", "way_back": "hold",
}  # fmt: skip
"""What a closed gate does to a live ramp. An unknown one always holds, unless somebody took that upon themselves."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen since the stage began."""

    held_s: float
    """By a clock that never jumps."""
    conversations: int
    pairs: int
    streams: tuple[StreamView, ...] = ()
    doubt: StreamView | None = None
    """The candidate against its own trial: may pause, never roll back."""
    missing: tuple[str, ...] = ()
    """What should have been seen and was not, one sentence each."""


NOTHING_SEEN = Evidence(
    held_s=0.0, conversations=0, pairs=0, missing=("nothing has been read of the exchange log yet",)
)


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """`target` is `None` where the ramp stays; then `waits_for` says what for."""

    target: Stage | None
    cause: Cause
    reasons: tuple[str, ...] = ()
    waits_for: tuple[str, ...] = ()


def decide(state: RampState, evidence: Evidence, gates: tuple[GateView, ...]) -> Decision:
    """What the controller does by itself. Going back comes before everything else, going on is last."""
    if state.over:
        return Decision(target=None, cause="evidence")
    monitored = state.standing not in ("proposed", "shadow")
    back = back_of(state.standing)
    closed = tuple(gate for gate in gates if gate.open is False and GATES.get(gate.name) == "back")
    if closed and state.stage != "proposed":
        target = back if monitored or state.stage == "shadow" else "rolled_back"
        return Decision(target=target, cause="gate", reasons=tuple(gate.why for gate in closed))
    alarms = tuple(stream for stream in evidence.streams if stream.alarmed)
    if alarms and state.stage != "proposed":
        target = "rolled_back" if state.stage == "paused" else back
        return Decision(target=target, cause="alarm", reasons=tuple(map(alarm_words, alarms)))
    if state.stage == "paused":
        return Decision(target=None, cause="evidence", waits_for=("somebody resumes it, or takes it back",))
    if evidence.doubt is not None and evidence.doubt.alarmed and move_between(state.stage, "paused") is not None:
        return Decision(target="paused", cause="doubt", reasons=(doubt_words(evidence.doubt),))
    target_up = next_of(state.stage)
    if target_up is None:
        return Decision(target=None, cause="evidence")
    waits = missing_for(state, target_up, evidence, gates)
    move = move_between(state.stage, target_up)
    if move is not None and "evidence" not in move.causes:
        waits = (*waits, f"somebody starts it: `weighbridge ramp start {state.route}`")
    if waits:
        return Decision(target=None, cause="evidence", waits_for=waits)
    return Decision(target=target_up, cause="evidence", reasons=(_earned(state, evidence),))


def missing_for(state: RampState, target: Stage, evidence: Evidence, gates: tuple[GateView, ...]) -> tuple[str, ...]:
    """What the move to `target` still lacks, one sentence each; empty where it may be made."""
    move = move_between(state.stage, target)
    if move is None:
        return (f"a ramp in stage {state.stage} cannot go to {target}",)
    found: list[str] = []
    for condition in move.needs:
        found += _lacks(condition, state, target, evidence, gates)
    return tuple(found)


def _lacks(
    condition: Condition, state: RampState, target: Stage, evidence: Evidence, gates: tuple[GateView, ...]
) -> list[str]:
    terms = state.plan.terms(state.stage)
    match condition:
        case "approved":
            return _unapproved(state, target)
        case "gates_open":
            accepted = {name for approval in state.approvals for name in approval.accepts}
            return [
                gate.why for gate in gates if gate.open is False or (gate.open is None and gate.name not in accepted)
            ]
        case "held":
            hold_s = 0.0 if terms is None else terms.hold_s
            left = hold_s - evidence.held_s
            return (
                [f"{duration(left)} more of the {duration(hold_s)} that {state.stage} lasts at least"]
                if left > 0
                else []
            )
        case "evidence":
            return _thin(state, evidence)
        case "quiet":
            return [alarm_words(stream) for stream in evidence.streams if stream.alarmed]


def _unapproved(state: RampState, target: Stage) -> list[str]:
    people = approvers_of(state, target)
    lacking = state.plan.approvals - len(people)
    if lacking <= 0:
        return []
    by = f" (given by {', '.join(sorted(people))})" if people else ""
    others = " by somebody other than who proposed it" if state.plan.approvals > 1 else ""
    many = "approval is" if lacking == 1 else "approvals are"
    return [
        f"{lacking} {many} missing for {target}{by}{others}: `weighbridge ramp approve {state.route} --up-to {target}`"
    ]


def approvers_of(state: RampState, target: Stage) -> frozenset[str]:
    """Whose approval covers `target`. With four eyes the proposer's own does not count."""
    people = {row.by for row in state.approvals if reaches(row.up_to, target)}
    if state.plan.approvals > 1:
        people.discard(state.proposed_by)
    return frozenset(people)


def _thin(state: RampState, evidence: Evidence) -> list[str]:
    terms = state.plan.terms(state.stage)
    found = list(evidence.missing)
    if terms is None:
        return found
    if evidence.conversations < terms.conversations_min:
        found.append(
            f"{terms.conversations_min - evidence.conversations:,} more conversations on {state.candidate} "
            f"({evidence.conversations:,} of {terms.conversations_min:,})"
        )
    if evidence.pairs < terms.pairs_min:
        found.append(
            f"{terms.pairs_min - evidence.pairs:,} more judged {state.plan.quality} ({evidence.pairs:,} of "
            f"{terms.pairs_min:,})"
        )
    return found


def _earned(state: RampState, evidence: Evidence) -> str:
    return (
        f"{duration(evidence.held_s)} in {state.stage} with {evidence.conversations:,} conversations on "
        f"{state.candidate} and {evidence.pairs:,} judged {state.plan.quality}, no alarm in {len(evidence.streams)} "
        "streams"
    )


def alarm_words(stream: StreamView) -> str:
    """An alarm with its figures: what a person needs to believe it."""
    figures = ""
    if stream.candidate_n is not None and stream.control_n is not None:
        figures = (
            f": {stream.candidate_bad:,} of {stream.candidate_n:,} on the candidate, "
            f"{stream.control_bad:,} of {stream.control_n:,} on the incumbent"
        )
    return (
        f"{stream.name} rose{figures} (evidence {stream.value:,.0f} against a threshold of {stream.threshold:,.0f} "
        f"after {stream.seen:,} events)"
        if not stream.name.startswith("quality")
        else f"{stream.name} fell below the margin{figures} (evidence {stream.value:,.0f} against a threshold of "
        f"{stream.threshold:,.0f} after {stream.seen:,} judged)"
    )


def doubt_words(stream: StreamView) -> str:
    return (
        f"the candidate fails more often than in its own trial (evidence {stream.value:,.0f} against "
        f"{stream.threshold:,.0f} after {stream.seen:,} judged); the traffic may have changed, so this pauses and does "
        "not roll back"
    )


def duration(seconds: float) -> str:
    """`90 s`, `25 min`, `36 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
