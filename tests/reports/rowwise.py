"""The sums of a report row by row: what `weighbridge.reports.sums` must say of the same log."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from weighbridge.grading.outcomes import TaskBook
from weighbridge.records.exchange import Exchange
from weighbridge.records.frames import Told
from weighbridge.reports.gather import (
    ARM_FAILED,
    Answering,
    Beside,
    Calls,
    Judged,
    KeptCall,
    RouteCalls,
    Seen,
    ends,
    wanted,
)

MINUTE_NS = 60_000_000_000


class Rowwise:
    """Feed it every exchange and outcome once, in any order."""

    def __init__(self, ids: Iterable[str], spans: Mapping[str, tuple[str, int]]) -> None:
        self._ids, self._spans = frozenset(ids), spans
        self._minutes: dict[str, Counter[int]] = {}
        self._book = TaskBook()
        self._told: set[str] = set()
        self._seen = Seen()

    def tell(self, frame: Told) -> None:
        self._told.add(frame.route)
        self._book.tell(frame)

    def add(self, exchange: Exchange) -> None:
        seen = self._seen
        self._book.add(exchange)
        if exchange.id in self._ids:
            seen.kept[exchange.id] = kept_call(exchange)
        ended = exchange.outcome not in ("refused", "lost")
        unknown = exchange.cost_nanousd is None and exchange.outcome != "refused"
        if exchange.purpose != "user":
            beside = seen.beside.setdefault((exchange.route, exchange.purpose), Beside())
            beside.calls += 1
            beside.cost_nanousd += exchange.cost_nanousd or 0
            beside.cost_unknown += unknown
        if exchange.purpose == "trial" and exchange.trial is not None:
            _count(seen.trials.setdefault((exchange.trial, exchange.slice), Calls()), exchange, ended)
            if ended:
                seen.minutes.setdefault(exchange.trial, Counter())[exchange.time_ns // MINUTE_NS] += 1
        if exchange.purpose == "user":
            self._user(exchange, ended, unknown)

    def _user(self, exchange: Exchange, ended: bool, unknown: bool) -> None:
        seen, time_ns = self._seen, micro(exchange.time_ns)
        row = seen.routes.setdefault(exchange.route, RouteCalls())
        row.requests += 1
        row.answered += exchange.outcome == "ok"
        row.first_time_ns = min(row.first_time_ns or time_ns, time_ns)
        row.last_time_ns = max(row.last_time_ns or time_ns, time_ns)
        row.slices[exchange.slice] += 1
        row.cost_unknown += unknown
        if exchange.cost_nanousd is not None:
            row.cost_nanousd += exchange.cost_nanousd
            row.slice_nanousd[exchange.slice] += exchange.cost_nanousd
        if exchange.usage is not None:
            row.input_tokens += exchange.usage.input_total
            row.output_tokens += exchange.usage.output + exchange.usage.reasoning
            if ended:
                row.input_tokens_max = max(row.input_tokens_max, exchange.usage.input_total)
        if ended:
            minutes = self._minutes.setdefault(exchange.route, Counter())
            minutes[exchange.time_ns // MINUTE_NS] += 1
            row.busiest_minute = max(minutes.values())
        for name, (route, last_ns) in self._spans.items():
            if route == exchange.route and exchange.outcome == "ok" and time_ns > micro(last_ns):
                seen.since.setdefault(name, Counter())[exchange.slice] += 1
        if exchange.arm is None:
            return
        _count(seen.user.setdefault((exchange.route, exchange.slice, exchange.arm), Calls()), exchange, ended)
        if ended:
            answering = seen.answering.setdefault((exchange.route, exchange.arm), Answering())
            answering.calls += 1
            answering.errors += exchange.outcome in ARM_FAILED
            answering.limited += sum(attempt.status == 429 for attempt in exchange.attempts)
            if exchange.duration_ns is not None:
                answering.buckets[round(50 * math.log(max(1, exchange.duration_ns)))] += 1

    def seen(self) -> Seen:
        self._seen.tasks = tuple(row for row in self._book.figures() if row.route in self._told)
        return self._seen


def micro(time_ns: int) -> int:
    """Rows hold whole microseconds."""
    return time_ns // 1000 * 1000


def _count(calls: Calls, exchange: Exchange, ended: bool) -> None:
    calls.calls += ended
    calls.errors += exchange.outcome in ARM_FAILED


def kept_call(exchange: Exchange) -> KeptCall:
    usage, attempts = exchange.usage, exchange.attempts
    return KeptCall(
        time_ns=micro(exchange.time_ns), stream=exchange.stream, cost_nanousd=exchange.cost_nanousd,
        price_version=exchange.price_version, input_tokens=None if usage is None else usage.input_total,
        cached_tokens=None if usage is None else usage.cache_read,
        output_tokens=None if usage is None else usage.output + usage.reasoning,
        duration_ns=exchange.duration_ns, first_byte_ns=exchange.first_byte_ns,
        cut=bool(attempts) and attempts[-1].finish_reason == "length",
        called_tools=any(attempt.finish_reason == "tool_calls" for attempt in attempts),
    )  # fmt: skip


def see(exchanges: Iterable[Exchange], judged: Iterable[Judged], told: Iterable[Told] = ()) -> Seen:
    """What a log says to a report with these verdicts."""
    judged = tuple(judged)
    made = Rowwise(wanted(judged), ends(judged))
    for exchange in exchanges:
        made.add(exchange)
    for frame in told:
        made.tell(frame)
    return made.seen()
