"""Under whose terms an answer came, and whether a model may be trained on it, on that day.

It holds for prompts tuned on stored answers, few-shot examples and rewards as well: what learns from an answer is
trained on it. An export is not legal clearance.
"""

import msgspec

from weighbridge.licenses import hosted
from weighbridge.licenses.answer import training_word
from weighbridge.licenses.conditions import Case
from weighbridge.licenses.finding import ArmTerms, sentence
from weighbridge.licenses.profile import EMPTY, Profile
from weighbridge.licenses.resolve import Part, Recorded, Service, Unknown, resolve
from weighbridge.licenses.rules import PERMISSIVE, cited, rank, strictest, training_effect
from weighbridge.records.evidence import LicenseWord


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """What a stored answer carries: whose terms, what they make of training, why, and for which day."""

    terms: tuple[str, ...]
    training: LicenseWord
    reasons: tuple[str, ...]
    on: str

    @property
    def permitted(self) -> bool:
        """Whether an export for training may hold this answer; `unclear` is not a yes."""
        return self.training in PERMISSIVE


def provenance(arm: ArmTerms, provider: str | None, on: str, profile: Profile = EMPTY) -> Provenance:
    """`provider`: who answered, as the endpoint names it (`openai`, `deepseek`); `None` for an own server.

    An answer of an open model through somebody's API came under both: the API's terms and the licence of the weights.
    """
    parts: list[Part] = []
    service = hosted.find(provider) if provider is not None else None
    if service is not None:
        parts.append(Service(service, hosted.providers()[service]))
    elif provider is not None:
        parts.append(Unknown(provider, f"the API terms of {provider} are not recorded", "read them"))
    if arm.weights != "closed":
        parts.extend(resolve(arm.terms or arm.model))
    elif service is None and provider is None:
        parts.append(Unknown(arm.name, "closed weights and no provider is named", "set the endpoint's provider"))
    judged = [_judged(part, on, profile) for part in parts]
    return Provenance(
        terms=tuple(dict.fromkeys(name for name, _, _ in judged)),
        training=strictest(word for _, word, _ in judged),
        reasons=tuple(why for _, word, why in sorted(judged, key=lambda one: -rank(one[1]))),
        on=on,
    )


def _judged(part: Part, on: str, profile: Profile) -> tuple[str, LicenseWord, str]:
    match part:
        case Unknown():
            return part.asked, "unclear", f"{part.why}; {part.next_step}"
        case Service():
            row = part.terms
            word, _, _ = training_word(row, profile)
            if row.dated is not None and on < row.dated:
                word = "unclear"
            reason = cited(f"{row.provider}, {row.document}: {row.outputs}", None, row.source, row.confidence)
            return f"{hosted.PREFIX}{part.ident}", _confirmed(word, reason.confidence), sentence(reason)
        case Recorded():
            effect = training_effect(Case(terms=part.terms, profile=profile))
            word = "unclear" if effect.truth.value is None else effect.verdict
            if effect.truth.value is False:
                word = "allowed"
            if part.terms.first_day is not None and on < part.terms.first_day:
                word = "unclear"
            well_known = "read" if part.confidence == "read" else "reported"
            word = _confirmed(_confirmed(word, effect.reason.confidence), well_known)
            return part.terms.id, word, sentence(effect.reason)


def _confirmed(word: LicenseWord, confidence: str) -> LicenseWord:
    """Reported facts restrict, they never permit."""
    return "unclear" if word in PERMISSIVE and confidence != "read" else word
