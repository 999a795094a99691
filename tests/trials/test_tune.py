"""A prompt is tuned on half A; whoever tries to be judged on it is held to half B, or found out."""

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.fakes.provider import Script
from tests.trials.live import Store, gold, live_store
from weighbridge.exchanges.chain import Chain
from weighbridge.records.trial import split_of
from weighbridge.store.layout import Layout
from weighbridge.trials.plan import TrialPlan, read_object
from weighbridge.trials.rederive import tuned_away
from weighbridge.trials.tune import Tuning

ITEMS = 120
TUNE = ("trial", "tune", "--route", "assistant", "--arm", "new", "--json")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with live_store(tmp_path_factory.mktemp("tune") / "made", ITEMS) as store:
        yield store


@pytest.fixture
def store(made: Store, tmp_path: Path) -> Store:
    return made.copy(tmp_path / "store")


def with_prompt(store: Store, text: str) -> None:
    (store.folder / "prompt.txt").write_text(text)
    config = store.config.read_text()
    if "system_prompt_file" not in config:
        line = 'model = "new-model"\n'
        store.config.write_text(config.replace(line, line + 'system_prompt_file = "prompt.txt"\n'))


def sometimes_wrong(model: str, prompt: str) -> Script:
    number = int(prompt.rsplit(" ", 1)[1])
    return Script(text="no idea" if model == "new-model" and number % 10 == 0 else f"That makes {gold(number)}")


def test_tuning_sees_half_a_only_names_the_losses_and_binds_every_later_prompt_to_half_b(store: Store) -> None:
    with_prompt(store, "Answer.")
    store.provider.rule = sometimes_wrong
    found = msgspec.json.decode(store.run(*TUNE), type=Tuning)
    half_a = store.run("trial", "split", "assistant", "--split", "a").split()
    assert len(half_a) == found.planned == sum(row.pairs for row in found.slices)
    assert found.losses
    assert {loss.item for loss in found.losses} <= set(half_a)
    assert store.provider.asked("new-model") == len(half_a)
    assert not json.loads(store.run("verify", "--json"))["derived"]

    # The quote knows it, though nothing in the configuration says so.
    quote = json.loads(store.run("trial", "quote", "--route", "assistant", "--candidate", "new", "--json", code=None))
    assert quote["split"] == "b"
    usable = sum(row["usable"] for row in quote["slices"])
    assert usable == ITEMS - len(half_a)
    assert all(row["replays"] <= row["usable"] for row in quote["slices"])
    said = f"pairs come from split B alone, {len(half_a):,} answered requests of split A are left out"
    assert any(said in line for line in quote["assumptions"])

    # The cheat: write another prompt after what was seen, and do not say that it was tuned.
    with_prompt(store, "Answer with the number, and always know it.")
    verdict = store.trial("new", "--margin", "0.3", code=None)
    evidence = store.evidence(verdict)
    assert "b" == evidence.split
    assert {"b"} == {split_of(pair.cluster) for pair in evidence.pairs}
    assert "tuned on split A" in verdict.note
    assert json.loads(store.run("verify", "--json"))["ok"]

    # An arm without a prompt has nothing that could have been tuned.
    assert store.evidence(store.trial("banana", "--margin", "0.3", code=None)).split is None

    # A store in which the rule was broken is found out.
    layout = Layout(store.folder / "store")
    objects = Chain(layout).snapshot().objects
    plans = [read_object(layout, row.digest, TrialPlan) for row in objects if row.kind == "trial"]
    honest = next(plan for plan in plans if plan.trial == verdict.trial)
    assert tuned_away(honest, plans) is None
    cheat = msgspec.structs.replace(honest, settings=msgspec.structs.replace(honest.settings, split=None))
    assert "was tuned on split A" in str(tuned_away(cheat, plans))
    tuning = next(plan for plan in plans if plan.settings.split == "a")
    assert "the split that prompts are tuned on" in str(tuned_away(tuning, plans))


def test_half_b_cannot_be_tuned_on(store: Store) -> None:
    store.run(*TUNE, "--split", "b", code=64)


def test_tuning_again_after_nothing_changed_pays_nothing(store: Store) -> None:
    with_prompt(store, "Answer.")
    first = store.run(*TUNE)
    store.provider.calls.clear()
    assert first == store.run(*TUNE)
    assert not store.provider.calls
