"""Thresholds ahead: when a line will be crossed if figures go on growing as they do."""

import math
from collections.abc import Iterable
from datetime import date

import msgspec

from weighbridge.licenses.conditions import FIELD_BY_AXIS, Case, amount, dollars, lifted, met
from weighbridge.licenses.model import Threshold
from weighbridge.licenses.profile import Profile
from weighbridge.licenses.resolve import Recorded, resolve
from weighbridge.licenses.rules import confidence
from weighbridge.licenses.words import CONSEQUENCES

MONTHS_MAX = 36
"""Further ahead a constant growth says nothing."""


class Ahead(msgspec.Struct, frozen=True, kw_only=True):
    """A line that is not reached yet, and the first month in which it is, at this growth."""

    terms: str
    field: str
    figure: float
    line: str
    months: int
    month: str
    sentence: str


def ahead(query: str, who: Profile, growth: float, on: str) -> tuple[Ahead, ...]:
    """Lines that concern `who` and that figures growing by `growth` a month (0.05 is 5 %) reach within three years.

    Nearest first. Lines frozen at a release, and those whose gate does not concern this use, are left out; of a band
    the upper end counts. Raises `ValueError` where `growth` is not above 0.
    """
    if not growth > 0:
        raise ValueError(f"growth {growth} must be above 0")
    found = [
        row
        for part in resolve(query)
        if isinstance(part, Recorded)
        for row in _lines(Case(terms=part.terms, profile=who), growth, on)
    ]
    return tuple(sorted(found, key=lambda row: (row.months, row.terms, row.field)))


def _lines(case: Case, growth: float, on: str) -> Iterable[Ahead]:
    for line in case.terms.threshold:
        if line.as_of != "ongoing" or confidence(line.source, line.confidence) == "unverified":
            continue
        if met(line.when, case).value is False or lifted(line.id, case).value is True:
            continue
        field, figure = _figure(line, case.profile)
        if figure is None or figure <= 0:
            continue
        months = _months(figure, dollars(line)[0], growth)
        if 0 < months <= MONTHS_MAX:
            yield _told(case, line, field, figure, months, on)


def _figure(line: Threshold, who: Profile) -> tuple[str, float | None]:
    if line.axis == "output_tokens":
        tokens = who.output_tokens_month
        return "output tokens in a month", None if tokens is None else tokens.high
    field = FIELD_BY_AXIS.get(line.axis)
    if field is None:
        return "", None
    if line.axis == "revenue_consolidated_monthly" and who.roles == {"personal"}:
        field = "revenue_usd.employer_consolidated_month"
    value = who.figures.get(field)
    return f"organization.{field}", None if value is None else value.high


def _months(figure: float, line: float, growth: float) -> int:
    """Whole months until the figure passes the line; 0 where it has passed it."""
    return 0 if figure > line else math.floor(math.log(line / figure) / math.log1p(growth)) + 1


def _told(case: Case, line: Threshold, field: str, figure: float, months: int, on: str) -> Ahead:
    at = date.fromisoformat(on)
    count = at.year * 12 + at.month - 1 + months
    month = f"{count // 12}-{count % 12 + 1:02d}"
    text = amount(line.value, line.unit)
    sentence = (
        f"{case.terms.id}, clause {line.clause or 'not recorded'}: {field} reaches {text} in about {months} "
        f"month{'' if months == 1 else 's'} ({month}); then {CONSEQUENCES[line.consequence]}."
    )
    return Ahead(
        terms=case.terms.id, field=field, figure=figure, line=text, months=months, month=month, sentence=sentence
    )
