"""A verdict follows from its evidence, or it is found out."""

import msgspec
import pytest

from tests.trials.test_conclude import concluded
from tests.trials.test_replay import Answer, Host, Trial, trial_of
from tests.trials.world import EXACT, Traffic, asked, config, with_settings
from weighbridge.records.evidence import Evidence, Verdict
from weighbridge.trials.calls import BodyGone
from weighbridge.trials.frame import Item
from weighbridge.trials.rederive import disagreements


def made(trial: Trial, host: Host) -> tuple[Trial, Evidence, Verdict]:
    evidence, verdict = concluded(trial, trial.run(host))
    return trial, evidence, verdict


def mostly_right(item: Item, attempt: int) -> Answer:
    return "right" if int(item.digest, 16) % 11 else "wrong"


def mixed(size: int = 300) -> tuple[Trial, Evidence, Verdict]:
    return made(trial_of(size, "ab"), Host(mostly_right))


def test_an_honest_verdict_agrees_however_its_trial_ended() -> None:
    capped = trial_of(300, "ab")
    capped.purse.cap_nanousd = 3_000
    erased = trial_of(300, "ab")
    gone = {erased.plan.units[0].items[0], erased.plan.units[5].items[0]}
    failing = trial_of(300, "ab")
    bad = {name for unit in failing.plan.units[:30] if unit.slice == "task=a" for name in unit.items}
    talk = Traffic()
    for number in range(200):
        talk.ask("ab"[number % 2], conversation=f"talk{number // 6}")
    partly = Traffic()
    for number in range(200):
        partly.ask("abc"[number % 3])
    some = EXACT + 'slice = "task=a"\n' + EXACT + 'slice = "task=b"\nreference = "incumbent"\n'
    for trial, evidence, verdict in (
        mixed(),
        mixed(40),
        made(capped, Host(mostly_right)),
        made(erased, Host(lambda item, attempt: BodyGone if item.id in gone else "right")),
        made(failing, Host(lambda item, attempt: (500, "x") if item.id in bad else "right")),
        made(trial_of(200, "ab"), Host(lambda item, attempt: (500, "x"))),
        made(Trial(talk, asked()), Host(mostly_right)),
        made(Trial(partly, asked(), config(some)), Host(mostly_right)),
        made(trial_of(300, "ab", with_settings(asked(), shuffle=False)), Host(mostly_right)),
    ):
        assert disagreements(trial.plan, evidence, verdict) == []


@pytest.mark.parametrize("which", ["first", "a loss", "last"])
def test_a_pair_that_was_left_out_is_found(which: str) -> None:
    trial, evidence, verdict = mixed()
    losses = [at for at, pair in enumerate(evidence.pairs) if pair.candidate < pair.incumbent]
    drop = {"first": 0, "a loss": losses[0], "last": len(evidence.pairs) - 1}[which]
    pairs = evidence.pairs[:drop] + evidence.pairs[drop + 1 :]
    assert disagreements(trial.plan, msgspec.structs.replace(evidence, pairs=pairs), verdict)


def test_a_changed_score_is_found() -> None:
    trial, evidence, verdict = mixed()
    at = next(at for at, pair in enumerate(evidence.pairs) if pair.candidate < pair.incumbent)
    better = msgspec.structs.replace(evidence.pairs[at], candidate=1.0)
    pairs = (*evidence.pairs[:at], better, *evidence.pairs[at + 1 :])
    found = disagreements(trial.plan, msgspec.structs.replace(evidence, pairs=pairs), verdict)
    assert any("the pairs give" in what or "planned order" in what for what in found)


def test_a_verdict_that_says_more_than_its_pairs_is_found() -> None:
    trial, evidence, verdict = mixed(40)
    row = msgspec.structs.replace(verdict.verdicts[0], verdict="non_inferior", decided_at=20)
    found = disagreements(trial.plan, evidence, msgspec.structs.replace(verdict, verdicts=(row, *verdict.verdicts[1:])))
    assert f"{row.slice}: verdict is non_inferior, the pairs give undecided" in found


def test_pairs_in_another_order_are_found() -> None:
    trial, evidence, verdict = mixed()
    turned = msgspec.structs.replace(evidence, pairs=tuple(reversed(evidence.pairs)))
    assert disagreements(trial.plan, turned, verdict) == ["the pairs are not those that the planned order gives"]


def test_pairs_from_outside_the_plan_are_found() -> None:
    trial, evidence, verdict = mixed()
    foreign = msgspec.structs.replace(evidence.pairs[0], item="elsewhere-1")
    found = disagreements(trial.plan, msgspec.structs.replace(evidence, pairs=(foreign, *evidence.pairs[1:])), verdict)
    assert found == ["1 pairs are not in the plan, elsewhere-1 for one"]
