"""A sweep through a real gateway: ranked, cheaper for halting, resumable, verified."""

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.trials.live import CONFIG, Store, live_store
from weighbridge.records.evidence import Verdict
from weighbridge.trials.sweep.record import Sweep

ITEMS = 160
DEAR = """
[[arm]]
name = "dear"
endpoint = "host"
model = "dear-model"
weights = "open"
terms = "Apache-2.0"
price = {{ input = "4.00", output = "12.00" }}
[[endpoint]]
name = "abroad"
base_url = "https://abroad.example/v1"
[[arm]]
name = "far"
endpoint = "abroad"
model = "far-model"
weights = "open"
price = {{ input = "0.10", output = "0.10" }}
"""
TEXT = (
    CONFIG.replace('[[route]]\nname = "assistant"', DEAR + '[[route]]\nname = "assistant"')
    .replace('candidates = ["new", "banana", "unknown"]', 'candidates = ["new", "banana", "unknown", "dear", "far"]')
    .replace('model = "banana-model"\n', 'model = "banana-model"\nprice = {{ input = "0.10", output = "0.20" }}\n')
)
ASKED = ("trial", "sweep", "--route", "assistant", "--margin", "0.1", "--json")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with live_store(tmp_path_factory.mktemp("sweep") / "made", ITEMS, TEXT) as store:
        yield store


@pytest.fixture
def store(made: Store, tmp_path: Path) -> Store:
    return made.copy(tmp_path / "store")


def sweep(store: Store, *names: str, more: tuple[str, ...] = (), code: int | None = 0) -> Sweep:
    named = [word for name in names for word in ("--candidate", name)]
    return msgspec.json.decode(store.run(*ASKED, *named, *more, code=code), type=Sweep)


def test_candidates_are_ranked_by_verdict_and_cost_and_losers_are_halted(store: Store) -> None:
    found = sweep(store, "banana", "dear", "new")
    assert ["new", "dear", "banana"] == [row.candidate for row in found.rows]
    assert ["non_inferior", "non_inferior", "inferior"] == [row.overall for row in found.rows]
    assert 6 == found.comparisons
    new, dear, banana = found.rows
    assert new.pairs > banana.pairs > 0
    assert new.frontier
    assert not dear.frontier, "as good by its estimate, and dearer"
    assert not banana.frontier, "cheapest, and proved worse"
    assert new.candidate_usd_per_1000 is not None
    assert new.incumbent_usd_per_1000 is not None
    assert new.saving == pytest.approx(1 - new.candidate_usd_per_1000 / new.incumbent_usd_per_1000)
    assert banana.spared == found.saved.spared > 0
    assert store.provider.asked("banana-model") < store.provider.asked("new-model")
    assert found.saved.replays == sum(store.provider.asked(f"{name}-model") for name in ("new", "dear", "banana"))
    assert found.spent_usd == pytest.approx(sum(row.spent_usd or 0 for row in found.rows))

    # The same again pays nothing and says the same; each candidate's verdict can be shown; all of it is verified.
    store.provider.calls.clear()
    again = sweep(store, "banana", "dear", "new")
    assert not store.provider.calls
    assert [row.overall for row in found.rows] == [row.overall for row in again.rows]
    shown = msgspec.json.decode(store.run("trial", "show", new.trial, "--json"), type=Verdict)
    assert "3 candidates" in shown.method
    assert shown.sweep is not None
    verified = json.loads(store.run("verify", "--json"))
    assert (True, 6) == (verified["ok"], verified["derived"])

    # People see a saving only beside its verdict.
    printed = store.run(*ASKED[:-1], "--candidate", "banana", "--candidate", "dear", "--candidate", "new")
    rows = [line for line in printed.splitlines() if "%" in line and "frontier:" not in line.lower()]
    assert rows
    assert all("as good" in row or "worse" in row or "undecided" in row for row in rows)


def test_one_that_may_not_be_asked_or_is_not_there_is_named_and_the_others_are_judged(store: Store) -> None:
    found = sweep(store, "new", "unknown", "far", code=2)
    assert ["far"] == [row.candidate for row in found.not_asked]
    assert "may not send prompts there" in found.not_asked[0].reason
    assert {"new": "non_inferior", "unknown": "undecided"} == {row.candidate: row.overall for row in found.rows}
    assert not found.complete
    assert "could not be judged" in " ".join(next(row for row in found.rows if row.candidate == "unknown").reasons)
    assert json.loads(store.run("verify", "--json"))["ok"]


def test_one_purse_for_all_and_a_larger_one_goes_on(store: Store) -> None:
    first = sweep(store, "new", "dear", more=("--max-usd", "0.01"), code=2)
    assert first.spent_usd is not None
    assert first.spent_usd <= 0.01
    assert not first.complete
    done = sweep(store, "new", "dear")
    assert done.complete
    assert {1} == {count for (model, _), count in store.provider.calls.items() if model in ("new-model", "dear-model")}
    assert json.loads(store.run("verify", "--json"))["ok"]


def test_a_changed_family_is_found_by_verify(store: Store) -> None:
    from weighbridge.exchanges.chain import Chain
    from weighbridge.records.evidence import Evidence
    from weighbridge.store.layout import Layout
    from weighbridge.trials.plan import TrialPlan, read_object
    from weighbridge.trials.rederive import family_disagreements

    found = sweep(store, "new", "banana")
    layout = Layout(store.folder / "store")
    objects = Chain(layout).snapshot().objects
    plans = {
        plan.trial: plan
        for row in objects
        if row.kind == "trial"
        for plan in [read_object(layout, row.digest, TrialPlan)]
    }
    members = {row.candidate: (plans[row.trial], read_object(layout, row.evidence, Evidence)) for row in found.rows}
    verdict = next(
        one
        for row in objects
        if row.kind == "verdict"
        for one in [read_object(layout, row.digest, Verdict)]
        if one.candidate == "new"
    )
    assert [] == family_disagreements(members, found, verdict)
    alone = {"new": members["new"]}
    assert "the plan banana, new" in family_disagreements(alone, found, verdict)[0]
    plan, evidence = members["new"]
    fewer = {**members, "new": (plan, msgspec.structs.replace(evidence, pairs=evidence.pairs[1:]))}
    assert family_disagreements(fewer, found, verdict)
