"""Looks after the ramps of one store: people's calls and the controller's decisions become commits.

Decisions are `controller.decide`'s, shares are the keeper's; here the two meet. Heavy reading happens in one thread.
"""

import asyncio
import hmac
import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import msgspec

from weighbridge.config import secret
from weighbridge.errors import ControlError, StoreError, WeighbridgeError
from weighbridge.ramp.controller import GATES, NOTHING_SEEN, Decision, Evidence, decide, missing_for
from weighbridge.ramp.drills import DrillDesk, Drills
from weighbridge.ramp.facts import Facts
from weighbridge.ramp.gates import gates
from weighbridge.ramp.plan import exposure
from weighbridge.ramp.proposing import CONTROLLER, proposed
from weighbridge.ramp.stages import LADDER, LIVE, back_of, move_between, next_of
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
    from weighbridge.ramp.proposals import Proposal

log = logging.getLogger("keeper")

HELD_STEP_S_MAX = 10.0
"""The most that one tick may add to a stage's time: a machine that slept was not watching."""
NOTE_EVERY_S = 10.0
DAY_NS = 86_400 * 1_000_000_000
LOOK_AFTER_NS = 60 * 1_000_000_000
"""A keeper that has just started has other things to do than to load the price book and the catalogue."""

Known = tuple[RampState, StoredRamp]


class Desk(DrillDesk, Protocol):
    """What only the keeper can do; see `keeper.ramps.Desk`."""

    @property
    def login(self) -> str: ...
    def stored(self) -> tuple[Known, ...]: ...
    def object(self, digest: str) -> bytes | None: ...
    async def commit(self, state: RampState, *, restarts: bool) -> int: ...
    def note_held(self, route: str, revision: int, held_s: float) -> None: ...
    def overrides(self) -> frozenset[str]: ...
    def override(self, route: str) -> int: ...
    def alert(self, subject: str, lines: tuple[str, ...], state: RampState) -> None: ...
    def told(self) -> frozenset[str]: ...
    def remember_told(self, keys: frozenset[str]) -> None: ...


class _Watched:
    """A stage in hand: its watch, how long it has lasted, and what was last said about it."""

    def __init__(self, key: tuple[str, int], held_s: float, now_ns: int, before: "_Watched | None") -> None:
        from weighbridge.ramp.watch import Watch  # here: a keeper without ramps starts without numpy and graders

        self.key, self.held_s, self.at_ns, self.noted_s = key, held_s, now_ns, held_s
        self.watch: Watch | None = None
        same = before is not None and before.key[0] == key[0]
        self.before: Watch | None = before.watch if same and before is not None else None
        """Of the stage before, in the same ramp."""
        self.trouble: tuple[str, ...] = ("the exchange log has not been read yet",)


class RampOffice:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._thread = ThreadPoolExecutor(1, "ramp")
        self._watched: dict[str, _Watched] = {}
        self._last: tuple[Known, ...] = ()
        self._facts = Facts(desk)
        self._acting = asyncio.Lock()
        self._born_ns = desk.clock.mono_ns()
        self._looked_on: int | None = None
        """The last day, counted from 1970 in UTC, on which reasons for a trial were looked for."""
        self._drills = Drills(desk, self._who, self._thread)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    # --- each second --------------------------------------------------------------------------------------------------

    async def tick(self) -> None:
        await self._drills.tick()
        await self._look_around()
        known = self._stored()
        for state, row in known:
            if state.over:
                self._watched.pop(state.route, None)
                if state.route in self._desk.overrides():
                    log.info("route %s is held at its incumbent by an override although its ramp is over", state.route)
                continue
            await self._look(state, row)

    async def _look_around(self) -> None:
        """Once a day: is there a reason for a trial that nobody was told of? It proposes, and starts nothing."""
        today = self._desk.clock.wall_ns() // DAY_NS
        if today == self._looked_on or self._desk.clock.mono_ns() - self._born_ns < LOOK_AFTER_NS:
            return
        self._looked_on = today
        desk, loaded = self._desk, self._desk.loaded

        def look() -> tuple["Proposal", ...]:
            from weighbridge.ramp.proposals import proposals  # here: it loads the price book and the catalogue

            return proposals(loaded, desk.layout, datetime.fromtimestamp(desk.clock.wall_ns() // 1_000_000_000, UTC))

        try:
            found = await asyncio.get_running_loop().run_in_executor(self._thread, look)
            told, keys = desk.told(), frozenset(row.key for row in found)
            desk.remember_told(keys)
        except (WeighbridgeError, OSError, ValueError) as error:
            log.error("what might be worth a trial was not looked for today: %s", error)
            return
        new = [row for row in found if row.news and row.key not in told]
        if new:
            what = f"{len(new)} reasons for a trial" if len(new) > 1 else "a reason for a trial"
            desk.tell(
                f"{what}; nothing was started", tuple(f"{row.route}: {row.said}; {row.command}" for row in new[:10]),
                route=new[0].route, arm=new[0].candidate or "", kind="trial-proposed",
            )  # fmt: skip

    def _stored(self) -> tuple[Known, ...]:
        """With the database gone the last known states are still looked after: going back needs no database."""
        try:
            self._last = self._desk.stored()
        except StoreError as error:
            if not self._last:
                raise
            log.error("the ramps are looked after from memory, the database cannot be read: %s", error)
        return self._last

    async def _look(self, state: RampState, row: StoredRamp) -> None:
        held = self._held(state, row)
        await self._poll(held, state, row)
        async with self._acting:
            if all(one.revision != state.revision for one, _ in self._last if one.route == state.route):
                return  # a person was quicker
            decision = self._decide(state, held)
            if decision.target is not None:
                await self._move(state, decision.target, CONTROLLER, decision.reasons, decision)
            elif self._copies_ran_out(state, held):
                await self._commit_changed(
                    state, copies_spent_nanousd=_spent(state, held), by=CONTROLLER,
                    reasons=("the budget of copies is used up, so no more are made",),
                )  # fmt: skip

    def _held(self, state: RampState, row: StoredRamp) -> _Watched:
        now_ns, key = self._desk.clock.mono_ns(), (state.ramp, row.table_from)
        held = self._watched.get(state.route)
        if held is None or held.key != key:
            held = self._watched[state.route] = _Watched(key, row.held_s, now_ns, held)
        held.held_s += min(HELD_STEP_S_MAX, (now_ns - held.at_ns) / 1e9)
        held.at_ns = now_ns
        if held.held_s - held.noted_s >= NOTE_EVERY_S:
            held.noted_s = held.held_s
            try:
                self._desk.note_held(state.route, row.revision, held.held_s)
            except StoreError as error:
                log.error("how long %s has lasted was not written down: %s", state.stage, error)
        return held

    async def _poll(self, held: _Watched, state: RampState, row: StoredRamp) -> None:
        from weighbridge.ramp.watch import Watch  # here: see `_Watched`

        desk, loaded = self._desk, self._desk.loaded

        def work() -> None:
            if held.watch is None:
                failures = self._facts.trial_failures(state)
                held.watch = Watch(desk.layout, loaded, state, row.table_from, failures, held.before)
                held.before = None
            held.watch.poll()
            self._facts.finding(state, loaded)

        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, work)
            held.trouble = ()
        except (WeighbridgeError, OSError, ValueError) as error:
            if not held.trouble:
                log.error("the evidence of route %s cannot be read: %s", state.route, error)
            held.trouble = (f"the evidence cannot be read: {error}",)

    def _decide(self, state: RampState, held: _Watched | None) -> Decision:
        return decide(state, self._evidence(held), self._gates(state, held))

    def _evidence(self, held: _Watched | None) -> Evidence:
        if held is None or held.watch is None:
            return NOTHING_SEEN
        return held.watch.evidence(held.held_s, held.trouble)

    def _copies_ran_out(self, state: RampState, held: _Watched) -> bool:
        limit = state.plan.copies_nanousd
        return limit is not None and state.copies_spent_nanousd < limit <= _spent(state, held)

    # --- drills -------------------------------------------------------------------------------------------------------

    async def drill(self, asked: DrillAct) -> DrillAnswer:
        return await self._drills.act(asked)

    def show_drills(self, asked: DrillShow) -> DrillAnswer:
        return self._drills.show(asked)

    # --- gates --------------------------------------------------------------------------------------------------------

    def _gates(self, state: RampState, held: _Watched | None) -> tuple[GateView, ...]:
        watch = None if held is None else held.watch
        return gates(state, next_of(state.standing), self._facts.of(state, watch, _spent(state, held)))

    # --- moving -------------------------------------------------------------------------------------------------------

    async def _move(
        self, state: RampState, target: Stage, by: str, reasons: tuple[str, ...], decision: Decision | None = None
    ) -> tuple[str, ...]:
        """Commit a move of the table. Returns notes for a person."""
        held = self._watched.get(state.route)
        watch = None if held is None else held.watch
        paused = target == "paused"
        after = msgspec.structs.replace(
            state, stage=target, came_from=state.stage if paused else None, time_ns=self._desk.clock.wall_ns(),
            reasons=reasons, by=by, copies_spent_nanousd=_spent(state, held),
        )  # fmt: skip
        restarts = after.standing != state.standing
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
            self._alert(after, decision)
        return notes

    async def _commit_changed(
        self, state: RampState, *, by: str, reasons: tuple[str, ...], approvals: tuple[Approval, ...] | None = None,
        copies_spent_nanousd: int | None = None,
    ) -> None:  # fmt: skip
        after = msgspec.structs.replace(
            state, by=by, reasons=reasons,
            approvals=state.approvals if approvals is None else approvals,
            copies_spent_nanousd=state.copies_spent_nanousd if copies_spent_nanousd is None else copies_spent_nanousd,
        )  # fmt: skip
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

    def _alert(self, state: RampState, decision: Decision) -> None:
        if state.stage == "paused":
            what = f"route {state.route}: the ramp of {state.candidate} is paused"
            to_do = (
                f"to do: look at the evidence (`weighbridge ramp status {state.route}`), then `weighbridge ramp "
                f"resume` or `weighbridge ramp rollback {state.route}`"
            )
        else:
            what = f"route {state.route}: taken back from {state.candidate} to {state.incumbent}"
            to_do = (
                f"to do: nothing for users, all are on {state.incumbent}. Find the cause (`weighbridge ramp history "
                f"{state.route}`), mend it, run the trial again and propose a new ramp"
            )
        self._desk.alert(what, (*decision.reasons, to_do), state)

    # --- people -------------------------------------------------------------------------------------------------------

    async def act(self, asked: RampAct, person: str | None = None) -> RampAnswer:
        """person: whose session it comes from, where it is one that may; else a token or the login says who."""
        who = self._who(asked.token) if person is None else person
        async with self._acting:
            notes = await self._act(asked, who, by_person=person is not None)
        answer = await self.show(RampShow(route=asked.route))
        return msgspec.structs.replace(answer, notes=(*notes, *answer.notes))

    def _who(self, token: str | None) -> str:
        """The name of who asks. Raises `ControlError` for a token that is nobody's."""
        approvers = self._desk.loaded.config.approver
        if token is None:
            return self._desk.login
        for row in approvers:
            try:
                known = secret(row.token, self._desk.loaded.folder)
            except LookupError as error:
                log.error("approver %s cannot be told by a token: %s", row.name, error.args[0])
                continue
            if hmac.compare_digest(known.encode(), token.encode()):
                return row.name
        raise ControlError(
            "the token is nobody's; it must be that of an [[approver]] of the configuration"
            + ("" if approvers else ", and there is none")
        )

    async def _act(self, asked: RampAct, who: str, *, by_person: bool) -> tuple[str, ...]:
        if asked.action == "rollback":
            return await self._rollback(asked, who)
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
        target = _target(asked, state)
        move = move_between(state.stage, target)
        if move is None or "person" not in move.causes:
            raise ControlError(
                f"the ramp of {state.route} is in stage {state.stage}: {asked.action} leads nowhere from there"
            )
        if target not in ("paused", "rejected") and not self._desk.serving:
            raise ControlError("nothing serves, so there is no traffic to move; start `weighbridge serve`")
        held = None
        if move.needs:
            held = self._held(state, row)
            await self._poll(held, state, row)
        waits = missing_for(state, target, self._evidence(held), self._gates(state, held)) if move.needs else ()
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
        if state.over:
            raise ControlError(f"the ramp of {state.route} is over ({state.stage}); propose a new one")
        if self._desk.loaded.config.approver and asked.token is None and not by_person:
            raise ControlError(
                "approvers are configured, so an approval needs a token (`weighbridge ramp approve --token env:NAME`) "
                "or somebody who is signed in"
            )
        up_to = asked.up_to or next_of(state.standing)
        if up_to is None or up_to not in LADDER[1:]:
            raise ControlError(f"{up_to} is no stage to approve; allowed are {', '.join(LADDER[1:])}")
        unknown = [name for name in asked.accepts if name not in GATES]
        if unknown:
            raise ControlError(f"{unknown[0]!r} is not a gate; allowed are {', '.join(GATES)}")
        row = Approval(by=who, time_ns=self._desk.clock.wall_ns(), up_to=up_to, accepts=asked.accepts)
        said = f"{who} approves up to {up_to}" + (f", accepts {', '.join(asked.accepts)}" if asked.accepts else "")
        await self._commit_changed(
            state,
            by=who,
            reasons=(said if not asked.why else f"{said}: {asked.why}",),
            approvals=(*state.approvals, row),
        )

    # --- showing ------------------------------------------------------------------------------------------------------

    async def show(self, asked: RampShow) -> RampAnswer:
        notes: tuple[str, ...] = ()
        try:
            self._last = self._desk.stored()
        except StoreError as error:
            notes = (f"from memory, the database cannot be read: {error}",)
        rows = []
        for state, row in self._last:
            if asked.route in (None, state.route):
                if not state.over:
                    held = self._held(state, row)
                    if held.watch is None:
                        await self._poll(held, state, row)
                rows.append(self._status(state, row))
        return RampAnswer(ramps=tuple(rows), notes=notes)

    def _status(self, state: RampState, row: StoredRamp) -> RampStatus:
        held, table = self._watched.get(state.route), self._desk.table
        watch = None if held is None else held.watch
        evidence = NOTHING_SEEN if state.over else self._evidence(held)
        views = () if state.over else self._gates(state, held)
        above = next_of(state.standing)
        rate = None if watch is None else watch.monitor.control_rate("errors")
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
            exposure=tuple(view for stage in stages for view in exposure(state, stage, rate, cost)),
            override=state.route in self._desk.overrides(),
        )


def _target(asked: RampAct, state: RampState) -> Stage:
    match asked.action:
        case "start":
            if state.stage != "proposed":
                raise ControlError(f"the ramp of {state.route} was started already, it is in stage {state.stage}")
            return "shadow"
        case "advance":
            above = next_of(state.stage)
            if above is None or state.stage == "proposed":
                raise ControlError(f"the ramp of {state.route} is in stage {state.stage}: there is no step from there")
            return above
        case "resume":
            if state.stage != "paused" or state.came_from is None:
                raise ControlError(f"the ramp of {state.route} is not paused, it is in stage {state.stage}")
            return state.came_from
        case "pause":
            return "paused"
        case _:
            return "rejected"


def _spent(state: RampState, held: _Watched | None) -> int:
    watch = None if held is None else held.watch
    return state.copies_spent_nanousd + (0 if watch is None else watch.copies_nanousd)
