"""Users, API tokens and the book of changes."""

import secrets
from datetime import datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from weighbridge.admin.api.calls import Body, Query, answer, body_of, query_of
from weighbridge.admin.api.changes import ns_of
from weighbridge.admin.doors import Door
from weighbridge.admin.keeper import Keeper
from weighbridge.admin.people import Person, new_token
from weighbridge.errors import NotAllowedError, UsageError
from weighbridge.records.people import AuditEntry, Role, TokenRow, UserRow
from weighbridge.store.people_calls import (
    AddUser,
    AuditList,
    ChangeUser,
    CreateApiToken,
    ListApiTokens,
    ListUsers,
    RevokeApiToken,
    ShowAudit,
    TokenList,
    UserList,
)


class UserShown(msgspec.Struct, frozen=True, kw_only=True):
    """A person who may sign in. `link` is there once, in the answer that made it."""

    user: UserRow
    link: str | None = None
    """Where they choose a password, below the site's address; works once, for a day."""


class Users(msgspec.Struct, frozen=True, kw_only=True):
    users: tuple[UserRow, ...]


class UserBody(Body, frozen=True, kw_only=True):
    """A new person gets a one-time link; no password goes over the API."""

    name: str
    role: Role
    teams: tuple[str, ...] | None = None
    """`null`: every team's things."""


class UserChange(Body, frozen=True, kw_only=True):
    """What is left out stays."""

    role: Role | None = None
    teams: tuple[str, ...] | msgspec.UnsetType | None = msgspec.UNSET
    disabled: bool | None = None
    link: bool = False
    """Make a one-time link for another password."""


class TokenBody(Body, frozen=True, kw_only=True):
    label: str
    role: Role
    owner: str | None = None
    """`null`: whoever asks; somebody else's is made by an admin."""
    teams: tuple[str, ...] | None = None
    expires: datetime


class TokenShown(msgspec.Struct, frozen=True, kw_only=True):
    token: TokenRow
    secret: str | None = None
    """Once, in the answer that made it."""


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    tokens: tuple[TokenRow, ...]


class AuditQuery(Query, frozen=True, kw_only=True):
    before: int | None = None
    """Only entries before this number."""
    rows: int = 100


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    entries: tuple[AuditEntry, ...]
    """Newest first."""


class PeopleCalls:
    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    def doors(self) -> tuple[Door, ...]:
        return (
            Door(
                method="GET", path="/api/v1/users", role="admin", handler=self._users, answer=Users,
                summary="Who may sign in",
            ),
            Door(
                method="POST", path="/api/v1/users", role="admin", handler=self._add, changes=True, body=UserBody,
                summary="Let a person in, by a one-time link", answer=UserShown, status=201,
            ),
            Door(
                method="PATCH", path="/api/v1/users/{user}", role="admin", handler=self._change, changes=True,
                summary="Change a person's role or teams, or whether they may come in; ends their sessions",
                body=UserChange, answer=UserShown,
            ),
            Door(
                method="GET", path="/api/v1/tokens", role=None, handler=self._tokens, answer=Tokens,
                summary="API tokens: one's own; an admin sees everybody's",
            ),
            Door(
                method="POST", path="/api/v1/tokens", role=None, handler=self._make, changes=True, body=TokenBody,
                summary="Make an API token (from a session); the answer has its secret, once", answer=TokenShown,
                status=201,
            ),
            Door(
                method="DELETE", path="/api/v1/tokens/{token}", role=None, handler=self._revoke, changes=True,
                summary="End an API token", answer=TokenShown,
            ),
            Door(
                method="GET", path="/api/v1/audit", role="admin", handler=self._audit, query=AuditQuery, answer=Audit,
                summary="The book of changes",
            ),
        )  # fmt: skip

    async def _users(self, request: Request, person: Person) -> Response:
        return answer(Users(users=(await self._keeper.call_as(person, ListUsers(), UserList)).rows))

    async def _add(self, request: Request, person: Person) -> Response:
        body, link = await body_of(request, UserBody), secrets.token_urlsafe(32)
        asked = AddUser(name=body.name, role=body.role, teams=body.teams, link=link)
        row = await self._keeper.call_as(person, asked, UserRow)
        return answer(UserShown(user=row, link=f"/welcome/{link}"), 201)

    async def _change(self, request: Request, person: Person) -> Response:
        body = await body_of(request, UserChange)
        link = secrets.token_urlsafe(32) if body.link else None
        asked = ChangeUser(
            name=request.path_params["user"], role=body.role, teams=body.teams, disabled=body.disabled, link=link
        )
        if asked == ChangeUser(name=asked.name):
            raise UsageError("nothing to change is named; give role, teams, disabled or link")
        row = await self._keeper.call_as(person, asked, UserRow)
        return answer(UserShown(user=row, link=None if link is None else f"/welcome/{link}"))

    async def _tokens(self, request: Request, person: Person) -> Response:
        return answer(Tokens(tokens=(await self._keeper.call_as(person, ListApiTokens(), TokenList)).rows))

    async def _make(self, request: Request, person: Person) -> Response:
        if person.via != "session":
            raise NotAllowedError("a token makes no other token; sign in")
        body, secret = await body_of(request, TokenBody), new_token()
        asked = CreateApiToken(
            owner=body.owner or person.name, label=body.label, token=secret, role=body.role, teams=body.teams,
            expires_ns=ns_of(body.expires),
        )  # fmt: skip
        row = await self._keeper.call_as(person, asked, TokenRow)
        return answer(TokenShown(token=row, secret=secret), 201)

    async def _revoke(self, request: Request, person: Person) -> Response:
        asked = RevokeApiToken(id=request.path_params["token"])
        return answer(TokenShown(token=await self._keeper.call_as(person, asked, TokenRow)))

    async def _audit(self, request: Request, person: Person) -> Response:
        asked = query_of(request, AuditQuery)
        found = await self._keeper.call_as(
            person, ShowAudit(before_seq=asked.before, rows_max=max(1, min(asked.rows, 1_000))), AuditList
        )
        return answer(Audit(entries=found.rows))
