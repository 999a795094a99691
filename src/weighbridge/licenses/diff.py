"""What differs between two recorded versions, in meaning: a line lowered, an exemption gone, a duty added."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from weighbridge.licenses.conditions import amount, dollars, line_text
from weighbridge.licenses.model import Duty, Terms, Threshold
from weighbridge.licenses.reading import ABOVE_EVERY_LINE, verdict_for
from weighbridge.licenses.rules import rank
from weighbridge.licenses.words import AXES, CONSEQUENCES, duty_sentence, threshold_sentence
from weighbridge.records.evidence import LicenseWord

Direction = Literal["tightened", "loosened", "changed"]


class Difference(msgspec.Struct, frozen=True):
    """One difference, in one sentence, and whether it leaves the licensee less or more room."""

    direction: Direction
    text: str


class RoleChange(msgspec.Struct, frozen=True):
    """What a role may do under either version, all facts known, no figure over or every figure over all lines."""

    role: str
    size: Literal["below every line", "above every line"]
    before: LicenseWord
    after: LicenseWord


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON of `license diff A B`."""

    before: str
    after: str
    differences: tuple[Difference, ...]
    roles: tuple[RoleChange, ...]


def compare(before: Terms, after: Terms) -> Compared:
    """All differences from `before` to `after`, the tightening ones first."""
    found = [
        *_lines(before, after),
        *_rules(before, after),
        *_exemptions(before, after),
        *_places(before, after),
        *_training(before, after),
        *_duties(before, after),
        *_law(before, after),
    ]
    order = ("tightened", "loosened", "changed")
    return Compared(
        before=before.id,
        after=after.id,
        differences=tuple(sorted(dict.fromkeys(found), key=lambda one: order.index(one.direction))),
        roles=tuple(_roles(before, after)),
    )


def _lines(before: Terms, after: Terms) -> Iterator[Difference]:
    old = {line.axis: line for line in before.threshold}
    new = {line.axis: line for line in after.threshold}
    for axis in old.keys() - new.keys():
        yield Difference("loosened", f"Gone: {_lowered(threshold_sentence(old[axis]))}")
    for axis in new.keys() - old.keys():
        yield Difference("tightened", f"New: {_lowered(threshold_sentence(new[axis]))}")
    for axis in old.keys() & new.keys():
        yield from _line(old[axis], new[axis])


def _line(old: Threshold, new: Threshold) -> Iterator[Difference]:
    name = AXES.get(old.axis, old.axis.replace("_", " "))
    (was, _), (now, _) = dollars(old), dollars(new)
    if (old.value, old.unit) != (new.value, new.unit):
        word = "lowered" if now < was else "raised"
        yield Difference(
            "tightened" if now < was else "loosened",
            f"The line for {name} was {word} from {amount(old.value, old.unit)} to {amount(new.value, new.unit)}.",
        )
    elif old.op != new.op:
        yield Difference(
            "tightened" if new.op == ">=" else "loosened", f"The line for {name} is now met by {line_text(new)}."
        )
    if old.verdict != new.verdict or old.consequence != new.consequence:
        yield Difference(
            _toward(old.verdict, new.verdict),
            f"Over the line for {name}, {CONSEQUENCES[new.consequence]}; before, {CONSEQUENCES[old.consequence]}.",
        )
    if old.as_of != new.as_of:
        yield Difference(
            "tightened" if new.as_of == "ongoing" else "loosened",
            f"The line for {name} is tested {'continuously' if new.as_of == 'ongoing' else 'once, at release'}.",
        )
    if old.gate != new.gate:
        yield Difference("changed", f"The line for {name} now concerns: {new.gate}; before: {old.gate}.")
    if old.affiliates != new.affiliates:
        yield Difference("changed", f"Who counts toward the line for {name}: {new.scope}; before: {old.scope}.")


def _rules(before: Terms, after: Terms) -> Iterator[Difference]:
    old = {rule.id: rule for rule in before.rule if rule.verdict != "unclear"}
    new = {rule.id: rule for rule in after.rule if rule.verdict != "unclear"}
    for name in old.keys() - new.keys():
        yield Difference("loosened", f"Gone: {old[name].text}")
    for name in new.keys() - old.keys():
        yield Difference("tightened", f"New: {new[name].text}")
    for name in old.keys() & new.keys():
        if old[name].verdict != new[name].verdict:
            yield Difference(
                _toward(old[name].verdict, new[name].verdict),
                f"{new[name].text} ({_word(new[name].verdict)}; before: {_word(old[name].verdict)})",
            )


def _exemptions(before: Terms, after: Terms) -> Iterator[Difference]:
    old = {one.id: one for one in before.exemption}
    new = {one.id: one for one in after.exemption}
    for name in old.keys() - new.keys():
        yield Difference("tightened", f"An exemption is gone: {old[name].text}")
    for name in new.keys() - old.keys():
        yield Difference("loosened", f"A new exemption: {new[name].text}")


def _places(before: Terms, after: Terms) -> Iterator[Difference]:
    old = frozenset() if before.territory is None else frozenset(before.territory.excluded)
    new = frozenset() if after.territory is None else frozenset(after.territory.excluded)
    if gained := new - old:
        yield Difference("tightened", f"No grant any more in: {', '.join(sorted(gained))}.")
    if lost := old - new:
        yield Difference("loosened", f"The grant now reaches: {', '.join(sorted(lost))}.")
    if before.territory is not None and after.territory is not None:
        was, now = before.territory.multimodal_only, after.territory.multimodal_only
        if was != now:
            which = "multimodal models only" if now else "every model under it"
            yield Difference("loosened" if now else "tightened", f"The missing grant concerns {which}.")


def _training(before: Terms, after: Terms) -> Iterator[Difference]:
    old, new = before.training, after.training
    if old.verdict != new.verdict:
        text = f"Training other models on outputs: {new.text} Before: {old.text}"
        yield Difference(_toward(old.verdict, new.verdict), text)


def _duties(before: Terms, after: Terms) -> Iterator[Difference]:
    old, new = (
        {(duty.kind, duty.id): duty for duty in terms.duty if duty.event != "encouraged"} for terms in (before, after)
    )
    for key in old.keys() - new.keys():
        yield Difference("loosened", f"No longer asked: {_lowered(duty_sentence(old[key]))}.")
    for key in new.keys() - old.keys():
        yield Difference("tightened", f"Newly asked: {_lowered(duty_sentence(new[key]))}.")
    for key in old.keys() & new.keys():
        yield from _duty(old[key], new[key])


def _duty(old: Duty, new: Duty) -> Iterator[Difference]:
    if old.when != new.when and (old.when.above or new.when.above):
        wider = bool(old.when.above) and not new.when.above
        yield Difference(
            "tightened" if wider else "loosened", f"{duty_sentence(new)}; before: {_lowered(duty_sentence(old))}."
        )
    elif old.show != new.show:
        yield Difference("changed", f"The text to show or include is now {new.show!r}; before: {old.show!r}.")


def _law(before: Terms, after: Terms) -> Iterator[Difference]:
    old, new = before.facts.governing_law, after.facts.governing_law
    if old is not None and new is not None and old.text != new.text:
        yield Difference("changed", f"Law and courts: {new.text} Before: {old.text}")
    change = after.facts.licensor_can_change
    if change is not None and before.facts.licensor_can_change is None:
        yield Difference("tightened", f"The licensor may change it: {change.text}")


def _roles(before: Terms, after: Terms) -> Iterator[RoleChange]:
    for role in ("personal", "internal", "product", "work_assistant", "model_service", "distributor", "distiller"):
        for size, label in _SIZES:
            was, now = (verdict_for(terms, role, size) for terms in (before, after))
            if was != now:
                yield RoleChange(role, label, was, now)


_SIZES: tuple[tuple[float, Literal["below every line", "above every line"]], ...] = (
    (0.0, "below every line"),
    (ABOVE_EVERY_LINE, "above every line"),
)


def _toward(old: LicenseWord, new: LicenseWord) -> Direction:
    if rank(old) == rank(new):
        return "changed"
    return "tightened" if rank(new) > rank(old) else "loosened"


def _word(word: LicenseWord) -> str:
    return word.replace("_", " ")


def _lowered(text: str) -> str:
    return text[0].lower() + text[1:].rstrip(".")
