"""The table of doors: the API's, the pages', and the application that is made of them."""

import socket
from collections.abc import Iterable
from typing import cast

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from weighbridge.admin.api.changes import Changes
from weighbridge.admin.api.openapi import openapi
from weighbridge.admin.api.people import PeopleCalls
from weighbridge.admin.api.reads import Reads
from weighbridge.admin.dashboard import board_of
from weighbridge.admin.doors import Door, Gate, OpenDoor, site
from weighbridge.admin.entrance import Entrance
from weighbridge.admin.keeper import Keeper
from weighbridge.admin.oidc import CALLBACK, Oidc
from weighbridge.admin.owned import Owned
from weighbridge.admin.pages.shell import Dashboard, PageDoor, is_about_all, nothing
from weighbridge.admin.pages.table import PAGES
from weighbridge.admin.people import Person
from weighbridge.admin.process import hosts_of
from weighbridge.config import Loaded, secret
from weighbridge.errors import ConfigError
from weighbridge.store.layout import Layout


def doors(keeper: Keeper, board: Dashboard) -> tuple[Door, ...]:
    """Every door for people who are known."""
    api = api_doors(keeper, board)
    return (*(_page(door, board) for door in PAGES), *api, _description(openapi(api)))


def api_doors(keeper: Keeper, board: Dashboard) -> tuple[Door, ...]:
    return (*Reads(board).doors(), *Changes(board, keeper).doors(), *PeopleCalls(keeper).doors())


def described() -> bytes:
    """The API's description, for the reference: doors say what they are without being asked for anything."""
    return openapi(api_doors(cast("Keeper", None), cast("Dashboard", None)))


def _description(body: bytes) -> Door:
    async def handler(request: Request, person: Person) -> Response:
        return Response(body, media_type="application/json")

    return Door(method="GET", path="/api/v1/openapi.json", role=None, handler=handler)


def _is_theirs(board: Dashboard, door: PageDoor, request: Request, person: Person) -> bool:
    """Is what the address names theirs to see? Lists leave out by themselves what is not."""
    if is_about_all(door.path):
        return False
    owned, named = Owned(board.sources, person.teams), request.path_params
    checks = {"route": owned.route, "budget": owned.budget, "trial": owned.trial}
    return all(check(named[name]) for name, check in checks.items() if name in named)


def _page(door: PageDoor, board: Dashboard) -> Door:
    async def handler(request: Request, person: Person) -> Response:
        if person.teams is not None and not await run_in_threadpool(_is_theirs, board, door, request, person):
            return nothing(request, person, "such page")
        return await door.handler(board, request, person)

    return Door(
        method=door.method, path=door.path, role=door.role, handler=handler, changes=door.changes, page=door.page
    )


def _provider(loaded: Loaded, listening: socket.socket) -> Oidc | None:
    """Raises `ConfigError` where its secret cannot be had."""
    oidc, url = loaded.config.admin.oidc, loaded.config.admin.url
    if oidc is None:
        return None
    try:
        known = secret(oidc.client_secret, loaded.folder)
    except LookupError as error:
        raise ConfigError(loaded.file, "admin.oidc.client_secret", str(error.args[0])) from None
    host, port = listening.getsockname()[:2]
    own = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    return Oidc(oidc, known, (own if url is None else url.rstrip("/")) + CALLBACK)


def application(
    loaded: Loaded, listening: socket.socket, more: Iterable[OpenDoor] = (), board: Dashboard | None = None
) -> Starlette:
    """more: open doors of whoever runs the process. board: what pages read from, where it is not made of the file."""
    board = board_of(loaded.file) if board is None else board
    keeper, settings = Keeper(Layout(loaded.store_path)), loaded.config.admin
    entrance = Entrance(keeper, lambda: settings, _provider(loaded, listening))
    hosts = {*hosts_of(listening, str(listening.getsockname()[0])), *settings.hosts}
    return site(doors(keeper, board), (*entrance.doors(), *more), Gate(keeper), hosts, settings.url)
