"""Where the ledger of a store is: a file beside it, or the PostgreSQL database that it shares with other gateways."""

import secrets
from typing import TYPE_CHECKING, NamedTuple

from weighbridge.clock import Clock
from weighbridge.config import Loaded, secret
from weighbridge.errors import ConfigError
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
    url = loaded.config.store.url
    site = site_of(layout)
    if url is None:
        return Ledger(LedgerStore(SqliteSql(layout.ledger, clock.wall_ns)), site, None, None)
    from weighbridge.store.postgres import PostgresNeighbours, PostgresSql  # an extra: only where it is named

    if not url.startswith(("postgresql://", "postgres://")):
        try:
            url = secret(url, loaded.folder)
        except LookupError as error:
            raise ConfigError(loaded.file, "store.url", str(error.args[0]), value=url) from None
    sql = PostgresSql(url, site)
    return Ledger(LedgerStore(sql), site, PostgresNeighbours(url, site, sql), url)


def site_of(layout: Layout) -> str:
    """The name of this store, made on first use. A copied folder has the name of its original until it is deleted."""
    try:
        return layout.site.read_text().strip()
    except FileNotFoundError:
        made = secrets.token_hex(8)
        write_durably(layout.site, made.encode())
        return made
