"""The first page: what is spent, how much of it runs on open weights, what moves, and what wants somebody."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from weighbridge.admin.owned import Owned
from weighbridge.admin.pages.charts import Chart, Series
from weighbridge.admin.pages.sources import Sources, Told
from weighbridge.admin.pages.traffic import KINDS, RouteSums, Sums, Traffic, traffic
from weighbridge.admin.pages.words import part
from weighbridge.errors import WeighbridgeError
from weighbridge.ledger.share import Measure
from weighbridge.records.evidence import Verdict, VerdictWord
from weighbridge.records.ramp import RampStatus
from weighbridge.records.table import RouteTable
from weighbridge.store.funds import Standing
from weighbridge.trials.plan import read_object

KIND_LABELS = {"closed": "closed weights", "open": "open weights", "unknown": "weights not stated"}


class RouteLine(msgspec.Struct, frozen=True, kw_only=True):
    route: str
    incumbent: str
    candidates: tuple[tuple[str, VerdictWord | None], ...]
    """Each with the newest verdict about it on the whole of this route."""
    traffic: RouteSums | None
    """`None`: no user request in the window."""
    ramp: RampStatus | None


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    traffic: Traffic
    spend: Chart
    share: Chart
    routes: tuple[RouteLine, ...]
    standings: tuple[Standing, ...] | None
    ramps: tuple[RampStatus, ...] | None
    moving: int | None
    keeper_why: str | None
    table_number: int | None
    table_ns: int | None
    notes: tuple[str, ...]
    """What is missing on this page, one sentence each."""


def overview(sources: Sources, now_ns: int, teams: Sequence[str] | None, told: Told | None = None) -> Overview:
    notes: list[str] = []
    table: RouteTable | None = None
    try:
        table = sources.table
    except WeighbridgeError as error:
        notes.append(str(error))
    found = traffic(sources.share(), sources.loaded, now_ns, teams=teams)
    said = sources.told() if told is None else told
    if sources.problem is not None:
        notes.append(f"The configuration file cannot be used as it is now: {sources.problem}")
    owned = Owned(sources, None if teams is None else tuple(teams)) if table is not None or teams is None else None
    shown = () if said.ramps is None or owned is None else [row for row in said.ramps if owned.route(row.state.route)]
    ramps = None if said.ramps is None else {row.state.route: row for row in shown}
    verdicts = newest_verdicts(sources)
    by_route = {row.route: row for row in found.routes}
    lines = tuple(
        RouteLine(
            route=route.name, incumbent=route.incumbent, traffic=by_route.get(route.name),
            candidates=tuple((name, verdicts.get((route.name, name))) for name in route.candidates),
            ramp=None if ramps is None else ramps.get(route.name),
        )
        for route in (table.routes if table is not None else ())
        if owned is not None and owned.route(route.name)
    )  # fmt: skip
    over = ("settled", "rolled_back", "rejected")
    return Overview(
        traffic=found, spend=spend_chart(found), share=share_chart(found), routes=lines,
        standings=None
        if said.standings is None
        else tuple(row for row in said.standings.rows if owned is not None and owned.budget(row.budget)),
        ramps=None if said.ramps is None else tuple(shown),
        moving=None if said.ramps is None else sum(row.state.stage not in over for row in shown),
        keeper_why=said.why, table_number=None if table is None else table.number,
        table_ns=None if table is None else table.created_ns, notes=tuple(notes),
    )  # fmt: skip


def newest_verdicts(sources: Sources) -> dict[tuple[str, str], VerdictWord]:
    """(route, candidate) -> the newest verdict on the whole. Only the newest object of each label is read."""
    newest = {entry.label: entry for entry in sources.chain().objects if entry.kind == "verdict"}
    found: dict[tuple[str, str], VerdictWord] = {}
    for entry in newest.values():
        verdict = read_object(sources.layout, entry.digest, Verdict)
        if verdict.route is not None and verdict.candidate is not None:
            found[verdict.route, verdict.candidate] = verdict.overall.verdict
    return found


def _x(found: Traffic) -> tuple[float, ...]:
    return tuple(datetime(day.day.year, day.day.month, day.day.day, tzinfo=UTC).timestamp() for day in found.days)


def spend_chart(found: Traffic) -> Chart:
    rows = [
        Series(
            label=KIND_LABELS[kind], tone=kind, fill=True,
            values=tuple(day.by_kind.get(kind, Sums()).cost_nanousd / 1e9 for day in found.days),
        )
        for kind in KINDS
        if any(kind in day.by_kind for day in found.days)
    ]  # fmt: skip
    return Chart(title="Spend a day", x=_x(found), series=tuple(rows), unit="usd", stacked=True)


def share_chart(found: Traffic) -> Chart:
    """The open share of each day; a day without traffic has none."""

    def values(measure: Measure) -> tuple[float | None, ...]:
        shares = (part(found.shares.get(day.day), measure) for day in found.days)
        return tuple(None if share is None else 100.0 * share for share in shares)

    return Chart(
        title="Open share a day", x=_x(found), unit="percent",
        series=(
            Series(label="of requests", tone="open", values=values("requests")),
            Series(label="of tokens", tone="good", values=values("tokens"), dash=True),
            Series(label="of dollars", tone="closed", values=values("dollars")),
        ),
    )  # fmt: skip
