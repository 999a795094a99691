"""Ramps as the keeper sees them: shares of a route table, swapped together with the state that allows them.

What a ramp *does* is decided elsewhere (`Office`, handed in by whoever starts the keeper); here is what only the owner
of the database can do for it (`Desk`).
"""

import getpass
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from weighbridge.clock import Clock
from weighbridge.config import Loaded
from weighbridge.errors import ControlError, StoreError
from weighbridge.exchanges.chain import Chain
from weighbridge.keeper.alerts import Alerts
from weighbridge.records.canonical import canonical, parse
from weighbridge.records.canonical import digest as digest_of
from weighbridge.records.drill import DRILL_SCHEMA, Drill, DrillInForce, DrillReport
from weighbridge.records.ramp import RampInForce, RampState
from weighbridge.records.table import SHARE_WHOLE, Route, RouteTable, Share
from weighbridge.store.control import DrillAct, DrillAnswer, DrillShow, ObjectKind, RampAct, RampAnswer, RampShow
from weighbridge.store.database import Database
from weighbridge.store.files import write_durably
from weighbridge.store.layout import Layout
from weighbridge.store.ramps import RampChange, StoredRamp
from weighbridge.store.sightings import SharedSightings

Ramps = Mapping[str, tuple[RampState, str]]
"""Route -> the state of its newest ramp, and the digest of that state's object."""


class _Schema(msgspec.Struct):
    schema: str


_schema = msgspec.json.Decoder(_Schema)


class Overrides(msgspec.Struct, frozen=True, kw_only=True):
    """`tables/override.json`: routes that are held at their incumbent, whatever their ramp says."""

    routes: tuple[str, ...] = ()


def read_overrides(layout: Layout) -> frozenset[str]:
    """Unreadable is as good as absent only where the file is absent. Raises `StoreError`."""
    try:
        return frozenset(parse(layout.table_override.read_bytes(), Overrides).routes)
    except FileNotFoundError:
        return frozenset()
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{layout.table_override} cannot be read ({error}); it says which routes are held at their incumbent. "
            "Mend or remove it"
        ) from None


def write_overrides(layout: Layout, routes: frozenset[str]) -> None:
    write_durably(layout.table_override, canonical(Overrides(routes=tuple(sorted(routes)))))


def login() -> str:
    """Who runs the keeper; nobody else can reach its socket."""
    try:
        return f"login:{getpass.getuser()}"
    except (KeyError, OSError):
        return f"login:{os.getuid()}"


def at_incumbent(route: Route) -> Route:
    """A route without its ramp."""
    return msgspec.structs.replace(
        route, shares=(Share(arm=route.incumbent, basis_points=SHARE_WHOLE),), ramp=None, cuts=False
    )


def ramped(route: Route, known: tuple[RampState, str] | None, loaded: Loaded) -> Route:
    """A route with the shares that its ramp allows; all to the incumbent where an arm is another one by now."""
    plain = at_incumbent(route)
    if known is None:
        return plain
    state, digest = known
    if state.stage == "rolled_back" and state.plan.streams == "cut":
        return msgspec.structs.replace(plain, cuts=True)
    if state.over or state.stage == "proposed":
        return plain
    if state.incumbent != route.incumbent or state.candidate not in route.candidates:
        return plain
    if identities(loaded, state) != state.identities:
        return plain
    share = state.basis_points
    rows = (
        Share(arm=state.incumbent, basis_points=SHARE_WHOLE - share),
        Share(arm=state.candidate, basis_points=share),
    )
    plan = state.plan
    limit = plan.copies_nanousd
    copies = limit is None or state.copies_spent_nanousd < limit
    in_force = RampInForce(
        record=digest,
        stage=state.stage,
        candidate=state.candidate,
        stick_by=plan.stick_by,
        assignment=state.assignment,
        shadow_basis_points=plan.shadow_basis_points if copies and state.standing == "shadow" else 0,
        pair_basis_points=plan.pair_basis_points if copies and share else 0,
        copies_left_nanousd=None if limit is None else max(0, limit - state.copies_spent_nanousd),
    )
    return msgspec.structs.replace(route, shares=tuple(row for row in rows if row.basis_points), ramp=in_force)


def identities(loaded: Loaded, state: RampState) -> tuple[str | None, str | None]:
    """What the two arms are now; `None` for one that is gone, or whose prompt cannot be read."""
    incumbent, candidate = (_identity(loaded, name) for name in (state.incumbent, state.candidate))
    return incumbent, candidate


def _identity(loaded: Loaded, name: str) -> str | None:
    if all(row.name != name for row in loaded.config.arm):
        return None
    try:
        return loaded.arm_identity(name)
    except OSError:
        return None


def with_ramps(table: RouteTable, ramps: Ramps, overrides: frozenset[str], loaded: Loaded) -> RouteTable:
    """The table with the shares that its ramps allow, and the verdicts that allowed them."""
    routes = tuple(
        at_incumbent(route) if route.name in overrides else ramped(route, ramps.get(route.name), loaded)
        for route in table.routes
    )
    verdicts = tuple(ramps[route.name][0].verdict for route in routes if route.ramp is not None and route.name in ramps)
    return msgspec.structs.replace(table, routes=routes, verdicts=tuple(dict.fromkeys(verdicts)))


class Office(Protocol):
    """Who decides about ramps."""

    async def tick(self) -> None:
        """Look at the evidence, and act on it where this keeper decides; called each second."""
        ...

    async def act(self, asked: RampAct, person: str | None = None) -> RampAnswer:
        """person: who is signed in, where it comes from a session or API token. Raises `WeighbridgeError` with the
        reasons where it may not be.
        """
        ...

    async def show(self, asked: RampShow) -> RampAnswer: ...

    async def drill(self, asked: DrillAct, person: str | None = None) -> DrillAnswer:
        """Raises `WeighbridgeError` with the reasons where it may not be."""
        ...

    def show_drills(self, asked: DrillShow) -> DrillAnswer: ...

    def close(self) -> None: ...


OfficeMaker = Callable[["Desk"], Office]


class Keeping(Protocol):
    """What a desk needs of the keeper around it."""

    @property
    def loaded(self) -> Loaded: ...

    @property
    def serving(self) -> bool: ...

    @property
    def leader(self) -> str | None:
        """Who decides about ramps where it is not this keeper."""
        ...

    async def put(self, kind: ObjectKind, label: str, body: bytes) -> str:
        """Into the signed log; the digest."""
        ...

    def publish_ramp(self, change: RampChange, ramps: Ramps) -> int:
        """State and table in one transaction; the table's number. Raises `StoreError`."""
        ...

    def publish_drills(self, drills: Mapping[str, DrillInForce]) -> int:
        """The table's number. Raises `StoreError`."""
        ...

    def publish_override(self, routes: frozenset[str]) -> int:
        """Files alone, no database; the table's number. Raises `StoreError`."""
        ...

    def current_table(self) -> RouteTable | None: ...


class Desk:
    """What the keeper does for the office. Not thread-safe: the event loop's."""

    def __init__(
        self, layout: Layout, database: Database, clock: Clock, keeping: Keeping,
        sharing: SharedSightings | None = None,
    ) -> None:  # fmt: skip
        """`sharing`: where other gateways serve the same routes."""
        self.layout, self.clock, self.sharing = layout, clock, sharing
        self._database, self._keeping = database, keeping
        self._alerts = Alerts(layout)
        self._chain = Chain(layout)
        self._drills: dict[str, Drill] = {}
        self._reports: dict[str, DrillReport] = {}

    @property
    def loaded(self) -> Loaded:
        return self._keeping.loaded

    @property
    def serving(self) -> bool:
        """Is there somebody to publish for?"""
        return self._keeping.serving

    @property
    def leader(self) -> str | None:
        """Who decides about ramps where it is not this keeper."""
        return self._keeping.leader

    @property
    def table(self) -> RouteTable | None:
        return self._keeping.current_table()

    @property
    def login(self) -> str:
        return login()

    def stored(self) -> tuple[tuple[RampState, StoredRamp], ...]:
        """Every route's newest ramp. Raises `StoreError`."""
        return tuple((parse(row.body, RampState), row) for row in self._database.ramps.all())

    def object(self, digest: str) -> bytes | None:
        """Stored bytes, checked against their digest; `None` where there are none or other ones."""
        try:
            body = Path(self.layout.object(digest)).read_bytes()
        except OSError:
            return None
        return body if digest_of(body) == digest else None

    async def commit(self, state: RampState, *, restarts: bool) -> int:
        """Into the signed log, then state and shares together. Returns the number of the table in force.

        Raises `StoreError` where the database cannot, `ControlError` where somebody else changed the ramp meanwhile.
        """
        body = canonical(state)
        digest = await self._keeping.put("ramp", f"{state.route}/{state.candidate}", body)
        change = RampChange(route=state.route, after=state.revision - 1, digest=digest, body=body, restarts=restarts)
        ramps = {known.route: (known, row.digest) for known, row in self.stored()}
        before = ramps.get(state.route)
        if (0 if before is None else before[0].revision) != state.revision - 1:
            raise ControlError(
                f"the ramp of {state.route} was changed by somebody else meanwhile; look at `weighbridge ramp status` "
                "and say it again"
            )
        ramps[state.route] = (state, digest)
        number = self._keeping.publish_ramp(change, ramps)
        if state.over and state.route in read_overrides(self.layout):
            write_overrides(self.layout, read_overrides(self.layout) - {state.route})
        return number

    def note_held(self, route: str, revision: int, held_s: float) -> None:
        self._database.ramps.note_held(route, revision, held_s)

    def overrides(self) -> frozenset[str]:
        return read_overrides(self.layout)

    def override(self, route: str) -> int:
        """Hold a route at its incumbent without the database. Returns the table's number."""
        routes = read_overrides(self.layout) | {route}
        write_overrides(self.layout, routes)
        return self._keeping.publish_override(routes)

    # --- drills -------------------------------------------------------------------------------------------------------

    def drills(self) -> tuple[dict[str, Drill], dict[str, DrillReport]]:
        """All that were announced and all reports, by digest, out of the signed log."""
        for entry in self._chain.snapshot().objects:
            if entry.kind == "drill" and entry.digest not in self._drills and entry.digest not in self._reports:
                body = self.object(entry.digest)
                if body is not None:
                    kind = _schema.decode(body).schema
                    if kind == DRILL_SCHEMA:
                        self._drills[entry.digest] = parse(body, Drill)
                    else:
                        self._reports[entry.digest] = parse(body, DrillReport)
        return self._drills, self._reports

    def drills_in_force(self) -> dict[str, DrillInForce]:
        """By route: those whose time is not over, as a keeper that starts finds them."""
        announced, reports = self.drills()
        over, now_ns = {report.drill for report in reports.values()}, self.clock.wall_ns()
        return {
            drill.route: DrillInForce(
                record=digest, arm=drill.arm, basis_points=drill.basis_points, until_ns=drill.until_ns
            )
            for digest, drill in announced.items()
            if digest not in over and now_ns < drill.until_ns
        }

    async def record_drill(self, route: str, body: bytes) -> str:
        """An announcement or a report, into the signed log; the digest."""
        return await self._keeping.put("drill", route, body)

    def publish_drills(self, drills: dict[str, DrillInForce]) -> int:
        return self._keeping.publish_drills(drills)

    def told(self) -> frozenset[str]:
        """What proposals people were told of, over restarts; nothing where that cannot be read."""
        try:
            return frozenset(msgspec.json.decode(self._told_file.read_bytes(), type=list[str]))
        except (OSError, msgspec.MsgspecError):
            return frozenset()

    def remember_told(self, keys: frozenset[str]) -> None:
        """Raises `OSError`."""
        write_durably(self._told_file, msgspec.json.encode(sorted(keys)))

    @property
    def _told_file(self) -> Path:
        return self.layout.run / "proposals.json"

    def tell(
        self, subject: str, lines: tuple[str, ...], *, route: str, arm: str, kind: str = "ramp-drill"
    ) -> None:  # fmt: skip
        """As `alert`, where no ramp is the matter."""
        self._alerts.send(self.loaded, kind, subject, lines, route=route, candidate=arm)

    def alert(self, subject: str, lines: tuple[str, ...], state: RampState) -> None:
        """Tell people, in the background. What cannot be delivered is logged."""
        name = "ramp-paused" if state.stage == "paused" else "ramp-rolled-back"
        self._alerts.send(
            self.loaded, name, subject, lines, route=state.route, candidate=state.candidate, stage=state.stage
        )
