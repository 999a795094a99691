"""What belongs to another team is not there: on pages, in lists and in the API, for every role."""

import pytest

from tests.admin.site import AdminSite, Answer, cookie
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
