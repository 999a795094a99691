"""The sums of a report out of SQL: on any log the same as row by row."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reports.rowwise import Rowwise
from weighbridge.exchanges.rows import COLUMNS, row_of, write_parquet
from weighbridge.records.exchange import Attempt, Exchange
from weighbridge.records.frames import Told
from weighbridge.records.usage import Usage
from weighbridge.reports.gather import Seen
from weighbridge.reports.sums import seen_in

BEGIN_NS = 1_793_700_000_123_456_789
maybe = st.none
usages = st.builds(
    Usage, *(st.integers(0, 10**6) for _ in range(10)), web_searches=st.integers(0, 3), service_tier=st.none()
)
attempts = st.builds(
    Attempt,
    attempt=st.integers(1, 3),
    arm=st.sampled_from(["old", "new", "newer"]),
    endpoint=st.just("host"),
    model=st.just("m"),
    status=maybe() | st.sampled_from([200, 429, 502]),
    usage=maybe() | usages,
    finish_reason=maybe() | st.sampled_from(["stop", "length", "tool_calls"]),
)
exchanges = st.builds(
    Exchange,
    id=st.just(""),
    # A few minutes, so that some share one; odd nanoseconds, so that rows cut them.
    time_ns=st.integers(BEGIN_NS, BEGIN_NS + 240 * 10**9),
    purpose=st.sampled_from(["user", "user", "user", "trial", "shadow", "judge", "drill"]),
    route=st.sampled_from(["assistant", "search"]),
    arm=maybe() | st.sampled_from(["old", "new"]),
    key=st.just("app"),
    team=st.none(),
    user=st.none(),
    tags=st.just(()),
    slice=st.sampled_from(["task=a", "task=b"]),
    conversation=st.sampled_from([f"{number:016x}" for number in range(6)]),
    table=st.just(1),
    stream=st.booleans(),
    outcome=st.sampled_from(
        ["ok", "ok", "ok", "refused", "lost", "upstream_error", "upstream_cut", "timeout", "client_gone"]
    ),
    status=st.none(),
    attempts=st.lists(attempts, max_size=3).map(tuple),
    usage=maybe() | usages,
    cost_nanousd=maybe() | st.integers(0, 2**60),
    price_version=maybe() | st.just("book 1"),
    duration_ns=maybe() | st.integers(0, 10**12),
    first_byte_ns=maybe() | st.integers(0, 10**12),
    request_bytes=st.just(1),
    response_bytes=st.just(1),
    max_tokens=st.none(),
    held_nanousd=st.none(),
    request=st.none(),
    response=st.none(),
    trial=maybe() | st.sampled_from(["t-1", "t-2"]),
    item=st.none(),
    error=st.none(),
    digest=st.just("d" * 64),
)
tolds = st.builds(
    Told,
    id=st.just("x"),
    time_ns=st.integers(0, 3),
    key=st.just("app"),
    route=st.sampled_from(["assistant", "search", "other"]),
    conversation=st.sampled_from([f"{number:016x}" for number in range(8)]),
    slice=st.just("task=a"),
    arm=st.none(),
    name=st.sampled_from(["resolved", "merged"]),
    score=st.sampled_from([0.0, 0.5, 1.0]),
)


def named(log: list[Exchange]) -> list[Exchange]:
    return [msgspec.structs.replace(one, id=f"e-{number}") for number, one in enumerate(log)]


@pytest.fixture(scope="module")
def sql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
    connection = duckdb.connect(config={"threads": "1"})
    yield connection, tmp_path_factory.mktemp("rows") / "rows.parquet"
    connection.close()


@settings(max_examples=30)
@given(
    log=st.lists(exchanges, max_size=30).map(named),
    told=st.lists(tolds, max_size=8),
    last_ns=st.integers(BEGIN_NS, BEGIN_NS + 240 * 10**9),
)
def test_sums_out_of_sql_are_those_of_row_by_row_on_any_log(
    sql: tuple[duckdb.DuckDBPyConnection, Path], log: list[Exchange], told: list[Told], last_ns: int
) -> None:
    spans = {"v1": ("assistant", last_ns), "v2": ("search", BEGIN_NS), "v3": ("nowhere", 0)}
    ids = {"e-0", "e-3", "e-4", "e-11", "gone"}
    rowwise = Rowwise(ids, spans)
    for exchange in log:
        rowwise.add(exchange)
    for frame in told:
        rowwise.tell(frame)
    assert rowwise.seen() == out_of_sql(*sql, log, told, ids, spans)


def out_of_sql(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    log: list[Exchange],
    told: list[Told],
    ids: set[str],
    spans: dict[str, tuple[str, int]],
) -> Seen:
    write_parquet(path, map(row_of, log))
    columns = ", ".join(f'"{name}"' for name in COLUMNS)
    connection.execute(f"CREATE OR REPLACE VIEW exchanges AS SELECT {columns} FROM read_parquet('{path}')")  # noqa: S608 (names of ours)
    return seen_in(connection, ids, spans, told)
