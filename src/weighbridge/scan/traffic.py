"""What an application sends: token sums by model and hour of the day, the shape of its requests, its bursts."""

import duckdb
import msgspec


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """An application's requests to one model in one hour of the day (UTC); `hour` is `None` where it is not known."""

    provider: str | None
    model: str
    hour: int | None
    fresh: int
    cache_read: int
    cache_write: int
    """With any lifetime."""
    output: int
    """Reasoning included."""

    @property
    def input(self) -> int:
        return self.fresh + self.cache_read + self.cache_write

    @property
    def tokens(self) -> int:
        return self.input + self.output


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    application: str | None
    parts: tuple[Part, ...]
    requests: int | None
    """`None`: the files do not count all of them."""
    cost_nanousd: int | None
    """`None`: the cost of some of its requests is unknown."""
    latency_ms: float | None
    """Mean, of the rows that state it."""
    per_request: bool
    """Rows are single requests, so that their lengths can be looked at."""

    @property
    def tokens(self) -> int:
        return sum(part.tokens for part in self.parts)

    @property
    def main(self) -> Part:
        """The model that most of its tokens go to."""
        totals: dict[tuple[str | None, str], int] = {}
        for part in self.parts:
            key = (part.provider, part.model)
            totals[key] = totals.get(key, 0) + part.tokens
        best = max(totals, key=lambda key: totals[key])
        return next(part for part in self.parts if (part.provider, part.model) == best)


def traffic_of(connection: duckdb.DuckDBPyConnection, limit: int) -> tuple[Traffic, ...]:
    """The `limit` applications with the highest known cost, then the most tokens."""
    heads = connection.execute(
        "SELECT application, CASE WHEN count(*) = count(requests) THEN sum(requests)::BIGINT END, "
        "CASE WHEN count(*) = count(cost_nanousd) THEN sum(cost_nanousd)::HUGEINT END, avg(latency_ms), "
        "bool_and(NOT bucket AND requests IS NOT DISTINCT FROM 1) FROM usage GROUP BY application "
        "ORDER BY coalesce(sum(cost_nanousd), 0) DESC, sum(fresh + output) DESC, application LIMIT ?",
        [limit],
    ).fetchall()
    parts: dict[str | None, list[Part]] = {}
    for row in connection.execute(
        "SELECT application, provider, coalesce(book_model, model), CASE WHEN NOT bucket THEN hour(moment) END, "
        "sum(fresh)::BIGINT, sum(cache_read)::BIGINT, "
        "sum(coalesce(cache_write, 0) + coalesce(cache_write_1h, 0))::BIGINT, "
        "sum(output + coalesce(reasoning, 0))::BIGINT FROM usage GROUP BY ALL ORDER BY ALL"
    ).fetchall():
        parts.setdefault(row[0], []).append(
            Part(
                provider=row[1],
                model=row[2],
                hour=row[3],
                fresh=row[4],
                cache_read=row[5],
                cache_write=row[6],
                output=row[7],
            )
        )
    return tuple(
        Traffic(
            application=name,
            parts=tuple(parts[name]),
            requests=requests,
            cost_nanousd=None if cost is None else int(cost),
            latency_ms=latency,
            per_request=bool(single),
        )
        for name, requests, cost, latency, single in heads
    )
