"""One way to say SQL to either database: SQLite in the store's folder, or PostgreSQL for several machines.

Statements are written once, in what both understand: `?` for values, `INTEGER` for 64-bit numbers, `ON CONFLICT` and
`RETURNING`. Transactions run one after the other in both: SQLite has one writer, and in PostgreSQL each takes the same
advisory lock first. So nothing has to be said about isolation, no two of them can deadlock, and what is right in one
database is right in the other.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import apsw

from weighbridge.errors import StoreError
from weighbridge.store import checked
from weighbridge.store.database import SqlValue, sqlite_problem, sqlite_version

Row = tuple[SqlValue, ...]


class Sql(Protocol):
    """One connection; used by one thread at a time. Everything raises `StoreError` where the database cannot."""

    place: str
    """Where it is, for people; no password in it."""

    def run(self, statement: str, *values: SqlValue) -> list[Row]:
        """Run one statement and return its rows."""
        ...

    def run_many(self, statement: str, rows: Iterable[Row]) -> None:
        """Run one statement for each row of values, in few trips to the database."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing, and no other transaction meanwhile, of any process."""
        ...

    def now_ns(self) -> int:
        """The database's own clock, nanoseconds since 1970."""
        ...

    def close(self) -> None: ...


class SqliteSql:
    """A database file of its own, beside the keeper's: leases are written often, and from another thread."""

    def __init__(self, path: Path, wall_ns: "WallClock") -> None:
        problem = sqlite_problem(sqlite_version())
        if problem:
            raise StoreError(problem)
        self.place = str(path)
        self._wall_ns = wall_ns
        with self._told("opened"):
            checked.add_checksums(path)
            self._db = checked.connect(path)
            try:
                found = self._opened()
            except BaseException:
                self._db.close()
                raise
        if found != "ok":
            self._db.close()
            raise StoreError(
                f"{path} is damaged ({found}). Put a backup back with `weighbridge restore`, or move it away: budgets "
                "then begin anew, with nothing spent."
            )

    def _opened(self) -> str:
        """What SQLite says of the whole of it; `ok` if it is sound."""
        try:
            self._db.set_busy_timeout(2_000)
            # FULL: a lease that was answered is on disk.
            self._db.execute(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON"
            ).fetchall()
            found = self._db.execute("PRAGMA quick_check(1)").fetchone()
        except apsw.Error as error:
            if not checked.is_damage(error):
                raise
            return f"{error}"
        return "nothing" if found is None else str(found[0])

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except apsw.Error as error:
            raise StoreError(f"the ledger {self.place} cannot be {what}: {error}") from error

    def run(self, statement: str, *values: SqlValue) -> list[Row]:
        with self._told("used"):
            rows: list[Row] = self._db.execute(statement, values).fetchall()
            return rows

    def run_many(self, statement: str, rows: Iterable[Row]) -> None:
        with self._told("used"):
            self._db.executemany(statement, rows).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._told("used"):
            self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            with self._told("written"):
                self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def now_ns(self) -> int:
        return self._wall_ns()

    def close(self) -> None:
        self._db.close()


class WallClock(Protocol):
    def __call__(self) -> int: ...
