"""The report as a record: what `report.json` holds, field for field, and all that the renderings may look at.

Money is integer nano-dollars, durations are nanoseconds, differences are candidate minus incumbent in [-1, 1]. `None`
is unknown, never 0.
"""

from typing import Literal

import msgspec

from weighbridge.grading.outcomes import TaskFigures
from weighbridge.ramp.story import RampStory
from weighbridge.records.evidence import CacheReads, LabelSource, LicenseWord, VerdictWord
from weighbridge.reports.page import FirstPage, Section

REPORT_SCHEMA = "report/1"

Answer = Literal["move", "do not move", "not enough evidence"]
GateWord = Literal["permitted", "refused", "unknown"]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every part of the report."""


class Recommendation(Row, frozen=True, kw_only=True):
    """The answer, the one reason that decided it, and what would change it."""

    answer: Answer
    why: str
    flips: tuple[str, ...]


class ArmMeasure(Row, frozen=True, kw_only=True):
    """What one arm used and took for the compared requests. Means are per request."""

    arm: str
    requests: int
    cost_nanousd: int | None
    """Sum over `requests`; `None` as soon as one is unknown."""
    cost_unknown: int
    """Requests whose cost is not known."""
    input_tokens: float | None
    cached_tokens: float | None
    """The part of `input_tokens` that was read from a cache."""
    output_tokens: float | None
    """Visible and reasoning tokens of the answer."""
    usage_unknown: int
    total_ns_p50: int | None
    total_ns_p95: int | None
    first_byte_ns_p50: int | None
    first_byte_ns_p95: int | None
    length_stops: int
    """Answers that ended at the token limit."""
    price_versions: tuple[str, ...]


class ErrorCount(Row, frozen=True, kw_only=True):
    """Calls that failed on the arm's side (error status, broken off, timed out) of all calls that reached an end."""

    calls: int
    errors: int
    seen_in: str
    """Which calls: the route's traffic, or the replays of the trial."""

    @property
    def rate(self) -> float | None:
        return self.errors / self.calls if self.calls else None


class Comparison(Row, frozen=True, kw_only=True):
    """Both arms on the same requests: those that both of them answered."""

    incumbent: ArmMeasure
    candidate: ArmMeasure
    incumbent_errors: ErrorCount
    candidate_errors: ErrorCount
    output_ratio: float | None
    """Tokens of the candidate's answers per token of the incumbent's."""


class Month(Row, frozen=True, kw_only=True):
    """Thirty days at the pace of the log. Only where the log spans a week or more."""

    requests: int
    now_nanousd: int
    then_nanousd: int
    span_days: float


class TracePoint(Row, frozen=True, kw_only=True):
    n: int
    mean: float
    low: float
    high: float


class Look(Row, frozen=True, kw_only=True):
    """An earlier verdict on the same route, candidate and slice."""

    trial: str | None
    created_ns: int
    verdict: VerdictWord
    n: int
    difference: float | None


class Loss(Row, frozen=True, kw_only=True):
    """A request that the candidate lost. Texts only where the report was asked to show them; redacted and shortened."""

    item: str
    incumbent: float
    candidate: float
    note: str | None
    prompt: str | None = None
    incumbent_answer: str | None = None
    candidate_answer: str | None = None


class SliceReport(Row, frozen=True, kw_only=True):
    """One slice (or the whole) and one candidate: the verdict, and on the same row what a move would cost and save."""

    slice: str
    candidate: str
    recommendation: Recommendation
    share: float | None
    """Of the route's user requests in the log (of the trial's frame where there is no log); `None` for the whole."""
    verdict: VerdictWord
    difference: float | None
    interval: tuple[float, float] | None
    n: int
    clusters: int
    decided_at: int | None
    label_source: LabelSource
    license: LicenseWord
    grader: str | None
    reasons: tuple[str, ...]
    incumbent_score: float | None
    candidate_score: float | None
    failed: int
    """Replays that could not be judged."""
    now_nanousd: float | None
    """Cost of a request with the incumbent: mean over the compared requests; for the whole weighted by traffic."""
    then_nanousd: float | None
    """The same requests with the candidate."""
    change: float | None
    """Relative change of the cost, -0.8 = 80 % less; `None` where a cost is unknown or the incumbent's is 0."""
    comparison: Comparison | None
    """`None` for the whole, and where the log does not hold the compared requests."""
    month: Month | None
    trace: tuple[TracePoint, ...]
    margin: float
    alpha: float
    trial: str | None
    looks: int
    """Verdicts so far on this slice and candidate, this one included."""
    earlier: tuple[Look, ...]
    losses: tuple[Loss, ...] = ()


class LicenseReport(Row, frozen=True, kw_only=True):
    word: LicenseWord
    terms: str | None
    obligations: tuple[str, ...]
    reasons: tuple[str, ...]
    on: str | None
    """The date the finding holds for; `None` where there is no finding."""


class Gate(Row, frozen=True, kw_only=True):
    """May prompts of the route be sent to the arm's endpoint?"""

    state: GateWord
    sentence: str


class ArmFacts(Row, frozen=True, kw_only=True):
    """An arm with where its prompts go. `None` is not stated."""

    arm: str
    model: str
    weights: str | None
    terms: str | None
    system_prompt_changed: bool
    endpoint: str
    host: str
    loopback: bool
    precision: str
    region: str | None
    retention_days: int | None
    trains_on_data: bool | None
    agreement: str | None
    price_input: int | None
    """Nano-dollars per million tokens."""
    price_output: int | None
    price_version: str | None


class Gap(Row, frozen=True, kw_only=True):
    """Something that was not tested: what, and the fact it follows from."""

    what: str
    fact: str


class TrialFacts(Row, frozen=True, kw_only=True):
    """A trial behind the rows, with what ties them to the log."""

    trial: str | None
    created_ns: int
    method: str
    margin: float
    alpha: float
    seed: int | None
    shuffled: bool | None
    table: int | None
    pairs: int
    exchanges: int | None
    first_time_ns: int | None
    last_time_ns: int | None
    left_out: dict[str, int]
    cost_usd: float | None
    span_digest: str | None
    evidence: str | None
    verdict: str
    findings: tuple[str, ...]
    note: str
    cache: CacheReads | None
    """What the candidate's cache served, measured; `None`: assumed to be what the order of the replays made of it."""
    moved: tuple[str, ...]
    """Where traffic has moved away from the judged sample since: warnings."""


class CandidateReport(Row, frozen=True, kw_only=True):
    arm: ArmFacts
    gate: Gate
    license: LicenseReport
    overall: SliceReport | None
    slices: tuple[SliceReport, ...]
    gaps: tuple[Gap, ...]
    trials: tuple[TrialFacts, ...]
    dossier: tuple[Section, ...] = ()
    """What the first page rests on, claim by claim."""


class Traffic(Row, frozen=True, kw_only=True):
    """What the log holds of a route's user requests."""

    requests: int
    first_time_ns: int | None
    last_time_ns: int | None
    answered: int
    cost_nanousd: int | None
    cost_unknown: int
    input_tokens: int
    output_tokens: int
    slices: dict[str, int]

    @property
    def span_days(self) -> float | None:
        if self.first_time_ns is None or self.last_time_ns is None:
            return None
        return (self.last_time_ns - self.first_time_ns) / 86_400e9


class Moved(Row, frozen=True, kw_only=True):
    """The best answer per slice, added up: what of the route may move, and what those same rows cost now and then."""

    share: float | None
    """Of the route's user requests."""
    slices: tuple[tuple[str, str], ...]
    """(slice, candidate) of each row that may move."""
    verdicts: tuple[VerdictWord, ...]
    """On each of `slices`, in their order: what the figures below rest on."""
    month: Month | None
    change: float | None
    """Relative change of the cost of those rows, weighted by traffic; `None` where nothing moves."""


class RouteReport(Row, frozen=True, kw_only=True):
    route: str
    aliases: tuple[str, ...]
    incumbent: ArmFacts
    traffic: Traffic
    answer: Answer
    headline: str
    candidates: tuple[CandidateReport, ...]
    moved: Moved
    unjudged: tuple[str, ...]
    """Slices seen in the traffic that no verdict covers."""
    note: str
    ramps: tuple[RampStory, ...] = ()
    """Oldest first: how traffic was moved, and came back."""
    first: FirstPage | None = None
    """What a buyer signs."""
    tasks: tuple[TaskFigures, ...] = ()
    """By arm; empty where no outcome of a conversation was told."""


class Report(Row, frozen=True, kw_only=True):
    schema: str
    created_ns: int
    version: str
    table: int | None
    """Number of the route table that arms and data terms are taken from."""
    config_digest: str | None
    log_head: str | None
    """SHA-256 of the last signed line of the log."""
    routes: tuple[RouteReport, ...]
    note: str = ""
