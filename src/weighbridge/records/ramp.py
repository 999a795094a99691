"""A ramp: the rollout of one candidate on one route, as it is kept, published and shown.

`RampPlan` is frozen when the ramp is proposed. `RampState` is where it stands, with a revision that only grows: every
change is a compare-and-swap on it. Each change is also an object in the signed log that names the one before, the
verdict that allowed it and who asked for it, so that history can be walked back from any route table.
"""

from typing import Literal

import msgspec

Stage = Literal[
    "proposed", "shadow", "canary", "few", "quarter", "half", "all", "settled", "paused", "rolled_back", "rejected"
]
STAGES: tuple[Stage, ...] = (
    "proposed", "shadow", "canary", "few", "quarter", "half", "all", "settled", "paused", "rolled_back", "rejected",
)  # fmt: skip
StickBy = Literal["conversation", "user", "key"]

RAMP_SCHEMA = "ramp/1"

Guardrail = Literal[
    "errors", "refusals", "broken", "schema", "tools", "outcomes", "first_byte", "latency", "cost", "tokens", "turns"
]
GUARDRAILS: tuple[Guardrail, ...] = (
    "errors", "refusals", "broken", "schema", "tools", "outcomes", "first_byte", "latency", "cost", "tokens", "turns",
)  # fmt: skip
"""`broken`: empty or cut off at its token limit. `schema`, `tools`: the answer does not obey the request's schema, or
calls a tool that was not offered or with arguments that do not parse. `outcomes`: the application told that the task
failed. The last five count what lies above the
incumbent's 90th percentile."""


class StageTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What a stage of one ramp serves and asks for before it may be left upwards."""

    stage: Stage
    basis_points: int
    """Of the route's traffic to the candidate."""
    hold_s: float
    conversations_min: int
    """Of the candidate, ended or not, since the stage began."""
    pairs_min: int
    """Judged, since the stage began."""


class RampPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Fixed when a ramp is proposed."""

    stages: tuple[StageTerms, ...]
    alpha: float
    """Any false rollback over the whole ramp, all streams together."""
    margin: float
    guardrails: tuple[Guardrail, ...]
    events_planned: int
    """Bad events of one guardrail, both arms, over the whole ramp."""
    slow_planned: int
    """The same for those that count what lies above a percentile."""
    pairs_planned: int
    quality: Literal["pairs", "answers"]
    """Judged pairs of both arms on one request, or judged answers of each arm to its own requests."""
    ratio: float
    """How many times the control's rate of bad events is allowed."""
    shadow_basis_points: int
    pair_basis_points: int
    copies_nanousd: int | None
    """What all copies of the ramp may cost; `None`: no limit was set."""
    approvals: int
    stick_by: StickBy
    verdict_s_max: float
    candidate_per_minute: int | None
    """Requests that the candidate's endpoint takes; `None`: unknown."""
    incumbent_per_minute: int | None
    """The same of the way back."""
    slices: tuple[str, ...] = ()
    """Slices that get quality streams of their own."""
    streams: Literal["finish", "cut"] = "finish"
    """What becomes of the candidate's open streams on a rollback."""

    def terms(self, stage: Stage) -> StageTerms | None:
        """Of a stage; `settled` serves what `all` served. `None` for stages without terms."""
        name = "all" if stage == "settled" else stage
        return next((row for row in self.stages if row.stage == name), None)


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    by: str
    time_ns: int
    up_to: Stage
    accepts: tuple[str, ...] = ()
    """Gates whose unknown answer this person takes upon themselves."""


class RampState(msgspec.Struct, frozen=True, kw_only=True):
    schema: str
    ramp: str
    route: str
    incumbent: str
    candidate: str
    identities: tuple[str, str]
    """What the incumbent's and the candidate's arm were when it was proposed (`Loaded.arm_identity`)."""
    prices: tuple[str | None, str | None]
    """The version and rates of their prices then."""
    verdict: str
    """Digest of the verdict that allows it."""
    finding: str | None
    proposed_by: str
    plan: RampPlan
    revision: int
    stage: Stage
    came_from: Stage | None
    """While paused: the stage whose share stands."""
    time_ns: int
    """Of the last change of stage; for people, never to measure a duration."""
    approvals: tuple[Approval, ...] = ()
    used: dict[str, int] = {}
    """Units that each stream had seen when the stage began."""
    copies_spent_nanousd: int = 0
    copies_of_stage_nanousd: int = 0
    """How much of it was spent since the stage began: whoever watches the stage counts it out of the log."""
    doubt_after: int = 0
    """Answers that this route table or an earlier one routed raise no doubt any more: somebody looked, and resumed."""
    assignment: int = 0
    """Goes up whenever a share goes down: remembered assignments of before do not hold any more."""
    prev: str | None = None
    """Digest of the object of the change before."""
    reasons: tuple[str, ...] = ()
    """Why the last change happened, in words."""
    by: str = ""
    baseline: dict[str, float] = {}
    """Once settled: upper bounds of the rates that the guardrails are held against."""
    slow_above: dict[str, float] = {}
    """The incumbent's 90th percentiles that the stage counts against."""

    @property
    def standing(self) -> Stage:
        """The stage whose share is in force."""
        return self.came_from if self.stage == "paused" and self.came_from is not None else self.stage

    @property
    def basis_points(self) -> int:
        """The candidate's share that this state allows."""
        if self.stage in ("proposed", "shadow", "rolled_back", "rejected"):
            return 0
        terms = self.plan.terms(self.standing)
        return 0 if terms is None else terms.basis_points

    @property
    def over(self) -> bool:
        return self.stage in ("rolled_back", "rejected")


class RampInForce(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a route table says of the ramp whose shares it holds."""

    record: str
    """Digest of the ramp's object that allowed these shares."""
    stage: Stage
    candidate: str
    stick_by: StickBy = "conversation"
    assignment: int = 0
    shadow_basis_points: int = 0
    """Requests of which a copy goes to the candidate; users never see its answer."""
    pair_basis_points: int = 0
    """Requests that the other arm is asked as well, for judged pairs."""
    copies_left_nanousd: int | None = None
    """What all copies may still cost, for each worker; the keeper stops them sooner."""


class StreamView(msgspec.Struct, frozen=True, kw_only=True):
    """One stream as it stands: how far its value is from the threshold."""

    name: str
    seen: int
    value: float
    threshold: float
    alarmed: bool
    candidate_bad: int | None = None
    candidate_n: int | None = None
    control_bad: int | None = None
    control_n: int | None = None


class GateView(msgspec.Struct, frozen=True, kw_only=True):
    """`open` is `None` where it is unknown, which is as good as closed."""

    name: str
    open: bool | None
    why: str


class ExposureView(msgspec.Struct, frozen=True, kw_only=True):
    """What is expected to reach users before an alarm, at the next stage. `None`: cannot be said."""

    stage: Stage
    harm: str
    requests: int | None
    nanousd: int | None


class RampStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON shape of `ramp status --json`, one of `ramps`."""

    state: RampState
    share_percent: float
    table: int
    held_s: float
    conversations: int
    """Of the candidate in this stage."""
    pairs: int
    waits_for: tuple[str, ...]
    streams: tuple[StreamView, ...]
    gates: tuple[GateView, ...]
    exposure: tuple[ExposureView, ...]
    override: bool = False
    """A local override holds the route at its incumbent."""


class RampList(msgspec.Struct, frozen=True, kw_only=True):
    ramps: tuple[RampStatus, ...]
    notes: tuple[str, ...] = ()


class RampPast(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON shape of `ramp history --json`: changes, oldest first."""

    route: str
    changes: tuple[RampState, ...]
