"""From the price book and the configuration to integer prices.

An arm's `price` in the configuration wins over the price book (genai-prices, https://github.com/pydantic/genai-prices),
which is looked up by the endpoint's `provider`, or by its base URL where no provider is named. What the book cannot
say is unknown:

- a class without a price of its own is `None`; only reasoning falls back to the output price, because providers bill
  it as output unless they list it apart
- past the first context tier another price holds; the base tier is compiled with its limit, `input_tokens_max`
- a price with dates or hours holds until `until_ns`; the keeper compiles again then
- service tiers (flex, priority, batch), audio and image tokens and tool fees are not compiled
"""

import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING

import msgspec

from weighbridge.config.tree import ArmSection, EndpointSection, PriceSection
from weighbridge.records.canonical import canonical, digest
from weighbridge.records.usage import NANOUSD, Price, nanousd_per_million

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

BOOK = "genai-prices"

TOKEN_KEYS = ("input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok", "cache_write_1h_mtok",
              "output_reasoning_mtok")  # fmt: skip
"""Keys of the book that are compiled. The price of a plain 5-minute cache write is `cache_write_mtok`."""


class PriceFound(msgspec.Struct, frozen=True, kw_only=True, tag="found"):
    price: Price
    version: str
    """Stored with every cost, e.g. `genai-prices 0.2.3 openai/gpt-4o` or `config:1f0c9a2b`."""
    source: str
    """For people: the file and key, or the provider's pricing page that the book names."""
    date: str | None
    """The day since when the book knows this price to hold, ISO; `None` where it does not say."""
    until_ns: int | None
    """When another price may hold (a dated change or a time of day); `None` if the book knows of none."""


class PriceUnknown(msgspec.Struct, frozen=True, tag="unknown"):
    why: str


PriceAnswer = PriceFound | PriceUnknown


def book_version() -> str:
    """The installed price book, e.g. `genai-prices 0.2.3`. Does not load it."""
    return f"{BOOK} {installed_version(BOOK)}"


def listed_models() -> dict[str, tuple[str, ...]]:
    """Which models the installed price book lists, by provider id. Loads 2,000 models: only where somebody asks."""
    from genai_prices.data_snapshot import get_snapshot

    return {one.id: tuple(info.id for info in one.models) for one in get_snapshot().providers}


def compile_price(arm: ArmSection, endpoint: EndpointSection, at: datetime) -> PriceAnswer:
    """The price of an arm at a moment (with a time zone), or why it is unknown. Never raises for an unknown model."""
    if arm.price is not None:
        return _stated(arm.name, arm.price)
    return _from_book(arm, endpoint, at)


def _stated(arm: str, section: PriceSection) -> PriceFound:
    output = nanousd_per_million(section.output)
    return PriceFound(
        price=Price(
            input=nanousd_per_million(section.input),
            output=output,
            cache_read=_or_none(section.cache_read),
            cache_write=_or_none(section.cache_write),
            cache_write_1h=_or_none(section.cache_write_1h),
            reasoning=output if section.reasoning is None else nanousd_per_million(section.reasoning),
            per_request_nanousd=0 if section.per_request is None else nanousd_per_million(section.per_request),
        ),
        version=f"config:{digest(canonical(section))[:8]}",
        source=f"arm[{arm}].price",
        date=None,
        until_ns=None,
    )


def _or_none(usd_per_million: str | None) -> int | None:
    return None if usd_per_million is None else nanousd_per_million(usd_per_million)


def _from_book(arm: ArmSection, endpoint: EndpointSection, at: datetime) -> PriceAnswer:
    # The book and pydantic take 0.4 s to import: only where a price is really looked up.
    from genai_prices import Usage, calc_price

    if endpoint.provider is None and _own_address(endpoint.base_url):
        return PriceUnknown(
            f"endpoint {endpoint.name!r} has an own address and arm {arm.name!r} states no price; "
            f"state `price` for the arm, or `provider` for the endpoint"
        )
    try:
        if endpoint.provider is not None:
            found = calc_price(Usage(), arm.model, provider_id=endpoint.provider, genai_request_timestamp=at)
        else:
            found = calc_price(Usage(), arm.model, provider_api_url=endpoint.base_url, genai_request_timestamp=at)
    except LookupError:
        asked = f"provider {endpoint.provider!r}" if endpoint.provider else f"base URL {endpoint.base_url!r}"
        return PriceUnknown(f"{book_version()} knows no model {arm.model!r} for {asked}; state `price` for the arm")
    named = f"{book_version()} {found.provider.id}/{found.model.id}"
    since, until = _window(found.model, at)
    try:
        price = _compiled(found.model_price)
    except ValueError as error:
        return PriceUnknown(f"{named}: {error}; state `price` for the arm")
    return PriceFound(
        price=price,
        version=named if since is None else f"{named} {since.isoformat()}",
        source=(found.provider.pricing_urls or [found.provider.name])[0],
        date=None if since is None else since.isoformat(),
        until_ns=None if until is None else round(until.timestamp()) * 1_000_000_000,
    )


def _own_address(base_url: str) -> bool:
    """An IP literal or `localhost`: some own server, whose costs no price book knows."""
    return re.match(r"https?://(localhost|\d+(\.\d+){3}|\[[0-9a-fA-F:.]+\])([:/]|$)", base_url) is not None


def _compiled(book: "ModelPrice") -> Price:
    """The base tier in integers. Raises `ValueError` with the reason if it cannot be said in them."""
    rates: dict[str, int | None] = {}
    limits: list[int] = []
    for key in TOKEN_KEYS:
        entry: Decimal | TieredPrices | None = getattr(book, key)
        if entry is None or isinstance(entry, Decimal):
            rates[key] = None if entry is None else _nano(entry)
        else:
            rates[key] = _nano(entry.base)
            limits += [tier.start for tier in entry.tiers[:1]]
    requests: Decimal | TieredPrices | None = getattr(book, "requests_kcount")  # noqa: B009 (keys are dynamic)
    if requests is not None and not isinstance(requests, Decimal):
        raise ValueError("the price per request has context tiers")
    given, made = rates["input_mtok"], rates["output_mtok"]
    if given is None or made is None:
        missing = "input" if given is None else "output"
        raise ValueError(f"it has no price for {missing} tokens")
    reasoning = rates["output_reasoning_mtok"]
    return Price(
        input=given,
        output=made,
        cache_read=rates["cache_read_mtok"],
        cache_write=rates["cache_write_mtok"],
        cache_write_1h=rates["cache_write_1h_mtok"],
        reasoning=made if reasoning is None else reasoning,
        per_request_nanousd=0 if requests is None else _nano(requests / 1000),
        input_tokens_max=min(limits) if limits else None,
    )


def _nano(usd: Decimal) -> int:
    """To the nearest nano-dollar per million tokens (or per request).

    The book holds decimals that were binary fractions once (0.18000000000000002 is 0.18) and some without an end (a
    twelfth); what rounding them changes is less than a nano-dollar in a million tokens.
    """
    return int((usd * NANOUSD).to_integral_value(ROUND_HALF_EVEN))


def _window(model: "ModelInfo", at: datetime) -> tuple[date | None, datetime | None]:
    """Since which day, and until when at the latest, the price of `at` holds."""
    from genai_prices.types import ModelPrice, StartDateConstraint, TimeOfDateConstraint

    if isinstance(model.prices, ModelPrice):
        return None, None
    at = at.astimezone(UTC)
    since: date | None = None
    changes: list[datetime] = []
    for conditional in model.prices:
        constraint = conditional.constraint
        if isinstance(constraint, StartDateConstraint):
            start = datetime.combine(constraint.start_date, time(), UTC)
            if start > at:
                changes.append(start)
            elif since is None or constraint.start_date > since:
                since = constraint.start_date
        elif isinstance(constraint, TimeOfDateConstraint):
            changes += [_next(constraint.start_time, at), _next(constraint.end_time, at)]
    return since, min(changes, default=None)


def _next(moment: time, after: datetime) -> datetime:
    """The next time (strictly after) that a clock of the book's zone shows `moment`."""
    zone = moment.tzinfo or UTC
    local = after.astimezone(zone)
    then = datetime.combine(local.date(), moment.replace(tzinfo=None), zone)
    return (then if then > local else then + timedelta(days=1)).astimezone(UTC)
