"""What a trial may spend: the upper bound of each replay is held before it is sent."""

from collections.abc import Iterable

from weighbridge.records.exchange import Exchange
from weighbridge.records.usage import Price, Usage, cost_nanousd
from weighbridge.trials.frame import Item

TEMPLATE_TOKENS = 256
OUTPUT_TOKENS_FLOOR = 4096
OUTPUT_FACTOR = 4
"""Without a token limit in the request or on the route, an answer is assumed to stay below four times the incumbent's
longest, and below no less than 4,096 tokens. The posted cost replaces the bound."""


def output_bound(item: Item, route_default: int | None, longest: int) -> int:
    """An upper bound of output tokens: the request's limit, the route's, else `OUTPUT_FACTOR` x the longest seen."""
    for limit in (item.max_tokens, route_default):
        if limit is not None:
            return limit
    return max(OUTPUT_TOKENS_FLOOR, OUTPUT_FACTOR * longest)


def bound_nanousd(item: Item, output_tokens: int, price: Price | None, added_bytes: int = 0) -> int | None:
    """An upper bound of what a replay costs; `None` where the price is unknown.

    A token is at least a byte of the request, so bytes bound input tokens, with `TEMPLATE_TOKENS` for what a chat
    template adds. `added_bytes`: the arm's own system prompt.
    """
    return call_bound_nanousd(item.request_bytes, output_tokens, price, added_bytes)


def call_bound_nanousd(request_bytes: int, output_tokens: int, price: Price | None, added_bytes: int = 0) -> int | None:
    """The same for a request of so many bytes."""
    if price is None:
        return None
    dearest = max(price.output, price.reasoning or 0)
    worst = Price(
        input=max(price.input, price.cache_write or 0, price.cache_write_1h or 0),
        output=dearest,
        per_request_nanousd=price.per_request_nanousd,
    )
    return cost_nanousd(Usage(input=request_bytes + added_bytes + TEMPLATE_TOKENS, output=output_tokens), worst)


class OutOfMoney(Exception):  # noqa: N818 (what happened)
    """The next call might exceed the cap; it was not made."""


class Purse:
    """Spent and held nano-dollars against a cap. Without a cap it only counts."""

    def __init__(self, cap_nanousd: int | None, spent_nanousd: int = 0, unknown: int = 0) -> None:
        self.cap_nanousd, self.spent_nanousd, self.held_nanousd = cap_nanousd, spent_nanousd, 0
        self.unknown = unknown
        """Replays whose cost nobody knows."""
        self._waiting: dict[str, int] = {}

    def hold(self, bound: int | None) -> bool:
        """Hold the upper bound of one replay. False: it might exceed the cap; nothing is held."""
        if self.cap_nanousd is not None and bound is None:
            return False
        if self.cap_nanousd is not None and self.spent_nanousd + self.held_nanousd + (bound or 0) > self.cap_nanousd:
            return False
        self.held_nanousd += bound or 0
        return True

    def settle(self, bound: int | None, cost: int) -> None:
        """The replay has ended and cost this much."""
        self.held_nanousd -= bound or 0
        self.spent_nanousd += cost

    def settle_later(self, bound: int | None, exchange: str | None) -> None:
        """The replay has ended; the log will say what it cost (`hear`). Its bound stays held until then."""
        if exchange is None:
            self.unknown += 1
            self.held_nanousd -= bound or 0
            self.spent_nanousd += bound or 0
        else:
            self._waiting[exchange] = bound or 0

    @property
    def waiting(self) -> bool:
        return bool(self._waiting)

    def hear(self, exchange: Exchange) -> None:
        """The log says what a replay cost. An unknown cost is booked at its bound, and counted as unknown."""
        bound = self._waiting.pop(exchange.id, None)
        if bound is None:
            return
        cost = cost_of(exchange)
        if cost is None:
            self.unknown += 1
        self.settle(bound, bound if cost is None else cost)

    @property
    def left_nanousd(self) -> int | None:
        return None if self.cap_nanousd is None else max(0, self.cap_nanousd - self.spent_nanousd)


def cost_of(exchange: Exchange) -> int | None:
    """What a logged replay cost; `None` where that is unknown.

    Nothing was sent: 0. An error status without a usage block counts as not billed: providers bill answers.
    """
    if exchange.cost_nanousd is not None:
        return exchange.cost_nanousd
    if exchange.outcome == "refused" or not exchange.attempts:
        return 0
    if exchange.outcome == "upstream_error" and all(
        one.usage is None and one.status not in (None, 200) for one in exchange.attempts
    ):
        return 0
    return None


def total_cost(exchanges: Iterable[Exchange]) -> int | None:
    """The sum over a trial's exchanges; `None` as soon as one is unknown."""
    total = 0
    for exchange in exchanges:
        cost = cost_of(exchange)
        if cost is None:
            return None
        total += cost
    return total
