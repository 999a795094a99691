"""The table of doors: the API's, the pages', and the application that is made of them."""

import socket
from collections.abc import Iterable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from weighbridge.admin.account import account_doors
from weighbridge.admin.dashboard import board_of
from weighbridge.admin.doors import Door, Gate, OpenDoor, site
from weighbridge.admin.entrance import Entrance
from weighbridge.admin.keeper import Keeper
from weighbridge.admin.pages.shell import Dashboard, PageDoor
from weighbridge.admin.pages.table import PAGES
from weighbridge.admin.people import Person
from weighbridge.admin.process import hosts_of
from weighbridge.config import Loaded
from weighbridge.store.layout import Layout


def doors(keeper: Keeper, board: Dashboard) -> tuple[Door, ...]:
    """Every door for people who are known."""
    return (*account_doors(keeper), *(_page(door, board) for door in PAGES))


def _page(door: PageDoor, board: Dashboard) -> Door:
    async def handler(request: Request, person: Person) -> Response:
        return await door.handler(board, request, person)

    return Door(
        method=door.method, path=door.path, role=door.role, handler=handler, changes=door.changes, page=door.page
    )


def application(loaded: Loaded, listening: socket.socket, more: Iterable[OpenDoor] = ()) -> Starlette:
    """more: open doors of whoever runs the process."""
    board = board_of(loaded.file)
    keeper, settings = Keeper(Layout(loaded.store_path)), loaded.config.admin
    entrance = Entrance(keeper, lambda: settings)
    hosts = {*hosts_of(listening, str(listening.getsockname()[0])), *settings.hosts}
    return site(doors(keeper, board), (*entrance.doors(), *more), Gate(keeper), hosts, settings.url)
