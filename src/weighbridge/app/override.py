"""The last way back: no keeper, no database, only the files that workers read."""

import msgspec

from weighbridge.clock import SystemClock
from weighbridge.config import Loaded
from weighbridge.errors import StoreError
from weighbridge.keeper.lock import KeeperLock
from weighbridge.keeper.ramps import at_incumbent, read_overrides, write_overrides
from weighbridge.records.canonical import canonical, parse
from weighbridge.records.table import RouteTable
from weighbridge.store.files import write_durably
from weighbridge.store.layout import Layout


def hold_at_incumbent(loaded: Loaded, route: str) -> int:
    """Write a route table that holds `route` at its incumbent, under the keeper's lock. Returns its number.

    Raises `StoreError` where another keeper has the lock (ask that one) or no table can be read or written.
    """
    layout = Layout(loaded.store_path)
    lock = KeeperLock(layout.lock)
    try:
        table = parse(layout.table.read_bytes(), RouteTable)
        if all(row.name != route for row in table.routes):
            raise StoreError(
                f"route table {table.number} has no route {route!r}; it has "
                + ", ".join(row.name for row in table.routes)
            )
        write_overrides(layout, read_overrides(layout) | {route})
        after = msgspec.structs.replace(
            table,
            number=table.number + 1,
            created_ns=SystemClock().wall_ns(),
            routes=tuple(at_incumbent(row) if row.name == route else row for row in table.routes),
        )
        write_durably(layout.table, canonical(after))
        return after.number
    except (OSError, ValueError) as error:
        raise StoreError(f"the route table cannot be changed: {error}") from None
    finally:
        lock.close()
