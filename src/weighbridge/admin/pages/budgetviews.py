"""Budgets: what is spent of each, and day by day how the rest goes, with the forecast's band."""

from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from weighbridge.admin.pages.charts import Chart, Series
from weighbridge.admin.pages.sources import Sources, Told
from weighbridge.ledger.limits import LimitChange, in_force, newest_changes
from weighbridge.ledger.outlook import BurnDown, burn_down
from weighbridge.records.budget import Budget
from weighbridge.store.funds import Standing


class BudgetView(msgspec.Struct, frozen=True, kw_only=True):
    budget: Budget
    """As the route table in force has it."""
    configured_nanousd: int | None
    """What the configuration file says; `None`: it does not know this budget any more."""
    changed: LimitChange | None
    """A limit that somebody set over the configuration's."""
    standing: Standing | None
    children: tuple[str, ...]


class BudgetPage(msgspec.Struct, frozen=True, kw_only=True):
    view: BudgetView
    burn: BurnDown | None
    """`None` where the configuration does not have this budget any more."""
    chart: Chart | None
    users: tuple[Standing, ...]
    """End users with caps of their own, the fullest first."""


def budgets(sources: Sources, told: Told) -> tuple[BudgetView, ...]:
    table = sources.table
    by_name = {row.budget: row for row in (told.standings.rows if told.standings else ()) if not row.subject}
    config = sources.loaded.config
    limits = {row.name: row.limit_usd for row in config.budget}
    changes = in_force(config, newest_changes(sources.layout, sources.chain()))
    return tuple(
        BudgetView(
            budget=one, standing=by_name.get(one.name), changed=changes.get(one.name),
            configured_nanousd=None if one.name not in limits else _nanousd(limits[one.name]),
            children=tuple(row.name for row in table.budgets if row.parent == one.name),
        )
        for one in table.budgets
    )  # fmt: skip


def _nanousd(text: str) -> int:
    return int(Decimal(text) * 1_000_000_000)  # checked by the configuration


def budget_page(sources: Sources, name: str, told: Told, now_ns: int) -> BudgetPage | None:
    view = next((one for one in budgets(sources, told) if one.budget.name == name), None)
    if view is None:
        return None
    loaded = sources.loaded
    section = next((row for row in loaded.config.budget if row.name == name), None)
    burn = chart = None
    if section is not None:
        with sources.daily().cursor() as sql:
            burn = burn_down(sql, loaded, section, view.budget.limit_nanousd, now_ns)
        chart = burn_chart(burn)
    users = [row for row in (told.standings.rows if told.standings else ()) if row.budget == name and row.subject]
    users.sort(key=lambda row: -row.spent_nanousd)
    return BudgetPage(view=view, burn=burn, chart=chart, users=tuple(users[:50]))


def burn_chart(burn: BurnDown) -> Chart:
    def dollars(value: int | None) -> float | None:
        return None if value is None else value / 1e9

    days = burn.days
    series = [
        Series(label="9 in 10 stay below", tone="band", values=tuple(dollars(day.p90) for day in days), width=1.0),
        Series(label="1 in 10 stay below", tone="band", values=tuple(dollars(day.p10) for day in days), width=1.0),
        Series(label="expected", tone="open", values=tuple(dollars(day.p50) for day in days), dash=True),
        Series(label="spent", tone="closed", values=tuple(dollars(day.nanousd) for day in days)),
        Series(label="limit", tone="limit", values=tuple(burn.limit_nanousd / 1e9 for _ in days), dash=True),
    ]
    return Chart(
        title=f"{burn.budget}: spent and expected in this window", unit="usd", series=tuple(series), bands=((1, 2),),
        x=tuple(datetime(day.day.year, day.day.month, day.day.day, tzinfo=UTC).timestamp() for day in days),
    )  # fmt: skip
