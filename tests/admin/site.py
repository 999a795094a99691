"""The admin site for tests: a real keeper process, the whole application, real connections."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import msgspec

from tests.keeper.processes import KeeperProcess, running_keeper
from weighbridge.admin.pages.shell import Dashboard
from weighbridge.admin.passwords import hashed
from weighbridge.admin.people import form_token
from weighbridge.admin.process import listening, server
from weighbridge.admin.table import application
from weighbridge.config import load
from weighbridge.records.people import Role, TokenRow, UserRow
from weighbridge.store.people_calls import AddUser, CreateApiToken

PASSWORD = "correct horse battery staple"
PASSWORD_HASH = hashed(PASSWORD)
"""One for everybody: hashing is slow on purpose."""
STARTED_S_MAX = 60.0


class Answer(msgspec.Struct, frozen=True):
    status: int
    headers: dict[str, str]
    """Names in lower case; what came more than once stands on lines of its own."""
    text: str


class AdminSite:
    def __init__(self, file: Path, keeper: KeeperProcess, sock: socket.socket, board: Dashboard | None = None) -> None:
        self.keeper, self.file = keeper, file
        self.port: int = sock.getsockname()[1]
        self.app = application(load(file), sock, board=board)
        self.server = server(self.app)
        self._thread = threading.Thread(target=self.server.run, kwargs={"sockets": [sock]})
        self._thread.start()
        end = time.monotonic() + STARTED_S_MAX
        while not self.server.started:
            assert time.monotonic() < end
            self._thread.join(0.01)  # a sleep, also beside the browser's event loop

    def close(self) -> None:
        self.server.should_exit = True
        self._thread.join()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: str | bytes | None = None, **headers: str) -> Answer:
        own = {"host": f"127.0.0.1:{self.port}"}
        if body is not None or method != "GET":
            own |= {"origin": self.origin, "content-type": "application/x-www-form-urlencoded"}
        given = {**own, **{name.replace("_", "-"): value for name, value in headers.items()}}
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request(method, path, body, {name: value for name, value in given.items() if value})
            found = connection.getresponse()
            got: dict[str, str] = {}
            for name, value in found.getheaders():
                got[name.lower()] = f"{got[name.lower()]}\n{value}" if name.lower() in got else value
            return Answer(found.status, got, found.read().decode())

    def user(self, name: str, role: Role, teams: tuple[str, ...] | None = None) -> UserRow:
        with self.keeper.client() as control:
            return control.call(AddUser(name=name, role=role, teams=teams, password=PASSWORD_HASH), UserRow)

    def token(self, owner: str, role: Role, teams: tuple[str, ...] | None = None) -> str:
        secret = f"wba-token-of-{owner}-{role}-{'-'.join(teams or ())}".ljust(48, "x")
        with self.keeper.client() as control:
            control.call(CreateApiToken(owner=owner, label="test", token=secret, role=role, teams=teams), TokenRow)
        return secret

    def sign_in(self, name: str, password: str = PASSWORD, **headers: str) -> Answer:
        return self.ask("POST", "/sign-in", urlencode({"name": name, "password": password}), **headers)

    def session(self, name: str) -> str:
        """The secret of a new session."""
        answer = self.sign_in(name)
        assert 303 == answer.status, answer
        return secret_in(answer)


def secret_in(answer: Answer) -> str:
    return answer.headers["set-cookie"].partition(";")[0].partition("=")[2]


def cookie(session: str) -> str:
    return f"weighbridge_session={session}"


def form(session: str) -> str:
    return form_token(session)


@contextmanager
def admin_site(file: Path, board: Dashboard | None = None) -> Iterator[AdminSite]:
    with running_keeper(file) as keeper, listening("127.0.0.1", 0) as sock:
        site = AdminSite(file, keeper, sock, board)
        try:
            yield site
        finally:
            site.close()
