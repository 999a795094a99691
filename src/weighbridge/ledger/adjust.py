"""Corrections: what was booked at a wrong or missing price is booked again, as rows that are added.

Every posting of a span whose usage is known is rated at the price that holds now for the moment of its request: the
operator's dated rows, else the price book. The difference to what stands in the books, earlier corrections included, is
one adjusting row; where there is none, no row. So doing it twice adds nothing the second time. Arms with a `price` of
their own are left alone: that price has no dates, and what holds today need not have held then.
"""

from datetime import UTC, datetime

import duckdb
import msgspec

from weighbridge.config import Loaded
from weighbridge.ledger.postings import ADJUSTMENT, AdjustedRow, Adjustment
from weighbridge.ledger.prices import PriceAnswer, PriceFound, Terms, compile_price
from weighbridge.records.usage import COUNTED, Usage, cost_nanousd

PAGE = 10_000


class Rerated(msgspec.Struct, frozen=True, kw_only=True):
    adjustment: Adjustment
    postings: int
    """Looked at."""
    added_nanousd: int
    left_alone: dict[str, int]
    """Why -> how many postings."""


class _Rater:
    """Prices of one arm by moment; each looked up once for as long as it holds."""

    def __init__(self, loaded: Loaded, terms: Terms) -> None:
        self._config, self._terms = loaded.config, terms
        self._held: dict[str, tuple[int, int, PriceAnswer]] = {}
        self._endpoints = {row.name: row for row in loaded.config.endpoint}
        self._arms = {row.name: row for row in loaded.config.arm}

    def answer(self, arm: str, model: str, at_ns: int) -> PriceAnswer | str:
        """A price, or why this posting is left alone."""
        row = self._arms.get(arm)
        if row is None or row.model != model:
            return "its arm is not in the configuration any more"
        if row.price is not None:
            return "its arm states a price without dates"
        since, until, answer = self._held.get(arm, (0, 0, None))
        if answer is None or not since <= at_ns < until:
            at = datetime.fromtimestamp(at_ns // 10**9, UTC)
            answer = compile_price(row, self._endpoints[row.endpoint], at, self._terms)
            until = answer.until_ns if answer.until_ns is not None else 1 << 62
            self._held[arm] = (at_ns // 10**9 * 10**9, until, answer)
        return answer


def rerate(
    sql: duckdb.DuckDBPyConnection,
    loaded: Loaded,
    terms: Terms,
    since: datetime,
    until: datetime,
    *,
    reason: str,
    now_ns: int,
) -> Rerated:
    """What has to be added so that the span stands at the prices of now. Nothing is stored here."""
    rater = _Rater(loaded, terms)
    rows: list[AdjustedRow] = []
    left: dict[str, int] = {}
    seen = added = 0
    found = sql.execute(
        _RATED, [since.astimezone(UTC).replace(tzinfo=None), until.astimezone(UTC).replace(tzinfo=None)]
    )
    while page := found.fetchmany(PAGE):
        for identity, attempt, at_ns, arm, model, booked, tier, *counts in page:
            seen += 1
            answer = rater.answer(arm, model, at_ns)
            if isinstance(answer, str):
                left[answer] = left.get(answer, 0) + 1
                continue
            cost = None
            if isinstance(answer, PriceFound):
                # The columns stand in the order of the record's fields.
                cost = cost_nanousd(msgspec.convert((*counts, tier), Usage), answer.price)
            if cost is None or not isinstance(answer, PriceFound):
                left["its price is not known today either"] = left.get("its price is not known today either", 0) + 1
            elif booked is None or cost != booked:
                # An unknown cost that becomes known, even 0, is a row: it is known from then on.
                rows.append(AdjustedRow(identity, attempt, cost - int(booked or 0), answer.version))
                added += cost - int(booked or 0)
    adjustment = Adjustment(schema=ADJUSTMENT, made_ns=now_ns, reason=reason, rows=tuple(rows))
    return Rerated(adjustment=adjustment, postings=seen, added_nanousd=added, left_alone=left)


_RATED = (
    "SELECT id, attempt, epoch_ns(time), arm, model, cost_nanousd, service_tier, "  # noqa: S608 (our own text)
    + ", ".join(COUNTED)
    + " FROM postings WHERE has_usage AND time >= ? AND time < ? ORDER BY arm, time, id, attempt"
)
