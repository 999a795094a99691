"""One licence version against one profile: which restrictions apply, which may, and what has to be done.

Pure. Every restriction is an *effect* with a three-valued truth; the effects that hold give the verdict its floor,
those that may hold give its ceiling. Where the two differ the answer is `unclear`, with the facts that would settle it.
"""

from collections.abc import Iterable
from typing import Literal

import msgspec

from weighbridge.licenses import load
from weighbridge.licenses.conditions import Case, applies, lifted, met, outside, roles_in
from weighbridge.licenses.model import Confidence, Duty, Exemption, Terms, Threshold
from weighbridge.licenses.profile import Profile
from weighbridge.licenses.truth import Ask, Truth, both, known, negated, unknown
from weighbridge.licenses.words import duty_sentence, permission_sentence, threshold_sentence
from weighbridge.records.evidence import LicenseWord

ORDER: tuple[LicenseWord, ...] = (
    "allowed", "obligations", "permission", "permission_fee_expected", "fee", "unclear", "prohibited",
)  # fmt: skip
"""From mild to strict. `unclear` is stricter than a fee: nobody knows yet whether it is a flat no."""

PERMISSIVE: frozenset[LicenseWord] = frozenset({"allowed", "obligations"})


def rank(word: LicenseWord) -> int:
    return ORDER.index(word)


def strictest(words: Iterable[LicenseWord]) -> LicenseWord:
    """The strictest of `words`; `allowed` where there are none."""
    return ORDER[max((rank(word) for word in words), default=0)]


class Reason(msgspec.Struct, frozen=True):
    """A sentence of a finding and where it can be looked up."""

    text: str
    clause: str
    source: str
    confidence: Confidence


class Effect(msgspec.Struct, frozen=True):
    """A restriction: what it would make of the verdict, whether it holds, and the sentence that says so."""

    verdict: LicenseWord
    truth: Truth
    reason: Reason
    is_duty: bool = False


class DutyState(msgspec.Struct, frozen=True):
    duty: Duty
    state: Literal["due", "open", "later"]
    """`due` now; `open`: a missing fact decides; `later`: starts with an event such as passing on copies."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one licence version means for one profile, before it is put together with others."""

    terms: Terms
    floor: LicenseWord
    """The verdict that is certain at the least."""
    ceiling: LicenseWord
    effects: tuple[Effect, ...]
    """Those that hold or may hold."""
    duties: tuple[DutyState, ...]
    grounds: tuple[Reason, ...]
    """What a permission rests on: the grant, lines not reached, exemptions used."""

    @property
    def verdict(self) -> LicenseWord:
        return self.floor if self.floor == self.ceiling else "unclear"

    @property
    def asks(self) -> tuple[Ask, ...]:
        """Facts that would move the verdict; none where it is settled."""
        if self.verdict != "unclear":
            return ()
        floor = rank(self.floor)
        asks = [a for e in self.effects if e.truth.value is None and rank(e.verdict) > floor for a in e.truth.asks]
        return tuple(dict.fromkeys(asks))

    @property
    def unconfirmed(self) -> tuple[Reason, ...]:
        return tuple(reason for reason in self.grounds if reason.confidence != "read")


def evaluate(case: Case) -> Outcome:
    terms, profile = case.terms, case.profile
    duties = tuple(state for duty in terms.duty if (state := _duty(duty, case)) is not None)
    effects = tuple(effect for effect in _effects(case) if effect.truth.value is not False)
    holding = [e.verdict for e in effects if e.truth.value is True and e.verdict != "unclear"]
    possible = [e.verdict for e in effects]
    # What the sources leave open may turn out to be a flat no.
    worst = [word if word != "unclear" else "prohibited" for word in possible]
    floor = strictest(holding)
    ceiling = strictest([*holding, *worst])
    return Outcome(
        terms=terms, floor=floor, ceiling=ceiling, effects=effects, duties=duties, grounds=_grounds(case, profile)
    )


def _effects(case: Case) -> list[Effect]:
    terms = case.terms
    effects = []
    for line in terms.threshold:
        if confidence(line.source, line.confidence) == "unverified":
            continue  # nobody saw a source: it may neither permit nor restrict
        reason = cited(threshold_sentence(line), line.clause, line.source, line.confidence)
        effects.append(Effect(line.verdict, applies(line, case), reason))
    for rule in terms.rule:
        truth = both((met(rule.when, case), negated(lifted(rule.id, case))))
        effects.append(Effect(rule.verdict, truth, cited(rule.text, rule.clause, rule.source, rule.confidence)))
    if (place := terms.territory) is not None:
        effects.append(
            Effect(place.verdict, outside(case), cited(place.text, place.clause, place.source, place.confidence))
        )
    training = _training(case)
    if training is not None:
        effects.append(training)
    for duty in terms.duty:
        reason = cited(duty_sentence(duty), duty.clause, duty.source, duty.confidence)
        effects.append(Effect("obligations", _binds(duty, case), reason, is_duty=True))
    return effects


def training_effect(case: Case) -> Effect:
    """Whether other models may be trained on this model's outputs, whoever asks."""
    rule = case.terms.training
    reason = cited(rule.text, rule.clause, rule.source, rule.confidence)
    holds = met(rule.when, case)
    if rule.ask is not None:
        holds = both((holds, unknown(rule.ask)))
        return Effect("prohibited", holds, reason)
    return Effect(rule.verdict, holds, reason)


def _training(case: Case) -> Effect | None:
    roles = case.profile.roles
    if roles and "distiller" not in roles:
        return None
    effect = training_effect(case)
    if rank(effect.verdict) == 0:
        return None
    distils = known(True) if roles else unknown("organization.roles")
    return Effect(effect.verdict, both((distils, effect.truth)), effect.reason)


def _binds(duty: Duty, case: Case) -> Truth:
    """Does the use itself start this duty? Encouraged things and later events bind nobody yet."""
    if duty.event in (None, "copies_passed_on", "modified_files_passed_on", "derivative_published"):
        return met(duty.when, case)
    if duty.event == "trained_model_published":
        return met(duty.when, case)
    return known(False)


def _duty(duty: Duty, case: Case) -> DutyState | None:
    truth = _binds(duty, case)
    if truth.value is True:
        return DutyState(duty, "due")
    if duty.event is not None:
        if duty.event == "derivative_published" and case.profile.publishes_derivatives:
            return DutyState(duty, "due")
        trained = bool(case.profile.trained_on_outputs_of) or "distiller" in case.profile.roles
        if duty.event == "trained_model_published" and case.profile.publishes_derivatives and trained:
            return DutyState(duty, "due")
        if duty.event in ("copies_passed_on", "modified_files_passed_on") and case.profile.publishes_derivatives:
            return DutyState(duty, "due")
        return DutyState(duty, "later")
    return DutyState(duty, "open") if truth.value is None else None


def _grounds(case: Case, profile: Profile) -> tuple[Reason, ...]:
    terms = case.terms
    grant = terms.facts.commercial_use
    grounds = [cited(permission_sentence(terms), grant.clause, grant.source, grant.confidence)]
    for line in terms.threshold:
        if confidence(line.source, line.confidence) != "unverified":
            grounds.append(cited(_clear_of(line), line.clause, line.source, line.confidence))
    for exemption in terms.exemption:
        if _used(exemption, case):
            grounds.append(cited(exemption.text, exemption.clause, exemption.source, exemption.confidence))
    if profile.roles & roles_in(("distiller",)):
        rule = terms.training
        grounds.append(cited(f"Training on outputs: {rule.text}", rule.clause, rule.source, rule.confidence))
    return tuple(grounds)


def _used(exemption: Exemption, case: Case) -> bool:
    """Does it change anything: does it hold, and would something that it lifts hold or perhaps hold without it?"""
    if met(exemption.when, case).value is not True:
        return False
    bare = Case(
        terms=msgspec.structs.replace(case.terms, exemption=()),
        profile=case.profile,
        released=case.released,
        multimodal=case.multimodal,
    )
    lines = [applies(line, bare) for line in bare.terms.threshold if line.id in exemption.lifts]
    places = [outside(bare)] if "territory" in exemption.lifts else []
    return any(truth.value is not False for truth in (*lines, *places))


def _clear_of(line: Threshold) -> str:
    return f"Not reached, or not about this use: {threshold_sentence(line)}"


def confidence(source: str, stated: Confidence | None) -> Confidence:
    return load.confidence_of(source, stated)


def cited(text: str, clause: str | None, source: str, stated: Confidence | None) -> Reason:
    return Reason(
        text=text if text.endswith((".", "!", "?")) else f"{text}.",
        clause=clause or "not recorded",
        source=load.sources()[source].ref,
        confidence=confidence(source, stated),
    )
