"""Budgets that have reached 50, 80 or 100 per cent of their cap: each is told once, over all keepers of a database."""

import logging
from collections.abc import Mapping

from weighbridge.config import Loaded
from weighbridge.errors import StoreError
from weighbridge.keeper.alerts import Alerts
from weighbridge.keeper.bank import Bank
from weighbridge.ledger.standing import reached
from weighbridge.records.budget import Budget
from weighbridge.records.usage import usd
from weighbridge.store.funds import Standing

log = logging.getLogger("keeper")


async def tell_of_thresholds(bank: Bank, budgets: Mapping[str, Budget], alerts: Alerts, loaded: Loaded) -> None:
    if not budgets:
        return
    try:
        for percent, row in await bank.do(lambda: reached(bank.store, budgets, bank.now_ns())):
            subject, lines = words(percent, row)
            name = "budget-spent" if percent >= 100 else "budget-nearly-spent"
            alerts.send(loaded, name, subject, lines, budget=row.budget, percent=percent)
    except StoreError as error:
        log.error("budgets cannot be looked at for alerts: %s", error)


def words(percent: int, row: Standing) -> tuple[str, tuple[str, ...]]:
    """The subject of a message, and its lines."""
    kind = "Hard budget" if row.hard else "Budget"
    subject = f"{kind} {row.budget!r}: {percent} % reached"
    lines = [f"{usd(row.spent_nanousd)} of {usd(row.limit_nanousd)} spent ({row.span})"]
    if percent >= 100:
        lines.append(
            "Requests are refused until it starts anew." if row.hard else "Nothing is refused: it is not a hard one."
        )
    return subject, tuple(lines)
