"""Dated changes: when a family of models came under which text, and what that meant, each in one plain sentence."""

from functools import cache
from typing import Literal

import msgspec

from weighbridge.licenses import load
from weighbridge.licenses.diff import compare
from weighbridge.licenses.model import Confidence, Record


class Change(Record, frozen=True, kw_only=True):
    """One step of a family's licences. `terms` is `None` where the text is not recorded; then `terms_note` says why."""

    family: str
    date: str
    model: str
    direction: Literal["first", "tightened", "loosened", "sideways", "none", "unknown"]
    source: str
    terms: str | None = None
    terms_note: str | None = None
    before: str | None = None
    what: str | None = None
    price_usd_per_million: str | None = None
    confidence: Confidence | None = None


class _Changes(Record, frozen=True):
    change: tuple[Change, ...]


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON of one row of `license diff --family`."""

    date: str
    family: str
    model: str
    before: str | None
    after: str | None
    direction: str
    sentence: str
    source: str
    confidence: Confidence


@cache
def changes() -> tuple[Change, ...]:
    """All recorded changes, family by family in the order of time."""
    file = load.FOLDER / "_changes.toml"
    found = load.parse(file.name, load.read_toml(file), _Changes).change
    for row in found:
        for name in filter(None, (row.terms, row.before)):
            if name not in load.ids():
                raise load.unknown_name(file.name, f"change[{row.family} {row.date}].terms", name, load.ids())
        if row.source not in load.sources():
            raise load.unknown_name(file.name, f"change[{row.family} {row.date}].source", row.source, load.sources())
    return found


def families() -> tuple[str, ...]:
    return tuple(dict.fromkeys(row.family for row in changes()))


def told(change: Change) -> Told:
    return Told(
        date=change.date,
        family=change.family,
        model=change.model,
        before=change.before,
        after=change.terms,
        direction=change.direction,
        sentence=sentence(change),
        source=load.sources()[change.source].ref,
        confidence=load.confidence_of(change.source, change.confidence),
    )


_LEAD = {
    "first": "which is the first recorded text of this family",
    "tightened": "which is stricter",
    "loosened": "which is milder",
    "sideways": "which is neither simply stricter nor milder",
    "none": "which changes nothing of substance",
    "unknown": "and what that changes is not known",
}


def sentence(change: Change) -> str:
    """`2026-07-27: K3 came under Kimi K3 License after Modified MIT (Kimi K2 series), which is stricter: ...`"""
    if change.terms is None:
        text = f"a licence that is not recorded ({change.terms_note})"
    else:
        text = load.terms(change.terms).name
    earlier = ""
    if change.before is not None and change.before != change.terms:
        former = load.terms(change.before)
        earlier = f" after {former.name}" if former.name != text else f" after its version of {former.version}"
    meaning = change.what or _meaning(change)
    tail = f": {meaning}" if meaning else ""
    what = f"{change.model} came under {text}{earlier}, {_LEAD[change.direction]}{tail}"
    return f"{change.date}: {what.rstrip('.')}."


def _meaning(change: Change) -> str | None:
    """What the records say where nobody wrote the change up: the first differences that point its way."""
    if change.terms is None or change.before is None or change.before == change.terms:
        return None
    found = compare(load.terms(change.before), load.terms(change.terms)).differences
    texts = [one.text.rstrip(".") for one in found if one.direction == change.direction][:2]
    return "; ".join(text[0].lower() + text[1:] for text in texts) or None


def between(before: str, after: str) -> tuple[Change, ...]:
    """The dated changes that led from one text to the other."""
    return tuple(row for row in changes() if row.before == before and row.terms == after)
