"""Announces drills, watches them, and takes them back: when their time is over, somebody says so, or they fail."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Protocol

from weighbridge.config import Loaded
from weighbridge.errors import ControlError, StoreError, WeighbridgeError
from weighbridge.exchanges.reader import Follower, read
from weighbridge.licenses import finding as finding_of
from weighbridge.licenses import profile
from weighbridge.ramp.desk import BaseDesk
from weighbridge.ramp.drilling import Tally, belongs
from weighbridge.ramp.judging import Judge
from weighbridge.records.canonical import canonical
from weighbridge.records.drill import (
    DRILL_REPORT_SCHEMA,
    DRILL_SCHEMA,
    Drill,
    DrillEnd,
    DrillInForce,
    DrillReport,
    DrillView,
)
from weighbridge.records.exchange import Exchange
from weighbridge.records.permission import arm_refusal
from weighbridge.records.table import SHARE_WHOLE, Route, RouteTable
from weighbridge.store.control import DrillAct, DrillAnswer, DrillShow
from weighbridge.store.layout import Layout

log = logging.getLogger("keeper")

SECONDS_MIN, SECONDS_MAX = 5, 3600
REST_NS = 10 * 1_000_000_000
"""After its end: what was being answered is over by then, or is not counted."""
SHOWN_MAX = 10


class DrillDesk(BaseDesk, Protocol):
    """What only the keeper can do; see `keeper.ramps.Desk`."""

    @property
    def serving(self) -> bool: ...
    def drills(self) -> tuple[dict[str, Drill], dict[str, DrillReport]]: ...
    async def record_drill(self, route: str, body: bytes) -> str: ...
    def publish_drills(self, drills: dict[str, DrillInForce]) -> int: ...
    def tell(self, subject: str, lines: tuple[str, ...], *, route: str, arm: str, kind: str = "ramp-drill") -> None: ...


class _Running:
    """A drill that is on, or just over, and what was seen of it. `look` is the thread's."""

    def __init__(self, layout: Layout, loaded: Loaded, drill: Drill, digest: str) -> None:
        self.drill, self.digest = drill, digest
        self.ended: tuple[DrillEnd, int] | None = None
        self.drilled, self.others = Tally(), Tally()
        self.judge = Judge(layout, loaded, drill.route)
        self._layout = layout
        self._follower: Follower | None = None

    def look(self) -> None:
        """Raises `Corrupt` or `OSError` where the log cannot be read; the next look goes on."""
        seen: set[str] = set()
        if self._follower is None:
            follower = Follower(self._layout)
            for exchange in read(self._layout, route=self.drill.route, since_ns=self.drill.from_ns):
                seen.add(exchange.id)
                self._take(exchange)
            self._follower = follower
        for exchange in self._follower.poll():
            if exchange.id not in seen:
                self._take(exchange)

    def _take(self, exchange: Exchange) -> None:
        mine = belongs(self.drill, exchange)
        if mine is not None:
            score = None if self.judge.why_not is not None else self.judge.score(exchange)
            (self.drilled if mine else self.others).add(exchange, score)


class Drills:
    def __init__(self, desk: DrillDesk, who: Callable[[str | None], str], thread: ThreadPoolExecutor) -> None:
        """`who` names the person behind a token."""
        self._desk, self._who, self._thread = desk, who, thread
        self._running: dict[str, _Running] | None = None

    async def tick(self) -> None:
        """Each second."""
        now_ns = self._desk.clock.wall_ns()
        for running in tuple(self._known().values()):
            try:
                await asyncio.get_running_loop().run_in_executor(self._thread, running.look)
            except (WeighbridgeError, OSError) as error:
                log.error("what the drill on %s shows cannot be read: %s", running.drill.route, error)
            if running.ended is None:
                if now_ns >= running.drill.until_ns:
                    self._end(running, "time")
                elif running.drilled.failing:
                    self._end(running, "failing")
            elif now_ns >= running.ended[1] + REST_NS:
                await self._report(running, *running.ended)

    def _known(self) -> dict[str, _Running]:
        """By route; at the first look out of the signed log."""
        if self._running is None:
            announced, reports = self._desk.drills()
            over = {report.drill for report in reports.values()}
            self._running = {
                drill.route: _Running(self._desk.layout, self._desk.loaded, drill, digest)
                for digest, drill in announced.items()
                if digest not in over
            }
        return self._running

    # --- people -------------------------------------------------------------------------------------------------------

    async def act(self, asked: DrillAct, person: str | None = None) -> DrillAnswer:
        """person: whose session it comes from, where it is one that may; else a token or the login says who."""
        who = self._who(asked.token) if person is None else person
        if self._desk.loaded.config.approver and asked.token is None and person is None:
            raise ControlError(
                "approvers are configured, so a drill needs a token (--token env:NAME) or somebody who is signed in"
            )
        if asked.action == "stop":
            running = self._known().get(asked.route)
            if running is None or running.ended is not None:
                raise ControlError(f"no drill runs on route {asked.route!r}")
            self._end(running, "person")
        else:
            await self._start(asked, who)
        return self.show(DrillShow(route=asked.route))

    async def _start(self, asked: DrillAct, who: str) -> None:
        desk = self._desk
        table = desk.table
        if not desk.serving or table is None:
            raise ControlError("nothing serves, so there is no traffic to drill with; start `weighbridge serve`")
        route = next((row for row in table.routes if row.name == asked.route), None)
        if route is None:
            known = ", ".join(row.name for row in table.routes)
            raise ControlError(f"there is no route {asked.route!r}; there is: {known}")
        if asked.route in self._known():
            raise ControlError(f"a drill on route {asked.route} runs, or ended a moment ago; look at it first")
        arm = _arm_of(route, asked.arm)
        problem = self._problem(table, route, arm, asked)
        if problem is not None:
            raise ControlError(f"no drill of {arm} on {route.name}: {problem}")
        now_ns = desk.clock.wall_ns()
        drill = Drill(
            schema=DRILL_SCHEMA, route=route.name, arm=arm, basis_points=asked.basis_points, from_ns=now_ns,
            until_ns=now_ns + asked.seconds * 1_000_000_000, by=who, why=asked.why or f"drill by {who}",
        )  # fmt: skip
        digest = await desk.record_drill(drill.route, canonical(drill))
        running = _Running(desk.layout, desk.loaded, drill, digest)
        self._known()[drill.route] = running
        self._publish()
        desk.tell(
            f"route {drill.route}: drill, {drill.basis_points / 100:g}% of users to {drill.arm} for {asked.seconds} s",
            (drill.why, f"it ends by itself; sooner by `weighbridge ramp drill {drill.route} --stop`"),
            route=drill.route, arm=drill.arm,
        )  # fmt: skip

    def _problem(self, table: RouteTable, route: Route, arm: str, asked: DrillAct) -> str | None:
        if not 1 <= asked.basis_points <= SHARE_WHOLE:
            return f"a share of {asked.basis_points / 100:g}% is not allowed; 0.01 to 100% is"
        if not SECONDS_MIN <= asked.seconds <= SECONDS_MAX:
            return f"{asked.seconds} s are not allowed; {SECONDS_MIN} s to {SECONDS_MAX} s are"
        if any(share.arm == arm and share.basis_points == SHARE_WHOLE for share in route.shares):
            return "everybody is there already"
        refused = arm_refusal(table, route, arm)
        if refused is not None:
            return f"no prompt may be sent there: {refused}"
        loaded = self._desk.loaded
        today = datetime.fromtimestamp(self._desk.clock.wall_ns() // 1_000_000_000, UTC).date().isoformat()
        if loaded.arm(arm).weights == "open":
            found = finding_of(loaded.arm(arm), today, profile(loaded.config.organization, loaded.file))
            if found.verdict == "prohibited":
                return (
                    f"its licence prohibits this use: {found.reasons[0] if found.reasons else 'no reason is recorded'}"
                )
        return None

    # --- the end ------------------------------------------------------------------------------------------------------

    def _end(self, running: _Running, why: DrillEnd) -> None:
        running.ended = why, self._desk.clock.wall_ns()
        try:
            self._publish()
        except StoreError as error:
            # Workers stop at `until_ns` whoever is there.
            log.error("the drill on %s is not taken back yet: %s", running.drill.route, error)
            running.ended = None

    def _publish(self) -> None:
        self._desk.publish_drills(
            {
                route: DrillInForce(
                    record=one.digest, arm=one.drill.arm, basis_points=one.drill.basis_points,
                    until_ns=one.drill.until_ns,
                )
                for route, one in self._known().items()
                if one.ended is None
            }
        )  # fmt: skip

    async def _report(self, running: _Running, why: DrillEnd, ended_ns: int) -> None:
        drill, desk = running.drill, self._desk
        report = DrillReport(
            schema=DRILL_REPORT_SCHEMA, drill=running.digest, route=drill.route, arm=drill.arm,
            ended_ns=ended_ns, ended_by=why, drilled=running.drilled.side,
            others=running.others.side, per_minute=running.drilled.per_minute, not_judged=running.judge.why_not,
        )  # fmt: skip
        await desk.record_drill(drill.route, canonical(report))
        del self._known()[drill.route]
        side = report.drilled
        desk.tell(
            f"route {drill.route}: the drill of {drill.arm} is over ({report.ended_by})",
            (
                f"{side.requests:,} requests, {side.limited:,} times at its limit, {side.failed:,} failed, "
                f"{side.stood_in:,} answered by another arm, {side.unanswered:,} not answered",
                f"more: `weighbridge ramp drill {drill.route} --show`",
            ),
            route=drill.route, arm=drill.arm,
        )  # fmt: skip

    def show(self, asked: DrillShow) -> DrillAnswer:
        """The newest drills first."""
        announced, reports = self._desk.drills()
        by_drill = {report.drill: report for report in reports.values()}
        rows = [
            DrillView(drill=drill, report=by_drill.get(digest))
            for digest, drill in announced.items()
            if asked.route in (None, drill.route)
        ]
        rows.sort(key=lambda row: -row.drill.from_ns)
        return DrillAnswer(drills=tuple(rows[:SHOWN_MAX]))


def _arm_of(route: Route, asked: str | None) -> str:
    """The arm asked for, else the route's first fallback, else the way back of a ramp."""
    arms = dict.fromkeys((route.incumbent, *route.candidates, *route.fallbacks))
    if asked is not None:
        if asked not in arms:
            raise ControlError(f"{asked!r} is no arm of route {route.name}; it has {', '.join(arms)}")
        return asked
    if route.fallbacks:
        return route.fallbacks[0]
    if any(share.arm != route.incumbent and share.basis_points for share in route.shares):
        return route.incumbent
    raise ControlError(f"route {route.name} has no fallback and no ramp to come back from: name an arm with --arm")
