"""Ramps and tasks in a report: what happened, by whom, why, and what a task that was accepted costs."""

from dataclasses import replace

import msgspec

from tests.reports.made import arm, exchange, inputs, table
from weighbridge.ramp.story import RampStep, RampStory
from weighbridge.records.exchange import Exchange
from weighbridge.records.frames import Told
from weighbridge.reports import html, markdown
from weighbridge.reports.build import assemble
from weighbridge.reports.moves import ramp_of

STORY = RampStory(
    ramp="r-1", route="assistant", candidate="new", incumbent="old", verdict="v" * 64, stage="rolled_back",
    share_percent=0.0,
    steps=(
        RampStep(time_ns=10**18, stage="quarter", share_percent=25.0, by="controller", reasons=("an hour in few",)),
        RampStep(
            time_ns=10**18 + 1, stage="rolled_back", share_percent=0.0, by="controller",
            reasons=("errors rose: 9 of 40 <b>",),
        ),
    ),
)  # fmt: skip


def told(exchange: Exchange, score: float) -> Told:
    return Told("x", 1, "app", exchange.route, exchange.conversation, exchange.slice, None, "resolved", score)


def test_a_report_tells_how_users_were_moved_and_why_they_came_back() -> None:
    made = replace(inputs((), (), table=table(arm("new"))), ramps={"assistant": (STORY,)})
    report = assemble(made)
    page, text = html.render(report), markdown.render(report)
    for said in ("Everybody is back on old", "an hour in few", "quarter (25 %)"):
        assert said in page
    assert "9 of 40 &lt;b&gt;" in page
    assert "How users were moved to new" in text
    assert "by controller: errors rose" in text
    assert "10 % of users' conversations are on new" in ramp_of(
        msgspec.structs.replace(STORY, stage="few", share_percent=10.0)
    )


def test_a_report_gives_the_price_of_an_accepted_task_by_arm_and_nothing_where_nobody_told() -> None:
    log = [exchange(f"e{number}", conversation=f"{number:016x}", cost_nanousd=2_000_000) for number in range(4)]
    made = inputs((), log, table=table(arm("new")))
    assert () == assemble(made).routes[0].tasks
    outcomes = [told(log[number], score) for number, score in enumerate((1.0, 1.0, 0.0))]
    made = inputs((), log, table=table(arm("new")), told=outcomes)
    row = assemble(made).routes[0].tasks[0]
    assert (4, 3, 2, 3_000_000.0) == (row.tasks, row.told, row.accepted, row.cost_per_accepted_nanousd)
    assert "2 of 3 with an outcome were accepted" in html.render(assemble(made))
