"""A licence finding for one arm: permissive SPDX licences are recognised, everything else is `unclear`."""

from functools import cache
from typing import Any, Protocol

from license_expression import ExpressionError, Licensing, get_spdx_licensing

from weighbridge.records.evidence import FINDING_SCHEMA, Finding
from weighbridge.records.table import Weights

# SPDX id -> what it asks of those who pass the weights (or a derivative) on to others. Use through an API, inside a
# company or inside a product that does not ship the weights triggers none of it. The texts: https://spdx.org/licenses/.
_KEEP = "keep the copyright notice and this licence's text with every copy of the weights you pass on"
PERMISSIVE: dict[str, str | None] = {
    "Apache-2.0": (
        "with every copy of the weights you pass on: include the licence text, keep notices and the NOTICE file, and "
        "mark changed files (section 4); patent licences end for whoever sues over patents in it (section 3)"
    ),
    "MIT": _KEEP,
    "MIT-0": None,
    "ISC": _KEEP,
    "BSD-2-Clause": _KEEP,
    "BSD-3-Clause": f"{_KEEP}; do not use the authors' names to endorse your product",
    "0BSD": None,
    "Unlicense": None,
    "CC0-1.0": None,
    "CC-BY-4.0": "wherever you share the weights, name the authors, link the licence, say what you changed (section 3)",
    "CDLA-Permissive-2.0": "make the agreement's text available with every copy of the weights you pass on",
}


class ArmTerms(Protocol):
    """What a finding looks at: both the configuration's arm and the route table's have it."""

    @property
    def name(self) -> str: ...

    @property
    def model(self) -> str: ...

    @property
    def weights(self) -> Weights | None: ...

    @property
    def terms(self) -> str | None: ...


@cache
def _licensing() -> Licensing:
    # Reads the SPDX list that ships with the library: 60 ms, no network.
    return get_spdx_licensing()


def finding(arm: ArmTerms, on: str) -> Finding:
    """What the terms of `arm` mean on the date `on` (ISO). Never raises: what cannot be read is `unclear`."""
    if arm.terms is None:
        return _unclear(arm, on, *_without_terms(arm))
    if arm.weights == "closed":
        return _unclear(
            arm,
            on,
            f"weights are closed, so {arm.terms!r} is not a licence of them: the terms of the API apply",
            "let counsel read the provider's terms of service for this use",
        )
    try:
        expression = _licensing().parse(arm.terms, validate=True, strict=True)
    except ExpressionError:
        expression = None
    if expression is None:
        return _unclear(
            arm,
            on,
            f"{arm.terms!r} is not an SPDX licence id, so its terms are not read in this version",
            "let counsel read the licence of the very files in use; model licences often limit use, users or revenue",
        )
    ids = _permissive_ids(expression)
    if ids is None:
        return _unclear(
            arm,
            on,
            f"{expression} is not among the permissive licences that are recognised ({', '.join(PERMISSIVE)})",
            "let counsel read it for this use",
        )
    return Finding(
        schema=FINDING_SCHEMA,
        arm=arm.name,
        terms=arm.terms,
        verdict="allowed",
        obligations=tuple(f"{one}: {asked}" for one in ids if (asked := PERMISSIVE[one]) is not None),
        reasons=(
            f"{' and '.join(ids)}: permissive, limits neither use nor users nor revenue "
            f"(text: https://spdx.org/licenses/{ids[0]}.html)",
            f"as configured for arm {arm.name!r}; nobody checked that {arm.model} is published under it",
        ),
        on=on,
    )


def _permissive_ids(expression: Any) -> tuple[str, ...] | None:
    """The licences to keep to: all of an AND, the first permissive choice of an OR; `None` where there is none."""
    if isinstance(expression, _licensing().OR):
        return next((ids for one in expression.args if (ids := _permissive_ids(one)) is not None), None)
    if isinstance(expression, _licensing().AND):
        parts = [_permissive_ids(one) for one in expression.args]
        return None if None in parts else tuple(dict.fromkeys(one for part in parts for one in part or ()))
    # A licence with an exception is a symbol of its own, not in the list.
    return (expression.key,) if getattr(expression, "key", None) in PERMISSIVE else None


def _without_terms(arm: ArmTerms) -> tuple[str, str]:
    if arm.weights == "closed":
        return (
            "closed weights: no licence of the model is granted, the terms of the provider's API apply",
            "let counsel read the provider's terms of service for this use",
        )
    return (
        f"no terms are configured for arm {arm.name!r} ({arm.model})",
        f"find the licence of the very files in use and set its SPDX id as `terms` of [[arm]] {arm.name!r}",
    )


def _unclear(arm: ArmTerms, on: str, reason: str, next_step: str) -> Finding:
    return Finding(
        schema=FINDING_SCHEMA,
        arm=arm.name,
        terms=arm.terms,
        verdict="unclear",
        obligations=(),
        reasons=(reason, f"to do: {next_step}"),
        on=on,
    )
