"""What may hold a ramp or take it back besides evidence. Pure: facts in, answers with words out."""

import msgspec

from weighbridge.ramp.controller import duration
from weighbridge.records.evidence import Finding, LicenseWord
from weighbridge.records.ramp import GateView, RampState, Stage

ALLOWED: tuple[LicenseWord, ...] = ("allowed", "obligations")


LIMITED_MIN, LIMITED_SHARE = 3, 0.01
"""An endpoint is at its limit from so many answers 429 or 503 on, if they are more than this share of all: every host
has a few."""


class GateFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the gates look at, gathered by the office."""

    identities: tuple[str | None, str | None]
    """Of incumbent and candidate as configured now; `None`: gone from the configuration."""
    prices: tuple[str | None, str | None]
    finding: Finding | None
    send_refusal: str | None
    verdict_age_s: float
    drift: tuple[str, ...] | None
    """Where traffic has moved to since the verdict's span; `None`: too little was seen to say."""
    copies_spent_nanousd: int
    candidate_limited: tuple[int, int]
    """Answers 429 or 503 of the candidate in the last ten minutes, and all its answers; then of the incumbent."""
    incumbent_limited: tuple[int, int]
    per_minute: float | None
    """The route's requests per minute at its busiest in this stage; `None` before a minute was seen."""


def gates(state: RampState, target: Stage | None, facts: GateFacts) -> tuple[GateView, ...]:
    """Every gate, open or not; `target` is the stage that a step would lead to."""
    return (
        _arm(state, facts),
        _licence(state, facts.finding),
        _gate("send", facts.send_refusal is None, facts.send_refusal or "prompts of this route may be sent there"),
        _verdict(state, facts),
        _drift(facts.drift),
        _price(state, facts),
        _budget(state, facts),
        *_headroom(state, target, facts),
    )


def _gate(name: str, is_open: bool | None, why: str) -> GateView:
    return GateView(name=name, open=is_open, why=why)


def _arm(state: RampState, facts: GateFacts) -> GateView:
    for name, then, now in zip((state.incumbent, state.candidate), state.identities, facts.identities, strict=True):
        if now is None:
            return _gate("arm", False, f"arm {name!r} is no longer an arm of route {state.route!r}")
        if now != then:
            return _gate(
                "arm", False,
                f"arm {name!r} was changed (model, endpoint, precision or prompt) since the ramp was proposed, so the "
                "verdict is about another arm; try it again and propose a new ramp",
            )  # fmt: skip
    return _gate("arm", True, "both arms are what they were")


def _licence(state: RampState, finding: Finding | None) -> GateView:
    if finding is None:
        return _gate("licence", None, f"what the terms of {state.candidate!r} mean is unknown")
    first = finding.reasons[0] if finding.reasons else "no reason is recorded"
    if finding.verdict in ALLOWED:
        return _gate("licence", True, f"{finding.verdict}: {first}")
    if finding.verdict == "prohibited":
        return _gate("licence", False, f"the licence of {state.candidate!r} prohibits this use: {first}")
    return _gate(
        "licence", None,
        f"the licence of {state.candidate!r} is not settled ({finding.verdict}): {first}. Settle it, or approve with "
        "--accept licence",
    )  # fmt: skip


def _verdict(state: RampState, facts: GateFacts) -> GateView:
    age, most = facts.verdict_age_s, state.plan.verdict_s_max
    if age > most:
        return _gate(
            "verdict", False,
            f"the verdict is {duration(age)} old, at most {duration(most)} are allowed; run the trial again and "
            "propose a new ramp",
        )  # fmt: skip
    return _gate("verdict", True, f"the verdict is {duration(max(0.0, age))} old")


def _drift(moved: tuple[str, ...] | None) -> GateView:
    if moved:
        # Somebody may know why, and take it upon themselves: the verdicts of the slices hold all the same.
        return _gate(
            "drift", None, f"{'; '.join(moved)}. Try it again on today's traffic, or approve with --accept drift"
        )
    if moved is None:
        return _gate("drift", True, "too little traffic was seen in this stage to say whether it has moved")
    return _gate("drift", True, "traffic lies in the slices that it was judged in")


def _price(state: RampState, facts: GateFacts) -> GateView:
    for name, then, now in zip((state.incumbent, state.candidate), state.prices, facts.prices, strict=True):
        if then != now:
            return _gate(
                "price", False,
                f"the price of {name!r} changed since the ramp was proposed ({then or 'unknown'} then, "
                f"{now or 'unknown'} now), so what the move saves is not what was approved; propose it anew",
            )  # fmt: skip
    return _gate("price", True, "prices are what they were")


def _budget(state: RampState, facts: GateFacts) -> GateView:
    limit = state.plan.copies_nanousd
    spent = facts.copies_spent_nanousd
    if limit is not None and spent >= limit:
        return _gate(
            "budget", False, f"copies of requests cost ${spent / 1e9:.2f} of ${limit / 1e9:.2f}; none is made any more"
        )
    return _gate(
        "budget", True, f"copies cost ${spent / 1e9:.2f}" + ("" if limit is None else f" of ${limit / 1e9:.2f}")
    )


def _headroom(state: RampState, target: Stage | None, facts: GateFacts) -> tuple[GateView, GateView]:
    terms = None if target is None else state.plan.terms(target)
    share = 0.0 if terms is None else terms.basis_points / 10_000
    return (
        _room("headroom", state.candidate, "candidate_per_minute", state.plan.candidate_per_minute, share, facts,
              facts.candidate_limited),
        # Whatever the share, the incumbent must be able to take everything back.
        _room("way_back", state.incumbent, "incumbent_per_minute", state.plan.incumbent_per_minute, 1.0, facts,
              facts.incumbent_limited),
    )  # fmt: skip


def _room(name: str, arm: str, key: str, takes: int | None, share: float, facts: GateFacts,
          counts: tuple[int, int]) -> GateView:  # fmt: skip
    limited, answers = counts
    if limited >= LIMITED_MIN and limited > LIMITED_SHARE * answers:
        return _gate(
            name,
            False,
            f"{arm!r} answered {limited:,} of {answers:,} requests of the last ten minutes with 429 or 503: it "
            "is at its limit",
        )
    if share == 0.0:
        return _gate(name, True, "no user traffic goes there in the next stage")
    if takes is None:
        return _gate(
            name, None,
            f"how many requests a minute {arm!r} takes is not stated: set {key} in [[ramp]], or approve with "
            f"--accept {name}",
        )  # fmt: skip
    if facts.per_minute is None:
        return _gate(
            name, None, f"how busy the route is has not been seen for a minute yet; or approve with --accept {name}"
        )
    needs = facts.per_minute * share
    return _gate(
        name, needs <= takes, f"{arm!r} would get {needs:,.0f} requests a minute at the busiest, and takes {takes:,}"
    )
