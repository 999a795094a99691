"""The table of doors: the API's, the pages', and the application that is made of them."""

import logging
import socket
from collections.abc import Iterable
from typing import cast

import msgspec
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
from weighbridge.admin.guard import Names, names_of
from weighbridge.admin.keeper import Keeper
from weighbridge.admin.oidc import CALLBACK, Oidc
from weighbridge.admin.owned import Owned
from weighbridge.admin.pages.shell import Dashboard, PageDoor, is_about_all, nothing
from weighbridge.admin.pages.sources import Sources
from weighbridge.admin.pages.table import PAGES
from weighbridge.admin.people import Person
from weighbridge.admin.process import hosts_of
from weighbridge.config import Loaded, secret
from weighbridge.config.tree import AdminSection
from weighbridge.errors import ConfigError
from weighbridge.store.layout import Layout

log = logging.getLogger("admin")


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


class Admin:
    """`[admin]` as the configuration file says it now: an edit holds without a restart once the file is in order."""

    def __init__(self, sources: Sources, listening: socket.socket, *, own: bool) -> None:
        """own: this process serves one command, so the site's name and the organisation's accounts lead elsewhere.

        Raises `ConfigError` where the provider's secret cannot be had.
        """
        self._sources, self._own = sources, own
        host, port = listening.getsockname()[:2]
        self._here = hosts_of(listening, str(host))
        self._address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._wanted = self._read()
        self._provider = self._made(self._wanted)
        self._names = names_of({*self._here, *self._wanted.hosts}, self._wanted.url)

    def _read(self) -> AdminSection:
        section = self._sources.loaded.config.admin
        return msgspec.structs.replace(section, url=None, oidc=None) if self._own else section

    def _made(self, section: AdminSection) -> Oidc | None:
        loaded, oidc = self._sources.loaded, section.oidc
        if oidc is None:
            return None
        try:
            known = secret(oidc.client_secret, loaded.folder)
        except LookupError as error:
            raise ConfigError(loaded.file, "admin.oidc.client_secret", str(error.args[0])) from None
        return Oidc(oidc, known, (self._address if section.url is None else section.url.rstrip("/")) + CALLBACK)

    @property
    def section(self) -> AdminSection:
        self._look()
        return self._wanted

    def _look(self) -> None:
        """Whatever of it cannot be used is said once in the log, and what stood before goes on."""
        found = self._read()
        if found != self._wanted:
            before, self._wanted = self._wanted, found
            self._names = names_of({*self._here, *found.hosts}, found.url)
            if (found.oidc, found.url) != (before.oidc, before.url):
                try:
                    self._provider = self._made(found)
                except ConfigError as error:
                    log.error("sign-in at the organisation's provider stays as it was: %s", error)

    def names(self) -> Names:
        self._look()
        return self._names

    def provider(self) -> Oidc | None:
        self._look()
        return self._provider


def application(
    loaded: Loaded, listening: socket.socket, more: Iterable[OpenDoor] = (), board: Dashboard | None = None, *,
    own: bool = False,
) -> Starlette:  # fmt: skip
    """more: open doors of whoever runs the process. board: what pages read from, where it is not made of the file.
    own: the process serves one command, see `Admin`.
    """
    board = board_of(loaded.file) if board is None else board
    keeper, admin = Keeper(Layout(loaded.store_path)), Admin(board.sources, listening, own=own)
    entrance = Entrance(keeper, lambda: admin.section, admin.provider)
    return site(doors(keeper, board), (*entrance.doors(), *more), Gate(keeper), admin.names)
