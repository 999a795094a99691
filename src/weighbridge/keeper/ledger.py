"""Where the ledger of a store is: a file beside it, or the PostgreSQL database that it shares with other gateways."""

import secrets
from typing import TYPE_CHECKING, NamedTuple

from weighbridge.clock import Clock
from weighbridge.config import Loaded, secret
from weighbridge.errors import ConfigError
from weighbridge.store.books import Books, postgres_books, sqlite_books
from weighbridge.store.files import write_durably
from weighbridge.store.layout import Layout
from weighbridge.store.ledger import LedgerStore
from weighbridge.store.sql import SqliteSql

if TYPE_CHECKING:
    from weighbridge.store.postgres import PostgresNeighbours


class Ledger(NamedTuple):
    store: LedgerStore
    site: str
    """Names this store among those that share a database."""
    neighbours: "PostgresNeighbours | None"
    url: str | None
    """Of the database that is shared; `None` where the ledger is a file."""


def open_ledger(layout: Layout, loaded: Loaded, clock: Clock) -> Ledger:
    """Open it and bring it to the newest schema. Raises `StoreError`, `ConfigError`."""
    url = _url(loaded)
    site = site_of(layout)
    if url is None:
        return Ledger(LedgerStore(SqliteSql(layout.ledger, clock.wall_ns)), site, None, None)
    from weighbridge.store.postgres import PostgresNeighbours, PostgresSql  # an extra: only where it is named

    sql = PostgresSql(url, site)
    return Ledger(LedgerStore(sql), site, PostgresNeighbours(url, site, sql), url)


def books_of(layout: Layout, loaded: Loaded) -> tuple[str, Books] | None:
    """What the ledger says now, and the name of this store in it, read beside a running keeper; `None`: there is none.

    Raises `StoreError`, `ConfigError`.
    """
    try:
        site = layout.site.read_text().strip()
    except FileNotFoundError:
        return None
    url = _url(loaded)
    books = sqlite_books(layout.ledger, site) if url is None else postgres_books(url, site)
    return None if books is None else (site, books)


def _url(loaded: Loaded) -> str | None:
    """Of the database that gateways share."""
    url = loaded.config.store.url
    if url is None or url.startswith(("postgresql://", "postgres://")):
        return url
    try:
        return secret(url, loaded.folder)
    except LookupError as error:
        raise ConfigError(loaded.file, "store.url", str(error.args[0]), value=url) from None


def site_of(layout: Layout) -> str:
    """The name of this store, made on first use. A copied folder has the name of its original until it is deleted."""
    try:
        return layout.site.read_text().strip()
    except FileNotFoundError:
        made = secrets.token_hex(8)
        write_durably(layout.site, made.encode())
        return made
