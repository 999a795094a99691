"""Does a recorded condition hold for a profile? Pure, three-valued, and monotone: more facts never undo an answer."""

import re
from calendar import monthrange
from datetime import date

import msgspec

from weighbridge.licenses.model import RoleOrGroup, Terms, Threshold, When
from weighbridge.licenses.profile import Profile, Range, in_place
from weighbridge.licenses.truth import NO, YES, Truth, both, either, known, negated, unknown

_OFFERING = frozenset({"product", "work_assistant", "model_service", "relay", "integrator", "distributor"})
_EVERYONE = _OFFERING | {"personal", "internal", "distiller", "military"}
GROUPS: dict[str, frozenset[str]] = {
    "any_use": _EVERYONE,
    "organisation": _EVERYONE - {"personal"},
    "offering": _OFFERING,
    "copies": frozenset({"distributor", "integrator"}),
    "nobody": frozenset(),
}
"""Groups of roles. `offering`: third parties get a product or a service. `copies`: they get the weights themselves."""

BUSINESS_BY_ROLE = {"model_service": "model_service", "work_assistant": "ai_work_assistant"}
"""Who has such a role for this use has such a business."""

# A line in yuan is met in dollars only outside this range of yuan per dollar, deliberately wider than any rate since
# 2005: between the two the answer is unknown, because no rate is recorded.
CNY_PER_USD = Range(5.0, 9.0)

FIELD_BY_AXIS = {
    "mau_product": "users_monthly.product",
    "mau_all_products": "users_monthly.all_products",
    "revenue_product_monthly": "revenue_usd.product_month",
    "revenue_product_annual": "revenue_usd.product_year",
    "revenue_product_annual_recurring": "revenue_usd.product_recurring_year",
    "revenue_entity_annual": "revenue_usd.entity_year",
    "revenue_entity_aggregate": "revenue_usd.group_12_months",
    "revenue_consolidated_monthly": "revenue_usd.consolidated_month",
}


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """What a condition is asked about: the terms, who asks, and what is known of the checkpoint."""

    terms: Terms
    profile: Profile
    released: tuple[str, str] | None = None
    """First and last day (ISO) on which the checkpoint can have been released."""
    multimodal: bool | None = None


def roles_in(names: tuple[RoleOrGroup, ...]) -> frozenset[str]:
    return frozenset().union(*(GROUPS.get(name, frozenset({name})) for name in names))


def met(when: When, case: Case) -> Truth:
    """Does `when` hold? Thresholds that it names count with their gates and exemptions."""
    parts = [
        _roles(when, case.profile),
        YES if when.commercial is None else commercial(case.profile),
        either(_business(name, case) for name in when.businesses) if when.businesses else YES,
        _route(when, case.profile),
    ]
    lines = {line.id: line for line in case.terms.threshold}
    if when.above:
        parts.append(either(applies(lines[name], case) for name in when.above))
    if when.not_above:
        parts.append(negated(either(applies(lines[name], case) for name in when.not_above)))
    return both(parts)


def applies(line: Threshold, case: Case) -> Truth:
    """Is the line crossed by somebody whom its gate catches and no exemption frees?"""
    return both((met(line.when, case), crossed(line, case), negated(lifted(line.id, case))))


def lifted(name: str, case: Case) -> Truth:
    return either(met(exemption.when, case) for exemption in case.terms.exemption if name in exemption.lifts)


def _roles(when: When, profile: Profile) -> Truth:
    if not (when.roles or when.not_roles or when.only_roles):
        return YES
    if when.roles == ("nobody",):
        return NO
    if when.roles == ("any_use",) and not when.not_roles and not when.only_roles:
        return YES
    if not profile.roles:
        if when.roles and roles_in(when.roles) <= profile.not_roles:
            return NO
        return unknown("organization.roles")
    return known(
        (not when.roles or bool(profile.roles & roles_in(when.roles)))
        and not profile.roles & roles_in(when.not_roles)
        and (not when.only_roles or profile.roles <= roles_in(when.only_roles))
    )


def commercial(profile: Profile) -> Truth:
    """Is the use commercial? Hosting a model for others and selling a work assistant are businesses by their name,
    personal use is not for gain by its; otherwise the profile has to say.
    """
    if profile.commercial or profile.roles & set(BUSINESS_BY_ROLE):
        return YES
    if profile.roles == {"personal"}:
        return NO
    if profile.commercial is None:
        return unknown("organization.commercial")
    return NO if profile.roles else unknown("organization.roles")


def _business(name: str, case: Case) -> Truth:
    """Does the licensee or a company of its group do this kind of business?"""
    profile = case.profile
    if any(BUSINESS_BY_ROLE.get(role) == name for role in profile.roles):
        return YES
    if name == "competes_with:licensor":
        rivals = [own.removeprefix("competes_with:") for own in profile.businesses or () if ":" in own]
        if any(names_licensor(rival, case.terms) for rival in rivals):
            return YES
    elif name in (profile.businesses or ()):
        return YES
    if profile.businesses is None:
        return unknown("organization.use.businesses", why=name.replace("licensor", case.terms.licensor))
    return NO if profile.roles or name == "competes_with:licensor" else unknown("organization.roles")


def names_licensor(name: str, terms: Terms) -> bool:
    """Is `name`, as somebody wrote it, the licensor? Compared by words, so that `Z.ai` finds `Z.ai (Zhipu)`."""
    wanted = set(_words(name))
    return bool(wanted) and wanted <= set(_words(terms.licensor)) | {terms.family}


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9.]+", text.lower())


def _route(when: When, profile: Profile) -> Truth:
    if not when.routes:
        return YES
    return unknown("organization.use.via") if profile.via is None else known(profile.via in when.routes)


def crossed(line: Threshold, case: Case) -> Truth:
    """Is the figure over the line? Says nothing of gates and exemptions."""
    if line.axis in ("business_type", "competing_product"):
        return YES  # no figure: the gate alone decides
    if line.axis == "output_tokens":
        return _compared(line, case.profile.output_tokens_month, "output tokens in a month (metered)")
    if line.axis == "revenue_consolidated_monthly":
        return _consolidated(line, case.profile)
    if line.as_of == "model_release_date":
        return _on_release(line, case)
    field = FIELD_BY_AXIS[line.axis]
    return _compared(line, case.profile.figures.get(field), f"organization.{field}")


def _compared(line: Threshold, figure: Range | None, field: str) -> Truth:
    low, high = dollars(line)
    if figure is not None:
        over = figure.low > high if line.op == ">" else figure.low >= high
        under = figure.high <= low if line.op == ">" else figure.high < low
        if over or under:
            return known(over)
    return unknown(field, why=f"the line is {line_text(line)}")


def dollars(line: Threshold) -> tuple[float, float]:
    """The line in the profile's unit, as lowest and highest possible value."""
    if line.unit == "CNY":
        return line.value / CNY_PER_USD.high, line.value / CNY_PER_USD.low
    return float(line.value), float(line.value)


def _consolidated(line: Threshold, profile: Profile) -> Truth:
    """The company's turnover; for an individual, the employer's."""
    personal = _compared(
        line,
        profile.figures.get("revenue_usd.employer_consolidated_month"),
        "organization.revenue_usd.employer_consolidated_month",
    )
    company = _compared(
        line, profile.figures.get("revenue_usd.consolidated_month"), "organization.revenue_usd.consolidated_month"
    )
    if not profile.roles:
        if personal.value is not None and personal.value == company.value:
            return company
        return Truth(None, (*unknown("organization.roles").asks, *company.asks, *personal.asks))
    parts = [personal] if "personal" in profile.roles else []
    if profile.roles != {"personal"}:
        parts.append(company)
    return either(parts)


def _on_release(line: Threshold, case: Case) -> Truth:
    """Lines frozen at the release of the model: users in the month before it, whatever became of them since."""
    field = "organization.users_monthly.all_products_on"
    if case.released is None:
        return unknown("release date of the model", field)
    first, last = case.released
    history = case.profile.all_products_on
    why = f"the line is {line_text(line)}, counted once, when the model was released ({_span(first, last)})"
    if first == last and first in history:
        figure: Range | None = history[first]
    else:
        opening = month_before(first)
        inside = [value for day, value in history.items() if opening <= day <= last]
        figure = None
        for value in inside:
            figure = value if figure is None else figure.hull(value)
    compared = _compared(line, figure, field)
    return unknown(field, why=why) if compared.value is None else compared


def month_before(day: str) -> str:
    """The first day of the calendar month before `day`."""
    at = date.fromisoformat(day)
    year, month = (at.year, at.month - 1) if at.month > 1 else (at.year - 1, 12)
    return date(year, month, 1).isoformat()


def outside(case: Case) -> Truth:
    """Does a place without a grant count here? Asked only where the terms have a territory."""
    territory = case.terms.territory
    if territory is None:
        return NO
    parts = []
    for test in territory.tests:
        places = case.profile.established_in if test == "established_in" else case.profile.users_in
        inside = {code for code in places if any(in_place(code, region) for region in territory.excluded)}
        if not places:
            parts.append(unknown(f"organization.{test}", why=f"no grant in {', '.join(territory.excluded)}"))
        elif territory.tests == ("established_in",) and inside and inside != places:
            # The principal place of business counts, and the profile does not say which of several it is.
            parts.append(unknown("the principal place of business", why=f"no grant in {', '.join(territory.excluded)}"))
        else:
            parts.append(known(bool(inside)))
    multimodal = YES
    if territory.multimodal_only and case.multimodal is not True:
        multimodal = (
            NO
            if case.multimodal is False
            else unknown("whether the model is multimodal", why="only multimodal models lack a grant there")
        )
    return both((either(parts), multimodal, negated(lifted("territory", case))))


def line_text(line: Threshold) -> str:
    word = "more than" if line.op == ">" else "at least"
    return f"{word} {amount(line.value, line.unit)}"


def amount(value: float, unit: str) -> str:
    """`US$20 million`, `700 million users`."""
    for size, name in ((10**9, "billion"), (10**6, "million")):
        if value >= size:
            number = f"{value / size:,.6f}".rstrip("0").rstrip(".") + f" {name}"
            break
    else:
        number = f"{value:,.2f}".rstrip("0").rstrip(".")
    prefix = {"USD": "US$", "CNY": "CN¥"}.get(unit)
    return f"{prefix}{number}" if prefix else f"{number} {unit}"


def _span(first: str, last: str) -> str:
    return first if first == last else f"between {first} and {last}"


def last_of_month(year: int, month: int) -> str:
    return date(year, month, monthrange(year, month)[1]).isoformat()
