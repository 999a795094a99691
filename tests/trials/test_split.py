"""A tuned prompt is judged on traffic that nobody looked at while tuning it."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.trials.live import Store, live_store
from tests.trials.test_labels import judged_trial
from weighbridge.records.evidence import SliceVerdict, Verdict
from weighbridge.records.trial import split_of
from weighbridge.trials.rederive import disagreements

ITEMS = 120


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with live_store(tmp_path_factory.mktemp("split") / "made", ITEMS) as store:
        yield store


@pytest.fixture
def store(made: Store, tmp_path: Path) -> Store:
    return made.copy(tmp_path / "store")


def tuned(store: Store) -> None:
    text = store.config.read_text()
    (store.folder / "prompt.txt").write_text("Answer with the number.")
    added = 'model = "new-model"\nsystem_prompt_file = "prompt.txt"\ntuned_on = "a"\n'
    store.config.write_text(text.replace('model = "new-model"\n', added))


def test_conversations_fall_into_two_halves_by_their_hash() -> None:
    halves = [split_of(f"{number:016x}") for number in range(4000)]
    assert 0.46 < halves.count("a") / 4000 < 0.54
    assert halves == [split_of(f"{number:016x}") for number in range(4000)]


def test_a_tuned_arm_is_judged_on_the_other_half_and_the_evidence_says_so(store: Store) -> None:
    tuned(store)
    verdict = store.trial("new", "--margin", "0.3", code=None)
    evidence = store.evidence(verdict)
    assert "b" == evidence.split
    assert {"b"} == {split_of(pair.cluster) for pair in evidence.pairs}
    shown = store.run("trial", "split", "assistant", "--split", "a").split()
    assert shown
    assert not {pair.item for pair in evidence.pairs} & set(shown)
    assert len(shown) == evidence.span.left_out["of the split that the candidate's prompt was tuned on"]
    assert "every pair is of split B" in verdict.note
    store.run("verify")


def test_both_halves_together_are_all_traffic(store: Store) -> None:
    halves = [store.run("trial", "split", "assistant", "--split", which).split() for which in ("a", "b")]
    assert ITEMS == len(set(halves[0]) | set(halves[1])) == len(halves[0]) + len(halves[1])


def test_an_arm_once_tuned_stays_tuned_whatever_the_configuration_says(store: Store) -> None:
    tuned(store)
    store.trial("new", "--margin", "0.3", code=None)
    store.config.write_text(store.config.read_text().replace('tuned_on = "a"\n', ""))
    verdict = store.trial("new", "--margin", "0.2", code=None)
    assert "b" == store.evidence(verdict).split


def test_an_arm_that_was_not_tuned_is_judged_on_all_traffic(store: Store) -> None:
    assert store.evidence(store.trial("new", "--margin", "0.3", code=None)).split is None


def test_pairs_of_the_wrong_half_are_found_by_verify() -> None:
    plan, evidence = judged_trial(60)
    row = SliceVerdict(
        slice="overall", n=0, clusters=0, difference=None, interval=None, verdict="undecided", decided_at=None,
        label_source="none", license="allowed", reasons=(),
    )  # fmt: skip
    verdict = Verdict(
        schema="verdict/1", route="assistant", candidate="new", verdicts=(), overall=row, margin=0.05, alpha=0.05,
        method="", seed=0, cost_usd=None,
    )  # fmt: skip
    changed = msgspec.structs.replace(plan, settings=msgspec.structs.replace(plan.settings, split="b"))
    claimed = msgspec.structs.replace(evidence, split="b")
    assert "are of the split that the prompt was tuned on" in disagreements(changed, claimed, verdict)[0]
    assert ["the evidence says split None, the plan b"] == disagreements(changed, evidence, verdict)
