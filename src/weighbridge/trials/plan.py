"""The frozen plan of a trial: everything that was decided before the first call, stored before the first call.

One trial is (route, candidate, span, margin, alpha, seed). A rerun finds its plan and goes on; a new span is another
look at the same question, and verdicts of several looks are not one verdict: that is said.
"""

from typing import TypeVar

import msgspec

from weighbridge.errors import WeighbridgeError
from weighbridge.records.canonical import canonical, digest, parse
from weighbridge.records.evidence import GraderUse, Span
from weighbridge.records.trial import Split
from weighbridge.store.control import ControlClient, ListObjects, ObjectList, ObjectRow, PutObject
from weighbridge.store.layout import Layout
from weighbridge.trials.frame import Unit

PLAN_SCHEMA = "trial/1"

T = TypeVar("T", bound=msgspec.Struct)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a person asks for. The same settings with an unfinished plan resume it."""

    route: str
    candidate: str
    margin: float
    alpha: float
    seed: int = 0
    shuffle: bool = True
    only_slice: str | None = None
    sample: int | None = None
    split: Split | None = None
    """`b` where the arm's prompt was, or may have been, tuned on split A: set by `prepare`. `a` is asked for by `trial
    tune` alone: such a plan is the record that split A was looked at, and no verdict comes of it."""
    gap_max_s: float | None = None
    """`--keep-order`: replays are sent as the traffic came, with gaps up to so many seconds; `None`: in the order of
    the tests. Another trial, since it asks for its own answers."""
    family: tuple[str, ...] = ()
    """Of a sweep: all its candidates with their identities. Decided in another family it is another trial."""


class TrialPlan(msgspec.Struct, frozen=True, kw_only=True):
    schema: str
    trial: str
    settings: Settings
    incumbent: str
    arm: str
    """Identity of the candidate arm, `Loaded.arm_identity`: what stood behind its name when the trial was planned."""
    table: int
    span: Span
    weights: dict[str, float]
    """Traffic weight of every slice of the span, judged or not; they sum to 1."""
    counts: dict[str, int]
    """Units per judged slice in the whole frame."""
    units: tuple[Unit, ...]
    graders: tuple[GraderUse, ...]
    gold: tuple[str, ...]
    """Digests of the gold files in force."""
    unjudged: dict[str, str]
    """Slice -> why no item of it can be judged."""
    hand_written: bool
    adapted: bool = False
    """Did the arm carry a prompt of its own?"""
    look: int
    """1 for the first trial of this route and candidate, 2 for the second span, ..."""
    created_ns: int

    @property
    def items(self) -> int:
        return sum(len(unit.items) for unit in self.units)

    @property
    def judged(self) -> dict[str, float]:
        """Weights of the slices that are judged, not normalised."""
        return {name: weight for name, weight in self.weights.items() if name not in self.unjudged}


def label(settings: Settings) -> str:
    """How objects about a route and candidate are listed."""
    return f"{settings.route}/{settings.candidate}"


def store_plan(control: ControlClient, plan: TrialPlan) -> ObjectRow:
    return control.call(PutObject(kind="trial", label=label(plan.settings), body=canonical(plan)), ObjectRow)


def plans_of(control: ControlClient, layout: Layout, settings: Settings) -> list[TrialPlan]:
    """All plans of a route and candidate, oldest first."""
    rows = control.call(ListObjects(kind="trial"), ObjectList).rows
    return [read_object(layout, row.digest, TrialPlan) for row in rows if row.label == label(settings)]


def read_object(layout: Layout, name: str, kind: type[T]) -> T:
    """A stored object, checked against its digest. Raises `WeighbridgeError`."""
    try:
        stored = layout.object(name).read_bytes()
    except OSError as error:
        raise WeighbridgeError(f"object {name[:12]} cannot be read from the store: {error.strerror}") from None
    if digest(stored) != name:
        raise WeighbridgeError(f"object {name[:12]} in the store was changed; run `weighbridge verify`")
    try:
        return parse(stored, kind)
    except ValueError as error:
        raise WeighbridgeError(f"object {name[:12]}: {error}") from None


def tuned_route(control: ControlClient, layout: Layout, route: str) -> bool:
    """Has somebody looked at split A of this route to tune a prompt?"""
    rows = control.call(ListObjects(kind="trial"), ObjectList).rows
    mine = [row for row in rows if row.label.startswith(f"{route}/")]
    return any(read_object(layout, row.digest, TrialPlan).settings.split == "a" for row in mine)


def earlier_trials(control: ControlClient, layout: Layout, plan: TrialPlan) -> list[str]:
    """Trials before this one that asked the very same arm, whatever their span, oldest first."""
    plans = plans_of(control, layout, plan.settings)
    return list(dict.fromkeys(one.trial for one in plans if one.arm == plan.arm and one.trial != plan.trial))
