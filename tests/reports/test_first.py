"""The first page: every figure follows from the rows, and what nobody has is unknown."""

from dataclasses import replace
from statistics import fmean

import pytest

from tests.reports.made import START_NS, SliceShape, arm, exchange, inputs, table, trial
from weighbridge.config import loads
from weighbridge.config.tree import CommitmentSection
from weighbridge.ramp.plan import expected, plan_of
from weighbridge.records.evidence import Verdict
from weighbridge.reports.build import assemble
from weighbridge.reports.facts import ArmKnowledge, Facts
from weighbridge.reports.gather import Inputs
from weighbridge.reports.page import Figure, FirstPage

GOOD, BAD, OPEN = SliceShape(0.95, 0.97, 500), SliceShape(0.9, 0.5, 300), SliceShape(0.9, 0.9, 40)
CONFIG = """
[[endpoint]]
name = "openai"
base_url = "https://api.openai.com/v1"
[[arm]]
name = "gpt-4o"
endpoint = "openai"
model = "gpt-4o-2024-08-06"
[[route]]
name = "assistant"
incumbent = "gpt-4o"
"""


@pytest.fixture(scope="module")
def made() -> Inputs:
    judged, log = trial({"task=refund": GOOD, "task=triage": BAD, "task=extract": OPEN}, days=40.0)
    return inputs([judged], log, table=table())


def page_of(given: Inputs) -> FirstPage:
    page = assemble(given).routes[0].first
    assert page is not None
    return page


def figure_of(given: Inputs, name: str) -> Figure:
    return next(one for one in page_of(given).figures if one.name == name)


def verdict_of(given: Inputs) -> Verdict:
    return given.judged[0].verdict


def test_spend_is_split_by_the_answer_of_its_slice_and_nothing_is_lost(made: Inputs) -> None:
    spent, sums = page_of(made).spent, made.seen.routes["assistant"].slice_nanousd
    assert (spent.move_nanousd, spent.stay_nanousd, spent.undecided_nanousd) == (
        sums["task=refund"], sums["task=triage"], sums["task=extract"]
    )  # fmt: skip
    assert spent.whole == made.seen.routes["assistant"].cost_nanousd


def test_the_saving_is_volume_times_the_mean_difference_minus_what_trials_cost(made: Inputs) -> None:
    evidence, calls = made.judged[0].evidence, made.seen.routes["assistant"]
    assert evidence is not None
    kept = made.seen.kept
    differences = [
        (kept[pair.item].cost_nanousd or 0) - (kept[pair.replay or ""].cost_nanousd or 0)
        for pair in evidence.pairs
        if pair.slice == "task=refund"
    ]
    days = ((calls.last_time_ns or 0) - (calls.first_time_ns or 0)) / 86_400e9
    spent = made.seen.beside["assistant", "trial"].cost_nanousd
    expect = calls.slices["task=refund"] * 365 / days * fmean(differences) - spent
    figure = figure_of(made, "saving")
    assert figure.value == pytest.approx(expect, abs=2)
    assert figure.low is not None
    assert figure.high is not None
    assert figure.low < expect < figure.high


def test_stated_hours_of_people_are_taken_off_once_and_unstated_ones_are_said_to_be_missing(made: Inputs) -> None:
    before = figure_of(made, "saving")
    assert "hours of staff and of people who label, which nobody stated" in before.says
    assert "staff_hours" in before.next_step
    facts = replace(made.facts, staff={"assistant": (10, 90_000_000_000)})
    after = figure_of(replace(made, facts=facts), "saving")
    assert before.value is not None
    assert after.value is not None
    assert 900_000_000_000 == round(before.value - after.value)
    assert "for 10 hours of people at $90" in after.says
    assert "nobody stated" not in after.says


def test_a_saving_below_a_week_of_log_is_unknown_and_not_a_guess() -> None:
    judged, log = trial({"task=refund": GOOD}, days=6.0)
    figure = figure_of(inputs([judged], log, table=table()), "saving")
    assert (figure.value, figure.state, figure.shown) == (None, "unknown", "unknown")


def test_an_incumbent_that_is_paid_by_a_commitment_frees_no_cash(made: Inputs) -> None:
    fee = CommitmentSection(
        name="plan", endpoint="openai", kind="subscription", usd_per_month="100", since="2026-01-01", source="a test"
    )
    figure = figure_of(replace(made, facts=Facts(arms={"gpt-4o": ArmKnowledge(commitment=fee)})), "saving")
    assert figure.value is None
    assert "commitment plan" in figure.says


def test_own_gpus_cost_their_whole_year_used_or_not(made: Inputs) -> None:
    fee = CommitmentSection(
        name="rack", endpoint="own-gpu", kind="gpu_hours", gpus=2, usd_per_gpu_hour="3", since="2026-01-01",
        source="a test",
    )  # fmt: skip
    before = figure_of(made, "saving").value
    after = figure_of(replace(made, facts=Facts(arms={"qwen-72b": ArmKnowledge(commitment=fee)})), "saving").value
    assert before is not None
    assert after is not None
    assert after < before - 2 * 8_760 * 3 * 10**9 * 0.9


def test_a_saving_is_against_the_best_alternative_and_not_against_staying() -> None:
    first, log = trial({"task=refund": GOOD}, days=40.0)
    second, more = trial(
        {"task=refund": replace(GOOD, cheaper=0.5)}, candidate="mistral", name="t-2", seed=5, days=40.0
    )
    both = inputs([first, second], [*log, *more], table=table(arm("qwen-72b"), arm("mistral")))
    page = page_of(both)
    nets = {one.arm: one.net_nanousd for one in page.alternatives}
    value = next(one.value for one in page.figures if one.name == "saving")
    assert nets["mistral"]
    assert nets["qwen-72b"]
    assert value == nets["qwen-72b"] - nets["mistral"]


def test_a_way_that_nobody_tried_is_listed_as_such_and_has_no_figure(made: Inputs) -> None:
    untried = {one.kind: one.net_nanousd for one in page_of(made).alternatives if one.arm is None}
    assert untried == {"optimise in place": None, "cheapest closed": None, "open API": None}


def test_the_worst_slice_is_the_lowest_bound_among_those_that_move(made: Inputs) -> None:
    figure = figure_of(made, "worst slice")
    row = next(row for row in assemble(made).routes[0].candidates[0].slices if row.slice == "task=refund")
    assert row.interval is not None
    assert figure.low == row.interval[0]
    assert "Critical failures: unknown" in figure.says


def test_critical_failures_are_bounded_from_above_where_a_grader_says_what_they_are(made: Inputs) -> None:
    figure = figure_of(replace(made, facts=Facts(critical={"assistant": ("*",)})), "worst slice")
    evidence = made.judged[0].evidence
    assert evidence is not None
    pairs = [pair for pair in evidence.pairs if pair.slice == "task=refund"]
    failed = sum(pair.candidate == 0.0 for pair in pairs)
    assert f"{failed} of {len(pairs):,}, at most" in figure.says
    assert figure.state == "pass"


def test_an_accepted_task_costs_its_share_of_the_failed_ones(made: Inputs) -> None:
    row = next(row for row in assemble(made).routes[0].candidates[0].slices if row.slice == "task=refund")
    figure = figure_of(made, "cost per accepted task")
    assert row.then_nanousd is not None
    assert row.candidate_score is not None
    assert figure.value == pytest.approx(row.then_nanousd / row.candidate_score)


def test_the_exposure_is_the_ramps_own_calculation_at_its_worst(made: Inputs) -> None:
    plan = plan_of(loads(CONFIG), "assistant", verdict_of(made))
    row = next(row for row in assemble(made).routes[0].candidates[0].slices if row.slice == "task=refund")
    assert row.comparison is not None
    rate = row.comparison.incumbent_errors.rate
    views = [view for terms in plan.stages for view in expected(plan, terms.stage, rate, row.then_nanousd)]
    figure = figure_of(replace(made, facts=Facts(plans={"t-0001": plan})), "exposure")
    assert figure.value == max(view.requests or 0 for view in views)
    assert figure_of(made, "exposure").value is None


def test_verdicts_expire_by_the_ramps_own_age_limit(made: Inputs) -> None:
    assert page_of(made).expires is None
    # The verdict is of 24 November 2026.
    assert page_of(replace(made, facts=Facts(fresh_days={"assistant": 30.0}))).expires == "2026-12-24"


def test_a_route_without_any_trial_has_a_page_that_says_so() -> None:
    page = page_of(inputs([], [exchange("one", time_ns=START_NS)], table=table()))
    assert page.covered == 0.0
    assert [one.state for one in page.figures] == ["warn", "warn", "unknown", "unknown", "unknown"]
