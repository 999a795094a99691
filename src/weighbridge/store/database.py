"""The keeper's database: SQLite through apsw, one writer.

It holds what needs compare-and-swap or a memory outside the exchange log: the numbers and bytes of published route
tables, the last signed head of the log (so that a cut tail of the chain is found), the trial tokens that were issued,
prices that were looked up, and the digests of client keys that were made with `key create` (with the database they are
gone: back it up, or make new ones). Exchanges, bodies and evidence are files: losing this database loses none of them.

Python's own SQLite is not used: versions before 3.51.3 can corrupt a WAL database when two connections write or
checkpoint at once (https://sqlite.org/wal.html#walresetbug).
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path

import apsw
import msgspec

from weighbridge.errors import StoreError
from weighbridge.store import checked, client_keys, idempotency, people, ramps
from weighbridge.store.client_keys import StoredKey

SIGNING_KEY, MISTRUST = "signing_key", "log_mistrust"
"""Keys of `meta`."""

SqlValue = None | int | float | str | bytes

Witness = Callable[[], None]

SQLITE_MIN = (3, 51, 3)

MIGRATIONS: tuple[str, ...] = (
    # 1
    """
    CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE route_table(
        number INTEGER PRIMARY KEY,
        created_ns INTEGER NOT NULL,
        body BLOB NOT NULL
    ) STRICT;
    CREATE TABLE price_memo(asked TEXT PRIMARY KEY, until_ns INTEGER, body BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE last_head(
        id INTEGER PRIMARY KEY CHECK (id = 1),
        seq INTEGER NOT NULL,
        digest TEXT NOT NULL
    ) STRICT;
    CREATE TABLE trial_token(
        id INTEGER PRIMARY KEY,
        issued_ns INTEGER NOT NULL,
        expires_ns INTEGER NOT NULL,
        trial TEXT NOT NULL,
        route TEXT NOT NULL,
        arm TEXT NOT NULL,
        budget_nanousd INTEGER
    ) STRICT;
    CREATE INDEX trial_token_trial ON trial_token(trial);
    """,
    # 2
    """
    ALTER TABLE last_head ADD COLUMN number INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE last_head ADD COLUMN head_digest TEXT NOT NULL DEFAULT '';
    """,
    # 3
    client_keys.MIGRATION,
    # 4
    idempotency.MIGRATION,
    # 5
    ramps.MIGRATION,
    # 6
    people.MIGRATION,
    # 7
    client_keys.LIMITS_MIGRATION,
)
"""Entry N brings schema N to N + 1. Entries are only ever added; each runs in one transaction with its number."""


class Head(msgspec.Struct, frozen=True):
    """The last signed line of the chain that the keeper wrote, and the last head: its number and SHA-256."""

    seq: int
    digest: str
    number: int = 0
    head_digest: str = ""
    """Empty where an earlier version wrote it: only the line is remembered."""


class Remembered(msgspec.Struct, frozen=True, kw_only=True):
    """What the database knows of the log, outside the log's own files."""

    head: Head | None = None
    signing_key: str | None = None
    """The public key that the log was signed with first, 64 hex digits."""
    mistrust: str | None = None
    """What a keeper found wrong when it started. It stays: what is signed later does not make the log whole again."""


class AcceptedConfig(msgspec.Struct, frozen=True):
    """The text of a configuration that was published, and where it came from. It holds references, never secrets."""

    text: str
    file: str
    folder: str


def sqlite_version() -> str:
    """Of the library that apsw brings, which is not Python's own."""
    return str(apsw.sqlite_lib_version())


def sqlite_problem(version: str) -> str | None:
    """Why this SQLite may not be used, or `None`."""
    parts = tuple(int(part) for part in version.split("."))
    if parts >= SQLITE_MIN:
        return None
    needed = ".".join(map(str, SQLITE_MIN))
    return (
        f"SQLite {version} can corrupt a write-ahead log; {needed} or later is needed. "
        "Install a newer `apsw`, which brings its own SQLite."
    )


@contextmanager
def _told(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        raise StoreError(f"the database {path} cannot be {what}: {error}") from error


class _Lost(Exception):  # noqa: N818 (it undoes a transaction and is caught where it is raised)
    """Somebody else was first."""


class Database:
    """The one connection of the keeper. Raises `StoreError` when the file cannot be opened, read or written.

    Not thread-safe: the keeper uses it from one thread.
    """

    def __init__(self, path: Path, *, migrations: tuple[str, ...] = MIGRATIONS) -> None:
        problem = sqlite_problem(sqlite_version())
        if problem:
            raise StoreError(problem)
        self._path = path
        with self._told("opened"):
            checked.add_checksums(path)
            self._db = checked.connect(path)
            try:
                self._open(migrations)
            except BaseException:
                self._db.close()
                raise
        told = partial(_told, path)  # no cycle: it is closed when dropped
        self.client_keys = client_keys.ClientKeyTable(self._db, told)
        self.idempotency = idempotency.IdempotencyTable(self._db, told)
        self.ramps = ramps.RampTable(self._db, told)
        self.people = people.PeopleTable(self._db, told)
        self._witness: Witness | None = None

    def witnessed_by(self, witness: "Witness") -> None:
        """Call it within each transaction that changes tables, ramps or client keys, before that is kept: what it
        raises undoes the transaction.
        """
        self._witness = self.client_keys.witness = witness

    def _open(self, migrations: tuple[str, ...]) -> None:
        self._db.set_busy_timeout(2_000)
        # FULL: a table number or a head that was given out is on disk. A few writes a minute do not need less.
        found = self._look()
        if found != "ok":
            raise StoreError(
                f"{self._path} is damaged ({found!r}). Move it away and start again: tables and heads are rebuilt "
                "from tables/ and log/chain.jsonl, and no exchange is lost."
            )
        version = self._int("PRAGMA user_version")
        if version > len(migrations):
            raise StoreError(
                f"{self._path} has schema {version}, this version knows {len(migrations)}. "
                "It was written by a newer weighbridge; use that one, or another store.path."
            )
        for number in range(version, len(migrations)):
            with self._db:
                self._db.execute(migrations[number])
                self._db.execute(f"PRAGMA user_version = {number + 1}")

    def _look(self) -> SqlValue:
        """What SQLite says of the whole of it; `ok` if it is sound."""
        try:
            self._db.execute(
                # Deleted is overwritten: answers that were erased must not lie on in free pages.
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; "
                "PRAGMA secure_delete = ON"
            ).fetchall()
            return self._scalar("PRAGMA quick_check(1)")
        except apsw.Error as error:
            if not checked.is_damage(error):
                raise
            return str(error)

    def _told(self, what: str) -> AbstractContextManager[None]:
        return _told(self._path, what)

    def _scalar(self, sql: str, bindings: tuple[SqlValue, ...] = ()) -> SqlValue:
        row = self._db.execute(sql, bindings).fetchone()
        return None if row is None else row[0]

    def _int(self, sql: str, bindings: tuple[SqlValue, ...] = ()) -> int:
        value = self._scalar(sql, bindings)
        return value if isinstance(value, int) else 0

    # --- route tables -------------------------------------------------------------------------------------------------

    def last_table(self) -> tuple[int, bytes] | None:
        """The newest number and the exact bytes of its route table."""
        with self._told("read"):
            row = self._db.execute("SELECT number, body FROM route_table ORDER BY number DESC LIMIT 1").fetchone()
        return None if row is None else msgspec.convert(row, tuple[int, bytes])

    def table_body(self, number: int) -> bytes | None:
        with self._told("read"):
            body = self._scalar("SELECT body FROM route_table WHERE number = ?", (number,))
        return body if isinstance(body, bytes) else None

    def publish(
        self, after: int, number: int, body: bytes, created_ns: int, ramp: ramps.RampChange | None = None
    ) -> bool:
        """Compare and swap: store table `number` only if the highest number so far is `after`. False if it is not.

        With `ramp` the ramp's state is swapped in the same transaction: both or neither.
        """
        with suppress(_Lost), self._told("written"), self._db:
            self._db.execute(
                "INSERT INTO route_table(number, created_ns, body) SELECT ?, ?, ? "
                "WHERE (SELECT coalesce(max(number), 0) FROM route_table) = ?",
                (number, created_ns, body, after),
            )
            if self._db.changes() != 1 or (ramp is not None and not self.ramps.swap(ramp, number)):
                raise _Lost
            if self._witness is not None:
                self._witness()
            return True
        return False

    def adopt(
        self, table: tuple[int, int, bytes] | None, shared: tuple[ramps.StoredRamp, ...], keys: tuple[StoredKey, ...]
    ) -> None:
        """What another keeper published, in one transaction: (number, created_ns, body), all ramps, and keys.

        Keys of other names stay, so that joining loses none.
        """
        with self._told("written"), self._db:
            if table is not None:
                self._db.execute("INSERT OR IGNORE INTO route_table(number, created_ns, body) VALUES (?, ?, ?)", table)
            self.ramps.replace(shared)
            for key in keys:
                self.client_keys.replace(key)

    def swap_ramp(self, ramp: ramps.RampChange, table: int) -> bool:
        """A ramp's state changes and no route table with it. False if its revision is another one by now."""
        with suppress(_Lost), self._told("written"), self._db:
            if not self.ramps.swap(ramp, table):
                raise _Lost
            if self._witness is not None:
                self._witness()
            return True
        return False

    # --- looked-up prices (loading the price book takes half a second; a start should not) ----------------------------

    def price_memo(self, asked: str, now_ns: int) -> bytes | None:
        with self._told("read"):
            body = self._scalar(
                "SELECT body FROM price_memo WHERE asked = ? AND (until_ns IS NULL OR until_ns > ?)", (asked, now_ns)
            )
        return body if isinstance(body, bytes) else None

    def remember_price(self, asked: str, until_ns: int | None, body: bytes) -> None:
        with self._told("written"), self._db:
            self._db.execute("INSERT OR REPLACE INTO price_memo VALUES (?, ?, ?)", (asked, until_ns, body))

    # --- the configuration that the newest table was made of ----------------------------------------------------------

    def accepted_config(self) -> AcceptedConfig | None:
        with self._told("read"):
            text = self._scalar("SELECT value FROM meta WHERE key = 'config'")
        return msgspec.json.decode(text, type=AcceptedConfig) if isinstance(text, str) else None

    def remember_config(self, config: AcceptedConfig) -> None:
        value = msgspec.json.encode(config).decode()
        with self._told("written"), self._db:
            self._db.execute("INSERT OR REPLACE INTO meta(key, value) VALUES ('config', ?)", (value,))

    # --- the chain's head ---------------------------------------------------------------------------------------------

    def last_head(self) -> Head | None:
        with self._told("read"):
            return _last_head(self._db)

    def remember_head(self, head: Head) -> None:
        """Remember the newest head. An older one than the remembered one changes nothing."""
        with self._told("written"), self._db:
            self._db.execute(
                "INSERT INTO last_head(id, seq, digest, number, head_digest) VALUES (1, ?, ?, ?, ?) "
                "ON CONFLICT(id) DO UPDATE SET seq = excluded.seq, digest = excluded.digest, "
                "number = excluded.number, head_digest = excluded.head_digest "
                "WHERE (excluded.seq, excluded.number) > (seq, number)",
                (head.seq, head.digest, head.number, head.head_digest),
            )

    def remembered(self) -> Remembered:
        with self._told("read"):
            return _remembered(self._db)

    def remember_signing_key(self, public: str) -> None:
        """The first one stays."""
        self._remember_once(SIGNING_KEY, public)

    def remember_mistrust(self, found: str) -> None:
        """The first finding stays."""
        self._remember_once(MISTRUST, found)

    def _remember_once(self, key: str, value: str) -> None:
        with self._told("written"), self._db:
            self._db.execute("INSERT OR IGNORE INTO meta(key, value) VALUES (?, ?)", (key, value))

    # --- what the keeper found out ------------------------------------------------------------------------------------

    def said(self, name: str) -> str | None:
        with self._told("read"):
            text = self._scalar("SELECT value FROM meta WHERE key = ?", (name,))
        return text if isinstance(text, str) else None

    def say(self, name: str, text: str) -> None:
        with self._told("written"), self._db:
            self._db.execute("INSERT OR REPLACE INTO meta(key, value) VALUES (?, ?)", (name, text))

    # --- trial tokens -------------------------------------------------------------------------------------------------

    def note_token(
        self, issued_ns: int, expires_ns: int, trial: str, route: str, arm: str, budget_nanousd: int | None
    ) -> None:
        with self._told("written"), self._db:
            self._db.execute(
                "INSERT INTO trial_token(issued_ns, expires_ns, trial, route, arm, budget_nanousd) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (issued_ns, expires_ns, trial, route, arm, budget_nanousd),
            )

    def tokens_issued(self, trial: str) -> int:
        with self._told("read"):
            return self._int("SELECT count(*) FROM trial_token WHERE trial = ?", (trial,))

    def close(self) -> None:
        self._db.close()


def remembered(path: Path) -> Remembered | None:
    """What is remembered of the log, read beside a running keeper; `None`: no database. Raises `StoreError`."""
    with _reading(path) as db:
        return None if db is None else _remembered(db)


def stored_audit(path: Path) -> tuple[people.SignedEntry, ...]:
    """The book of changes, oldest first, read beside a running keeper. Raises `StoreError`."""
    with _reading(path) as db:
        if db is None or db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'audit'").fetchone() is None:
            return ()
        rows = db.execute("SELECT seq, body, signature FROM audit ORDER BY seq").fetchall()
    return tuple(people.SignedEntry(*msgspec.convert(row, tuple[int, bytes, bytes])) for row in rows)


def stored_tables(path: Path) -> tuple[bytes, ...]:
    """The bytes of every route table that was published, read beside a running keeper. Raises `StoreError`."""
    with _reading(path) as db:
        if db is None or db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'route_table'").fetchone() is None:
            return ()
        rows = db.execute("SELECT body FROM route_table ORDER BY number").fetchall()
    return tuple(body for (body,) in rows if isinstance(body, bytes))


def _remembered(db: apsw.Connection) -> Remembered:
    if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'last_head'").fetchone() is None:
        return Remembered()
    said = dict(
        msgspec.convert(
            db.execute("SELECT key, value FROM meta WHERE key IN (?, ?)", (SIGNING_KEY, MISTRUST)).fetchall(),
            list[tuple[str, str]],
        )
    )
    return Remembered(head=_last_head(db), signing_key=said.get(SIGNING_KEY), mistrust=said.get(MISTRUST))


def _last_head(db: apsw.Connection) -> Head | None:
    row = db.execute("SELECT * FROM last_head").fetchone()  # of an older version: without the head's number
    if row is None:
        return None
    return msgspec.convert(dict(zip(Head.__struct_fields__, row[1:], strict=False)), Head)


def damage(path: Path) -> str | None:
    """What is wrong with a database, in SQLite's words; `None` if it is sound or not there. Raises `StoreError`."""
    with _reading(path) as db:
        row = None if db is None else db.execute("PRAGMA quick_check(1)").fetchone()
        return None if row is None or row[0] == "ok" else str(row[0])


@contextmanager
def _reading(path: Path) -> Iterator[apsw.Connection | None]:
    """A connection that is read-only: it neither writes nor checkpoints, so there is still one writer."""
    if not path.exists():
        yield None
        return
    try:
        db = checked.connect(path, flags=apsw.SQLITE_OPEN_READONLY)
        try:
            db.set_busy_timeout(2_000)
            yield db
        finally:
            db.close()
    except apsw.Error as error:
        raise StoreError(f"the database {path} cannot be read: {error}") from error


def published_tables(path: Path) -> list[tuple[int, bytes]]:
    """Every route table that was ever published, by number, read beside a running keeper. Raises `StoreError`."""
    with _reading(path) as db:
        rows = [] if db is None else db.execute("SELECT number, body FROM route_table ORDER BY number").fetchall()
    return msgspec.convert(rows, list[tuple[int, bytes]])
