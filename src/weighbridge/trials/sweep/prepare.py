"""One frame and one order for all candidates of a sweep; plans are stored before the first call."""

import time
from collections.abc import Callable, Sequence

import msgspec

from weighbridge.config import Loaded
from weighbridge.errors import WeighbridgeError
from weighbridge.grading.book import GraderBook
from weighbridge.grading.gold import load_gold
from weighbridge.records.trial import Split
from weighbridge.store.control import ControlClient
from weighbridge.trials.journal import is_finished
from weighbridge.trials.log import TrialLog
from weighbridge.trials.plan import Settings, TrialPlan, plans_of, store_plan
from weighbridge.trials.prepare import (
    Prepared,
    adapted_arm,
    frame_of,
    items_of,
    judged_alike,
    nothing_usable,
    planned,
    route_of,
)
from weighbridge.trials.prepare import split_of_arm as split_of


def prepare_sweep(
    loaded: Loaded,
    control: ControlClient,
    log: TrialLog,
    asked: Settings,
    candidates: Sequence[str],
    table: int,
    graders: GraderBook,
    *,
    fresh: bool = False,
    wall_ns: Callable[[], int] = time.time_ns,
) -> tuple[dict[str, Prepared], tuple[str, ...]]:
    """The plans to carry out, by candidate, and what a person should know. `asked.candidate` is not looked at.

    Where one of the candidates was tuned, all are judged on split B: an item is a step for all of them.
    """
    route = route_of(loaded, asked.route, candidates[0])
    gold, gold_names = load_gold(control, log.layout)
    family = tuple(f"{name} {loaded.arm_identity(name)}" for name in candidates)
    mine = [
        msgspec.structs.replace(asked, route=route.name, candidate=name, family=family, split=None)
        for name in candidates
    ]
    earlier = [plans_of(control, log.layout, one) for one in mine]
    splits = [split_of(loaded, control, log.layout, one, rows) for one, rows in zip(mine, earlier, strict=True)]
    split: Split | None = "b" if "b" in splits else None
    mine = [msgspec.structs.replace(one, split=split) for one in mine]
    frame = frame_of(loaded, log, route, graders, gold, asked.only_slice, split=split)
    refusal = nothing_usable(frame, loaded.config.capture.bodies)
    if refusal is not None:
        raise WeighbridgeError(refusal)
    now = wall_ns()
    new = [
        planned(
            frame,
            route,
            loaded.arm_identity(one.candidate),
            graders,
            gold_names,
            one,
            table,
            rows,
            now,
            adapted_arm(loaded, one.candidate),
        )
        for one, rows in zip(mine, earlier, strict=True)
    ]
    said: list[str] = []
    kept = None if fresh else _unfinished(log, new, earlier)
    same = _stored(new, earlier)
    if kept is not None and kept[0].trial != new[0].trial:
        said.append("going on with a sweep that has not ended; traffic since then waits for the next (or --fresh)")
    plans = kept or same
    if plans is None:
        for plan in new:
            store_plan(control, plan)
        plans = new
        if max(plan.look for plan in plans) > 1:
            said.append(
                "some of these candidates were looked at before; picking the best of several looks is not covered by "
                "alpha"
            )
    if split is not None:
        said.append("a candidate's prompt was tuned on split A: all are judged on split B")
    return {plan.settings.candidate: Prepared(plan=plan, items=items_of(plan, frame), said=()) for plan in plans}, (
        *said,
    )


def _unfinished(
    log: TrialLog, new: Sequence[TrialPlan], earlier: Sequence[Sequence[TrialPlan]]
) -> list[TrialPlan] | None:
    """The plans of the latest sweep with the same settings, if one of them has not ended."""
    found: list[TrialPlan] = []
    for plan, rows in zip(new, earlier, strict=True):
        same = [row for row in rows if row.settings == plan.settings and judged_alike(row, plan)]
        if not same:
            return None
        found.append(same[-1])
    if len({(plan.span.digest, plan.created_ns) for plan in found}) > 1:
        return None
    return None if all(is_finished(log.layout.trial(plan.trial)) for plan in found) else found


def _stored(new: Sequence[TrialPlan], earlier: Sequence[Sequence[TrialPlan]]) -> list[TrialPlan] | None:
    """Plans of the very same sweep that are in the store already."""
    found: list[TrialPlan] = []
    for plan, rows in zip(new, earlier, strict=True):
        kept = next((row for row in reversed(rows) if row.trial == plan.trial and row.units == plan.units), None)
        if kept is None or not judged_alike(kept, plan):
            return None
        found.append(kept)
    return found
