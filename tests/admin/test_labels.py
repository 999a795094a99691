"""Labelling over real connections: what is refused, what a person sees, what is kept."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.admin.site import AdminSite, Answer, admin_site, cookie, form
from tests.keeper.processes import write_config
from weighbridge.admin.labels import Labelling
from weighbridge.admin.pages.labelling import Labellings
from weighbridge.admin.pages.shell import Dashboard
from weighbridge.admin.pages.sources import Sources
from weighbridge.trials.labelbook import LabelBook
from weighbridge.trials.labelled import Texts
from weighbridge.trials.labels import SAMPLE_SCHEMA, Sample, ToLabel, candidate_left

SAMPLE = Sample(schema=SAMPLE_SCHEMA, trial="t-1", seed="seed", slices=())
HOSTILE = "<script>alert(1)</script>"


def pair(name: str, people: int = 1) -> ToLabel:
    return ToLabel(item=name, replay=f"r-{name}", slice="task=a", cluster=name, people=people)


def texts(one: ToLabel) -> Texts | None:
    if one.item == "erased":
        return None
    return Texts(request=f"ask {one.item}", incumbent="OLD " + HOSTILE, candidate="NEW answer")


class OneTrial(Labellings):
    """Whatever trial is asked for, it is this one."""

    def __init__(self, sources: Sources) -> None:
        super().__init__(sources, time.time_ns)
        self.one: Labelling | None = None

    def of(self, trial: str) -> Labelling:
        assert self.one is not None
        return self.one


class Labelled:
    """A site where `ann` and `bob` label. `start()` begins a trial with these pairs."""

    def __init__(self, site: AdminSite, trials: OneTrial) -> None:
        self.site, self._trials = site, trials

    def start(self, folder: Path, pairs: list[ToLabel]) -> None:
        folder.mkdir()
        self.book = LabelBook(folder)
        self._trials.one = Labelling(SAMPLE, pairs, self.book, texts, lambda: 7)

    def next(self, session: str) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.site.ask("GET", "/labels/t-1/next", cookie=cookie(session)).text)
        return found

    def say(self, session: str, path: str, body: str, **headers: str) -> Answer:
        given = {"cookie": cookie(session), "x_form_token": form(session), **headers}
        return self.site.ask("POST", f"/labels/t-1/{path}", body, **given)

    def choose(self, session: str, item: str, word: str) -> int:
        return self.say(session, "choice", json.dumps({"item": item, "word": word})).status


@contextmanager
def labelled_site(folder: Path) -> Iterator[Labelled]:
    file = write_config(folder)
    sources = Sources(file)
    trials = OneTrial(sources)
    with admin_site(file, Dashboard(sources, trials)) as site:
        for name in ("ann", "bob"):
            site.user(name, "labeller")
        yield Labelled(site, trials)
    sources.close()


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Labelled]:
    with labelled_site(tmp_path_factory.mktemp("labels")) as made:
        yield made


@pytest.fixture
def served(labelled: Labelled, tmp_path: Path) -> Labelled:
    labelled.start(tmp_path / "t-1", [pair("a"), pair("b", 2), pair("c")])
    return labelled


@pytest.fixture(scope="module")
def ann(labelled: Labelled) -> str:
    return labelled.site.session("ann")


@pytest.fixture(scope="module")
def bob(labelled: Labelled) -> str:
    return labelled.site.session("bob")


@pytest.mark.parametrize("path", ["/labels/t-1", "/labels/t-1/next"])
def test_without_a_session_there_is_nothing_to_see(served: Labelled, path: str) -> None:
    answer = served.site.ask("GET", path)
    assert (303 if path == "/labels/t-1" else 401) == answer.status
    assert "ask a" not in answer.text


def test_a_label_needs_the_sites_own_origin_and_the_sessions_form_token(served: Labelled, ann: str, bob: str) -> None:
    body = json.dumps({"item": "a", "word": "left"})
    assert 403 == served.say(ann, "choice", body, origin="http://evil.example").status
    for guess in ("", "guess", form(bob)):
        assert 403 == served.say(ann, "choice", body, x_form_token=guess).status
    assert {} == served.book.labels()
    assert 200 == served.say(ann, "choice", body).status


def test_a_person_sees_two_answers_and_not_whose_they_are(served: Labelled, ann: str) -> None:
    state = served.next(ann)
    shown = state["pair"]
    assert isinstance(shown, dict)
    assert {"item", "slice", "request", "left", "right"} == set(shown)
    assert {"OLD " + HOSTILE, "NEW answer"} == {shown["left"], shown["right"]}
    whole = json.dumps(state) + served.site.ask("GET", "/labels/t-1", cookie=cookie(ann)).text
    for secret in ("incumbent", "candidate", "r-a"):
        assert secret not in whole


@pytest.mark.parametrize(("word", "meant"), [("left", None), ("right", None), ("tie", "tie")])
def test_a_choice_is_kept_as_the_arm_that_stood_there(served: Labelled, ann: str, word: str, meant: str | None) -> None:
    assert 200 == served.choose(ann, "a", word)
    left = "candidate" if candidate_left(SAMPLE, "a", "ann") else "incumbent"
    right = "incumbent" if left == "candidate" else "candidate"
    assert (meant or {"left": left, "right": right}[word]) == served.book.labels()["a"]["ann"].word


def test_two_people_get_the_overlap_and_share_the_rest(served: Labelled, ann: str, bob: str) -> None:
    assert 200 == served.choose(ann, "a", "tie")
    assert 200 == served.choose(ann, "b", "tie")
    state = served.next(bob)
    assert isinstance(state["pair"], dict)
    assert "b" == state["pair"]["item"]
    assert 409 == served.choose(bob, "a", "tie")
    assert 200 == served.choose(bob, "b", "left")
    assert 200 == served.choose(bob, "c", "left")
    assert served.next(bob)["pair"] is None
    assert served.next(ann)["pair"] is None


def test_a_person_may_go_back_and_change_their_mind(served: Labelled, ann: str) -> None:
    served.choose(ann, "a", "tie")
    state = json.loads(served.say(ann, "back", "{}").text)
    assert "a" == state["pair"]["item"]
    served.choose(ann, "a", "left")
    assert "tie" != served.book.labels()["a"]["ann"].word
    assert 1 == served.next(ann)["done"]


@pytest.mark.parametrize(
    "body", ['{"item": "a"}', '{"item": "a", "word": "candidate"}', "banana", '{"item": "z", "word": "tie"}']
)
def test_a_choice_that_is_none_is_refused(served: Labelled, ann: str, body: str) -> None:
    assert served.say(ann, "choice", body).status in (400, 409)
    assert {} == served.book.labels()


def test_labelling_goes_on_where_it_ended_and_passes_over_what_was_erased(tmp_path: Path) -> None:
    book = LabelBook(tmp_path)
    pairs = [pair("a"), pair("erased"), pair("c")]
    first = Labelling(SAMPLE, pairs, book, texts, lambda: 7)
    assert first.choose("ann", "a", "tie") is None
    state = Labelling(SAMPLE, pairs, LabelBook(tmp_path), texts, lambda: 8).state("ann")
    assert state.pair is not None
    assert ("c", 1) == (state.pair.item, state.done)
