"""Tokens and money.

Token classes are disjoint: their sum is the number of tokens the provider counted. Money is integer nano-dollars
(1 USD = 10^9). Unknown is `None`, never 0.
"""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

import msgspec

NANOUSD = 1_000_000_000
PRICE_USD_MAX = 1_000_000
"""Per million tokens, or per request: nothing costs a dollar a token, and sums stay far from overflow."""
_NANO = Decimal(1).scaleb(-9)
MILLION = 1_000_000
COST_NANOUSD_MAX = 1 << 60
"""A thousand million dollars: what would cost more has an unknown cost, and sums of a few stay within 64 bits."""


STANDARD_TIERS = frozenset(("default", "standard", "on_demand"))
"""What providers call the service tier that their plain price is for (OpenAI, Anthropic, Groq)."""


class Usage(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a provider said a call used, in disjoint token classes, and what else of it decides the price."""

    input: int
    """Text tokens of the input that were neither read from nor written to a cache."""
    output: int
    """Text tokens of the output that the client can see."""
    cache_read: int = 0
    cache_write: int = 0
    """Cache writes with the provider's default lifetime."""
    cache_write_1h: int = 0
    reasoning: int = 0
    """Output tokens spent on reasoning, not part of `output`."""
    audio_input: int = 0
    audio_output: int = 0
    image_input: int = 0
    image_output: int = 0
    web_searches: int = 0
    """Searches that the provider ran for this call: units with a fee each, no tokens."""
    service_tier: str | None = None
    """As the *response* reports it, in its words; `None` where it says nothing."""

    @property
    def total(self) -> int:
        return self.input_total + self.output_total

    @property
    def input_total(self) -> int:
        return (
            self.input + self.cache_read + self.cache_write + self.cache_write_1h + self.audio_input + self.image_input
        )

    @property
    def output_total(self) -> int:
        return self.output + self.reasoning + self.audio_output + self.image_output


def total_usage(usages: Sequence[Usage]) -> Usage:
    """Class by class, of at least one. The service tier stays where all agree; a sum has no price of its own anyhow."""
    if len(usages) == 1:
        return usages[0]
    tiers = {one.service_tier for one in usages}
    sums = {name: sum(getattr(one, name) for one in usages) for name in COUNTED}
    return Usage(**sums, service_tier=tiers.pop() if len(tiers) == 1 else None)


COUNTED = tuple(name for name in Usage.__struct_fields__ if name != "service_tier")
"""The fields of `Usage` that are counts."""


class Price(msgspec.Struct, frozen=True, gc=False):
    """What one endpoint charges for one model, compiled to integers: nano-dollars per million tokens.

    A class whose price is unknown is `None`; a call that used tokens of that class then has an unknown cost. Up to
    `input_tokens_max` these rates hold; past it those of `tiers` do, and where there are none the cost is unknown. A
    call that was served in another tier than the standard one costs what `services` says of it, else it is unknown:
    never the standard price.
    """

    input: int
    output: int
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    reasoning: int | None = None
    per_request_nanousd: int = 0
    input_tokens_max: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    image_input: int | None = None
    image_output: int | None = None
    web_search_nanousd: int | None = None
    """For each search."""
    tiers: "tuple[PastContext, ...]" = ()
    """Ascending. The tier of a call holds for all its tokens (providers bill a cliff, not a ramp)."""
    services: "tuple[ServiceTier, ...]" = ()

    def served(self, tier: str | None) -> "Price | None":
        """The price of a service tier, by the response's own word; `None` where this price does not know it."""
        if tier is None or tier in STANDARD_TIERS:
            return self
        return next((one.price for one in self.services if one.name == tier), None)

    def at_length(self, input_total: int) -> "Price | None":
        """What holds for a call with this many input tokens: fresh, cached and written ones together decide."""
        if self.input_tokens_max is None or input_total <= self.input_tokens_max:
            return self
        return next((one.price for one in reversed(self.tiers) if input_total > one.above), None)


class PastContext(msgspec.Struct, frozen=True, gc=False):
    above: int
    """Past this many input tokens."""
    price: Price


class ServiceTier(msgspec.Struct, frozen=True, gc=False):
    name: str
    """As the response reports it, e.g. `flex`, `priority`, `batch`."""
    price: Price


class PriceFrom(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A price that begins to hold at a moment: a dated change, or an hour of the day. The request's start decides."""

    from_ns: int
    price: Price | None
    """`None`: unknown from then on."""
    version: str | None


def cost_nanousd(usage: Usage, price: Price) -> int | None:
    """Nano-dollars of one call, rounded up once at the end; `None` where what was used has no known price.

    A cost past `COST_NANOUSD_MAX` is `None` too: such a count or price is a mistake.
    """
    holds: Price | None = price
    if usage.service_tier is not None:
        holds = price.served(usage.service_tier)
    if holds is not None and holds.input_tokens_max is not None:
        holds = holds.at_length(usage.input_total)
    if holds is None:
        return None
    price = holds
    total = usage.input * price.input + usage.output * price.output
    if usage.cache_read or usage.cache_write or usage.cache_write_1h or usage.reasoning:
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
    fees = price.per_request_nanousd
    if usage.audio_input or usage.audio_output or usage.image_input or usage.image_output or usage.web_searches:
        more = _more(usage, price)
        if more is None:
            return None
        total += more[0]
        fees += more[1]
    return bounded_cost(-(-total // MILLION) + fees)


def _more(usage: Usage, price: Price) -> tuple[int, int] | None:
    """What few calls use: tokens times rates of sound and images, and fees."""
    total = 0
    for tokens, rate in (
        (usage.audio_input, price.audio_input),
        (usage.audio_output, price.audio_output),
        (usage.image_input, price.image_input),
        (usage.image_output, price.image_output),
    ):
        if tokens:
            if rate is None:
                return None
            total += tokens * rate
    if usage.web_searches and price.web_search_nanousd is None:
        return None
    return total, usage.web_searches * (price.web_search_nanousd or 0)


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
