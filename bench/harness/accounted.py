"""Whether those who kept books apart say the same: clients, the gateway's log and ledger, and the providers' bills."""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from bench.harness.billed import Billed
from bench.harness.mixed import Told
from weighbridge.exchanges.chain import Chain
from weighbridge.exchanges.framing import Scan
from weighbridge.exchanges.keys import master_key
from weighbridge.exchanges.reader import read
from weighbridge.exchanges.segments import look
from weighbridge.exchanges.verify import verify
from weighbridge.records.exchange import Exchange
from weighbridge.records.frames import Attempted, Finished, Frame
from weighbridge.store.database import remembered
from weighbridge.store.layout import Layout
from weighbridge.store.ledger import LedgerStore
from weighbridge.store.sql import SqliteSql


@dataclass
class Books:
    requests: int = 0
    exact: int = 0
    """Requests whose cost in the log is the providers' bill for them, to the nano-dollar."""
    bounded: int = 0
    """Those of which nobody could know: broken off, or left. Booked at no less than the bill."""
    exact_nanousd: int = 0
    bounded_nanousd: int = 0
    billed_nanousd: int = 0
    """For all of them, by the providers."""
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    """What does not agree, one sentence each."""


def books(layout: Layout, told: Iterable[Told], bills: Iterable[Billed]) -> Books:
    """Compare what clients were told with the log, and the log with what providers charged."""
    found = Books()
    charged: dict[str, int] = {}
    for row in bills:
        charged[row.user] = charged.get(row.user, 0) + row.nanousd
    found.billed_nanousd = sum(charged.values())
    by_user, booked = {row.user: row for row in told}, charges(layout)
    seen: set[str] = set()
    for exchange in read(layout):
        found.requests += 1
        found.outcomes[exchange.outcome] += 1
        user = exchange.user or ""
        if user in seen:
            found.wrong.append(f"{user} is in the log twice")
        seen.add(user)
        _money(found, exchange, booked.get(exchange.id, 0), charged.pop(user, 0))
        one = by_user.get(user)
        if one is None:
            found.wrong.append(f"{exchange.id} is in the log, and no client sent it")
        else:
            _agrees(found, exchange, one)
    found.wrong += [f"a provider charged for {user}, which is not in the log" for user in charged]
    found.wrong += [
        f"{row.user} was answered ({row.status}, {row.ending}) as {row.id}, which is not in the log"
        for row in by_user.values()
        if row.user not in seen and row.ending in ("whole", "broken")
    ]
    return found


def _money(found: Books, exchange: Exchange, booked: int, billed: int) -> None:
    sure = exchange.cost_nanousd is not None and not any(attempt.estimated for attempt in exchange.attempts)
    if sure:
        found.exact += 1
        found.exact_nanousd += booked
        if booked != billed:
            found.wrong.append(f"{exchange.id} ({exchange.outcome}) cost {booked}, the providers billed {billed}")
        return
    found.bounded += 1
    found.bounded_nanousd += booked
    # A kept connection that broke, or a fallback: the attempt before the good one is what nobody knows.
    alone = exchange.outcome == "ok" and len(exchange.attempts) == 1
    if alone or booked < billed:
        found.wrong.append(f"{exchange.id} ({exchange.outcome}) is booked at {booked} as unknown; the bill is {billed}")


def _agrees(found: Books, exchange: Exchange, told: Told) -> None:
    """The client's end of the answer is that of the log."""
    good = {
        "whole": exchange.outcome == "ok",
        "error": exchange.outcome not in ("ok", "client_gone", "lost"),
        "broken": exchange.outcome in ("upstream_cut", "upstream_error", "timeout"),
        "refused": exchange.outcome in ("upstream_error", "refused"),
        "left": exchange.outcome != "lost",
        "nothing": False,
    }[told.ending]
    if told.id is not None and told.id != exchange.id:
        found.wrong.append(f"{told.user} was answered as {told.id} and is in the log as {exchange.id}")
    if not good:
        found.wrong.append(f"{exchange.id} ended {exchange.outcome}; its client saw: {told.ending} ({told.status})")


def in_ledger(layout: Layout) -> list[str]:
    """What the ledger says otherwise than the log's own frames; empty where it says the same. No keeper runs."""
    wrong: list[str] = []
    charged = charges(layout)
    posted, requests = sum(charged.values()), len(charged)
    store = LedgerStore(SqliteSql(layout.ledger, time.time_ns))
    try:
        if store.leases():
            wrong.append(f"{len(store.leases())} leases are still out")
        windows = store.windows()
        if not windows:
            wrong.append("the ledger has no window")
        for window in windows:
            if (posted, requests) != (window.posted_nanousd, window.requests):
                wrong.append(
                    f"the ledger has {window.posted_nanousd} nano-dollars for {window.requests} requests, the log "
                    f"{posted} for {requests}"
                )
    finally:
        store.close()
    return wrong


def charges(layout: Layout) -> dict[str, int]:
    """What the end of each exchange that had begun charges to budgets, by its id: its cost, else all that was held."""
    decode = msgspec.msgpack.Decoder(Frame).decode
    begun: set[str] = set()
    found: dict[str, int] = {}
    with look(layout, Chain(layout)) as view:
        for segment in view.segments:
            for _, payload in Scan(segment.read()):
                frame = decode(payload)
                if isinstance(frame, Attempted):
                    begun.add(frame.id)
                elif isinstance(frame, Finished) and (frame.id in begun or frame.outcome != "refused"):
                    found[frame.id] = frame.charged_nanousd or frame.cost_nanousd or 0
    return found


def verified(layout: Layout) -> list[str]:
    """What `verify` finds wrong with log, chain and bodies."""
    report = verify(layout, master=master_key(layout, None), known=remembered(layout.database))
    return [str(problem) for problem in report.problems]
