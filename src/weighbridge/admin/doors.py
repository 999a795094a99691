"""One table of doors: every address of the dashboard and the admin API, with the role that it takes.

The site is built from it and from nothing else, so that a test can walk it and ask for each door as each role. In front
of every door stands `Gate`: session or API token, role, form token. A handler is called with who asks; below it, what
belongs to a team is held against their teams by whoever reads it.
"""

import hmac
from collections.abc import Awaitable, Callable, Iterable
from typing import Literal

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from weighbridge.admin.guard import Guard, Names
from weighbridge.admin.keeper import Keeper
from weighbridge.admin.people import TOKEN_PREFIX, Person
from weighbridge.admin.render import render
from weighbridge.errors import ControlError, NotAllowedError, NotThereError, UsageError, WeighbridgeError
from weighbridge.records.people import Role
from weighbridge.store.people_calls import Known, Unknown, WhoIs

COOKIE = "weighbridge_session"
FORM_TOKEN = "form-token"  # noqa: S105 (the name of a field)
FIELDS_MAX = 100
API = "/api/"

Handler = Callable[[Request, Person], Awaitable[Response]]
OpenHandler = Callable[[Request], Awaitable[Response]]
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


class Door(msgspec.Struct, frozen=True, kw_only=True):
    """One address and method for people who are known."""

    method: Method
    path: str
    """As starlette has it, `/routes/{route}`."""
    role: Role | None
    """What it takes; `None`: anybody who is signed in."""
    handler: Handler
    page: bool = True
    """A whole page: who is not signed in is led to the sign-in instead of being refused."""
    changes: bool = False
    """A session must bring its form token along."""
    summary: str = ""
    """For the API's description; empty for pages, which are not in it."""
    query: type[msgspec.Struct] | None = None
    body: type[msgspec.Struct] | None = None
    answer: object = None
    """The type of a 200 answer."""
    status: int = 200


class OpenDoor(msgspec.Struct, frozen=True, kw_only=True):
    """One address for anybody: sign-in, static files, health. Each is named in a test."""

    method: Method
    path: str
    handler: OpenHandler


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Every answer of the API that is not a success."""

    error: str
    """What was refused and why, for people."""


class Gate:
    """Who asks, and may they?"""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    def behind(self, door: Door) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            is_api = request.url.path.startswith(API)
            try:
                return await self._through(door, request, is_api)
            except WeighbridgeError as error:
                return refused(_status(error), str(error), is_api)

        return guarded

    async def _through(self, door: Door, request: Request, is_api: bool) -> Response:
        person = await self.who(request, is_api)
        if person is None:
            if door.method == "GET" and door.page and not is_api:
                return RedirectResponse("/sign-in", 303)
            return refused(401, "Sign in first, or send an API token: `authorization: Bearer wba-...`.", is_api)
        if door.role is not None and not person.may(door.role):
            if door.path == "/" and person.may("labeller"):
                return RedirectResponse("/labels", 303)
            return refused(403, f"{person.name} is {person.role}; this takes {door.role}.", is_api)
        if door.changes and person.via == "session" and not await _has_form_token(request, person):
            return refused(403, "The form token is not that of this session; load the page again.", is_api)
        return await door.handler(request, person)

    async def who(self, request: Request, is_api: bool) -> Person | None:
        """Tokens open the API only: a page is for somebody who signed in."""
        given = request.headers.get("authorization")
        if given is not None:
            kind, _, credential = given.partition(" ")
            if not is_api or kind.lower() != "bearer" or not credential.startswith(TOKEN_PREFIX):
                return None
        else:
            credential = request.cookies.get(COOKIE, "")
            if not credential or credential.startswith(TOKEN_PREFIX):
                return None
        found: Known | Unknown = await self._keeper.call(WhoIs(credential=credential), Known | Unknown)  # type: ignore[arg-type]
        if isinstance(found, Unknown):
            return None
        return Person(
            name=found.name, role=found.role, teams=found.teams, via=found.via, credential=credential
        )  # fmt: skip


async def _has_form_token(request: Request, person: Person) -> bool:
    """In the header that scripts send, or in the form's own field."""
    given: object = request.headers.get("x-form-token")
    if given is None and request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        given = (await request.form(max_files=0, max_fields=FIELDS_MAX)).get(FORM_TOKEN)
    return isinstance(given, str) and hmac.compare_digest(given.encode(), person.form_token.encode())


def _status(error: WeighbridgeError) -> int:
    match error:
        case NotThereError():
            return 404
        case NotAllowedError():
            return 403
        case UsageError():
            return 400
        case ControlError():
            return 409
        case _:
            return 503


def refused(status: int, why: str, is_api: bool) -> Response:
    if is_api:
        return Response(msgspec.json.encode(Refusal(error=why)), status, media_type="application/json")
    return render("refused.html.j2", {"title": TITLES.get(status, "That did not work"), "why": why}, status)


TITLES = {401: "Sign in first", 403: "Not allowed", 404: "Not found", 503: "Not now"}


def site(doors: Iterable[Door], open_doors: Iterable[OpenDoor], gate: Gate, names: Callable[[], Names]) -> Starlette:
    """The whole application. Raises `ValueError` where two doors have the same address and method."""
    routes: list[Route] = []
    seen: set[tuple[str, str]] = set()
    every: tuple[Door | OpenDoor, ...] = (*open_doors, *doors)
    for door in every:
        if (door.method, door.path) in seen:
            raise ValueError(f"two doors for {door.method} {door.path}")
        seen.add((door.method, door.path))
        endpoint = door.handler if isinstance(door, OpenDoor) else gate.behind(door)
        routes.append(Route(door.path, endpoint, methods=[door.method]))

    async def missing(request: Request, error: Exception) -> Response:
        return refused(404, "There is no such page.", request.url.path.startswith(API))

    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard, names=names)],
        exception_handlers={404: missing},
    )
