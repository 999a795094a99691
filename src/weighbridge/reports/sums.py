"""One report's sums over the log, out of SQL: ten million exchanges never become Python objects.

`tests/reports/rowwise.py` says the same row by row; a property test holds the two equal on any log.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import duckdb
import msgspec

from weighbridge.exchanges.relation import relation
from weighbridge.exchanges.told import told
from weighbridge.grading.outcomes import BAR, TaskSums, figures_of
from weighbridge.records.frames import Told
from weighbridge.reports.gather import (
    ARM_FAILED,
    Answering,
    Beside,
    Calls,
    Judged,
    KeptCall,
    RouteCalls,
    Seen,
    ends,
    wanted,
)
from weighbridge.store.layout import Layout

MEMORY = "512MB"
"""What the database may hold at once; groups beyond that go to a temporary file."""


def seen(layout: Layout, judged: Iterable[Judged]) -> Seen:
    """What the log of a store says to a report. Raises `Corrupt` where it is damaged."""
    judged = tuple(judged)
    with relation(layout) as sql:
        return seen_in(sql, wanted(judged), ends(judged), told(layout))


def seen_in(
    sql: duckdb.DuckDBPyConnection,
    ids: Iterable[str],
    spans: Mapping[str, tuple[str, int]],
    outcomes: Iterable[Told] = (),
) -> Seen:
    """The same from a connection with the view `exchanges`.

    ids: exchanges to keep. spans: verdict -> its route, and the last moment of the span that it was drawn from.
    """
    sql.execute(f"SET memory_limit = '{MEMORY}'")
    sql.execute("SET preserve_insertion_order = false")
    found = Seen()
    _traffic(sql, found)
    _answers(sql, found)
    _beside(sql, found)
    _trials(sql, found)
    _since(sql, found, spans)
    _kept(sql, found, ids)
    _tasks(sql, found, outcomes)
    return found


_ENDED = "outcome NOT IN ('refused', 'lost')"
_FAILED = "outcome IN (" + ", ".join(f"'{name}'" for name in ARM_FAILED) + ")"
_UNKNOWN = "cost_nanousd IS NULL AND outcome <> 'refused'"
_INPUT = (
    "usage.input + usage.cache_read + usage.cache_write + usage.cache_write_1h + usage.audio_input + usage.image_input"
)
_OUTPUT = "usage.output + usage.reasoning"
_MINUTE = "epoch_us(time) // 60000000"


def _rows(sql: duckdb.DuckDBPyConnection, query: str, *values: object) -> list[tuple[Any, ...]]:
    return sql.execute(query, list(values)).fetchall()


def _traffic(sql: duckdb.DuckDBPyConnection, found: Seen) -> None:
    rows = _rows(
        sql,
        "SELECT route, slice, arm, count(*), count(*) FILTER (outcome = 'ok'), epoch_us(min(time)), "  # noqa: S608 (our own text)
        "epoch_us(max(time)), coalesce(sum(cost_nanousd), 0)::HUGEINT, count(cost_nanousd), "
        f"count(*) FILTER ({_UNKNOWN}), coalesce(sum({_INPUT}), 0)::HUGEINT, coalesce(sum({_OUTPUT}), 0)::HUGEINT, "
        f"count(*) FILTER ({_ENDED}), count(*) FILTER ({_FAILED}), "
        f"coalesce(max({_INPUT}) FILTER ({_ENDED}), 0) FROM exchanges WHERE purpose = 'user' GROUP BY ALL",
    )
    for (
        route, part, arm, requests, answered, first_us, last_us, cost, priced, unknown, asked, written, ended, failed,
        longest,
    ) in rows:  # fmt: skip
        row = found.routes.setdefault(route, RouteCalls())
        row.requests += requests
        row.answered += answered
        row.first_time_ns = min(row.first_time_ns or first_us * 1000, first_us * 1000)
        row.last_time_ns = max(row.last_time_ns or last_us * 1000, last_us * 1000)
        row.slices[part] += requests
        row.cost_nanousd += cost
        if priced:
            row.slice_nanousd[part] += cost
        row.cost_unknown += unknown
        row.input_tokens += asked
        row.output_tokens += written
        row.input_tokens_max = max(row.input_tokens_max, longest)
        if arm is not None:
            found.user[route, part, arm] = Calls(calls=ended, errors=failed)
    busiest = _rows(
        sql,
        f"SELECT route, max(many) FROM (SELECT route, {_MINUTE} AS minute, count(*) AS many FROM exchanges "  # noqa: S608 (our own text)
        f"WHERE purpose = 'user' AND {_ENDED} GROUP BY route, minute) GROUP BY route",
    )
    for route, many in busiest:
        found.routes[route].busiest_minute = many


def _answers(sql: duckdb.DuckDBPyConnection, found: Seen) -> None:
    """`round_even` is Python's `round`."""
    of = f"FROM exchanges WHERE purpose = 'user' AND arm IS NOT NULL AND {_ENDED} GROUP BY ALL"
    rows = _rows(
        sql,
        f"SELECT route, arm, count(*), count(*) FILTER ({_FAILED}), "
        "sum(CASE WHEN len(attempts) = 1 THEN coalesce((attempts[1].status = 429)::INT, 0) "
        f"ELSE len(list_filter(attempts, lambda one: one.status = 429)) END)::HUGEINT {of}",
    )
    for route, arm, calls, errors, limited in rows:
        found.answering[route, arm] = Answering(calls=calls, errors=errors, limited=limited)
    buckets = _rows(
        sql,
        "SELECT route, arm, CASE WHEN timings.duration_ns IS NOT NULL THEN "
        f"round_even(50 * ln(greatest(1, timings.duration_ns)), 0)::BIGINT END AS bucket, count(*) {of}",
    )
    for route, arm, bucket, many in buckets:
        if bucket is not None:
            found.answering[route, arm].buckets[bucket] += many


def _beside(sql: duckdb.DuckDBPyConnection, found: Seen) -> None:
    rows = _rows(
        sql,
        f"SELECT route, purpose, count(*), coalesce(sum(cost_nanousd), 0)::HUGEINT, count(*) FILTER ({_UNKNOWN}) "  # noqa: S608 (our own text)
        "FROM exchanges WHERE purpose <> 'user' GROUP BY ALL",
    )
    for route, purpose, calls, cost, unknown in rows:
        found.beside[route, purpose] = Beside(calls=calls, cost_nanousd=cost, cost_unknown=unknown)


def _trials(sql: duckdb.DuckDBPyConnection, found: Seen) -> None:
    rows = _rows(
        sql,
        f"SELECT trial, slice, {_MINUTE}, count(*) FILTER ({_ENDED}), count(*) FILTER ({_FAILED}) FROM exchanges "  # noqa: S608 (our own text)
        "WHERE purpose = 'trial' AND trial IS NOT NULL GROUP BY ALL",
    )
    for trial, part, minute, ended, failed in rows:
        calls = found.trials.setdefault((trial, part), Calls())
        calls.calls += ended
        calls.errors += failed
        if ended:
            found.minutes.setdefault(trial, Counter())[minute] += ended


def _since(sql: duckdb.DuckDBPyConnection, found: Seen, spans: Mapping[str, tuple[str, int]]) -> None:
    if not spans:
        return
    sql.execute("CREATE OR REPLACE TEMP TABLE spans (verdict VARCHAR, route VARCHAR, last_us BIGINT)")
    sql.executemany(
        "INSERT INTO spans VALUES (?, ?, ?)", [(name, route, last // 1000) for name, (route, last) in spans.items()]
    )
    rows = _rows(
        sql,
        "SELECT verdict, slice, count(*) FROM exchanges JOIN spans ON spans.route = exchanges.route AND "
        "exchanges.time > make_timestamp(spans.last_us) WHERE purpose = 'user' AND outcome = 'ok' GROUP BY ALL",
    )
    for verdict, part, many in rows:
        found.since.setdefault(verdict, Counter())[part] = many


def _kept(sql: duckdb.DuckDBPyConnection, found: Seen, ids: Iterable[str]) -> None:
    names = list(ids)
    if not names:
        return
    rows = _rows(
        sql,
        "SELECT id, epoch_us(time), stream, cost_nanousd, price_version, "  # noqa: S608 (our own text; values are bound)
        f"{_INPUT}, usage.cache_read, {_OUTPUT}, timings.duration_ns, timings.first_byte_ns, "
        "coalesce(attempts[-1].finish_reason = 'length', false), "
        "len(list_filter(attempts, lambda one: one.finish_reason = 'tool_calls')) > 0 "
        "FROM exchanges WHERE id IN (SELECT unnest(?::VARCHAR[]))",
        names,
    )
    fields = [one.name for one in msgspec.structs.fields(KeptCall)]
    for name, time_us, *rest in rows:
        values = dict(zip(fields, (time_us * 1000, *rest), strict=True))
        found.kept[name] = msgspec.convert(values, KeptCall)


def _arms(which: str) -> str:
    """The first or last arm by name of an exchange's attempts. Nearly all have one attempt, and need no list made."""
    listed = f"{which}(list_transform(attempts, lambda one: one.arm))"
    return f"CASE WHEN len(attempts) = 1 THEN attempts[1].arm ELSE {listed} END"


def _tasks(sql: duckdb.DuckDBPyConnection, found: Seen, outcomes: Iterable[Told]) -> None:
    latest: dict[tuple[str, str], dict[str, tuple[int, float]]] = {}
    for frame in outcomes:
        names = latest.setdefault((frame.route, frame.conversation), {})
        known = names.get(frame.name)
        if known is None or known[0] <= frame.time_ns:
            names[frame.name] = (frame.time_ns, frame.score)
    if not latest:
        return
    sql.execute("CREATE OR REPLACE TEMP TABLE outcomes (route VARCHAR, conversation VARCHAR, accepted BOOLEAN)")
    lines = [[route, name, all(score >= BAR for _, score in told.values())] for (route, name), told in latest.items()]
    routes, names_, accepted = zip(*lines, strict=True)
    sql.execute(
        "INSERT INTO outcomes SELECT unnest(?::VARCHAR[]), unnest(?::VARCHAR[]), unnest(?::BOOLEAN[])",
        [list(routes), list(names_), list(accepted)],
    )
    told_of = sorted(set(routes))
    # A task is a conversation on a route; where one arm alone had a part in it, its first and last arm are the same.
    rows = _rows(
        sql,
        "WITH tasks AS (SELECT route, conversation, count(*) AS requests, "  # noqa: S608 (our own text; values are bound)
        f"min({_arms('list_min')}) AS low, max({_arms('list_max')}) AS high, "
        "coalesce(sum(cost_nanousd), 0)::HUGEINT AS cost, count(*) FILTER (cost_nanousd IS NULL) AS unpriced "
        "FROM exchanges WHERE purpose = 'user' AND len(attempts) > 0 "
        f"AND route IN ({', '.join('?' * len(told_of))}) "
        "GROUP BY route, conversation) "
        "SELECT tasks.route, CASE WHEN low = high THEN low END AS arm, count(*), sum(requests)::HUGEINT, "
        "count(accepted), count(*) FILTER (accepted), sum(cost)::HUGEINT, sum(unpriced)::HUGEINT, "
        "coalesce(sum(cost) FILTER (accepted IS NOT NULL), 0)::HUGEINT, "
        "coalesce(sum(unpriced) FILTER (accepted IS NOT NULL), 0)::HUGEINT "
        "FROM tasks LEFT JOIN outcomes ON outcomes.route = tasks.route AND "
        "outcomes.conversation = tasks.conversation GROUP BY ALL",
        *told_of,
    )
    rows.sort(key=lambda row: (row[0], row[1] is None, row[1] or ""))
    found.tasks = tuple(figures_of(TaskSums(*row)) for row in rows)
