"""What a drill has shown: the requests it moved beside those that it did not, out of the exchange log."""

from collections.abc import Iterable

from weighbridge.ramp.observe import first_arm
from weighbridge.records.drill import Drill, DrillSide
from weighbridge.records.exchange import Exchange

FAILING_MIN, FAILING_SHARE = 20, 0.25
"""A drill ends early when, of at least so many requests, more than this share could not be answered there."""
MINUTE_NS = 60 * 1_000_000_000
LIMITED = (429, 503)


class Tally:
    """Of one side."""

    def __init__(self) -> None:
        self.requests = self.ok = self.limited = self.failed = self.stood_in = self.unanswered = 0
        self._latencies: list[int] = []
        self._scores: list[float] = []
        self._cost = self._unpriced = 0
        self._minutes: dict[int, int] = {}

    def add(self, exchange: Exchange, score: float | None) -> None:
        first = exchange.attempts[0]
        self.requests += 1
        minute = exchange.time_ns // MINUTE_NS
        self._minutes[minute] = self._minutes.get(minute, 0) + 1
        good = exchange.outcome == "ok"
        stood_in = exchange.attempts[-1].arm != first.arm
        self.ok += good and not stood_in
        self.stood_in += good and stood_in
        self.unanswered += exchange.outcome in ("upstream_error", "upstream_cut", "timeout")
        if first.status in LIMITED:
            self.limited += 1
        elif stood_in or exchange.outcome in ("upstream_error", "upstream_cut", "timeout"):
            self.failed += 1
        if good and exchange.duration_ns is not None:
            self._latencies.append(exchange.duration_ns)
        if score is not None:
            self._scores.append(score)
        if exchange.cost_nanousd is None:
            self._unpriced += 1
        else:
            self._cost += exchange.cost_nanousd

    @property
    def failing(self) -> bool:
        lost = self.limited + self.failed
        return self.requests >= FAILING_MIN and lost > FAILING_SHARE * self.requests

    @property
    def per_minute(self) -> float | None:
        return float(max(self._minutes.values())) if self._minutes else None

    @property
    def side(self) -> DrillSide:
        rows = sorted(self._latencies)
        spread = None
        if rows:
            p50, p90, p99 = (rows[min(len(rows) - 1, int(part * len(rows)))] / 1e6 for part in (0.5, 0.9, 0.99))
            spread = (p50, p90, p99)
        return DrillSide(
            requests=self.requests, ok=self.ok, limited=self.limited, failed=self.failed, stood_in=self.stood_in,
            unanswered=self.unanswered, latency_ms=spread, judged=len(self._scores),
            score=sum(self._scores) / len(self._scores) if self._scores else None,
            cost_nanousd=None if self._unpriced else self._cost,
        )  # fmt: skip


def belongs(drill: Drill, exchange: Exchange) -> bool | None:
    """Is it one of the drill's (True), of the others of its time (False), or neither?"""
    if exchange.route != drill.route or not exchange.attempts or exchange.time_ns < drill.from_ns:
        return None
    if exchange.purpose == "drill":
        return first_arm(exchange) == drill.arm
    return False if exchange.purpose == "user" and exchange.time_ns < drill.until_ns else None


def tallied(drill: Drill, exchanges: Iterable[Exchange]) -> tuple[Tally, Tally]:
    """Drilled and others, without scores."""
    drilled, others = Tally(), Tally()
    for exchange in exchanges:
        mine = belongs(drill, exchange)
        if mine is not None:
            (drilled if mine else others).add(exchange, None)
    return drilled, others
