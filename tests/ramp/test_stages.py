"""The table of stages: what it allows and, more important, what it does not."""

from pathlib import Path

import pytest

from tests.ramp.made import PLAN, at
from weighbridge.ramp.stages import ENDED, LADDER, LIVE, MOVES, UP, back_of, diagram, move_between, next_of, reaches
from weighbridge.records.ramp import STAGES, Stage

DOCS = Path(__file__).parents[2] / "docs" / "design" / "ramp.md"


def test_the_diagram_in_the_docs_is_that_of_the_table() -> None:
    assert f"<!-- stages -->\n```mermaid\n{diagram()}\n```\n<!-- /stages -->" in DOCS.read_text()


def test_there_is_one_arrow_at_most_between_two_stages() -> None:
    ends = [(move.source, move.target) for move in MOVES]
    assert len(set(ends)) == len(ends)


def test_every_stage_can_be_reached_from_proposed() -> None:
    reached: set[Stage] = {"proposed"}
    while more := {move.target for move in MOVES if move.source in reached} - reached:
        reached |= more
    assert set(STAGES) == reached


def test_every_stage_in_which_users_are_on_the_candidate_can_go_back_for_each_cause_that_demands_it() -> None:
    for stage in (*LIVE, "paused", "settled"):
        move = move_between(stage, "rolled_back")
        assert move is not None
        assert ("person", "alarm", "gate") == move.causes
        assert () == move.needs


def test_nothing_leads_out_of_an_ended_ramp() -> None:
    assert [] == [move for move in MOVES if move.source in ENDED]


@pytest.mark.parametrize("stage", LADDER[1:-1])
def test_the_way_up_is_one_step_at_a_time_and_needs_everything(stage: Stage) -> None:
    above = next_of(stage)
    ups = [
        move for move in MOVES
        if move.source == stage and move.target in LADDER and LADDER.index(move.target) > LADDER.index(stage)
    ]  # fmt: skip
    assert [above] == [move.target for move in ups]
    assert UP == ups[0].needs


def test_a_share_never_shrinks_on_the_way_up_and_is_zero_before_and_after() -> None:
    shares = [at(stage).basis_points for stage in LADDER]
    assert shares == sorted(shares)
    assert 0 == at("proposed").basis_points == at("shadow").basis_points == at("rolled_back").basis_points
    assert 10_000 == at("settled").basis_points


def test_a_pause_keeps_the_share_that_stands_and_no_more() -> None:
    for stage in ("shadow", *LIVE):
        assert at(stage).basis_points == at("paused", came_from=stage).basis_points


def test_going_back_before_users_were_there_is_a_rejection() -> None:
    assert ["rejected", "rejected", "rolled_back"] == [back_of("proposed"), back_of("shadow"), back_of("canary")]


def test_an_approval_covers_the_stages_up_to_its_own_and_none_beside_the_ladder() -> None:
    assert reaches("few", "canary")
    assert not reaches("few", "quarter")
    assert not reaches("settled", "paused")
    assert PLAN.terms("rolled_back") is None
