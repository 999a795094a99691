"""The published route table as a worker finds it on disk."""

import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path

from weighbridge.config.secrets import secret
from weighbridge.errors import StoreError
from weighbridge.gateway.lanes import Lanes
from weighbridge.records.canonical import parse
from weighbridge.records.table import SCHEMA, RouteTable
from weighbridge.store.layout import Layout

log = logging.getLogger("worker")


def read_table(layout: Layout) -> RouteTable:
    """The current table; the last good one where that cannot be read, which is said. Raises `StoreError`."""
    try:
        return _read(layout.table)
    except (OSError, ValueError) as error:
        try:
            table = _read(layout.table_last_good)
        except (OSError, ValueError):
            raise StoreError(
                f"no route table can be read: {layout.table}: {error}. `weighbridge serve` publishes one; so does "
                "SIGHUP to a running one"
            ) from None
        log.error(
            "%s cannot be read (%s): going on with the last good table, number %d", layout.table, error, table.number
        )
        return table


def _read(path: Path) -> RouteTable:
    table = parse(path.read_bytes(), RouteTable)
    if table.schema != SCHEMA:
        raise ValueError(f"its schema is {table.schema!r}, this version reads {SCHEMA!r}")
    return table


@cache
def _secrets_of(folder: Path) -> Callable[[str], str]:
    """The same function for the same folder: tokens that were fetched with it stay good over tables."""
    return lambda reference: secret(reference, folder)


def compiled(table: RouteTable, folder: Path) -> Lanes:
    """Ready for the hot path. Secrets that are missing make their endpoint unusable, and are named."""
    lanes = Lanes(table, _secrets_of(folder))
    for lane in lanes.lanes():
        if lane.unusable is not None:
            log.error("arm %r: %s; its requests are answered 503", lane.arm, lane.unusable)
    return lanes
