"""The dossier: a line passes only where something was measured or read."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from tests.reports.made import START_NS, SliceShape, exchange, inputs, table, trial
from weighbridge.ramp.story import RampStep, RampStory
from weighbridge.reports import html, markdown
from weighbridge.reports.build import assemble
from weighbridge.reports.facts import ArmKnowledge
from weighbridge.reports.gather import Inputs
from weighbridge.reports.page import Line
from weighbridge.stats.aa import check_differences
from weighbridge.trials.aa import LiveRerun
from weighbridge.trials.pairs.rerun import Rerun, row_of

GOOD, BAD = SliceShape(0.95, 0.97, 500), SliceShape(0.9, 0.5, 300)


@pytest.fixture(scope="module")
def made() -> Inputs:
    judged, log = trial({"task=refund": GOOD, "task=triage": BAD})
    return inputs([judged], log, table=table())


def lines_of(given: Inputs, chapter: str) -> tuple[Line, ...]:
    sections = assemble(given).routes[0].candidates[0].dossier
    return next(one.lines for one in sections if one.chapter == chapter)


def test_every_unknown_line_says_what_would_find_it_out(made: Inputs) -> None:
    sections = assemble(made).routes[0].candidates[0].dossier
    assert len(sections) == 7
    unknown = [line for section in sections for line in section.lines if line.state == "unknown"]
    assert unknown
    assert all(line.next_step for line in unknown)
    assert all(line.on for section in sections for line in section.lines if line.state == "pass")


def test_quality_stands_worst_slice_first(made: Inputs) -> None:
    first, second, last = lines_of(made, "Quality")
    assert first.claim.startswith("task=triage")
    assert (first.state, second.state) == ("fail", "pass")
    assert "A/A" in last.claim
    assert last.state == "unknown"


def asked_again(second: float) -> LiveRerun:
    """200 units of one slice: the first run graded 1 throughout, the second this much lower in every tenth."""
    differences = np.where(np.arange(200) % 10 == 0, -second, 0.0)
    row = row_of("task=refund", check_differences(differences, 0.03, 0.05))
    found = Rerun(schema="aa/1", margin=0.03, alpha=0.05, seed=0, slices=(row,), even_handed=row.even_handed)
    return LiveRerun(
        schema="aa-run/1", trial="t-aa", route="assistant", arm="gpt-4o", identity="gpt-4o at openai", graders=(),
        found=found, left_out=(), unjudged=0, stopped="exhausted", cost_usd=0.1, created_ns=START_NS,
    )  # fmt: skip


def test_an_incumbent_that_was_asked_again_gives_the_noise_its_line_and_a_harness_that_leans_fails_it(
    made: Inputs,
) -> None:
    even = lines_of(replace(made, reruns={"assistant": asked_again(0.01)}), "Quality")[-1]
    assert "pass" == even.state
    assert "is scored otherwise in task=refund 10 % of units (A/A)" in even.claim
    assert "200 units asked twice, trial t-aa" in even.evidence
    assert "2026-11-" in (even.on or "")
    leaning = lines_of(replace(made, reruns={"assistant": asked_again(1.0)}), "Quality")[-1]
    assert "fail" == leaning.state
    assert "favoured over its own other run in task=refund" in leaning.claim
    # Of another incumbent it says nothing.
    other = msgspec.structs.replace(asked_again(0.01), arm="gpt-3.5")
    assert "unknown" == lines_of(replace(made, reruns={"assistant": other}), "Quality")[-1].state


@pytest.mark.parametrize(
    ("now", "then", "state", "says"),
    [
        ("outputs, MSA 2026-01-10 clause 9", "none", "fail", "An indemnity is lost by moving"),
        ("outputs, MSA 2026-01-10 clause 9", "IP claims, order form 4", "warn", "Both providers indemnify"),
        ("none", "none", "warn", "there is none now"),
        ("outputs", None, "unknown", "Whether an indemnity"),
        (None, "none", "unknown", "Whether an indemnity"),
    ],
)
def test_an_indemnity_is_lost_kept_or_unknown_as_the_contracts_are_stated(
    made: Inputs, now: str | None, then: str | None, state: str, says: str
) -> None:
    arms = {"gpt-4o": ArmKnowledge(indemnity=now), "qwen-72b": ArmKnowledge(indemnity=then)}
    lines = lines_of(replace(made, facts=replace(made.facts, on="2026-11-25", arms=arms)), "Intellectual property")
    line = next(one for one in lines if "ndemni" in one.claim)
    assert state == line.state
    assert says in line.claim
    assert line.next_step


def test_reliability_is_measured_on_users_and_unknown_without_them(made: Inputs) -> None:
    judged, log = trial({"task=refund": GOOD})
    bad = [exchange(f"x{n}", arm="qwen-72b", outcome="upstream_error") for n in range(10)]
    good = [exchange(f"y{n}", arm="qwen-72b") for n in range(90)]
    served = lines_of(inputs([judged], [*log, *bad, *good], table=table()), "Operational reliability")
    assert any(line.claim.startswith("qwen-72b answered 90") for line in served)
    before = lines_of(made, "Operational reliability")
    assert next(line.state for line in before if "qwen-72b under users" in line.claim) == "unknown"


def test_a_percentile_is_right_to_two_per_cent(made: Inputs) -> None:
    users = made.seen.answering["assistant", "gpt-4o"]
    assert users.calls == 800
    took = users.took(0.5)
    assert took is not None
    assert 1.2e9 < took < 1.6e9  # made log-normal around 1.4 s


def test_a_rollback_stands_with_its_reasons(made: Inputs) -> None:
    step = RampStep(time_ns=made.now_ns, stage="rolled_back", share_percent=0.0, by="controller",
                    reasons=("errors: 9 of 40 against 1 of 400",))  # fmt: skip
    story = RampStory(ramp="r" * 64, route="assistant", candidate="qwen-72b", incumbent="gpt-4o", verdict="v" * 64,
                      stage="rolled_back", share_percent=0.0, steps=(step,))  # fmt: skip
    moved = Inputs(table=made.table, judged=made.judged, seen=made.seen, log_head=made.log_head, now_ns=made.now_ns,
                   ramps={"assistant": (story,)})  # fmt: skip
    (line,) = lines_of(moved, "Ramps")
    assert line.state == "warn"
    assert "9 of 40 against 1 of 400" in line.evidence


def test_all_three_renderings_hold_every_claim(made: Inputs) -> None:
    report = assemble(made)
    page, text = html.render(report), markdown.render(report)
    claims = [line.claim for section in report.routes[0].candidates[0].dossier for line in section.lines]
    assert page.count("</tr>") > len(claims)
    assert text.count("| pass |") + text.count("| warn |") + text.count("| fail |") + text.count("| unknown |") >= len(
        claims
    )
