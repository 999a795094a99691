"""Looks after the ramps of one store: people's calls and the controller's decisions become commits.

Decisions are `controller.decide`'s, shares are the keeper's; here the two meet. Heavy reading happens in one thread.
"""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

import msgspec

from weighbridge.errors import ControlError, StoreError
from weighbridge.ramp.asking import alert_words, approval, approval_words, name_of, target_of
from weighbridge.ramp.controller import NOTHING_SEEN, Decision, decide, missing_for
from weighbridge.ramp.drills import DrillDesk, Drills
from weighbridge.ramp.facts import Facts
from weighbridge.ramp.gates import gates
from weighbridge.ramp.plan import exposure, graded
from weighbridge.ramp.proposing import CONTROLLER, proposed
from weighbridge.ramp.reasons import Reasons
from weighbridge.ramp.stages import LIVE, back_of, move_between, next_of
from weighbridge.ramp.watching import Held, Watching
from weighbridge.records.ramp import (
    Approval,
    GateView,
    RampState,
    RampStatus,
    Stage,
)
from weighbridge.store.control import DrillAct, DrillAnswer, DrillShow, RampAct, RampAnswer, RampShow
from weighbridge.store.ramps import StoredRamp

if TYPE_CHECKING:
    from weighbridge.ramp.gathering import Sharing

log = logging.getLogger("keeper")

Known = tuple[RampState, StoredRamp]


class Desk(DrillDesk, Protocol):
    """What only the keeper can do; see `keeper.ramps.Desk`."""

    @property
    def login(self) -> str: ...
    @property
    def sharing(self) -> "Sharing | None": ...
    @property
    def leader(self) -> str | None:
        """Who decides about ramps where it is not this keeper."""
        ...

    def stored(self) -> tuple[Known, ...]: ...
    def object(self, digest: str) -> bytes | None: ...
    async def commit(self, state: RampState, *, restarts: bool) -> int: ...
    def note_held(self, route: str, revision: int, held_s: float) -> None: ...
    def overrides(self) -> frozenset[str]: ...
    def override(self, route: str) -> int: ...
    def alert(self, subject: str, lines: tuple[str, ...], state: RampState) -> None: ...
    def told(self) -> frozenset[str]: ...
    def remember_told(self, keys: frozenset[str]) -> None: ...


class RampOffice:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._thread = ThreadPoolExecutor(1, "ramp")
        self._last: tuple[Known, ...] = ()
        self._facts = Facts(desk)
        self._watching = Watching(desk, self._facts, self._thread)
        self._acting = asyncio.Lock()
        self._reasons = Reasons(desk, self._thread)
        self._drills = Drills(desk, self._who, self._thread)

    def close(self) -> None:
        if self._desk.sharing is not None:
            self._desk.sharing.leave()
        self._thread.shutdown(wait=False, cancel_futures=True)

    # --- each second --------------------------------------------------------------------------------------------------

    async def tick(self) -> None:
        """Whoever decides, decides; every keeper watches what its own gateway does, and tells the others."""
        decides = self._desk.leader is None
        if decides:
            await self._drills.tick()
            await self._reasons.look()
        newest = self._newest()
        known = self._stored()
        for state, row in known:
            if state.over:
                self._watching.drop(state.route)
                if decides and state.route in self._desk.overrides():
                    log.info("route %s is held at its incumbent by an override although its ramp is over", state.route)
                continue
            held = self._watching.held(state, row, decides=decides)
            await self._watching.poll(held, state, row, newest)
            if decides:
                await self._look(state, held)
        going = {state.ramp: row.table_from for state, row in known if not state.over}
        await self._watching.share(going, decides=decides)

    def _newest(self) -> int:
        """The number of the table in force, looked up before the ramps that it goes with."""
        table = self._desk.table
        return 0 if table is None else table.number

    def _stored(self) -> tuple[Known, ...]:
        """With the database gone the last known states are still looked after: going back needs no database."""
        try:
            self._last = self._desk.stored()
        except StoreError as error:
            if not self._last:
                raise
            log.error("the ramps are looked after from memory, the database cannot be read: %s", error)
        return self._last

    async def _look(self, state: RampState, held: Held) -> None:
        async with self._acting:
            if all(one.revision != state.revision for one, _ in self._last if one.route == state.route):
                return  # a person was quicker
            decision = self._decide(state, held)
            if decision.target is not None:
                await self._move(state, decision.target, CONTROLLER, decision.reasons, decision)
            elif self._copies_ran_out(state, held):
                await self._commit_changed(
                    _with_copies(state, held, restarts=False),
                    by=CONTROLLER,
                    reasons=("the budget of copies is used up, so no more are made",),
                )

    def _decide(self, state: RampState, held: Held | None) -> Decision:
        return decide(state, self._watching.evidence(held), self._gates(state, held))

    def _copies_ran_out(self, state: RampState, held: Held) -> bool:
        limit = state.plan.copies_nanousd
        return limit is not None and state.copies_spent_nanousd < limit <= _spent(state, held)

    # --- drills -------------------------------------------------------------------------------------------------------

    async def drill(self, asked: DrillAct, person: str | None = None) -> DrillAnswer:
        return await self._drills.act(asked, person)

    def show_drills(self, asked: DrillShow) -> DrillAnswer:
        return self._drills.show(asked)

    # --- gates --------------------------------------------------------------------------------------------------------

    def _gates(self, state: RampState, held: Held | None) -> tuple[GateView, ...]:
        watch = None if held is None else held.watch
        return gates(state, next_of(state.standing), self._facts.of(state, watch, _spent(state, held)))

    # --- moving -------------------------------------------------------------------------------------------------------

    async def _move(
        self, state: RampState, target: Stage, by: str, reasons: tuple[str, ...], decision: Decision | None = None
    ) -> tuple[str, ...]:
        """Commit a move of the table. Returns notes for a person."""
        held = self._watching.of(state.route)
        watch = None if held is None else held.watch
        paused = target == "paused"
        after = msgspec.structs.replace(
            state, stage=target, came_from=state.stage if paused else None, time_ns=self._desk.clock.wall_ns(),
            reasons=reasons, by=by,
        )  # fmt: skip
        restarts = after.standing != state.standing
        if state.stage == "paused" and target == state.came_from:
            after = msgspec.structs.replace(after, doubt_after=self._newest())
        after = _with_copies(after, held, restarts=restarts)
        if restarts and watch is not None:
            after = msgspec.structs.replace(
                after,
                used={**state.used, **watch.monitor.used()},
                slow_above=watch.percentiles(),
                baseline={**state.baseline, **watch.monitor.baseline()},
            )
        if after.basis_points < state.basis_points:
            after = msgspec.structs.replace(after, assignment=state.assignment + 1)
        notes: tuple[str, ...] = ()
        try:
            await self._commit(after, restarts=restarts)
        except StoreError as error:
            if target not in ("rolled_back", "rejected"):
                raise
            table = self._desk.override(state.route)
            notes = (
                f"the database cannot be written ({error}), so route {state.route} is held at {state.incumbent} by "
                f"route table {table} until it can; what happened is not in the signed log yet",
            )
        if decision is not None and decision.cause in ("alarm", "gate", "doubt"):
            subject, lines = alert_words(after, decision)
            self._desk.alert(subject, lines, after)
        return notes

    async def _commit_changed(
        self, state: RampState, *, by: str, reasons: tuple[str, ...], approvals: tuple[Approval, ...] | None = None
    ) -> None:
        after = msgspec.structs.replace(
            state, by=by, reasons=reasons, approvals=state.approvals if approvals is None else approvals
        )
        await self._commit(after, restarts=False)

    async def _commit(self, after: RampState, *, restarts: bool) -> None:
        row = next((row for one, row in self._last if one.route == after.route), None)
        after = msgspec.structs.replace(
            after, revision=(0 if row is None else row.revision) + 1, prev=None if row is None else row.digest
        )
        number = await self._desk.commit(after, restarts=restarts)
        log.info(
            "ramp of %s: %s, %.2f%% on %s (route table %d): %s", after.route, after.stage, after.basis_points / 100,
            after.candidate, number, "; ".join(after.reasons),
        )  # fmt: skip
        self._last = self._desk.stored()

    # --- people -------------------------------------------------------------------------------------------------------

    async def act(self, asked: RampAct, person: str | None = None) -> RampAnswer:
        """person: whose session it comes from, where it is one that may; else a token or the login says who."""
        who = self._who(asked.token) if person is None else person
        async with self._acting:
            notes = await self._act(asked, who, by_person=person is not None)
        answer = await self.show(RampShow(route=asked.route))
        return msgspec.structs.replace(answer, notes=(*notes, *answer.notes))

    def _who(self, token: str | None) -> str:
        return name_of(self._desk.loaded, token, self._desk.login)

    async def _act(self, asked: RampAct, who: str, *, by_person: bool) -> tuple[str, ...]:
        if asked.action == "rollback":
            return await self._rollback(asked, who)
        newest = self._newest()
        self._last = self._desk.stored()
        if asked.action == "propose":
            running = next((state for state, _ in self._last if state.route == asked.route), None)
            await self._commit(proposed(self._desk, asked, who, running), restarts=True)
            return ()
        state, row = self._known(asked.route)
        if asked.action == "approve":
            await self._approve(state, asked, who, by_person=by_person)
            return ()
        reasons = (asked.why,) if asked.why else (f"{asked.action} by {who}",)
        target = target_of(asked, state)
        move = move_between(state.stage, target)
        if move is None or "person" not in move.causes:
            raise ControlError(
                f"the ramp of {state.route} is in stage {state.stage}: {asked.action} leads nowhere from there"
            )
        if target not in ("paused", "rejected") and not self._desk.serving:
            raise ControlError("nothing serves, so there is no traffic to move; start `weighbridge serve`")
        held = None
        if move.needs:
            held = self._watching.held(state, row, decides=True)
            await self._watching.poll(held, state, row, newest)
        evidence = self._watching.evidence(held)
        waits = missing_for(state, target, evidence, self._gates(state, held)) if move.needs else ()
        if waits:
            raise ControlError(
                f"the ramp of {state.route} cannot go from {state.stage} to {target} yet:\n"
                + "\n".join(f"- {one}" for one in waits)
            )
        return await self._move(state, target, who, reasons)

    async def _rollback(self, asked: RampAct, who: str) -> tuple[str, ...]:
        """Always works: with the database as a move, without it as an override of the files."""
        reasons = (asked.why,) if asked.why else (f"rollback by {who}",)
        try:
            self._last = self._desk.stored()
        except StoreError as error:
            table = self._desk.override(asked.route)
            return (
                f"the database cannot be read ({error}); route {asked.route} is held at its incumbent by route table "
                f"{table}",
            )
        state, _ = self._known(asked.route)
        if state.over:
            raise ControlError(
                f"the ramp of {state.route} is over already ({state.stage}): all are on {state.incumbent}"
            )
        return await self._move(
            state, back_of(state.standing) if state.stage != "paused" else "rolled_back", who, reasons
        )

    def _known(self, route: str) -> Known:
        found = next((known for known in self._last if known[0].route == route), None)
        if found is None:
            routes = ", ".join(state.route for state, _ in self._last) or "none"
            raise ControlError(
                f"route {route!r} has no ramp; there are ramps of: {routes}. "
                f"`weighbridge ramp propose {route}` makes one"
            )
        return found

    async def _approve(self, state: RampState, asked: RampAct, who: str, *, by_person: bool) -> None:
        desk = self._desk
        row = approval(desk.loaded, state, asked, who, by_person=by_person, now_ns=desk.clock.wall_ns())
        await self._commit_changed(
            state, by=who, reasons=(approval_words(row, asked.why),), approvals=(*state.approvals, row)
        )

    # --- showing ------------------------------------------------------------------------------------------------------

    async def show(self, asked: RampShow) -> RampAnswer:
        leader = self._desk.leader
        notes = () if leader is None else (f"{leader} leads and decides; these are the figures of this host",)
        newest = self._newest()
        try:
            self._last = self._desk.stored()
        except StoreError as error:
            notes = (*notes, f"from memory, the database cannot be read: {error}")
        rows = []
        for state, row in self._last:
            if asked.route in (None, state.route):
                if not state.over:
                    held = self._watching.held(state, row, decides=leader is None)
                    if held.watch is None:
                        await self._watching.poll(held, state, row, newest)
                rows.append(self._status(state, row))
        return RampAnswer(ramps=tuple(rows), notes=notes)

    def _status(self, state: RampState, row: StoredRamp) -> RampStatus:
        held, table = self._watching.of(state.route), self._desk.table
        watch = None if held is None else held.watch
        evidence = NOTHING_SEEN if state.over else self._watching.evidence(held)
        views = () if state.over else self._gates(state, held)
        above = next_of(state.standing)
        rate = None if watch is None else watch.error_rate()
        cost = None if watch is None else watch.cost_nanousd()
        stages = [] if state.over else [stage for stage in (state.standing, above) if stage is not None]
        if state.stage == "proposed":
            stages = list(LIVE)  # all that somebody is about to approve
        return RampStatus(
            state=state,
            share_percent=state.basis_points / 100,
            table=0 if table is None else table.number,
            held_s=row.held_s if held is None else held.held_s,
            conversations=evidence.conversations,
            pairs=evidence.pairs,
            waits_for=decide(state, evidence, views).waits_for,
            streams=evidence.streams,
            gates=views,
            exposure=tuple(
                view
                for stage in stages
                for view in exposure(state, stage, rate, cost, looked_at=graded(self._desk.loaded, state.route))
            ),
            override=state.route in self._desk.overrides(),
        )


def _spent(state: RampState, held: Held | None) -> int:
    """All copies of the ramp; a watch counts those of its whole stage, some of which the state may have already."""
    if held is None or held.watch is None:
        return state.copies_spent_nanousd
    return state.copies_spent_nanousd - state.copies_of_stage_nanousd + held.watch.copies_nanousd


def _with_copies(state: RampState, held: Held | None, *, restarts: bool) -> RampState:
    """`state` as it is to be stored."""
    if held is None or held.watch is None:
        return state if not restarts else msgspec.structs.replace(state, copies_of_stage_nanousd=0)
    return msgspec.structs.replace(
        state,
        copies_spent_nanousd=_spent(state, held),
        copies_of_stage_nanousd=0 if restarts else held.watch.copies_nanousd,
    )
