"""Do two SQL queries give the same result? Each runs in DuckDB on the tables of a set-up script, and may only read.

No file, no network, no extension, no variable of this program: external access is off and the configuration locked
before the set-up runs. An answer is one SELECT; anything else is not run. Rows are compared as a multiset, in order
where the reference orders them; columns in order, their names do not count. Numbers are equal to ten digits.
"""

import math
from collections import Counter
from collections.abc import Hashable
from decimal import Decimal
from functools import lru_cache
from typing import Any

import duckdb
import msgspec

from weighbridge.grading.jobs import Failed, Graded, SqlJob

ROWS_MAX = 100_000
MEMORY = "256MB"
_LOCKED: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": False,
    "autoload_known_extensions": False,
    "autoinstall_known_extensions": False,
    "allow_community_extensions": False,
    "python_enable_replacements": False,
    "memory_limit": MEMORY,
    "temp_directory": "",
    "threads": 1,
}


class _Bad(Exception):  # noqa: N818
    """A query that cannot be used, in a few words."""


@lru_cache(maxsize=8)
def _tables(setup: str) -> duckdb.DuckDBPyConnection:
    """A database with these tables. Raises `duckdb.Error`."""
    connection = duckdb.connect(":memory:", config=_LOCKED)
    if setup.strip():
        connection.execute(setup)
    connection.execute("SET lock_configuration = true")
    return connection


def setup_problem(setup: str) -> str | None:
    """Why this script cannot set tables up; `None` where it can."""
    try:
        _tables(setup)
    except duckdb.Error as error:
        return str(error).splitlines()[0]
    return None


def compare(job: SqlJob) -> Graded | Failed:
    """Compare, or with `query` None say whether the reference can be used at all."""
    try:
        tables = _tables(job.setup)
    except duckdb.Error as error:
        return Failed(reason=f"the set-up script of the sql grader fails: {str(error).splitlines()[0]}")
    try:
        width, want = _result(tables, job.reference)
    except _Bad as bad:
        return Graded(score=0.0, unusable=str(bad))
    if not want:
        return Graded(score=0.0, unusable="its result is empty, so many a wrong query would be right")
    if job.query is None:
        return Graded(score=1.0)
    try:
        got_width, got = _result(tables, job.query)
    except _Bad as bad:
        return Graded(score=0.0, note=str(bad))
    if got_width != width:
        return Graded(score=0.0, note=f"{got_width} columns instead of {width}")
    if len(got) != len(want):
        return Graded(score=0.0, note=f"{len(got)} rows instead of {len(want)}")
    if Counter(got) != Counter(want):
        return Graded(score=0.0, note="other rows")
    if _orders(tables, job.reference) and got != want:
        return Graded(score=0.0, note="the rows in another order")
    return Graded(score=1.0)


def _result(tables: duckdb.DuckDBPyConnection, query: str) -> tuple[int, list[Hashable]]:
    try:
        statements = tables.extract_statements(query)
    except duckdb.Error:
        raise _Bad("it is not SQL") from None
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise _Bad("it is not one SELECT")
    try:
        result = tables.execute(statements[0])
        rows = result.fetchmany(ROWS_MAX + 1)
    except duckdb.Error as error:
        raise _Bad(f"it fails: {type(error).__name__}") from None
    if len(rows) > ROWS_MAX:
        raise _Bad(f"it gives more than {ROWS_MAX:,} rows")
    return len(result.description or ()), [tuple(_plain(value) for value in row) for row in rows]


def _plain(value: Any) -> Hashable:
    """A value by type and value: true is not 1, '1' is not 1, 1.0 is 1."""
    if value is None or isinstance(value, bool | str | bytes):
        return (type(value).__name__, value)
    if isinstance(value, int | float | Decimal):
        number = float(value)
        if math.isnan(number):
            return ("number", "nan")
        exact = isinstance(value, int) and abs(value) >= 10**10
        return ("number", value if exact else f"{number + 0.0:.10g}")
    if isinstance(value, dict):
        return ("dict", tuple((_plain(key), _plain(inner)) for key, inner in value.items()))
    if isinstance(value, list | tuple):
        return ("list", tuple(_plain(inner) for inner in value))
    return (type(value).__name__, str(value))


class _Modifier(msgspec.Struct):
    type: str = ""


class _Node(msgspec.Struct):
    modifiers: list[_Modifier] = []


class _Statement(msgspec.Struct):
    node: _Node


class _Serialized(msgspec.Struct):
    statements: list[_Statement] = []


def _orders(tables: duckdb.DuckDBPyConnection, query: str) -> bool:
    """Does the query itself order its rows?"""
    row = tables.execute("SELECT json_serialize_sql(?::VARCHAR)", [query]).fetchone()
    tree = msgspec.json.decode(str(row[0]), type=_Serialized) if row else _Serialized()
    return any(one.type == "ORDER_MODIFIER" for statement in tree.statements for one in statement.node.modifiers)
