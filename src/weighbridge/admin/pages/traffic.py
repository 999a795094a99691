"""Spend and open share by day, from the kept sums: what the overview draws."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Literal

import msgspec

from weighbridge.config import Loaded
from weighbridge.ledger.share import OpenShare, Shares, Used, configured_weights

Kind = Literal["open", "closed", "unknown"]
KINDS: tuple[Kind, ...] = ("closed", "open", "unknown")


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    requests: int = 0
    tokens: int = 0
    cost_nanousd: int = 0
    unknown: int = 0
    """Attempts whose cost nobody knows: the money is at least what `cost_nanousd` says."""
    failed: int = 0


class Day(msgspec.Struct, frozen=True, kw_only=True):
    day: date
    by_kind: dict[Kind, Sums]


class RouteSums(msgspec.Struct, frozen=True, kw_only=True):
    route: str
    sums: Sums
    share: Shares | None
    """`None`: nothing was answered or tried, so there is no share."""


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """User traffic of some days, and what else was spent in them."""

    first: date
    last: date
    users: Sums
    other_nanousd: int
    """Trials, judges, shadows and drills."""
    share: Shares | None
    """The open share; `None`: nothing was answered or tried, so there is none."""


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    now: Window
    before: Window
    days: tuple[Day, ...]
    shares: dict[date, Shares]
    """The open share of each day that has one."""
    routes: tuple[RouteSums, ...]
    teams: tuple[tuple[str | None, Sums], ...]


def traffic(
    share: OpenShare, loaded: Loaded, now_ns: int, *, window: int = 28, history: int = 84,
    teams: Sequence[str] | None = None,
) -> Traffic:  # fmt: skip
    """`window`: days of the two windows that are compared, today included; `history`: days of the chart.

    teams: only what belongs to them; `None`: all.
    """
    today = datetime.fromtimestamp(now_ns // 1_000_000_000, UTC).date()
    kinds = {name: weights or "unknown" for name, weights in configured_weights(loaded).items()}
    first = today - timedelta(days=max(history, 2 * window) - 1)
    with share.daily.cursor() as sql:
        rows = sql.execute(
            "SELECT day, purpose, route, arm, team, sum(requests)::BIGINT, sum(tokens)::BIGINT, "
            "sum(cost_nanousd)::BIGINT, sum(unknown)::BIGINT, sum(failed)::BIGINT FROM daily WHERE day >= ? AND "
            "day <= ? AND (? OR list_contains(?::VARCHAR[], team)) GROUP BY ALL ORDER BY day",
            [first, today, teams is None, list(teams or ())],
        ).fetchall()
    cut, far = today - timedelta(days=window - 1), today - timedelta(days=2 * window - 1)
    days: dict[date, dict[Kind, Sums]] = {
        first + timedelta(days=number): {} for number in range((today - first).days + 1)
    }
    spans: dict[bool, dict[Kind, Sums]] = {True: {}, False: {}}
    other = {True: 0, False: 0}
    routes: dict[str, dict[Kind, Sums]] = {}
    by_team: dict[str | None, Sums] = {}
    for day, purpose, route, arm, team, requests, tokens, cost, unknown, failed in rows:
        sums = Sums(requests=requests, tokens=tokens, cost_nanousd=cost, unknown=unknown, failed=failed)
        if purpose != "user":
            if day >= far:
                other[day >= cut] += cost
            continue
        kind = kinds.get(arm, "unknown")
        _add(days[day], kind, sums)
        if day >= far:
            _add(spans[day >= cut], kind, sums)
        if day >= cut:
            _add(routes.setdefault(route, {}), kind, sums)
            by_team[team] = _plus(by_team.get(team, Sums()), sums)
    shown = today - timedelta(days=history - 1)
    used = share.used(first, today + timedelta(days=1), teams)
    now = [row for row in used if row.day >= cut]
    by_route = {one.name: one for one in share.shares(loaded, now, by="route")}
    by_day = share.shares(loaded, used, period="day")

    def window_of(rows: list[Used], start: date, end: date, now: bool) -> Window:
        whole = share.shares(loaded, rows)
        return Window(
            first=start, last=end, users=_all(spans[now]), other_nanousd=other[now], share=whole[0] if whole else None
        )  # fmt: skip

    return Traffic(
        now=window_of(now, cut, today, now=True),
        before=window_of([row for row in used if far <= row.day < cut], far, cut - timedelta(days=1), now=False),
        shares={date.fromisoformat(one.since): one for one in by_day},
        days=tuple(Day(day=day, by_kind=by_kind) for day, by_kind in days.items() if day >= shown),
        routes=tuple(
            RouteSums(route=route, sums=_all(found), share=by_route.get(route))
            for route, found in sorted(routes.items(), key=lambda one: -_all(one[1]).cost_nanousd)
        ),
        teams=tuple(sorted(by_team.items(), key=lambda one: (-one[1].cost_nanousd, one[0] or ""))),
    )


def _add(into: dict[Kind, Sums], kind: Kind, more: Sums) -> None:
    into[kind] = _plus(into.get(kind, Sums()), more)


def _plus(one: Sums, other: Sums) -> Sums:
    return Sums(
        requests=one.requests + other.requests, tokens=one.tokens + other.tokens,
        cost_nanousd=one.cost_nanousd + other.cost_nanousd, unknown=one.unknown + other.unknown,
        failed=one.failed + other.failed,
    )  # fmt: skip


def _all(by_kind: Mapping[Kind, Sums]) -> Sums:
    total = Sums()
    for one in by_kind.values():
        total = _plus(total, one)
    return total
