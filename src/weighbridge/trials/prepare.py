"""Before the first call: look at the traffic and freeze the plan, or find the plan of a run that has not ended."""

import time
from collections.abc import Callable, Iterable

import msgspec

from weighbridge.config import Loaded
from weighbridge.config.tree import RouteSection
from weighbridge.config.vectors import WHY, serves_embeddings
from weighbridge.errors import UsageError, WeighbridgeError
from weighbridge.grading.book import GraderBook
from weighbridge.grading.gold import GoldBook, load_gold
from weighbridge.records.exchange import Exchange
from weighbridge.records.trial import Split, trial_id
from weighbridge.store.control import ControlClient
from weighbridge.store.layout import Layout
from weighbridge.trials.frame import (
    EMBEDDINGS,
    NO_GOLD,
    NO_GRADER,
    NOT_SAMPLED,
    Frame,
    Item,
    build_frame,
    order_items,
    span_of,
)
from weighbridge.trials.journal import is_finished
from weighbridge.trials.log import TrialLog
from weighbridge.trials.plan import PLAN_SCHEMA, Settings, TrialPlan, plans_of, store_plan, tuned_route


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    plan: TrialPlan
    items: dict[str, Item]
    """The plan's items that can still be replayed, by id; an item of the plan that is missing was erased."""
    said: tuple[str, ...]
    """What a person should know before money is spent."""


def route_named(loaded: Loaded, name: str) -> RouteSection:
    """The route by name or alias. Raises `UsageError`."""
    routes = loaded.config.route
    route = next((row for row in routes if row.name == name or name in row.aliases), None)
    if route is None:
        known = ", ".join(row.name for row in routes) or "none"
        raise UsageError(f"--route {name}: {loaded.file} has no such route; it has: {known}")
    return route


def route_of(loaded: Loaded, name: str, candidate: str) -> RouteSection:
    """The route by name or alias, with its candidate checked. Raises `UsageError`."""
    route = route_named(loaded, name)
    if serves_embeddings(loaded.config, route):
        raise UsageError(f"--route {name}: nothing is tried on it: {WHY}")
    if candidate == route.incumbent:
        raise UsageError(f"--candidate {candidate}: it is the incumbent of route {route.name}; name another arm")
    if candidate not in route.candidates:
        known = ", ".join(route.candidates) or "none"
        raise UsageError(
            f"--candidate {candidate}: not a candidate of route {route.name}, which has: {known}. "
            f"Add it to `candidates` of [[route]] {route.name}."
        )
    return route


def frame_of(
    loaded: Loaded,
    log: TrialLog,
    route: RouteSection,
    graders: GraderBook,
    gold: GoldBook,
    only_slice: str | None,
    exchanges: Iterable[Exchange] | None = None,
    split: Split | None = None,
) -> Frame:
    """The frame of a route. Raises `WeighbridgeError` with the next step where there is nothing to look at."""
    source = log.users(route.name) if exchanges is None else exchanges
    frame = build_frame(source, route.name, loaded.arm(route.incumbent), graders, gold, log.body, only_slice, split)
    if not frame.traffic:
        what = f"slice {only_slice!r} of route {route.name!r}" if only_slice else f"route {route.name!r}"
        reason = ", ".join(f"{count} {name}" for name, count in frame.left_out.items())
        raise WeighbridgeError(
            f"there is no answered traffic on {what} in {log.layout.root}" + (f" ({reason})" if reason else "") + ". "
            "Send requests through `weighbridge serve` first; `weighbridge exchanges list` shows what is there."
        )
    return frame


def split_for(loaded: Loaded, candidate: str) -> Split | None:
    """The half of the traffic that verdicts about an arm may come from; `None` for all of it."""
    return None if loaded.arm(candidate).tuned_on is None else "b"


def split_of_arm(
    loaded: Loaded, control: ControlClient, layout: Layout, settings: Settings, earlier: Iterable[TrialPlan]
) -> Split | None:
    """The half that a trial of `settings` may use, by the configuration and by what the store remembers.

    Once tuned, always tuned: taking the word out of the configuration does not bring split A back. And once split A of
    a route has been looked at (`trial tune`), no prompt on it is free of that, whatever arm carries it.
    """
    if settings.split == "a":
        return "a"
    identity = loaded.arm_identity(settings.candidate)
    if any(plan.settings.split is not None for plan in earlier if plan.arm == identity):
        return "b"
    if adapted_arm(loaded, settings.candidate) and tuned_route(control, layout, settings.route):
        return "b"
    return split_for(loaded, settings.candidate)


def adapted_arm(loaded: Loaded, candidate: str) -> bool:
    """Does an arm carry a prompt of its own, so that there is something to tune?"""
    return loaded.arm(candidate).system_prompt_file is not None


def nothing_usable(frame: Frame, captures: bool) -> str | None:
    """Why no item can be used, with what to do; `None` where some can."""
    if frame.items:
        return None
    counts = ", ".join(f"{count} {name}" for name, count in frame.left_out.items())
    step = "see the counts above"
    if set(frame.left_out) <= {NO_GRADER, "not answered"}:
        step = f'no slice of the route has a grader: add a [[grader]] with route = "{frame.route}"'
    elif set(frame.left_out) <= {EMBEDDINGS, "not answered"}:
        step = (
            "they stay with the incumbent for good: vectors of two models do not compare, an index of both is corrupted"
        )
    elif frame.left_out.get("no body captured"):
        step = (
            "requests and answers were not captured: set capture.bodies = true with a purpose and an approver"
            if not captures
            else "this traffic is from before capture.bodies was set; send some now"
        )
    elif frame.left_out.get(NO_GOLD):
        step = "import reference answers with `weighbridge gold import FILE`, matched by prompt or tags"
    total = sum(row.exchanges for row in frame.traffic)
    return f"none of the {total} exchanges of route {frame.route!r} can be used ({counts}); {step}"


def unjudged_slices(frame: Frame, graders: GraderBook) -> dict[str, str]:
    """Slice -> why nothing of it can be judged."""
    found = {}
    for row in frame.traffic:
        if graders.of(row.slice) is None:
            found[row.slice] = NO_GRADER
        elif not row.usable:
            counts = ", ".join(f"{count} {name}" for name, count in row.left_out.items())
            found[row.slice] = f"no usable exchange: {counts}"
    return found


def prepare(
    loaded: Loaded,
    control: ControlClient,
    log: TrialLog,
    settings: Settings,
    table: int,
    *,
    graders: GraderBook | None = None,
    again: bool = False,
    fresh: bool = False,
    wall_ns: Callable[[], int] = time.time_ns,
) -> Prepared:
    """The plan to carry out: an unfinished one with the same settings, else a new one, which is stored here.

    graders: those of the route, where they are built already. again: it is the incumbent that is asked (`trial aa`).
    """
    route = route_named(loaded, settings.route) if again else route_of(loaded, settings.route, settings.candidate)
    settings = msgspec.structs.replace(settings, route=route.name)
    graders = GraderBook(loaded, route.name) if graders is None else graders
    gold, gold_names = load_gold(control, log.layout)
    earlier = plans_of(control, log.layout, settings)
    split = split_of_arm(loaded, control, log.layout, settings, earlier)
    settings = msgspec.structs.replace(settings, split=split)
    frame = frame_of(loaded, log, route, graders, gold, settings.only_slice, split=split)
    same = [plan for plan in earlier if plan.settings == settings and plan.incumbent == route.incumbent]
    open_plan = same[-1] if same and not is_finished(log.layout.trial(same[-1].trial)) else None
    arm = loaded.arm_identity(settings.candidate)
    new = planned(
        frame,
        route,
        arm,
        graders,
        gold_names,
        settings,
        table,
        earlier,
        wall_ns(),
        adapted_arm(loaded, settings.candidate),
    )
    if open_plan is not None and not fresh and open_plan.trial != new.trial and judged_alike(open_plan, new):
        going_on = (
            f"going on with trial {open_plan.trial}, which has not ended; traffic since then waits for the next (or "
            "--fresh)"
        )
        return Prepared(plan=open_plan, items=items_of(open_plan, frame), said=(going_on,))
    kept = next((plan for plan in reversed(earlier) if plan.trial == new.trial and _same_question(plan, new)), None)
    if kept is not None:
        return Prepared(plan=kept, items=items_of(kept, frame), said=())
    refusal = nothing_usable(frame, loaded.config.capture.bodies)
    if refusal is not None and not any(graders.of(row.slice) is None for row in frame.traffic):
        raise WeighbridgeError(refusal)
    store_plan(control, new)
    said: list[str] = []
    if open_plan is not None and open_plan.trial != new.trial:
        reason = "as asked" if fresh else "graders or gold answers are others than when it was planned"
        said.append(f"trial {open_plan.trial} is left unfinished, {reason}")
    if new.look > 1:
        said.append(
            f"this is look {new.look} at {route.name}/{settings.candidate}: the span is another one than before, and "
            "picking the best of several looks is not covered by alpha"
        )
    return Prepared(plan=new, items=items_of(new, frame), said=tuple(said))


def judged_alike(one: TrialPlan, other: TrialPlan) -> bool:
    """The same arm, by the same graders as far as both use them, and the same gold: else two kinds would be mixed."""
    uses = {use.slice: use for use in other.graders}
    return (
        one.arm == other.arm and one.gold == other.gold and all(uses.get(use.slice, use) == use for use in one.graders)
    )


def _same_question(one: TrialPlan, other: TrialPlan) -> bool:
    return one.gold == other.gold and one.graders == other.graders and one.units == other.units


def items_of(plan: TrialPlan, frame: Frame) -> dict[str, Item]:
    names = {name for unit in plan.units for name in unit.items}
    return {item.id: item for item in frame.items if item.id in names}


def planned(
    frame: Frame,
    route: RouteSection,
    arm: str,
    graders: GraderBook,
    gold: tuple[str, ...],
    settings: Settings,
    table: int,
    earlier: list[TrialPlan],
    now_ns: int,
    adapted: bool = False,
) -> TrialPlan:
    unjudged = unjudged_slices(frame, graders)
    judged = {name: weight for name, weight in frame.weights.items() if name not in unjudged}
    ordered = order_items(frame.items, judged, settings.seed, shuffle=settings.shuffle, sample=settings.sample)
    by_id = {item.id: item for item in frame.items}
    items = [by_id[name] for unit in ordered.units for name in unit.items]
    left_out = dict(frame.left_out)
    if ordered.left_out:
        left_out[NOT_SAMPLED] = ordered.left_out
    span = span_of(route.name, items, left_out)
    # The order of the log is not a shuffle by any seed: another trial.
    seed = settings.seed if settings.shuffle else None
    member = arm if not settings.family else f"{arm} of {', '.join(settings.family)}"
    if settings.gap_max_s is not None:
        member += f" as it came, gaps up to {settings.gap_max_s:g} s"
    trial = trial_id(route.name, member, span.digest, settings.margin, settings.alpha, seed)
    uses = tuple(row.use(name) for name in sorted(judged) if (row := graders.of(name)) is not None)
    return TrialPlan(
        schema=PLAN_SCHEMA,
        trial=trial,
        settings=settings,
        incumbent=route.incumbent,
        arm=arm,
        table=table,
        span=span,
        weights=frame.weights,
        counts=ordered.counts,
        units=ordered.units,
        graders=uses,
        gold=gold,
        unjudged=unjudged,
        hand_written=any(item.hand_written for item in items),
        look=1
        + len(
            {
                plan.trial
                for plan in earlier
                if plan.settings.only_slice == settings.only_slice and plan.settings.split != "a"
            }
            - {trial}
        ),
        adapted=adapted,
        created_ns=now_ns,
    )
