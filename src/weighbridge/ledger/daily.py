"""Traffic and money by day, kept up as the log grows: what pages and reports read instead of ten million rows.

One row for each (UTC day, purpose, route, arm, team, key). A sealed file never changes, so its rows are computed once
and kept in `<store>/run/daily/`, under the SHA-256 that the signed chain has of it; whoever removes that folder loses
time and nothing else. What is not sealed is added up afresh each time, and so are corrections (`adjust`).

The view `daily` has

    day, purpose, route, arm, team, key,
    requests        exchanges whose last attempt was this arm's (`arm` NULL: none was made)
    ok, failed      of them: answered, and failed by the arm's or its endpoint's fault
    attempts, tokens (all classes), fresh (input that was neither read from nor written to a cache), cache_read,
    cache_write, output (reasoning included)
    cost_nanousd (known costs, corrections included), unknown (attempts whose cost nobody knows)

so that sums over `requests` count each exchange once and sums over money count each attempt once.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import duckdb

from weighbridge.exchanges.chain import SealedFile
from weighbridge.exchanges.kept import KeptRelation
from weighbridge.ledger.postings import adjustments
from weighbridge.store.layout import Layout

KEYS = "day, purpose, route, arm, team, key"
FIGURES = (
    "requests", "ok", "failed", "attempts", "tokens", "fresh", "cache_read", "cache_write", "output", "cost_nanousd",
    "unknown",
)  # fmt: skip
FORM = "2"
"""Part of the names of kept files: another number makes them anew."""
FAILED = "('upstream_error', 'upstream_cut', 'timeout')"


class Daily:
    """Sums by day over a kept relation, and when the exchanges of each sealed file began. Thread-safe."""

    def __init__(self, kept: KeptRelation) -> None:
        self._kept = kept
        self._lock = threading.RLock()
        self._known: dict[str, str] = {}
        """Path of a sealed file -> its SHA-256, where its sums are in the table."""
        self._corrections = 0
        with kept.cursor() as sql:
            sql.execute(f"CREATE TABLE daily_sealed AS {_sums(_NO_ROWS)}")
            sql.execute("ALTER TABLE daily_sealed ADD COLUMN file VARCHAR")
            sql.execute("CREATE TABLE daily_corrected (day DATE, purpose VARCHAR, route VARCHAR, arm VARCHAR, "
                        "team VARCHAR, key VARCHAR, cost_nanousd HUGEINT, unknown HUGEINT)")  # fmt: skip
            sql.execute("CREATE TABLE sealed_files (file VARCHAR, first TIMESTAMP, last TIMESTAMP)")
            sql.execute(_VIEW)

    @property
    def kept(self) -> KeptRelation:
        return self._kept

    def refresh(self) -> None:
        """Take in what ended since the last call. Raises `Corrupt`, `StoreError`."""
        with self._lock:
            self._kept.refresh()
            rows = self._kept.rows
            new = [path for path, file in rows.items() if self._known.get(path) != file.sha256]
            gone = [path for path in self._known if path not in rows or path in new]
            with self._kept.cursor() as sql:
                if gone:
                    for table in ("daily_sealed", "sealed_files"):
                        sql.execute(f"DELETE FROM {table} WHERE list_contains(?::VARCHAR[], file)", [gone])  # noqa: S608
                    for path in gone:
                        self._known.pop(path, None)
                for path in new:
                    self._take(sql, path, rows[path])
                self._correct(sql)
            if gone or new:
                self._tidy()

    def _take(self, sql: duckdb.DuckDBPyConnection, path: str, file: SealedFile) -> None:
        kept = self._kept.layout.daily / f"{FORM}-{file.sha256}.parquet"
        source = str(self._kept.layout.root / path)
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            part = kept.with_suffix(f".{os.getpid()}.tmp")
            # An empty file has its span and no sums: the outer join keeps the row.
            span = "SELECT min(time) AS first, max(time) AS last FROM read_parquet(?)"
            whole = f"SELECT * FROM ({span}) LEFT JOIN ({_sums('read_parquet(?)')}) ON true"  # noqa: S608 (our own text)
            sql.execute(f"COPY ({whole}) TO '{_quoted(str(part))}' (FORMAT parquet)", [source, source])
            part.replace(kept)
        stored = f"read_parquet('{_quoted(str(kept))}')"
        columns = f"{KEYS}, {', '.join(FIGURES)}"
        new = f"SELECT {columns}, ? FROM {stored} WHERE day IS NOT NULL"  # noqa: S608 (our own text)
        sql.execute(f"INSERT INTO daily_sealed ({columns}, file) {new}", [path])
        sql.execute(f"INSERT INTO sealed_files SELECT ?, min(first), max(last) FROM {stored}", [path])  # noqa: S608 (our own text)
        self._known[path] = file.sha256

    def _correct(self, sql: duckdb.DuckDBPyConnection) -> None:
        """Corrections, by the day and owner of what they correct. Made anew when there is another one."""
        snapshot = self._kept.snapshot
        count = 0 if snapshot is None else sum(entry.kind == "adjustment" for entry in snapshot.objects)
        if count == self._corrections:
            return
        made = [row for one in adjustments(self._kept.layout) for row in one.rows]
        sql.execute("CREATE OR REPLACE TEMP TABLE adjusted (id VARCHAR, attempt BIGINT, nanousd HUGEINT)")
        if made:
            sql.executemany(
                "INSERT INTO adjusted VALUES (?, ?, ?)", [(row.exchange, row.attempt, row.nanousd) for row in made]
            )
        sql.execute("DELETE FROM daily_corrected")
        sql.execute(f"INSERT INTO daily_corrected {_CORRECTED.format(source=self._kept.source())}")
        self._corrections = count

    def _tidy(self) -> None:
        """Remove sums of files that are gone."""
        wanted = {f"{FORM}-{sha256}.parquet" for sha256 in self._known.values()}
        with contextlib.suppress(OSError):
            for name in os.listdir(self._kept.layout.daily):
                if name.endswith(".parquet") and name not in wanted:
                    (self._kept.layout.daily / name).unlink(missing_ok=True)

    def spans(self) -> dict[str, tuple[datetime, datetime]]:
        """Sealed file -> when its first and last exchange began; empty files are left out."""
        with self._kept.cursor() as sql:
            rows = sql.execute("SELECT file, first, last FROM sealed_files WHERE first IS NOT NULL").fetchall()
        return {file: (first, last) for file, first, last in rows}

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection with the views and tables above, and `sealed_files (file, first, last)`."""
        with self._kept.cursor() as sql:
            yield sql


@contextmanager
def daily(layout: Layout) -> Iterator[Daily]:
    """For one question; a process that asks again keeps a `Daily`."""
    kept = KeptRelation(layout)
    try:
        made = Daily(kept)
        made.refresh()
        yield made
    finally:
        kept.close()


def _quoted(text: str) -> str:
    return text.replace("'", "''")


def _sums(source: str) -> str:
    """The sums over a table expression with the columns of `rows.COLUMNS`."""
    return (
        "WITH one AS (SELECT time::DATE AS day, purpose, route, team, key, outcome, "  # noqa: S608 (our own text)
        "unnest(CASE WHEN len(attempts) = 0 THEN [NULL] ELSE list_zip(attempts, range(1, len(attempts) + 1)) END) "
        f"AS z, len(attempts) AS many FROM {source}), "
        "two AS (SELECT *, z[1] AS a, coalesce(z[2] = many, true) AS is_last FROM one) "
        "SELECT day, purpose, route, a.arm AS arm, team, key, count(*) FILTER (is_last)::HUGEINT AS requests, "
        "count(*) FILTER (is_last AND outcome = 'ok')::HUGEINT AS ok, "
        f"count(*) FILTER (is_last AND outcome IN {FAILED})::HUGEINT AS failed, "
        "count(a)::HUGEINT AS attempts, coalesce(sum(a.usage.total), 0)::HUGEINT AS tokens, "
        f"{_classes('fresh', 'input', 'audio_input', 'image_input')}, {_classes('cache_read', 'cache_read')}, "
        f"{_classes('cache_write', 'cache_write', 'cache_write_1h')}, "
        f"{_classes('output', 'output', 'reasoning', 'audio_output', 'image_output')}, "
        "coalesce(sum(a.cost_nanousd), 0)::HUGEINT AS cost_nanousd, "
        "count(*) FILTER (a IS NOT NULL AND a.cost_nanousd IS NULL)::HUGEINT AS unknown "
        "FROM two GROUP BY ALL"
    )


def _classes(name: str, *classes: str) -> str:
    return f"coalesce(sum({' + '.join(f'a.usage.{one}' for one in classes)}), 0)::HUGEINT AS {name}"


_NO_ROWS = "(SELECT * FROM unsealed WHERE false)"
_FIGURES = ", ".join(FIGURES)
_VIEW = (
    f"CREATE VIEW daily AS SELECT {KEYS}, {', '.join(f'sum({name})::HUGEINT AS {name}' for name in FIGURES)} FROM "  # noqa: S608 (our own text)
    f"(SELECT {KEYS}, {_FIGURES} FROM daily_sealed UNION ALL SELECT {KEYS}, {_FIGURES} FROM ({_sums('unsealed')}) "
    f"UNION ALL SELECT {KEYS}, {'0, ' * (len(FIGURES) - 2)}cost_nanousd, unknown FROM daily_corrected) GROUP BY {KEYS}"
)
_CORRECTED = (
    "WITH one AS (SELECT id, time::DATE AS day, purpose, route, team, key, unnest(attempts) AS a FROM {source} "
    "WHERE id IN (SELECT id FROM adjusted)), "
    "sums AS (SELECT id, attempt, sum(nanousd) AS nanousd FROM adjusted GROUP BY ALL) "
    "SELECT day, purpose, route, a.arm, team, key, sum(sums.nanousd)::HUGEINT, "
    "-count(*) FILTER (a.cost_nanousd IS NULL)::HUGEINT "
    "FROM one JOIN sums ON sums.id = one.id AND sums.attempt = a.attempt GROUP BY ALL"
)
