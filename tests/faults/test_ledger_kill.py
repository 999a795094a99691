"""Promises 5 and 6: `kill -9` of worker, keeper and supervisor under hard budgets. The ledger is what the log says.

After any number of kills: no lease is out, each request is charged once (what it cost; where nobody knows, all that was
held), what a dead worker held is booked at its upper bound and marked, and the cap was never exceeded.
"""

import random
import time
from pathlib import Path
from typing import NamedTuple

import apsw
import msgspec
import pytest

from tests.app.serving import ask, write_config
from tests.app.test_budgets import budget
from tests.fakes.provider import FakeProvider, Script
from tests.faults.test_kill import PAUSE_S_MAX, Load, audited, free_port, kept_serving, kill
from weighbridge.app import keeper_of
from weighbridge.config import load as load_config
from weighbridge.exchanges.reader import read
from weighbridge.ledger.agreement import agree
from weighbridge.ledger.life import bound, charge
from weighbridge.store.books import sqlite_books
from weighbridge.store.control import ShowBudgets, Standings
from weighbridge.store.layout import Layout
from weighbridge.store.ledger import LedgerStore
from weighbridge.store.sql import SqliteSql

RESOLVED_S_MAX = 60


def ledger(layout: Layout) -> LedgerStore:
    return LedgerStore(SqliteSql(layout.ledger, time.time_ns))


class Survived(NamedTuple):
    kills: int
    requests: int
    orphans: int
    resolved_s: float
    """From the last kill until its orphans were booked."""


def survives(tmp_path: Path, kills: int, seed: int) -> Survived:
    random.seed(seed)
    victims = [("worker", "keeper", "supervisor")[number % 3] for number in range(kills)]
    random.shuffle(victims)
    limit = 50_000_000_000
    with FakeProvider() as provider:
        provider.answers["model-a"] = Script(delay_s=0.02)
        file = write_config(tmp_path, provider.url)
        text = file.read_text().replace(
            '[server]\nlisten = "127.0.0.1:0"', f'[server]\nworkers = 2\nlisten = "127.0.0.1:{free_port()}"'
        )
        file.write_text(
            f'{text}budget = "support"\n{budget("support", limit, parent="company")}{budget("company", 2 * limit)}'
        )
        with kept_serving(file) as running:
            with Load(running[0].listen) as load:
                for victim in victims:
                    time.sleep(random.uniform(0, PAUSE_S_MAX))
                    kill(victim, running, file)
                    load.goes_on()
            kill("worker", running, file)
            killed = time.monotonic()
            layout = running[-1].layout
            while lost(layout) - orphans(layout):
                assert time.monotonic() - killed < RESOLVED_S_MAX, "orphans are not resolved"
                time.sleep(0.1)
            resolved_s = time.monotonic() - killed
            assert ask(running[-1].listen).status == 200
            assert running[-1].end() == 0
        with keeper_of(load_config(file)) as keeper:  # what a busy machine had no time to read before the end
            keeper.call(ShowBudgets(), Standings)
        audited(layout, load.answered)
    expected = 0
    unknown = requests = 0
    for exchange in read(layout):
        if exchange.outcome == "refused":
            continue  # while no keeper was there; it is in the log, and in no budget
        requests += 1
        if exchange.outcome == "lost":
            posted = sum(attempt.cost_nanousd or 0 for attempt in exchange.attempts)
            unknown += bound(exchange.held_nanousd, posted)
            assert orphans_booked(layout)[exchange.id] == bound(exchange.held_nanousd, posted) > 0
        elif exchange.cost_nanousd is None:
            unknown += charge(exchange.held_nanousd, None)
        else:
            expected += exchange.cost_nanousd
    store = ledger(layout)
    assert [] == store.leases()
    for window in store.windows():
        assert expected + unknown == window.posted_nanousd == window.used_nanousd <= limit
        assert unknown == window.bound_nanousd
        assert requests == window.requests
        assert window.orphans == len(orphans_booked(layout))
    assert 2 == len(store.windows())
    store.close()
    site = layout.site.read_text().strip()
    books = sqlite_books(layout.ledger, site)
    assert books is not None
    agreement = agree(layout, books, site)
    assert ([], 2, 2 * requests) == (agreement.differences, agreement.windows, agreement.requests)
    return Survived(kills + 1, requests, len(orphans_booked(layout)), resolved_s)


def lost(layout: Layout) -> set[str]:
    return {exchange.id for exchange in read(layout) if exchange.outcome == "lost"}


def orphans(layout: Layout) -> set[str]:
    return set(orphans_booked(layout))


def orphans_booked(layout: Layout) -> dict[str, int]:
    # Read beside the running keeper, so read-only: there is one writer.
    db = apsw.Connection(str(layout.ledger), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        db.set_busy_timeout(2_000)
        rows = db.execute("SELECT exchange, booked_nanousd FROM orphan").fetchall()
        return dict(msgspec.convert(rows, list[tuple[str, int]]))
    finally:
        db.close()


@pytest.mark.promise(5, 6)
def test_ten_kills_leave_a_ledger_that_says_what_the_log_says(tmp_path: Path) -> None:
    survives(tmp_path, 9, seed=3)


@pytest.mark.promise(5, 6)
@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_fifty_kills_leave_a_ledger_that_says_what_the_log_says(tmp_path: Path, seed: int) -> None:
    survives(tmp_path, 49, seed)
