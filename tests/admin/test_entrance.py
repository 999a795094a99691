"""Coming in and going out, over real connections and a real keeper."""

from urllib.parse import urlencode

import pytest

from tests.admin.site import PASSWORD, PASSWORD_HASH, AdminSite, cookie, secret_in
from weighbridge.records.people import UserRow
from weighbridge.store.people_calls import AddUser, ChangeUser


def signed_in(site: AdminSite, session: str) -> bool:
    return 200 == site.ask("GET", "/account", cookie=cookie(session)).status


def test_a_password_opens_a_session_whose_cookie_scripts_and_other_sites_do_not_get(site: AdminSite) -> None:
    site.user("ann", "viewer")
    answer = site.sign_in("ann")
    assert 303 == answer.status
    attributes = answer.headers["set-cookie"].lower()
    assert "httponly" in attributes
    assert "samesite=strict" in attributes
    assert signed_in(site, secret_in(answer))


def test_a_wrong_password_an_unknown_name_and_a_disabled_user_get_the_same_answer(site: AdminSite) -> None:
    site.user("bea", "viewer")
    site.user("off", "viewer")
    with site.keeper.client() as control:
        control.call(ChangeUser(name="off", disabled=True), UserRow)
    answers = [site.sign_in("bea", "wrong password entirely"), site.sign_in("nobody"), site.sign_in("off")]
    assert [403] * 3 == [one.status for one in answers]
    assert 1 == len({one.text for one in answers})
    assert all("set-cookie" not in one.headers for one in answers)


def test_signing_in_gives_a_new_session_and_ends_the_one_that_came_along(site: AdminSite) -> None:
    site.user("cat", "viewer")
    planted = "planted-by-somebody-else-0123456789abcdef"
    fresh = secret_in(site.sign_in("cat", cookie=cookie(planted)))
    assert planted != fresh
    assert not signed_in(site, planted)
    newer = secret_in(site.sign_in("cat", cookie=cookie(fresh)))
    assert not signed_in(site, fresh)
    assert signed_in(site, newer)


def test_signing_out_ends_one_session_and_everywhere_ends_all(site: AdminSite) -> None:
    site.user("dan", "viewer")
    first, second, third = (site.session("dan") for _ in range(3))
    site.ask("POST", "/sign-out", "", cookie=cookie(first))
    assert [False, True, True] == [signed_in(site, one) for one in (first, second, third)]
    site.ask("POST", "/sign-out", "everywhere=1", cookie=cookie(second))
    assert [False, False] == [signed_in(site, one) for one in (second, third)]


def test_a_changed_role_ends_every_session_of_that_person(site: AdminSite) -> None:
    site.user("eve", "admin")
    session = site.session("eve")
    with site.keeper.client() as control:
        control.call(ChangeUser(name="eve", role="viewer"), UserRow)
    assert not signed_in(site, session)


def test_a_one_time_link_sets_a_password_once(site: AdminSite) -> None:
    link = "a-link-that-was-sent-to-fay-0123456789abcdef"
    with site.keeper.client() as control:
        control.call(AddUser(name="fay", role="labeller", link=link), UserRow)
    chosen = urlencode({"password": PASSWORD, "again": PASSWORD})
    short = site.ask("POST", f"/welcome/{link}", urlencode({"password": "short", "again": "short"}))
    assert 400 == short.status
    assert "15 to 200 characters" in short.text
    assert 400 == site.ask("POST", f"/welcome/{link}", urlencode({"password": PASSWORD, "again": "other"})).status
    used = site.ask("POST", f"/welcome/{link}", chosen)
    assert 303 == used.status
    assert signed_in(site, secret_in(used))
    assert 403 == site.ask("POST", f"/welcome/{link}", chosen).status
    assert 303 == site.sign_in("fay").status


def test_guessing_is_slowed_down_even_for_the_right_password(site: AdminSite) -> None:
    site.user("gus", "viewer")
    assert [403] * 5 == [site.sign_in("gus", f"guess number {number:05d}").status for number in range(5)]
    answers = [site.sign_in("gus", f"guess more {number:05d}") for number in range(8)]
    held = [one for one in answers if one.status == 429]
    assert held
    assert all(int(one.headers["retry-after"]) >= 1 for one in held)


@pytest.mark.parametrize("path", ["/account", "/"])
def test_without_a_session_a_page_leads_to_the_sign_in(site: AdminSite, path: str) -> None:
    for given in ("", cookie("made-up-session-0123456789abcdef0123456789")):
        answer = site.ask("GET", path, cookie=given)
        assert (303, "/sign-in") == (answer.status, answer.headers["location"])


def test_no_page_shows_a_secret(site: AdminSite) -> None:
    site.user("hal", "viewer")
    session = site.session("hal")
    token = site.token("hal", "viewer")
    page = site.ask("GET", "/account", cookie=cookie(session)).text
    assert "test" in page
    for canary in (session, token, PASSWORD, PASSWORD_HASH):
        assert canary not in page
