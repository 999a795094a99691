"""Ramps, budgets, keys, erasure, reload: each is the call that a command makes, in the person's name."""

import re
import secrets
from datetime import UTC, datetime
from typing import get_args

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from weighbridge.admin.api.calls import Body, answer, body_of
from weighbridge.admin.doors import Door
from weighbridge.admin.keeper import Keeper
from weighbridge.admin.owned import Owned
from weighbridge.admin.pages.actions import NEEDS
from weighbridge.admin.pages.shell import Dashboard
from weighbridge.admin.people import Person
from weighbridge.errors import NotThereError, UsageError
from weighbridge.exchanges.search import ID
from weighbridge.keeper.compile import key_digest
from weighbridge.ledger.limits import limit_of
from weighbridge.records.drill import DrillView
from weighbridge.records.people import Role
from weighbridge.records.ramp import RampStatus, Stage
from weighbridge.store.control import (
    CreateKey,
    DrillAct,
    DrillAnswer,
    DrillShow,
    Erase,
    ErasedCount,
    KeyList,
    KeyRow,
    LimitKey,
    LimitSet,
    ListKeys,
    RampAct,
    RampAction,
    RampAnswer,
    Reload,
    RevokeKey,
    RotateKey,
    SetLimit,
    TableNumber,
)

SECOND_NS = 1_000_000_000
WHY_CHARS_MAX = 500
DIGEST = re.compile(r"[0-9a-f]{64}")


class RampBody(Body, frozen=True, kw_only=True):
    """What a person says to move a ramp."""

    why: str = ""
    candidate: str | None = None
    """To propose."""
    verdict: str | None = None
    """To propose: the digest of the verdict that allows it."""
    up_to: Stage | None = None
    """To approve."""
    accepts: tuple[str, ...] = ()
    """To approve: gates whose unknown answer is taken upon oneself."""


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    ramp: RampStatus | None
    notes: tuple[str, ...]


class DrillBody(Body, frozen=True, kw_only=True):
    """A share of a route's users goes to its fallback, or to the way back of its ramp, for a while."""

    percent: float
    """Of users, 0.01 to 100."""
    seconds: int
    arm: str | None = None
    """`null`: the route's first fallback, or the way back of its ramp."""
    why: str = ""


class StopBody(Body, frozen=True, kw_only=True):
    why: str = ""


class Drills(msgspec.Struct, frozen=True, kw_only=True):
    drills: tuple[DrillView, ...]
    """Newest first."""


class LimitBody(Body, frozen=True, kw_only=True):
    limit_usd: str | None
    """Dollars, e.g. "250.00"; `null`: what the configuration file says."""
    why: str = ""


class KeyShown(msgspec.Struct, frozen=True, kw_only=True):
    """A client key. `secret` is there once, in the answer that made it."""

    name: str
    source: str
    team: str | None
    routes: tuple[str, ...]
    budget: str | None
    created_ns: int | None
    revoked_ns: int | None
    requests_per_minute: int | None
    """`null`: no limit."""
    tokens_per_minute: int | None
    live: tuple[tuple[str, int | None], ...]
    """(first 8 digits of the secret's digest, when it ends) of each live secret, oldest first."""
    table: int | None
    """The route table that has the change."""
    secret: str | None = None


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    keys: tuple[KeyShown, ...]


class KeyBody(Body, frozen=True, kw_only=True):
    name: str
    team: str | None = None
    routes: tuple[str, ...] = ("*",)
    budget: str | None = None
    expires: datetime | None = None
    requests_per_minute: int | None = None
    """Over all workers of a machine; `null`: no limit."""
    tokens_per_minute: int | None = None
    """Input and output."""


class RatesBody(Body, frozen=True, kw_only=True):
    """What is left out stays as it is; `null` lifts a limit."""

    requests_per_minute: int | msgspec.UnsetType | None = msgspec.UNSET
    tokens_per_minute: int | msgspec.UnsetType | None = msgspec.UNSET


class RotateBody(Body, frozen=True, kw_only=True):
    overlap_s: int = 86_400
    """How long the old secret still works."""
    expires: datetime | None = None


class EraseBody(Body, frozen=True, kw_only=True):
    """Exactly one of the three."""

    exchanges: tuple[str, ...] = ()
    key: str | None = None
    user: str | None = None


def shown(row: KeyRow, secret: str | None = None) -> KeyShown:
    return KeyShown(
        name=row.name, source=row.source, team=row.team, routes=row.routes, budget=row.budget,
        created_ns=row.created_ns, revoked_ns=row.revoked_ns, requests_per_minute=row.requests_per_minute,
        tokens_per_minute=row.tokens_per_minute, live=row.live, table=row.table, secret=secret,
    )  # fmt: skip


class Changes:
    def __init__(self, board: Dashboard, keeper: Keeper) -> None:
        self._board, self._keeper = board, keeper

    def doors(self) -> tuple[Door, ...]:
        moves = tuple(self._ramp_door(action) for action in get_args(RampAction))
        return (
            *moves,
            Door(
                method="GET", path="/api/v1/drills/{route}", role="viewer", handler=self._drills, answer=Drills,
                summary="Drills of a route: the one that runs, and what ended ones found",
            ),
            Door(
                method="POST", path="/api/v1/drills/{route}/start", role="operator", handler=self._drill, changes=True,
                summary="Start a drill; it ends by itself, early where it fails", body=DrillBody, answer=Drills,
            ),
            Door(
                method="POST", path="/api/v1/drills/{route}/stop", role="operator", handler=self._stop_drill,
                changes=True, summary="End a drill now", body=StopBody, answer=Drills,
            ),
            Door(
                method="PUT", path="/api/v1/budgets/{budget}/limit", role="approver", handler=self._limit, changes=True,
                summary="Give a budget another limit, or the configuration's again", body=LimitBody, answer=LimitSet,
            ),
            Door(
                method="GET", path="/api/v1/keys", role="viewer", handler=self._keys, answer=Keys,
                summary="Client keys; never their secrets",
            ),
            Door(
                method="POST", path="/api/v1/keys", role="operator", handler=self._create, changes=True, body=KeyBody,
                summary="Make a client key; the answer has its secret, once", answer=KeyShown, status=201,
            ),
            Door(
                method="PATCH", path="/api/v1/keys/{key}", role="operator", handler=self._rates, changes=True,
                summary="Give a key other limits of its rate", body=RatesBody, answer=KeyShown,
            ),
            Door(
                method="POST", path="/api/v1/keys/{key}/rotate", role="operator", handler=self._rotate, changes=True,
                summary="Give a key a new secret beside the old one", body=RotateBody, answer=KeyShown,
            ),
            Door(
                method="DELETE", path="/api/v1/keys/{key}", role="operator", handler=self._revoke, changes=True,
                summary="End a key for good", answer=KeyShown,
            ),
            Door(
                method="POST", path="/api/v1/exchanges/erase", role="admin", handler=self._erase, changes=True,
                summary="Erase captured prompts and answers", body=EraseBody, answer=ErasedCount,
            ),
            Door(
                method="POST", path="/api/v1/reload", role="operator", handler=self._reload, changes=True,
                summary="Read the configuration again", answer=TableNumber,
            ),
        )  # fmt: skip

    # --- ramps and budgets --------------------------------------------------------------------------------------------

    def _ramp_door(self, action: RampAction) -> Door:
        role: Role = NEEDS[action]

        async def handler(request: Request, person: Person) -> Response:
            body, route = await body_of(request, RampBody), request.path_params["route"]
            if len(body.why) > WHY_CHARS_MAX:
                raise UsageError(f"why has at most {WHY_CHARS_MAX} characters")
            if action == "propose" and DIGEST.fullmatch(body.verdict or "") is None:
                raise UsageError("to propose, verdict is the digest of a stored verdict, 64 hex digits")
            if not any(row.name == route for row in self._board.sources.loaded.config.route):
                raise NotThereError(f"there is no route {route[:80]!r}")
            asked = RampAct(
                action=action, route=route, candidate=body.candidate, verdict=body.verdict, up_to=body.up_to,
                accepts=body.accepts, why=body.why,
            )  # fmt: skip
            found = await self._keeper.call_as(person, asked, RampAnswer)
            ramp = next((one for one in found.ramps if one.state.route == route), None)
            return answer(Moved(ramp=ramp, notes=found.notes))

        return Door(
            method="POST", path=f"/api/v1/ramps/{{route}}/{action}", role=role, handler=handler, changes=True,
            summary=f"{action.capitalize()} a ramp", body=RampBody, answer=Moved,
        )  # fmt: skip

    def _route_of(self, request: Request, person: Person) -> str:
        """Raises `NotThereError` for what is not there, or not theirs to see."""
        route: str = request.path_params["route"]
        sources = self._board.sources
        known = any(row.name == route for row in sources.loaded.config.route)
        if not known or not Owned(sources, person.teams).route(route):
            raise NotThereError(f"there is no route {route[:80]!r}")
        return route

    async def _drills(self, request: Request, person: Person) -> Response:
        route = self._route_of(request, person)
        return answer(Drills(drills=(await self._keeper.call(DrillShow(route=route), DrillAnswer)).drills))

    async def _drill(self, request: Request, person: Person) -> Response:
        body, route = await body_of(request, DrillBody), self._route_of(request, person)
        if not 0.01 <= body.percent <= 100:
            raise UsageError(f"percent is 0.01 to 100, not {body.percent:g}")
        asked = DrillAct(
            action="start", route=route, arm=body.arm, basis_points=round(100 * body.percent), seconds=body.seconds,
            why=body.why[:WHY_CHARS_MAX],
        )  # fmt: skip
        return answer(Drills(drills=(await self._keeper.call_as(person, asked, DrillAnswer)).drills))

    async def _stop_drill(self, request: Request, person: Person) -> Response:
        body, route = await body_of(request, StopBody), self._route_of(request, person)
        asked = DrillAct(action="stop", route=route, why=body.why[:WHY_CHARS_MAX])
        return answer(Drills(drills=(await self._keeper.call_as(person, asked, DrillAnswer)).drills))

    async def _limit(self, request: Request, person: Person) -> Response:
        body, name = await body_of(request, LimitBody), request.path_params["budget"]
        sources = self._board.sources
        known = any(row.name == name for row in sources.loaded.config.budget)
        if not known or not Owned(sources, person.teams).budget(name):
            raise NotThereError(f"there is no budget {name[:80]!r}")
        limit = None if body.limit_usd is None else limit_of(body.limit_usd)
        asked = SetLimit(budget=name, limit_nanousd=limit, why=body.why[:WHY_CHARS_MAX])
        return answer(await self._keeper.call_as(person, asked, LimitSet))

    # --- keys ---------------------------------------------------------------------------------------------------------

    async def _keys(self, request: Request, person: Person) -> Response:
        rows = (await self._keeper.call(ListKeys(), KeyList)).rows
        return answer(Keys(keys=tuple(shown(row) for row in rows if person.sees(row.team))))

    async def _create(self, request: Request, person: Person) -> Response:
        body, secret = await body_of(request, KeyBody), f"wb-{secrets.token_urlsafe(32)}"
        asked = CreateKey(
            name=body.name, digest=key_digest(secret), team=body.team, routes=body.routes, budget=body.budget,
            expires_ns=ns_of(body.expires), requests_per_minute=body.requests_per_minute,
            tokens_per_minute=body.tokens_per_minute,
        )  # fmt: skip
        return answer(shown(await self._keeper.call_as(person, asked, KeyRow), secret), 201)

    async def _rates(self, request: Request, person: Person) -> Response:
        body = await body_of(request, RatesBody)
        asked = LimitKey(
            name=request.path_params["key"], requests_per_minute=body.requests_per_minute,
            tokens_per_minute=body.tokens_per_minute,
        )  # fmt: skip
        return answer(shown(await self._keeper.call_as(person, asked, KeyRow)))

    async def _rotate(self, request: Request, person: Person) -> Response:
        body, secret = await body_of(request, RotateBody), f"wb-{secrets.token_urlsafe(32)}"
        if not 0 <= body.overlap_s <= 366 * 86_400:
            raise UsageError("overlap_s is 0 to 31622400, a year")
        asked = RotateKey(
            name=request.path_params["key"], digest=key_digest(secret), overlap_ns=body.overlap_s * SECOND_NS,
            expires_ns=ns_of(body.expires),
        )  # fmt: skip
        return answer(shown(await self._keeper.call_as(person, asked, KeyRow), secret))

    async def _revoke(self, request: Request, person: Person) -> Response:
        asked = RevokeKey(name=request.path_params["key"])
        return answer(shown(await self._keeper.call_as(person, asked, KeyRow)))

    # --- the rest -----------------------------------------------------------------------------------------------------

    async def _erase(self, request: Request, person: Person) -> Response:
        body = await body_of(request, EraseBody)
        if sum((bool(body.exchanges), body.key is not None, body.user is not None)) != 1:
            raise UsageError("name exactly one of exchanges, key, user")
        wrong = [one for one in body.exchanges if ID.fullmatch(one) is None]
        if wrong:
            raise UsageError(f"{wrong[0][:80]!r} is not the id of an exchange")
        asked = Erase(exchanges=body.exchanges, key=body.key, user=body.user)
        return answer(await self._keeper.call_as(person, asked, ErasedCount))

    async def _reload(self, request: Request, person: Person) -> Response:
        return answer(await self._keeper.call_as(person, Reload(), TableNumber))


def ns_of(moment: datetime | None) -> int | None:
    if moment is None:
        return None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return round(aware.timestamp()) * SECOND_NS
