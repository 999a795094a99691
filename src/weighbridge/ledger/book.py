"""The installed price book (genai-prices, https://github.com/pydantic/genai-prices), compiled to integers.

The book is loaded at the first question (2,000 models), so the import is cheap. What of it is compiled:

- every token class of ours, sound and images among them; reasoning falls back to the output price and image input to
  the input price, because bills count them so unless they list them apart. Nothing else falls back
- context tiers: past the start of a tier its rate holds for the whole call; all input tokens together decide
- service tiers, batch and fast mode, under the word that the response reports. The book itself answers an unknown tier
  with the standard price, so tiers are compiled only where it lists them
- fees for web searches and for requests
- dates and hours: a compiled price holds for one moment, and `window` says until when

What is not compiled makes the price unknown or stays out: prices per hour, page, character or video token.
"""

from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING

import msgspec

from weighbridge.records.usage import NANOUSD, PastContext, Price, ServiceTier

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

BOOK = "genai-prices"

_INPUT, _OUTPUT, _REASONING = "input_mtok", "output_mtok", "output_reasoning_mtok"
_WHEN = frozenset(("service_tier", "processing", "speed"))
"""What a variant of the book may depend on that a response reports: the value is the word."""


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One model in the book. `changes` are the dates from which another price holds, past and announced, in order."""

    id: str
    deprecated: bool
    changes: tuple[date, ...]


class BookPrice(msgspec.Struct, frozen=True, kw_only=True):
    """What the book says of a model at a moment."""

    provider: str
    model: str
    price: Price
    source: str
    since: date | None
    hours: str | None
    """The hours of the day that this price is for, e.g. `01:00-04:00 UTC`; `None` for a price of whole days."""
    until: datetime | None
    """When another price may hold; `None` if the book knows of no change."""


def book_version() -> str:
    """The installed price book, e.g. `genai-prices 0.2.3`. Does not load it."""
    return f"{BOOK} {installed_version(BOOK)}"


def providers() -> frozenset[str]:
    """Ids of all providers in the book."""
    from genai_prices.data_snapshot import get_snapshot

    return frozenset(one.id for one in get_snapshot().providers)


def listed_models() -> dict[str, tuple[str, ...]]:
    """Which models the installed price book lists, by provider id. Loads 2,000 models: only where somebody asks."""
    from genai_prices.data_snapshot import get_snapshot

    return {one.id: tuple(info.id for info in one.models) for one in get_snapshot().providers}


def listed(provider: str, model: str) -> Listed | None:
    """A provider's model as the book matches its name; `None` where the provider or the model is not there."""
    from genai_prices.data_snapshot import get_snapshot

    for one in get_snapshot().providers:
        if one.id != provider:
            continue
        info = next((row for row in one.models if row.is_match(model)), None)
        return None if info is None else Listed(id=info.id, deprecated=bool(info.deprecated), changes=changes(info))
    return None


def changes(info: "ModelInfo") -> tuple[date, ...]:
    """The days from which another price of a model holds, past and announced."""
    from genai_prices.types import ModelPrice, StartDateConstraint

    dated = [] if isinstance(info.prices, ModelPrice) else [row.constraint for row in info.prices]
    return tuple(sorted(one.start_date for one in dated if isinstance(one, StartDateConstraint)))


def look_up(provider: str | None, base_url: str, model: str, at: datetime) -> BookPrice | None:
    """The price of a model at a moment; `None` where the book does not know it. Raises `ValueError` with the reason
    where the book knows it and its price cannot be said in our classes."""
    # The book and pydantic take 0.4 s to import: only where a price is really looked up.
    from genai_prices import Usage, calc_price

    try:
        if provider is not None:
            found = calc_price(Usage(), model, provider_id=provider, genai_request_timestamp=at)
        else:
            found = calc_price(Usage(), model, provider_api_url=base_url, genai_request_timestamp=at)
    except LookupError:
        return None
    since, until = window(found.model, at)
    try:
        price = _with_services(found.model, at)
    except ValueError as error:
        raise ValueError(f"{book_version()} {found.provider.id}/{found.model.id}: {error}") from None
    return BookPrice(
        provider=found.provider.id,
        model=found.model.id,
        price=price,
        source=(found.provider.pricing_urls or [found.provider.name])[0],
        since=since,
        hours=_hours(found.model, at),
        until=until,
    )


def _hours(info: "ModelInfo", at: datetime) -> str | None:
    from genai_prices.types import ModelPrice, TimeOfDateConstraint

    rows = [] if isinstance(info.prices, ModelPrice) else info.prices
    active = [row.constraint for row in rows if row.constraint is None or row.constraint.active(at)]
    if not active or not isinstance(active[-1], TimeOfDateConstraint):
        return None
    start, end = active[-1].start_time, active[-1].end_time
    return f"{start:%H:%M}-{end:%H:%M} {start.tzname() or 'UTC'}"


def _with_services(info: "ModelInfo", at: datetime) -> Price:
    standard = info.get_prices(at)
    price = compiled(standard)
    services: dict[str, Price] = {}
    for variant in info.price_variants or ():
        words = [word for name, word in variant.when.items() if name in _WHEN]
        if len(words) != 1 or len(variant.when) != 1 or words[0] in services:
            continue  # depends on something that no response reports
        own = info.get_prices(at, {name: variant.when[name] for name in variant.when})
        if own == standard:
            continue  # not in force yet, or the standard tier by its name
        try:
            services[words[0]] = compiled(own, listed=_keys(variant.prices))
        except ValueError:
            continue  # it lists no input or output price of its own: unknown
    return msgspec.structs.replace(
        price, services=tuple(ServiceTier(name, one) for name, one in sorted(services.items()))
    )


def _keys(price: "ModelPrice") -> frozenset[str]:
    return frozenset(key for key, value in vars(price).items() if value is not None)


def compiled(book: "ModelPrice", listed: frozenset[str] | None = None) -> Price:
    """A price of the book in integers. Raises `ValueError` with the reason if it cannot be said in them.

    `listed`: of a service tier, the token prices that it states itself. What it does not state is unknown, for the
    standard price is another tier's.
    """
    thresholds = sorted({tier.start for value in vars(book).values() for tier in getattr(value, "tiers", ())})
    base = _at(book, None, listed)
    tiers = tuple(PastContext(start, _at(book, start, listed)) for start in thresholds)
    return msgspec.structs.replace(base, tiers=tiers, input_tokens_max=thresholds[0] if thresholds else None)


def _at(book: "ModelPrice", above: int | None, listed: frozenset[str] | None) -> Price:
    """The rates up to the first tier (`above` is `None`), or past the start of one."""

    def rate(key: str, per: int = 1) -> int | None:
        value: Decimal | TieredPrices | None = getattr(book, key)
        if value is None or (listed is not None and key not in listed and key.endswith("_mtok")):
            return None
        if not isinstance(value, Decimal):
            past = [tier.price for tier in value.tiers if above is not None and tier.start <= above]
            value = past[-1] if past else value.base
        return nano(value / per)

    given, made = rate(_INPUT), rate(_OUTPUT)
    if given is None or made is None:
        raise ValueError(f"it has no price for {'input' if given is None else 'output'} tokens")
    reasoning, seen = rate(_REASONING), rate("input_image_mtok")
    return Price(
        input=given,
        output=made,
        reasoning=made if reasoning is None else reasoning,
        per_request_nanousd=rate("requests_kcount", 1000) or 0,
        image_input=given if seen is None else seen,
        web_search_nanousd=rate("web_searches_kcount", 1000),
        cache_read=rate("cache_read_mtok"),
        cache_write=rate("cache_write_mtok"),
        cache_write_1h=rate("cache_write_1h_mtok"),
        audio_input=rate("input_audio_mtok"),
        audio_output=rate("output_audio_mtok"),
        image_output=rate("output_image_mtok"),
    )


def nano(usd: Decimal) -> int:
    """To the nearest nano-dollar per million tokens (or per request).

    The book holds decimals that were binary fractions once (0.18000000000000002 is 0.18) and some without an end (a
    twelfth); what rounding them changes is less than a nano-dollar in a million tokens.
    """
    return int((usd * NANOUSD).to_integral_value(ROUND_HALF_EVEN))


def window(model: "ModelInfo", at: datetime) -> tuple[date | None, datetime | None]:
    """Since which day, and until when at the latest, the price of `at` holds."""
    from genai_prices.types import ModelPrice, StartDateConstraint, TimeOfDateConstraint

    rows = [] if isinstance(model.prices, ModelPrice) else [row.constraint for row in model.prices]
    at = at.astimezone(UTC)
    since: date | None = None
    moments: list[datetime] = []
    for constraint in [*rows, *(variant.constraint for variant in model.price_variants or ())]:
        if isinstance(constraint, StartDateConstraint):
            start = datetime.combine(constraint.start_date, time(), UTC)
            if start > at:
                moments.append(start)
            elif constraint in rows and (since is None or constraint.start_date > since):
                since = constraint.start_date
        elif isinstance(constraint, TimeOfDateConstraint):
            moments += [_next(constraint.start_time, at), _next(constraint.end_time, at)]
    return since, min(moments, default=None)


def _next(moment: time, after: datetime) -> datetime:
    """The next time (strictly after) that a clock of the book's zone shows `moment`."""
    zone = moment.tzinfo or UTC
    local = after.astimezone(zone)
    then = datetime.combine(local.date(), moment.replace(tzinfo=None), zone)
    return (then if then > local else then + timedelta(days=1)).astimezone(UTC)
