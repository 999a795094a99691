"""The ledger in PostgreSQL, for gateways on several machines that share caps (`[postgres]` extra).

Each gateway keeps its own store folder, exchange log and keeper; the database holds the ledger alone. A keeper acts
for its *site* under a session lock, so that a copied folder does not act twice. `NOTIFY` asks the keepers of other
sites to call back what lies idle with their workers; if it is lost, a request is refused 200 ms later, nothing else.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from weighbridge.errors import StoreError
from weighbridge.store.database import SqlValue
from weighbridge.store.ledger import LeaseRow
from weighbridge.store.sql import Row

if TYPE_CHECKING:
    import psycopg

LOCK_SPACE = 0x57424C  # "WBL"
"""First half of the keys of advisory locks; 0 as the second is the one that transactions take."""
CHANNEL = "weighbridge_ledger"
STATEMENT_S_MAX = 5
LEASES_PER_NOTE = 100
"""PostgreSQL takes notes of up to 8,000 bytes."""
LISTEN_S = 0.5


def _driver() -> "type[psycopg.Connection[Row]]":
    try:
        import psycopg
    except ImportError:
        raise StoreError(
            "store.url needs the PostgreSQL driver; install weighbridge[postgres], or remove store.url"
        ) from None
    return psycopg.Connection


def connect(url: str, statement_s_max: int, options: str = "") -> "psycopg.Connection[Row]":
    """A session that waits for no statement longer than that. Raises `psycopg.Error`; `StoreError` without a driver."""
    return _driver().connect(
        url, autocommit=True, application_name="weighbridge",
        connect_timeout=statement_s_max, tcp_user_timeout=1000 * statement_s_max,
        options=f"-c statement_timeout={statement_s_max}s -c idle_in_transaction_session_timeout=60s {options}",
    )  # fmt: skip


class PostgresSql:
    """One connection, opened again after it broke. `site` is locked for as long as it stands."""

    def __init__(self, url: str, site: str) -> None:
        self._url, self._site = url, site
        self._db: psycopg.Connection[Row] | None = None
        self._texts: dict[str, bytes] = {}
        self.place = "PostgreSQL"
        self._connection()

    def _connection(self) -> "psycopg.Connection[Row]":
        if self._db is not None and not self._db.closed:
            return self._db
        import psycopg

        try:
            db = connect(self._url, STATEMENT_S_MAX)
            info = db.info
            self.place = f"PostgreSQL {info.dbname!r} on {info.host or 'its socket'}"
            row = db.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s) | 1)", (LOCK_SPACE, self._site)).fetchone()
        except psycopg.Error as error:
            raise StoreError(f"the ledger in PostgreSQL cannot be reached: {first_line(error)} (store.url)") from None
        if row is None or row[0] is not True:
            db.close()
            raise StoreError(
                f"another keeper acts for site {self._site} in {self.place}. Was this store's folder copied? Delete "
                "`site` in the copy, and it takes a name of its own."
            )
        self._db = db
        return db

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        import psycopg

        try:
            yield
        except psycopg.Error as error:
            raise StoreError(f"the ledger in {self.place} cannot be {what}: {first_line(error)}") from error

    def run(self, statement: str, *values: SqlValue) -> list[Row]:
        with self._told("used"):
            cursor = self._connection().execute(self._text(statement), values or None)
            return cursor.fetchall() if cursor.description is not None else []

    def run_many(self, statement: str, rows: Iterable[Row]) -> None:
        with self._told("used"), self._connection().cursor() as cursor:
            cursor.executemany(self._text(statement), rows)  # the driver sends them without waiting for each answer

    def _text(self, statement: str) -> bytes:
        text = self._texts.get(statement)
        if text is None:
            text = self._texts[statement] = statement.replace("?", "%s").replace("INTEGER", "BIGINT").encode()
        return text

    @contextmanager
    def transaction(self) -> Iterator[None]:
        db = self._connection()
        with self._told("written"), db.transaction():
            db.execute("SELECT pg_advisory_xact_lock(%s, 0)", (LOCK_SPACE,))
            yield

    def now_ns(self) -> int:
        rows = self.run("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS INTEGER)")
        found = rows[0][0]
        return found * 1000 if isinstance(found, int) else 0

    def close(self) -> None:
        if self._db is not None:
            self._db.close()


def first_line(error: Exception) -> str:
    """Without what may stand behind it: a driver's message can repeat the connection string."""
    return str(error).strip().partition("\n")[0]


class _CallBack(msgspec.Struct, frozen=True, tag="call_back", tag_field="op"):
    to: str
    sender: str
    number: int
    leases: tuple[tuple[str, int], ...]


class _CameBack(msgspec.Struct, frozen=True, tag="came_back", tag_field="op"):
    to: str
    number: int


_NOTE: msgspec.json.Decoder[_CallBack | _CameBack] = msgspec.json.Decoder(_CallBack | _CameBack)

Run = Callable[[Callable[[], None]], Awaitable[None]]
CallBack = Callable[[Sequence[tuple[str, int]]], Awaitable[None]]


class PostgresNeighbours:
    """Asks keepers of other sites to call back what lies idle, and answers them. One thread listens."""

    def __init__(self, url: str, site: str, sql: PostgresSql) -> None:
        self._url, self._site, self._sql = url, site, sql
        self._numbers = 0
        self._waiting: dict[int, tuple[int, asyncio.Event]] = {}
        self._stop = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, loop: asyncio.AbstractEventLoop, run: Run, call_back: CallBack) -> None:
        """`run` does something with the database, in its thread; `call_back` asks this site's workers."""
        self._loop, self._run, self._call_back = loop, run, call_back
        self._thread = threading.Thread(target=self._listen, name="neighbours", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(2 * LISTEN_S + STATEMENT_S_MAX)

    async def call_back(self, leases: Sequence[LeaseRow], wait_s: float) -> None:
        sites: dict[str, list[tuple[str, int]]] = {}
        for row in leases:
            sites.setdefault(row.site, []).append((row.owner, row.id))
        self._numbers += 1
        number, done = self._numbers, asyncio.Event()
        notes = [
            _CallBack(site, self._site, number, tuple(rows[at : at + LEASES_PER_NOTE]))
            for site, rows in sites.items()
            for at in range(0, len(rows), LEASES_PER_NOTE)
        ]
        self._waiting[number] = (len(notes), done)
        try:
            async with asyncio.timeout(wait_s):
                await self._tell(notes)
                await done.wait()
        except TimeoutError:
            pass  # a site that is not there; what its workers hold stays held until its keeper has read their log
        finally:
            del self._waiting[number]

    async def _tell(self, notes: Sequence[_CallBack | _CameBack]) -> None:
        texts = [msgspec.json.encode(note).decode() for note in notes]

        def tell() -> None:
            for text in texts:
                self._sql.run("SELECT pg_notify(?, ?)", CHANNEL, text)

        await self._run(tell)

    def _listen(self) -> None:
        import psycopg

        while not self._stop.is_set():
            try:
                with _driver().connect(self._url, autocommit=True, connect_timeout=STATEMENT_S_MAX) as db:
                    db.execute(f"LISTEN {CHANNEL}")
                    while not self._stop.is_set():
                        for note in db.notifies(timeout=LISTEN_S):
                            self._loop.call_soon_threadsafe(self._hear, note.payload)
            except psycopg.Error:
                self._stop.wait(LISTEN_S)  # it is a hint only, and comes back with the database
            except RuntimeError:
                return  # the loop is closed

    def _hear(self, text: str) -> None:
        try:
            note = _NOTE.decode(text)
        except msgspec.MsgspecError:
            return  # of another version
        if note.to != self._site:
            return
        if isinstance(note, _CallBack):
            task = self._loop.create_task(self._answer(note))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            waiting = self._waiting.get(note.number)
            if waiting is not None:
                left, done = waiting[0] - 1, waiting[1]
                self._waiting[note.number] = (left, done)
                if left == 0:
                    done.set()

    async def _answer(self, note: _CallBack) -> None:
        await self._call_back(note.leases)
        await self._tell((_CameBack(note.sender, note.number),))
