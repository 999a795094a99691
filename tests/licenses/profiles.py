"""Profiles for tests, written as a person would write `[organization]`."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from weighbridge.config.tree import OrganizationSection, RevenueSection, UsersSection, UseSection
from weighbridge.licenses import load
from weighbridge.licenses.conditions import Case
from weighbridge.licenses.model import Terms
from weighbridge.licenses.profile import Profile, Range, profile

ON = "2026-11-23"
Via = Literal["self_hosted", "licensor_api", "certified_partner", "third_party_product"]
Figures = Mapping[str, float | tuple[str | float, str | float]]


def org(
    *roles: str,
    commercial: bool | None = True,
    established_in: tuple[str, ...] = (),
    users_in: tuple[str, ...] = (),
    revenue: Figures | None = None,
    users: Figures | None = None,
    users_on: Figures | None = None,
    via: Via | None = None,
    businesses: tuple[str, ...] | None = None,
    publishes_derivatives: bool | None = None,
    trained_on_outputs_of: tuple[str, ...] = (),
) -> Profile:
    section = OrganizationSection(
        roles=roles,
        commercial=commercial,
        established_in=established_in,
        users_in=users_in,
        revenue_usd=RevenueSection(**dict(revenue or {})),
        users_monthly=UsersSection(**dict(users or {}), all_products_on=dict(users_on or {})),
        use=UseSection(
            via=via,
            businesses=businesses,
            publishes_derivatives=publishes_derivatives,
            trained_on_outputs_of=trained_on_outputs_of,
        ),
    )
    return profile(section)


def everything(
    *roles: str, amount: float, commercial: bool = True, place: str = "SG", via: Via = "self_hosted"
) -> Profile:
    """All facts known, each figure `amount`, no other business, a place that no recorded territory excludes."""
    days = {day for terms in load.everything() if (day := terms.first_day) is not None}
    flat = Range(amount, amount)
    known = org(
        *roles,
        commercial=commercial,
        established_in=(place,),
        users_in=(place,),
        revenue=dict.fromkeys(RevenueSection.__struct_fields__, amount),
        users={"product": amount, "all_products": amount},
        users_on=dict.fromkeys(days, amount),
        via=via,
        businesses=(),
        publishes_derivatives=False,
    )
    return msgspec.structs.replace(known, output_tokens_month=flat)


def case(terms: Terms, who: Profile) -> Case:
    released = None if terms.first_day is None or terms.last_day is None else (terms.first_day, terms.last_day)
    return Case(terms=terms, profile=who, released=released)
