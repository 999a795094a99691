"""The incumbent asked again: noise is measured, a harness that leans is named, and no verdict comes of it."""

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.fakes.provider import Script
from tests.trials.live import Store, gold, live_store
from weighbridge.exchanges.chain import Chain
from weighbridge.store.layout import Layout
from weighbridge.trials.aa import LiveRerun

REQUESTS = 80
AA = ("trial", "aa", "--route", "assistant", "--margin", "0.1", "--json")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with live_store(tmp_path_factory.mktemp("aa") / "made", REQUESTS) as store:
        yield store


@pytest.fixture
def store(made: Store, tmp_path: Path) -> Store:
    return made.copy(tmp_path / "store")


def kinds(store: Store) -> list[str]:
    return [entry.kind for entry in Chain(Layout(store.folder / "store")).snapshot().objects]


def test_an_incumbent_that_repeats_itself_has_no_noise_and_no_verdict_comes_of_it(store: Store) -> None:
    made = msgspec.json.decode(store.run(*AA), type=LiveRerun)
    assert ("assistant", "old", "exhausted", 0) == (made.route, made.arm, made.stopped, made.unjudged)
    assert {"task=sum", "task=date"} == {row.slice for row in made.found.slices}
    assert {(0.0, 0.0)} == {(row.variance, row.discordance) for row in made.found.slices}
    assert made.found.even_handed
    assert REQUESTS == store.provider.asked("old-model") == sum(row.units for row in made.found.slices)
    assert "aa" in kinds(store)
    assert "verdict" not in kinds(store)
    assert not json.loads(store.run("verify", "--json"))["derived"]
    # Asked once more it goes on where it was: nothing is paid twice.
    again = msgspec.json.decode(store.run(*AA), type=LiveRerun)
    assert made.found == again.found
    assert REQUESTS == store.provider.asked("old-model")


def test_the_noise_of_an_answer_that_varies_is_measured_by_slice(store: Store) -> None:
    def varying(model: str, prompt: str) -> Script:
        number = int(prompt.rsplit(" ", 1)[1])
        # Every fourth answer of one slice comes out another this time.
        return Script(text="no idea" if number % 8 == 0 else f"That makes {gold(number)}")

    store.provider.rule = varying
    made = msgspec.json.decode(store.run(*AA, code=None), type=LiveRerun)
    rows = {row.slice: row for row in made.found.slices}
    assert 0.25 == rows["task=sum"].discordance
    assert rows["task=sum"].variance > 0.15
    assert 0.0 == rows["task=date"].variance
    more, fewer = rows["task=sum"].pairs_50, rows["task=date"].pairs_50
    assert more is not None
    assert fewer is not None
    assert more > fewer


def test_a_run_that_is_worse_throughout_is_named_and_the_exit_code_says_so(store: Store) -> None:
    store.provider.rule = lambda model, prompt: Script(text="banana")
    text = store.run(*AA[:-1], code=2)
    assert "One run is favoured in task=date and task=sum" in text.replace("\n", " ")


def test_the_cap_holds_for_the_incumbent_and_the_rest_is_asked_later(store: Store) -> None:
    first = msgspec.json.decode(store.run(*AA, "--max-usd", "0.008", code=2), type=LiveRerun)
    assert first.stopped == "budget"
    assert first.cost_usd is not None
    assert 0.0 < first.cost_usd <= 0.008
    second = msgspec.json.decode(store.run(*AA), type=LiveRerun)
    assert second.trial == first.trial
    assert REQUESTS == sum(row.units for row in second.found.slices) == store.provider.asked("old-model")


def test_a_trial_of_the_incumbent_is_refused_as_ever(store: Store) -> None:
    store.run("trial", "run", "--route", "assistant", "--candidate", "old", code=64)
    assert "it is the incumbent" in store.said
