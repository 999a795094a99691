"""What it would cost to decide, before anything is spent: dollars, minutes and reviewer-hours, the best first.

One trial per application, with its cheapest open candidate. Every trial's pairs come from the planner of
`weighbridge.stats`, with all trials in one family of comparisons.
"""

from collections.abc import Sequence

import msgspec

from weighbridge.records.usage import NANOUSD
from weighbridge.scan.alternatives import Alternative
from weighbridge.scan.assumptions import Assumptions, MissingError, Reading
from weighbridge.scan.traffic import Traffic
from weighbridge.stats.planner import plan

FIRST_CENTS = 100_00
"""The budget within which the order of trials decides the most spend: the first hundred dollars."""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    application: str | None
    model: str
    pairs: int | None
    """Enough in four of five trials of a candidate that is as good; `None`: unknown."""
    available: int | None
    """Requests in the files; `None`: they do not count them."""
    usd: float | None
    minutes: float | None
    reviewer_hours: float | None
    """Where answers cannot be checked by a program; with checkable answers none are needed."""
    spend_nanousd: int | None
    """What the files say the application cost: what the trial would decide about."""
    uses: tuple[str, ...]
    why: str | None
    """Why it cannot be quoted, or cannot be decided from the requests in the files."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """After this many trials, in this order."""

    trials: int
    usd: float
    reviewer_hours: float
    minutes: float
    share: float | None
    """Of all known spend."""


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    trials: tuple[Trial, ...]
    """Those that can be decided first, in the order in which to run them; then the others."""
    steps: tuple[Step, ...]


def make_quote(best: Sequence[tuple[Traffic, Alternative | None]], total_nanousd: int, rows: Assumptions) -> Quote:
    comparisons = max(1, sum(one is not None for _, one in best))
    trials = [_trial(traffic, one, comparisons, rows) for traffic, one in best]
    ready = [one for one in trials if one.why is None]
    order = _order(ready)
    steps: list[Step] = []
    usd = hours = minutes = spend = 0.0
    for number, one in enumerate(order, 1):
        usd += one.usd or 0.0
        hours += one.reviewer_hours or 0.0
        minutes += one.minutes or 0.0
        spend += one.spend_nanousd or 0
        share = spend / total_nanousd if total_nanousd else None
        steps.append(Step(trials=number, usd=usd, reviewer_hours=hours, minutes=minutes, share=share))
    rest = [one for one in trials if one.why is not None]
    return Quote(trials=(*order, *rest), steps=tuple(steps))


def _trial(traffic: Traffic, one: Alternative | None, comparisons: int, rows: Assumptions) -> Trial:
    pairs = usd = minutes = hours = None
    why = None
    read = Reading(rows)
    uses: dict[str, None] = {}
    if one is None:
        why = "no open candidate has a known cost"
    else:
        uses |= dict.fromkeys(one.cost_nanousd.uses)
        try:
            margin, alpha = read("trial.margin"), read("trial.alpha")
            variance = read("trial.variance")
            # A program checks the answers: the pairs. People correct a judge: more pairs, some of them looked at.
            planned = plan(margin, alpha, comparisons, 0.0, variance)
            judged = plan(
                margin, alpha, comparisons, 0.0, variance, read("trial.label_fraction"),
                max(0.0, read("trial.judge_correlation")),
            )  # fmt: skip
            pairs = planned.n80
            hours = None if judged.labels80 is None else judged.labels80 * read("trial.label_seconds") / 3600
            seconds = traffic.latency_ms / 1000 if traffic.latency_ms else read("trial.request_seconds")
            minutes = None if pairs is None else pairs * seconds / read("trial.concurrency") / 60
            if pairs is not None and one.cost_nanousd.value is not None and traffic.requests is not None:
                usd = pairs * one.cost_nanousd.value / max(1, traffic.requests) / NANOUSD
        except MissingError as missing:
            why, pairs, usd, minutes, hours = str(missing), None, None, None, None
        uses |= read.used
        if why is None and traffic.requests is None:
            why = "the files do not count requests, so what one costs is not known: give a log of single requests"
        elif why is None and usd is None:
            why = one.cost_nanousd.why or "the candidate's cost is unknown"
        elif why is None and pairs is not None and traffic.requests is not None and pairs > traffic.requests:
            why = f"{pairs:,} pairs needed, {traffic.requests:,} requests in the files: a longer span"
    return Trial(
        application=traffic.application,
        model="" if one is None else one.model or "",
        pairs=pairs,
        available=traffic.requests,
        usd=usd,
        minutes=minutes,
        reviewer_hours=hours,
        spend_nanousd=traffic.cost_nanousd,
        uses=tuple(uses),
        why=why,
    )


def _order(trials: list[Trial]) -> list[Trial]:
    """First the set that decides the most within the first hundred dollars, then the rest, by spend per dollar."""
    first = _best_within(trials, FIRST_CENTS)
    inside = [one for number, one in enumerate(trials) if number in first]
    outside = [one for number, one in enumerate(trials) if number not in first]
    return sorted(inside, key=_per_dollar, reverse=True) + sorted(outside, key=_per_dollar, reverse=True)


def _per_dollar(one: Trial) -> float:
    return (one.spend_nanousd or 0) / max(one.usd or 0.0, 1e-9)


def _best_within(trials: list[Trial], budget_cents: int) -> frozenset[int]:
    """Which trials together decide the most within a budget: a knapsack over whole cents."""
    best: list[tuple[int, frozenset[int]]] = [(0, frozenset())] * (budget_cents + 1)
    for number, one in enumerate(trials):
        cents = -int(-(one.usd or 0.0) * 100 // 1)
        value = one.spend_nanousd or 0
        for money in range(budget_cents, cents - 1, -1):
            spend, chosen = best[money - cents]
            if spend + value > best[money][0]:
                best[money] = (spend + value, chosen | {number})
    return best[budget_cents][1]
