"""The books beside the bill of a provider that serves recorded answers; and the harness would notice a difference."""

import dataclasses
from pathlib import Path

import pytest

from bench.bill import Part, run

pytestmark = pytest.mark.promise(10)

GOOD = Part(
    name="answered", asked=2, attempts=2, known=2, input_tokens=10, output_tokens=4, cost_nanousd=65_000, estimated=0,
    estimated_nanousd=0, failed=0,
    bill={"requests": 2, "input_tokens": 10, "output_tokens": 4, "cut_streams": 0, "errors": 0},
)  # fmt: skip
CUT = dataclasses.replace(
    GOOD, name="cut", known=0, input_tokens=0, output_tokens=0, cost_nanousd=0, estimated=2, estimated_nanousd=70_000
)


def test_books_that_equal_the_bill_have_no_problem() -> None:
    assert ([], []) == (GOOD.problems, CUT.problems)


@pytest.mark.parametrize("name", ["requests", "input_tokens", "output_tokens", "cut_streams", "errors"])
def test_one_more_of_anything_on_the_bill_is_a_problem(name: str) -> None:
    assert dataclasses.replace(GOOD, bill=GOOD.bill | {name: GOOD.bill[name] + 1}).problems


def test_a_cost_below_the_tokens_and_an_unmarked_or_cheap_cut_stream_are_problems() -> None:
    assert dataclasses.replace(GOOD, cost_nanousd=64_999).problems
    assert dataclasses.replace(CUT, estimated=1).problems
    assert dataclasses.replace(CUT, estimated_nanousd=64_999).problems


@pytest.mark.recorded
def test_mixed_traffic_is_booked_to_the_token_of_the_providers_bill(tmp_path: Path, recorded_folder: Path) -> None:
    parts = run(recorded_folder, tmp_path, 300)
    assert {} == {one.name: one.problems for one in parts if one.problems}
    marked = {one.name: one.estimated for one in parts if one.name not in ("left", "stops")}
    assert {"answered": 0, "failing": 0, "retried": 0, "first": 0, "second": 0, "cut": 18} == marked
    assert all(one.bill["errors"] > 0 for one in parts if one.name in ("failing", "retried", "first"))
    assert next(one.bill["requests"] for one in parts if one.name == "second") > 0
