"""Every attempt as a row of money: who, for what, where, how many tokens of each class, and what it cost.

A posting is an attempt as it was logged. Corrections are adjustments, rows of their own (`adjust`); nothing that was
booked is changed. `postings` is the SQL view that statements, exports and reconciliation read:

    id, attempt, time, route, key, team, user, purpose, arm, endpoint, model, fallback, estimated, price_version,
    service_tier, the token classes, web_searches, posted_nanousd, adjusted_nanousd, cost_nanousd (both, or NULL)
"""

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import msgspec

from weighbridge.errors import StoreError
from weighbridge.exchanges.chain import Chain
from weighbridge.exchanges.relation import relation
from weighbridge.records.canonical import digest, parse
from weighbridge.store.layout import Layout

CLASSES = (
    "input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning", "audio_input", "audio_output",
    "image_input", "image_output",
)  # fmt: skip
"""The token classes, as columns."""

ADJUSTMENT = "adjustment/1"


class AdjustedRow(msgspec.Struct, frozen=True, array_like=True):
    exchange: str
    attempt: int
    nanousd: int
    """Added to what was booked; the whole cost where that was unknown."""
    version: str
    """The price that the posting is at after this."""


class Adjustment(msgspec.Struct, frozen=True, kw_only=True):
    """An object of the signed log: one correction, with its reason. Later ones are added to earlier ones."""

    schema: str
    made_ns: int
    reason: str
    rows: tuple[AdjustedRow, ...]


def adjustments(layout: Layout) -> Iterator[Adjustment]:
    """Every correction, oldest first. Raises `StoreError` for one that is not as it was signed."""
    if not layout.chain.exists():
        return
    for entry in Chain(layout).snapshot().objects:
        if entry.kind != "adjustment":
            continue
        path = layout.object(entry.digest)
        try:
            body = path.read_bytes()
            if digest(body) != entry.digest:
                raise ValueError("it is not the one that was signed; `weighbridge verify` says more")
            yield parse(body, Adjustment)
        except (OSError, ValueError) as error:
            raise StoreError(f"the adjustment {entry.label} cannot be read: {path}: {error}") from None


@contextmanager
def postings(layout: Layout) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the views `exchanges` and `postings`."""
    with relation(layout) as sql:
        sql.execute("CREATE TABLE adjusted (id VARCHAR, attempt BIGINT, nanousd HUGEINT, version VARCHAR)")
        for correction in adjustments(layout):
            if correction.rows:
                sql.executemany(
                    "INSERT INTO adjusted VALUES (?, ?, ?, ?)",
                    [(row.exchange, row.attempt, row.nanousd, row.version) for row in correction.rows],
                )
        sql.execute(_POSTINGS)
        yield sql


_POSTINGS = (
    "CREATE VIEW postings AS "  # noqa: S608 (our own text)
    'WITH one AS (SELECT id, time, route, key, team, "user", purpose, "table", unnest(attempts) AS a FROM exchanges), '
    "sums AS (SELECT id, attempt, sum(nanousd) AS nanousd, last(version) AS version FROM adjusted GROUP BY ALL) "
    'SELECT one.id, a.attempt AS attempt, time, route, key, team, "user", purpose, "table", a.arm AS arm, '
    "a.endpoint AS endpoint, a.model AS model, a.fallback AS fallback, a.estimated AS estimated, a.status AS status, "
    "coalesce(sums.version, a.price_version) AS price_version, a.price_version AS posted_version, "
    "a.usage.service_tier AS service_tier, "
    + ", ".join(f"coalesce(a.usage.{name}, 0) AS {name}" for name in CLASSES)
    + ", coalesce(a.usage.web_searches, 0) AS web_searches, a.usage IS NOT NULL AS has_usage, "
    "coalesce(a.usage.total, 0) AS tokens, a.cost_nanousd AS posted_nanousd, "
    "coalesce(sums.nanousd, 0) AS adjusted_nanousd, "
    "CASE WHEN sums.nanousd IS NULL THEN a.cost_nanousd::HUGEINT "
    "ELSE coalesce(a.cost_nanousd, 0)::HUGEINT + sums.nanousd END AS cost_nanousd "
    "FROM one LEFT JOIN sums ON sums.id = one.id AND sums.attempt = a.attempt"
)
