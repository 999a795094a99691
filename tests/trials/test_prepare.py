"""One trial or another: what is resumed, what is new, what is refused before anything is sent."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.grading.test_gold import FakeKeeper
from tests.trials.world import CONFIG, EXACT, Traffic, asked, config, with_settings
from weighbridge.config import Loaded, loads
from weighbridge.errors import UsageError, WeighbridgeError
from weighbridge.grading.gold import read_gold, store_gold
from weighbridge.records.exchange import BodyState, Exchange
from weighbridge.records.frames import BodyRef
from weighbridge.store.layout import Layout
from weighbridge.trials.journal import Journal
from weighbridge.trials.log import TrialLog
from weighbridge.trials.plan import Settings
from weighbridge.trials.prepare import Prepared, prepare


class FakeLog(TrialLog):
    """A log in memory."""

    def __init__(self, layout: Layout, traffic: Traffic) -> None:
        self.layout, self.traffic = layout, traffic

    def users(self, route: str) -> Iterator[Exchange]:
        return (row for row in self.traffic.exchanges if row.purpose == "user")

    def body(self, ref: BodyRef) -> BodyState:
        return self.traffic.body(ref)


class Desk:
    """A store with traffic and a keeper."""

    def __init__(self, folder: Path) -> None:
        self.layout = Layout(folder)
        self.layout.create()
        self.keeper = FakeKeeper(self.layout)
        self.traffic = Traffic()
        self.loaded: Loaded = config()

    def send(self, count: int) -> None:
        """Requests whose reference is known by tag, so that later ones have one too."""
        for number in range(count):
            self.traffic.ask("ab"[number % 2], gold=None)
        self.traffic.gold_lines = [b'{"tags": {"task": "%b"}, "answer": "right"}' % task for task in (b"a", b"b")]
        self.import_gold()

    def import_gold(self) -> None:
        store_gold(self.keeper, "g", read_gold("g", self.traffic.gold_lines))

    def prepare(self, settings: Settings | None = None, *, fresh: bool = False) -> Prepared:
        log = FakeLog(self.layout, self.traffic)
        return prepare(self.loaded, self.keeper, log, settings or asked(), 1, fresh=fresh, wall_ns=lambda: 5)

    def finish(self, prepared: Prepared) -> None:
        with Journal(self.layout.trial(prepared.plan.trial), prepared.plan) as journal:
            journal.open()
            journal.finish()

    @property
    def plans(self) -> int:
        return sum(row.kind == "trial" for row in self.keeper.rows)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.send(40)
    return desk


def test_the_plan_is_stored_before_anything_is_sent_and_found_again(desk: Desk) -> None:
    first = desk.prepare()
    assert desk.plans == 1
    again = desk.prepare()
    assert again.plan == first.plan
    assert again.said == ()
    assert desk.plans == 1


def test_an_unfinished_trial_is_resumed_although_new_traffic_came(desk: Desk) -> None:
    first = desk.prepare()
    for _ in range(6):
        desk.traffic.ask("a", gold=None)
    resumed = desk.prepare()
    assert resumed.plan == first.plan
    assert resumed.items.keys() == first.items.keys()
    assert "going on with trial" in resumed.said[0]


def test_after_a_finished_trial_new_traffic_is_another_look_and_that_is_said(desk: Desk) -> None:
    first = desk.prepare()
    desk.finish(first)
    for _ in range(6):
        desk.traffic.ask("a", gold=None)
    second = desk.prepare()
    assert second.plan.trial != first.plan.trial
    assert second.plan.look == 2
    assert "look 2" in second.said[0]


def test_fresh_leaves_an_unfinished_trial_behind(desk: Desk) -> None:
    first = desk.prepare()
    desk.traffic.ask("a")
    assert desk.prepare(fresh=True).plan.trial != first.plan.trial


@pytest.mark.parametrize(
    "other",
    [{"margin": 0.2}, {"alpha": 0.1}, {"seed": 3}, {"sample": 10}, {"shuffle": False}, {"only_slice": "task=a"}],
)
def test_another_question_is_another_trial(desk: Desk, other: dict[str, object]) -> None:
    first = desk.prepare()
    assert desk.prepare(with_settings(asked(), **other)).plan.trial != first.plan.trial


@pytest.mark.parametrize("change", ['model = "newer-model"', 'system_prompt_file = "prompt.txt"\nmodel = "new-model"'])
def test_another_model_or_prompt_under_the_same_arm_name_is_another_trial(
    desk: Desk, tmp_path: Path, change: str
) -> None:
    first = desk.prepare()
    (tmp_path / "prompt.txt").write_text("Be brief.")
    desk.loaded = loads(CONFIG.replace('model = "new-model"', change) + EXACT, folder=tmp_path)
    second = desk.prepare()
    assert second.plan.trial != first.plan.trial
    assert second.plan.arm != first.plan.arm
    assert second.plan.look == 2


def test_other_gold_is_another_plan_so_that_scores_of_two_kinds_are_not_mixed(desk: Desk) -> None:
    first = desk.prepare()
    desk.traffic.gold_lines = [line.replace(b"right", b"left") for line in desk.traffic.gold_lines]
    desk.import_gold()
    second = desk.prepare()
    assert second.plan.gold != first.plan.gold
    assert desk.plans == 2
    assert {item.incumbent for item in second.items.values()} == {0.0}


def test_an_unfinished_trial_that_is_left_because_of_new_gold_is_named(desk: Desk) -> None:
    first = desk.prepare()
    desk.traffic.ask("a")
    desk.traffic.gold_lines.append(b'{"prompt": "x", "answer": "y"}')
    desk.import_gold()
    second = desk.prepare()
    assert second.plan.trial != first.plan.trial
    assert f"{first.plan.trial} is left unfinished" in second.said[0]


def test_another_grader_is_another_plan(desk: Desk) -> None:
    first = desk.prepare()
    desk.loaded = config(EXACT.replace("exact", "normalised"))
    assert desk.prepare().plan.graders != first.plan.graders
    assert desk.plans == 2


def test_what_was_erased_since_the_plan_is_missing_from_its_items(desk: Desk) -> None:
    first = desk.prepare()
    name = first.plan.units[0].items[0]
    request = first.items[name].request
    desk.traffic.bodies[request.commitment] = "erased"
    resumed = desk.prepare()
    assert resumed.plan == first.plan
    assert name not in resumed.items


def test_an_alias_of_the_route_is_the_route(desk: Desk) -> None:
    first = desk.prepare()
    assert desk.prepare(with_settings(asked(), route="gpt")).plan.trial == first.plan.trial


def test_a_route_without_any_grader_gets_a_plan_that_judges_nothing(desk: Desk) -> None:
    desk.loaded = config("")
    prepared = desk.prepare()
    assert prepared.plan.items == 0
    assert set(prepared.plan.unjudged.values()) == {"no grader"}


def test_a_trial_on_nothing_names_the_next_step(tmp_path: Path) -> None:
    empty = Desk(tmp_path / "a")
    with pytest.raises(WeighbridgeError, match=r"no answered traffic on route 'assistant'.*weighbridge serve"):
        empty.prepare()
    bare = Desk(tmp_path / "b")
    bare.traffic.ask(bodies=False)
    with pytest.raises(WeighbridgeError, match=r"1 no body captured.*capture.bodies = true"):
        bare.prepare()
    unlabelled = Desk(tmp_path / "c")
    unlabelled.traffic.ask(gold=None)
    with pytest.raises(WeighbridgeError, match=r"1 no gold answer.*weighbridge gold import"):
        unlabelled.prepare()


def test_embeddings_are_never_tried_and_the_reason_is_given(tmp_path: Path) -> None:
    mixed = Desk(tmp_path / "a")
    mixed.traffic.ask(path="openai-embeddings")
    with pytest.raises(WeighbridgeError, match=r"1 embeddings\); they stay with the incumbent for good: vectors"):
        mixed.prepare()
    route = msgspec.structs.replace(mixed.loaded.config.route[0], embeddings=True, candidates=())
    declared = msgspec.structs.replace(mixed.loaded.config, route=(route,))
    mixed.loaded = msgspec.structs.replace(mixed.loaded, config=declared)
    with pytest.raises(UsageError, match=r"nothing is tried on it: it serves embeddings, and vectors of two models"):
        mixed.prepare()


def test_a_candidate_that_is_none_is_refused_with_what_there_is(desk: Desk) -> None:
    for settings, says in (
        (with_settings(asked(), candidate="old"), "it is the incumbent"),
        (with_settings(asked(), candidate="nobody"), "which has: new"),
        (with_settings(asked(), route="nowhere"), "it has: assistant"),
    ):
        with pytest.raises(UsageError, match=says):
            desk.prepare(settings)


def test_a_plan_that_was_changed_in_the_store_is_not_followed(desk: Desk) -> None:
    desk.prepare()
    row = next(row for row in desk.keeper.rows if row.kind == "trial")
    path = desk.layout.object(row.digest)
    path.write_bytes(path.read_bytes().replace(b'"look":1', b'"look":2'))
    with pytest.raises(WeighbridgeError, match="was changed"):
        desk.prepare()


def test_the_plan_names_everything_that_a_verdict_depends_on(desk: Desk) -> None:
    plan = desk.prepare().plan
    assert msgspec.json.decode(msgspec.json.encode(plan), type=type(plan)) == plan
    assert plan.table == 1
    assert plan.gold
    assert {use.slice for use in plan.graders} == {"task=a", "task=b"}
    assert plan.weights == {"task=a": 0.5, "task=b": 0.5}
