"""Has traffic moved away from the sample that a verdict was drawn from? By slices, from the log's metadata alone."""

from collections.abc import Iterable, Mapping

import msgspec

from weighbridge.records.evidence import Evidence
from weighbridge.records.exchange import Exchange

EXCHANGES_MIN = 50
"""Fewer since the span say nothing yet."""
MOVED = 0.1
UNJUDGED = 0.05


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """Traffic since the end of a verdict's span beside the weights that the verdict holds for."""

    exchanges: int
    moved: float
    """Total variation distance of the slice shares, 0 to 1: the share of traffic that lies elsewhere now."""
    shares: dict[str, float]
    """Slice -> share since then."""
    warnings: tuple[str, ...]


def drift(evidence: Evidence, exchanges: Iterable[Exchange]) -> Drift | None:
    """Compare. exchanges: user exchanges of the route. `None` where too few came since the span's last one.

    Beside the thresholds there is no test: with 50 exchanges or more a tenth of the traffic does not move by chance
    often, and a warning asks for another trial, no more.
    """
    counts: dict[str, int] = {}
    for exchange in exchanges:
        if exchange.outcome == "ok" and exchange.time_ns > evidence.span.last_time_ns:
            counts[exchange.slice] = counts.get(exchange.slice, 0) + 1
    return drift_of(evidence, counts)


def drift_of(evidence: Evidence, counts: Mapping[str, int]) -> Drift | None:
    """The same of what was counted already: user exchanges by slice. `None` also where it speaks for no mix."""
    total = sum(counts.values())
    if total < EXCHANGES_MIN or evidence.only_slice is not None:
        return None
    shares = {name: count / total for name, count in sorted(counts.items())}
    judged = {pair.slice for pair in evidence.pairs}
    return Drift(
        exchanges=total,
        moved=distance(evidence.weights, shares),
        shares=shares,
        warnings=tuple(_warnings(evidence.weights, shares, judged)),
    )


def distance(before: Mapping[str, float], after: Mapping[str, float]) -> float:
    """Total variation distance of two distributions: half the sum of the absolute differences."""
    return sum(abs(before.get(name, 0.0) - after.get(name, 0.0)) for name in before.keys() | after.keys()) / 2


def _warnings(before: Mapping[str, float], after: Mapping[str, float], judged: set[str]) -> Iterable[str]:
    moved = distance(before, after)
    if moved >= MOVED:
        names = sorted(
            after.keys() | before.keys(), key=lambda name: -abs(after.get(name, 0.0) - before.get(name, 0.0))
        )
        told = ", ".join(f"{name} {before.get(name, 0.0):.0%} -> {after.get(name, 0.0):.0%}" for name in names[:3])
        yield (
            f"traffic has moved since this verdict's span: {moved:.0%} of it lies in other slices now ({told}); the "
            "verdict on the whole holds for the old mix"
        )
    for name, share in after.items():
        if name not in judged and share >= UNJUDGED:
            yield f"slice {name} is {share:.0%} of the traffic since then and was not judged"
