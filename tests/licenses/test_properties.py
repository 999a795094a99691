"""What must hold for every recorded text and every organisation."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.licenses.profiles import ON, case
from weighbridge.config.tree import ROLES
from weighbridge.licenses import load
from weighbridge.licenses.check import check
from weighbridge.licenses.conditions import FIELD_BY_AXIS
from weighbridge.licenses.profile import EMPTY, Profile, Range
from weighbridge.licenses.rules import evaluate, rank

FIGURES = (*FIELD_BY_AXIS.values(), "revenue_usd.employer_consolidated_month")
WITH_LINES = tuple(terms for terms in load.everything() if terms.threshold)
DAYS = tuple(sorted({terms.first_day for terms in load.everything() if terms.first_day is not None}))
PLACES = ("DE", "GB", "KR", "US", "SG", "EU")

# Lines of the records, their neighbours, and the far ends.
LINES = sorted({float(line.value) for terms in load.everything() for line in terms.threshold})
amounts = st.sampled_from(sorted({0.0, *LINES, *(line + 1 for line in LINES), 1.4e8, 1e13}))
exact = amounts.map(lambda amount: Range(amount, amount))
bands = st.tuples(amounts, amounts).map(lambda ends: Range(min(ends), max(ends)))
figures = exact | bands
queries = st.sampled_from(load.ids())
places = st.frozensets(st.sampled_from(PLACES), max_size=2)


def _figure(choice: int | None) -> st.SearchStrategy[Range | None]:
    return st.none() if choice is None else figures


def _possible(profile: Profile) -> bool:
    """`profile()` refuses personal use that is for gain."""
    return not (profile.roles == {"personal"} and profile.commercial)


profiles = st.builds(
    Profile,
    roles=st.frozensets(st.sampled_from(ROLES), min_size=0, max_size=2),
    commercial=st.sampled_from((None, True, False)),
    established_in=places,
    users_in=places,
    # Mostly known, so that single facts decide: each figure is missing one time in five.
    figures=st.fixed_dictionaries({name: st.sampled_from((None, *range(4))).flatmap(_figure) for name in FIGURES}).map(
        lambda found: {name: value for name, value in found.items() if value is not None}
    ),
    all_products_on=st.dictionaries(st.sampled_from(DAYS), figures, max_size=len(DAYS)),
    output_tokens_month=st.none() | figures,
    via=st.sampled_from((None, "self_hosted", "licensor_api", "certified_partner", "third_party_product")),
    businesses=st.none()
    | st.frozensets(st.sampled_from(("model_service", "ai_work_assistant", "competes_with:naver")), max_size=2),
    publishes_derivatives=st.sampled_from((None, True, False)),
).filter(_possible)


def without(profile: Profile, fact: str) -> Profile:
    """The profile with one fact unknown again."""
    if fact.startswith(("revenue_usd.", "users_monthly.")):
        rest = {name: value for name, value in profile.figures.items() if name != fact}
        return msgspec.structs.replace(profile, figures=rest)
    changes: dict[str, Any] = {fact: getattr(EMPTY, fact)}
    return msgspec.structs.replace(profile, **changes)


FACTS = (
    "roles", "commercial", "established_in", "users_in", "all_products_on", "output_tokens_month", "via", "businesses",
    "publishes_derivatives", *FIGURES,
)  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(profile=profiles)
def test_forgetting_a_fact_gives_the_same_verdict_or_unclear(profile: Profile) -> None:
    """So adding one never turns `prohibited` into `allowed` either: what was certain with less stays certain."""
    for terms in load.everything():
        known = evaluate(case(terms, profile)).verdict
        if known == "unclear":
            continue
        for fact in FACTS:
            forgotten = without(profile, fact)
            if forgotten != profile:
                assert evaluate(case(terms, forgotten)).verdict in (known, "unclear"), (terms.id, fact)


@settings(deadline=None, max_examples=200)
@given(query=queries, profile=profiles, fact=st.sampled_from(FACTS))
def test_forgetting_a_fact_gives_the_same_answer_or_unclear(query: str, profile: Profile, fact: str) -> None:
    """The same through the whole of `check`, with what is only reported."""
    known, forgotten = check(query, profile, ON).verdict, check(query, without(profile, fact), ON).verdict
    assert forgotten in (known, "unclear")


@settings(deadline=None, max_examples=100)
@given(profile=profiles, fact=st.sampled_from(FIGURES), more=amounts)
def test_more_revenue_or_users_never_improves_a_verdict(profile: Profile, fact: str, more: float) -> None:
    now = profile.figures.get(fact, Range(0, 0))
    low = msgspec.structs.replace(profile, figures={**profile.figures, fact: now})
    raised = {**profile.figures, fact: Range(now.low + more, now.high + more)}
    _never_milder(low, msgspec.structs.replace(profile, figures=raised))


@settings(deadline=None, max_examples=50)
@given(profile=profiles, day=st.sampled_from(DAYS), more=amounts)
def test_more_users_in_the_past_never_improve_a_verdict(profile: Profile, day: str, more: float) -> None:
    now = profile.all_products_on.get(day, Range(0, 0))
    low = msgspec.structs.replace(profile, all_products_on={day: now})
    _never_milder(low, msgspec.structs.replace(profile, all_products_on={day: Range(now.low + more, now.high + more)}))


def _never_milder(low: Profile, high: Profile) -> None:
    for terms in WITH_LINES:
        before, after = evaluate(case(terms, low)), evaluate(case(terms, high))
        assert rank(after.floor) >= rank(before.floor), terms.id
        assert rank(after.ceiling) >= rank(before.ceiling), terms.id


@settings(deadline=None, max_examples=300)
@given(one=queries, other=queries, profile=profiles)
def test_a_stack_is_never_milder_than_its_strictest_part(one: str, other: str, profile: Profile) -> None:
    parts = [check(name, profile, ON) for name in (one, other)]
    stack = check(f"{one} + {other}", profile, ON)
    assert rank(stack.verdict) == max(rank(part.verdict) for part in parts)
    for part in parts:
        assert set(part.obligations) <= set(stack.obligations)


@settings(deadline=None, max_examples=100)
@given(profile=profiles, fact=st.sampled_from(FIGURES), band=bands)
def test_a_band_gives_a_verdict_only_if_both_ends_agree(profile: Profile, fact: str, band: Range) -> None:
    def at(low: float, high: float) -> Profile:
        return msgspec.structs.replace(profile, figures={**profile.figures, fact: Range(low, high)})

    whole, lower, upper = at(band.low, band.high), at(band.low, band.low), at(band.high, band.high)
    for terms in WITH_LINES:
        found = evaluate(case(terms, whole)).verdict
        if found != "unclear":
            assert {found} == {evaluate(case(terms, who)).verdict for who in (lower, upper)}, terms.id


@settings(deadline=None, max_examples=200)
@given(query=queries, profile=profiles)
def test_questions_are_asked_only_where_the_verdict_is_open(query: str, profile: Profile) -> None:
    answer = check(query, profile, ON)
    assert bool(answer.questions) == (answer.verdict == "unclear")


@settings(deadline=None, max_examples=200)
@given(query=queries, profile=profiles)
def test_a_question_answered_either_way_leaves_fewer(query: str, profile: Profile) -> None:
    """Giving a figure that was asked for settles that question: it is not asked again."""
    asked = [q.split(":", 1)[0].removeprefix("organization.") for q in check(query, profile, ON).questions]
    for field in asked:
        if field in FIGURES and field not in profile.figures:
            figures = {**profile.figures, field: Range(0, 0)}
            again = check(query, msgspec.structs.replace(profile, figures=figures), ON).questions
            assert not any(question.startswith(f"organization.{field}:") for question in again)
