"""What is kept of a sweep: the documented JSON shape of `trial sweep --json`."""

import msgspec

from weighbridge.records.evidence import VerdictWord

SWEEP_SCHEMA = "sweep/1"


class SweepRow(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate: its verdict, and its cost beside the incumbent's on the very same requests.

    `None` is unknown, never 0. The costs are per request, weighted by traffic, from replays that were judged.
    """

    candidate: str
    trial: str
    evidence: str
    """Digest of its evidence."""
    overall: VerdictWord
    slices: dict[str, VerdictWord]
    difference: float | None
    interval: tuple[float, float] | None
    pairs: int
    incumbent_usd_per_1000: float | None
    candidate_usd_per_1000: float | None
    saving: float | None
    """1 - candidate / incumbent on these rows. It means nothing without the verdict beside it."""
    frontier: bool
    """Not proved worse, and no other such candidate is both as cheap and as good by its estimate."""
    spent_usd: float | None
    """What the sweep paid for it."""
    spared: int
    """Replays that others made and this one was spared because it had lost, in that slice or on the whole."""
    settled: int
    """The same because it was certified."""
    left_out_at: int | None
    """The unit from which on it could not be asked any more; `None` where it could to the end."""
    reasons: tuple[str, ...]


class NotAsked(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate that may not be asked, and is no part of the family."""

    candidate: str
    reason: str


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """What stopping early saved, beside asking every candidate for every request that any of them was asked for."""

    replays: int
    """Made."""
    spared: int
    """Not made, because a candidate had lost."""
    settled: int
    """Not made, because a candidate was certified."""
    spared_usd: float | None
    """Of the spared ones, at each candidate's mean cost per replay."""
    unplanned: int
    """Replays of the plan that nobody needed."""


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    schema: str
    route: str
    incumbent: str
    margin: float
    alpha: float
    seed: int
    comparisons: int
    """Slices x candidates that share alpha."""
    units: int
    """How far the cursor came: what verification walks again."""
    rows: tuple[SweepRow, ...]
    """By verdict on the whole, then by cost."""
    not_asked: tuple[NotAsked, ...]
    saved: Saved
    spent_usd: float | None
    complete: bool
    created_ns: int
    note: str = ""
