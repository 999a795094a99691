"""Keeping the exchange log: the keeper only decides when; `exchanges` knows how."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from weighbridge.clock import Clock
from weighbridge.config.tree import CaptureSection
from weighbridge.errors import ControlError
from weighbridge.exchanges.chain import Chain, put_object, signing_key
from weighbridge.keeper.server import ControlServer
from weighbridge.store.control import Erase, ErasedCount, ObjectKind, ObjectList, ObjectRow, PutObject
from weighbridge.store.database import Database, Head
from weighbridge.store.layout import Layout

log = logging.getLogger("keeper")

T = TypeVar("T")


class Chores:
    """All work on the log happens in one thread, one thing after the other, so that control calls stay quick."""

    def __init__(self, layout: Layout, database: Database, clock: Clock) -> None:
        self._layout, self._database, self._clock = layout, database, clock
        self.signing_key = signing_key(layout)
        self._chain = Chain(layout)
        self._thread = ThreadPoolExecutor(1, "log")

    @property
    def public_key(self) -> str:
        return self.signing_key.public

    async def _do(self, work: Callable[[], T]) -> T:
        """Run `work` in the log's thread, then remember the head it left."""
        result = await asyncio.get_running_loop().run_in_executor(self._thread, work)
        snapshot = self._chain.snapshot()
        if snapshot.seq:
            self._database.remember_head(Head(snapshot.seq, snapshot.digest))
        return result

    async def tick(self, server: ControlServer, capture: CaptureSection) -> None:
        """Called each second: what is due is done."""

    async def finish(self, server: ControlServer) -> None:
        """The last thing before the keeper ends in order."""

    def close(self, *, abandon: bool) -> None:
        self._thread.shutdown(wait=not abandon, cancel_futures=True)

    async def put(self, asked: PutObject) -> ObjectRow:
        now_ns = self._clock.wall_ns()
        entry = await self._do(
            lambda: put_object(self._layout, self._chain, self.signing_key, asked.kind, asked.label, asked.body, now_ns)
        )
        return ObjectRow(digest=entry.digest, kind=entry.kind, created_ns=entry.created_ns, label=entry.label)

    async def objects(self, kind: ObjectKind | None) -> ObjectList:
        snapshot = await self._do(self._chain.snapshot)
        return ObjectList(
            rows=tuple(
                ObjectRow(digest=entry.digest, kind=entry.kind, created_ns=entry.created_ns, label=entry.label)
                for entry in snapshot.objects
                if kind in (None, entry.kind)
            )
        )

    async def seal(self, server: ControlServer) -> int:
        raise ControlError("not yet")

    async def erase(self, asked: Erase, server: ControlServer) -> ErasedCount:
        raise ControlError("not yet")
