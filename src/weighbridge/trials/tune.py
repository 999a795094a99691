"""`trial tune`: how an arm's prompt does on split A, for whoever writes it. It sees nothing else and decides nothing.

The plan is stored before the first body is read, as any plan is. From then on the store remembers that split A of the
route has been looked at: every arm of the route that carries a prompt of its own is judged on split B only, and
`weighbridge verify` finds a verdict that is not.
"""

from collections.abc import Callable

import msgspec

from weighbridge.config import Loaded
from weighbridge.store.control import ControlClient
from weighbridge.trials.log import TrialLog
from weighbridge.trials.outcome import Scored
from weighbridge.trials.plan import Settings
from weighbridge.trials.replay import Progress, Stopped
from weighbridge.trials.run import Options, permitted
from weighbridge.trials.sampled import sampled
from weighbridge.trials.walk import Walk

TUNING_SCHEMA = "tuning/1"


class TuningSlice(msgspec.Struct, frozen=True, kw_only=True):
    """Mean scores on the same requests of split A."""

    slice: str
    pairs: int
    incumbent: float
    candidate: float


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """One request of split A that the arm did worse on."""

    item: str
    """Its exchange: `weighbridge exchanges show ID` has the texts."""
    replay: str | None
    slice: str
    incumbent: float
    candidate: float
    note: str


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON shape of `trial tune --json`. Not a verdict, and none may be drawn from it."""

    schema: str
    trial: str
    route: str
    arm: str
    identity: str
    split: str
    planned: int
    slices: tuple[TuningSlice, ...]
    losses: tuple[Loss, ...]
    """Worst first."""
    unjudged: int
    stopped: Stopped
    note: str


def run_tuning(
    loaded: Loaded,
    control: ControlClient,
    base_url: str,
    asked: Settings,
    options: Options,
    *,
    show: Callable[[Progress], None],
    say: Callable[[str], None],
) -> Tuning:
    """Replay a sample of split A to an arm and grade it. `asked.split` is `a`. Raises as `run_trial` does."""
    log = TrialLog(loaded)
    place = permitted(loaded, log.layout, asked)
    with sampled(
        loaded, control, base_url, log, place, asked, options, show=show, say=say,
        plan_in_words=lambda plan: (
            f"{plan.items} requests of split A are planned; verdicts on prompts of this route come from split B"
        ),
    ) as found:  # fmt: skip
        return tuning_of(found.carry.walk, found.stopped)


def tuning_of(walk: Walk, stopped: Stopped) -> Tuning:
    """What a walk over split A says. Pure."""
    plan = walk.plan
    rows: dict[str, list[Scored]] = {}
    losses: list[Loss] = []
    for unit, scored in walk.taken:
        rows.setdefault(unit.slice, []).extend(scored)
        losses += [
            Loss(
                item=one.item, replay=one.replay, slice=unit.slice, incumbent=one.incumbent, candidate=one.candidate,
                note=one.failure or one.note,
            )
            for one in scored
            if one.candidate < one.incumbent
        ]  # fmt: skip
    return Tuning(
        schema=TUNING_SCHEMA,
        trial=plan.trial,
        route=plan.settings.route,
        arm=plan.settings.candidate,
        identity=plan.arm,
        split="a",
        planned=plan.items,
        slices=tuple(
            TuningSlice(
                slice=name,
                pairs=len(found),
                incumbent=sum(one.incumbent for one in found) / len(found),
                candidate=sum(one.candidate for one in found) / len(found),
            )
            for name, found in sorted(rows.items())
        ),
        losses=tuple(sorted(losses, key=lambda loss: (loss.candidate - loss.incumbent, loss.item))),
        unjudged=sum(len(found) for found in walk.unjudged.values()),
        stopped=stopped,
        note="Scores on the split that prompts are tuned on: no verdict, and never part of one.",
    )
