"""What gateways of several machines share beside the ledger, in the PostgreSQL database of `store.url`.

One keeper leads: it holds a session lock, and only through the session that holds it are shares, tables and keys
written. So a leader whose session broke has written nothing since, whatever it thinks of itself. The others read one
row each second; `NOTIFY` tells them earlier and may be lost.
"""

import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from weighbridge.errors import StoreError
from weighbridge.store.client_keys import StoredKey
from weighbridge.store.control import ObjectKind
from weighbridge.store.postgres import LOCK_SPACE, connect, first_line
from weighbridge.store.ramps import StoredRamp

if TYPE_CHECKING:
    import psycopg

    from weighbridge.store.sql import Row

LEADER_LOCK = 2
"""Second half of its key: sites have odd ones, transactions 0."""
CHANNEL = "weighbridge_shared"
STATEMENT_S_MAX = 3
KEEPALIVE = "-c tcp_keepalives_idle=2 -c tcp_keepalives_interval=1 -c tcp_keepalives_count=3"
"""A leader whose machine is gone loses its lock after 5 s; one that died on a living machine at once."""

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS shared_state(id INTEGER PRIMARY KEY CHECK (id = 1), revision BIGINT NOT NULL, "
    "floor BIGINT NOT NULL, leader TEXT NOT NULL, state BYTEA NOT NULL)",
    "CREATE TABLE IF NOT EXISTS shared_object(digest TEXT PRIMARY KEY, kind TEXT NOT NULL, label TEXT NOT NULL, "
    "body BYTEA NOT NULL)",
    "CREATE TABLE IF NOT EXISTS shared_hold(site TEXT NOT NULL, route TEXT NOT NULL, host TEXT NOT NULL, "
    "PRIMARY KEY(site, route))",
    "INSERT INTO shared_state VALUES (1, 0, 0, '', '') ON CONFLICT DO NOTHING",
)


class State(msgspec.Struct, frozen=True, kw_only=True):
    """All that a keeper needs to go on in the place of another one."""

    number: int
    table: bytes
    """The exact bytes of the route table."""
    ramps: tuple[StoredRamp, ...]
    keys: tuple[StoredKey, ...]


class SharedObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object of the leader's signed log that tables and ramps name."""

    digest: str
    kind: ObjectKind
    label: str
    body: bytes


class Hold(msgspec.Struct, frozen=True):
    """A route that somebody holds at its incumbent on one host: the leader is to take its ramp back."""

    site: str
    route: str
    host: str


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One look at the database."""

    leads: bool
    """Is the lock this keeper's, for as long as its session stands?"""
    leader: str
    """Who wrote last, for people."""
    revision: int
    floor: int
    """The highest number of a table anywhere: the next one is above it."""
    state: State | None
    """`None` where its revision is the one that was known, or where nothing was published yet."""
    holds: tuple[Hold, ...]


_state: msgspec.msgpack.Decoder[State] = msgspec.msgpack.Decoder(State)


class SharedStore:
    """One session. Everything raises `StoreError` where the database cannot. Any thread, one at a time."""

    def __init__(self, url: str, site: str, host: str) -> None:
        self._url, self._site, self._name, self._host = url, site, f"{host} (site {site})", host
        self._turn = threading.Lock()
        self._db: psycopg.Connection[Row] | None = None
        self._leads = False
        self._objects: set[str] = set()
        """Digests that are known to be there."""

    @property
    def name(self) -> str:
        return self._name

    def watched(self) -> int | None:
        """A descriptor that becomes readable when a note comes, for the caller to close: the session may end first."""
        with self._turn:
            return None if self._db is None or self._db.closed else os.dup(self._db.fileno())

    def look(self, known: int, holds: Sequence[str], floor: int) -> Seen:
        """Take the lead if it is free, say which routes are held here and how high numbers went, and read."""
        with self._turn, self._session() as db:
            if not self._leads:
                self._leads = bool(_one(db.execute("SELECT pg_try_advisory_lock(%s, %s)", (LOCK_SPACE, LEADER_LOCK))))
            db.execute("UPDATE shared_state SET floor = %s WHERE floor < %s", (floor, floor))
            said = {str(row[0]) for row in db.execute("SELECT route FROM shared_hold WHERE site = %s", (self._site,))}
            if said != set(holds):
                with db.transaction():
                    db.execute("DELETE FROM shared_hold WHERE site = %s", (self._site,))
                    for route in holds:
                        db.execute("INSERT INTO shared_hold VALUES (%s, %s, %s)", (self._site, route, self._host))
                db.execute("SELECT pg_notify(%s, '')", (CHANNEL,))
            row = db.execute(
                "SELECT leader, revision, floor, CASE WHEN revision <> %s THEN state END FROM shared_state", (known,)
            ).fetchone()
            others = db.execute("SELECT site, route, host FROM shared_hold WHERE site <> %s", (self._site,)).fetchall()
        leader, revision, highest, body = msgspec.convert(row, tuple[str, int, int, bytes | None])
        return Seen(
            leads=self._leads, leader=leader, revision=revision, floor=highest,
            state=_state.decode(body) if body else None,
            holds=tuple(Hold(*msgspec.convert(one, tuple[str, str, str])) for one in others),
        )  # fmt: skip

    def objects(self, known: set[str]) -> tuple[SharedObject, ...]:
        """Those that are shared and not known here."""
        with self._turn, self._session() as db:
            digests = {str(row[0]) for row in db.execute("SELECT digest FROM shared_object")}
            self._objects |= digests
            rows = [
                db.execute("SELECT digest, kind, label, body FROM shared_object WHERE digest = %s", (one,)).fetchone()
                for one in sorted(digests - known)
            ]
        names = SharedObject.__struct_fields__
        return tuple(
            msgspec.convert(dict(zip(names, row, strict=True)), SharedObject) for row in rows if row is not None
        )

    def unshared(self, digests: Sequence[str]) -> tuple[str, ...]:
        return tuple(one for one in digests if one not in self._objects)

    def write(self, after: int, state: State, objects: Sequence[SharedObject]) -> int:
        """Compare and swap, objects first; the new revision.

        Only through the session that holds the lock: it is not opened anew here.
        """
        with self._turn:
            db = self._db
            if db is None or db.closed or not self._leads:
                raise StoreError(
                    "the database that gateways share cannot be reached (store.url), so nothing can be published to "
                    "all of them; each goes on with the route table that it has"
                )
            with self._session() as db, db.transaction():
                for one in objects:
                    db.execute(
                        "INSERT INTO shared_object VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
                        (one.digest, one.kind, one.label, one.body),
                    )
                changed = db.execute(
                    "UPDATE shared_state SET revision = revision + 1, floor = greatest(floor, %s), leader = %s, "
                    "state = %s WHERE revision = %s",
                    (state.number, self._name, msgspec.msgpack.encode(state), after),
                ).rowcount
                if changed != 1:
                    raise StoreError("another keeper published meanwhile; say it again")
                db.execute("SELECT pg_notify(%s, '')", (CHANNEL,))
            self._objects |= {one.digest for one in objects}
            return after + 1

    def _session(self) -> "_Session":
        return _Session(self)

    def opened(self) -> "psycopg.Connection[Row]":
        if self._db is not None and not self._db.closed:
            return self._db
        self._leads = False
        db = connect(self._url, STATEMENT_S_MAX, KEEPALIVE)
        with db.transaction():
            db.execute("SELECT pg_advisory_xact_lock(%s, 0)", (LOCK_SPACE,))
            for statement in _SCHEMA:
                db.execute(statement.encode())
        db.execute(f"LISTEN {CHANNEL}".encode())
        self._db = db
        return db

    def broken(self) -> None:
        """Give up the session, and with it the lead."""
        self._leads = False
        if self._db is not None:
            self._db.close()
            self._db = None

    def close(self) -> None:
        self.broken()


class _Session:
    """The connection; one that failed is not used again, because nobody knows what it still holds."""

    def __init__(self, store: SharedStore) -> None:
        self._store = store

    def __enter__(self) -> "psycopg.Connection[Row]":
        import psycopg

        try:
            return self._store.opened()
        except psycopg.Error as error:
            self._store.broken()
            raise _unreachable(error) from None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        import psycopg

        if isinstance(error, psycopg.Error):
            self._store.broken()
            raise _unreachable(error) from None


def _unreachable(error: Exception) -> StoreError:
    return StoreError(f"the database that gateways share cannot be used: {first_line(error)} (store.url)")


def _one(cursor: "psycopg.Cursor[Row]") -> object:
    row = cursor.fetchone()
    return None if row is None else row[0]
