"""Where each budget stands: what is spent, what is out in leases, what is left, and when it starts anew."""

from collections.abc import Mapping

from weighbridge.records.budget import Budget
from weighbridge.store.funds import Standing
from weighbridge.store.ledger import LedgerStore, WindowRow

THRESHOLDS_PERCENT = (50, 80, 100)
"""At which parts of a cap somebody is told."""


def standings(store: LedgerStore, budgets: Mapping[str, Budget], now_ns: int, *, users: bool) -> list[Standing]:
    """Every budget of the configuration, and the open windows of what else is counted; `users`: of end users too."""
    rows = [_of_window(store, budgets, window) for window in store.windows(now_ns) if users or not window.subject]
    counted = {row.budget for row in rows if not row.subject and row.configured}
    idle = [
        Standing(budget=budget.name, subject="", span=budget.span, hard=budget.hard, configured=True,
                 limit_nanousd=budget.limit_nanousd, left_nanousd=budget.limit_nanousd)
        for budget in budgets.values()
        if budget.name not in counted
    ]  # fmt: skip
    return sorted((*rows, *idle), key=lambda row: (row.budget, row.subject))


def _of_window(store: LedgerStore, budgets: Mapping[str, Budget], window: WindowRow) -> Standing:
    budget = budgets.get(window.budget)
    out = store.leases_in(window.id)
    posted = window.posted_nanousd + sum(row.posted_nanousd for row in out)
    limit = window.limit_nanousd
    if budget is not None and budget.span == window.span:
        # The window takes a changed limit over when somebody next asks for room; it holds from now on all the same.
        limit = budget.per_user_nanousd if window.subject else budget.limit_nanousd
    hard = window.limit_nanousd is not None
    used = window.used_nanousd if hard else posted
    return Standing(
        budget=window.budget,
        subject=window.subject,
        span=window.span,
        hard=hard,
        configured=budget is not None and budget.span == window.span,
        limit_nanousd=limit,
        spent_nanousd=posted,
        leased_nanousd=max(0, used - posted),
        left_nanousd=None if limit is None else max(0, limit - used),
        bound_nanousd=window.bound_nanousd + sum(row.bound_nanousd for row in out),
        excess_nanousd=window.excess_nanousd + sum(row.excess_nanousd for row in out),
        requests=window.requests + sum(row.requests for row in out),
        orphans=window.orphans + sum(row.orphans for row in out),
        leases=len(out),
        start_ns=window.start_ns,
        end_ns=window.end_ns,
    )


def crossed(spent_nanousd: int, limit_nanousd: int) -> int:
    """The highest threshold that was reached, per cent; 0 for none."""
    return max((part for part in THRESHOLDS_PERCENT if spent_nanousd * 100 >= limit_nanousd * part), default=0)


def reached(store: LedgerStore, budgets: Mapping[str, Budget], now_ns: int) -> list[tuple[int, Standing]]:
    """Thresholds that were reached since they were last asked for, each once. In a transaction."""
    found = []
    for row in standings(store, budgets, now_ns, users=False):
        if row.start_ns is None or not row.limit_nanousd or not row.configured:
            continue
        percent = crossed(row.spent_nanousd, row.limit_nanousd)
        window = store.window_at(row.budget, row.subject, row.span, row.start_ns)
        if percent and window is not None and store.set_alerted(window.id, percent):
            found.append((percent, row))
    return found
