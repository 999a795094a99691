"""Idempotency keys of clients: which request came first, and what it was answered."""

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from typing import Literal

import apsw
import msgspec

Told = Callable[[str], AbstractContextManager[None]]

State = Literal["open", "answered", "lost"]

MIGRATION = """
    CREATE TABLE idempotency(
        client_key TEXT NOT NULL,
        token TEXT NOT NULL,
        body TEXT NOT NULL,
        owner TEXT NOT NULL,
        state TEXT NOT NULL,
        expires_ns INTEGER NOT NULL,
        answer BLOB,
        PRIMARY KEY (client_key, token)
    ) STRICT;
    CREATE INDEX idempotency_expires ON idempotency(expires_ns);
    CREATE INDEX idempotency_open ON idempotency(owner) WHERE state = 'open';
"""


class Remembered(msgspec.Struct, frozen=True, kw_only=True):
    """One idempotency key of one client key. `owner` is the exchange that carries it out."""

    client_key: str
    token: str
    body: str
    """SHA-256 of path and body, 64 hex digits."""
    owner: str
    state: State
    expires_ns: int
    answer: bytes | None
    """Sealed; only of `answered`."""


class IdempotencyTable:
    """The rows. What they mean is decided elsewhere (`keeper.idempotency`)."""

    def __init__(self, db: apsw.Connection, told: Told) -> None:
        self._db, self._told = db, told

    def find(self, client_key: str, token: str, now_ns: int) -> Remembered | None:
        with self._told("read"):
            row = self._db.execute(
                "SELECT client_key, token, body, owner, state, expires_ns, answer FROM idempotency "
                "WHERE client_key = ? AND token = ? AND expires_ns > ?",
                (client_key, token, now_ns),
            ).fetchone()
        if row is None:
            return None
        return msgspec.convert(dict(zip(Remembered.__struct_fields__, row, strict=True)), Remembered)

    def open(self, client_key: str, token: str, body: str, owner: str, expires_ns: int) -> None:
        with self._told("written"), self._db:
            self._db.execute(
                "INSERT OR REPLACE INTO idempotency VALUES (?, ?, ?, ?, 'open', ?, NULL)",
                (client_key, token, body, owner, expires_ns),
            )

    def close(self, client_key: str, token: str, owner: str, state: State, answer: bytes | None) -> None:
        """Of the owner alone, and only what is open or lost: an answer is never replaced."""
        with self._told("written"), self._db:
            self._db.execute(
                "UPDATE idempotency SET state = ?, answer = ? "
                "WHERE client_key = ? AND token = ? AND owner = ? AND state <> 'answered'",
                (state, answer, client_key, token, owner),
            )

    def release(self, client_key: str, token: str, owner: str) -> None:
        with self._told("written"), self._db:
            self._db.execute(
                "DELETE FROM idempotency WHERE client_key = ? AND token = ? AND owner = ? AND state <> 'answered'",
                (client_key, token, owner),
            )

    def open_owners(self) -> set[str]:
        with self._told("read"):
            return {str(row[0]) for row in self._db.execute("SELECT owner FROM idempotency WHERE state = 'open'")}

    def lose(self, owner: str) -> None:
        with self._told("written"), self._db:
            self._db.execute("UPDATE idempotency SET state = 'lost' WHERE owner = ? AND state = 'open'", (owner,))

    def erase(self, owners: Collection[str]) -> int:
        """Their answers go; that they were carried out stays, so that none of them is sent again. How many went."""
        with self._told("written"), self._db:
            kept = self._db.execute("SELECT DISTINCT owner FROM idempotency WHERE answer IS NOT NULL").fetchall()
            gone = [(owner,) for (owner,) in kept if owner in owners]
            self._db.executemany("UPDATE idempotency SET state = 'lost', answer = NULL WHERE owner = ?", gone)
        if gone:
            with self._told("written"):
                # What was overwritten still stands in the write-ahead log.
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return len(gone)

    def forget(self, now_ns: int) -> None:
        """What has expired goes."""
        with self._told("written"), self._db:
            self._db.execute("DELETE FROM idempotency WHERE expires_ns <= ?", (now_ns,))
