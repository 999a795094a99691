"""When the ledger's projection of the log is brought up to date; `ledger.projection` knows how."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from weighbridge.errors import StoreError
from weighbridge.keeper.bank import Bank
from weighbridge.ledger.projection import Projector
from weighbridge.ledger.reading import Batch
from weighbridge.records.budget import Budget
from weighbridge.store.layout import Layout

log = logging.getLogger("keeper")


class Projecting:
    """Reads in a thread of its own, so that leases are granted meanwhile; stores in the ledger's."""

    def __init__(self, layout: Layout, bank: Bank, budget: Callable[[str], Budget | None]) -> None:
        self._bank = bank
        self._projector = Projector(layout, bank.store, bank.site, budget)
        self._thread = ThreadPoolExecutor(1, "projection")
        self._loaded = False
        self._told: set[str] = set()
        self._at_work = asyncio.Lock()

    async def run(self) -> None:
        """Everything that is new, batch by batch. Where storing fails, the next run begins where the ledger stands."""
        async with self._at_work:
            if not self._loaded and not await self._bank.do(self._load):
                return
            try:
                batches = self._projector.batches()
                while True:
                    batch = await asyncio.get_running_loop().run_in_executor(self._thread, lambda: next(batches, None))
                    if batch is None:
                        break
                    await self._store(batch)
            except BaseException:
                self._loaded = False
                raise
            self._tell()

    def _load(self) -> bool:
        """False while nothing was ever leased or charged: then there is nothing to read for."""
        if not self._bank.store.is_used():
            return False
        self._projector.load(self._bank.now_ns())
        self._loaded = True
        return True

    async def _store(self, batch: Batch) -> None:
        await self._bank.do(lambda: self._projector.store(batch, self._bank.now_ns()))
        if batch.orphans:
            log.warning(
                "worker %s died with %d requests under way: booked at their upper bound, %d nano-dollars",
                batch.owner, len(batch.orphans), sum(batch.orphans.values()),
            )  # fmt: skip

    def _tell(self) -> None:
        for owner, damage in self._projector.damaged.items():
            if owner not in self._told:
                self._told.add(owner)
                log.error("the log of worker %s cannot be read, so what it was leased stays used: %s", owner, damage)

    def lost(self) -> dict[str, str]:
        """Workers whose log cannot be read to its end, and why. In the ledger's thread."""
        return self._projector.lost()

    def forget(self, owner: str) -> None:
        """It was written off."""
        self._projector.forget(owner)
        self._told.discard(owner)

    def close(self) -> None:
        self._thread.shutdown(wait=True)


async def projected(projecting: Projecting) -> None:
    """`run`, for the edge: a ledger that cannot be written is tried again."""
    try:
        await projecting.run()
    except (StoreError, OSError) as error:
        log.error("the ledger is not up to date with the log, it is tried again: %s", error)
