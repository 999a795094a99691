"""The log as one SQL relation: the Parquet files of sealed segments, and what ended in the segments still open.

    with relation(layout) as sql:
        sql.execute("SELECT route, sum(cost_nanousd) FROM exchanges GROUP BY route")

`exchanges` has the columns of `rows.COLUMNS`; each finished or lost exchange is there once. Ten million rows are read
without becoming Python objects. Both parts come from one look at the chain, so sealing meanwhile hides nothing.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import duckdb

from weighbridge.exchanges.chain import Chain
from weighbridge.exchanges.framing import FRAMES_MAGIC, HEADER_BYTES, Scan, check_header
from weighbridge.exchanges.merge import Merge
from weighbridge.exchanges.rows import COLUMNS, row_of, write_parquet
from weighbridge.exchanges.segments import Segment, View, look
from weighbridge.records.exchange import Exchange
from weighbridge.store.layout import Layout


@contextmanager
def relation(layout: Layout, *, threads: int = 2) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the view `exchanges`. Raises `Corrupt` for an open segment that is damaged."""
    with tempfile.TemporaryDirectory(prefix="weighbridge-rows-") as folder:
        with look(layout, Chain(layout)) as view:
            files = [str(layout.root / path) for path in sorted(view.snapshot.rows)]
            tail = Path(folder) / "open.parquet"
            if write_parquet(tail, map(row_of, _open(view))) or not files:
                files.append(str(tail))
        connection = duckdb.connect(config={"threads": str(threads), "temp_directory": folder})
        try:
            connection.read_parquet(files, union_by_name=True).select(*(f'"{name}"' for name in COLUMNS)).create_view(
                "exchanges"
            )
            yield connection
        finally:
            connection.close()


def _open(view: View) -> Iterator[Exchange]:
    """What ended in a segment that is not sealed. Its frames may begin in the last sealed one of the same worker."""
    for incarnation, found in groupby(view.segments, key=lambda one: one.incarnation):
        segments = list(found)
        still_open = [one for one in segments if one.sealed is None]
        if not still_open:
            continue
        merge = Merge()
        for before in [one for one in segments if one.sealed is not None][-1:]:
            for _ in _ended(before, merge):
                pass  # stands in the rows of that segment
        for segment in still_open:
            yield from _ended(segment, merge)
        if incarnation not in view.live:
            yield from merge.finish()


def _ended(segment: Segment, merge: Merge) -> Iterator[Exchange]:
    data = segment.read()
    if check_header(data, FRAMES_MAGIC, segment.path):
        for offset, payload in Scan(data, HEADER_BYTES, 0):
            if (done := merge.add(payload, segment.path, offset)) is not None:
                yield done
