"""`trial aa`: the incumbent asked again, its second answers graded beside the captured ones. How noisy is the grader?

Both arms are the same, so nothing is judged and no verdict comes of it. What varies is what the provider's sampling and
the grader add to every verdict of this route; what leans to one side is a harness that favours a place or a run.
"""

import time
from collections.abc import Callable
from fractions import Fraction

import msgspec
import numpy as np

from weighbridge.config import Loaded
from weighbridge.errors import WeighbridgeError
from weighbridge.records.permission import arm_refusal
from weighbridge.records.table import Arm, Route, RouteTable
from weighbridge.stats.aa import check_differences
from weighbridge.store.control import ControlClient
from weighbridge.store.layout import Layout
from weighbridge.trials.carry import put
from weighbridge.trials.log import TrialLog
from weighbridge.trials.money import total_cost
from weighbridge.trials.pairs.rerun import RERUN_SCHEMA, Rerun, row_of
from weighbridge.trials.plan import Settings
from weighbridge.trials.replay import Progress, Stopped
from weighbridge.trials.run import Options, table_of
from weighbridge.trials.sampled import sampled
from weighbridge.trials.walk import Walk

AA_SCHEMA = "aa-run/1"


class LiveRerun(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON shape of `trial aa --json`, stored as it is."""

    schema: str
    trial: str
    route: str
    arm: str
    identity: str
    """What stood behind the incumbent's name: model, host, prompt."""
    graders: tuple[str, ...]
    """Kind and version, by slice as planned."""
    found: Rerun
    left_out: tuple[str, ...]
    """Slices with fewer than two units, of which nothing can be said."""
    unjudged: int
    """Replays that could not be judged; they are in no figure."""
    stopped: Stopped
    cost_usd: float | None
    """`None`: the log does not know it."""
    created_ns: int


def run_aa(
    loaded: Loaded,
    control: ControlClient,
    base_url: str,
    asked: Settings,
    options: Options,
    *,
    show: Callable[[Progress], None],
    say: Callable[[str], None],
) -> LiveRerun:
    """Ask the incumbent again for a sample of its answered requests. `asked.candidate` is the incumbent.

    Raises `WeighbridgeError` for everything a person can mend; what was answered is kept, and the next run goes on.
    """
    log = TrialLog(loaded)
    place = _permitted(log.layout, asked)
    _, route, arm = place
    with sampled(
        loaded, control, base_url, log, place, asked, options, again=True, show=show, say=say,
        plan_in_words=lambda plan: f"{plan.items} requests go to {arm.name} a second time; nothing is judged by it",
    ) as (carry, stopped, last):  # fmt: skip
        plan = carry.plan
        found, left_out = rerun_of(carry.walk)
        if not found.slices:
            why = f"; the endpoint said last: {last}" if last else ""
            raise WeighbridgeError(
                f"no slice of route {route.name} has two units that were answered again and graded ({stopped}{why})"
            )
        made = LiveRerun(
            schema=AA_SCHEMA,
            trial=plan.trial,
            route=route.name,
            arm=arm.name,
            identity=plan.arm,
            graders=tuple(f"{use.slice}: {use.kind} {use.version}" for use in plan.graders),
            found=found,
            left_out=left_out,
            unjudged=sum(len(rows) for rows in carry.walk.unjudged.values()),
            stopped=stopped,
            cost_usd=None if (cost := total_cost(carry.replays.values())) is None else cost / 1e9,
            created_ns=time.time_ns(),
        )
        put(control, "aa", route.name, made)
    return made


def rerun_of(walk: Walk) -> tuple[Rerun, tuple[str, ...]]:
    """What the units taken say by slice, in the planned order, and the slices that are too small. Pure."""
    settings = walk.plan.settings
    differences: dict[str, list[float]] = {}
    for unit, scored in walk.taken:
        # Exact: two equal scores differ by nothing, however they were summed.
        total = sum((Fraction(one.candidate) - Fraction(one.incumbent) for one in scored), Fraction(0))
        differences.setdefault(unit.slice, []).append(float(total / len(scored)))
    enough = {name: row for name, row in sorted(differences.items()) if len(row) >= 2}
    rows = tuple(
        row_of(name, check_differences(np.array(row), settings.margin, settings.alpha, len(enough)))
        for name, row in enough.items()
    )
    found = Rerun(
        schema=RERUN_SCHEMA,
        margin=settings.margin,
        alpha=settings.alpha,
        seed=settings.seed if settings.shuffle else None,
        slices=rows,
        even_handed=all(row.even_handed for row in rows),
    )
    return found, tuple(name for name in sorted(walk.plan.judged) if name not in enough)


def _permitted(layout: Layout, settings: Settings) -> tuple[RouteTable, Route, Arm]:
    """The published table, and that the send gate lets the incumbent be asked."""
    table = table_of(layout)
    route = table.route(settings.route)
    if route is None or settings.candidate != route.incumbent:
        raise WeighbridgeError(
            f"route table {table.number} does not have {settings.candidate} as the incumbent of {settings.route} yet: "
            "the configuration was edited since it was published. Reload it (SIGHUP to `weighbridge serve`)."
        )
    refused = arm_refusal(table, route, route.incumbent)
    if refused is not None:
        raise WeighbridgeError(f"a trial may not send prompts there: {refused}")
    return table, route, table.arm(route.incumbent)
