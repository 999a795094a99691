"""Exchanges looked up for others, in a thread of its own: neither sealing nor ramps wait for it, nor it for them."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from weighbridge.errors import ControlError
from weighbridge.exchanges.find import Finder
from weighbridge.store.control import FoundExchanges, FoundRow
from weighbridge.store.layout import Layout

IDS_MAX = 10_000


class Finding:
    def __init__(self, layout: Layout) -> None:
        self._finder = Finder(layout)
        self._thread = ThreadPoolExecutor(1, "find")

    async def find(self, ids: tuple[str, ...]) -> FoundExchanges:
        if len(ids) > IDS_MAX:
            raise ControlError(f"{len(ids):,} exchanges are looked for at once; at most {IDS_MAX:,} are")
        found = await asyncio.get_running_loop().run_in_executor(self._thread, self._finder.find, ids)
        return FoundExchanges(
            rows=tuple(
                FoundRow(
                    id=one.held.id, key=one.held.key, purpose=one.held.purpose, route=one.held.route,
                    conversation=one.held.conversation, slice=one.held.slice, arm=one.arm,
                )
                for one in found.values()
            )
        )  # fmt: skip

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
