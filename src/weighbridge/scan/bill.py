"""The bill: spend by application, team, model, user and day, in integer nano-dollars. Unknown stays apart."""

from datetime import date
from typing import Literal

import duckdb
import msgspec

Dimension = Literal["application", "team", "model", "user", "day"]
DIMENSIONS: tuple[Dimension, ...] = ("application", "team", "model", "user", "day")
_SQL = {"application": "application", "team": "team", "model": "model", "user": '"user"', "day": "moment::DATE"}


class Sum(msgspec.Struct, frozen=True, kw_only=True):
    """What some rows come to. Tokens and requests count every row; money only those whose cost is known."""

    requests: int | None
    """`None`: some of the rows do not say how many they sum."""
    input_tokens: int
    """All of them, cached ones included."""
    cached_input_tokens: int
    output_tokens: int
    """Reasoning included."""
    cost_nanousd: int
    """Of the rows whose cost is known."""
    unknown_requests: int | None
    """Requests whose cost is unknown; `None` as above."""
    unknown_tokens: int
    """Their tokens, in and out."""

    @property
    def nothing_known(self) -> bool:
        """No row has a known cost."""
        return (
            self.unknown_tokens == self.input_tokens + self.output_tokens
            and self.cost_nanousd == 0 < self.unknown_tokens
        )


class Line(msgspec.Struct, frozen=True, kw_only=True):
    name: str | None
    """`None`: the files do not say."""
    sum: Sum


class Unknown(msgspec.Struct, frozen=True, kw_only=True):
    provider: str | None
    model: str
    why: str
    requests: int | None
    tokens: int


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """Rows whose cost the file states and the price book can tell too: do they agree?"""

    tokens: int
    stated_nanousd: int
    book_nanousd: int


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    total: Sum
    stated_nanousd: int
    """The part of the total that the files state."""
    first_day: date | None
    last_day: date | None
    undated_rows: int
    by: dict[Dimension, tuple[Line, ...]]
    """Each dimension's lines, dearest first (days in order). The lines of a dimension add up to the total."""
    unknown: tuple[Unknown, ...]
    checked: Checked

    @property
    def days(self) -> int | None:
        """Calendar days from the first to the last, both counted; `None` where no row has a time."""
        if self.first_day is None or self.last_day is None:
            return None
        return (self.last_day - self.first_day).days + 1


_SUM = (
    "CASE WHEN count(*) = count(requests) THEN coalesce(sum(requests), 0)::BIGINT END, "
    "coalesce(sum(fresh + cache_read + coalesce(cache_write, 0) + coalesce(cache_write_1h, 0)), 0)::BIGINT, "
    "coalesce(sum(cache_read), 0)::BIGINT, coalesce(sum(output + coalesce(reasoning, 0)), 0)::BIGINT, "
    "coalesce(sum(cost_nanousd), 0)::HUGEINT, "
    "CASE WHEN count(*) FILTER (cost_nanousd IS NULL) = count(requests) FILTER (cost_nanousd IS NULL) "
    "THEN coalesce(sum(requests) FILTER (cost_nanousd IS NULL), 0)::BIGINT END, "
    "coalesce(sum(fresh + cache_read + coalesce(cache_write, 0) + coalesce(cache_write_1h, 0) + output "
    "+ coalesce(reasoning, 0)) FILTER (cost_nanousd IS NULL), 0)::BIGINT"
)


def make_bill(connection: duckdb.DuckDBPyConnection) -> Bill:
    """Sum up the table `usage`."""
    undated, stated = _one(
        connection,
        "SELECT count(*) FILTER (moment IS NULL), coalesce(sum(stated_nanousd), 0)::HUGEINT FROM usage",
    )
    ends: tuple[date | None, date | None] | None = connection.execute(
        "SELECT min(moment)::DATE, max(moment)::DATE FROM usage"
    ).fetchone()
    first, last = ends or (None, None)
    unknown = connection.execute(
        "SELECT provider, model, why_unknown, CASE WHEN count(*) = count(requests) "
        "THEN sum(requests)::BIGINT END, sum(fresh + cache_read + coalesce(cache_write, 0) "
        "+ coalesce(cache_write_1h, 0) + output + coalesce(reasoning, 0))::BIGINT AS tokens FROM usage "
        "WHERE cost_nanousd IS NULL GROUP BY ALL ORDER BY tokens DESC, model"
    ).fetchall()
    both = _one(
        connection,
        "SELECT coalesce(sum(fresh + cache_read + coalesce(cache_write, 0) + coalesce(cache_write_1h, 0) + output "
        "+ coalesce(reasoning, 0)), 0)::BIGINT, coalesce(sum(stated_nanousd), 0)::HUGEINT, "
        "coalesce(sum(book_nanousd), 0)::HUGEINT FROM usage "
        "WHERE stated_nanousd IS NOT NULL AND book_nanousd IS NOT NULL",
    )
    return Bill(
        total=_sum(_one(connection, f"SELECT {_SUM} FROM usage")),  # noqa: S608 (our own text)
        stated_nanousd=int(stated),
        first_day=first,
        last_day=last,
        undated_rows=int(undated),
        by={dimension: _lines(connection, dimension) for dimension in DIMENSIONS},
        unknown=tuple(
            Unknown(provider=provider, model=model, why=why, requests=requests, tokens=tokens)
            for provider, model, why, requests, tokens in unknown
        ),
        checked=Checked(tokens=int(both[0]), stated_nanousd=int(both[1]), book_nanousd=int(both[2])),
    )


def _lines(connection: duckdb.DuckDBPyConnection, dimension: Dimension) -> tuple[Line, ...]:
    order = "1" if dimension == "day" else "6 DESC, 3 DESC, 1"
    rows = connection.execute(
        f"SELECT {_SQL[dimension]}, {_SUM} FROM usage GROUP BY 1 ORDER BY {order}"  # noqa: S608 (our own text)
    ).fetchall()
    return tuple(Line(name=None if row[0] is None else str(row[0]), sum=_sum(row[1:])) for row in rows)


def _sum(row: tuple[int | None, ...]) -> Sum:
    requests, given, cached, made, cost, unknown, tokens = row
    return Sum(
        requests=requests,
        input_tokens=given or 0,
        cached_input_tokens=cached or 0,
        output_tokens=made or 0,
        cost_nanousd=int(cost or 0),
        unknown_requests=unknown,
        unknown_tokens=tokens or 0,
    )


def _one(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[int, ...]:
    row = connection.execute(query).fetchone()
    assert row is not None  # noqa: S101 (an aggregate without groups has one row)
    return row
