"""The licence line of an arm: what a verdict, a ramp and a report say about its terms."""

from typing import Protocol

import msgspec

from weighbridge.errors import UsageError
from weighbridge.licenses.answer import Answer
from weighbridge.licenses.check import check
from weighbridge.licenses.profile import EMPTY, Profile
from weighbridge.licenses.rules import Reason
from weighbridge.records.evidence import FINDING_SCHEMA, Finding
from weighbridge.records.table import Weights

# An arm answers requests: whatever else the organisation does, this use passes no copies of the weights on.
_PASSES_NOTHING_ON = frozenset({"distributor", "integrator"})


class ArmTerms(Protocol):
    """What a finding looks at: both the configuration's arm and the route table's have it."""

    @property
    def name(self) -> str: ...

    @property
    def model(self) -> str: ...

    @property
    def weights(self) -> Weights | None: ...

    @property
    def terms(self) -> str | None: ...


def finding(arm: ArmTerms, on: str, profile: Profile = EMPTY) -> Finding:
    """What the terms of `arm` mean for `profile` on the date `on` (ISO). What cannot be read is `unclear`.

    Terms are the arm's `terms`; without them, those under which its model is recorded to have come.
    """
    if arm.weights == "closed":
        return _unclear(arm, on, *_closed(arm))
    query = arm.terms or arm.model
    if not profile.roles:
        profile = msgspec.structs.replace(profile, not_roles=_PASSES_NOTHING_ON)
    try:
        answer = check(query, profile, on)
    except UsageError as error:
        return _unclear(arm, on, str(error), f"set `terms` of [[arm]] {arm.name!r} to an SPDX id or a terms id")
    said = (
        f"as configured for arm {arm.name!r}; nobody checked that {arm.model} is published under it"
        if arm.terms
        else f"no terms are configured for arm {arm.name!r}: taken from what is recorded of {arm.model}"
    )
    return Finding(
        schema=FINDING_SCHEMA,
        arm=arm.name,
        terms=arm.terms if arm.terms is not None else (" + ".join(answer.terms) if _recorded(answer) else None),
        verdict=answer.verdict,
        obligations=tuple(f"{one.text} ({one.clause})" for one in answer.obligations),
        reasons=(*(sentence(reason) for reason in answer.reasons), said, *_to_do(answer)),
        on=on,
    )


def sentence(reason: Reason) -> str:
    """A reason with the place where it can be looked up, in one line."""
    mark = "" if reason.confidence == "read" else f", {reason.confidence}"
    clause = "" if reason.clause == "not recorded" else f"clause {reason.clause}, "
    return f"{reason.text} [{clause}{reason.source}{mark}]"


def _recorded(answer: Answer) -> bool:
    """Did the name lead to recorded terms, or only back to itself?"""
    return not all(reason.source == "the shipped records" for reason in answer.reasons)


def _to_do(answer: Answer) -> tuple[str, ...]:
    if answer.if_confirmed is not None:
        would_be = f"once confirmed, the verdict is: {answer.if_confirmed}"
        return (would_be, *(f"to do: {question}" for question in answer.questions))
    return tuple(f"to do: {question}" for question in answer.questions)


def _closed(arm: ArmTerms) -> tuple[str, str]:
    next_step = "let counsel read the provider's terms of service for this use"
    if arm.terms is None:
        return "closed weights: no licence of the model is granted, the terms of the provider's API apply", next_step
    return f"weights are closed, so {arm.terms!r} is not a licence of them: the terms of the API apply", next_step


def _unclear(arm: ArmTerms, on: str, reason: str, next_step: str) -> Finding:
    return Finding(
        schema=FINDING_SCHEMA,
        arm=arm.name,
        terms=arm.terms,
        verdict="unclear",
        obligations=(),
        reasons=(reason, f"to do: {next_step}"),
        on=on,
    )
