"""Client keys that were made with `key create`: names, what they may do, and digests of their secrets.

A secret is 256 random bits, so one fast hash keeps it as well as a slow one would, and a worker can afford it per
request.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

import apsw
import msgspec

Told = Callable[[str], AbstractContextManager[None]]

MIGRATION = """
    CREATE TABLE client_key(
        name TEXT PRIMARY KEY,
        team TEXT,
        routes TEXT NOT NULL,
        budget TEXT,
        created_ns INTEGER NOT NULL,
        revoked_ns INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE client_key_secret(
        digest TEXT PRIMARY KEY,
        name TEXT NOT NULL REFERENCES client_key(name),
        created_ns INTEGER NOT NULL,
        expires_ns INTEGER,
        revoked_ns INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX client_key_secret_name ON client_key_secret(name);
"""
LIMITS_MIGRATION = """
    ALTER TABLE client_key ADD COLUMN requests_per_minute INTEGER CHECK (requests_per_minute > 0);
    ALTER TABLE client_key ADD COLUMN tokens_per_minute INTEGER CHECK (tokens_per_minute > 0);
"""


class StoredSecret(msgspec.Struct, frozen=True, kw_only=True):
    digest: str
    """BLAKE2b-256 of the secret, 64 hex digits."""
    created_ns: int
    expires_ns: int | None = None
    revoked_ns: int | None = None

    def lives_at(self, now_ns: int) -> bool:
        return self.revoked_ns is None and (self.expires_ns is None or now_ns < self.expires_ns)


class StoredKey(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    team: str | None = None
    routes: tuple[str, ...] = ("*",)
    budget: str | None = None
    created_ns: int
    revoked_ns: int | None = None
    requests_per_minute: int | None = None
    """`None`: no limit. So for tokens."""
    tokens_per_minute: int | None = None
    secrets: tuple[StoredSecret, ...] = ()
    """Oldest first, those that ended too."""

    def live(self, now_ns: int) -> tuple[StoredSecret, ...]:
        if self.revoked_ns is not None:
            return ()
        return tuple(secret for secret in self.secrets if secret.lives_at(now_ns))


class ClientKeyTable:
    """The rows. What may be done with them is decided elsewhere (`keeper.client_keys`)."""

    def __init__(self, db: apsw.Connection, told: Told) -> None:
        self._db, self._told = db, told
        self.witness: Callable[[], None] | None = None
        """Called within the transaction of `put`; see `Database.witnessed_by`."""

    def all(self) -> tuple[StoredKey, ...]:
        """By name, revoked ones too."""
        with self._told("read"):
            rows = self._db.execute(
                "SELECT name, team, routes, budget, created_ns, revoked_ns, requests_per_minute, tokens_per_minute "
                "FROM client_key ORDER BY name"
            ).fetchall()
            secrets = self._db.execute(
                "SELECT name, digest, created_ns, expires_ns, revoked_ns FROM client_key_secret "
                "ORDER BY created_ns, digest"
            ).fetchall()
        of: dict[str, list[StoredSecret]] = {}
        for name, *fields in secrets:
            of.setdefault(str(name), []).append(
                msgspec.convert(dict(zip(StoredSecret.__struct_fields__, fields, strict=True)), StoredSecret)
            )
        return tuple(
            msgspec.convert(
                {
                    "name": name, "team": team, "routes": msgspec.json.decode(str(routes)), "budget": budget,
                    "created_ns": created_ns, "revoked_ns": revoked_ns, "requests_per_minute": requests,
                    "tokens_per_minute": tokens, "secrets": tuple(of.get(str(name), ())),
                },
                StoredKey,
            )
            for name, team, routes, budget, created_ns, revoked_ns, requests, tokens in rows
        )  # fmt: skip

    def put(self, key: StoredKey) -> None:
        """Write a key and its secrets as they are now, in one transaction."""
        with self._told("written"), self._db:
            self._write(key)
            if self.witness is not None:
                self.witness()

    def replace(self, key: StoredKey) -> None:
        """As another keeper has it, within a transaction of the caller."""
        self._db.execute("DELETE FROM client_key_secret WHERE name = ?", (key.name,))
        self._db.execute("DELETE FROM client_key WHERE name = ?", (key.name,))
        self._write(key)

    def _write(self, key: StoredKey) -> None:
        self._db.execute(
            "INSERT INTO client_key(name, team, routes, budget, created_ns, revoked_ns, requests_per_minute, "
            "tokens_per_minute) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(name) DO UPDATE SET "
            "revoked_ns = excluded.revoked_ns, requests_per_minute = excluded.requests_per_minute, "
            "tokens_per_minute = excluded.tokens_per_minute",
            (
                key.name,
                key.team,
                msgspec.json.encode(key.routes).decode(),
                key.budget,
                key.created_ns,
                key.revoked_ns,
                key.requests_per_minute,
                key.tokens_per_minute,
            ),
        )
        self._db.executemany(
            "INSERT INTO client_key_secret(digest, name, created_ns, expires_ns, revoked_ns) "
            "VALUES (?, ?, ?, ?, ?) ON CONFLICT(digest) DO UPDATE SET "
            "expires_ns = excluded.expires_ns, revoked_ns = excluded.revoked_ns",
            [
                (secret.digest, key.name, secret.created_ns, secret.expires_ns, secret.revoked_ns)
                for secret in key.secrets
            ],
        )
