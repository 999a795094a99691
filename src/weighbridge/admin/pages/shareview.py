"""The open share on a page of its own: by four measures, over time, by route and team, beside what others published."""

from datetime import UTC, date, datetime, timedelta

import msgspec

from weighbridge.admin.pages.charts import Chart, Series
from weighbridge.admin.pages.sources import Sources
from weighbridge.admin.pages.words import part
from weighbridge.ledger.market import MarketFigure, market
from weighbridge.ledger.share import Measure, Shares

DAYS = 28
WEEKS = 26


class ShareView(msgspec.Struct, frozen=True, kw_only=True):
    first: date
    last: date
    whole: Shares | None
    """Of the last 28 days; `None`: nothing was answered or tried in them."""
    routes: tuple[Shares, ...]
    teams: tuple[Shares, ...]
    chart: Chart
    market: tuple[MarketFigure, ...]


def share_view(sources: Sources, teams: tuple[str, ...] | None, now_ns: int) -> ShareView:
    share, loaded = sources.share(), sources.loaded
    today = datetime.fromtimestamp(now_ns // 1_000_000_000, UTC).date()
    first, end = today - timedelta(days=DAYS - 1), today + timedelta(days=1)
    monday = today - timedelta(days=today.weekday(), weeks=WEEKS - 1)
    used = share.used(min(first, monday), end, teams)
    lately = [row for row in used if row.day >= first]
    whole = share.shares(loaded, lately)
    weeks = share.shares(loaded, [row for row in used if row.day >= monday], period="week")
    return ShareView(
        first=first, last=today, whole=whole[0] if whole else None, market=market(), chart=_chart(weeks),
        routes=share.shares(loaded, lately, by="route"), teams=share.shares(loaded, lately, by="team"),
    )  # fmt: skip


def _chart(weeks: tuple[Shares, ...]) -> Chart:
    def values(measure: Measure) -> tuple[float | None, ...]:
        shares = (part(one, measure) for one in weeks)
        return tuple(None if share is None else 100.0 * share for share in shares)

    starts = [date.fromisoformat(one.since) for one in weeks]
    return Chart(
        title="Open share a week", unit="percent",
        x=tuple(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() for day in starts),
        series=(
            Series(label="of requests", tone="open", values=values("requests")),
            Series(label="of tokens", tone="good", values=values("tokens"), dash=True),
            Series(label="of dollars", tone="closed", values=values("dollars")),
        ),
    )  # fmt: skip
