"""The pages for people over real connections: who gets in, what is refused, what a person sees."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest
import uvicorn

from tests.keeper.processes import write_config
from weighbridge.admin.dashboard import board_of, dashboard
from weighbridge.admin.labels import Labelling
from weighbridge.admin.process import hosts_of, listening
from weighbridge.admin.sessions import FAILURES_MAX, SESSION_S_MAX, Person, Sessions
from weighbridge.admin.site import COOKIE
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


class Served:
    def __init__(self, folder: Path, pairs: list[ToLabel]) -> None:
        self.sessions = Sessions()
        labeller = {name: Person(name=name, roles=frozenset({"labeller"})) for name in ("ann", "bob")}
        self.tokens = {name: self.sessions.invite(person) for name, person in labeller.items()}
        self.book = LabelBook(folder)
        self.labelling = Labelling(SAMPLE, pairs, self.book, texts, lambda: 7)
        self.board = board_of(write_config(folder.parent / "config"))
        self.board.labellings.put("t-1", self.labelling)
        self._listening = listening("127.0.0.1", 0)
        self.sock: socket.socket = self._listening.__enter__()
        self.port = self.sock.getsockname()[1]
        app = dashboard(self.board, self.sessions, hosts_of(self.sock, "127.0.0.1"), "/labels/t-1")
        self.server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.sock]})
        self.thread.start()
        end = time.monotonic() + 30
        while not self.server.started:
            assert time.monotonic() < end

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join()
        self._listening.__exit__(None, None, None)
        self.board.sources.close()

    def ask(
        self, method: str, path: str, body: str | None = None, *, host: str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], str]:
        own = {"host": host or f"127.0.0.1:{self.port}"}
        if body is not None:
            own |= {"origin": f"http://127.0.0.1:{self.port}", "content-type": "application/x-www-form-urlencoded"}
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, path, body, {**own, **{k.replace("_", "-"): v for k, v in headers.items()}})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode()

    def sign_in(self, name: str) -> tuple[str, str]:
        """(cookie, form token) of a new session."""
        status, headers, _ = self.ask("POST", "/sign-in", f"token={self.tokens[name]}")
        assert 303 == status
        cookie = headers["set-cookie"].partition(";")[0]
        page = self.ask("GET", "/labels/t-1", cookie=cookie)[2]
        return cookie, page.partition('name="form-token" content="')[2].partition('"')[0]

    def next(self, cookie: str) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.ask("GET", "/labels/t-1/next", cookie=cookie)[2])
        return found

    def choose(self, who: tuple[str, str], item: str, word: str) -> tuple[int, str]:
        body = json.dumps({"item": item, "word": word})
        status, _, text = self.ask("POST", "/labels/t-1/choice", body, cookie=who[0], x_form_token=who[1])
        return status, text


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    (tmp_path / "t-1").mkdir()
    made = Served(tmp_path / "t-1", [pair("a"), pair("b", 2), pair("c")])
    try:
        yield made
    finally:
        made.close()


def test_a_token_opens_a_session_with_a_cookie_that_scripts_and_other_sites_do_not_get(served: Served) -> None:
    status, headers, _ = served.ask("POST", "/sign-in", f"token={served.tokens['ann']}")
    assert 303 == status
    cookie = headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert 403 == served.ask("POST", "/sign-in", "token=wrong")[0]
    assert 403 == served.ask("POST", "/sign-in", "")[0]


@pytest.mark.parametrize("path", ["/labels/t-1", "/labels/t-1/next"])
def test_without_a_session_there_is_nothing_to_see(served: Served, path: str) -> None:
    status, headers, body = served.ask("GET", path)
    assert (303, "/sign-in") == (status, headers["location"]) if path == "/labels/t-1" else 401 == status
    assert "ask a" not in body
    assert 401 == served.ask("GET", "/labels/t-1/next", cookie=f"{COOKIE}=made-up")[0]


def test_a_foreign_host_is_refused_before_anything_else(served: Served) -> None:
    cookie, _ = served.sign_in("ann")
    status, _, body = served.ask("GET", "/labels/t-1/next", host="evil.example", cookie=cookie)
    assert 421 == status
    assert "ask" not in body


def test_a_change_needs_the_sites_own_origin_and_the_sessions_form_token(served: Served) -> None:
    cookie, form = served.sign_in("ann")
    body = json.dumps({"item": "a", "word": "left"})
    foreign = served.ask(
        "POST", "/labels/t-1/choice", body, cookie=cookie, x_form_token=form, origin="http://evil.example"
    )
    assert 403 == foreign[0]
    assert 403 == served.ask("POST", "/labels/t-1/choice", body, cookie=cookie, x_form_token="guess")[0]
    assert 403 == served.ask("POST", "/labels/t-1/choice", body, cookie=cookie)[0]
    assert {} == served.book.labels()
    assert 200 == served.ask("POST", "/labels/t-1/choice", body, cookie=cookie, x_form_token=form)[0]


def test_every_answer_tells_the_browser_to_run_and_keep_nothing(served: Served) -> None:
    for path in ("/sign-in", "/labels/t-1", "/nowhere", "/static/label.js"):
        headers = served.ask("GET", path)[1]
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert "no-store" == headers["cache-control"]
        assert "nosniff" == headers["x-content-type-options"]


def test_a_large_body_is_refused(served: Served) -> None:
    assert 413 == served.ask("POST", "/sign-in", "token=" + "x" * (1 << 17))[0]


def test_after_many_wrong_tokens_nobody_may_try_for_a_while() -> None:
    clock = [0.0]
    sessions = Sessions(lambda: clock[0])
    token = sessions.invite(Person(name="ann", roles=frozenset({"labeller"})))
    for _ in range(FAILURES_MAX):
        assert sessions.sign_in("wrong") is None
    may_try = sessions.patient
    assert not may_try
    clock[0] = 61.0
    assert sessions.patient
    session = sessions.sign_in(token)
    assert sessions.of(session) is not None
    clock[0] += SESSION_S_MAX
    assert sessions.of(session) is None


def test_signing_out_ends_the_session(served: Served) -> None:
    cookie, _ = served.sign_in("ann")
    assert 303 == served.ask("POST", "/sign-out", "", cookie=cookie)[0]
    assert 401 == served.ask("GET", "/labels/t-1/next", cookie=cookie)[0]


def test_a_person_sees_two_answers_and_not_whose_they_are(served: Served) -> None:
    cookie, _ = served.sign_in("ann")
    state = served.next(cookie)
    shown = state["pair"]
    assert isinstance(shown, dict)
    assert {"item", "slice", "request", "left", "right"} == set(shown)
    assert {"OLD " + HOSTILE, "NEW answer"} == {shown["left"], shown["right"]}
    whole = json.dumps(state) + served.ask("GET", "/labels/t-1", cookie=cookie)[2]
    for secret in ("incumbent", "candidate", "r-a"):
        assert secret not in whole


@pytest.mark.parametrize(("word", "meant"), [("left", None), ("right", None), ("tie", "tie")])
def test_a_choice_is_kept_as_the_arm_that_stood_there(served: Served, word: str, meant: str | None) -> None:
    who = served.sign_in("ann")
    assert 200 == served.choose(who, "a", word)[0]
    left = "candidate" if candidate_left(SAMPLE, "a", "ann") else "incumbent"
    right = "incumbent" if left == "candidate" else "candidate"
    assert (meant or {"left": left, "right": right}[word]) == served.book.labels()["a"]["ann"].word


def test_two_people_get_the_overlap_and_share_the_rest(served: Served) -> None:
    ann, bob = served.sign_in("ann"), served.sign_in("bob")
    assert 200 == served.choose(ann, "a", "tie")[0]
    assert 200 == served.choose(ann, "b", "tie")[0]
    state = served.next(bob[0])
    assert isinstance(state["pair"], dict)
    assert "b" == state["pair"]["item"]
    assert 409 == served.choose(bob, "a", "tie")[0]
    assert 200 == served.choose(bob, "b", "left")[0]
    assert 200 == served.choose(bob, "c", "left")[0]
    assert served.next(bob[0])["pair"] is None
    assert served.next(ann[0])["pair"] is None


def test_a_person_may_go_back_and_change_their_mind(served: Served) -> None:
    who = served.sign_in("ann")
    served.choose(who, "a", "tie")
    state = json.loads(served.ask("POST", "/labels/t-1/back", "{}", cookie=who[0], x_form_token=who[1])[2])
    assert "a" == state["pair"]["item"]
    served.choose(who, "a", "left")
    assert "tie" != served.book.labels()["a"]["ann"].word
    assert 1 == served.next(who[0])["done"]


@pytest.mark.parametrize(
    "body", ['{"item": "a"}', '{"item": "a", "word": "candidate"}', "banana", '{"item": "z", "word": "tie"}']
)
def test_a_choice_that_is_none_is_refused(served: Served, body: str) -> None:
    cookie, form = served.sign_in("ann")
    assert served.ask("POST", "/labels/t-1/choice", body, cookie=cookie, x_form_token=form)[0] in (400, 409)
    assert {} == served.book.labels()


def test_labelling_goes_on_where_it_ended_and_passes_over_what_was_erased(tmp_path: Path) -> None:
    book = LabelBook(tmp_path)
    pairs = [pair("a"), pair("erased"), pair("c")]
    first = Labelling(SAMPLE, pairs, book, texts, lambda: 7)
    assert first.choose("ann", "a", "tie") is None
    state = Labelling(SAMPLE, pairs, LabelBook(tmp_path), texts, lambda: 8).state("ann")
    assert state.pair is not None
    assert ("c", 1) == (state.pair.item, state.done)
