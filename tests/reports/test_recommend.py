import dataclasses
import itertools
from typing import get_args

import pytest
from msgspec.structs import replace

from tests.reports.made import HOSTED, OPENAI, OWN, a_route
from weighbridge.records.evidence import LicenseWord, VerdictWord
from weighbridge.reports.model import Gate, GateWord, LicenseReport
from weighbridge.reports.recommend import Case, gate_of, recommend


def case(
    verdict: VerdictWord = "non_inferior",
    word: LicenseWord = "allowed",
    gate: GateWord = "permitted",
    change: float | None = -0.8,
    reasons: tuple[str, ...] = (),
    worse_slices: tuple[str, ...] = (),
) -> Case:
    return Case(
        candidate="qwen-72b",
        verdict=verdict,
        margin=0.03,
        reasons=reasons,
        license=LicenseReport(word=word, terms=None, obligations=(), reasons=("clause 2 says so",), on=None),
        gate=Gate(state=gate, sentence="`region` is not stated."),
        change=change,
        worse_slices=worse_slices,
    )


def test_only_a_row_that_passes_quality_licence_gate_and_cost_may_move() -> None:
    changes = (-0.8, 0.0, 0.3, None)
    every = itertools.product(get_args(VerdictWord), get_args(LicenseWord), get_args(GateWord), changes)
    moves = {one for one in every if recommend(case(*one)).answer == "move"}
    assert {("non_inferior", word, "permitted", -0.8) for word in ("allowed", "obligations")} == moves


def test_proof_against_it_is_do_not_move_whatever_the_rest_says() -> None:
    every = itertools.product(get_args(LicenseWord), get_args(GateWord), (-0.8, 0.3, None))
    assert {"do not move"} == {recommend(case("inferior", *one)).answer for one in every}


def test_an_undecided_row_says_what_the_verdict_said_it_lacks() -> None:
    found = recommend(case("undecided", reasons=("needs about 87 more pairs",)))
    assert (found.answer, found.flips) == ("not enough evidence", ("needs about 87 more pairs",))


def test_an_undecided_row_names_an_open_licence_once_and_briefly() -> None:
    found = recommend(case("undecided", word="unclear", reasons=("needs 9 more", "licence unclear: clause 2 says so")))
    assert found.flips == ("needs 9 more", "besides, the licence has to be settled")


def test_an_unclear_licence_holds_back_a_good_row_and_is_what_would_flip_it() -> None:
    found = recommend(case(word="unclear"))
    assert found.answer == "not enough evidence"
    assert "licence is unclear" in found.why
    assert found.flips == ("clause 2 says so",)


def test_a_licence_that_forbids_it_means_do_not_move_even_without_a_verdict() -> None:
    assert recommend(case("undecided", word="prohibited")).answer == "do not move"


@pytest.mark.parametrize(("change", "said"), [(0.3, "30 % dearer than"), (0.0, "as dear as")])
def test_a_good_candidate_that_saves_nothing_is_not_to_be_moved_to(change: float, said: str) -> None:
    found = recommend(case(change=change))
    assert found.answer == "do not move"
    assert said in found.why


def test_an_unknown_cost_is_not_taken_for_a_saving() -> None:
    found = recommend(case(change=None))
    assert found.answer == "not enough evidence"
    assert "unknown" in found.why


def test_a_whole_with_one_worse_slice_is_not_moved_as_a_whole() -> None:
    found = recommend(case(worse_slices=("task=legal",)))
    assert found.answer == "do not move"
    assert "task=legal" in found.why


def test_the_gate_tells_a_missing_term_from_one_that_is_out_of_bounds() -> None:
    route = replace(a_route("qwen-72b"), allow_regions=("eu",), allow_retention_days=0)
    stated = replace(HOSTED, trains_on_data=False)
    assert gate_of(route, stated, is_incumbent=False).state == "permitted"
    assert gate_of(route, HOSTED, is_incumbent=False).state == "unknown"
    assert "trains_on_data" in gate_of(route, HOSTED, is_incumbent=False).sentence
    # One term unknown and another out of bounds: stating the unknown one would not help.
    assert gate_of(route, replace(HOSTED, region=None, retention_days=30), is_incumbent=False).state == "refused"
    assert gate_of(a_route("x"), OWN, is_incumbent=False).state == "permitted"
    assert gate_of(a_route("x"), OPENAI, is_incumbent=True).state == "permitted"


def test_of_a_long_finding_only_the_next_steps_stand_in_the_row() -> None:
    reasons = ("clause 4 draws a line", "to do: say how many users", "to do: say the role", "to do: ask counsel")
    unclear = replace(case().license, word="unclear", reasons=reasons)
    found = recommend(dataclasses.replace(case(), license=unclear))
    assert found.flips == ("say how many users", "say the role", "1 more under Licence, below")
