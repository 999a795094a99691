"""`trial sweep`: all candidates at once, out of one purse, through the gateway."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

import msgspec

from weighbridge.config import Loaded
from weighbridge.errors import WeighbridgeError
from weighbridge.grading.book import GraderBook
from weighbridge.licenses import Profile
from weighbridge.licenses import profile as license_profile
from weighbridge.records.evidence import Verdict
from weighbridge.records.table import Arm, Route
from weighbridge.store.control import ControlClient
from weighbridge.trials.carry import Carry, Drawn, put, put_verdict
from weighbridge.trials.journal import Journal
from weighbridge.trials.log import TrialLog
from weighbridge.trials.money import Purse
from weighbridge.trials.plan import Settings, earlier_trials, label
from weighbridge.trials.replay import Progress, Stopped, Turn
from weighbridge.trials.run import Options, cap_nanousd, permitted, permitted_judges
from weighbridge.trials.send import Line
from weighbridge.trials.sweep.board import costs_of, ranked, row_of, saved
from weighbridge.trials.sweep.prepare import prepare_sweep
from weighbridge.trials.sweep.record import SWEEP_SCHEMA, NotAsked, Sweep, SweepRow
from weighbridge.trials.sweep.walk import SweepWalk

NO_TESTS = "no slice of this sweep has labels that may certify"
LOST = "not asked further: on the whole it is proved worse by more than the margin"


class Swept(msgspec.Struct, frozen=True, kw_only=True):
    sweep: Sweep
    digest: str
    """Of the stored sweep."""
    verdicts: tuple[Verdict, ...]


class _Arms(msgspec.Struct, frozen=True, kw_only=True):
    table: int
    route: Route
    allowed: dict[str, Arm]
    refused: tuple[NotAsked, ...]


def run_sweep(
    loaded: Loaded,
    control: ControlClient,
    base_url: str,
    asked: Settings,
    candidates: Sequence[str],
    options: Options,
    *,
    show: Callable[[Progress], None],
    say: Callable[[str], None],
) -> Swept:
    """Carry out a sweep through the gateway at `base_url` (which ends in `/v1`), and store what came of it.

    A candidate that the send gate does not let be asked is named with its reason, and is no part of the family. Raises
    `WeighbridgeError` for everything a person can mend; finished replays are kept, and the next run goes on.
    """
    organization = license_profile(loaded.config.organization, loaded.file)
    log = TrialLog(loaded)
    arms = _arms(loaded, log, asked, candidates)
    table, _, _ = permitted(loaded, log.layout, msgspec.structs.replace(asked, candidate=next(iter(arms.allowed))))
    judges = permitted_judges(loaded, table, arms.route)
    cap = cap_nanousd(options.max_usd, (*arms.allowed.values(), *judges.values()))
    line = options.line(base_url, control)
    graders = GraderBook(loaded, arms.route.name, line.machines.workers)
    prepared, said = prepare_sweep(
        loaded, control, log, asked, tuple(arms.allowed), arms.table, graders, fresh=options.fresh
    )
    for note in said:
        say(note)
    with ExitStack() as stack:
        carries: dict[str, Carry] = {}
        for name, one in prepared.items():
            journal = stack.enter_context(Journal(log.layout.trial(one.plan.trial), one.plan))
            carries[name] = Carry(log, one, graders, journal)
        purses = []
        for name, carry in carries.items():
            earlier = earlier_trials(control, log.layout, carry.plan) if options.reuse else []
            carry.resume(earlier, judges, say)
            purses.append(carry.purse(None, arms.allowed[name], arms.route))
        purse = Purse(cap, sum(one.spent_nanousd for one in purses), sum(one.unknown for one in purses))
        walk = SweepWalk(
            {name: carry.plan for name, carry in carries.items()},
            {name: carry.outcomes for name, carry in carries.items()},
        )
        for name, carry in carries.items():
            carry.walk = walk.lanes[name]
        plan = next(iter(carries.values())).plan
        say(f"{len(carries)} candidates, {plan.items} items of {len(plan.judged)} slices are planned for each")
        ended = asyncio.run(_all(line, carries, arms, judges, purse, walk, _together(show, carries)))
        swept = _conclude(control, carries, arms, organization, ended, walk)
        if swept.sweep.complete:
            for carry in carries.values():
                carry.finish()
        return swept


def _arms(loaded: Loaded, log: TrialLog, asked: Settings, candidates: Sequence[str]) -> _Arms:
    """Who may be asked. Raises `WeighbridgeError` where nobody may."""
    allowed: dict[str, Arm] = {}
    refused: list[NotAsked] = []
    found: tuple[int, Route] | None = None
    for name in candidates:
        try:
            table, route, arm = permitted(loaded, log.layout, msgspec.structs.replace(asked, candidate=name))
        except WeighbridgeError as error:
            refused.append(NotAsked(candidate=name, reason=str(error)))
            continue
        found = (table.number, route)
        allowed[name] = arm
    if found is None:
        raise WeighbridgeError("none of the candidates may be asked: " + "; ".join(one.reason for one in refused))
    return _Arms(table=found[0], route=found[1], allowed=allowed, refused=tuple(refused))


async def _all(
    line: Line,
    carries: Mapping[str, Carry],
    arms: _Arms,
    judges: Mapping[str, Arm],
    purse: Purse,
    walk: SweepWalk,
    show: Callable[[str, Progress], None],
) -> dict[str, tuple[Stopped, str]]:
    """Every candidate to its end: why, and what its endpoint said last when it failed."""
    turn = Turn()

    async def one(name: str, carry: Carry) -> tuple[Stopped, str]:
        stopped, said = await carry.replay(
            line, judges, purse, arms.allowed[name], arms.route, lambda state: show(name, state), turn
        )
        if stopped in ("budget", "endpoint"):
            walk.leave_out(name)
            walk.advance()
            turn.moved()
        return stopped, said

    tasks = {name: asyncio.create_task(one(name, carry)) for name, carry in carries.items()}
    try:
        await asyncio.gather(*tasks.values())
    except BaseException:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        raise
    return {name: task.result() for name, task in tasks.items()}


def _together(show: Callable[[Progress], None], carries: Mapping[str, Carry]) -> Callable[[str, Progress], None]:
    """One line for all: sums over candidates; money is one purse's."""
    states: dict[str, Progress] = {}

    def of(name: str, state: Progress) -> None:
        states[name] = state
        rows = list(states.values())
        show(
            Progress(
                pairs=sum(row.pairs for row in rows),
                items=sum(carry.plan.items for carry in carries.values()),
                in_flight=sum(row.in_flight for row in rows),
                concurrency=sum(row.concurrency for row in rows),
                decided=sum(row.decided for row in rows),
                slices=sum(row.slices for row in rows),
                failed=sum(row.failed for row in rows),
                spent_nanousd=state.spent_nanousd,
                unknown_costs=state.unknown_costs,
            )
        )

    return of


def _conclude(
    control: ControlClient,
    carries: Mapping[str, Carry],
    arms: _Arms,
    organization: Profile,
    ended: Mapping[str, tuple[Stopped, str]],
    walk: SweepWalk,
) -> Swept:
    """Evidence first, then the sweep that names it, then the verdicts that name the sweep: what is named is there."""
    drawn: dict[str, tuple[Drawn, str]] = {}
    rows: list[SweepRow] = []
    for name, carry in carries.items():
        stopped, broken = ended[name]
        lane = walk.lanes[name]
        made = carry.draw(arms.allowed[name], organization, stopped, broken, [LOST] if lane.lost else [])
        digest = put(control, "evidence", label(carry.plan.settings), made.evidence)
        drawn[name] = (made, digest)
        costs = costs_of(made.evidence, carry.items, carry.answers)
        rows.append(row_of(lane, made.evidence, digest, made.verdict, costs, carry.replays.values()))
    first = next(iter(carries.values())).plan
    spent = [row.spent_usd for row in rows]
    sweep = Sweep(
        schema=SWEEP_SCHEMA,
        route=arms.route.name,
        incumbent=first.incumbent,
        margin=first.settings.margin,
        alpha=first.settings.alpha,
        seed=first.settings.seed,
        comparisons=0 if walk.decider is None else len(walk.decider.slices) * len(carries),
        units=walk.cursor,
        rows=ranked(rows),
        not_asked=arms.refused,
        saved=saved(
            rows,
            {name: sum(one.purpose == "trial" for one in carry.replays.values()) for name, carry in carries.items()},
            sum(carry.plan.items for carry in carries.values()),
        ),
        spent_usd=None if None in spent else sum(one or 0.0 for one in spent),
        complete=all(carry.complete for carry in carries.values()),
        created_ns=time.time_ns(),
        note=NO_TESTS if walk.decider is None else "",
    )
    digest = put(control, "sweep", arms.route.name, sweep)
    verdicts = tuple(put_verdict(control, made, evidence, digest)[0] for made, evidence in drawn.values())
    return Swept(sweep=sweep, digest=digest, verdicts=verdicts)
