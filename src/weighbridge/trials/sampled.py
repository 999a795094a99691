"""A sample asked and graded whole, with nothing decided by it: what `trial tune` and `trial aa` have in common."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from weighbridge.config import Loaded
from weighbridge.grading.book import GraderBook
from weighbridge.records.table import Arm, Route, RouteTable
from weighbridge.store.control import ControlClient
from weighbridge.trials.carry import Carry
from weighbridge.trials.journal import Journal
from weighbridge.trials.log import TrialLog
from weighbridge.trials.plan import Settings, TrialPlan
from weighbridge.trials.prepare import prepare
from weighbridge.trials.replay import Progress, Stopped
from weighbridge.trials.run import Options, cap_nanousd, permitted_judges
from weighbridge.trials.walk import Walk


class SampleWalk(Walk):
    """Takes every planned unit: nothing is decided here, so nothing stops it early."""

    @property
    def all_decided(self) -> bool:
        return False

    def wanted(self, position: int) -> bool:
        del position
        return True


class Sampled(NamedTuple):
    carry: Carry
    stopped: Stopped
    last: str
    """What the endpoint said last, when it failed."""


@contextmanager
def sampled(
    loaded: Loaded,
    control: ControlClient,
    base_url: str,
    log: TrialLog,
    place: tuple[RouteTable, Route, Arm],
    asked: Settings,
    options: Options,
    *,
    plan_in_words: Callable[[TrialPlan], str],
    show: Callable[[Progress], None],
    say: Callable[[str], None],
    again: bool = False,
) -> Iterator[Sampled]:
    """Everything planned, asked and graded. Its journal is closed at the end of the block, unless that raises.

    again: the arm is the incumbent itself. Raises `WeighbridgeError` for everything a person can mend; what was
    answered is kept, and the next run goes on.
    """
    table, route, arm = place
    judges = permitted_judges(loaded, table, route)
    cap = cap_nanousd(options.max_usd, (arm, *judges.values()))
    line = options.line(base_url, control)
    graders = GraderBook(loaded, route.name, line.machines.workers)
    prepared = prepare(loaded, control, log, asked, table.number, graders=graders, again=again, fresh=options.fresh)
    plan = prepared.plan
    with Journal(log.layout.trial(plan.trial), plan) as journal:
        carry = Carry(log, prepared, graders, journal)
        carry.walk = SampleWalk(plan)
        carry.resume([], judges, say)
        purse = carry.purse(cap, arm, route)
        say(plan_in_words(plan))
        stopped, last = asyncio.run(carry.replay(line, judges, purse, arm, route, show))
        yield Sampled(carry, stopped, last)
        if carry.complete:
            journal.finish()
