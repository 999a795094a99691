"""What belongs to another team is not there: on pages, in lists and in the API, for every role."""

import json
import re
from urllib.parse import urlencode

import pytest

from tests.admin.site import AdminSite, Answer, cookie, form
from weighbridge.admin.dashboard import board_of
from weighbridge.admin.keeper import Keeper
from weighbridge.admin.table import doors
from weighbridge.records.people import ROLES, Role

SEES_ROUTES: tuple[Role, ...] = ("viewer", "operator", "approver", "admin")


@pytest.fixture(scope="module", params=SEES_ROUTES)
def red(site: AdminSite, request: pytest.FixtureRequest) -> str:
    """A session of somebody of team red, whatever their role."""
    site.user(f"red-{request.param}", request.param, ("red",))
    return site.session(f"red-{request.param}")


@pytest.fixture(scope="module")
def blue(site: AdminSite) -> str:
    site.user("blue-one", "viewer", ("blue",))
    return site.session("blue-one")


def look(site: AdminSite, session: str, path: str) -> Answer:
    return site.ask("GET", path, cookie=cookie(session))


@pytest.mark.parametrize(
    ("foreign", "made_up"),
    [
        ("/routes/internal", "/routes/never-made"),
        ("/routes/internal/live", "/routes/never-made/live"),
        ("/budgets/for-blue", "/budgets/never-made"),
        ("/budgets/company", "/budgets/never-made"),
        ("/api/v1/budgets/for-blue", "/api/v1/budgets/never-made"),
    ],
)
def test_what_is_another_teams_is_answered_as_what_does_not_exist(
    site: AdminSite, red: str, foreign: str, made_up: str
) -> None:
    theirs, nobodys = look(site, red, foreign), look(site, red, made_up)
    assert (404, 404) == (theirs.status, nobodys.status)
    names = [path.removesuffix("/live").rpartition("/")[2] for path in (foreign, made_up)]
    assert theirs.text.replace(names[0], "X") == nobodys.text.replace(names[1], "X")


@pytest.mark.parametrize("path", ["/routes", "/budgets", "/", "/api/v1/routes", "/api/v1/budgets", "/api/v1/keys"])
def test_lists_leave_out_what_is_another_teams(site: AdminSite, red: str, blue: str, path: str) -> None:
    own, others = look(site, red, path), look(site, blue, path)
    assert (200, 200) == (own.status, others.status)
    for name in ("internal", "for-blue", "blue-app"):
        assert name not in own.text, f"{path} shows {name}"
    assert "for-red" not in others.text
    assert "assistant" in own.text or "for-red" in own.text


def test_what_is_their_own_is_there(site: AdminSite, red: str, blue: str) -> None:
    assert 200 == look(site, red, "/routes/assistant").status
    assert 200 == look(site, red, "/budgets/for-red").status
    assert 200 == look(site, blue, "/routes/internal").status


def test_what_tells_of_every_team_is_for_who_sees_every_team(site: AdminSite, red: str) -> None:
    for path in ("/audit", "/alerts", "/people", "/api/v1/alerts", "/api/v1/users", "/api/v1/audit"):
        assert look(site, red, path).status in (403, 404), path


def test_the_roles_of_this_test_are_all_that_see_routes() -> None:
    assert set(ROLES) - {"labeller"} == set(SEES_ROUTES)


BLUES = {"route": "internal", "budget": "for-blue", "key": "blue-app", "user": "blue-one"}
"""What a parameter of an address may name -> a thing of the other team, or of everybody."""
SAYS = {"limit_usd": "1", "why": "x", "percent": 1.0, "seconds": 60, "do": "disable", "role": "viewer", "sees": "every",
        "verdict": "0" * 64, "candidate": "candidate"}  # fmt: skip
"""Enough for each change to be understood, so that nothing is refused for what it says."""


@pytest.mark.parametrize("role", ROLES)
def test_no_door_lets_anybody_of_a_team_at_a_thing_of_another_whatever_their_role(
    site: AdminSite, blue: str, role: Role
) -> None:
    site.user(f"all-{role}", role, ("red",))
    session = site.session(f"all-{role}")
    tried = 0
    for door in doors(Keeper(site.keeper.layout), board_of(site.file)):
        named = re.findall(r"\{(\w+)\}", door.path)
        if not set(named) & set(BLUES):
            continue
        tried += 1
        path = re.sub(r"\{(\w+)\}", lambda found: BLUES.get(found[1], "x"), door.path)
        headers = {"cookie": cookie(session), "x_form_token": form(session)}
        body = None
        if door.method != "GET" and door.body is not None:
            known = {field: value for field, value in SAYS.items() if field in door.body.__struct_fields__}
            headers["content_type"], body = "application/json", json.dumps(known)
        elif door.method != "GET":
            body = urlencode(SAYS)
        answer = site.ask(door.method, path, body, **headers)
        assert answer.status in (403, 404), f"{door.method} {path}: {answer.status} {answer.text[:300]}"
    assert tried > 30
