"""What a report is made from: the route table, the signed objects, and one pass over the log.

The pass keeps sums and the calls that some verdict compared, never the whole log.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from weighbridge.grading.outcomes import TaskBook
from weighbridge.ramp.story import RampStory
from weighbridge.records.evidence import Evidence, Finding, Verdict
from weighbridge.records.exchange import Exchange
from weighbridge.records.table import RouteTable
from weighbridge.reports.facts import NO_FACTS, Facts

ARM_FAILED = ("upstream_error", "upstream_cut", "timeout")
"""Outcomes that are the arm's fault: not the client's who left, and not ours who refused."""

MINUTE_NS = 60_000_000_000


@dataclass(frozen=True, slots=True)
class Judged:
    """One stored verdict with what it names. `evidence` is `None` where the object is missing (verify says so)."""

    digest: str
    verdict: Verdict
    evidence: Evidence | None
    findings: tuple[Finding, ...]


@dataclass(slots=True)
class Calls:
    """Sums over some set of finished calls."""

    calls: int = 0
    errors: int = 0
    streams: int = 0
    tool_calls: int = 0
    input_tokens_max: int = 0
    per_minute: Counter[int] = field(default_factory=Counter)

    def add(self, exchange: Exchange) -> None:
        if exchange.outcome in ("refused", "lost"):
            return
        self.calls += 1
        self.errors += exchange.outcome in ARM_FAILED
        self.streams += exchange.stream
        self.tool_calls += any(attempt.finish_reason == "tool_calls" for attempt in exchange.attempts)
        self.per_minute[exchange.time_ns // MINUTE_NS] += 1
        if exchange.usage is not None:
            self.input_tokens_max = max(self.input_tokens_max, exchange.usage.input_total)

    @property
    def busiest_minute(self) -> int:
        return max(self.per_minute.values(), default=0)


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
    all: Calls = field(default_factory=Calls)

    def add(self, exchange: Exchange) -> None:
        self.requests += 1
        self.answered += exchange.outcome == "ok"
        self.first_time_ns = min(self.first_time_ns or exchange.time_ns, exchange.time_ns)
        self.last_time_ns = max(self.last_time_ns or exchange.time_ns, exchange.time_ns)
        self.slices[exchange.slice] += 1
        self.all.add(exchange)
        if exchange.usage is not None:
            self.input_tokens += exchange.usage.input_total
            self.output_tokens += exchange.usage.output + exchange.usage.reasoning
        if exchange.cost_nanousd is not None:
            self.cost_nanousd += exchange.cost_nanousd
            self.slice_nanousd[exchange.slice] += exchange.cost_nanousd
        elif exchange.outcome != "refused":
            self.cost_unknown += 1


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


class Seen:
    """The log as a report sees it; feed it every exchange once."""

    def __init__(self, wanted: Iterable[str], ends: Mapping[str, tuple[str, int]] | None = None) -> None:
        """ends: verdict -> its route, and the last moment of the span that it was drawn from."""
        self._wanted = frozenset(wanted)
        self._ends: dict[str, list[tuple[str, int]]] = {}
        for name, (route, last_ns) in (ends or {}).items():
            self._ends.setdefault(route, []).append((name, last_ns))
        self.since: dict[str, Counter[str]] = {}
        """Verdict -> answered user requests since its span, by slice."""
        self.routes: dict[str, RouteCalls] = {}
        self.user: dict[tuple[str, str, str], Calls] = {}
        """(route, slice, arm) -> the user calls that the arm answered or failed to answer."""
        self.trials: dict[tuple[str, str], Calls] = {}
        """(trial, slice) -> the replays."""
        self.kept: dict[str, Exchange] = {}
        self.tasks = TaskBook()
        self.beside: dict[tuple[str, str], Beside] = {}
        """(route, purpose) -> what it cost; `user` is not among them."""
        self.answering: dict[tuple[str, str], Answering] = {}
        """(route, arm) -> how it answered users."""

    def add(self, exchange: Exchange) -> None:
        if exchange.id in self._wanted:
            self.kept[exchange.id] = exchange
        self.tasks.add(exchange)
        if exchange.purpose != "user":
            beside = self.beside.setdefault((exchange.route, exchange.purpose), Beside())
            beside.calls += 1
            beside.cost_nanousd += exchange.cost_nanousd or 0
            beside.cost_unknown += exchange.cost_nanousd is None and exchange.outcome != "refused"
        elif exchange.arm is not None and exchange.outcome not in ("refused", "lost"):
            row = self.answering.setdefault((exchange.route, exchange.arm), Answering())
            row.calls += 1
            row.errors += exchange.outcome in ARM_FAILED
            row.limited += sum(attempt.status == 429 for attempt in exchange.attempts)
            if exchange.duration_ns is not None:
                row.buckets[round(50 * math.log(max(1, exchange.duration_ns)))] += 1
        if exchange.purpose == "user":
            self.routes.setdefault(exchange.route, RouteCalls()).add(exchange)
            for name, last_ns in self._ends.get(exchange.route, ()):
                if exchange.outcome == "ok" and exchange.time_ns > last_ns:
                    self.since.setdefault(name, Counter())[exchange.slice] += 1
            if exchange.arm is not None:
                self.user.setdefault((exchange.route, exchange.slice, exchange.arm), Calls()).add(exchange)
        elif exchange.purpose == "trial" and exchange.trial is not None:
            self.trials.setdefault((exchange.trial, exchange.slice), Calls()).add(exchange)


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


def see(exchanges: Iterable[Exchange], judged: Iterable[Judged]) -> Seen:
    judged = tuple(judged)
    seen = Seen(wanted(judged), ends(judged))
    for exchange in exchanges:
        seen.add(exchange)
    return seen
