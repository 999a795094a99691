"""Once a day: how long answers usually are, for what is held before a call. Only where something is held."""

import asyncio
import logging
from collections.abc import Callable, Mapping

import msgspec

from weighbridge.errors import WeighbridgeError
from weighbridge.records.table import UsualOutput
from weighbridge.store.database import Database
from weighbridge.store.layout import Layout

log = logging.getLogger("keeper")

DAY_NS = 86_400 * 1_000_000_000
USUAL = "usual_output"
"""Key of what is remembered."""

ByRoute = Mapping[str, tuple[UsualOutput, ...]]


class Remembered(msgspec.Struct, frozen=True):
    day: int
    """On which the log was looked at, counted from 1970 in UTC."""
    routes: dict[str, tuple[UsualOutput, ...]]


def remembered_usual(database: Database) -> Remembered:
    said = database.said(USUAL)
    return Remembered(-1, {}) if said is None else msgspec.json.decode(said, type=Remembered)


class UsualOutputs:
    """Looks at the log in a thread of its own, for seconds; `changed` is called where it says something new."""

    def __init__(self, layout: Layout, database: Database, changed: Callable[[], object]) -> None:
        self._layout, self._database, self._changed = layout, database, changed
        self._looking: asyncio.Task[None] | None = None
        self._failed_on = -1

    def tick(self, now_ns: int) -> None:
        """Called each second while budgets are configured."""
        day = now_ns // DAY_NS
        if self._looking is not None or day == self._failed_on or remembered_usual(self._database).day == day:
            return
        self._looking = asyncio.get_running_loop().create_task(self._look(now_ns, day))

    async def _look(self, now_ns: int, day: int) -> None:
        from weighbridge.ledger.usual import usual_output  # here: it brings the reader of the log's columns

        try:
            found = await asyncio.to_thread(usual_output, self._layout, now_ns)
            routes: dict[str, tuple[UsualOutput, ...]] = {}
            for one in found:
                routes[one.route] = (*routes.get(one.route, ()), UsualOutput(arm=one.arm, tokens=one.tokens))
            before = remembered_usual(self._database).routes
            self._database.say(USUAL, msgspec.json.encode(Remembered(day, routes)).decode())
            if routes != before:
                self._changed()
        except (WeighbridgeError, OSError) as error:
            self._failed_on = day
            log.error("how long answers usually are is not known today, what was known stays: %s", error)
        finally:
            self._looking = None
