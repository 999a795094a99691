"""People, their sessions and API tokens, and the book of what they changed. Secrets are here as digests only.

A session id or a token is 256 random bits, so one fast hash keeps it as well as a slow one. Passwords come as argon2
hashes, made where they were typed.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

import apsw
import msgspec

from weighbridge.records.people import Role

Told = Callable[[str], AbstractContextManager[None]]

MIGRATION = """
    CREATE TABLE person(
        name TEXT PRIMARY KEY,
        role TEXT NOT NULL,
        teams TEXT,
        source TEXT NOT NULL,
        subject TEXT UNIQUE,
        password TEXT,
        link TEXT UNIQUE,
        link_until_ns INTEGER,
        created_ns INTEGER NOT NULL,
        disabled_ns INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE person_session(
        digest TEXT PRIMARY KEY,
        name TEXT NOT NULL REFERENCES person(name),
        opened_ns INTEGER NOT NULL,
        seen_ns INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX person_session_name ON person_session(name);
    CREATE TABLE person_token(
        id TEXT PRIMARY KEY,
        digest TEXT NOT NULL UNIQUE,
        label TEXT NOT NULL,
        owner TEXT NOT NULL REFERENCES person(name),
        role TEXT NOT NULL,
        teams TEXT,
        created_ns INTEGER NOT NULL,
        expires_ns INTEGER,
        revoked_ns INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE audit(
        seq INTEGER PRIMARY KEY,
        body BLOB NOT NULL,
        signature BLOB NOT NULL
    ) STRICT;
"""


class StoredPerson(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    role: Role
    teams: tuple[str, ...] | None
    source: Literal["local", "oidc"]
    subject: str | None
    """`ISSUER SUBJECT` of an OpenID provider."""
    password: str | None
    link: str | None
    """Digest of a one-time link."""
    link_until_ns: int | None
    created_ns: int
    disabled_ns: int | None


class StoredSession(msgspec.Struct, frozen=True, kw_only=True):
    digest: str
    name: str
    opened_ns: int
    seen_ns: int


class StoredToken(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    digest: str
    label: str
    owner: str
    role: Role
    teams: tuple[str, ...] | None
    created_ns: int
    expires_ns: int | None
    revoked_ns: int | None


class SignedEntry(msgspec.Struct, frozen=True):
    """An audit entry's exact bytes (`records.people.AuditEntry`) and their Ed25519 signature."""

    seq: int
    body: bytes
    signature: bytes


_PERSON = ", ".join(StoredPerson.__struct_fields__)
_SESSION = ", ".join(StoredSession.__struct_fields__)
_TOKEN = ", ".join(StoredToken.__struct_fields__)


def _teams(teams: tuple[str, ...] | None) -> str | None:
    return None if teams is None else msgspec.json.encode(teams).decode()


def _read(kind: type[StoredPerson] | type[StoredToken], row: tuple[object, ...]) -> dict[str, object]:
    found: dict[str, object] = dict(zip(kind.__struct_fields__, row, strict=True))
    if found["teams"] is not None:
        found["teams"] = msgspec.json.decode(str(found["teams"]))
    return found


class PeopleTable:
    """The rows. Who may do what with them is decided elsewhere (`keeper.people`)."""

    def __init__(self, db: apsw.Connection, told: Told) -> None:
        self._db, self._told = db, told

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is written inside is written whole or not at all."""
        with self._told("written"), self._db:
            yield

    def people(self) -> tuple[StoredPerson, ...]:
        with self._told("read"):
            rows = self._db.execute(f"SELECT {_PERSON} FROM person ORDER BY name").fetchall()  # noqa: S608
        return tuple(msgspec.convert(_read(StoredPerson, row), StoredPerson) for row in rows)

    def put(self, one: StoredPerson) -> None:
        with self._told("written"), self._db:
            self._db.execute(
                f"INSERT INTO person({_PERSON}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "  # noqa: S608 (our own columns)
                "ON CONFLICT(name) DO UPDATE SET role = excluded.role, teams = excluded.teams, "
                "password = excluded.password, link = excluded.link, link_until_ns = excluded.link_until_ns, "
                "disabled_ns = excluded.disabled_ns",
                (
                    one.name, one.role, _teams(one.teams), one.source, one.subject, one.password, one.link,
                    one.link_until_ns, one.created_ns, one.disabled_ns,
                ),
            )  # fmt: skip

    # --- sessions -----------------------------------------------------------------------------------------------------

    def session(self, digest: str) -> StoredSession | None:
        with self._told("read"):
            row = self._db.execute(
                f"SELECT {_SESSION} FROM person_session WHERE digest = ?",  # noqa: S608 (our own columns)
                (digest,),
            ).fetchone()
        if row is None:
            return None
        return msgspec.convert(dict(zip(StoredSession.__struct_fields__, row, strict=True)), StoredSession)

    def sessions_of(self, name: str, opened_after_ns: int, seen_after_ns: int) -> int:
        with self._told("read"):
            row = self._db.execute(
                "SELECT count(*) FROM person_session WHERE name = ? AND opened_ns > ? AND seen_ns > ?",
                (name, opened_after_ns, seen_after_ns),
            ).fetchone()
        return msgspec.convert(row, tuple[int])[0]

    def open_session(self, one: StoredSession, opened_after_ns: int, seen_after_ns: int) -> None:
        """Keep a new one, and drop those that are over."""
        with self._told("written"), self._db:
            self._db.execute(
                "DELETE FROM person_session WHERE opened_ns <= ? OR seen_ns <= ?", (opened_after_ns, seen_after_ns)
            )
            self._db.execute(
                f"INSERT INTO person_session({_SESSION}) VALUES (?, ?, ?, ?)",  # noqa: S608 (our own columns)
                (one.digest, one.name, one.opened_ns, one.seen_ns),
            )

    def seen(self, digest: str, now_ns: int) -> None:
        with self._told("written"), self._db:
            self._db.execute("UPDATE person_session SET seen_ns = max(seen_ns, ?) WHERE digest = ?", (now_ns, digest))

    def end_session(self, digest: str) -> None:
        with self._told("written"), self._db:
            self._db.execute("DELETE FROM person_session WHERE digest = ?", (digest,))

    def end_sessions_of(self, name: str) -> None:
        with self._told("written"), self._db:
            self._db.execute("DELETE FROM person_session WHERE name = ?", (name,))

    # --- API tokens ---------------------------------------------------------------------------------------------------

    def tokens(self) -> tuple[StoredToken, ...]:
        with self._told("read"):
            rows = self._db.execute(f"SELECT {_TOKEN} FROM person_token ORDER BY created_ns, id").fetchall()  # noqa: S608
        return tuple(msgspec.convert(_read(StoredToken, row), StoredToken) for row in rows)

    def token(self, digest: str) -> StoredToken | None:
        with self._told("read"):
            row = self._db.execute(
                f"SELECT {_TOKEN} FROM person_token WHERE digest = ?",  # noqa: S608 (our own columns)
                (digest,),
            ).fetchone()
        return None if row is None else msgspec.convert(_read(StoredToken, row), StoredToken)

    def put_token(self, one: StoredToken) -> None:
        with self._told("written"), self._db:
            self._db.execute(
                f"INSERT INTO person_token({_TOKEN}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "  # noqa: S608 (our own columns)
                "ON CONFLICT(id) DO UPDATE SET revoked_ns = excluded.revoked_ns",
                (
                    one.id, one.digest, one.label, one.owner, one.role, _teams(one.teams), one.created_ns,
                    one.expires_ns, one.revoked_ns,
                ),
            )  # fmt: skip

    # --- the book of changes ------------------------------------------------------------------------------------------

    def last_entry(self) -> SignedEntry | None:
        return next(iter(self.entries(None, 1)), None)

    def append(self, one: SignedEntry) -> None:
        with self._told("written"), self._db:
            self._db.execute("INSERT INTO audit VALUES (?, ?, ?)", (one.seq, one.body, one.signature))

    def entries(self, before_seq: int | None, rows_max: int) -> tuple[SignedEntry, ...]:
        """Newest first."""
        with self._told("read"):
            rows = self._db.execute(
                "SELECT seq, body, signature FROM audit WHERE ?1 IS NULL OR seq < ?1 ORDER BY seq DESC LIMIT ?2",
                (before_seq, rows_max),
            ).fetchall()
        return tuple(SignedEntry(*msgspec.convert(row, tuple[int, bytes, bytes])) for row in rows)
