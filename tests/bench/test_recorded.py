"""The harness of `bench recorded`: would it notice if a verdict, a bill or a truth were wrong?"""

from pathlib import Path
from statistics import fmean

import pytest

from bench.recording.answers import (
    ALPHA,
    BANANA,
    INCUMBENT,
    LISTED,
    MARGIN,
    TASKS,
    Cell,
    agreement,
    read,
    shuffled,
    truths,
)
from bench.recording.setting import write_config
from bench.recording.traffic import Ledger, Told, ledgers, mismatches
from weighbridge.records.usage import Price


def cell(verdict: str, truth: float) -> Cell:
    return Cell("c", "gsm", verdict, 100, truth, (truth, truth), truth, truth, 1000, ())


@pytest.mark.parametrize(
    ("verdict", "truth", "wrong"),
    [
        ("non_inferior", -MARGIN, True), ("non_inferior", -MARGIN + 1e-9, False), ("inferior", -MARGIN, True),
        ("inferior", -MARGIN - 1e-9, False), ("undecided", -1.0, False), ("undecided", 1.0, False),
    ],
)  # fmt: skip
def test_a_contradiction_is_a_verdict_on_the_wrong_side_of_the_margin(verdict: str, truth: float, wrong: bool) -> None:
    assert cell(verdict, truth).contradicts(truth) == wrong


def test_an_interval_beside_the_truth_is_a_miss() -> None:
    assert not cell("inferior", -0.5).missed
    assert Cell("c", "gsm", "inferior", 9, -0.05, (-0.07, -0.03), -0.1, -0.1, 1000, ()).missed


def told(prompt: int, completion: int) -> Told:
    found = Told()
    found.prompt_tokens, found.completion_tokens = prompt, completion
    return found


def test_a_bill_that_agrees_in_everything_has_no_mismatch() -> None:
    log = {INCUMBENT: Ledger(2, 100, 40, 7, 7)}
    assert mismatches(log, {INCUMBENT: {"requests": 2, "input_tokens": 100, "output_tokens": 40}}, told(100, 40)) == []


@pytest.mark.parametrize("name", ["requests", "input_tokens", "output_tokens"])
def test_one_token_or_request_more_on_the_bill_is_a_mismatch(name: str) -> None:
    bill = {"requests": 2, "input_tokens": 100, "output_tokens": 40}
    bill[name] += 1
    assert len(mismatches({INCUMBENT: Ledger(2, 100, 40, 7, 7)}, {INCUMBENT: bill}, told(100, 40))) == 1


def test_a_model_that_only_the_bill_knows_is_a_mismatch() -> None:
    assert mismatches({}, {"x": {"requests": 1, "input_tokens": 0, "output_tokens": 0}}, told(0, 0)) != []


def test_a_cost_that_is_off_by_one_nano_dollar_is_a_mismatch() -> None:
    bill = {INCUMBENT: {"requests": 2, "input_tokens": 100, "output_tokens": 40}}
    assert mismatches({INCUMBENT: Ledger(2, 100, 40, 8, 7)}, bill, told(100, 40)) != []


def test_what_the_client_was_told_must_be_what_the_log_holds() -> None:
    bill = {INCUMBENT: {"requests": 2, "input_tokens": 100, "output_tokens": 40}}
    assert mismatches({INCUMBENT: Ledger(2, 100, 40, 7, 7)}, bill, told(101, 40)) != []


def test_only_attempts_that_the_provider_finished_are_counted() -> None:
    attempt = '{"model":"m","status":%s,"usage":%s,"cost_nanousd":3}'
    usage = '{"input":10,"output":5,"cache_read":2,"total":17}'
    rows = [attempt % (200, usage), attempt % (503, "null"), attempt % ("null", "null")]
    exported = "\n".join(f'{{"attempts":[{row}]}}' for row in rows)
    found = ledgers(exported, {"m": Price(input=0, output=0)})["m"]
    assert (found.requests, found.prompt_tokens, found.completion_tokens, found.cost_nanousd) == (1, 12, 5, 3)


@pytest.mark.recorded
def test_verdicts_on_recorded_answers_agree_with_their_truth_in_every_order_but_alpha(
    recorded_folder: Path, tmp_path: Path
) -> None:
    recorded = read(recorded_folder / "data" / "zeroeval", None)
    assert len(recorded.items) == 1_319 + 800 + 721
    config = write_config(tmp_path, "http://127.0.0.1:9/v1", "http://127.0.0.1:9/v1", {})
    truth = truths(recorded, config)
    wrong, decided = shuffled(truth, 5)
    assert decided > 70
    assert wrong <= ALPHA * decided
    assert all(fmean(truth[BANANA, task].ours) < -0.5 for task in TASKS)


@pytest.mark.recorded
def test_our_graders_say_what_the_shipped_labels_say_on_nearly_every_answer(
    recorded_folder: Path, tmp_path: Path
) -> None:
    recorded = read(recorded_folder / "data" / "zeroeval", None)
    config = write_config(tmp_path, "http://127.0.0.1:9/v1", "http://127.0.0.1:9/v1", {})
    same, total = agreement(recorded, config)
    assert total == sum(recorded.has(model, task) for model in (INCUMBENT, *LISTED) for task in TASKS)
    assert same / total >= 0.99
