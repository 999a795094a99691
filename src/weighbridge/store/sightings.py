"""What keepers of several machines tell each other of a ramp's traffic, in the PostgreSQL database of `store.url`.

Rows are packed facts that only the ramp reads. A session of its own: what is told must never hold up a route table.
"""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from weighbridge.errors import StoreError
from weighbridge.store.postgres import LOCK_SPACE, connect, first_line

if TYPE_CHECKING:
    import psycopg

    from weighbridge.store.sql import Row

STATEMENT_S_MAX = 3
AGAIN_S = 5.0
"""After a failure: whoever asks sooner is told the same at once, so that own evidence is looked at each second."""
ROWS_MAX = 500
"""Of one site, for one look."""
KEPT_DAYS = 7
"""What was told longer ago is not there for a keeper that starts: it delays an alarm, and raises none."""

_SCHEMA = (
    "CREATE SEQUENCE IF NOT EXISTS shared_sighting_number",
    "CREATE TABLE IF NOT EXISTS shared_sighting(ramp TEXT NOT NULL, site TEXT NOT NULL, number BIGINT NOT NULL, "
    "route_table BIGINT NOT NULL, told TIMESTAMPTZ NOT NULL DEFAULT now(), body BYTEA NOT NULL, "
    "PRIMARY KEY(ramp, site, number))",
    "CREATE TABLE IF NOT EXISTS shared_teller(site TEXT PRIMARY KEY, host TEXT NOT NULL, told TIMESTAMPTZ NOT NULL, "
    "trouble TEXT NOT NULL, gone BOOLEAN NOT NULL)",
)


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """Sightings that another store told at once."""

    site: str
    number: int
    table: int
    """The newest route table in it."""
    body: bytes


class OtherHost(msgspec.Struct, frozen=True, kw_only=True):
    """A keeper that tells, or told."""

    site: str
    host: str
    age_s: float
    """Since it last did, by the database's clock."""
    trouble: str
    """Why what it tells is not all; empty where it is."""
    left: bool
    """It has ended in order."""


class SharedSightings:
    """One session. Everything but `leave` and `close` raises `StoreError` where the database cannot."""

    def __init__(self, url: str, site: str, host: str) -> None:
        self._url, self._site, self._host = url, site, host
        self._turn = threading.Lock()
        self._db: psycopg.Connection[Row] | None = None
        self._failed: tuple[float, str] | None = None

    def mine(self, ramp: str) -> Iterator[bytes]:
        """What this store told of a ramp, a page at a time: no statement may take long."""
        after = 0
        while rows := self._told(ramp, self._site, after):
            yield from (row.body for row in rows)
            after = rows[-1].number

    def number(self) -> int:
        """Above all that were given before."""
        with self._session() as db:
            row = db.execute("SELECT nextval('shared_sighting_number')").fetchone()
        return msgspec.convert(None if row is None else row[0], int)

    def tell(self, ramp: str, number: int, table: int, body: bytes) -> None:
        """Once, however often it is said: nobody knows whether what was cut off was kept."""
        with self._session() as db:
            db.execute(
                "INSERT INTO shared_sighting(ramp, site, number, route_table, body) VALUES (%s, %s, %s, %s, %s) "
                "ON CONFLICT DO NOTHING",
                (ramp, self._site, number, table, body),
            )

    def here(self, trouble: str) -> None:
        """This store tells."""
        with self._session() as db:
            db.execute(
                "INSERT INTO shared_teller VALUES (%s, %s, now(), %s, FALSE) ON CONFLICT (site) DO UPDATE SET "
                "host = excluded.host, told = excluded.told, trouble = excluded.trouble, gone = FALSE",
                (self._site, self._host, trouble),
            )

    def hear(self, ramp: str, after: Mapping[str, int]) -> Sequence[Heard]:
        """What other stores told behind these numbers, by site; in the order of each."""
        with self._session() as db:
            rows = db.execute("SELECT site FROM shared_teller WHERE site <> %s ORDER BY site", (self._site,)).fetchall()
        sites = [str(row[0]) for row in rows]
        return [heard for site in sites for heard in self._told(ramp, site, after.get(site, 0))]

    def _told(self, ramp: str, site: str, after: int) -> list[Heard]:
        with self._session() as db:
            rows = db.execute(
                "SELECT site, number, route_table, body FROM shared_sighting WHERE ramp = %s AND site = %s "
                "AND number > %s ORDER BY number LIMIT %s",
                (ramp, site, after, ROWS_MAX),
            ).fetchall()
        return [msgspec.convert(dict(zip(Heard.__struct_fields__, row, strict=True)), Heard) for row in rows]

    def hosts(self) -> Sequence[OtherHost]:
        """Of other stores."""
        with self._session() as db:
            rows = db.execute(
                "SELECT site, host, CAST(extract(epoch FROM now() - told) AS DOUBLE PRECISION), trouble, gone "
                "FROM shared_teller WHERE site <> %s ORDER BY host, site",
                (self._site,),
            ).fetchall()
        return [msgspec.convert(dict(zip(OtherHost.__struct_fields__, row, strict=True)), OtherHost) for row in rows]

    def forget(self, ramps: Mapping[str, int]) -> None:
        """All but these ramps, what is older than their first route tables, and what is older than `KEPT_DAYS`."""
        with self._session() as db:
            db.execute(
                "DELETE FROM shared_sighting WHERE ramp <> ALL(%s) OR told < now() - make_interval(days => %s)",
                (list(ramps), KEPT_DAYS),
            )
            for ramp, table in ramps.items():
                db.execute("DELETE FROM shared_sighting WHERE ramp = %s AND route_table < %s", (ramp, table))

    def leave(self) -> None:
        """This store ends in order: nobody waits for it. Only through a session that stands."""
        if self._db is None or self._db.closed:
            return
        try:
            with self._session() as db:
                db.execute("UPDATE shared_teller SET gone = TRUE WHERE site = %s", (self._site,))
        except StoreError:
            pass  # then it is waited for, until it is back or was silent for a day

    def close(self) -> None:
        if self._db is not None:
            self._db.close()

    @contextmanager
    def _session(self) -> Iterator["psycopg.Connection[Row]"]:
        import psycopg

        with self._turn:
            if self._failed is not None and time.monotonic() < self._failed[0]:
                raise StoreError(self._failed[1])
            try:
                yield self._opened()
                self._failed = None
            except psycopg.Error as error:
                self.close()
                self._db = None
                said = f"the database that gateways share cannot be used: {first_line(error)} (store.url)"
                self._failed = time.monotonic() + AGAIN_S, said
                raise StoreError(said) from None

    def _opened(self) -> "psycopg.Connection[Row]":
        if self._db is not None and not self._db.closed:
            return self._db
        db = connect(self._url, STATEMENT_S_MAX)
        with db.transaction():
            db.execute("SELECT pg_advisory_xact_lock(%s, 0)", (LOCK_SPACE,))
            for statement in _SCHEMA:
                db.execute(statement.encode())
        self._db = db
        return db
