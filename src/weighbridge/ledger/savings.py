"""Saved so far: what the incumbent would have cost for what other arms served, minus what was paid.

For each user request that another arm than the route's incumbent answered, the incumbent's tokens are the request's own
times the measured ratio (`ratios`), split between fresh and cached input as the incumbent's own traffic was (where it
had none, all of it fresh and all of it cached are the two ends of the interval). They are rated at the incumbent's
price at the request's start. The saving is the sum of these rows, minus what was paid for the same requests, minus
everything that trials, judges, shadows and drills cost, as it was booked.

The interval is that of the ratios, at 95 %: their error is common to all rows, so the ends of input and output are
taken together, which is wide rather than narrow. A pair of arms that no trial measured gives no saving: its requests
are counted and named. The same is done against each closed alternative that the configuration has; the dearest honest
comparison is with the cheapest of them.

No saving without a verdict: a row is one slice on one arm, and it carries what a trial found about that arm on that
slice, beside the incumbent. Requests of a slice that nobody judged are counted and named, and save nothing. The sum is
split by verdict, so that money saved by worse answers is seen as such.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

import duckdb
import msgspec

from weighbridge.config import Loaded
from weighbridge.ledger.prices import PriceFound, Terms, compile_price
from weighbridge.ledger.ratios import CacheShare, Ratios, cache_share, token_ratios
from weighbridge.records.evidence import VerdictWord
from weighbridge.records.usage import Price, Usage, cost_nanousd

PAGE = 10_000
Cache = Literal["measured", "assumed"]


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    low_nanousd: int
    nanousd: int
    high_nanousd: int

    def plus(self, other: "Interval") -> "Interval":
        return Interval(
            low_nanousd=self.low_nanousd + other.low_nanousd,
            nanousd=self.nanousd + other.nanousd,
            high_nanousd=self.high_nanousd + other.high_nanousd,
        )

    def minus(self, nanousd: int) -> "Interval":
        return Interval(
            low_nanousd=self.low_nanousd - nanousd,
            nanousd=self.nanousd - nanousd,
            high_nanousd=self.high_nanousd - nanousd,
        )


NOTHING = Interval(low_nanousd=0, nanousd=0, high_nanousd=0)


class JudgedRow(msgspec.Struct, frozen=True, kw_only=True):
    """What stands about an arm on a slice: candidate minus incumbent, in [-1, 1]."""

    verdict: VerdictWord
    difference: float | None
    interval: tuple[float, float] | None
    margin: float
    trial: str | None
    incumbent: str
    """Beside which the arm was judged."""


Verdicts = Mapping[tuple[str, str, str], JudgedRow]
"""(route, slice, arm) -> the verdict that stands."""


class Replaced(msgspec.Struct, frozen=True, kw_only=True):
    """Requests of one slice of a route that one arm served, beside another that would have."""

    route: str
    slice: str
    served_by: str
    judged: JudgedRow | None
    """The verdict on the arm that served, on this slice, beside the route's incumbent; `None`: nobody judged it."""
    instead_of: str
    requests: int
    paid_nanousd: int
    would_have_cost: Interval | None
    """`None` where it cannot be said."""
    why_unknown: str | None
    ratios: Ratios | None
    cache: Cache | None
    left_out: int
    """Requests without usage or cost of their own, or that the other arm has no price for: in neither sum."""


class Against(msgspec.Struct, frozen=True, kw_only=True):
    """One comparison over everything."""

    against: str
    """`incumbent`, or the name of a closed arm."""
    rows: tuple[Replaced, ...]
    gross: Interval
    """What the other would have cost minus what was paid, over the rows that are known."""
    by_verdict: dict[VerdictWord, Interval]
    """The parts of `gross`, by the verdict on their rows."""
    net: Interval
    """The same minus `other_purposes`."""
    not_measured: int
    """Requests whose comparison is unknown."""


class Savings(msgspec.Struct, frozen=True, kw_only=True):
    since: str | None
    until: str
    other_purposes: dict[str, int]
    """Purpose -> nano-dollars, as booked."""
    other_unknown: int
    """Attempts of those purposes whose cost nobody knows."""
    incumbent: Against
    alternatives: tuple[Against, ...]
    """Against each closed arm of the configuration that is no route's incumbent, the least saving first."""


def savings(
    sql: duckdb.DuckDBPyConnection,
    loaded: Loaded,
    terms: Terms,
    since: datetime | None,
    until: datetime,
    verdicts: Verdicts,
) -> Savings:
    """`sql` has the views `exchanges` and `postings`."""
    span = [(since or datetime(1970, 1, 1, tzinfo=UTC)).astimezone(UTC).replace(tzinfo=None),
            until.astimezone(UTC).replace(tzinfo=None)]  # fmt: skip
    other = {row[0]: (int(row[1]), int(row[2])) for row in sql.execute(_OTHER, span).fetchall()}
    spent = sum(amount for amount, _ in other.values())
    config = loaded.config
    incumbents = {route.name: route.incumbent for route in config.route}
    closed = [arm.name for arm in config.arm if arm.weights == "closed" and arm.name not in incumbents.values()]
    served = [(str(route), str(part), str(arm)) for route, part, arm in sql.execute(_SERVED, span).fetchall()]
    moved = [row for row in served if row[0] in incumbents and row[2] != incumbents[row[0]]]
    standing = {
        row: verdicts[row] for row in moved if row in verdicts and verdicts[row].incumbent == incumbents[row[0]]
    }
    rater = _Rater(sql, loaded, terms, span, standing)
    against = _against("incumbent", [rater.replaced(*row, incumbents[row[0]]) for row in moved], spent)
    alternatives = [
        _against(name, [rater.replaced(*row, name) for row in moved if row[2] != name], spent) for name in closed
    ]
    return Savings(
        since=None if since is None else since.isoformat(),
        until=until.isoformat(),
        other_purposes={purpose: amount for purpose, (amount, _) in other.items()},
        other_unknown=sum(unknown for _, unknown in other.values()),
        incumbent=against,
        alternatives=tuple(sorted(alternatives, key=lambda one: one.net.nanousd)),
    )


def _against(name: str, rows: list[Replaced], spent: int) -> Against:
    gross, unmeasured = NOTHING, 0
    parts: dict[VerdictWord, Interval] = {}
    for row in rows:
        unmeasured += row.left_out
        if row.would_have_cost is None or row.judged is None:
            unmeasured += row.requests
        else:
            saved = row.would_have_cost.minus(row.paid_nanousd)
            word = row.judged.verdict
            gross, parts[word] = gross.plus(saved), parts.get(word, NOTHING).plus(saved)
    return Against(
        against=name, rows=tuple(rows), gross=gross, by_verdict=dict(sorted(parts.items())), net=gross.minus(spent),
        not_measured=unmeasured,
    )  # fmt: skip


class _Rater:
    def __init__(
        self,
        sql: duckdb.DuckDBPyConnection,
        loaded: Loaded,
        terms: Terms,
        span: list[datetime],
        verdicts: Verdicts,
    ) -> None:
        self._sql, self._loaded, self._terms, self._span, self._verdicts = sql, loaded, terms, span, verdicts
        self._ratios: dict[tuple[str, str], Ratios | None] = {}
        self._shares: dict[tuple[str, str], CacheShare | None] = {}

    def _measured(self, route: str, served_by: str, instead_of: str) -> tuple[Ratios | None, CacheShare | None]:
        """Each read once, however many slices ask."""
        pair, where = (instead_of, served_by), (instead_of, route)
        if pair not in self._ratios:
            self._ratios[pair] = token_ratios(self._sql, instead_of, served_by)
        if where not in self._shares:
            self._shares[where] = cache_share(self._sql, instead_of, route)
        return self._ratios[pair], self._shares[where]

    def replaced(self, route: str, part: str, served_by: str, instead_of: str) -> Replaced:
        ratios, share = self._measured(route, served_by, instead_of)
        judged = self._verdicts.get((route, part, served_by))
        found = self._sql.execute(_ROWS, [*self._span, route, part, served_by])
        paid = requests = left_out = 0
        total = NOTHING
        prices = _Prices(self._loaded, self._terms, instead_of)
        while page := found.fetchmany(PAGE):
            for at_ns, cost, given, made in page:
                price = prices.at(at_ns)
                row = None
                if cost is not None and given is not None and price is not None and ratios is not None:
                    row = would_have_cost(int(given), int(made), price, ratios, share)
                if row is None:
                    left_out += 1
                    continue
                requests += 1
                paid += int(cost)
                total = total.plus(row)
        why = None
        if ratios is None:
            why = f"no trial has measured {instead_of} beside {served_by} on enough requests"
        elif not requests:
            why = prices.why or "no request has a usage and a cost of its own"
        elif judged is None:
            trial = f"weighbridge trial run --route {route} --candidate {served_by}"
            why = f"no verdict on {served_by} in this slice: `{trial}`"
        return Replaced(
            route=route, slice=part, served_by=served_by, judged=judged, instead_of=instead_of, requests=requests,
            paid_nanousd=paid,
            would_have_cost=None if why else total, why_unknown=why, ratios=ratios,
            cache=None if ratios is None else ("assumed" if share is None else "measured"), left_out=left_out,
        )  # fmt: skip


class _Prices:
    """Prices of one arm by moment, each looked up once for as long as it holds."""

    def __init__(self, loaded: Loaded, terms: Terms, arm: str) -> None:
        self._row = next((one for one in loaded.config.arm if one.name == arm), None)
        self._loaded, self._terms = loaded, terms
        self._since, self._until = 0, -1
        self._price: Price | None = None
        self.why: str | None = None if self._row is not None else f"{arm} is not in the configuration any more"

    def at(self, ns: int) -> Price | None:
        if self._row is None:
            return None
        if not self._since <= ns < self._until:
            moment = datetime.fromtimestamp(ns // 10**9, UTC)
            answer = compile_price(self._row, self._loaded.endpoint(self._row.endpoint), moment, self._terms)
            self._since, self._until = ns, 1 << 62 if answer.until_ns is None else answer.until_ns
            self._price = answer.price if isinstance(answer, PriceFound) else None
            self.why = None if isinstance(answer, PriceFound) else answer.why
        return self._price


def would_have_cost(given: int, made: int, price: Price, ratios: Ratios, share: CacheShare | None) -> Interval | None:
    """What another arm would have cost for a request; `None` where its price does not say."""
    read = 0 if price.cache_read is None else 1
    shares = (share, share, share)
    if share is None:
        # Nobody saw how this arm's cache does here: all of it read from the cache is the one end, none the other.
        full = CacheShare(read=float(read), written=0.0, written_1h=0.0, requests=0)
        none = CacheShare(read=0.0, written=0.0, written_1h=0.0, requests=0)
        shares = (full, none, none)
    ends = (
        (ratios.input.low, ratios.output.low, shares[0]),
        (ratios.input.value, ratios.output.value, shares[1]),
        (ratios.input.high, ratios.output.high, shares[2]),
    )
    costs = [cost_nanousd(_scaled(given * own, made * more, cached), price) for own, more, cached in ends]
    if any(cost is None for cost in costs):
        return None
    low, middle, high = (int(cost or 0) for cost in costs)
    return Interval(low_nanousd=low, nanousd=middle, high_nanousd=high)


def _scaled(given: float, made: float, share: CacheShare | None) -> Usage:
    if share is None:
        return Usage(round(given), round(made))
    read, written, hour = (round(given * part) for part in (share.read, share.written, share.written_1h))
    return Usage(max(0, round(given) - read - written - hour), round(made), read, written, hour)


_SPAN = "time >= ? AND time < ?"
_OTHER = (
    "SELECT purpose, coalesce(sum(cost_nanousd), 0)::HUGEINT, count(*) FILTER (cost_nanousd IS NULL) "  # noqa: S608 (our own text)
    f"FROM postings WHERE {_SPAN} AND purpose <> 'user' GROUP BY purpose ORDER BY purpose"
)
_SERVED = (
    "SELECT route, slice, arm FROM exchanges "  # noqa: S608 (our own text)
    f"WHERE {_SPAN} AND purpose = 'user' AND arm IS NOT NULL GROUP BY ALL ORDER BY ALL"
)
# What an exchange cost is all its attempts; what it used is the last one's, which answered it.
_ROWS = (
    "WITH paid AS (SELECT id, CASE WHEN count(cost_nanousd) = count(*) THEN sum(cost_nanousd) END AS cost "  # noqa: S608 (our own text)
    "FROM postings GROUP BY id) "
    "SELECT epoch_ns(e.time), paid.cost, u.input + u.cache_read + u.cache_write + u.cache_write_1h + u.audio_input + "
    "u.image_input, u.output + u.reasoning + u.audio_output + u.image_output "
    "FROM (SELECT *, attempts[-1].usage AS u FROM exchanges) e JOIN paid ON paid.id = e.id "
    f"WHERE e.{_SPAN.replace('AND time', 'AND e.time')} AND e.purpose = 'user' AND e.route = ? AND e.slice = ? "
    "AND e.arm = ? AND e.outcome = 'ok' ORDER BY e.time"
)
