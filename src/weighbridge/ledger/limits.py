"""Limits of budgets that somebody changed while the gateway runs, over what the configuration file says.

The file stays the source of truth: a change is made over the limit that the file had, and holds as long as the file
says that limit. Once the file says another one, that counts, and the change is history. Each change is an object of the
signed log, so it is audited like everything else there, and survives the loss of the database.
"""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

import msgspec

from weighbridge.config.tree import Config
from weighbridge.errors import StoreError, UsageError
from weighbridge.exchanges.chain import Snapshot
from weighbridge.records.budget import Budget
from weighbridge.records.canonical import digest, parse
from weighbridge.records.usage import NANOUSD
from weighbridge.store.layout import Layout

LIMIT_SCHEMA = "limit/1"
LIMIT_USD_MAX = 1_000_000_000


class LimitChange(msgspec.Struct, frozen=True, kw_only=True):
    """One object of kind `limit`; its label is the budget's name."""

    schema: str
    budget: str
    limit_nanousd: int | None
    """`None`: back to the file's limit."""
    over_nanousd: int
    """What the file said when this was made."""
    by: str
    why: str
    time_ns: int


def limit_of(text: str) -> int:
    """Nano-dollars of an amount that a person wrote, as `limit_usd` in the file. Raises `UsageError`."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise UsageError(f"limit {text!r}: write US dollars, e.g. 80.00") from None
    if not amount.is_finite() or not 0 <= amount <= LIMIT_USD_MAX or amount * NANOUSD % 1 != 0:
        raise UsageError(f"limit {text!r}: 0 to {LIMIT_USD_MAX:,} US dollars are allowed, with at most nine decimals")
    return int(amount * NANOUSD)


def newest_changes(layout: Layout, snapshot: Snapshot) -> dict[str, LimitChange]:
    """Budget -> its newest change. Raises `StoreError` for one that is not as it was signed."""
    newest = {entry.label: entry for entry in snapshot.objects if entry.kind == "limit"}
    found = {}
    for name, entry in newest.items():
        try:
            body = layout.object(entry.digest).read_bytes()
            if digest(body) != entry.digest:
                raise ValueError("it is not the one that was signed; `weighbridge verify` says more")
            found[name] = parse(body, LimitChange)
        except (OSError, ValueError) as error:
            raise StoreError(f"the change of budget {name}'s limit cannot be read: {error}") from None
    return found


def in_force(config: Config, newest: Mapping[str, LimitChange]) -> dict[str, LimitChange]:
    """Those that count: the file knows the budget and says what it said when the change was made."""
    said = {row.name: int(Decimal(row.limit_usd) * NANOUSD) for row in config.budget}
    return {
        name: change
        for name, change in newest.items()
        if change.limit_nanousd is not None and said.get(name) == change.over_nanousd
    }


def with_limits(budgets: tuple[Budget, ...], changes: Mapping[str, LimitChange]) -> tuple[Budget, ...]:
    """Budgets with the limits that are in force."""
    return tuple(
        msgspec.structs.replace(one, limit_nanousd=limit)
        if one.name in changes and (limit := changes[one.name].limit_nanousd) is not None
        else one
        for one in budgets
    )
