"""What each row cost: as the file states it, else tokens times the price book, else unknown with the reason.

A price that changes with the date or the hour is looked up for every hour in which the model was used. Where a row sums
calls of a bucket (a day, say), the hour of the bucket's start stands for all of them, and its mean request decides
which context tier holds. A batch call, or one in another service tier, costs what the book says of that tier.
"""

from datetime import UTC, datetime
from functools import lru_cache

import duckdb
import msgspec

from weighbridge.config.tree import ArmSection, EndpointSection
from weighbridge.ledger.prices import PriceFound, compile_price
from weighbridge.records.usage import Price
from weighbridge.scan.naming import Named, name_model

_RATE = "INSERT INTO rates VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_EVER = datetime(1970, 1, 1)


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """One price of the book that the bill used."""

    provider: str
    model: str
    version: str
    source: str


class Pricing(msgspec.Struct, frozen=True, kw_only=True):
    rates: tuple[Rate, ...]
    named: dict[tuple[str | None, str], Named]
    """(provider, model) as the files write them -> as the price book calls them."""


def at_price(connection: duckdb.DuckDBPyConnection, now: datetime) -> Pricing:
    """Make the table `usage` out of `raw`: the rows that could be read, each with its cost or why it has none."""
    pairs = connection.execute(
        "SELECT DISTINCT provider, model FROM raw WHERE bad IS NULL ORDER BY model, provider"
    ).fetchall()
    named = {(provider, model): name_model(provider, model) for provider, model in pairs}
    connection.execute(
        "CREATE TABLE names (id INTEGER, provider VARCHAR, model VARCHAR, book_provider VARCHAR, book_model VARCHAR, "
        "varies BOOLEAN, tiers VARCHAR[], input_max BIGINT);"
        "CREATE TABLE rates (id INTEGER, hour TIMESTAMP, tier VARCHAR, above BIGINT, upto BIGINT, input HUGEINT, "
        "cache_read HUGEINT, cache_write HUGEINT, cache_write_1h HUGEINT, output HUGEINT, reasoning HUGEINT, "
        "per_request HUGEINT, why VARCHAR)"
    )
    rates: dict[tuple[str, str, str], Rate] = {}
    connection.begin()  # hundreds of small inserts: one commit
    for ident, ((provider, model), name) in enumerate(named.items()):
        answer = _look_up(name, now)
        varies = isinstance(answer, PriceFound) and (answer.until_ns is not None or answer.date is not None)
        known = answer.price if isinstance(answer, PriceFound) else None
        tiers = [] if known is None else [one.name for one in known.services]
        input_max = None if known is None else known.input_tokens_max
        connection.execute(
            "INSERT INTO names VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [ident, provider, model, name.provider, name.model, varies, tiers, input_max],
        )
        hours: list[datetime | None] = [_EVER]
        if varies:
            hours = [
                row[0]
                for row in connection.execute(
                    "SELECT DISTINCT date_trunc('hour', moment) FROM raw WHERE bad IS NULL AND model = ? "
                    "AND provider IS NOT DISTINCT FROM ?",
                    [model, provider],
                ).fetchall()
            ]
        found = answer
        holds_until = 0
        for hour in sorted(hours, key=lambda one: one or _EVER):
            moment = now if hour is None or hour == _EVER else hour.replace(tzinfo=UTC)
            # A price says how long it holds: the book is asked again only after that.
            if varies and (hour is None or moment.timestamp() * 1e9 >= holds_until):
                found = _look_up(name, moment)
                until = found.until_ns if isinstance(found, PriceFound) else None
                holds_until = 0 if until is None or hour is None else until
            connection.executemany(_RATE, [[ident, hour, *row] for row in _rows(found)])
            if isinstance(found, PriceFound):
                assert name.provider is not None  # noqa: S101 (a found price has a provider)
                rates.setdefault(
                    (name.provider, name.model, found.version),
                    Rate(provider=name.provider, model=name.model, version=found.version, source=found.source),
                )
    connection.commit()
    connection.execute(_USAGE)
    return Pricing(rates=tuple(rates.values()), named=named)


@lru_cache(maxsize=1 << 16)
def price_of(provider: str, model: str, at: datetime) -> PriceFound | str:
    """A book price at a moment, or why there is none."""
    answer = compile_price(
        ArmSection(name=model, endpoint=provider, model=model),
        EndpointSection(name=provider, base_url="https://unused.invalid", provider=provider),
        at,
    )
    return answer if isinstance(answer, PriceFound) else answer.why


def _look_up(name: Named, at: datetime) -> PriceFound | str:
    if name.provider is None:
        return name.why or f"no provider is known to sell {name.model!r}"
    return price_of(name.provider, name.model, at)


def _rows(found: PriceFound | str) -> list[list[int | str | None]]:
    """The price of every service tier (the standard one is called "") and context tier: for means above and up to."""
    if isinstance(found, str):
        return [["", -1, None, *([None] * 7), found]]
    rows: list[list[int | str | None]] = []
    for tier, price in [("", found.price), *((one.name, one.price) for one in found.price.services)]:
        rows.append([tier, -1, price.input_tokens_max, *_rates(price), None])
        ends = [*(past.above for past in price.tiers[1:]), None]
        for past, upto in zip(price.tiers, ends, strict=False):
            rows.append([tier, past.above, upto, *_rates(past.price), None])
    return rows


def _rates(price: Price) -> tuple[int | None, ...]:
    return (
        price.input, price.cache_read, price.cache_write, price.cache_write_1h, price.output, price.reasoning,
        price.per_request_nanousd,
    )  # fmt: skip


# Disjoint token classes times nano-dollars per million, rounded up once a row: records.usage.cost_nanousd in SQL.
# A class that was used and has no price leaves its NULL in the sum, so that the cost is unknown.
_SUM = " + ".join(
    f"CASE WHEN coalesce(r.{tokens}, 0) = 0 THEN 0::HUGEINT ELSE r.{tokens}::HUGEINT * p.{rate} END"
    for tokens, rate in (
        ("fresh", "input"),
        ("cache_read", "cache_read"),
        ("cache_write", "cache_write"),
        ("cache_write_1h", "cache_write_1h"),
        ("output", "output"),
        ("reasoning", "reasoning"),
    )
)
_INPUT = "(r.fresh + r.cache_read + coalesce(r.cache_write, 0) + coalesce(r.cache_write_1h, 0))"
_TIER = "CASE WHEN r.batch THEN 'batch' ELSE coalesce(r.service_tier, '') END"
# Where requests are not counted, the mean is not known: only a price without context tiers holds.
_HOLDS = (
    "(p.above < 0 AND p.upto IS NULL OR r.requests IS NOT NULL "
    f"AND {_INPUT} > p.above * greatest(r.requests, 1) "
    f"AND (p.upto IS NULL OR {_INPUT} <= p.upto * greatest(r.requests, 1)))"
)

_USAGE = (
    "CREATE TABLE usage AS SELECT * EXCLUDE (book_nanousd, why_book), "  # noqa: S608 (our own text)
    "CASE WHEN stated_nanousd IS NULL THEN book_nanousd ELSE stated_nanousd END AS cost_nanousd, book_nanousd, "
    "CASE WHEN stated_nanousd IS NULL AND book_nanousd IS NULL THEN why_book END AS why_unknown FROM ("
    "SELECT r.* EXCLUDE (bad, provider, model), coalesce(n.book_provider, r.provider) AS provider, "
    "r.model AS model, n.book_model AS book_model, "
    f"(({_SUM}) + 999999) // 1000000 "
    "+ CASE WHEN p.per_request = 0 THEN 0 ELSE p.per_request * r.requests END AS book_nanousd, "
    "CASE WHEN p.why IS NOT NULL THEN p.why "
    f"WHEN p.id IS NULL AND {_TIER} <> '' AND NOT list_contains(n.tiers, {_TIER}) "
    f"THEN 'the price of the service tier ' || {_TIER} || ' is not known' "
    "WHEN p.id IS NULL AND r.requests IS NULL THEN 'past ' || n.input_max || ' input tokens a request another price "
    "holds, and the file does not count requests' "
    "WHEN p.id IS NULL THEN 'past ' || n.input_max || ' input tokens a request its price is not known' "
    "ELSE 'the price book has no price for one of the token classes used' END AS why_book "
    # Left joins stay in this order: else names meet rates first, and each row is joined with every hour of its model.
    "FROM raw r LEFT JOIN names n ON n.model = r.model AND n.provider IS NOT DISTINCT FROM r.provider "
    "LEFT JOIN rates p ON p.id = n.id AND coalesce(p.hour, TIMESTAMP '1970-01-02') = "
    "CASE WHEN n.varies THEN coalesce(date_trunc('hour', r.moment), TIMESTAMP '1970-01-02') "
    f"ELSE TIMESTAMP '1970-01-01' END AND p.tier = {_TIER} AND {_HOLDS} "
    "WHERE r.bad IS NULL); DROP TABLE raw"
)
