"""The keeper's bank alone, on a store's control socket: what a worker under hard budgets asks for leases."""

import asyncio
import sys
import time
from pathlib import Path

from weighbridge.errors import ControlError
from weighbridge.keeper.bank import Bank
from weighbridge.keeper.server import ControlServer
from weighbridge.store.control import Answer, Request
from weighbridge.store.layout import Layout
from weighbridge.store.ledger import LedgerStore
from weighbridge.store.sql import SqliteSql


async def refuse(request: Request) -> Answer:
    raise ControlError(f"nobody answers {type(request).__name__} here")


async def main(store: Path) -> None:
    layout = Layout(store)
    bank = Bank(LedgerStore(SqliteSql(layout.ledger, time.time_ns)), "bench", lines=lambda: server.workers)
    server = ControlServer(layout, refuse, bank.hear)
    await server.start()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
