"""The rates that postings were booked at, as a SQL relation: what each token class of each posting cost.

A posting keeps its cost and the number of the route table that priced it. Published tables are kept, so the rates of
then are there, whatever the configuration says today. `rates` holds one row per table, arm, price version, service tier
and context length; where a posting finds no row, or the rates do not make its cost, its cost stays in one piece.
"""

from collections.abc import Iterator

import duckdb

from weighbridge.ledger.postings import CLASSES
from weighbridge.records.canonical import parse
from weighbridge.records.table import Arm, RouteTable
from weighbridge.records.usage import STANDARD_TIERS, Price
from weighbridge.store.database import published_tables
from weighbridge.store.layout import Layout

Row = tuple[int, str, str | None, str, int, int | None, int, int | None, *tuple[int | None, ...]]


def put_rates(sql: duckdb.DuckDBPyConnection, layout: Layout) -> None:
    """Make the table `rates`, and the view `split`: a posting's cost by class in exact millionths of a nano-dollar."""
    columns = ", ".join(f"{name} BIGINT" for name in CLASSES)
    sql.execute(
        'CREATE TABLE rates ("table" BIGINT, arm VARCHAR, version VARCHAR, tier VARCHAR, above BIGINT, upto BIGINT, '
        f"per_request BIGINT, web_search BIGINT, {columns})"
    )
    rows: list[Row] = []
    for number, body in published_tables(layout.database):
        try:
            table = parse(body, RouteTable)
        except ValueError:
            continue  # of a version that wrote tables in another form: its postings stay in one piece
        rows += [row for arm in table.arms for row in _of_arm(number, arm)]
    if rows:
        sql.executemany(f"INSERT INTO rates VALUES ({', '.join('?' * (8 + len(CLASSES)))})", rows)  # noqa: S608 (our own text)
    standard = ", ".join(f"'{name}'" for name in sorted(STANDARD_TIERS))
    amounts = ", ".join(
        f"CASE WHEN p.{name} = 0 THEN 0::HUGEINT ELSE p.{name}::HUGEINT * r.{name} END AS {name}_micro"
        for name in CLASSES
    )
    total = " + ".join(f"{name}_micro" for name in CLASSES)
    sql.execute(
        f"CREATE VIEW split AS WITH joined AS (SELECT p.*, {amounts}, "  # noqa: S608 (our own text)
        "r.per_request::HUGEINT * 1000000 AS request_micro, "
        "CASE WHEN p.web_searches = 0 THEN 0::HUGEINT ELSE p.web_searches::HUGEINT * r.web_search * 1000000 END "
        "AS web_searches_micro FROM postings p LEFT JOIN rates r "
        'ON r."table" = p."table" AND r.arm = p.arm AND r.version = p.posted_version AND p.has_usage '
        f"AND r.tier = CASE WHEN p.service_tier IN ({standard}) THEN '' ELSE coalesce(p.service_tier, '') END "
        "AND p.input + p.cache_read + p.cache_write + p.cache_write_1h + p.audio_input + p.image_input > r.above "
        "AND (r.upto IS NULL OR "
        "p.input + p.cache_read + p.cache_write + p.cache_write_1h + p.audio_input + p.image_input <= r.upto)) "
        f"SELECT *, coalesce(posted_nanousd::HUGEINT * 1000000 - ({total} + request_micro + web_searches_micro) "
        "BETWEEN 0 AND 999999, false) AS is_split FROM joined"
    )


def _of_arm(number: int, arm: Arm) -> Iterator[Row]:
    seen: set[str | None] = set()
    changes = [(arm.price, arm.price_version), *((one.price, one.version) for one in arm.later)]
    for price, version in changes:
        if price is None or version in seen:
            continue
        seen.add(version)
        for tier, own in [("", price), *((one.name, one.price) for one in price.services)]:
            yield from _by_length(number, arm.name, version, tier, own)


def _by_length(number: int, arm: str, version: str | None, tier: str, price: Price) -> Iterator[Row]:
    bands = [(-1, price.input_tokens_max, price)]
    for at, past in enumerate(price.tiers):
        upto = price.tiers[at + 1].above if at + 1 < len(price.tiers) else None
        bands.append((past.above, upto, past.price))
    for above, upto, own in bands:
        classes = [getattr(own, name) for name in CLASSES]
        yield (number, arm, version, tier, above, upto, own.per_request_nanousd, own.web_search_nanousd, *classes)
