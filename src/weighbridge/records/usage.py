"""Tokens and money.

Token classes are disjoint: their sum is the number of tokens the provider counted. Money is integer nano-dollars
(1 USD = 10^9). Unknown is `None`, never 0.
"""

from decimal import Decimal, InvalidOperation

import msgspec

NANOUSD = 1_000_000_000
PRICE_USD_MAX = 1_000_000
"""Per million tokens, or per request: nothing costs a dollar a token, and sums stay far from overflow."""
_NANO = Decimal(1).scaleb(-9)
MILLION = 1_000_000
COST_NANOUSD_MAX = 1 << 60
"""A thousand million dollars: what would cost more has an unknown cost, and sums of a few stay within 64 bits."""


class Usage(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a provider said a call used, in disjoint token classes."""

    input: int
    """Input tokens that were neither read from nor written to a cache."""
    output: int
    """Output tokens the client can see."""
    cache_read: int = 0
    cache_write: int = 0
    """Cache writes with the provider's default lifetime."""
    cache_write_1h: int = 0
    reasoning: int = 0
    """Output tokens spent on reasoning, not part of `output`."""

    @property
    def total(self) -> int:
        return self.input + self.output + self.cache_read + self.cache_write + self.cache_write_1h + self.reasoning

    @property
    def input_total(self) -> int:
        return self.input + self.cache_read + self.cache_write + self.cache_write_1h


class Price(msgspec.Struct, frozen=True, gc=False):
    """What one endpoint charges for one model, compiled to integers: nano-dollars per million tokens.

    A class whose price is unknown is `None`; a call that used tokens of that class then has an unknown cost. Past
    `input_tokens_max` another (context tier) price holds that is not compiled here: the cost is unknown too.
    """

    input: int
    output: int
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    reasoning: int | None = None
    per_request_nanousd: int = 0
    input_tokens_max: int | None = None


def cost_nanousd(usage: Usage, price: Price) -> int | None:
    """Nano-dollars of one call, rounded up once at the end; `None` where a class that was used has no known price.

    A cost past `COST_NANOUSD_MAX` is `None` too: such a count or price is a mistake.
    """
    if price.input_tokens_max is not None and usage.input_total > price.input_tokens_max:
        return None
    total = usage.input * price.input + usage.output * price.output
    for tokens, rate in (
        (usage.cache_read, price.cache_read),
        (usage.cache_write, price.cache_write),
        (usage.cache_write_1h, price.cache_write_1h),
        (usage.reasoning, price.reasoning),
    ):
        if tokens:
            if rate is None:
                return None
            total += tokens * rate
    return bounded_cost(-(-total // MILLION) + price.per_request_nanousd)


def bounded_cost(nanousd: int) -> int | None:
    """The amount, `None` (unknown) where it is more than any call can cost."""
    return nanousd if nanousd <= COST_NANOUSD_MAX else None


def nanousd_per_million(usd_per_million: str) -> int:
    """`"0.35"` (USD per million tokens) as nano-dollars per million tokens. Raises `ValueError` on anything else."""
    try:
        amount = Decimal(usd_per_million)
    except InvalidOperation:
        raise ValueError(f"{usd_per_million!r} is not an amount; write USD per million tokens, e.g. '0.35'") from None
    # The range first, in comparisons, which are exact: arithmetic on 1e999999 overflows, on 1e-999999999 it gives 0.
    if not amount.is_finite() or not (amount == 0 or _NANO <= amount <= PRICE_USD_MAX) or amount % _NANO != 0:
        raise ValueError(f"{usd_per_million!r} must be 0 to {PRICE_USD_MAX:,} USD, with at most nine decimals")
    return int(amount / _NANO)


def usd(nanousd: int | None) -> str:
    """Money for people: `$0.0123`, `unknown` where it is not known. Never rounds a known cost down to $0."""
    if nanousd is None:
        return "unknown"
    amount = Decimal(nanousd) / NANOUSD
    if amount == 0:
        return "$0"
    places = 2 if abs(amount) >= 1 else max(4, -amount.adjusted() + 1)
    return f"${amount:,.{places}f}"
