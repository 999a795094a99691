"""The journal survives being cut at any byte, and two runs at once."""

from pathlib import Path

import msgspec
import pytest

from tests.trials.world import Traffic
from weighbridge.errors import WeighbridgeError
from weighbridge.trials.journal import Journal, is_finished
from weighbridge.trials.outcome import Gone, Outcome, Scored, Unjudged
from weighbridge.trials.plan import TrialPlan


def plan_of() -> TrialPlan:
    traffic = Traffic()
    for _ in range(4):
        traffic.ask()
    return traffic.plan()[0]


ROWS: list[Outcome] = [
    Scored(item="a", replay="r1", incumbent=1.0, candidate=0.5, note="1 of 2 fields differ: city", cost_nanousd=12),
    Scored(item="b", replay=None, incumbent=1.0, candidate=0.0, failure="timeout"),
    Gone(item="c"),
]


def test_outcomes_are_read_back_and_failed_ones_are_tried_again(tmp_path: Path) -> None:
    plan = plan_of()
    with Journal(tmp_path, plan) as journal:
        assert journal.open() == {}
        for row in (*ROWS, Unjudged(item="d", reason="HTTP 503")):
            journal.add(row)
    with Journal(tmp_path, plan) as journal:
        assert journal.open() == {row.item: row for row in ROWS}


def test_a_journal_cut_at_any_byte_gives_every_whole_line_and_can_go_on(tmp_path: Path) -> None:
    plan = plan_of()
    with Journal(tmp_path, plan) as journal:
        journal.open()
        for row in ROWS:
            journal.add(row)
    path = tmp_path / "items.jsonl"
    stored = path.read_bytes()
    for cut in range(len(stored)):
        path.write_bytes(stored[:cut])
        whole = stored[: cut + 1].count(b"\n") - 1 if stored[cut : cut + 1] == b"\n" else stored[:cut].count(b"\n") - 1
        with Journal(tmp_path, plan) as journal:
            found = journal.open()
            assert list(found.values()) == ROWS[: max(0, whole)]
            journal.add(Gone(item="z"))
        with Journal(tmp_path, plan) as journal:
            assert list(journal.open().values()) == [*ROWS[: max(0, whole)], Gone(item="z")]


def test_scores_of_other_graders_or_gold_are_not_used_again(tmp_path: Path) -> None:
    plan = plan_of()
    with Journal(tmp_path, plan) as journal:
        journal.open()
        journal.add(ROWS[0])
    with Journal(tmp_path, msgspec.structs.replace(plan, gold=("other",))) as journal:
        assert journal.open() == {}


def test_a_second_run_of_the_same_trial_is_refused(tmp_path: Path) -> None:
    plan = plan_of()
    with (
        Journal(tmp_path, plan),
        pytest.raises(WeighbridgeError, match="running in another process"),
        Journal(tmp_path, plan),
    ):
        pass
    with Journal(tmp_path, plan) as journal:
        journal.open()


def test_a_finished_trial_says_so(tmp_path: Path) -> None:
    with Journal(tmp_path, plan_of()) as journal:
        assert not is_finished(tmp_path)
        journal.finish()
    assert is_finished(tmp_path)
