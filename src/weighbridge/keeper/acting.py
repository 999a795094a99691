"""What a person may ask the keeper for: the role that it takes, what they may touch, and how it is written down."""

import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from typing import get_args

import msgspec

from weighbridge.errors import NotAllowedError, NotThereError, StoreError, WeighbridgeError
from weighbridge.keeper.audit import AuditBook
from weighbridge.keeper.people import Actor, People
from weighbridge.keeper.ramps import login
from weighbridge.records.canonical import parse
from weighbridge.records.people import Role, TokenRow, UserRow, covers, sees
from weighbridge.records.ramp import RampState
from weighbridge.records.usage import usd
from weighbridge.store.client_keys import StoredKey
from weighbridge.store.control import (
    Answer,
    As,
    Asked,
    CreateKey,
    DrillAct,
    DrillAnswer,
    Erase,
    ErasedCount,
    KeyChange,
    LimitKey,
    LimitSet,
    ObjectKind,
    ObjectRow,
    PutObject,
    RampAct,
    RampAnswer,
    Reload,
    Request,
    RevokeKey,
    RotateKey,
    Seal,
    SetLimit,
    Signature,
    SignStatement,
    TableNumber,
    WriteOffRows,
    WriteOffWorker,
)
from weighbridge.store.database import Database
from weighbridge.store.people_calls import (
    AddUser,
    ChangeUser,
    CreateApiToken,
    ListApiTokens,
    ListUsers,
    RevokeApiToken,
    ShowAudit,
)

log = logging.getLogger("keeper")

NEEDED: dict[type[object], Role | None] = {
    CreateKey: "operator",
    LimitKey: "operator",
    RotateKey: "operator",
    RevokeKey: "operator",
    Reload: "operator",
    Seal: "operator",
    DrillAct: "operator",
    SetLimit: "approver",
    Erase: "admin",
    AddUser: "admin",
    ChangeUser: "admin",
    ListUsers: "admin",
    CreateApiToken: None,
    RevokeApiToken: None,
    ListApiTokens: None,
    ShowAudit: "admin",
}
"""What each request takes, `None`: nothing but being known; `RampAct` is told by its action."""


class Written(msgspec.Struct, frozen=True):
    """What the book says was asked for."""

    action: str
    subject: str
    why: str = ""


def needed(request: Asked) -> Role | None:
    if isinstance(request, RampAct):
        return "approver" if request.action == "approve" else "operator"
    return NEEDED[type(request)]


def permit(actor: Actor, request: Asked, keys: Iterable[StoredKey]) -> None:
    """Raises `NotAllowedError` below the role; `NotThereError` for what belongs to teams that they do not see."""
    if actor.is_command:
        return
    role = needed(request)
    if role is not None and not covers(actor.role, role):
        raise NotAllowedError(f"{actor.name} is {actor.role}; this takes {role}")
    match request:
        case CreateKey() if not sees(actor.teams, request.team):
            raise NotAllowedError(
                f"{actor.name} makes keys of their own teams: {', '.join(actor.teams or ()) or 'none'}"
            )
        case LimitKey() | RotateKey() | RevokeKey():
            team = next((key.team for key in keys if key.name == request.name), None)
            if not sees(actor.teams, team):
                raise NotThereError(f"there is no key {request.name!r}")
        case Erase() | Reload() | Seal() | SetLimit() | RampAct() | DrillAct() if actor.teams is not None:
            raise NotAllowedError("this touches every team's traffic, so it takes somebody who sees every team's")
        case AddUser() | ChangeUser() | ListUsers() | ShowAudit() if actor.teams is not None:
            # Who could give teams away, themselves included, would be held to none.
            raise NotAllowedError("this is about people of every team, so it takes somebody who sees every team's")
        case _:
            pass


def written(request: Request) -> Written | None:
    """`None` for what changes nothing."""
    match request:
        case RampAct():
            return Written(f"ramp {request.action}", request.route, request.why)
        case DrillAct():
            return Written(f"drill {request.action}", request.route, request.why)
        case PutObject() if request.kind in BY_PEOPLE:
            return Written(BY_PEOPLE[request.kind], request.label)
        case SignStatement():
            return Written("licence statement", request.label)
        case WriteOffWorker():
            return Written("write off", f"worker {request.worker}", request.reason)
        case CreateKey() | LimitKey() | RotateKey() | RevokeKey():
            verb = {CreateKey: "create", LimitKey: "limit", RotateKey: "rotate", RevokeKey: "revoke"}[type(request)]
            return Written(f"key {verb}", request.name)
        case AddUser() | ChangeUser():
            return Written("user create" if isinstance(request, AddUser) else "user change", request.name)
        case CreateApiToken():
            return Written("token create", request.label)
        case RevokeApiToken():
            return Written("token revoke", request.id)
        case SetLimit():
            return Written("budget limit", request.budget, request.why)
        case Reload():
            return Written("reload", "configuration")
        case Erase():
            if request.user is not None:  # what was asked to be forgotten is not kept here for good
                return Written("erase", f"user with sha256 {sha256(request.user.encode()).hexdigest()[:16]}")
            return Written("erase", f"key {request.key}" if request.key is not None else ", ".join(request.exchanges))
        case _:
            return None


ASKED = get_args(Asked)
BY_PEOPLE: dict[ObjectKind, str] = {
    "price": "price set", "adjustment": "price adjust", "gold": "gold import", "trial": "trial begin",
}  # fmt: skip
"""Objects of the signed log that a person decided on, and what the book calls it. The rest follows from them."""


@cache
def command() -> Actor:
    """Whoever runs the keeper: nobody else can reach its socket."""
    return Actor(name=login(), role="admin", teams=None, via="command")


class Acting:
    """Stands between a request and its being carried out."""

    def __init__(self, database: Database, people: People, book: AuditBook) -> None:
        self._database, self._people, self._book = database, people, book

    def who_asks(self, request: Request) -> tuple[Actor, Request]:
        """And for what. Raises `NotAllowedError` for a credential that is nobody's."""
        if not isinstance(request, As):
            return command(), request
        actor = self._people.actor(request.credential)
        if actor is None:
            raise NotAllowedError("the session or token is over; sign in again")
        asked: Request = request.request
        if isinstance(asked, SetLimit):
            asked = msgspec.structs.replace(asked, by=actor.name)
        return actor, asked

    async def through(self, actor: Actor, asked: Request, carry_out: Callable[[], Awaitable[Answer]]) -> Answer:
        """Carry out what `actor` may, and write it down; what they may not is written down too."""
        line = written(asked)
        if line is None and not isinstance(asked, ASKED):
            return await carry_out()
        before = None if line is None else self._standing(asked)
        try:
            if isinstance(asked, ASKED):  # whatever else comes is a command's: `As` carries nothing but these
                permit(actor, asked, self._database.client_keys.all() if isinstance(asked, KeyChange) else ())
            answer = await carry_out()
        except WeighbridgeError as error:
            if line is not None:
                self._write(actor, line, before, None, str(error))
            raise
        if line is not None:
            self._write(actor, line, before, _said(answer) or self._standing(asked), None)
        return answer

    def _write(self, actor: Actor, line: Written, before: str | None, after: str | None, refused: str | None) -> None:
        """A book that cannot be written holds nothing back: the way back of a ramp needs no database."""
        try:
            self._book.write(
                by=actor.name, via=actor.via, action=line.action, subject=line.subject, before=before, after=after,
                why=line.why, refused=refused,
            )  # fmt: skip
        except StoreError as error:
            log.error("%s of %s by %s is not in the book of changes: %s", line.action, line.subject, actor.name, error)

    def _standing(self, asked: Request) -> str | None:
        """How the subject stands now."""
        try:
            match asked:
                case CreateKey() | LimitKey() | RotateKey() | RevokeKey():
                    key = next((one for one in self._database.client_keys.all() if one.name == asked.name), None)
                    return None if key is None else _key(key)
                case AddUser() | ChangeUser():
                    user = self._people.user(asked.name)
                    return None if user is None else _user(user)
                case RevokeApiToken():
                    token = self._people.token(asked.id)
                    return None if token is None else _token(token)
                case RampAct():
                    rows = self._database.ramps.all()
                    state = next((parse(row.body, RampState) for row in rows if row.route == asked.route), None)
                    return None if state is None else _ramp(state)
                case _:
                    return None
        except (StoreError, ValueError) as error:
            return f"cannot be read: {error}"


def _said(answer: Answer) -> str | None:
    match answer:
        case LimitSet():
            return f"{usd(answer.after_nanousd)} USD, before {usd(answer.before_nanousd)} USD"
        case TableNumber():
            return f"route table {answer.number}"
        case RampAnswer(ramps=(first, *_)):
            return _ramp(first.state)
        case DrillAnswer(drills=(first, *_)):
            drill = first.drill
            over = "runs" if first.report is None else f"ended: {first.report.ended_by}"
            return f"{drill.basis_points / 100:g} % of users to {drill.arm}, {over}"
        case ObjectRow():
            return f"object {answer.digest[:12]} of the signed log"
        case Signature():
            return f"object {answer.digest[:12]} of the signed log"
        case WriteOffRows():
            return f"{len(answer.rows)} leases, object {answer.digest[:12]} of the signed log"
        case UserRow():
            return _user(answer)
        case TokenRow():
            return _token(answer)
        case ErasedCount():
            return f"{answer.bodies} bodies of {answer.exchanges} exchanges"
        case _:
            return None


def _ramp(state: RampState) -> str:
    return f"{state.candidate}: {state.stage}, {state.basis_points / 100:g} % of requests, revision {state.revision}"


def _user(row: UserRow) -> str:
    by = "an organisation's account" if row.source == "oidc" else "password" if row.has_password else "link"
    state = "disabled" if row.disabled_ns is not None else "may come in"
    return f"{row.role}, {_teams(row.teams)}, signs in by {by}, {state}"


def _token(row: TokenRow) -> str:
    ends = "no end" if row.expires_ns is None else f"until {datetime.fromtimestamp(row.expires_ns / 1e9, UTC).date()}"
    state = "revoked" if row.revoked_ns is not None else ends
    return f"token {row.id} ({row.label}) of {row.owner}: {row.role}, {_teams(row.teams)}, {state}"


def _teams(teams: tuple[str, ...] | None) -> str:
    return "every team" if teams is None else f"teams {', '.join(teams)}" if teams else "no team"


def _key(key: StoredKey) -> str:
    """Without digests: the book is shown to people."""
    live = sum(one.revoked_ns is None for one in key.secrets)
    return (
        f"team {key.team or 'none'}, routes {', '.join(key.routes)}, budget {key.budget or 'none'}, "
        f"{key.requests_per_minute or 'any'} requests and {key.tokens_per_minute or 'any'} tokens per minute, "
        f"{live} secret{'' if live == 1 else 's'} not revoked, {'revoked' if key.revoked_ns is not None else 'usable'}"
    )
