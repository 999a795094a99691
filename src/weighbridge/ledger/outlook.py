"""For each budget: what of its window is spent, and the day on which the rest is used up.

A budget counts what was spent on what names it (keys, teams, routes, arms, purposes), or a budget below it. Forecasts
look at user requests only: a trial ends, and says nothing about next week. `what_if` asks the same of the traffic on
another arm.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

import duckdb
import msgspec
import numpy as np

from weighbridge.config import Loaded
from weighbridge.config.tree import BudgetSection
from weighbridge.errors import UsageError
from weighbridge.ledger.daily import Daily
from weighbridge.ledger.forecast import Ends, Floats, NotEnough, ends, future
from weighbridge.ledger.postings import adjustments
from weighbridge.ledger.prices import PriceFound, Terms, compile_price
from weighbridge.ledger.ratios import Ratios, cache_share, token_ratios
from weighbridge.ledger.savings import Cache, Interval, would_have_cost
from weighbridge.ledger.windows import shown, window_of

TOTAL_DAYS = 365
"""How far a budget without an end is looked at."""
WHAT_IF_DAYS = 28
NS = 1_000_000_000


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    budget: str
    limit_nanousd: int
    spent_nanousd: int
    """In the window so far."""
    resets: str | None
    """When the window ends, ISO 8601 UTC; `None`: never."""
    resets_local: str | None
    """The same as clocks in the budget's zone show it."""
    history_days: int
    ends: Ends | None
    why_none: str | None
    """Why there is no forecast."""
    unknown: int
    """Attempts in the window whose cost nobody knows: the money ends sooner than this says."""
    expected_nanousd: int | None
    """The whole window: spent so far and what is expected (P50) until it ends."""


def outlooks(daily: Daily, loaded: Loaded, now_ns: int, only: str | None = None) -> list[Outlook]:
    """Raises `UsageError` for a budget that is not there."""
    budgets = loaded.config.budget
    if only is not None and only not in [row.name for row in budgets]:
        known = ", ".join(row.name for row in budgets) or "none"
        raise UsageError(f"{loaded.file} has no budget {only!r}; it has: {known}")
    with daily.cursor() as sql:
        return [_outlook(daily, sql, loaded, row, now_ns) for row in budgets if only in (None, row.name)]


class Charged(msgspec.Struct, frozen=True, kw_only=True):
    """Whose spending counts on a budget: of what names it, or a budget below it."""

    keys: tuple[str, ...]
    """Their user requests; a key that names no budget stands on its team's."""
    routes: tuple[str, ...]
    """Their user requests."""
    arms: tuple[str, ...]
    purposes: tuple[str, ...]

    @property
    def lists(self) -> list[list[str]]:
        """In the order of the parameters of `_CHARGED`."""
        return [list(self.keys), list(self.routes), list(self.arms), list(self.purposes)]


def charged_to(loaded: Loaded, budget: str) -> Charged:
    config, names = loaded.config, {budget}
    while below := {row.name for row in config.budget if row.parent in names} - names:
        names |= below
    of_team = {team.name: team.budget for team in config.team}
    return Charged(
        keys=tuple(key.name for key in config.key if (key.budget or of_team.get(key.team or "")) in names),
        routes=tuple(route.name for route in config.route if route.budget in names),
        arms=tuple(arm.name for arm in config.arm if arm.budget in names),
        purposes=tuple(dict.fromkeys(one for row in config.budget if row.name in names for one in row.purposes)),
    )


def _outlook(daily: Daily, sql: duckdb.DuckDBPyConnection, loaded: Loaded, row: BudgetSection, now_ns: int) -> Outlook:
    who = charged_to(loaded, row.name)
    window = window_of(row.window, row.time_zone, now_ns)
    limit = int(Decimal(row.limit_usd) * NS)  # checked by the configuration
    start, today = _utc(window.start_ns), _utc(now_ns).date()
    by_day = _by_day(sql, who, today)
    within = [one for day, one in by_day.items() if day >= start.date()]
    early, early_unknown = _early(daily, sql, who, start)
    spent = sum(one.charged for one in within) - early
    unknown = sum(one.unknown for one in within) - early_unknown
    days = _series(by_day, today)
    end = None if window.end_ns is None else datetime.fromtimestamp(window.end_ns // NS, UTC)
    found: Ends | None = None
    why: str | None = None
    expected: int | None = None
    if row.window in ("minute", "hour", "day"):
        why = f"a window of a {row.window} is over before a forecast by days says anything"
    elif spent >= limit:
        why = "it is used up"
    elif len(days) == 0:
        why = "not enough history: no day of spend is complete"
    else:
        ahead = TOTAL_DAYS if end is None else _days_until(end, today)
        made = future(days, today - timedelta(days=1), ahead)
        if isinstance(made, NotEnough):
            why = made.why
        else:
            # What was spent today is part of today's forecast: the rest is counted from its first moment.
            before = max(0, spent - by_day[today].charged if today in by_day and start.date() < today else spent)
            found = ends(made, float(limit - before) / NS)
            expected = None if end is None else before + int(float(made.quantile(0.5)[-1]) * NS)
    return Outlook(
        budget=row.name, limit_nanousd=limit, spent_nanousd=spent, resets=None if end is None else end.isoformat(),
        resets_local=None if window.end_ns is None else shown(window.end_ns, f"{row.window} {row.time_zone}"),
        history_days=len(days), ends=found, why_none=why, unknown=unknown, expected_nanousd=expected,
    )  # fmt: skip


def _days_until(end: datetime, today: date) -> int:
    """UTC days from today on that a window still has a part of."""
    return max(1, (end.date() - today).days + (end.time() > datetime.min.time()))


def _utc(ns: int) -> datetime:
    return datetime.fromtimestamp(ns // NS, UTC).replace(tzinfo=None, microsecond=ns % NS // 1000)


class _Day(NamedTuple):
    charged: int
    """Nano-dollars; what was imported was charged to no budget."""
    users: int
    """Of user requests, imported ones too: the forecast learns from them."""
    unknown: int


def _by_day(sql: duckdb.DuckDBPyConnection, who: Charged, today: date) -> dict[date, _Day]:
    """UTC days with anything that counts, in order, today included."""
    found = sql.execute(_BURNT, [*who.lists, today]).fetchall()
    return {day: _Day(int(charged), int(users), int(unknown)) for day, charged, users, unknown in found}


def _series(by_day: Mapping[date, _Day], today: date) -> Floats:
    """Dollars of user requests on each complete UTC day from the first with a request on; days without one are 0."""
    complete = {day: one.users for day, one in by_day.items() if day < today}
    if not complete:
        return np.empty(0)
    first = min(complete)
    series = np.zeros((today - first).days)
    for day, nanousd in complete.items():
        series[(day - first).days] = nanousd / NS
    return series


def _early(daily: Daily, sql: duckdb.DuckDBPyConnection, who: Charged, start: datetime) -> tuple[int, int]:
    """Of the UTC day on which a window begins, what lies before it: cost, and attempts of unknown cost.

    Sums are kept by UTC day; this part of one day alone is read from the rows.
    """
    midnight = datetime(start.year, start.month, start.day)
    if start == midnight:
        return 0, 0
    sql.execute("CREATE OR REPLACE TEMP TABLE adjusted_here (id VARCHAR, attempt BIGINT, nanousd HUGEINT)")
    rows = [(row.exchange, row.attempt, row.nanousd) for one in adjustments(daily.kept.layout) for row in one.rows]
    if rows:
        sql.executemany("INSERT INTO adjusted_here VALUES (?, ?, ?)", rows)
    found = sql.execute(_EARLY.format(source=daily.kept.source()), [midnight, start, *who.lists]).fetchone()
    return (0, 0) if found is None else (int(found[0]), int(found[1]))


class BurnDay(msgspec.Struct, frozen=True, kw_only=True):
    """What is spent of a window by the end of a UTC day: as booked, or one of the forecast's quantiles."""

    day: date
    nanousd: int | None = None
    p10: int | None = None
    p50: int | None = None
    p90: int | None = None


class BurnDown(msgspec.Struct, frozen=True, kw_only=True):
    """A budget's window day by day, behind and ahead."""

    budget: str
    limit_nanousd: int
    window: str
    resets: str | None
    days: tuple[BurnDay, ...]
    ends: Ends | None
    why_none: str | None
    """Why there is no forecast."""
    unknown: int
    """Attempts in the window whose cost nobody knows: the money ends sooner than this says."""


def burn_down(sql: duckdb.DuckDBPyConnection, loaded: Loaded, row: BudgetSection, limit: int, now_ns: int) -> BurnDown:
    """`sql` has the view `daily`. A window that does not begin at midnight UTC is shown from the day it begins on.

    What was imported was charged to no budget: the forecast learns from it, the window does not count it.
    """
    who = charged_to(loaded, row.name)
    window = window_of(row.window, row.time_zone, now_ns)
    today = _utc(now_ns).date()
    start = _utc(window.start_ns).date()
    by_day = _by_day(sql, who, today)
    if row.window == "total":
        start = min(by_day, default=today)
    end = None if window.end_ns is None else datetime.fromtimestamp(window.end_ns // NS, UTC)
    days: list[BurnDay] = []
    spent = unknown = 0
    for number in range((today - start).days + 1):
        one = by_day.get(start + timedelta(days=number), _Day(0, 0, 0))
        spent, unknown = spent + one.charged, unknown + one.unknown
        days.append(BurnDay(day=start + timedelta(days=number), nanousd=spent))
    series = _series(by_day, today)
    forecast: Ends | None = None
    why: str | None = None
    if row.window in ("minute", "hour", "day"):
        why = f"a window of a {row.window} is over before a forecast by days says anything"
    elif spent >= limit:
        why = "it is used up"
    else:
        ahead = TOTAL_DAYS // 4 if end is None else _days_until(end, today)
        made = future(series, today - timedelta(days=1), ahead)
        if isinstance(made, NotEnough):
            why = made.why
        else:
            before = max(0, spent - by_day.get(today, _Day(0, 0, 0)).charged)
            forecast = ends(made, float(limit - before) / NS)
            parts = [made.quantile(share) for share in (0.1, 0.5, 0.9)]
            for number in range(ahead):
                low, mid, high = (before + int(float(part[number]) * NS) for part in parts)
                days.append(BurnDay(day=made.first + timedelta(days=number), p10=low, p50=mid, p90=high))
    return BurnDown(
        budget=row.name, limit_nanousd=limit, window=row.window, resets=None if end is None else end.isoformat(),
        days=tuple(days), ends=forecast, why_none=why, unknown=unknown,
    )  # fmt: skip


class WhatIf(msgspec.Struct, frozen=True, kw_only=True):
    """The user traffic of the last days of one route and arm, on another arm."""

    route: str
    arm: str
    instead: str
    requests: int
    paid_nanousd: int
    would_cost: Interval | None
    why_unknown: str | None
    ratios: Ratios | None
    """Tokens of the other arm for one of this arm's, as trials measured them."""
    cache: Cache | None
    """`measured`: as the other arm's own traffic on this route; `assumed`: between none and all of the input cached."""


def what_if(sql: duckdb.DuckDBPyConnection, loaded: Loaded, terms: Terms, instead: str, now_ns: int) -> list[WhatIf]:
    """Raises `UsageError` for an arm that is not there. Prices are those of now."""
    if instead not in [arm.name for arm in loaded.config.arm]:
        known = ", ".join(arm.name for arm in loaded.config.arm) or "none"
        raise UsageError(f"{loaded.file} has no arm {instead!r}; it has: {known}")
    row = loaded.arm(instead)
    answer = compile_price(row, loaded.endpoint(row.endpoint), datetime.fromtimestamp(now_ns // NS, UTC), terms)
    span = [_utc(now_ns) - timedelta(days=WHAT_IF_DAYS), _utc(now_ns)]
    found: list[WhatIf] = []
    for route, arm in sql.execute(_TRAFFIC, [*span, instead]).fetchall():
        ratios = token_ratios(sql, instead, arm)
        share = cache_share(sql, instead, route)
        total = Interval(low_nanousd=0, nanousd=0, high_nanousd=0)
        requests = paid = 0
        why = None if isinstance(answer, PriceFound) else answer.why
        if ratios is None:
            why = f"no trial has measured {instead} beside {arm} on enough requests"
        for cost, given, made in sql.execute(_USED, [*span, route, arm]).fetchall():
            requests, paid = requests + 1, paid + int(cost or 0)
            if why is None and isinstance(answer, PriceFound) and ratios is not None:
                one = would_have_cost(int(given), int(made), answer.price, ratios, share)
                if one is None:
                    why = f"{instead} has no price for what one of the requests needs"
                else:
                    total = total.plus(one)
        found.append(
            WhatIf(
                route=route,
                arm=arm,
                instead=instead,
                requests=requests,
                paid_nanousd=paid,
                would_cost=None if why else total,
                why_unknown=why,
                ratios=ratios,
                cache=None if ratios is None else ("assumed" if share is None else "measured"),
            )
        )
    return found


_CHARGED = (
    "((purpose = 'user' AND (list_contains(?::VARCHAR[], key) OR list_contains(?::VARCHAR[], route))) "
    "OR list_contains(?::VARCHAR[], arm) OR list_contains(?::VARCHAR[], purpose))"
)
_EARLY = (
    "WITH one AS (SELECT id, purpose, route, key, unnest(attempts) AS a FROM {source} "  # noqa: S608 (our own text)
    "WHERE time >= ? AND time < ? AND key <> 'imported'), "
    "two AS (SELECT id, purpose, route, key, a.arm AS arm, a.attempt AS attempt, a.cost_nanousd AS cost FROM one), "
    "sums AS (SELECT id, attempt, sum(nanousd) AS nanousd FROM adjusted_here GROUP BY ALL) "
    "SELECT coalesce(sum(coalesce(cost, 0) + coalesce(nanousd, 0)), 0)::HUGEINT, "
    "count(*) FILTER (cost IS NULL AND nanousd IS NULL) FROM two LEFT JOIN sums USING (id, attempt) "
    f"WHERE {_CHARGED}"
)
_TRAFFIC = (
    "SELECT route, arm FROM postings WHERE time >= ? AND time < ? AND purpose = 'user' AND has_usage AND arm <> ? "
    "GROUP BY ALL ORDER BY ALL"
)
_BURNT = (
    "SELECT day, coalesce(sum(cost_nanousd) FILTER (key <> 'imported'), 0)::HUGEINT, "  # noqa: S608 (our own text)
    "coalesce(sum(cost_nanousd) FILTER (purpose = 'user'), 0)::HUGEINT, coalesce(sum(unknown), 0)::BIGINT FROM daily "
    f"WHERE {_CHARGED} AND day <= ? GROUP BY day ORDER BY day"
)
_USED = (
    "SELECT cost_nanousd, input + cache_read + cache_write + cache_write_1h + audio_input + image_input, "
    "output + reasoning + audio_output + image_output FROM postings "
    "WHERE time >= ? AND time < ? AND purpose = 'user' AND has_usage AND route = ? AND arm = ?"
)
