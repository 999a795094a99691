"""Paired scores, the verdict drawn from them, and what a licence means for it.

A verdict names its evidence and findings by digest; evidence names the span of exchanges that it came from.
"""

from typing import Literal

import msgspec

from weighbridge.records.trial import Split

VerdictWord = Literal["non_inferior", "inferior", "undecided"]
LabelSource = Literal["check", "gold", "agreement", "judge", "judge+human", "human", "none"]
LicenseWord = Literal["allowed", "obligations", "permission", "permission_fee_expected", "fee", "prohibited", "unclear"]

EVIDENCE_SCHEMA = "evidence/1"
VERDICT_SCHEMA = "verdict/1"
FINDING_SCHEMA = "finding/1"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What the terms of an arm mean for the organisation. `reasons` are sentences with their source."""

    schema: str
    arm: str
    terms: str | None
    verdict: LicenseWord
    obligations: tuple[str, ...]
    reasons: tuple[str, ...]
    on: str
    """The date it holds for, ISO."""


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """The exchanges that a trial looked at: which, and a digest over what the log said of them."""

    route: str
    first_time_ns: int
    last_time_ns: int
    exchanges: int
    left_out: dict[str, int]
    """Reason -> how many exchanges of the span were not used (no body, failed, redacted, no gold, ...)."""
    digest: str
    """SHA-256 over `id SP exchange-digest LF` of each exchange of the frame, in the trial's order."""


class GraderUse(msgspec.Struct, frozen=True, kw_only=True):
    """The grader of a slice, as evidence: its version and settings are part of the hash."""

    slice: str
    kind: str
    version: str
    extract: str
    reference: Literal["gold", "incumbent", "none"]
    settings_digest: str


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """One unit: the same request answered by both arms, each graded in [0, 1]."""

    item: str
    """Id of the incumbent's exchange."""
    item_digest: str
    replay: str | None
    """Id of the candidate's exchange; `None` where it could not be made (see `failure`)."""
    replay_digest: str | None
    cluster: str
    slice: str
    incumbent: float
    candidate: float
    failure: str | None = None
    """Why the candidate's score is 0 without an answer to grade (refusal, timeout)."""
    note: str | None = None
    """What the graders said, shortened: for people who look at losses."""
    length: float | None = None
    """Where a judge compared the answers: (candidate's length - incumbent's) / their sum, in [-1, 1]."""


class CacheReads(msgspec.Struct, frozen=True, kw_only=True):
    """What the candidate's prompt cache served while the requests came as users had sent them."""

    gap_max_s: float
    """Gaps between arrivals were kept up to this, in seconds."""
    replays: int
    """Answered replays that told their usage."""
    input_tokens: int
    read_tokens: int
    """The part of `input_tokens` that was read from a cache, as the candidate's host told it."""

    @property
    def share(self) -> float | None:
        return self.read_tokens / self.input_tokens if self.input_tokens else None


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    schema: str
    trial: str
    route: str
    incumbent: str
    candidate: str
    table: int
    span: Span
    graders: tuple[GraderUse, ...]
    margin: float
    alpha: float
    seed: int
    shuffled: bool
    weights: dict[str, float]
    """Traffic weight of each slice, frozen from the log span; they sum to 1."""
    pairs: tuple[Pair, ...]
    failed: dict[str, int]
    """Slice -> replays that could not be judged (unknown model, failing endpoint); they keep the slice undecided."""
    split: Split | None = None
    """`b`: the arm's prompt was tuned on split A, and every pair is of split B."""
    cache: CacheReads | None = None
    """Measured (`--keep-order`); `None`: replays came in another order than the traffic, so it can only be assumed."""
    only_slice: str | None = None
    """`--slice`: it speaks for this slice alone, and for no mix."""
    note: str = ""
    """Said wherever the evidence is shown, e.g. that the incumbent's answers were hand-written."""


class SliceVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """`difference` is candidate minus incumbent in [-1, 1]; `interval` = [low, high] at level 1 - 2 alpha."""

    slice: str
    n: int
    clusters: int
    difference: float | None
    interval: tuple[float, float] | None
    verdict: VerdictWord
    decided_at: int | None
    label_source: LabelSource
    license: LicenseWord
    reasons: tuple[str, ...]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON shape of `trial run --json` and `verdict --json`, plus what ties it to its evidence."""

    schema: str
    route: str | None
    candidate: str | None
    verdicts: tuple[SliceVerdict, ...]
    overall: SliceVerdict
    margin: float
    alpha: float
    method: str
    seed: int | None
    cost_usd: float | None
    trial: str | None = None
    incumbent: str | None = None
    evidence: str | None = None
    findings: tuple[str, ...] = ()
    created_ns: int = 0
    note: str = ""
    cache: CacheReads | None = None
    """As in the evidence."""
    moved: tuple[str, ...] = ()
    """Where traffic had moved away from the judged sample by the time this was drawn: warnings."""
    sweep: str | None = None
    """Digest of the sweep in whose family this was decided; `None` where the candidate was judged alone."""
