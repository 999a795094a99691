"""People who may sign in, and API tokens: everybody's for an admin, one's own on the account page.

Each change is one call to the keeper in the name of whoever asks. A link or token that was just made is shown in the
answer that made it and nowhere else: not in an address, not in a list, not in the book of changes.
"""

import secrets
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from weighbridge.admin.pages.shell import Dashboard, Handler, page
from weighbridge.admin.people import Person, new_token
from weighbridge.errors import ControlError, NotAllowedError, NotThereError, UsageError
from weighbridge.records.people import ROLES, Role, TokenRow, UserRow, covers
from weighbridge.store.people_calls import (
    AddUser,
    ChangeUser,
    CreateApiToken,
    ListApiTokens,
    ListUsers,
    RevokeApiToken,
    TokenList,
    UserList,
)

DAY_NS = 86_400 * 10**9
EXPIRY_DAYS = (7, 30, 90, 365)
FIELDS_MAX = 200
TEXT_CHARS_MAX = 200

WHAT: dict[Role, str] = {
    "viewer": "looks, without prompts and answers",
    "labeller": "compares pairs, and sees nothing else",
    "operator": "moves ramps, makes keys, reads prompts and answers",
    "approver": "also approves steps and changes limits",
    "admin": "also looks after people and erases",
}
"""What each role does, in a few words."""


class Once(msgspec.Struct, frozen=True, kw_only=True):
    """A secret that is shown now and never again."""

    title: str
    note: str
    secret: str


class PeopleView(msgspec.Struct, frozen=True, kw_only=True):
    users: tuple[UserRow, ...]
    tokens: tuple[TokenRow, ...]
    """Those that are not over first, the newest first."""
    now_ns: int

    def state(self, token: TokenRow) -> str:
        if token.revoked_ns is not None:
            return "revoked"
        return "over" if token.expires_ns is not None and token.expires_ns <= self.now_ns else "works"


Done = tuple[str, Once | None]
Act = Callable[[Dashboard, Request, Person, FormData], Done]


def _people(board: Dashboard, person: Person, *, everybody: bool) -> PeopleView:
    with board.sources.keeper() as control:
        users = control.call(person.asks(ListUsers()), UserList).rows if everybody else ()
        tokens = control.call(person.asks(ListApiTokens()), TokenList).rows
    now_ns = board.wall_ns()

    def order(row: TokenRow) -> tuple[bool, int]:
        over = row.revoked_ns is not None or (row.expires_ns is not None and row.expires_ns <= now_ns)
        return over, -row.created_ns

    return PeopleView(
        users=tuple(sorted(users, key=lambda row: (row.disabled_ns is not None, row.name))),
        tokens=tuple(sorted(tokens, key=order)), now_ns=now_ns,
    )  # fmt: skip


async def listed(
    board: Dashboard, request: Request, person: Person, *, said: str = "", problem: str = "", once: Once | None = None,
    status: int = 200,
) -> Response:  # fmt: skip
    view = await run_in_threadpool(lambda: _people(board, person, everybody=True))
    teams = [row.name for row in board.sources.loaded.config.team]
    context = {"view": view, "once": once, "teams": teams, "roles": ROLES, "what": WHAT}
    return page(request, person, "people.html.j2", "People", context, said=said, problem=problem, status=status)


async def account(
    board: Dashboard, request: Request, person: Person, *, said: str = "", problem: str = "", once: Once | None = None,
    status: int = 200,
) -> Response:  # fmt: skip
    view = await run_in_threadpool(lambda: _people(board, person, everybody=False))
    mine = [row for row in view.tokens if row.owner == person.name]
    roles = [role for role in ROLES if covers(person.role, role)]
    context = {
        "view": view, "mine": mine, "once": once, "roles": roles, "days": EXPIRY_DAYS, "what": WHAT[person.role],
    }  # fmt: skip
    return page(request, person, "account.html.j2", person.name, context, said=said, problem=problem, status=status)


def _handler(act: Act, back: Callable[..., Awaitable[Response]]) -> Handler:
    async def handled(board: Dashboard, request: Request, person: Person) -> Response:
        async with request.form(max_files=0, max_fields=FIELDS_MAX) as form:
            given = form
        try:
            said, once = await run_in_threadpool(act, board, request, person, given)
        except (NotThereError, NotAllowedError):
            raise
        except UsageError as error:
            return await back(board, request, person, problem=_sentence(error), status=400)
        except ControlError as error:
            return await back(board, request, person, problem=_sentence(error), status=409)
        return await back(board, request, person, said=said, once=once)

    return handled


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."


# --- users ------------------------------------------------------------------------------------------------------------


def _add(board: Dashboard, request: Request, person: Person, form: FormData) -> Done:
    name, link = _text(form, "name"), secrets.token_urlsafe(32)
    if not name:
        raise UsageError("a user has a name, with which they sign in")
    asked = AddUser(name=name, role=_role(form), teams=_teams(form), link=link)
    with board.sources.keeper() as control:
        made = control.call(person.asks(asked), UserRow)
    return f"{made.name} may come in.", _link(board, request, made.name, link)


def _change(board: Dashboard, request: Request, person: Person, form: FormData) -> Done:
    name = request.path_params["user"]
    with board.sources.keeper() as control:
        known = control.call(person.asks(ListUsers()), UserList).rows
        if all(row.name != name for row in known):
            raise NotThereError(f"there is no user {name[:80]!r}")
        match _text(form, "do"):
            case "change":
                asked = ChangeUser(name=name, role=_role(form), teams=_teams(form))
                said = "is changed; whoever was signed in under this name signs in again"
            case "disable":
                asked, said = ChangeUser(name=name, disabled=True), "may not come in any more"
            case "enable":
                asked, said = ChangeUser(name=name, disabled=False), "may come in again"
            case other:
                raise UsageError(f"{other!r} is nothing to do; allowed are change, disable, enable")
        control.call(person.asks(asked), UserRow)
    return f"{name} {said}.", None


def _new_link(board: Dashboard, request: Request, person: Person, form: FormData) -> Done:
    name, link = request.path_params["user"], secrets.token_urlsafe(32)
    with board.sources.keeper() as control:
        made = control.call(person.asks(ChangeUser(name=name, link=link)), UserRow)
    return "", _link(board, request, made.name, link)


def _link(board: Dashboard, request: Request, name: str, link: str) -> Once:
    url = board.sources.loaded.config.admin.url or str(request.base_url)  # its host was checked by the guard
    return Once(
        title=f"A link for {name}", secret=f"{url.rstrip('/')}/welcome/{link}",
        note=f"{name} chooses a password by it. It works once, for a day, and is not shown again.",
    )  # fmt: skip


# --- tokens -----------------------------------------------------------------------------------------------------------


def _make_token(board: Dashboard, request: Request, person: Person, form: FormData) -> Done:
    days = next((one for one in EXPIRY_DAYS if str(one) == _text(form, "days")), None)
    if days is None:
        raise UsageError(f"a token ends after {', '.join(map(str, EXPIRY_DAYS))} days")
    secret = new_token()
    asked = CreateApiToken(
        owner=person.name, label=_text(form, "label"), token=secret, role=_role(form),
        expires_ns=time.time_ns() + days * DAY_NS,
    )  # fmt: skip
    with board.sources.keeper() as control:
        made = control.call(person.asks(asked), TokenRow)
    ends = datetime.fromtimestamp((made.expires_ns or 0) // 10**9, UTC).date().isoformat()
    note = f"Send it as `authorization: Bearer ...`. It ends on {ends} and is not shown again."
    return "", Once(title=f"Token {made.id}: {made.label}", secret=secret, note=note)


def _revoke(board: Dashboard, request: Request, person: Person, form: FormData) -> Done:
    with board.sources.keeper() as control:
        gone = control.call(person.asks(RevokeApiToken(id=request.path_params["token"])), TokenRow)
    return f"Token {gone.id} ({gone.label}) is over.", None


# --- what a form says -------------------------------------------------------------------------------------------------


def _text(form: FormData, name: str) -> str:
    given = form.get(name, "")
    return given.strip()[:TEXT_CHARS_MAX] if isinstance(given, str) else ""


def _role(form: FormData) -> Role:
    found = next((role for role in ROLES if role == _text(form, "role")), None)
    if found is None:
        raise UsageError(f"{_text(form, 'role')!r} is no role; allowed are {', '.join(ROLES)}")
    return found


def _teams(form: FormData) -> tuple[str, ...] | None:
    """`None` only where the form says every team: a box that was forgotten widens nothing."""
    sees = _text(form, "sees")
    if sees == "every":
        return None
    if sees != "these":
        raise UsageError("say whose things they see: every team's, or those of these teams")
    return tuple(dict.fromkeys(one[:TEXT_CHARS_MAX] for one in form.getlist("team") if isinstance(one, str)))


add = _handler(_add, listed)
change = _handler(_change, listed)
new_link = _handler(_new_link, listed)
revoke_any = _handler(_revoke, listed)
make_token = _handler(_make_token, account)
revoke_own = _handler(_revoke, account)
