"""A saving never stands without the verdict on the same rows: in a sweep's record, its table and its ranking."""

import contextlib
import io

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.cli.sweep_output import WORDS, print_sweep
from weighbridge.records.evidence import VerdictWord
from weighbridge.trials.sweep.board import ranked
from weighbridge.trials.sweep.record import SWEEP_SCHEMA, Saved, Sweep, SweepRow

NOTHING_SAVED = Saved(replays=0, spared=0, settled=0, spared_usd=None, unplanned=0)


def row(name: str, word: VerdictWord, cost: float | None, difference: float | None) -> SweepRow:
    return SweepRow(
        candidate=name, trial="t-1", evidence="0" * 64, overall=word, slices={"a": word}, difference=difference,
        interval=None, pairs=10, incumbent_usd_per_1000=4.0, candidate_usd_per_1000=cost,
        saving=None if cost is None else 1.0 - cost / 4.0, frontier=False, spent_usd=None, spared=0, settled=0,
        left_out_at=None, reasons=(),
    )  # fmt: skip


def swept(*rows: SweepRow) -> Sweep:
    return Sweep(
        schema=SWEEP_SCHEMA, route="assistant", incumbent="old", margin=0.03, alpha=0.05, seed=0,
        comparisons=len(rows), units=10, rows=ranked(rows), not_asked=(), saved=NOTHING_SAVED, spent_usd=None,
        complete=True, created_ns=1,
    )  # fmt: skip


ROWS = st.lists(
    st.builds(
        row,
        st.just("c"),
        st.sampled_from(sorted(WORDS)),
        st.none() | st.floats(0.01, 9.0),
        st.none() | st.floats(-1.0, 1.0),
    ),
    min_size=1,
    max_size=6,
).map(lambda rows: [msgspec.structs.replace(one, candidate=f"c{at}") for at, one in enumerate(rows)])


@given(ROWS)
def test_every_printed_saving_has_its_verdict_in_the_same_row(rows: list[SweepRow]) -> None:
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setenv("COLUMNS", "140")
        print_sweep(swept(*rows))
    by_name = {one.candidate: one for one in rows}
    table = [line for line in printed.getvalue().splitlines() if line.split()[:1] and line.split()[0] in by_name]
    assert len(rows) == len(table)
    for line in table:
        one = by_name[line.split()[0]]
        assert WORDS[one.overall] in line
        assert ("%" in line) == (one.saving is not None)
        assert one.saving is not None or "unknown" in line
    others = [line for line in printed.getvalue().splitlines() if line not in table]
    assert not any("%" in line for line in others)


@given(ROWS)
def test_what_is_proved_worse_or_of_unknown_cost_is_never_on_the_frontier_or_before_what_passed(
    rows: list[SweepRow],
) -> None:
    board = ranked(rows)
    assert not [one for one in board if one.frontier and (one.overall == "inferior" or one.saving is None)]
    places = [("non_inferior", "undecided", "inferior").index(one.overall) for one in board]
    assert places == sorted(places)
    for one in board:
        if one.frontier:
            assert not [
                other
                for other in board
                if other.overall != "inferior"
                and other.candidate_usd_per_1000 is not None
                and other.difference is not None
                and one.candidate_usd_per_1000 is not None
                and one.difference is not None
                and other.candidate_usd_per_1000 < one.candidate_usd_per_1000
                and other.difference > one.difference
            ]
