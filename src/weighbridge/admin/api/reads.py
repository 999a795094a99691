"""What can be looked at. Each answer is what the pages show, as JSON; what is not theirs to see is left out, or 404."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Literal

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from weighbridge.admin.api.calls import Query, answer, query_of
from weighbridge.admin.doors import Door
from weighbridge.admin.owned import Owned
from weighbridge.admin.pages import alertviews, budgetviews, exchangeviews, licenceviews, trialviews
from weighbridge.admin.pages.exchangeviews import ExchangeView
from weighbridge.admin.pages.licenceviews import ArmLicence
from weighbridge.admin.pages.shell import Dashboard
from weighbridge.admin.people import Person
from weighbridge.errors import ControlError, NotThereError, UsageError
from weighbridge.exchanges.search import ID, Row
from weighbridge.ledger.market import MarketFigure, market
from weighbridge.ledger.share import By, Shares
from weighbridge.records.budget import Budget
from weighbridge.records.evidence import Verdict
from weighbridge.records.people import Role
from weighbridge.records.ramp import RampStatus
from weighbridge.records.table import Route, Weights
from weighbridge.records.usage import Price
from weighbridge.reports.build import build
from weighbridge.reports.write import rendered
from weighbridge.store.alerts import AlertEvent
from weighbridge.store.funds import Standing


class Me(msgspec.Struct, frozen=True, kw_only=True):
    """Who the session or token belongs to, and what it opens."""

    name: str
    role: Role
    teams: tuple[str, ...] | None
    """`null`: every team's things."""
    via: str


class Routes(msgspec.Struct, frozen=True, kw_only=True):
    table: int
    """The number of the route table in force."""
    routes: tuple[Route, ...]


class ArmRow(msgspec.Struct, frozen=True, kw_only=True):
    """An arm of the route table in force, with its price."""

    name: str
    model: str
    endpoint: str
    weights: Weights | None
    terms: str | None
    price: Price | None
    """Nano-dollars per token; `null`: unknown, never 0."""
    price_version: str | None


class Arms(msgspec.Struct, frozen=True, kw_only=True):
    arms: tuple[ArmRow, ...]


class ExchangeQuery(Query, frozen=True, kw_only=True):
    id: str = ""
    route: str = ""
    arm: str = ""
    team: str = ""
    user: str = ""
    slice: str = ""
    conversation: str = ""
    trial: str = ""
    purpose: str = ""
    outcome: str = ""
    since: str = ""
    """A date or time (UTC), or an age such as `3d`."""
    until: str = ""
    after: str = ""
    """The `next` of the page before."""


class Exchanges(msgspec.Struct, frozen=True, kw_only=True):
    exchanges: tuple[Row, ...]
    next: str | None
    """For the query's `after`; `null`: there are no more."""


class TrialRow(msgspec.Struct, frozen=True, kw_only=True):
    trial: str
    route: str
    candidate: str
    incumbent: str
    created_ns: int
    items: int
    finished: bool
    verdict: Verdict | None


class Trials(msgspec.Struct, frozen=True, kw_only=True):
    trials: tuple[TrialRow, ...]


class Ramps(msgspec.Struct, frozen=True, kw_only=True):
    ramps: tuple[RampStatus, ...]


class BudgetRow(msgspec.Struct, frozen=True, kw_only=True):
    budget: Budget
    configured_nanousd: int | None
    """What the configuration file says; another limit may be in force."""
    standing: Standing | None
    """`null`: nothing was counted yet."""


class Budgets(msgspec.Struct, frozen=True, kw_only=True):
    budgets: tuple[BudgetRow, ...]


class ShareQuery(Query, frozen=True, kw_only=True):
    by: By = "all"
    over: Literal["all", "day", "week", "month"] = "all"
    since: date | None = None
    """The first UTC day."""
    until: date | None = None
    """The day after the last."""


class OpenShares(msgspec.Struct, frozen=True, kw_only=True):
    shares: tuple[Shares, ...]
    market: tuple[MarketFigure, ...]
    """What others published, for comparison."""


class Licences(msgspec.Struct, frozen=True, kw_only=True):
    on: str
    """The day that the findings are of."""
    arms: tuple[ArmLicence, ...]


class Alerts(msgspec.Struct, frozen=True, kw_only=True):
    now: tuple[AlertEvent, ...]
    lately: tuple[AlertEvent, ...]


class ReportQuery(Query, frozen=True, kw_only=True):
    format: Literal["html", "json", "markdown"] = "html"
    route: str | None = None


KINDS = {"html": "text/html; charset=utf-8", "json": "application/json", "markdown": "text/markdown; charset=utf-8"}


class Reads:
    def __init__(self, board: Dashboard) -> None:
        self._board = board

    def doors(self) -> tuple[Door, ...]:
        def door(
            path: str, summary: str, kind: object, read: Callable[[Request, Person], object],
            role: Role | None = "viewer", query: type[msgspec.Struct] | None = None,
        ) -> Door:  # fmt: skip
            async def handler(request: Request, person: Person) -> Response:
                return answer(await run_in_threadpool(read, request, person))

            return Door(
                method="GET", path=f"/api/v1/{path}", role=role, handler=handler, summary=summary, answer=kind,
                query=query,
            )  # fmt: skip

        return (
            door("me", "Who the session or token belongs to", Me, _me, role=None),
            door("routes", "Routes of the table in force", Routes, self._routes),
            door("arms", "Arms of the table in force, with their prices", Arms, self._arms),
            door("exchanges", "Search exchanges, newest first", Exchanges, self._exchanges, query=ExchangeQuery),
            door("exchanges/{exchange}", "One exchange; operators see its bodies", ExchangeView, self._exchange),
            door("trials", "Trials, newest first, with their verdicts", Trials, self._trials),
            door("trials/{trial}", "One trial", TrialRow, self._trial),
            door("ramps", "Ramps: stage, guardrails, gates, exposure", Ramps, self._ramps),
            door("ramps/{route}", "The newest ramp of a route", RampStatus, self._ramp),
            door("budgets", "Budgets and where they stand", Budgets, self._budgets),
            door("budgets/{budget}", "One budget", BudgetRow, self._budget),
            door("share", "The open share, by route or team and over time", OpenShares, self._share, query=ShareQuery),
            door("licences", "What the terms of each arm mean for the organisation", Licences, self._licences),
            door("alerts", "Alerts raised now and lately", Alerts, self._alerts),
            Door(
                method="GET", path="/api/v1/report", role="approver", handler=self._report, query=ReportQuery,
                summary="The report, made now, to keep: HTML in one file, JSON or Markdown", answer=bytes,
            ),
        )  # fmt: skip

    def _owned(self, person: Person) -> Owned:
        return Owned(self._board.sources, person.teams)

    def _routes(self, request: Request, person: Person) -> Routes:
        table, owned = self._board.sources.table, self._owned(person)
        return Routes(table=table.number, routes=tuple(one for one in table.routes if owned.route(one.name)))

    def _arms(self, request: Request, person: Person) -> Arms:
        names = ("name", "model", "endpoint", "weights", "terms", "price", "price_version")
        return Arms(
            arms=tuple(ArmRow(**{name: getattr(one, name) for name in names}) for one in self._board.sources.table.arms)
        )

    def _exchanges(self, request: Request, person: Person) -> Exchanges:
        given = msgspec.to_builtins(query_of(request, ExchangeQuery))
        found = exchangeviews.searched(self._board.sources, given, person.teams, self._board.wall_ns())
        if found.page is None:
            raise UsageError(found.problem or "the search cannot be answered")
        return Exchanges(exchanges=found.page.rows, next=found.next)

    def _exchange(self, request: Request, person: Person) -> ExchangeView:
        name = request.path_params["exchange"]
        bodies = person.may("operator")
        found = None
        if ID.fullmatch(name) is not None:
            found = exchangeviews.exchange_view(self._board.sources, name, person.teams, bodies=bodies)
        if found is None:
            raise NotThereError(f"there is no exchange {name[:80]!r}")
        return found

    def _trials(self, request: Request, person: Person) -> Trials:
        owned = self._owned(person)
        lines = trialviews.trials(self._board.sources)
        return Trials(trials=tuple(_trial_row(one) for one in lines if owned.route(one.route)))

    def _trial(self, request: Request, person: Person) -> TrialRow:
        name = request.path_params["trial"]
        found = next((one for one in self._trials(request, person).trials if one.trial == name), None)
        if found is None:
            raise NotThereError(f"there is no trial {name[:80]!r}")
        return found

    def _ramps(self, request: Request, person: Person) -> Ramps:
        told, owned = self._board.sources.told(), self._owned(person)
        if told.ramps is None:
            raise ControlError(f"the keeper does not answer: {told.why}")
        return Ramps(ramps=tuple(one for one in told.ramps if owned.route(one.state.route)))

    def _ramp(self, request: Request, person: Person) -> RampStatus:
        name = request.path_params["route"]
        found = next((one for one in self._ramps(request, person).ramps if one.state.route == name), None)
        if found is None:
            raise NotThereError(f"route {name[:80]!r} has no ramp")
        return found

    def _budgets(self, request: Request, person: Person) -> Budgets:
        told, owned = self._board.sources.told(), self._owned(person)
        views = budgetviews.budgets(self._board.sources, told)
        return Budgets(
            budgets=tuple(
                BudgetRow(budget=one.budget, configured_nanousd=one.configured_nanousd, standing=one.standing)
                for one in views
                if owned.budget(one.budget.name)
            )
        )

    def _budget(self, request: Request, person: Person) -> BudgetRow:
        name = request.path_params["budget"]
        found = next((one for one in self._budgets(request, person).budgets if one.budget.name == name), None)
        if found is None:
            raise NotThereError(f"there is no budget {name[:80]!r}")
        return found

    def _share(self, request: Request, person: Person) -> OpenShares:
        asked, share = query_of(request, ShareQuery), self._board.sources.share()
        rows = share.used(asked.since, asked.until, person.teams)
        period = None if asked.over == "all" else asked.over
        return OpenShares(
            shares=share.shares(self._board.sources.loaded, rows, by=asked.by, period=period), market=market()
        )

    def _licences(self, request: Request, person: Person) -> Licences:
        on = datetime.fromtimestamp(self._board.wall_ns() // 1_000_000_000, UTC).date()
        found = licenceviews.licences(self._board.sources, on, every_model=False)
        return Licences(on=found.on, arms=found.arms)

    def _alerts(self, request: Request, person: Person) -> Alerts:
        if person.teams is not None:
            raise NotThereError("alerts tell of every team's traffic, so they are for who sees every team's")
        found = alertviews.alerts(self._board.sources)
        return Alerts(now=tuple(one.event for one in found.now), lately=tuple(one.event for one in found.lately))

    async def _report(self, request: Request, person: Person) -> Response:
        asked = query_of(request, ReportQuery)
        if person.teams is not None:
            raise NotThereError("the report tells of every team's traffic, so it is for who sees every team's")
        sources = self._board.sources

        def make() -> bytes:
            made = build(sources.layout, sources.loaded, self._board.wall_ns(), only_route=asked.route)
            return rendered(made, asked.format)

        body = await run_in_threadpool(make)
        ending = {"html": "html", "json": "json", "markdown": "md"}[asked.format]
        # The file's name is ours alone: nothing of the request stands in a header.
        headers = {"content-disposition": f'attachment; filename="weighbridge-report.{ending}"'}
        return Response(body, headers=headers, media_type=KINDS[asked.format])


def _me(request: Request, person: Person) -> Me:
    return Me(name=person.name, role=person.role, teams=person.teams, via=person.via)


def _trial_row(one: trialviews.TrialLine) -> TrialRow:
    return TrialRow(
        trial=one.trial, route=one.route, candidate=one.candidate, incumbent=one.incumbent, created_ns=one.created_ns,
        items=one.items, finished=one.finished, verdict=one.verdict,
    )  # fmt: skip
