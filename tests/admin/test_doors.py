"""Every door as every role: the expected answer comes from the table, the one that counts over HTTP."""

import re

import pytest

from tests.admin.site import AdminSite, cookie, form
from weighbridge.admin.dashboard import board_of
from weighbridge.admin.doors import Door, Gate, OpenDoor
from weighbridge.admin.doors import site as built
from weighbridge.admin.guard import names_of
from weighbridge.admin.keeper import Keeper
from weighbridge.admin.table import doors
from weighbridge.records.people import ROLES, Role, covers

OPEN = {
    ("GET", "/sign-in"), ("POST", "/sign-in"), ("POST", "/sign-out"), ("GET", "/welcome/{link}"),
    ("POST", "/welcome/{link}"), ("GET", "/static/{path:path}"), ("GET", "/favicon.ico"),
    ("GET", "/sign-in/oidc"), ("GET", "/sign-in/oidc/callback"),
}  # fmt: skip
"""What anybody may ask for; whoever adds one adds it here, on purpose."""


@pytest.fixture(scope="module")
def sessions(site: AdminSite) -> dict[Role, str]:
    for role in ROLES:
        site.user(f"one-{role}", role)
    return {role: site.session(f"one-{role}") for role in ROLES}


def table_of(site: AdminSite) -> tuple[Door, ...]:
    return doors(Keeper(site.keeper.layout), board_of(site.file))


def filled(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "no-such-thing", path)


def test_every_address_that_the_site_answers_is_in_the_table_or_named_here_as_open(site: AdminSite) -> None:
    answered = {
        (method, route.path)  # type: ignore[attr-defined]
        for route in site.app.routes
        for method in route.methods - {"HEAD"}  # type: ignore[attr-defined]
    }
    assert {(door.method, door.path) for door in table_of(site)} | OPEN == answered


@pytest.mark.promise(29)
def test_each_role_gets_through_the_doors_of_its_own_and_lower_roles_and_through_no_other(
    site: AdminSite, sessions: dict[Role, str]
) -> None:
    for door in table_of(site):
        for role, session in sessions.items():
            body = None if door.method == "GET" else ""
            answer = site.ask(door.method, filled(door.path), body, cookie=cookie(session), x_form_token=form(session))
            where = f"{door.method} {door.path} as {role}: {answer.status} {answer.text[:200]}"
            if door.role is None or covers(role, door.role) or (door.path == "/" and answer.status == 303):
                assert answer.status not in (401, 403, 500), where
            else:
                assert 403 == answer.status, where


def test_nobody_who_is_not_known_gets_through_any_door(site: AdminSite) -> None:
    for door in table_of(site):
        body = None if door.method == "GET" else ""
        for given in ("", cookie("made-up-0123456789abcdef0123456789abcdef")):
            answer = site.ask(door.method, filled(door.path), body, cookie=given)
            page = door.method == "GET" and door.page and not door.path.startswith("/api/")
            assert (303 if page else 401) == answer.status, f"{door.method} {door.path}"


def test_whatever_is_no_reading_is_a_change_and_takes_the_form_token_of_its_own_session(
    site: AdminSite, sessions: dict[Role, str]
) -> None:
    assert [] == [door.path for door in table_of(site) if door.method != "GET" and not door.changes]
    for door in table_of(site):
        if not door.changes:
            continue
        for token in ("", form(sessions["viewer"]), "é"):
            answer = site.ask(
                door.method, filled(door.path), "", cookie=cookie(sessions["admin"]), x_form_token=token
            )  # fmt: skip
            assert 403 == answer.status, f"{door.method} {door.path} with {token!r}"


def test_two_doors_of_one_address_are_refused(site: AdminSite) -> None:
    first = table_of(site)[0]
    with pytest.raises(ValueError, match="two doors"):
        built((first, first), (), Gate(Keeper(site.keeper.layout)), lambda: names_of(()))


def test_a_token_opens_no_page_and_a_session_is_no_token(site: AdminSite, sessions: dict[Role, str]) -> None:
    token = site.token("one-admin", "admin")
    assert 303 == site.ask("GET", "/account", authorization=f"Bearer {token}").status
    assert 303 == site.ask("GET", "/account", cookie=cookie(token)).status
    assert 303 == site.ask("GET", "/account", authorization=f"Bearer {sessions['admin']}").status


def test_open_doors_are_no_doors_of_the_table(site: AdminSite) -> None:
    assert not any(isinstance(door, OpenDoor) for door in table_of(site))
