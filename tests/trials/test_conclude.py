"""From a walk to evidence and verdict: what is said, and what is never said."""

import msgspec
import pytest

from tests.trials.test_replay import Host, Trial, trial_of
from tests.trials.world import EXACT, Traffic, asked, config, with_settings
from weighbridge.licenses import finding
from weighbridge.records.canonical import canonical, parse
from weighbridge.records.evidence import Evidence, Finding, SliceVerdict, Verdict
from weighbridge.records.exchange import Exchange
from weighbridge.records.table import Arm
from weighbridge.trials.conclude import HAND_WRITTEN, UNSHUFFLED, conclude
from weighbridge.trials.frame import Item
from weighbridge.trials.reasons import AGREEMENT
from weighbridge.trials.replay import Stopped

ALLOWED = finding(Arm(name="new", endpoint="host", model="new-model", weights="open", terms="Apache-2.0"), "2026-11-25")
UNCLEAR = finding(Arm(name="new", endpoint="host", model="new-model", weights="open"), "2026-11-25")


def concluded(trial: Trial, stopped: Stopped, found: Finding = ALLOWED) -> tuple[Evidence, Verdict]:
    replays: dict[str, Exchange] = {}
    return conclude(trial.walk, trial.items, replays, found, stopped, "HTTP 500: boom", 12_345, 99)


def run(trial: Trial, host: Host, found: Finding = ALLOWED, bound: int = 100) -> tuple[Evidence, Verdict]:
    return concluded(trial, trial.run(host, bound=bound), found)


def row(verdict: Verdict, name: str) -> SliceVerdict:
    return next(one for one in verdict.verdicts if one.slice == name)


def test_a_certified_trial_says_where_its_interval_lies_and_reads_back_exactly() -> None:
    evidence, verdict = run(trial_of(400, "ab"), Host(lambda item, attempt: "right"))
    assert [one.verdict for one in (*verdict.verdicts, verdict.overall)] == ["non_inferior"] * 3
    for one in (*verdict.verdicts, verdict.overall):
        assert one.interval is not None
        assert one.decided_at is not None
        assert one.interval[0] >= -0.1
        assert one.decided_at <= one.clusters <= one.n
        assert "lies above the margin (-10.0 points)" in one.reasons[0]
        assert (one.label_source, one.license) == ("gold", "allowed")
    assert sum(one.n for one in verdict.verdicts) == len(evidence.pairs)
    assert verdict.cost_usd == pytest.approx(12_345e-9)
    assert parse(canonical(verdict), Verdict) == verdict
    assert parse(canonical(evidence), Evidence) == evidence


def test_the_json_holds_the_documented_fields() -> None:
    _, verdict = run(trial_of(60), Host(lambda item, attempt: "right"))
    tree = msgspec.json.decode(canonical(verdict))
    assert {"route", "candidate", "verdicts", "overall", "margin", "alpha", "method", "seed", "cost_usd"} <= tree.keys()
    fields = {
        "slice",
        "n",
        "clusters",
        "difference",
        "interval",
        "verdict",
        "decided_at",
        "label_source",
        "license",
        "reasons",
    }
    assert set(tree["overall"]) == set(tree["verdicts"][0]) == fields


def test_an_undecided_slice_says_how_many_more_pairs_it_needs() -> None:
    _, verdict = run(trial_of(30), Host(lambda item, attempt: "right"))
    assert verdict.overall.verdict == "undecided"
    reasons = row(verdict, "task=a").reasons
    assert reasons[0].startswith("needs about ")
    assert " more pairs" in reasons[0]
    assert "capture more traffic" in reasons[1]


def test_the_number_of_pairs_that_is_said_to_be_missing_is_about_right() -> None:
    """A candidate that never differs needs a known number of pairs: what was seen plus what is said must meet it."""
    _, enough = run(trial_of(400), Host(lambda item, attempt: "right"))
    decided_at = enough.overall.decided_at
    assert decided_at is not None
    _, verdict = run(trial_of(30), Host(lambda item, attempt: "right"))
    said = int(row(verdict, "task=a").reasons[0].split()[2])
    assert abs(30 + said - decided_at) <= 3


def test_where_the_estimate_is_past_the_margin_more_pairs_will_not_help() -> None:
    trial = trial_of(30, settings=asked(margin=0.02))
    bad = {name for unit in trial.plan.units[:3] for name in unit.items}
    _, verdict = run(trial, Host(lambda item, attempt: "wrong" if item.id in bad else "right"))
    assert row(verdict, "task=a").verdict == "undecided"
    assert "more pairs will not help" in row(verdict, "task=a").reasons[0]


def test_a_slice_without_a_grader_is_undecided_with_that_reason_and_the_whole_does_not_leave_it_out() -> None:
    traffic = Traffic()
    for number in range(400):
        traffic.ask("a" if number % 4 else "poem")
    trial = Trial(traffic, asked(), config(EXACT + 'slice = "task=a"\n'))
    evidence, verdict = run(trial, Host(lambda item, attempt: "right"))
    poem = row(verdict, "task=poem")
    assert (poem.verdict, poem.n, poem.interval, poem.label_source) == ("undecided", 0, None, "none")
    assert poem.reasons[0] == "no grader"
    assert row(verdict, "task=a").verdict == "non_inferior"
    assert verdict.overall.verdict == "undecided"
    assert "25.0% of the traffic cannot be judged (task=poem)" in verdict.overall.reasons[0]
    assert evidence.weights == {"task=a": 0.75, "task=poem": 0.25}


def test_a_slice_without_gold_says_what_is_missing() -> None:
    traffic = Traffic()
    for number in range(100):
        traffic.ask("a" if number % 2 else "b", gold="right" if number % 2 else None)
    _, verdict = run(Trial(traffic, asked()), Host(lambda item, attempt: "right"))
    assert row(verdict, "task=b").reasons[0] == "no usable exchange: 50 no gold answer"


def test_replays_that_could_not_be_judged_keep_their_slice_and_the_whole_undecided_with_the_count() -> None:
    trial = trial_of(400, "ab")
    bad = {name for unit in trial.plan.units[:9] if unit.slice == "task=a" for name in unit.items}
    evidence, verdict = run(trial, Host(lambda item, attempt: (404, "model_not_found") if item.id in bad else "right"))
    failed = row(verdict, "task=a")
    assert failed.verdict == "undecided"
    assert failed.reasons[0].startswith(f"{len(bad)} replays could not be judged")
    assert "HTTP 404 model_not_found" in failed.reasons[0]
    assert evidence.failed == {"task=a": len(bad)}
    assert row(verdict, "task=b").verdict == "non_inferior"
    assert verdict.overall.verdict == "undecided"


def test_agreement_never_certifies_and_never_condemns() -> None:
    for text in ("{reference}", "banana"):
        traffic = Traffic()
        for number in range(300):
            traffic.ask("a", answer=f"answer {number}", gold=None)
        trial = Trial(traffic, asked(), config(EXACT + 'reference = "incumbent"\n'))

        def answer(item: Item, attempt: int, text: str = text) -> str:
            return text.format(reference=item.reference)

        _, verdict = run(trial, Host(answer))
        one = row(verdict, "task=a")
        assert (one.verdict, one.decided_at, one.label_source) == ("undecided", None, "agreement")
        assert one.reasons[0] == AGREEMENT
        assert one.interval is not None
        assert verdict.overall.verdict == "undecided"
        assert verdict.overall.label_source == "agreement"


def test_an_unclear_licence_is_said_beside_a_good_verdict() -> None:
    _, verdict = run(trial_of(200), Host(lambda item, attempt: "right"), UNCLEAR)
    one = row(verdict, "task=a")
    assert (one.verdict, one.license) == ("non_inferior", "unclear")
    assert any(reason.startswith("licence unclear: ") for reason in one.reasons)


def test_a_trial_stopped_by_money_says_so_and_names_how_to_go_on() -> None:
    trial = trial_of(300)
    trial.purse.cap_nanousd = 1_000
    _, verdict = run(trial, Host(lambda item, attempt: "right"))
    assert any("--max-usd" in reason for reason in verdict.overall.reasons)
    assert verdict.overall.reasons[0].startswith("needs about")


def test_a_given_up_endpoint_leaves_every_slice_undecided_with_what_it_said() -> None:
    _, verdict = run(trial_of(300, "ab"), Host(lambda item, attempt: (500, "boom")))
    assert verdict.overall.verdict == "undecided"
    assert any("given up" in reason for reason in verdict.overall.reasons)


def test_hand_written_answers_an_unshuffled_order_and_another_look_are_said() -> None:
    traffic = Traffic()
    for _ in range(60):
        traffic.ask("a", tags=(("incumbent", "hand-written"),))
    first = Trial(traffic, with_settings(asked(), shuffle=False))
    evidence, verdict = run(first, Host(lambda item, attempt: "right"))
    assert HAND_WRITTEN in verdict.note
    assert UNSHUFFLED in verdict.note
    assert evidence.note == verdict.note
    assert verdict.seed is None
    plan, _ = traffic.plan(earlier=[first.plan])
    assert plan.look == 2


def test_failures_of_the_candidate_are_pairs_with_score_zero_and_their_reason() -> None:
    evidence, verdict = run(trial_of(100), Host(lambda item, attempt: TimeoutError))
    assert {(pair.candidate, pair.failure, pair.replay) for pair in evidence.pairs} == {(0.0, "timeout", None)}
    assert row(verdict, "task=a").verdict == "inferior"


def test_conversations_across_slices_are_said() -> None:
    traffic = Traffic()
    for number in range(100):
        traffic.ask("ab"[number % 2], conversation=f"talk{number // 2}")
    evidence, _ = run(Trial(traffic, asked()), Host(lambda item, attempt: "right"))
    assert "50 conversations lie in several slices" in evidence.note
