"""What the ledger says at one moment, read beside a running keeper: for those who hold it against the log."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import apsw
import msgspec

from weighbridge.errors import StoreError
from weighbridge.store import checked
from weighbridge.store.ledger import SCHEMA, WindowRow
from weighbridge.store.sql import Row

if TYPE_CHECKING:
    import psycopg

Run = Callable[[str], list[Row]]


class Charged(msgspec.Struct, frozen=True, array_like=True):
    """What one lease, or one worker without a lease, was charged of a window. Money in nano-dollars."""

    lease: int | None
    """`None`: by the budget's name."""
    window: int
    owner: str
    """Empty: before each was kept apart."""
    site: str
    closed: bool
    granted: int
    """Still out; 0 of what is closed."""
    posted: int
    bound: int
    requests: int
    orphans: int
    excess: int


class Books(msgspec.Struct, frozen=True, kw_only=True):
    windows: tuple[WindowRow, ...]
    charged: tuple[Charged, ...]
    places: dict[str, tuple[int, int]]
    """How far the log of each worker of this site was read: segment number (-1: to its end), byte."""
    orphans: dict[str, int]
    """Exchange -> what it was booked at."""


def sqlite_books(path: Path, site: str) -> Books | None:
    """`None`: there is no ledger, or none of this version has opened it yet. Raises `StoreError`."""
    if not path.exists() or not path.stat().st_size:
        return None
    try:
        db = checked.connect(path, flags=apsw.SQLITE_OPEN_READONLY)
        try:
            db.set_busy_timeout(2_000)
            with db:  # one moment
                found = _books(lambda statement: db.execute(statement).fetchall(), site)
        finally:
            db.close()
    except apsw.Error as error:
        raise StoreError(f"the ledger {path} cannot be read: {error}") from error
    return found


def postgres_books(url: str, site: str) -> Books | None:
    """The same of a ledger that gateways share; every site's windows, this one's places. Raises `StoreError`."""
    import psycopg

    from weighbridge.store.postgres import STATEMENT_S_MAX, connect, first_line

    try:
        with connect(url, STATEMENT_S_MAX) as db, _one_moment(db):
            found = _books(lambda statement: db.execute(statement.encode()).fetchall(), site)
    except psycopg.Error as error:
        raise StoreError(f"the ledger in PostgreSQL cannot be read: {first_line(error)} (store.url)") from None
    return found


@contextmanager
def _one_moment(db: "psycopg.Connection[Row]") -> Iterator[None]:
    with db.transaction():
        db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def _books(run: Run, site: str) -> Books | None:
    try:
        found = run("SELECT version FROM ledger_schema")
    except apsw.SQLError:
        return None
    if not found or found[0][0] != len(SCHEMA):
        return None
    window = ", ".join(WindowRow.__struct_fields__)
    sums = "posted_nanousd, bound_nanousd, requests, orphans, excess_nanousd"
    charged = run(
        f"SELECT id, window_id, owner, site, 0, granted_nanousd, {sums} FROM lease UNION ALL "  # noqa: S608 (names of ours)
        f"SELECT id, window_id, owner, site, 1, 0, {sums} FROM closed_lease UNION ALL "
        f"SELECT NULL, window_id, owner, site, 1, 0, {sums} FROM charged_by_name"
    )
    places = run("SELECT site, owner, segment, at_byte FROM projected")
    return Books(
        windows=tuple(
            msgspec.convert(dict(zip(WindowRow.__struct_fields__, row, strict=True)), WindowRow)
            for row in run(f"SELECT {window} FROM budget_window ORDER BY budget, subject, start_ns")  # noqa: S608 (names of ours)
        ),
        charged=tuple(msgspec.convert(row, Charged, strict=False) for row in charged),
        places={
            owner: (segment, at)
            for of, owner, segment, at in msgspec.convert(places, list[tuple[str, str, int, int]])
            if of == site
        },
        orphans=dict(msgspec.convert(run("SELECT exchange, booked_nanousd FROM orphan"), list[tuple[str, int]])),
    )
