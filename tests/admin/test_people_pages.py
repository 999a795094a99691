"""The pages for users and tokens: what they change, in whose name, and what they never show twice."""

import re
from urllib.parse import urlencode

import pytest

from tests.admin.site import AdminSite, Answer, cookie, form
from weighbridge.records.people import AuditEntry
from weighbridge.store.people_calls import AuditList, ListApiTokens, ListUsers, ShowAudit, TokenList, UserList


@pytest.fixture(scope="module")
def boss(site: AdminSite) -> str:
    site.user("boss", "admin")
    return site.session("boss")


def post(site: AdminSite, session: str, path: str, *fields: tuple[str, str]) -> Answer:
    body = urlencode([("form-token", form(session)), *fields])
    return site.ask("POST", path, body, cookie=cookie(session))


def newest(site: AdminSite) -> AuditEntry:
    with site.keeper.client() as control:
        return control.call(ShowAudit(rows_max=1), AuditList).rows[0]


def users(site: AdminSite) -> dict[str, tuple[str, tuple[str, ...] | None, bool]]:
    with site.keeper.client() as control:
        rows = control.call(ListUsers(), UserList).rows
    return {row.name: (row.role, row.teams, row.disabled_ns is None) for row in rows}


def test_somebody_is_let_in_by_a_link_that_the_page_shows_once(site: AdminSite, boss: str) -> None:
    answer = post(site, boss, "/people", ("name", "nora"), ("role", "viewer"), ("sees", "these"), ("team", "red"))
    assert 200 == answer.status
    link = re.search(rf"{site.origin}(/welcome/\S+?)<", answer.text)
    assert link is not None
    assert ("viewer", ("red",), True) == users(site)["nora"]
    entry = newest(site)
    assert ("boss", "session", "user create", "nora") == (entry.by, entry.via, entry.action, entry.subject)
    assert link[1].removeprefix("/welcome/") not in site.ask("GET", "/people", cookie=cookie(boss)).text
    assert 200 == site.ask("GET", link[1]).status


def test_a_role_and_teams_are_changed_and_a_forgotten_box_widens_nothing(site: AdminSite, boss: str) -> None:
    site.user("peer", "viewer", ("red",))
    assert 200 == post(site, boss, "/people/peer", ("do", "change"), ("role", "operator"), ("sees", "these")).status
    assert ("operator", (), True) == users(site)["peer"]
    assert 400 == post(site, boss, "/people/peer", ("do", "change"), ("role", "operator")).status
    assert 200 == post(site, boss, "/people/peer", ("do", "change"), ("role", "operator"), ("sees", "every")).status
    assert ("operator", None, True) == users(site)["peer"]


def test_who_is_let_in_no_more_is_signed_out_at_once_and_may_be_let_in_again(site: AdminSite, boss: str) -> None:
    site.user("gone", "viewer")
    session = site.session("gone")
    assert 200 == post(site, boss, "/people/gone", ("do", "disable")).status
    assert 303 == site.ask("GET", "/", cookie=cookie(session)).status
    assert "disabled" in site.ask("GET", "/people", cookie=cookie(boss)).text
    assert 200 == post(site, boss, "/people/gone", ("do", "enable")).status
    assert 303 == site.sign_in("gone").status


@pytest.mark.parametrize(
    ("path", "fields", "status", "says"),
    [
        ("/people", (("name", ""), ("role", "viewer"), ("sees", "every")), 400, "A user has a name"),
        ("/people", (("name", "a"), ("role", "king"), ("sees", "every")), 400, "is no role"),
        ("/people", (("name", "a b"), ("role", "viewer"), ("sees", "every")), 409, "is not a name for a user"),
        ("/people", (("name", "c"), ("role", "viewer"), ("sees", "these"), ("team", "sales")), 409, "has no team"),
        ("/people/boss", (("do", "vanish"),), 400, "is nothing to do"),
        ("/people/nobody", (("do", "disable"),), 404, "there is no user"),
        ("/people/tokens/0123456789ab/revoke", (), 404, "there is no token"),
        ("/account/tokens", (("label", "ci"), ("role", "viewer"), ("days", "36500")), 400, "a token ends after"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words_and_changes_nothing(
    site: AdminSite, boss: str, path: str, fields: tuple[tuple[str, str], ...], status: int, says: str
) -> None:
    before = users(site)
    answer = post(site, boss, path, *fields)
    assert status == answer.status
    assert says.lower() in answer.text.replace("&#39;", "'").lower()
    assert before == users(site)


def test_a_token_is_made_on_ones_own_page_shown_once_and_ended_there(site: AdminSite) -> None:
    site.user("opal", "operator", ("red",))
    session = site.session("opal")
    made = post(site, session, "/account/tokens", ("label", "<b>ci</b>"), ("role", "viewer"), ("days", "7"))
    secret = re.search(r"wba-[\w-]+", made.text)
    assert secret is not None
    assert "&lt;b&gt;ci&lt;/b&gt;" in made.text
    assert 200 == site.ask("GET", "/api/v1/me", authorization=f"Bearer {secret[0]}").status
    listed = site.ask("GET", "/account", cookie=cookie(session)).text
    assert secret[0] not in listed
    found = re.search(r'action="(/account/tokens/\w+/revoke)"', listed)
    assert found is not None
    assert 200 == post(site, session, found[1]).status
    assert 401 == site.ask("GET", "/api/v1/me", authorization=f"Bearer {secret[0]}").status
    assert ("opal", "token revoke") == (newest(site).by, newest(site).action)


def test_nobody_gets_a_token_that_may_more_than_they(site: AdminSite) -> None:
    site.user("small", "viewer")
    session = site.session("small")
    answer = post(site, session, "/account/tokens", ("label", "x"), ("role", "admin"), ("days", "7"))
    assert 409 == answer.status
    assert "wba-" not in answer.text


def test_an_admin_of_a_team_can_neither_widen_themselves_nor_touch_people_and_tokens_of_others(
    site: AdminSite, boss: str
) -> None:
    site.user("red-boss", "admin", ("red",))
    red, token = site.session("red-boss"), site.token("red-boss", "admin")
    post(site, boss, "/account/tokens", ("label", "of-the-boss"), ("role", "admin"), ("days", "7"))
    with site.keeper.client() as control:
        theirs = next(one for one in control.call(ListApiTokens(), TokenList).rows if one.label == "of-the-boss")
    before = users(site)
    for path, fields in (
        ("/people/red-boss", (("do", "change"), ("role", "admin"), ("sees", "every"))),
        ("/people", (("name", "twin"), ("role", "admin"), ("sees", "every"))),
        ("/people/boss/link", ()),
        (f"/people/tokens/{theirs.id}/revoke", ()),
        (f"/account/tokens/{theirs.id}/revoke", ()),
    ):
        assert post(site, red, path, *fields).status in (403, 404), path
    bearer = {"authorization": f"Bearer {token}", "content_type": "application/json"}
    widened = site.ask("PATCH", "/api/v1/users/red-boss", '{"teams": null}', **bearer)
    assert 403 == widened.status
    assert before == users(site)
    assert "of-the-boss" not in site.ask("GET", "/api/v1/tokens", **bearer).text
    body = '{"label": "x", "role": "admin", "owner": "boss", "expires": "2031-01-01T00:00:00Z"}'
    headers = {"cookie": cookie(red), "x_form_token": form(red), "content_type": "application/json"}
    assert 403 == site.ask("POST", "/api/v1/tokens", body, **headers).status


def test_nobody_is_led_to_a_page_that_is_shut_for_them(site: AdminSite, boss: str) -> None:
    site.user("peek", "labeller")
    assert ["/labels"] == places(site, site.session("peek"), "/labels")
    assert "/people" in places(site, boss, "/")
    site.user("red-view", "viewer", ("red",))
    assert not {"/people", "/audit", "/alerts", "/labels"} & set(places(site, site.session("red-view"), "/"))


def places(site: AdminSite, session: str, path: str) -> list[str]:
    page = site.ask("GET", path, cookie=cookie(session)).text
    return re.findall(r'<a href="([^"]+)"', page.partition('<nav class="side"')[2].partition("</nav>")[0])
