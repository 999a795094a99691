"""What a report is made from: the route table, the signed objects, and sums over the log (`sums` makes them)."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from weighbridge.grading.outcomes import TaskFigures
from weighbridge.ramp.story import RampStory
from weighbridge.records.evidence import Evidence, Finding, Verdict
from weighbridge.records.table import RouteTable
from weighbridge.reports.facts import NO_FACTS, Facts
from weighbridge.trials.aa import LiveRerun

ARM_FAILED = ("upstream_error", "upstream_cut", "timeout")
"""Outcomes that are the arm's fault: not the client's who left, and not ours who refused."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One stored verdict with what it names. `evidence` is `None` where the object is missing (verify says so)."""

    digest: str
    verdict: Verdict
    evidence: Evidence | None
    findings: tuple[Finding, ...]


class KeptCall(msgspec.Struct, frozen=True, kw_only=True):
    """One exchange that some verdict compared, as far as a report looks at it."""

    time_ns: int
    stream: bool
    cost_nanousd: int | None
    price_version: str | None
    input_tokens: int | None
    """All classes of input; the tokens are `None` where the provider told no usage."""
    cached_tokens: int | None
    output_tokens: int | None
    """Reasoning included."""
    duration_ns: int | None
    first_byte_ns: int | None
    cut: bool
    """Its answer ended at the token limit."""
    called_tools: bool


@dataclass(slots=True)
class Calls:
    """Calls that reached an end: not refused by us, not lost."""

    calls: int = 0
    errors: int = 0


@dataclass(slots=True)
class RouteCalls:
    """The user traffic of one route."""

    requests: int = 0
    answered: int = 0
    first_time_ns: int | None = None
    last_time_ns: int | None = None
    cost_nanousd: int = 0
    cost_unknown: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    slices: Counter[str] = field(default_factory=Counter)
    slice_nanousd: Counter[str] = field(default_factory=Counter)
    """Of what is known."""
    input_tokens_max: int = 0
    """Of a call that reached an end."""
    busiest_minute: int = 0
    """Calls that reached an end and began in one minute of the clock, at most."""


@dataclass(slots=True)
class Beside:
    """What calls of one purpose other than `user` cost a route."""

    calls: int = 0
    cost_nanousd: int = 0
    cost_unknown: int = 0


@dataclass(slots=True)
class Answering:
    """How an arm answered users of a route: every call that reached an end."""

    calls: int = 0
    errors: int = 0
    limited: int = 0
    """Attempts that the endpoint refused with status 429."""
    buckets: Counter[int] = field(default_factory=Counter)
    """Durations in steps of two per cent: ten million of them take no memory."""

    def took(self, share: float) -> int | None:
        """Nanoseconds that at least `share` of the calls did not exceed, to two per cent; `None` of nothing."""
        left = share * self.buckets.total()
        for bucket in sorted(self.buckets):
            left -= self.buckets[bucket]
            if left <= 0:
                return round(math.exp(bucket / 50))
        return None


@dataclass(slots=True)
class Seen:
    """The log as a report sees it: sums, and the calls that some verdict compared. Times are whole microseconds."""

    since: dict[str, Counter[str]] = field(default_factory=dict)
    """Verdict -> answered user requests since its span, by slice."""
    routes: dict[str, RouteCalls] = field(default_factory=dict)
    user: dict[tuple[str, str, str], Calls] = field(default_factory=dict)
    """(route, slice, arm) -> the user calls that the arm answered or failed to answer."""
    trials: dict[tuple[str, str], Calls] = field(default_factory=dict)
    """(trial, slice) -> the replays."""
    minutes: dict[str, Counter[int]] = field(default_factory=dict)
    """Trial -> minute of the clock -> replays that began in it and reached an end."""
    kept: dict[str, KeptCall] = field(default_factory=dict)
    tasks: tuple[TaskFigures, ...] = ()
    """Of routes for which outcomes were told."""
    beside: dict[tuple[str, str], Beside] = field(default_factory=dict)
    """(route, purpose) -> what it cost; `user` is not among them."""
    answering: dict[tuple[str, str], Answering] = field(default_factory=dict)
    """(route, arm) -> how it answered users."""


@dataclass(frozen=True, slots=True)
class Inputs:
    table: RouteTable
    judged: tuple[Judged, ...]
    """Oldest first."""
    seen: Seen
    log_head: str | None
    now_ns: int
    ramps: Mapping[str, tuple[RampStory, ...]] = field(default_factory=dict)
    """By route, oldest first."""
    facts: Facts = NO_FACTS
    reruns: Mapping[str, LiveRerun] = field(default_factory=dict)
    """Route -> the last time that its incumbent was asked again (`trial aa`)."""


def current(judged: Iterable[Judged]) -> tuple[Judged, ...]:
    """The verdicts that stand, oldest first: of one trial that was run again only the last."""
    by_trial: dict[str, Judged] = {}
    for one in sorted(judged, key=lambda one: one.verdict.created_ns):
        by_trial[one.verdict.trial or one.digest] = one
    return tuple(sorted(by_trial.values(), key=lambda one: one.verdict.created_ns))


def wanted(judged: Iterable[Judged]) -> set[str]:
    """Ids of the exchanges that the verdicts compared."""
    ids: set[str] = set()
    for one in judged:
        for pair in one.evidence.pairs if one.evidence is not None else ():
            ids.add(pair.item)
            if pair.replay is not None:
                ids.add(pair.replay)
    return ids


def ends(judged: Iterable[Judged]) -> dict[str, tuple[str, int]]:
    """Where the spans of the verdicts end: what came later may have moved away from them."""
    return {
        one.digest: (one.evidence.route, one.evidence.span.last_time_ns)
        for one in judged
        if one.evidence is not None and one.evidence.pairs
    }
