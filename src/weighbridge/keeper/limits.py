"""A person changes a budget's limit: what is asked becomes what is signed. Pure."""

from weighbridge.config.tree import Config
from weighbridge.errors import ControlError
from weighbridge.keeper.compile import compiled_budget
from weighbridge.ledger.limits import LIMIT_SCHEMA, LIMIT_USD_MAX, LimitChange
from weighbridge.records.usage import NANOUSD
from weighbridge.store.control import SetLimit


def limit_change(config: Config, asked: SetLimit, by: str, now_ns: int) -> LimitChange:
    """Raises `ControlError` for a budget that the configuration does not have, and for a limit out of range."""
    row = next((row for row in config.budget if row.name == asked.budget), None)
    if row is None:
        known = ", ".join(one.name for one in config.budget) or "none"
        raise ControlError(f"there is no budget {asked.budget!r}; the configuration has: {known}")
    if asked.limit_nanousd is not None and not 0 <= asked.limit_nanousd <= LIMIT_USD_MAX * NANOUSD:
        raise ControlError(
            f"a limit of {asked.limit_nanousd} nano-dollars is out of range; "
            f"0 to {LIMIT_USD_MAX:,} US dollars are allowed"
        )
    return LimitChange(
        schema=LIMIT_SCHEMA, budget=asked.budget, limit_nanousd=asked.limit_nanousd,
        over_nanousd=compiled_budget(row).limit_nanousd, by=by, why=asked.why, time_ns=now_ns,
    )  # fmt: skip
