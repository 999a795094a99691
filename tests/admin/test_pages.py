"""The dashboard's pages on a store without traffic or keeper: nothing is made up, nothing is let through."""

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient

from tests.admin.board import Board, somebody
from tests.exchanges.loop import Bench
from tests.ledger.made import CONFIG, DAY_NS, NOV_1_NS, Books
from tests.ramp.desk import store_in
from tests.ramp.made import STATE, alarm, at
from weighbridge.admin.api.reads import OpenShares, Reads
from weighbridge.admin.dashboard import board_of
from weighbridge.admin.pages.exchangeviews import moment
from weighbridge.admin.pages.overview import overview
from weighbridge.admin.pages.ramps import actions_of, ladder_of, part_of
from weighbridge.admin.pages.shareview import share_view
from weighbridge.admin.pages.table import PAGES
from weighbridge.admin.pages.traffic import traffic
from weighbridge.admin.pages.words import left_out
from weighbridge.cli.root import run
from weighbridge.config import loads
from weighbridge.errors import UsageError
from weighbridge.ledger.daily import daily
from weighbridge.ledger.share import OpenShare
from weighbridge.ramp.stages import MOVES
from weighbridge.records.ramp import STAGES, Stage, StreamView
from weighbridge.records.usage import Usage
from weighbridge.store.layout import Layout

SECOND = 10**9
NOTHING = {
    "/routes/{route}": "nowhere", "/trials/{trial}": "t-nowhere", "/budgets/{budget}": "nowhere",
    "/exchanges/{exchange}": "0123456789abcdef-1", "/alerts/{alert}": "nowhere",
}  # fmt: skip


@pytest.fixture
def board(tmp_path: Path) -> Board:
    store = store_in(tmp_path)
    store.database.close()
    return Board(store.file)


@pytest.fixture
def client(board: Board) -> Iterator[TestClient]:
    with TestClient(board.app(), follow_redirects=False) as made:
        yield made
    board.sources.close()


WITH_THE_KEEPER = ("/account", "/people")
"""Nothing but what it says, so without it the gate in front lets nobody near."""


@pytest.mark.parametrize(
    "path",
    [one.path for one in PAGES if one.method == "GET" and "{" not in one.path and one.path not in WITH_THE_KEEPER],
)
def test_every_page_opens_on_a_store_without_traffic(client: TestClient, path: str) -> None:
    answer = client.get(path if path != "/exchanges/compare" else "/exchanges/compare?a=x&b=y")
    assert (404 if path == "/exchanges/compare" else 200) == answer.status_code, answer.text
    assert '<main id="main"' in answer.text


@pytest.mark.parametrize(("path", "name"), NOTHING.items())
def test_what_is_not_there_is_not_found(client: TestClient, path: str, name: str) -> None:
    answer = client.get(path[: path.index("{")] + name)
    assert 404 == answer.status_code
    assert "There is no such" in answer.text


def test_without_a_keeper_ramps_and_spending_are_unknown_and_it_says_why(client: TestClient) -> None:
    for path in ("/", "/routes", "/routes/assistant"):
        text = client.get(path).text
        assert "unknown" in text
        assert "no keeper answers" in text


@pytest.mark.parametrize("field", ["id", "route", "user", "since", "outcome"])
def test_what_is_typed_into_the_search_comes_back_as_text(client: TestClient, field: str) -> None:
    text = client.get("/exchanges", params={field: '"><script>alert(1)</script>'}).text
    assert "<script>alert(1)" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_an_action_that_nobody_carries_out_is_told(client: TestClient) -> None:
    answer = client.post("/routes/assistant/pause", data={"why": "to see"})
    assert 409 == answer.status_code
    assert "no keeper answers" in answer.text


@pytest.mark.parametrize(
    ("path", "form", "says"),
    [
        ("/routes/assistant/approve", {"up_to": "the moon"}, "is no stage"),
        ("/routes/assistant/propose", {"verdict": "../../keys/signing.key"}, "is not a digest"),
        ("/routes/assistant/propose", {"verdict": "0" * 64}, "cannot be read"),
    ],
)
def test_a_form_that_makes_no_sense_is_refused_in_words(
    client: TestClient, path: str, form: dict[str, str], says: str
) -> None:
    answer = client.post(path, data=form)
    assert 400 == answer.status_code
    assert says in answer.text


def test_who_may_not_act_gets_no_form(board: Board) -> None:
    board.person = somebody("viewer")
    with TestClient(board.app()) as client:
        text = client.get("/routes/assistant").text
    board.sources.close()
    assert 'method="post" action="/routes' not in text


def test_the_open_share_is_one_figure_on_the_overview_its_page_the_api_and_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    books = Books(tmp_path / "data")
    now_ns = time.time_ns()
    for number in range(40):
        item = books.request(Usage(800, 100), at_ns=now_ns - number * DAY_NS // 20, team="support")
        books.request(Usage(1_000, 200), arm="open", purpose="trial", trial="t", item=item, at_ns=now_ns)
    for number in range(5):
        books.request(Usage(1_000, 200), arm="open", at_ns=now_ns - number * DAY_NS, team="search")
    books.request(Usage(1_000, 200), arm="open", at_ns=now_ns, outcome="upstream_cut")
    file = tmp_path / "weighbridge.toml"
    file.write_text(f'{CONFIG}\n[store]\npath = "{books.layout.root}"\n')
    assert 0 == run(["budget", "share", "--json", "--config", str(file)])
    (said,) = json.loads(capsys.readouterr().out)["shares"]
    board = board_of(file)
    view = overview(board.sources, now_ns, None)
    shown = share_view(board.sources, None, now_ns)
    request = Request({"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""})
    door = next(one for one in Reads(board).doors() if one.path == "/api/v1/share")

    async def ask() -> Response:
        return await door.handler(request, somebody())

    answered = asyncio.run(ask())
    board.sources.close()
    books.close()
    (from_api,) = msgspec.json.decode(bytes(answered.body), type=OpenShares).shares
    assert view.traffic.now.share is not None
    command = [one["share"] for one in said["measures"]]
    for other in (view.traffic.now.share, shown.whole, from_api):
        assert other is not None
        assert command == [one.share for one in other.measures]
    assert [5 / 45, pytest.approx(6 * 1_200 * 0.8 / (6 * 1_200 * 0.8 + 40 * 900))] == command[:2]
    assert None is command[3]


def test_weights_that_nobody_states_are_neither_open_nor_closed_and_are_named(tmp_path: Path) -> None:
    books = Books(tmp_path)
    books.request(Usage(1_000_000, 0), arm="open", at_ns=NOV_1_NS)
    books.request(None, at_ns=NOV_1_NS, purpose="trial", cost=3)
    unstated = loads(CONFIG.replace('weights = "open"\n', ""))
    with daily(books.layout) as sums:
        found = traffic(OpenShare(sums), unstated, NOV_1_NS)
    books.close()
    assert found.now.share is not None
    assert (None, 1.0) == (found.now.share.of("requests").share, found.now.share.of("requests").unknown)
    assert any("for open" in why for why in left_out(found.now.share))
    assert (3, None) == (found.now.other_nanousd, found.before.share)
    assert {"unknown"} == set(found.days[-1].by_kind)


def test_only_the_teams_of_whoever_asks_are_summed(tmp_path: Path) -> None:
    books = Books(tmp_path)
    books.request(None, at_ns=NOV_1_NS, team="support", cost=7)
    books.request(None, at_ns=NOV_1_NS, team="search", cost=11)
    with daily(books.layout) as sums:
        assert [7, 18, 0] == [
            traffic(OpenShare(sums), loads(CONFIG), NOV_1_NS, teams=teams).now.users.cost_nanousd
            for teams in (("support",), None, ())
        ]
    books.close()


@pytest.mark.parametrize("stage", STAGES)
def test_actions_are_those_that_the_table_of_stages_has_for_people(stage: Stage) -> None:
    state = at(stage, came_from="few" if stage == "paused" else None)
    targets = {move.target for move in MOVES if move.source == stage and "person" in move.causes}
    offered = set(actions_of(state))
    assert ("rollback" in offered) == ("rolled_back" in targets)
    assert ("reject" in offered) == ("rejected" in targets)
    assert ("pause" in offered) == ("paused" in targets)
    assert ("resume" in offered) == (stage == "paused")


def test_the_ladder_says_where_it_is_and_what_is_approved() -> None:
    rungs = {rung.stage: rung for rung in ladder_of(at("few", approved="quarter"))}
    assert rungs["few"].here
    assert rungs["canary"].done
    assert (1, 0) == (rungs["quarter"].approved, rungs["half"].approved)
    assert STATE.plan.stages[2].basis_points / 100 == rungs["few"].percent


@pytest.mark.parametrize(("value", "part"), [(0.2, 0.0), (1.0, 0.0), (1000.0, 0.5), (1e6, 1.0), (1e9, 1.0)])
def test_evidence_of_harm_is_shown_on_the_scale_on_which_it_adds_up(value: float, part: float) -> None:
    assert part == pytest.approx(part_of(StreamView(name="errors", seen=1, value=value, threshold=1e6, alarmed=False)))
    assert 1.0 == part_of(alarm())


NOW_NS = int(datetime(2026, 11, 25, 12, tzinfo=UTC).timestamp()) * SECOND


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2026-11-25", "2026-11-25T00:00:00"), ("2026-11-25T08:00+02:00", "2026-11-25T06:00:00"),
        ("2h", "2026-11-25T10:00:00"), ("3d", "2026-11-22T12:00:00"),
    ],
)  # fmt: skip
def test_times_are_dates_or_ages(given: str, expected: str) -> None:
    found = moment("since", given, NOW_NS)
    assert found is not None
    assert expected == found.isoformat()


@pytest.mark.parametrize("given", ["yesterday", "999999w", "2026-13-01", "-3d"])
def test_what_is_no_time_is_refused_with_what_is_allowed(given: str) -> None:
    with pytest.raises(UsageError, match="write a date or time"):
        moment("since", given, NOW_NS)


def test_an_exchange_of_another_team_is_not_there(board: Board) -> None:
    bench = Bench(Layout(board.file.parent / "weighbridge-data"))
    identity = bench.request()  # of the team `support`
    bench.close()
    for teams, status in ((("support",), 200), (None, 200), (("search",), 404), ((), 404)):
        board.person = somebody(teams=teams)
        with TestClient(board.app()) as client:
            assert status == client.get(f"/exchanges/{identity}").status_code
            found = client.get("/exchanges").text
        board.sources.close()
        assert (identity in found) == (status == 200)
