"""Once a day: is there a reason for a trial that nobody was told of? It proposes, and starts nothing."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from weighbridge.errors import WeighbridgeError
from weighbridge.ramp.desk import BaseDesk

if TYPE_CHECKING:
    from weighbridge.ramp.proposals import Proposal

log = logging.getLogger("keeper")

DAY_NS = 86_400 * 1_000_000_000
LOOK_AFTER_NS = 60 * 1_000_000_000
"""A keeper that has just started has other things to do than to load the price book and the catalogue."""


class ReasonsDesk(BaseDesk, Protocol):
    """What of the office's desk is needed here."""

    def tell(self, subject: str, lines: tuple[str, ...], *, route: str, arm: str, kind: str = "ramp-drill") -> None: ...
    def told(self) -> frozenset[str]: ...
    def remember_told(self, keys: frozenset[str]) -> None: ...


class Reasons:
    def __init__(self, desk: ReasonsDesk, thread: ThreadPoolExecutor) -> None:
        self._desk, self._thread = desk, thread
        self._born_ns = desk.clock.mono_ns()
        self._looked_on: int | None = None
        """The last day, counted from 1970 in UTC."""

    async def look(self) -> None:
        """Each second; does something once a day."""
        today = self._desk.clock.wall_ns() // DAY_NS
        if today == self._looked_on or self._desk.clock.mono_ns() - self._born_ns < LOOK_AFTER_NS:
            return
        self._looked_on = today
        desk, loaded = self._desk, self._desk.loaded

        def found() -> tuple["Proposal", ...]:
            from weighbridge.ramp.proposals import proposals  # here: it loads the price book and the catalogue

            return proposals(loaded, desk.layout, datetime.fromtimestamp(desk.clock.wall_ns() // 1_000_000_000, UTC))

        try:
            rows = await asyncio.get_running_loop().run_in_executor(self._thread, found)
            told, keys = desk.told(), frozenset(row.key for row in rows)
            desk.remember_told(keys)
        except (WeighbridgeError, OSError, ValueError) as error:
            log.error("what might be worth a trial was not looked for today: %s", error)
            return
        new = [row for row in rows if row.news and row.key not in told]
        if new:
            what = f"{len(new)} reasons for a trial" if len(new) > 1 else "a reason for a trial"
            desk.tell(
                f"{what}; nothing was started", tuple(f"{row.route}: {row.said}; {row.command}" for row in new[:10]),
                route=new[0].route, arm=new[0].candidate or "", kind="trial-proposed",
            )  # fmt: skip
