"""Budgets that have reached 50, 80 or 100 per cent of their cap: each is told once, over all keepers of a database.

A budget over a minute or an hour is a limit on the rate of spend, and may reach its cap in each of them: that is told
once an hour, with how often it was.
"""

import logging
from collections.abc import Mapping

from weighbridge.config import Loaded
from weighbridge.errors import StoreError
from weighbridge.keeper.alerts import Alerts
from weighbridge.keeper.bank import Bank
from weighbridge.ledger.standing import reached
from weighbridge.ledger.windows import shown
from weighbridge.records.budget import Budget
from weighbridge.records.usage import usd
from weighbridge.store.funds import Standing

log = logging.getLogger("keeper")

QUIET_NS = 3_600 * 1_000_000_000
RATES = ("minute", "hour")


class Rates:
    """When the threshold of a short window was told, and how many windows have reached it since."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, int], int] = {}
        self._since: dict[tuple[str, int], int] = {}

    def tells(self, percent: int, row: Standing, now_ns: int) -> bool:
        key = (row.budget, percent)
        last = self._told.get(key)
        if row.span.partition(" ")[0] in RATES and last is not None and now_ns - last < QUIET_NS:
            self._since[key] = self._since.get(key, 0) + 1
            return False
        self._told[key] = now_ns
        return True

    def missed(self, percent: int, row: Standing) -> int:
        """Windows that reached it and were not told; they are forgotten with this."""
        return self._since.pop((row.budget, percent), 0)


async def tell_of_thresholds(
    bank: Bank, budgets: Mapping[str, Budget], alerts: Alerts, loaded: Loaded, rates: Rates
) -> None:
    if not budgets:
        return

    def look() -> tuple[int, list[tuple[int, Standing]]]:
        now_ns = bank.now_ns()
        return now_ns, reached(bank.store, budgets, now_ns)

    try:
        now_ns, found = await bank.do(look)
        for percent, row in found:
            if rates.tells(percent, row, now_ns):
                subject, lines = words(percent, row, rates.missed(percent, row))
                name = "budget-spent" if percent >= 100 else "budget-nearly-spent"
                alerts.send(loaded, name, subject, lines, budget=row.budget, percent=percent)
    except StoreError as error:
        log.error("budgets cannot be looked at for alerts: %s", error)


def words(percent: int, row: Standing, missed: int = 0) -> tuple[str, tuple[str, ...]]:
    """The subject of a message, and its lines. `missed`: windows that reached it since the last message."""
    kind = "Hard budget" if row.hard else "Budget"
    subject = f"{kind} {row.budget!r}: {percent} % reached"
    limit = row.limit_nanousd or 0
    rest = limit - row.spent_nanousd
    spent = f"{usd(row.spent_nanousd)} of {usd(limit)} spent"
    spent += f", {usd(rest)} left" if rest >= 0 else f", {usd(-rest)} over"
    if row.start_ns is not None and row.end_ns is not None:
        spent += f"; this {row.span.partition(' ')[0]} began {shown(row.start_ns, row.span)}"
    lines = [spent]
    if row.bound_nanousd:
        lines.append(f"{usd(row.bound_nanousd)} of it is an upper bound: nobody knows what those requests cost.")
    lines.append("It never starts anew." if row.end_ns is None else f"It starts anew {shown(row.end_ns, row.span)}.")
    if percent >= 100 and row.hard:
        until = "" if row.end_ns is None else "then, or until "
        how = f"weighbridge budget limit {row.budget} USD --why TEXT"
        lines.append(f"Requests are refused until {until}its limit is raised: {how}")
    elif percent >= 100:
        lines.append("Nothing is refused: it is not a hard one.")
    if missed:
        lines.append(f"{missed:,} more of its windows have reached this since the last message; one an hour is told.")
    return subject, tuple(lines)
