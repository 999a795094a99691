import msgspec
import pytest
from msgspec.structs import replace

from tests.reports.made import DAY_NS, START_NS, SliceShape, arm, exchange, inputs, table, trial
from weighbridge.records.exchange import Exchange
from weighbridge.reports.build import assemble
from weighbridge.reports.gather import Judged
from weighbridge.reports.model import Report, RouteReport, SliceReport
from weighbridge.reports.write import to_json

GOOD, BAD, OPEN = SliceShape(0.95, 0.97, 500), SliceShape(0.9, 0.5, 300), SliceShape(0.9, 0.9, 40)


@pytest.fixture(scope="module")
def tried() -> tuple[Judged, list[Exchange]]:
    return trial({"task=refund": GOOD, "task=triage": BAD, "task=extract": OPEN})


@pytest.fixture(scope="module")
def route(tried: tuple[Judged, list[Exchange]]) -> RouteReport:
    return assemble(inputs([tried[0]], tried[1], table=table())).routes[0]


def row_of(route: RouteReport, name: str, candidate: int = 0) -> SliceReport:
    return next(row for row in route.candidates[candidate].slices if row.slice == name)


def test_each_slice_gets_its_own_answer_and_the_headline_says_all_three(route: RouteReport) -> None:
    answers = {row.slice: row.recommendation.answer for row in route.candidates[0].slices}
    assert answers == {"task=refund": "move", "task=triage": "do not move", "task=extract": "not enough evidence"}
    assert route.headline == (
        "Move task=refund to qwen-72b (60 % of requests, 80 % cheaper); keep gpt-4o for task=triage; "
        "for task=extract there is not enough evidence yet."
    )


def test_costs_are_those_of_the_compared_requests_and_of_no_others(
    tried: tuple[Judged, list[Exchange]], route: RouteReport
) -> None:
    judged, log = tried
    by_id = {one.id: one for one in log}
    assert judged.evidence is not None
    pairs = [pair for pair in judged.evidence.pairs if pair.slice == "task=refund"]
    now = sum(by_id[pair.item].cost_nanousd or 0 for pair in pairs)
    then = sum(by_id[pair.replay or ""].cost_nanousd or 0 for pair in pairs)
    row = row_of(route, "task=refund")
    assert row.comparison is not None
    assert (now, then, len(pairs)) == (
        row.comparison.incumbent.cost_nanousd, row.comparison.candidate.cost_nanousd, row.comparison.incumbent.requests
    )  # fmt: skip
    assert pytest.approx(then / now - 1) == row.change


def test_one_unknown_cost_makes_the_cost_of_the_row_and_of_the_whole_unknown(
    tried: tuple[Judged, list[Exchange]],
) -> None:
    judged, log = tried
    assert judged.evidence is not None
    victim = next(pair.replay for pair in judged.evidence.pairs if pair.slice == "task=refund")
    holed = [replace(one, cost_nanousd=None) if one.id == victim else one for one in log]
    route = assemble(inputs([judged], holed, table=table())).routes[0]
    row, whole = row_of(route, "task=refund"), route.candidates[0].overall
    assert (row.then_nanousd, row.change, row.recommendation.answer) == (None, None, "not enough evidence")
    assert row.comparison is not None
    assert row.comparison.candidate.cost_unknown == 1
    assert whole is not None
    assert whole.then_nanousd is None
    assert route.moved.slices == ()


def test_the_whole_is_weighted_by_traffic_and_not_by_what_was_compared(route: RouteReport) -> None:
    whole = route.candidates[0].overall
    assert whole is not None
    weights = {"task=refund": 500 / 840, "task=triage": 300 / 840, "task=extract": 40 / 840}
    rows = [(row, weights[row.slice]) for row in route.candidates[0].slices]
    assert pytest.approx(sum((row.now_nanousd or 0) * weight for row, weight in rows)) == whole.now_nanousd


def test_a_month_is_only_given_where_the_log_spans_a_week() -> None:
    long, short = trial({"task=refund": GOOD}, days=30.0), trial({"task=refund": GOOD}, days=6.0)
    month = row_of(assemble(inputs([long[0]], long[1], table=table())).routes[0], "task=refund").month
    assert month is not None
    assert pytest.approx(500 * 30 / month.span_days, abs=1) == month.requests
    assert row_of(assemble(inputs([short[0]], short[1], table=table())).routes[0], "task=refund").month is None


def test_errors_are_counted_against_the_arm_that_made_them(tried: tuple[Judged, list[Exchange]]) -> None:
    judged, log = tried
    more = [
        *log,
        exchange("down", outcome="upstream_error"),
        exchange("left", outcome="client_gone"),
        exchange("no", outcome="refused"),
        exchange("late", purpose="trial", arm="qwen-72b", trial="t-0001", outcome="timeout"),
    ]
    comparison = row_of(assemble(inputs([judged], more, table=table())).routes[0], "task=refund").comparison
    assert comparison is not None
    assert (comparison.incumbent_errors.errors, comparison.incumbent_errors.calls) == (1, 502)
    assert comparison.candidate_errors.errors == 1


def test_only_user_traffic_is_traffic(tried: tuple[Judged, list[Exchange]], route: RouteReport) -> None:
    assert sum(one.purpose == "user" for one in tried[1]) == route.traffic.requests
    assert route.traffic.slices == {"task=refund": 500, "task=triage": 300, "task=extract": 40}


def test_a_rerun_of_a_trial_replaces_its_verdict_and_a_new_span_is_another_look() -> None:
    first, log = trial({"task=refund": OPEN}, name="t-1")
    again = replace(first.verdict, created_ns=first.verdict.created_ns + 1)
    rerun = Judged("9" * 64, again, first.evidence, first.findings)
    second, more = trial({"task=refund": GOOD}, name="t-2", seed=9, created_ns=START_NS + 30 * DAY_NS)
    row = row_of(assemble(inputs([first, rerun, second], [*log, *more], table=table())).routes[0], "task=refund")
    assert (row.looks, row.trial, [look.trial for look in row.earlier]) == (2, "t-2", ["t-1"])


def test_a_slice_that_was_judged_by_an_earlier_trial_keeps_its_row() -> None:
    first, log = trial({"task=refund": GOOD, "task=triage": BAD}, name="t-1")
    second, more = trial({"task=triage": BAD}, name="t-2", seed=9, created_ns=START_NS + 30 * DAY_NS)
    candidate = assemble(inputs([first, second], [*log, *more], table=table())).routes[0].candidates[0]
    assert {row.slice: row.trial for row in candidate.slices} == {"task=refund": "t-1", "task=triage": "t-2"}
    assert {"t-1", "t-2"} == {facts.trial for facts in candidate.trials}


def test_a_trial_of_one_slice_says_nothing_about_the_whole_route() -> None:
    whole, log = trial({"task=refund": GOOD, "task=triage": BAD}, name="t-1")
    part, more = trial({"task=triage": OPEN}, name="t-2", seed=9, created_ns=START_NS + 30 * DAY_NS)
    both = assemble(inputs([whole, part], [*log, *more], table=table())).routes[0].candidates[0]
    assert both.overall is not None
    assert both.overall.trial == "t-1"
    only = assemble(inputs([part], [*log, *more], table=table())).routes[0].candidates[0]
    assert only.overall is None


def test_the_cheapest_of_two_good_candidates_is_the_one_to_move_to() -> None:
    dear, log = trial({"task=refund": GOOD}, candidate="dear", name="t-1")
    cheap, more = trial({"task=refund": replace_cost(GOOD, 0.1)}, candidate="cheap", name="t-2")
    made = table(arm("dear"), arm("cheap"))
    route = assemble(inputs([dear, cheap], [*log, *more], table=made)).routes[0]
    assert route.moved.slices == (("task=refund", "cheap"),)


def replace_cost(shape: SliceShape, cheaper: float) -> SliceShape:
    return SliceShape(shape.incumbent, shape.candidate, shape.items, cheaper)


def test_traffic_that_no_verdict_covers_is_named(tried: tuple[Judged, list[Exchange]]) -> None:
    more = [*tried[1], exchange("x", part="task=legal")]
    assert assemble(inputs([tried[0]], more, table=table())).routes[0].unjudged == ("task=legal",)


def test_without_any_trial_the_report_says_so_and_claims_nothing() -> None:
    route = assemble(inputs([], [], table=table())).routes[0]
    assert route.headline == "Nothing has been tried yet: no trial has compared qwen-72b with gpt-4o."
    assert (route.answer, route.moved.slices) == ("not enough evidence", ())


def test_a_verdict_whose_evidence_is_missing_claims_no_cost() -> None:
    judged, log = trial({"task=refund": GOOD})
    row = row_of(
        assemble(inputs([Judged("9" * 64, judged.verdict, None, ())], log, table=table())).routes[0], "task=refund"
    )
    assert (
        row.comparison, row.trace, row.license, row.recommendation.answer
    ) == (None, (), "unclear", "not enough evidence")  # fmt: skip


def test_the_json_reads_back_as_the_same_report(tried: tuple[Judged, list[Exchange]]) -> None:
    report = assemble(inputs([tried[0]], tried[1], table=table()))
    assert report == msgspec.json.decode(to_json(report), type=Report)


def test_the_same_inputs_give_the_same_bytes(tried: tuple[Judged, list[Exchange]]) -> None:
    made = [to_json(assemble(inputs([tried[0]], tried[1], table=table()))) for _ in range(2)]
    assert made[0] == made[1]
