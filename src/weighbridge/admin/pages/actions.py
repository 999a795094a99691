"""What pages' forms ask for: one call over the control socket each, the same that a command makes."""

from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from weighbridge.admin.pages import handlers
from weighbridge.admin.pages.shell import Dashboard, Handler
from weighbridge.admin.people import Person
from weighbridge.errors import ControlError, UsageError, WeighbridgeError
from weighbridge.ledger.limits import limit_of
from weighbridge.records.evidence import Verdict
from weighbridge.records.people import Role
from weighbridge.records.ramp import STAGES
from weighbridge.store.control import LimitSet, RampAct, RampAction, RampAnswer, SetLimit
from weighbridge.trials.plan import read_object

WHY_CHARS_MAX = 500
NEEDS: dict[RampAction, Role] = {
    "propose": "operator", "approve": "approver", "start": "operator", "advance": "operator", "pause": "operator",
    "resume": "operator", "rollback": "operator", "reject": "operator",
}  # fmt: skip


def text(form: FormData, name: str) -> str:
    given = form.get(name, "")
    return given.strip()[:WHY_CHARS_MAX] if isinstance(given, str) else ""


def ramp_action(action: RampAction) -> Handler:
    """The handler of one action on a route's ramp."""

    async def act(board: Dashboard, request: Request, person: Person) -> Response:
        async with request.form(max_files=0, max_fields=40) as form:
            asked = _asked(board, action, request.path_params["route"], person, form)
        if isinstance(asked, str):
            return await handlers.route(board, request, person, problem=asked, status=400)

        def call() -> RampAnswer:
            with board.sources.keeper() as control:
                return control.call(person.asks(asked), RampAnswer)

        try:
            await run_in_threadpool(call)
        except ControlError as error:
            return await handlers.route(board, request, person, problem=str(error), status=409)
        return RedirectResponse(f"/routes/{quote(asked.route, safe='')}?done={action}", 303)

    return act


def limit_action(*, clear: bool) -> Handler:
    """Change a budget's limit, or go back to what the configuration says."""

    async def act(board: Dashboard, request: Request, person: Person) -> Response:
        name = request.path_params["budget"]
        async with request.form(max_files=0, max_fields=8) as form:
            why, given = text(form, "why"), text(form, "limit_usd")
        try:
            limit = None if clear else limit_of(given)
        except UsageError as error:
            return await handlers.budget(board, request, person, problem=str(error), status=400)

        def call() -> LimitSet:
            with board.sources.keeper() as control:
                asked = SetLimit(budget=name, limit_nanousd=limit, why=why, by=person.name)
                return control.call(person.asks(asked), LimitSet)

        try:
            await run_in_threadpool(call)
        except ControlError as error:
            return await handlers.budget(board, request, person, problem=str(error), status=409)
        return RedirectResponse(f"/budgets/{quote(name, safe='')}?done={'clear' if clear else 'limit'}", 303)

    return act


def _asked(board: Dashboard, action: RampAction, route: str, person: Person, form: FormData) -> RampAct | str:
    """The call, or why the form cannot be one."""
    why = text(form, "why")
    if action == "propose":
        try:
            verdict = read_object(board.sources.layout, _digest(text(form, "verdict")), Verdict)
        except (WeighbridgeError, ValueError) as error:
            return f"this verdict cannot be read: {error}"
        digest = text(form, "verdict")
        return RampAct(action=action, route=route, why=why, candidate=verdict.candidate, verdict=digest)
    if action == "approve":
        stage = next((one for one in STAGES if one == text(form, "up_to")), None)
        if stage is None:
            return f"{text(form, 'up_to')!r} is no stage; allowed are {', '.join(STAGES)}"
        accepts = tuple(one[:60] for one in form.getlist("accept") if isinstance(one, str))
        return RampAct(action=action, route=route, why=why, up_to=stage, accepts=accepts)
    return RampAct(action=action, route=route, why=why)


def _digest(given: str) -> str:
    if len(given) != 64 or not all(one in "0123456789abcdef" for one in given):
        raise ValueError(f"{given!r} is not a digest of 64 hex digits")
    return given
