"""Findings put together: each part of a stack answered on its own, then the strictest word and the union of duties.

`allowed` means: no restriction found in the recorded text for this profile. A permissive word that rests on anything
only reported becomes `unclear` and names in `if_confirmed` what it would be; a restrictive one stands, marked.
"""

import msgspec

from weighbridge.licenses import hosted, load
from weighbridge.licenses.channels import channels
from weighbridge.licenses.conditions import Case
from weighbridge.licenses.profile import Profile
from weighbridge.licenses.resolve import Part, Recorded, Service, Unknown
from weighbridge.licenses.rules import (
    PERMISSIVE,
    DutyState,
    Outcome,
    Reason,
    cited,
    evaluate,
    rank,
    strictest,
)
from weighbridge.licenses.truth import Ask
from weighbridge.licenses.words import FIELD_MEANING, duty_sentence
from weighbridge.records.evidence import LicenseWord


class Obligation(msgspec.Struct, frozen=True):
    kind: str
    text: str
    clause: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON of `license check`."""

    terms: tuple[str, ...]
    verdict: LicenseWord
    obligations: tuple[Obligation, ...]
    reasons: tuple[Reason, ...]
    questions: tuple[str, ...]
    if_confirmed: LicenseWord | None
    on: str


class PartAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What one part of a stack means."""

    terms: str
    verdict: LicenseWord
    reasons: tuple[Reason, ...]
    asks: tuple[Ask, ...] = ()
    questions: tuple[str, ...] = ()
    duties: tuple[DutyState, ...] = ()
    if_confirmed: LicenseWord | None = None
    model: str | None = None
    """The model's name, where the terms were found by it."""


def answer_part(part: Part, profile: Profile, on: str) -> PartAnswer:
    match part:
        case Recorded():
            return _recorded(part, profile, on)
        case Service():
            return _service(part, profile, on)
        case Unknown():
            reason = Reason(f"{part.why}.", "not recorded", part.looked_in, "read")
            return PartAnswer(terms=part.asked, verdict="unclear", reasons=(reason,), questions=(part.next_step,))


def together(parts: tuple[PartAnswer, ...], on: str) -> Answer:
    """The strictest part wins; obligations are the union."""
    verdict, confirmed = overall(parts)
    reasons = [reason for part in sorted(parts, key=lambda p: -rank(p.verdict)) for reason in part.reasons]
    return Answer(
        terms=tuple(dict.fromkeys(part.terms for part in parts)),
        verdict=verdict,
        obligations=tuple(dict.fromkeys(_obligation(state, part.model) for part in parts for state in part.duties)),
        reasons=tuple(dict.fromkeys(reasons)),
        questions=_questions(parts, verdict),
        if_confirmed=confirmed,
        on=on,
    )


def overall(parts: tuple[PartAnswer, ...]) -> tuple[LicenseWord, LicenseWord | None]:
    """The verdict of a stack, and what it would be if reported facts are confirmed."""
    verdict = strictest(part.verdict for part in parts)
    if verdict != "unclear":
        return verdict, None
    words = [part.if_confirmed if part.verdict == "unclear" else part.verdict for part in parts]
    return verdict, None if None in words else strictest(word for word in words if word is not None)


def _recorded(part: Recorded, profile: Profile, on: str) -> PartAnswer:
    terms, model = part.terms, part.model
    days = (terms.first_day, terms.last_day)
    own = (days[0], days[1]) if days[0] is not None and days[1] is not None else None
    released = model.days if model is not None and model.days is not None else own
    case = Case(
        terms=terms,
        profile=profile,
        released=released,
        multimodal=None if model is None else model.multimodal,
    )
    outcome, name = evaluate(case), None if model is None else model.name
    if terms.first_day is not None and on < terms.first_day:
        early = Reason(
            f"{terms.name} is of {terms.version}: on {on} it did not exist yet.", "version", terms.version, "read"
        )
        return PartAnswer(
            terms=terms.id, verdict="unclear", reasons=(early,), model=name,
            questions=(f"which text was in force on {on}? `license diff` lists the versions of this family",),
        )  # fmt: skip
    verdict = outcome.verdict
    unconfirmed = list(outcome.unconfirmed)
    found_by = () if part.said is None else (part.said,)
    if part.confidence != "read" and not part.may_only_restrict:
        if part.said is not None:
            unconfirmed.append(part.said)
        elif model is not None:
            unconfirmed.append(cited(f"{model.name} came under {terms.name}", None, model.source, part.confidence))
    if verdict not in PERMISSIVE or part.may_only_restrict or not unconfirmed:
        return PartAnswer(
            terms=terms.id, verdict=verdict, reasons=(*_reasons(outcome, profile), *found_by), asks=outcome.asks,
            questions=_unsettled(outcome), duties=outcome.duties, model=name,
        )  # fmt: skip
    questions = [
        f"confirm with the text itself: {reason.text} (so far only {reason.confidence})" for reason in unconfirmed
    ]
    return PartAnswer(
        terms=terms.id, verdict="unclear", if_confirmed=verdict,
        reasons=(*unconfirmed, *_reasons(outcome, profile), *found_by),
        questions=tuple(questions), duties=outcome.duties, model=name,
    )  # fmt: skip


def _reasons(outcome: Outcome, profile: Profile) -> tuple[Reason, ...]:
    """What the verdict rests on, the weightiest first."""
    verdict, terms = outcome.verdict, outcome.terms
    holding = sorted((e for e in outcome.effects if e.truth.value), key=lambda e: -rank(e.verdict))
    found = [effect.reason for effect in holding if verdict in PERMISSIVE or not effect.is_duty]
    if verdict == "unclear":
        found += [effect.reason for effect in outcome.effects if effect.truth.value is None and not effect.is_duty]
    if verdict in PERMISSIVE:
        found = [*outcome.grounds, *found]
    elif verdict != "unclear":
        found += _ways_out(outcome)
    if not terms.whole_text_read and terms.confidence == "read":
        found.append(Reason(f"Of this text only a part was read: {terms.read_scope}.", "scope", terms.name, "read"))
    found += [
        cited(f"Sources conflict: {conflict.text}", None, conflict.source, conflict.confidence)
        for conflict in terms.conflict
    ]
    found += _api_terms(outcome, profile)
    return tuple(dict.fromkeys(found))


def _ways_out(outcome: Outcome) -> list[Reason]:
    """How a permission can be had, and what is known of its price."""
    found = []
    way = outcome.terms.facts.permission_route
    if way is not None and not way.text.startswith("None needed"):
        found.append(cited(f"The way to a permission: {way.text}", way.clause, way.source, way.confidence))
    for channel in channels():
        if outcome.terms.id in channel.terms:
            plans = " / ".join(channel.plans)
            text = f"A paid licence: {channel.reseller}. {plans}"
            found.append(cited(text, None, channel.source, channel.confidence))
    return found


def _api_terms(outcome: Outcome, profile: Profile) -> list[Reason]:
    """A call to the licensor's API comes under its API terms, which are another question than the weights' licence."""
    ident = hosted.of_licensor(outcome.terms.licensor) if profile.via == "licensor_api" else None
    if ident is None:
        return []
    row = hosted.providers()[ident]
    text = (
        f"This is about the licence of the weights; a call to the licensor's own API comes under its API terms "
        f"({row.document}; check {hosted.PREFIX}{ident}). Outputs: {row.outputs}"
    )
    return [cited(text, None, row.source, row.confidence)]


def _unsettled(outcome: Outcome) -> tuple[str, ...]:
    if outcome.verdict != "unclear":
        return ()
    return tuple(
        f"the sources do not settle this, ask the licensor or counsel: {effect.reason.text}"
        for effect in outcome.effects
        if effect.verdict == "unclear" and effect.truth.value is not False
    )


def _service(part: Service, profile: Profile, on: str) -> PartAnswer:
    row, ident = part.terms, f"{hosted.PREFIX}{part.ident}"
    reason = cited(f"Outputs under {row.provider}, {row.document}: {row.outputs}", None, row.source, row.confidence)
    data = cited(
        f"Customer data: training: {row.training_on_customer_data}; retention: {row.retention}",
        None, row.source, row.confidence,
    )  # fmt: skip
    if row.dated is not None and on < row.dated:
        question = f"which terms of {row.provider} were in force on {on}? The recorded ones are of {row.dated}"
        return PartAnswer(terms=ident, verdict="unclear", reasons=(reason,), questions=(question,))
    word, asks, questions = _service_word(row, profile)
    if word in PERMISSIVE:
        return PartAnswer(
            terms=ident, verdict="unclear", if_confirmed=word, reasons=(reason, data),
            questions=(f"confirm with the contract itself: {row.document} (so far only {row.confidence})",),
        )  # fmt: skip
    return PartAnswer(terms=ident, verdict=word, reasons=(reason, data), asks=asks, questions=questions)


def _service_word(row: hosted.Hosted, profile: Profile) -> tuple[LicenseWord, tuple[Ask, ...], tuple[str, ...]]:
    """What a provider's contract makes of this use; only training on outputs is recorded as restricted."""
    if not profile.roles:
        return "unclear", (Ask("organization.roles"),), ()
    if "distiller" not in profile.roles:
        return "allowed", (), ()
    return training_word(row, profile)


def training_word(row: hosted.Hosted, profile: Profile) -> tuple[LicenseWord, tuple[Ask, ...], tuple[str, ...]]:
    """Whether a model may be trained on outputs that came from this provider."""
    if row.training == "unclear":
        return "unclear", (), (f"ask {row.provider} whether outputs may train a model; it is not recorded",)
    if not row.when_competing:
        return row.training, (), ()
    if profile.businesses is None:
        return "unclear", (Ask("organization.use.businesses", f"does the model compete with {row.provider}"),), ()
    rivals = {name.removeprefix("competes_with:") for name in profile.businesses if name.startswith("competes_with:")}
    return (row.training if rivals & set(row.names) else "allowed"), (), ()


def _obligation(state: DutyState, model: str | None) -> Obligation:
    duty = state.duty
    prefix = {"due": "", "open": "If it applies (see questions): ", "later": "Once that happens: "}[state.state]
    return Obligation(duty.kind, f"{prefix}{duty_sentence(duty, model)}", duty.clause or "not recorded")


def _questions(parts: tuple[PartAnswer, ...], verdict: LicenseWord) -> tuple[str, ...]:
    whys: dict[str, list[str]] = {}
    for part in parts:
        for ask in part.asks:
            note = f"{part.terms}: {ask.why}" if ask.why else part.terms
            whys.setdefault(ask.field, []).append(note)
    asked = []
    for field, notes in whys.items():
        meaning = FIELD_MEANING.get(field, "not known")
        asked.append(f"{field}: {meaning} ({'; '.join(dict.fromkeys(notes))})")
    asked += [question for part in parts for question in part.questions if verdict != "prohibited"]
    return tuple(dict.fromkeys(asked)) if verdict != "prohibited" else ()


def records() -> int:
    """How many licence versions are recorded."""
    return len(load.ids())
