"""What is wasted now, rule by rule: an upper reach for the saving, its range, and the rows behind it.

Rules look at counts, lengths and times only. Their figures overlap (a retried request may also have an uncached
beginning), so they are never added up.
"""

from typing import Literal

import duckdb
import msgspec

from weighbridge.scan.alternatives import Prices
from weighbridge.scan.assumptions import Assumptions, Reading
from weighbridge.scan.figure import Figure, figure, unknown
from weighbridge.scan.traffic import Traffic

Rule = Literal["uncached_prefix", "batch", "long_outputs", "repeated", "failed", "large_model"]

RULES: dict[Rule, str] = {
    "uncached_prefix": "The same beginning of a prompt paid at the full price again and again",
    "batch": "Work in bursts that could take the batch price",
    "long_outputs": "Answers far longer than this application's usual ones",
    "repeated": "The same request sent again",
    "failed": "Requests that failed and were charged",
    "large_model": "Very short answers from a large model",
}


class Waste(msgspec.Struct, frozen=True, kw_only=True):
    rule: Rule
    application: str | None
    saving_nanousd: Figure
    """What could be saved at most by mending this alone; overlaps with other rules."""
    rows: int
    """Requests that the rule picked."""
    says: str
    """The rule in words, with its figures."""


def waste_of(
    connection: duckdb.DuckDBPyConnection, traffic: Traffic, prices: Prices, rows: Assumptions, cheaper: Figure | None
) -> tuple[Waste, ...]:
    """The rules that pick something in this application. `cheaper`: the cost on the cheapest sibling, if any."""
    connection.execute(_MINE, [traffic.main.provider, traffic.main.model, traffic.application])
    found = [_failed(connection, traffic)]
    if traffic.per_request:
        found += [
            _prefix(connection, traffic, prices, rows),
            _batch(connection, traffic, rows),
            _long(connection, traffic, prices, rows),
            _repeated(connection, traffic),
            _large(connection, traffic, rows, cheaper),
        ]
    return tuple(one for one in found if one is not None)


# One pass over all rows for each application; the rules then look at its own.
_MINE = (
    "CREATE OR REPLACE TEMP TABLE mine AS SELECT requests, fresh, cache_read, output + coalesce(reasoning, 0) AS made, "
    "cost_nanousd, moment, coalesce(batch, false) AS batch, failed, request_key, "
    "provider IS NOT DISTINCT FROM ? AND coalesce(book_model, model) = ? AS main "
    "FROM usage WHERE application IS NOT DISTINCT FROM ?"
)


def _row(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[float, ...]:
    found = connection.execute(query).fetchone()
    return tuple(float(value) if value is not None else 0.0 for value in found or ())


def _failed(connection: duckdb.DuckDBPyConnection, traffic: Traffic) -> Waste | None:
    count, cost = _row(
        connection,
        "SELECT sum(coalesce(requests, 1)), sum(cost_nanousd) FROM mine WHERE failed AND cost_nanousd > 0",
    )
    if not count:
        return None
    return Waste(
        rule="failed", application=traffic.application, rows=int(count),
        saving_nanousd=Figure(low=cost, value=cost, high=cost, uses=()),
        says="Rows marked as failed, with a cost.",
    )  # fmt: skip


def _repeated(connection: duckdb.DuckDBPyConnection, traffic: Traffic) -> Waste | None:
    count, cost = _row(
        connection,
        "SELECT count(*), sum(cost_nanousd) FROM (SELECT cost_nanousd, row_number() OVER "
        "(PARTITION BY request_key ORDER BY moment) AS n FROM mine WHERE request_key IS NOT NULL) WHERE n > 1",
    )
    if not count:
        return None
    return Waste(
        rule="repeated", application=traffic.application, rows=int(count),
        saving_nanousd=Figure(low=0.0, value=cost, high=cost, uses=()),
        says="Requests after the first with the same request key. Some may have been asked again on purpose.",
    )  # fmt: skip


def _prefix(connection: duckdb.DuckDBPyConnection, traffic: Traffic, prices: Prices, rows: Assumptions) -> Waste | None:
    main = traffic.main
    found = "" if main.provider is None else prices.hours(main.provider, main.model)
    if isinstance(found, str):
        return None
    price = found[0].price
    if price.cache_read is None or price.cache_read >= price.input:
        return None
    difference = (price.input - price.cache_read) / 1e6
    quantiles = _row(
        connection,
        "SELECT " + ", ".join(f"quantile_cont(fresh + cache_read, {one / 100})" for one in range(1, 11))  # noqa: S608 (numbers)
        + " FROM mine WHERE main",
    )  # fmt: skip
    # Tokens of the shared beginning that were not read from the cache, at each quantile of the input length.
    wasted = ", ".join(f"sum(least(fresh, greatest(0, {length} - cache_read)))" for length in quantiles)
    *sums, count = _row(
        connection,
        f"SELECT {wasted}, count(*) FROM mine WHERE main",  # noqa: S608 (numbers of ours)
    )

    def at(read: Reading) -> tuple[float, int]:
        place = min(9, max(0, round(100 * read("waste.prefix_quantile")) - 1))
        long_enough = quantiles[place] >= read("waste.prefix_tokens_min")
        return (sums[place] if long_enough else 0.0), place

    saving = figure(lambda read: at(read)[0] * read("waste.prefix_share") * difference, rows)
    if saving.value is not None and not saving.high:
        return None
    return Waste(
        rule="uncached_prefix", application=traffic.application, rows=int(count), saving_nanousd=saving,
        says=f"95 of 100 requests to {main.model} have at least {quantiles[4]:,.0f} input tokens: so long can a shared "
        "beginning be at most, and what of it was not read from the cache was paid in full.",
    )  # fmt: skip


def _batch(connection: duckdb.DuckDBPyConnection, traffic: Traffic, rows: Assumptions) -> Waste | None:
    main = traffic.main
    if main.provider not in ("openai", "anthropic"):
        return None
    factors = [5.0, 10.0, 20.0]
    hours = connection.execute(
        "SELECT count(*), sum(cost_nanousd)::DOUBLE FROM mine "
        "WHERE main AND moment IS NOT NULL AND NOT batch GROUP BY date_trunc('hour', moment)"
    ).fetchall()
    if len(hours) < 3:
        return None
    median = sorted(count for count, _ in hours)[len(hours) // 2]
    bursts = [[(count, cost or 0.0) for count, cost in hours if count >= factor * median] for factor in factors]

    def saving(read: Reading) -> float:
        factor = read("waste.burst_factor")
        picked = [cost or 0.0 for count, cost in hours if count >= factor * median]
        return sum(picked) * read("batch.movable") * (1 - read(f"batch.{main.provider}"))

    found = figure(saving, rows)
    if found.value is not None and not found.high:
        return None
    return Waste(
        rule="batch", application=traffic.application, rows=sum(count for count, _ in bursts[1]), saving_nanousd=found,
        says=f"Its median hour has {median:,} requests; {len(bursts[1]):,} of {len(hours):,} hours have at least ten "
        "times as many. Such bursts are often jobs that nobody waits for.",
    )  # fmt: skip


def _long(connection: duckdb.DuckDBPyConnection, traffic: Traffic, prices: Prices, rows: Assumptions) -> Waste | None:
    main = traffic.main
    found = "" if main.provider is None else prices.hours(main.provider, main.model)
    if isinstance(found, str):
        return None
    rate = found[0].price.output / 1e6
    (median,) = _row(connection, "SELECT median(made) FROM mine WHERE main")
    if not median:
        return None

    def over(factor: float) -> tuple[float, ...]:
        longest = factor * median
        return _row(connection, f"SELECT sum(made - {longest}), count(*) FROM mine WHERE main AND made > {longest}")  # noqa: S608 (a number)

    saving = figure(lambda read: over(read("waste.long_output_factor"))[0] * rate, rows)
    if saving.value is not None and not saving.high:
        return None
    row = rows.rows.get("waste.long_output_factor")
    count = 0 if row is None else int(over(row.value)[1])
    return Waste(
        rule="long_outputs", application=traffic.application, rows=count, saving_nanousd=saving,
        says=f"Its median answer has {median:,.0f} tokens; counted is what goes beyond the stated multiple of that.",
    )  # fmt: skip


def _large(
    connection: duckdb.DuckDBPyConnection, traffic: Traffic, rows: Assumptions, cheaper: Figure | None
) -> Waste | None:
    if cheaper is None or traffic.cost_nanousd is None:
        return None
    (median,) = _row(connection, "SELECT median(made) FROM mine")
    line = rows.rows.get("waste.short_output_tokens")
    now = float(traffic.cost_nanousd)
    if line is None:
        saving = unknown("the assumption 'waste.short_output_tokens' has no row", ("waste.short_output_tokens",))
    elif median > line.high:
        return None
    elif cheaper.value is None or cheaper.high is None:
        saving = unknown(cheaper.why or "", ("waste.short_output_tokens", *cheaper.uses))
    else:
        low = 0.0 if median > line.low else max(0.0, now - cheaper.high)
        value = max(0.0, now - cheaper.value) if median <= line.value else 0.0
        high = max(0.0, now - (cheaper.low or 0.0))
        saving = Figure(
            low=min(low, value), value=value, high=high, uses=("waste.short_output_tokens", *cheaper.uses),
            driver=cheaper.driver,
        )  # fmt: skip
    return Waste(
        rule="large_model", application=traffic.application, rows=traffic.requests or 0, saving_nanousd=saving,
        says=f"Its median answer has {median:,.0f} tokens. Compared is the cheapest model of the same provider; "
        "whether that one does the work as well, a trial must show.",
    )  # fmt: skip
