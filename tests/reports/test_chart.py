import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reports.made import SliceShape, inputs, table, trial
from weighbridge.records.evidence import Pair
from weighbridge.reports.build import assemble
from weighbridge.reports.chart import BOTTOM, TOP, chart, unit_differences
from weighbridge.reports.chart import _ticks as ticks
from weighbridge.reports.model import SliceReport


@pytest.fixture(scope="module")
def rows() -> tuple[SliceReport, ...]:
    judged, log = trial({"task=refund": SliceShape(0.95, 0.97, 500), "task=triage": SliceShape(0.9, 0.5, 300)})
    return assemble(inputs([judged], log, table=table())).routes[0].candidates[0].slices


def test_the_trace_ends_where_the_verdict_stands_and_narrows_on_the_way(rows: tuple[SliceReport, ...]) -> None:
    for row in rows:
        last = row.trace[-1]
        assert row.n == last.n
        assert pytest.approx(row.difference, abs=1e-9) == last.mean
        assert row.interval is not None
        assert pytest.approx(row.interval, abs=1e-5) == (last.low, last.high)
        assert last.high - last.low < row.trace[0].high - row.trace[0].low


def test_the_decision_stands_at_the_unit_that_decided(rows: tuple[SliceReport, ...]) -> None:
    words = {"non_inferior": "not worse", "inferior": "worse"}
    for row in rows:
        drawn = chart(row)
        assert drawn is not None
        assert drawn.decision is not None
        assert f"{words[row.verdict]}, at {row.decided_at}" == drawn.decision.label


def test_the_margin_and_the_last_interval_lie_inside_the_plot(rows: tuple[SliceReport, ...]) -> None:
    for row in rows:
        drawn = chart(row)
        assert drawn is not None
        assert TOP < drawn.margin_y < BOTTOM
        last = [float(y) for y in re.findall(r",(-?[\d.]+)", drawn.mean)][-1]
        assert TOP <= last <= BOTTOM


def test_a_row_without_pairs_has_no_chart(rows: tuple[SliceReport, ...]) -> None:
    from msgspec.structs import replace

    assert chart(replace(rows[0], trace=())) is None


def test_a_cluster_is_one_unit_at_the_place_of_its_last_pair() -> None:
    scores = [("a", 1.0), ("b", 0.0), ("a", 0.0), ("c", 1.0)]
    pairs = [
        Pair(
            item=str(i),
            item_digest="",
            replay="r",
            replay_digest="",
            cluster=cluster,
            slice="s",
            incumbent=0.0,
            candidate=score,
        )
        for i, (cluster, score) in enumerate(scores)
    ]
    assert unit_differences(pairs) == [0.0, 0.5, 1.0]


@given(st.integers(2, 10**7))
def test_ticks_are_few_in_order_and_reach_the_end_of_the_axis(n: int) -> None:
    found = ticks(n)
    assert sorted(set(found)) == found
    assert (0, n) == (found[0], found[-1])
    assert 2 <= len(found) <= 8
