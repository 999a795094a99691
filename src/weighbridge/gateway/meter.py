"""What a worker counts. Plain integers on the hot path; samples when the supervisor asks.

Counters end in `_total`, histograms in `_bucket` (cumulative, label `le`), `_sum` and `_count`; the rest are gauges.
"""

from bisect import bisect_left

from weighbridge.records.frames import Outcome
from weighbridge.records.usage import Usage

Sample = tuple[str, dict[str, str], float]

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_BOUNDS_NS = [round(bound * 1e9) for bound in BOUNDS_S]


class Histogram:
    __slots__ = ("counts", "sum_ns")

    def __init__(self) -> None:
        self.counts = [0] * (len(_BOUNDS_NS) + 1)
        self.sum_ns = 0

    def samples(self, name: str, labels: dict[str, str]) -> list[Sample]:
        rows: list[Sample] = []
        running = 0
        for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), self.counts, strict=True):
            running += count
            rows.append((f"{name}_bucket", {**labels, "le": bound}, running))
        return [*rows, (f"{name}_sum", labels, self.sum_ns / 1e9), (f"{name}_count", labels, running)]


class Counts:
    """Of one route, arm and purpose."""

    __slots__ = ("cost_nanousd", "cost_unknown", "duration", "first_byte", "outcomes", "tokens")

    def __init__(self) -> None:
        self.outcomes: dict[Outcome, int] = {}
        self.duration, self.first_byte = Histogram(), Histogram()
        self.tokens = [0, 0, 0, 0, 0]
        self.cost_nanousd = 0
        self.cost_unknown: dict[Outcome, int] = {}

    def add(
        self, outcome: Outcome, duration_ns: int, first_byte_ns: int | None, usage: Usage | None, cost: int | None
    ) -> None:
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        histogram = self.duration
        histogram.counts[bisect_left(_BOUNDS_NS, duration_ns)] += 1
        histogram.sum_ns += duration_ns
        if first_byte_ns is not None:
            histogram = self.first_byte
            histogram.counts[bisect_left(_BOUNDS_NS, first_byte_ns)] += 1
            histogram.sum_ns += first_byte_ns
        if usage is not None:
            tokens = self.tokens
            tokens[0] += usage.input
            tokens[1] += usage.output
            if usage.cache_read or usage.cache_write or usage.cache_write_1h or usage.reasoning:
                tokens[2] += usage.cache_read
                tokens[3] += usage.cache_write + usage.cache_write_1h
                tokens[4] += usage.reasoning
        if cost is None:
            self.cost_unknown[outcome] = self.cost_unknown.get(outcome, 0) + 1
        else:
            self.cost_nanousd += cost


_TOKEN_CLASSES = ("input", "output", "cache_read", "cache_write", "reasoning")


class Meter:
    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str], Counts] = {}
        self.refusals: dict[str, int] = {}
        self.other_attempts: dict[tuple[str, bool], int] = {}
        """By the kind of failure before it, and whether another lane was asked."""

    def counts(self, route: str, arm: str, purpose: str) -> Counts:
        key = (route, arm, purpose)
        found = self._counts.get(key)
        if found is None:
            found = self._counts[key] = Counts()
        return found

    def refused(self, code: str) -> None:
        self.refusals[code] = self.refusals.get(code, 0) + 1

    def again(self, failure: str, *, fallback: bool) -> None:
        self.other_attempts[failure, fallback] = self.other_attempts.get((failure, fallback), 0) + 1

    def samples(self) -> list[Sample]:
        rows: list[Sample] = []
        for (route, arm, purpose), counts in self._counts.items():
            labels = {"route": route, "arm": arm, "purpose": purpose}
            for outcome, count in counts.outcomes.items():
                rows.append(("weighbridge_requests_total", {**labels, "outcome": outcome}, count))
            rows += counts.duration.samples("weighbridge_request_duration_seconds", labels)
            rows += counts.first_byte.samples("weighbridge_first_byte_seconds", labels)
            for name, tokens in zip(_TOKEN_CLASSES, counts.tokens, strict=True):
                rows.append(("weighbridge_tokens_total", {**labels, "class": name}, tokens))
            rows.append(("weighbridge_cost_nanousd_total", labels, counts.cost_nanousd))
            for outcome, count in {"ok": 0, **counts.cost_unknown}.items():
                rows.append(("weighbridge_cost_unknown_total", {**labels, "outcome": outcome}, count))
        for (failure, fallback), count in self.other_attempts.items():
            labels = {"failure": failure, "fallback": "yes" if fallback else "no"}
            rows.append(("weighbridge_other_attempts_total", labels, count))
        for code, count in self.refusals.items():
            rows.append(("weighbridge_refusals_total", {"code": code}, count))
        return rows
