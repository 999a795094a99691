"""`license check`: a model or terms, a profile, a date -> one answer."""

import msgspec

from weighbridge.licenses import hosted
from weighbridge.licenses.answer import Answer, PartAnswer, answer_part, together, training_word
from weighbridge.licenses.conditions import Case
from weighbridge.licenses.profile import Profile
from weighbridge.licenses.resolve import Part, Recorded, Unknown, resolve
from weighbridge.licenses.rules import PERMISSIVE, DutyState, cited, training_effect
from weighbridge.licenses.truth import Ask


def check(query: str, profile: Profile, on: str) -> Answer:
    """What the terms that `query` names mean for `profile` on the day `on` (ISO). Raises `UsageError`."""
    return together(parts_of(query, profile, on), on)


def check_parts(parts: tuple[Part, ...], profile: Profile, on: str) -> Answer:
    """The same for parts that are resolved already, e.g. through a model card."""
    return together(answers_of(parts, profile, on), on)


def parts_of(query: str, profile: Profile, on: str) -> tuple[PartAnswer, ...]:
    """The same, part by part; what the model was trained on is a part of its own."""
    return answers_of(resolve(query), profile, on)


def answers_of(parts: tuple[Part, ...], profile: Profile, on: str) -> tuple[PartAnswer, ...]:
    """The same for parts that are resolved already."""
    answers = [answer_part(part, profile, on) for part in parts]
    answers += [_teacher(name, part, profile, on) for name in profile.trained_on_outputs_of for part in _named(name)]
    return tuple(answers)


def _named(name: str) -> tuple[Part, ...]:
    """A teacher: a provider whose API gave the answers (`OpenAI`, `hosted:openai`), or a model by its weights."""
    ident = hosted.find(name)
    if ident is not None:
        return resolve(f"{hosted.PREFIX}{ident}")
    return resolve(name)


def _teacher(name: str, part: Part, profile: Profile, on: str) -> PartAnswer:
    """What a teacher's terms say about a model trained on its outputs, and nothing else of them."""
    if isinstance(part, Unknown):
        return answer_part(part, profile, on)
    if not isinstance(part, Recorded):
        row = part.terms
        word, asks, questions = training_word(row, profile)
        reason = cited(
            f"Training on outputs of {row.provider}, {row.document}: {row.outputs}", None, row.source, row.confidence
        )
        ident = f"{hosted.PREFIX}{part.ident}"
        if word in PERMISSIVE:
            question = f"confirm with the contract itself: {row.document} (so far only {row.confidence})"
            return PartAnswer(
                terms=ident, verdict="unclear", if_confirmed=word, reasons=(reason,), questions=(question,)
            )
        return PartAnswer(terms=ident, verdict=word, reasons=(reason,), asks=asks, questions=questions)
    effect = training_effect(Case(terms=part.terms, profile=profile))
    reason = msgspec.structs.replace(effect.reason, text=f"Training on outputs of {name}: {effect.reason.text}")
    duties = tuple(
        DutyState(duty, "due" if profile.publishes_derivatives else "later")
        for duty in part.terms.duty
        if duty.kind == "name_prefix" or duty.event == "trained_model_published"
    )
    verdict = effect.verdict if effect.truth.value is not False else "allowed"
    if effect.truth.value is None:
        return PartAnswer(
            terms=part.terms.id, verdict="unclear", reasons=(reason,), asks=effect.truth.asks, duties=duties
        )
    confident = reason.confidence == "read" and part.confidence == "read"
    if verdict in PERMISSIVE and not confident:
        question = f"confirm with the text itself: {reason.text} (so far only reported)"
        return PartAnswer(
            terms=part.terms.id,
            verdict="unclear",
            if_confirmed=verdict,
            reasons=(reason,),
            questions=(question,),
            duties=duties,
        )
    questions = () if verdict != "unclear" else (f"ask what may be done with outputs of {name}: it is not recorded",)
    return PartAnswer(terms=part.terms.id, verdict=verdict, reasons=(reason,), questions=questions, duties=duties)


__all__ = ["Answer", "Ask", "check", "check_parts", "parts_of"]
