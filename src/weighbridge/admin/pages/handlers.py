"""Pages to look at: each reads in a thread, and renders."""

from datetime import UTC, datetime
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from weighbridge.admin.owned import Owned
from weighbridge.admin.pages import alertviews, auditview, budgetviews, exchangeviews, licenceviews, ramps, trialviews
from weighbridge.admin.pages.live import live
from weighbridge.admin.pages.overview import overview
from weighbridge.admin.pages.shareview import share_view
from weighbridge.admin.pages.shell import Dashboard, fragment, nothing, page
from weighbridge.admin.pages.trialviews import TrialLine, TrialView
from weighbridge.admin.people import Person
from weighbridge.errors import WeighbridgeError
from weighbridge.records.evidence import Pair
from weighbridge.scan import words as scan_words

LOSSES_SHOWN = 10
DONE = {
    "propose": "Proposed. Nothing moves until it is approved and started.",
    "approve": "Approved. It takes the steps by itself once time, evidence and gates allow.",
    "start": "Started: copies of requests go to the candidate.",
    "advance": "The step is taken.",
    "pause": "Paused: the share stays.",
    "resume": "It goes on.",
    "rollback": "Taken back: everything goes to the incumbent.",
    "reject": "Given up.",
    "limit": "The limit is changed.",
    "clear": "The configuration's limit is in force again.",
}
"""What a page says after something was done. The address names a word of these, never the text."""


def said(request: Request) -> str:
    return DONE.get(request.query_params.get("done", ""), "")


async def first(board: Dashboard, request: Request, person: Person) -> Response:
    def read() -> dict[str, object]:
        told = board.sources.told()
        view = overview(board.sources, board.wall_ns(), person.teams, told)
        return {"view": view, "alerts": alertviews.standing(board.sources)}

    return page(request, person, "overview.html.j2", "Overview", await run_in_threadpool(read))


async def share(board: Dashboard, request: Request, person: Person) -> Response:
    view = await run_in_threadpool(share_view, board.sources, person.teams, board.wall_ns())
    return page(request, person, "share.html.j2", "Open share", {"view": view})


async def routes(board: Dashboard, request: Request, person: Person) -> Response:
    def read() -> dict[str, object]:
        told = board.sources.told()
        owned = Owned(board.sources, person.teams)
        rows = [row for row in ramps.routes(board.sources, told) if owned.route(row.route.name)]
        return {"rows": rows, "keeper_why": told.why}

    return page(request, person, "routes.html.j2", "Routes and ramps", await run_in_threadpool(read))


async def route(
    board: Dashboard, request: Request, person: Person, *, problem: str = "", status: int = 200
) -> Response:
    name = request.path_params["route"]
    view = await run_in_threadpool(lambda: ramps.route_view(board.sources, name, board.sources.told()))
    if view is None:
        return nothing(request, person, "such route in the route table")
    context = {"view": view, "may_operate": person.may("operator"), "may_approve": person.may("approver")}
    return page(
        request, person, "route.html.j2", f"Route {name}", context, said=said(request), problem=problem, status=status
    )  # fmt: skip


async def route_live(board: Dashboard, request: Request, person: Person) -> Response:
    name = request.path_params["route"]

    def render() -> tuple[str, bool]:
        view = ramps.route_view(board.sources, name, board.sources.told())
        return ("", True) if view is None else (fragment("ramp_live.html.j2", {"view": view}), False)

    return live(request, board.live_s, render)


async def trials(board: Dashboard, request: Request, person: Person) -> Response:
    def read() -> list[TrialLine]:
        owned = Owned(board.sources, person.teams)
        return [row for row in trialviews.trials(board.sources) if owned.route(row.route)]

    rows = await run_in_threadpool(read)
    return page(request, person, "trials.html.j2", "Trials", {"rows": rows})


async def trial(board: Dashboard, request: Request, person: Person) -> Response:
    name = request.path_params["trial"]
    view = await run_in_threadpool(trialviews.trial_view, board.sources, name)
    if view is None:
        return nothing(request, person, "such trial")
    return page(request, person, "trial.html.j2", f"Trial {name}", {"view": view, "losses": worst(view)})


def worst(view: TrialView) -> list[Pair]:
    """The pairs on which the candidate lost most."""
    pairs = [] if view.evidence is None else [one for one in view.evidence.pairs if one.candidate < one.incumbent]
    return sorted(pairs, key=lambda one: one.candidate - one.incumbent)[:LOSSES_SHOWN]


async def trial_live(board: Dashboard, request: Request, person: Person) -> Response:
    name = request.path_params["trial"]

    def render() -> tuple[str, bool]:
        view = trialviews.trial_view(board.sources, name)
        if view is None:
            return "", True
        return fragment("trial_live.html.j2", {"view": view}), view.verdict is not None

    return live(request, board.live_s, render)


async def budgets(board: Dashboard, request: Request, person: Person) -> Response:
    def read() -> dict[str, object]:
        told = board.sources.told()
        owned = Owned(board.sources, person.teams)
        rows = [row for row in budgetviews.budgets(board.sources, told) if owned.budget(row.budget.name)]
        return {"rows": rows, "keeper_why": told.why}

    return page(request, person, "budgets.html.j2", "Budgets", await run_in_threadpool(read))


async def budget(
    board: Dashboard, request: Request, person: Person, *, problem: str = "", status: int = 200
) -> Response:
    name = request.path_params["budget"]

    def read() -> dict[str, object] | None:
        told = board.sources.told()
        view = budgetviews.budget_page(board.sources, name, told, board.wall_ns())
        if view is None:
            return None
        return {"view": view, "keeper_why": told.why or "", "changed": view.view.changed}

    context = await run_in_threadpool(read)
    if context is None:
        return nothing(request, person, "such budget")
    context["may_change"] = person.may("approver")
    return page(
        request, person, "budget.html.j2", f"Budget {name}", context, said=said(request), problem=problem, status=status
    )  # fmt: skip


async def exchanges(board: Dashboard, request: Request, person: Person) -> Response:
    given = dict(request.query_params)

    def read() -> dict[str, object]:
        view = exchangeviews.searched(board.sources, given, person.teams, board.wall_ns())
        kept = {name: value for name, value in view.form.items() if value}
        following = None if view.next is None else "/exchanges?" + urlencode({**kept, "after": view.next})
        try:
            table = board.sources.table
        except WeighbridgeError:
            table = None
        return {
            "view": view, "next_href": following,
            "purposes": exchangeviews.PURPOSES, "outcomes": exchangeviews.OUTCOMES,
            "routes": [] if table is None else [one.name for one in table.routes],
            "arms": [] if table is None else [one.name for one in table.arms],
        }  # fmt: skip

    return page(request, person, "exchanges.html.j2", "Exchanges", await run_in_threadpool(read))


async def exchange(board: Dashboard, request: Request, person: Person) -> Response:
    name = request.path_params["exchange"]
    view = await run_in_threadpool(
        lambda: exchangeviews.exchange_view(board.sources, name, person.teams, bodies=person.may("operator"))
    )
    if view is None:
        return nothing(request, person, "such exchange")
    context = {"view": view, "facts": exchangeviews.facts_of(view.exchange)}
    return page(request, person, "exchange.html.j2", f"Exchange {name}", context)


async def compare(board: Dashboard, request: Request, person: Person) -> Response:
    one, other = (request.query_params.get(name, "") for name in ("a", "b"))
    found = await run_in_threadpool(
        lambda: exchangeviews.compared(board.sources, one, other, person.teams, bodies=person.may("operator"))
    )
    if isinstance(found, str):
        return nothing(request, person, f"such exchange on the {found}")
    return page(request, person, "compare.html.j2", "Two exchanges", {"view": found})


async def licences(board: Dashboard, request: Request, person: Person) -> Response:
    on = datetime.fromtimestamp(board.wall_ns() // 1_000_000_000, UTC).date()
    every = request.query_params.get("models") == "all"
    view = await run_in_threadpool(lambda: licenceviews.licences(board.sources, on, every_model=every))
    return page(request, person, "licences.html.j2", "Licences", {"view": view})


async def scan(board: Dashboard, request: Request, person: Person) -> Response:
    view = await run_in_threadpool(board.scans.of, board.sources, board.wall_ns(), person.teams)
    return page(request, person, "scan.html.j2", "Scan", {"view": view, "sw": scan_words})


async def alerts(board: Dashboard, request: Request, person: Person) -> Response:
    view = await run_in_threadpool(alertviews.alerts, board.sources)
    return page(request, person, "alerts.html.j2", "Alerts", {"view": view})


async def alert(board: Dashboard, request: Request, person: Person) -> Response:
    view = await run_in_threadpool(alertviews.runbook_of, request.path_params["alert"])
    if view is None:
        return nothing(request, person, "such alert")
    return page(request, person, "runbook.html.j2", view.kind.title, {"view": view})


async def audit(board: Dashboard, request: Request, person: Person) -> Response:
    """The signed log for everybody; the book of who did what for those who may see it all."""

    def read() -> dict[str, object]:
        rows, more = auditview.audit(board.sources)
        book, why = auditview.book(board.sources, person) if person.may("admin") else (None, "")
        return {"rows": rows, "more": more, "book": book, "book_why": why}

    return page(request, person, "audit.html.j2", "Audit", await run_in_threadpool(read))
