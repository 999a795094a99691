"""The dashboard's pages without the guard in front: whoever asks is the person that the test says."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from weighbridge.admin.dashboard import board_of
from weighbridge.admin.pages.shell import PageDoor
from weighbridge.admin.pages.table import PAGES
from weighbridge.admin.people import Person
from weighbridge.admin.process import listening
from weighbridge.records.people import Role

STATIC = Path(__file__).parents[2] / "src" / "weighbridge" / "admin" / "static"


def somebody(role: Role = "admin", teams: tuple[str, ...] | None = None) -> Person:
    return Person(name="ada", role=role, teams=teams, via="session", credential="the-session-of-ada-that-no-keeper-has")


@dataclass
class Board:
    file: Path
    person: Person = field(default_factory=somebody)

    def app(self) -> Starlette:
        board = board_of(self.file, live_s=0.3)
        self.sources = board.sources

        def route(door: PageDoor) -> BaseRoute:
            async def handle(request: Request) -> Response:
                return await door.handler(board, request, self.person)

            return Route(door.path, handle, methods=[door.method])

        return Starlette(routes=[Mount("/static", StaticFiles(directory=STATIC)), *(route(door) for door in PAGES)])


@contextmanager
def served(board: Board) -> Iterator[str]:
    """Its address, while it is served."""
    with listening("127.0.0.1", 0) as sock:
        server = uvicorn.Server(uvicorn.Config(board.app(), log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        end = time.monotonic() + 60
        while not server.started:
            assert time.monotonic() < end
        try:
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        finally:
            server.should_exit = True
            server.force_exit = True
            thread.join(30)
            board.sources.close()
