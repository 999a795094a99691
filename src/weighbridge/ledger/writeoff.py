"""Leases of a worker whose log is lost: nobody can say what it spent, so all that it was leased is booked as spent.

The safe side, and the only way in which a lease ends without its owner's log: a person asks for it and says why, or a
backup is put back that was taken while the worker still wrote. What was booked so is marked as an upper bound.
"""

from weighbridge.ledger.life import bound
from weighbridge.ledger.projection import OVER
from weighbridge.records.backup import WrittenOff
from weighbridge.store.ledger import LedgerStore, Sums


def write_off(store: LedgerStore, site: str, worker: str, now_ns: int) -> tuple[WrittenOff, ...]:
    """Book and close every lease of a worker; its log is not read any more. In a transaction.

    Requests that are known to be open are booked as orphans, at their upper bound, as those of any dead worker. Under a
    cap the rest of the lease is added; an account that is only counted has no rest.
    """
    before = {row.id: row for row in store.leases_of(worker)}
    for hold in store.open_holds(worker):
        booked = bound(hold.held_nanousd, hold.posted_nanousd)
        charged = Sums(posted=booked, bound=booked, requests=1, orphans=1)
        store.post({lease: charged for lease in hold.leases if isinstance(lease, int)})
        store.put_orphans(worker, {hold.exchange: booked}, now_ns)
        store.drop_open_holds((hold.exchange,))
    rows = []
    for row in store.leases_of(worker):
        rest = max(0, row.granted_nanousd - row.posted_nanousd)
        store.post({row.id: Sums(posted=rest, bound=rest)})
        whole = store.lease(row.id)
        window = store.window(row.window_id)
        if whole is None or window is None:
            continue
        store.close_lease(whole)
        rows.append(
            WrittenOff(
                worker=worker, budget=window.budget, subject=window.subject, span=window.span,
                start_ns=window.start_ns, nanousd=whole.posted_nanousd - before[row.id].posted_nanousd,
            )
        )  # fmt: skip
    store.set_projected(site, worker, OVER, 0)
    return tuple(rows)
