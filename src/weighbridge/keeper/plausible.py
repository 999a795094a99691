"""Prices that can hardly be meant: written per token, or per thousand, in place of per million."""

from collections.abc import Iterator
from typing import Final

from weighbridge.records.table import Arm, RouteTable
from weighbridge.records.usage import Price, usd

LOWEST_NANOUSD: Final = 1_000_000
HIGHEST_NANOUSD: Final = 1_000_000_000_000
"""0.001 and 1,000 USD per million tokens. In the price book, chat models cost from 0.01 to 600. 0 is a statement (own
servers), and no slip of a unit."""


def implausible(arm: Arm) -> str | None:
    """What is odd about a price that this arm has, now or later; `None` where nothing is."""
    prices = (arm.price, *(later.price for later in arm.later))
    return next((found for price in prices if price is not None for found in _odd(price)), None)


def implausible_prices(table: RouteTable) -> dict[str, str]:
    """By arm."""
    return {arm.name: found for arm in table.arms if (found := implausible(arm)) is not None}


def _odd(price: Price) -> Iterator[str]:
    rates = {"input": price.input, "output": price.output, "cache_read": price.cache_read, "reasoning": price.reasoning}
    for name, rate in rates.items():
        if rate and not LOWEST_NANOUSD <= rate <= HIGHEST_NANOUSD:
            which = "below" if rate < LOWEST_NANOUSD else "above"
            bound = usd(LOWEST_NANOUSD if rate < LOWEST_NANOUSD else HIGHEST_NANOUSD)
            yield f"{name} costs {usd(rate)} per million tokens, {which} {bound}: was it written in another unit?"
