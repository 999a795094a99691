"""The log as one SQL relation that a process keeps and asks again and again (`relation` is for one question).

Sealed segments are Parquet files that never change; what ended in the segments still open is read as it comes, once,
into a table in memory and leaves it when its segment is sealed. Questions meanwhile see one state of both.
"""

import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

from weighbridge.exchanges.chain import Chain, SealedFile, Snapshot
from weighbridge.exchanges.reader import Follower
from weighbridge.exchanges.rows import COLUMNS, row_of, write_parquet
from weighbridge.exchanges.segments import look
from weighbridge.records.exchange import Exchange
from weighbridge.store.layout import Layout

NAMES = ", ".join(f'"{name}"' for name in COLUMNS)
UNSEALED = "unsealed"
"""A table with the columns of `rows.COLUMNS` and `segment`: what ended in segments that are not sealed."""


class KeptRelation:
    """One store's log. `refresh` before a question; `cursor` to ask it. Thread-safe; close it at the end.

    `refresh` raises `Corrupt` where an open segment is damaged; the state before it stays.
    """

    def __init__(self, layout: Layout, *, threads: int = 2) -> None:
        self._layout, self._chain = layout, Chain(layout)
        self._lock = threading.RLock()
        self._folder = tempfile.TemporaryDirectory(prefix="weighbridge-rows-")
        self._sql = duckdb.connect(config={"threads": str(threads), "temp_directory": self._folder.name})
        self._sql.execute("SET parquet_metadata_cache = true")
        columns = ", ".join(f'"{name}" {kind}' for name, kind in COLUMNS.items())
        self._sql.execute(f"CREATE TABLE {UNSEALED} ({columns}, segment VARCHAR)")
        self._follower: Follower | None = None
        self._sealed: frozenset[str] = frozenset()
        self.rows: dict[str, SealedFile] = {}
        """The Parquet files, by path relative to the store, as of the last refresh."""
        self.snapshot: Snapshot | None = None

    @property
    def layout(self) -> Layout:
        return self._layout

    @property
    def chain(self) -> Chain:
        return self._chain

    def close(self) -> None:
        self._sql.close()
        self._folder.cleanup()

    def refresh(self) -> None:
        """Take in what ended since the last call."""
        with self._lock:
            if self._follower is None:
                self._follower = Follower(self._layout, unsealed=True)
            try:
                with look(self._layout, self._chain) as view:
                    found = self._follower.poll_view(view)
                    snapshot = view.snapshot
            except BaseException:
                self._follower = None  # what it had read is not in the table: the next one reads it again
                self._sql.execute(f"DELETE FROM {UNSEALED}")  # noqa: S608 (our own name)
                raise
            sealed = snapshot.done
            gone = sealed - self._sealed
            self._sql.execute("BEGIN")
            if gone:
                self._sql.execute(
                    f"DELETE FROM {UNSEALED} WHERE list_contains(?::VARCHAR[], segment)",  # noqa: S608 (our own name)
                    [sorted(gone)],
                )
            self._insert([(segment, one) for segment, one in found if segment not in sealed])
            self._sql.execute("COMMIT")
            self._sealed, self.rows, self.snapshot = sealed, dict(snapshot.rows), snapshot

    def _insert(self, found: list[tuple[str, Exchange]]) -> None:
        by_segment: dict[str, list[Exchange]] = {}
        for segment, one in found:
            by_segment.setdefault(segment, []).append(one)
        for segment, exchanges in by_segment.items():
            path = Path(self._folder.name) / "new.parquet"
            write_parquet(path, map(row_of, exchanges))
            self._sql.execute(
                f"INSERT INTO {UNSEALED} SELECT {NAMES}, ? FROM read_parquet(?)",  # noqa: S608 (our own names)
                [segment, str(path)],
            )

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection of one's own to the state of the last refresh."""
        with self._lock:
            made = self._sql.cursor()
        try:
            yield made
        finally:
            made.close()

    def source(self, files: Sequence[str] | None = None) -> str:
        """A table expression: these Parquet files (default: all), and what is not sealed."""
        sealed = self.sealed_source(sorted(self.rows) if files is None else files)
        return f"(SELECT * FROM {sealed} UNION ALL SELECT {NAMES} FROM {UNSEALED})"  # noqa: S608 (our own names)

    def sealed_source(self, files: Sequence[str]) -> str:
        """A table expression: these Parquet files. Their names are the store's own, never a person's."""
        if not files:
            return f"(SELECT {NAMES} FROM {UNSEALED} WHERE false)"  # noqa: S608 (our own names)
        paths = ", ".join("'" + str(self._layout.root / name).replace("'", "''") + "'" for name in files)
        return f"(SELECT {NAMES} FROM read_parquet([{paths}], union_by_name = true))"  # noqa: S608 (our own names)
