"""A real PostgreSQL for tests, without root rights: one server a test run, one database a test."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
from pgserver._commands import pg_ctl  # type: ignore[attr-defined]  # it is made when the module is loaded
from pgserver.postgres_server import PostgresServer, get_server

_numbers = itertools.count(1)


@contextmanager
def server() -> Iterator[str]:
    """The URL of a server that ends with the context; to be given to `database`."""
    with TemporaryDirectory(prefix="pg") as folder:
        running = get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            yield running.get_uri()
        finally:
            running.cleanup()


def database(url: str) -> str:
    """A new, empty database on the server; returns its URL."""
    name = f"test_{next(_numbers)}"
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(f"CREATE DATABASE {name}".encode())
    before, _, query = url.partition("?")
    return f"{before.rpartition('/')[0]}/{name}?{query}"


class Running:
    """A server that a test may stop and start."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server

    def database(self) -> str:
        """A new, empty database; its URL."""
        return database(self._server.get_uri())

    def stop(self) -> None:
        """At once, as after a crash: every session breaks."""
        pg_ctl(["-w", "-m", "immediate", "stop"], pgdata=self._server.pgdata, user=self._server.system_user)

    def start(self) -> None:
        self._server.ensure_postgres_running()


@contextmanager
def running() -> Iterator[Running]:
    with TemporaryDirectory(prefix="pg") as folder:
        one = get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            yield Running(one)
        finally:
            one.cleanup()
