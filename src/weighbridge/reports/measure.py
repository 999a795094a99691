"""Both arms on the same requests: cost, tokens, latency and errors, from what the log measured."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from weighbridge.records.evidence import Pair
from weighbridge.reports.gather import Calls, KeptCall
from weighbridge.reports.model import ArmMeasure, Comparison, ErrorCount, Month

MONTH_DAYS = 30
SPAN_DAYS_MIN = 7.0
"""Below a week of log no figure per month is given: a day says nothing about a weekend."""


def percentile(values: Sequence[int], share: float) -> int | None:
    """The smallest value that at least `share` of the values do not exceed; `None` of nothing."""
    if not values:
        return None
    ranked = sorted(values)
    return ranked[max(0, -int(-share * len(ranked) // 1) - 1)]


def measure(arm: str, exchanges: Sequence[KeptCall]) -> ArmMeasure:
    """What these calls of one arm used and took."""
    costs = [exchange.cost_nanousd for exchange in exchanges]
    known = [cost for cost in costs if cost is not None]
    inputs = [exchange.input_tokens for exchange in exchanges if exchange.input_tokens is not None]
    cached = [exchange.cached_tokens for exchange in exchanges if exchange.cached_tokens is not None]
    outputs = [exchange.output_tokens for exchange in exchanges if exchange.output_tokens is not None]
    totals = [exchange.duration_ns for exchange in exchanges if exchange.duration_ns is not None]
    firsts = [exchange.first_byte_ns for exchange in exchanges if exchange.first_byte_ns is not None]
    versions = {exchange.price_version for exchange in exchanges if exchange.price_version is not None}
    return ArmMeasure(
        arm=arm,
        requests=len(exchanges),
        cost_nanousd=sum(known) if exchanges and len(known) == len(costs) else None,
        cost_unknown=len(costs) - len(known),
        input_tokens=fmean(inputs) if inputs else None,
        cached_tokens=fmean(cached) if cached else None,
        output_tokens=fmean(outputs) if outputs else None,
        usage_unknown=len(exchanges) - len(inputs),
        total_ns_p50=percentile(totals, 0.5),
        total_ns_p95=percentile(totals, 0.95),
        first_byte_ns_p50=percentile(firsts, 0.5),
        first_byte_ns_p95=percentile(firsts, 0.95),
        length_stops=sum(exchange.cut for exchange in exchanges),
        price_versions=tuple(sorted(versions)),
    )


def compare(
    incumbent: str,
    candidate: str,
    pairs: Sequence[Pair],
    kept: Mapping[str, KeptCall],
    user: Calls | None,
    replays: Calls | None,
) -> Comparison | None:
    """Both arms on the requests that both answered; `None` where the log no longer holds any of them."""
    both = [
        (kept[pair.item], kept[pair.replay])
        for pair in pairs
        if pair.failure is None and pair.replay is not None and pair.item in kept and pair.replay in kept
    ]
    if not both:
        return None
    now = measure(incumbent, [item for item, _ in both])
    then = measure(candidate, [replay for _, replay in both])
    ratio = None
    if now.output_tokens and then.output_tokens is not None:
        ratio = then.output_tokens / now.output_tokens
    return Comparison(
        incumbent=now,
        candidate=then,
        incumbent_errors=_errors(user, "the route's traffic"),
        candidate_errors=_errors(replays, "the trial's replays"),
        output_ratio=ratio,
    )


def per_request(arm: ArmMeasure) -> float | None:
    return None if arm.cost_nanousd is None else arm.cost_nanousd / arm.requests


def change(now: float | None, then: float | None) -> float | None:
    """Relative change from now to then; `None` where one is unknown or there is nothing to compare with."""
    return None if now is None or then is None or now == 0 else then / now - 1


def month(requests: int, span_days: float | None, now: float | None, then: float | None) -> Month | None:
    """Thirty days at the pace of the log, from costs per request. `None` below a week of log or without both costs."""
    if span_days is None or span_days < SPAN_DAYS_MIN or now is None or then is None or not requests:
        return None
    pace = requests * MONTH_DAYS / span_days
    return Month(
        requests=round(pace), now_nanousd=round(now * pace), then_nanousd=round(then * pace), span_days=span_days
    )


def _errors(calls: Calls | None, seen_in: str) -> ErrorCount:
    if calls is None:
        return ErrorCount(calls=0, errors=0, seen_in=seen_in)
    return ErrorCount(calls=calls.calls, errors=calls.errors, seen_in=seen_in)
