"""Do the rules come to what a reviewer read? Each record holds that reading; a difference means that one is wrong."""

from collections.abc import Iterator

from weighbridge.licenses.conditions import Case
from weighbridge.licenses.model import RoleReading, Terms
from weighbridge.licenses.profile import REVENUE_FIELDS, Profile, Range
from weighbridge.licenses.rules import evaluate
from weighbridge.records.evidence import LicenseWord

ABOVE_EVERY_LINE = 1e13
_A_DAY = "2000-01-01"
_ROLES = {"host": "model_service"}


def known(role: str, size: float) -> Profile:
    """A profile without unknowns: each figure is `size`, no other business, a place that no record excludes."""
    flat = Range(size, size)
    figures = {f"revenue_usd.{name}": flat for name in REVENUE_FIELDS}
    return Profile(
        roles=frozenset({role}),
        commercial=role != "personal",
        established_in=frozenset({"SG"}),
        users_in=frozenset({"SG"}),
        figures={**figures, "users_monthly.product": flat, "users_monthly.all_products": flat},
        all_products_on={_A_DAY: flat},
        output_tokens_month=flat,
        via="self_hosted",
        businesses=frozenset(),
        publishes_derivatives=False,
    )


def verdict_for(terms: Terms, role: str, size: float) -> LicenseWord:
    """What `terms` mean for a role where everything else is known (`known`)."""
    return evaluate(Case(terms=terms, profile=known(role, size), released=(_A_DAY, _A_DAY))).verdict


def disagreements(terms: Terms) -> Iterator[str]:
    """Columns of the reading that the rules do not reach, one sentence each."""
    for column in RoleReading.__struct_fields__:
        name, _, side = column.partition("_")
        found = verdict_for(terms, _ROLES.get(name, name), ABOVE_EVERY_LINE if side == "above" else 0)
        read = getattr(terms.reading, column)
        if found != read:
            yield f"{terms.id}.toml: reading.{column} says {read!r}, but the record's rules come to {found!r}"
