"""Prices that the operator states: in the configuration, or with `price set` (kept in the signed log).

A row says what holds for a model at a provider or an endpoint, from a day, until a day, in hours of the day, in a
service tier, past a context length. At a moment, of the rows without tier and length the one that has begun last wins,
hours before whole days, and at the same moment the one that was stated last. Rows with a tier or a length are laid over
it.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from weighbridge.config.moments import parse_hours, parse_moment
from weighbridge.config.tree import ArmSection, CommitmentSection, EndpointSection, PriceRowSection, PriceSection
from weighbridge.records.canonical import canonical, digest
from weighbridge.records.usage import MILLION, PastContext, Price, ServiceTier, nanousd_per_million

EVER = datetime(1970, 1, 1, tzinfo=UTC)
Key = tuple[str | None, int]


class Laid(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator's rows make of a price at a moment."""

    price: Price
    rows: tuple[PriceRowSection, ...]
    """Those that had a part in it, the one for plain calls first if there is one."""

    @property
    def version(self) -> str:
        return f"row:{digest(b''.join(map(canonical, self.rows)))[:8]}"


def for_arm(rows: Iterable[PriceRowSection], arm: ArmSection, endpoint: EndpointSection) -> list[PriceRowSection]:
    """The rows about an arm's model at its endpoint, or at its provider."""
    return [
        row
        for row in rows
        if row.model == arm.model
        and (row.endpoint == endpoint.name if row.endpoint is not None else row.provider == endpoint.provider)
    ]


def lay_over(rows: Sequence[PriceRowSection], base: Price | None, at: datetime) -> Laid | None:
    """The rows of one model laid over another source's price; `None` where no row holds at the moment, or where rows
    for tiers and lengths have no price to be laid over."""
    holding = [row for row in rows if holds(row, at)]
    chosen: dict[Key, PriceRowSection] = {}
    for row in sorted(holding, key=_strength):
        chosen[row.service_tier, row.above_input_tokens or 0] = row
    if not chosen:
        return None
    plain = chosen.get((None, 0))
    price = base if plain is None else price_of(plain)
    if price is None:
        return None
    price = _with_lengths(price, None, chosen, replaced=plain is not None)
    services = {} if plain is not None else {one.name: one.price for one in price.services}
    for tier in dict.fromkeys(tier for tier, _ in chosen if tier is not None):
        own = chosen.get((tier, 0))
        under = price_of(own) if own is not None else services.get(tier)
        if under is not None:  # a length of a tier whose own price nobody states stays unknown
            services[tier] = _with_lengths(under, tier, chosen, replaced=own is not None)
    price = msgspec.structs.replace(
        price, services=tuple(ServiceTier(name, services[name]) for name in sorted(services))
    )
    used = ([] if plain is None else [plain]) + [row for row in chosen.values() if row is not plain]
    return Laid(price=price, rows=tuple(used))


def _with_lengths(under: Price, tier: str | None, chosen: dict[Key, PriceRowSection], *, replaced: bool) -> Price:
    lengths = {} if replaced else {one.above: one.price for one in under.tiers}
    lengths |= {above: price_of(row) for (name, above), row in chosen.items() if name == tier and above}
    ordered = tuple(PastContext(above, lengths[above]) for above in sorted(lengths))
    limit = ordered[0].above if ordered else (None if replaced else under.input_tokens_max)
    return msgspec.structs.replace(under, tiers=ordered, input_tokens_max=limit)


def _strength(row: PriceRowSection) -> tuple[bool, datetime]:
    return row.hours is not None, EVER if row.since is None else parse_moment(row.since, row.time_zone)


def holds(row: PriceRowSection, at: datetime) -> bool:
    if row.since is not None and at < parse_moment(row.since, row.time_zone):
        return False
    if row.until is not None and at >= parse_moment(row.until, row.time_zone):
        return False
    if row.hours is None:
        return True
    start, end = parse_hours(row.hours)
    now = at.astimezone(ZoneInfo(row.time_zone)).time()
    return start <= now < end if start < end else now >= start or now < end


def next_change(rows: Iterable[PriceRowSection], at: datetime) -> datetime | None:
    """The first moment after `at` at which one of the rows begins or ends to hold."""
    moments: list[datetime] = []
    for row in rows:
        for text in (row.since, row.until):
            if text is not None and (moment := parse_moment(text, row.time_zone)) > at:
                moments.append(moment)
        if row.hours is not None:
            zone = ZoneInfo(row.time_zone)
            today = at.astimezone(zone).date()
            for clock in parse_hours(row.hours):
                days = (datetime.combine(today + timedelta(days=n), clock, zone).astimezone(UTC) for n in range(3))
                moments.append(next(moment for moment in days if moment > at))
    return min(moments, default=None)


def price_of(row: PriceSection) -> Price:
    """Stated amounts as integers. Reasoning costs what output does and images what input does where they are not
    stated, because bills count them so; every other class that is not stated is unknown."""
    given, made = nanousd_per_million(row.input), nanousd_per_million(row.output)

    def amount(text: str | None) -> int | None:
        return None if text is None else nanousd_per_million(text)

    return Price(
        input=given,
        output=made,
        cache_read=amount(row.cache_read),
        cache_write=amount(row.cache_write),
        cache_write_1h=amount(row.cache_write_1h),
        reasoning=made if row.reasoning is None else nanousd_per_million(row.reasoning),
        per_request_nanousd=amount(row.per_request) or 0,
        audio_input=amount(row.audio_input),
        audio_output=amount(row.audio_output),
        image_input=given if row.image_input is None else nanousd_per_million(row.image_input),
        image_output=amount(row.image_output),
        web_search_nanousd=amount(row.web_search),
    )


def committed_price(
    rows: Iterable[CommitmentSection], endpoint: str, at: datetime
) -> tuple[Price, CommitmentSection] | None:
    """What a token is booked at where its endpoint is paid for in another way than by token.

    A token plan: the fee over the tokens that it includes. Own GPUs: seconds of the whole server, at its price for a
    second and the expected load. An input token takes 1 / prefill rate of a second, an output token 1 / decode rate;
    reading the own cache takes none. A subscription has no price for a token. Rounded up: a sum of rows is never less.
    """
    for row in rows:
        if row.endpoint != endpoint or not paid(row, at):
            continue
        if row.kind == "token_plan" and row.usd_per_month is not None and row.included_tokens is not None:
            each = -(-nanousd_per_million(row.usd_per_month) * MILLION // row.included_tokens)
            return Price(each, each, each, each, each, each, image_input=each, image_output=each), row
        if row.kind == "gpu_hours" and row.prefill_tokens_per_s is not None and row.decode_tokens_per_s is not None:
            second = (row.gpus or 0) * nanousd_per_million(row.usd_per_gpu_hour or "0") / 3600 / row.load
            given = -int(-second * MILLION // row.prefill_tokens_per_s)
            made = -int(-second * MILLION // row.decode_tokens_per_s)
            return Price(given, made, 0, given, given, made, image_input=given), row
    return None


def paid(row: CommitmentSection, at: datetime) -> bool:
    return parse_moment(row.since) <= at and (row.until is None or at < parse_moment(row.until))


def commitment_change(rows: Iterable[CommitmentSection], endpoint: str, at: datetime) -> datetime | None:
    texts = [text for row in rows if row.endpoint == endpoint for text in (row.since, row.until) if text is not None]
    return min((moment for moment in map(parse_moment, texts) if moment > at), default=None)
