"""Output tokens as metered, for licences that count them: the figure of a month, and how it grew."""

from collections import defaultdict
from collections.abc import Iterable

import msgspec

from weighbridge.licenses import catalogue
from weighbridge.licenses.model import Terms
from weighbridge.licenses.resolve import Part, Recorded, resolve
from weighbridge.licenses.statement import month_at
from weighbridge.records.exchange import Exchange
from weighbridge.records.usage import Usage

MONTHS_BACK = 6


class MeteredTokens(msgspec.Struct, frozen=True, kw_only=True):
    """What a model produced by calendar month (UTC); a bound from below where calls lack counts."""

    tokens: int
    """The highest month of those looked at, the running one included: a line that was passed stays passed."""
    months: tuple[tuple[str, int], ...]
    """Whole months with traffic, oldest first."""
    calls_uncounted: int
    growth: float | None
    """A month, from the first to the last whole month; `None` with fewer than two, or where it did not grow."""


def counts_tokens(parts: Iterable[Part]) -> tuple[Terms, ...]:
    """The terms among `parts` that have a line in output tokens."""
    found = [part.terms for part in parts if isinstance(part, Recorded)]
    return tuple(terms for terms in found if any(line.axis == "output_tokens" for line in terms.threshold))


def metered(
    log: Iterable[Exchange], query: str, terms: Iterable[Terms], arms: Iterable[str], now_ns: int
) -> MeteredTokens:
    """Tokens of the models that `query` means or whose terms are among `terms`, whatever the calls were for.

    `arms`: names of arms that are configured under these terms. Raises `Corrupt`.
    """
    wanted, named = {one.id for one in terms}, set(arms)
    known: dict[str, bool] = {}
    by_month: defaultdict[str, int] = defaultdict(int)
    uncounted = 0
    for exchange in log:
        for attempt in exchange.attempts:
            if attempt.model not in known:
                known[attempt.model] = _is_meant(attempt.model, query, wanted)
            if not (known[attempt.model] or attempt.arm in named):
                continue
            if attempt.usage is None:
                uncounted += attempt.status is not None
            else:
                by_month[month_at(exchange.time_ns)] += made(attempt.usage)
    now = month_at(now_ns)
    whole = tuple((month, by_month[month]) for month in sorted(by_month) if month < now)
    return MeteredTokens(
        tokens=max(by_month.values(), default=0), months=whole, calls_uncounted=uncounted, growth=_growth(whole)
    )


def made(usage: Usage) -> int:
    """Tokens that the model produced: those that the client sees and those that it spent on reasoning."""
    return usage.output + usage.reasoning


def _is_meant(model: str, query: str, wanted: set[str]) -> bool:
    if model == query or (catalogue.find(query) is not None and catalogue.find(model) is catalogue.find(query)):
        return True
    parts = resolve(model) if model.strip() else ()
    return any(isinstance(part, Recorded) and part.terms.id in wanted for part in parts)


def _growth(months: tuple[tuple[str, int], ...]) -> float | None:
    """Geometric, over the calendar months between the first and the last."""
    if len(months) < 2 or not months[0][1]:
        return None
    first, last = months[0], months[-1]
    gap = (int(last[0][:4]) - int(first[0][:4])) * 12 + int(last[0][5:]) - int(first[0][5:])
    rate = float((last[1] / first[1]) ** (1 / gap)) - 1
    return rate if rate > 0 else None
