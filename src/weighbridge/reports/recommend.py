"""From verdict, licence, send gate and cost to one of three answers. Pure: a table of rules read from top to bottom.

The order matters: what is proven against a move comes first, then what forbids it, then what is missing, and only a row
that passes all of it says `move`.
"""

from dataclasses import dataclass

from msgspec.structs import replace

from weighbridge.records.evidence import LicenseWord, VerdictWord
from weighbridge.records.permission import LOCAL_REGION, refusal
from weighbridge.records.table import Endpoint, Route
from weighbridge.reports.model import Gate, LicenseReport, Recommendation
from weighbridge.reports.words import percent, points

STEPS_MAX = 2
LICENSE_ALLOWS: tuple[LicenseWord, ...] = ("allowed", "obligations")


@dataclass(frozen=True, slots=True)
class Case:
    """What a row is decided on. `change` is the relative change of the cost, `None` where it is not known."""

    candidate: str
    verdict: VerdictWord
    margin: float
    reasons: tuple[str, ...]
    license: LicenseReport
    gate: Gate
    change: float | None
    worse_slices: tuple[str, ...] = ()
    """Only for the whole: slices whose own verdict is `inferior`."""


def gate_of(route: Route, endpoint: Endpoint, *, is_incumbent: bool) -> Gate:
    """The send gate as a finding: permitted, refused by what is stated, or not to be said because a term is missing."""
    sentence = refusal(route, endpoint, is_incumbent=is_incumbent)
    if sentence is None:
        if is_incumbent:
            return Gate(state="permitted", sentence="It is the endpoint in use.")
        return Gate(
            state="permitted", sentence="Region, retention and training terms are inside what the route allows."
        )
    filled = replace(
        endpoint,
        region=endpoint.region or (*route.allow_regions, LOCAL_REGION)[0],
        retention_days=0 if endpoint.retention_days is None else endpoint.retention_days,
        trains_on_data=bool(endpoint.trains_on_data),
    )
    stated = refusal(route, filled, is_incumbent=is_incumbent)
    if stated is not None:
        return Gate(state="refused", sentence=_sentence(stated))
    return Gate(state="unknown", sentence=_sentence(sentence))


def recommend(case: Case) -> Recommendation:
    """The answer for one row."""
    for rule in (_worse, _forbidden, _not_shown, _not_permitted_yet, _cost):
        found = rule(case)
        if found is not None:
            return found
    change = case.change or 0.0
    return Recommendation(
        answer="move",
        why=f"Shown not to be worse by more than {points(case.margin)}, and {percent(-change)} cheaper per request.",
        flips=(
            "new evidence against it: a change of the model, its host, its prompt or the traffic needs a new trial",
            "a price that rises to the incumbent's cost per request",
        ),
    )


def _worse(case: Case) -> Recommendation | None:
    if case.verdict == "inferior":
        return Recommendation(
            answer="do not move",
            why=f"Shown to be worse by more than {points(case.margin)}.",
            flips=("another candidate, or this one with another prompt or host: that is a new arm with its own trial",),
        )
    if case.worse_slices:
        named = ", ".join(case.worse_slices)
        return Recommendation(
            answer="do not move",
            why=f"Not as a whole: {case.candidate} is worse in {named}.",
            flips=("move slice by slice instead, where a slice's own row says so",),
        )
    return None


def _forbidden(case: Case) -> Recommendation | None:
    if case.license.word == "prohibited":
        return Recommendation(
            answer="do not move",
            why=f"The licence of {case.candidate} forbids this use{_first(case.license.reasons)}.",
            flips=("other terms from the licensor, or a candidate under another licence",),
        )
    if case.gate.state == "refused":
        return Recommendation(
            answer="do not move",
            why=f"The route may not send its prompts there: {case.gate.sentence}",
            flips=(
                "the same weights on a host inside the route's terms",
                "a decision to widen the route's allow_* terms",
            ),
        )
    return None


def _not_shown(case: Case) -> Recommendation | None:
    if case.verdict == "non_inferior":
        return None
    # Verdicts name the licence too; here it has its own place.
    reasons = tuple(one for one in case.reasons if not any(said in one for said in case.license.reasons))
    if case.license.word not in LICENSE_ALLOWS:
        reasons = (*reasons, "besides, the licence has to be settled")
    return Recommendation(
        answer="not enough evidence",
        why="Shown neither to be good enough nor to be worse.",
        flips=reasons or ("no reason was recorded",),
    )


def _not_permitted_yet(case: Case) -> Recommendation | None:
    quality = "The answers hold up, but "
    if case.license.word not in LICENSE_ALLOWS:
        need = {
            "permission": "the licence asks for the licensor's permission",
            "permission_fee_expected": "the licence asks for the licensor's permission, and a fee is to be expected",
            "fee": "the licence asks for a fee, which no cost here includes",
        }.get(case.license.word, "the licence is unclear")
        return Recommendation(
            answer="not enough evidence",
            why=f"{quality}{need}.",
            flips=_to_settle(case.license.reasons) or (f"{need}: have it settled, then state `terms` for the arm",),
        )
    if case.gate.state == "unknown":
        return Recommendation(
            answer="not enough evidence", why=f"{quality}a data term is not stated.", flips=(case.gate.sentence,)
        )
    return None


def _to_settle(reasons: tuple[str, ...]) -> tuple[str, ...]:
    """The first steps that a finding names (its `to do:` lines), else its first reason; all of them stand below."""
    steps = tuple(one.removeprefix("to do:").strip() for one in reasons if one.startswith("to do:")) or reasons
    if len(steps) <= STEPS_MAX:
        return steps
    return (*steps[:STEPS_MAX], f"{len(steps) - STEPS_MAX} more under Licence, below")


def _cost(case: Case) -> Recommendation | None:
    if case.change is None:
        return Recommendation(
            answer="not enough evidence",
            why="The answers hold up, but the cost of one of the two is unknown, so no saving is shown.",
            flips=("state `price` for the arm whose price no price book has, and run the trial again",),
        )
    if case.change >= 0:
        same = "as dear as" if case.change == 0 else f"{percent(case.change)} dearer than"
        return Recommendation(
            answer="do not move",
            why=f"The answers hold up, but a request is {same} the incumbent's.",
            flips=("a lower price, a better cache hit rate or shorter answers of the candidate",),
        )
    return None


def _first(reasons: tuple[str, ...]) -> str:
    return f": {reasons[0].rstrip('.')}" if reasons else ""


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."
