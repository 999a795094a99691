"""The open share: how much of everyday traffic runs on open weights, by four measures that are never mixed.

- requests: answered user requests, by the arm that answered
- normalised tokens: of every attempt for a user, as the route's incumbent counts text. One tokenizer makes up to a
  quarter more tokens of the same text than another, so an arm's tokens are multiplied by the ratio of input tokens that
  trials measured on the same prompts (`ratios.token_ratios`); that is the tokenizer's part alone. Without a measured
  ratio they are left out and counted
- dollars: what was booked for those attempts, failed ones and corrections included
- accepted tasks: tasks whose outcome somebody or something reported as good. Where rows come without: unknown

There is one computation, over the kept sums by day (`daily`), for the command, the pages and the API: `OpenShare`.

An arm whose `weights` nobody states is neither open nor closed: it is in the whole, and counted as unknown. Where most
is unknown a share says little, so each share comes with the part of the whole that it knows.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from time import monotonic
from typing import Literal

import msgspec

from weighbridge.config import Loaded
from weighbridge.ledger.daily import Daily
from weighbridge.ledger.ratios import token_ratios
from weighbridge.records.table import Weights

Measure = Literal["requests", "tokens", "dollars", "accepted_tasks"]
MEASURES: tuple[Measure, ...] = ("requests", "tokens", "dollars", "accepted_tasks")
Period = Literal["day", "week", "month"]
By = Literal["all", "route", "team"]


class Used(msgspec.Struct, frozen=True, kw_only=True):
    """What one arm did for one team on one route on one UTC day, user requests only."""

    day: date
    route: str
    team: str | None
    arm: str | None
    requests: int
    """Answered ones."""
    tokens: int
    """By the arm's own count."""
    cost_nanousd: int
    """Of what is known."""
    cost_unknown: int = 0
    """Calls whose cost nobody knows: the dollars are then more than is said here."""
    accepted: int | None = None
    """Tasks reported as good; `None` where no outcomes are reported."""


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """One measure. `share` is open / (open + closed), `None` where neither is there."""

    measure: Measure
    open: float
    closed: float
    unknown: float
    """Of arms whose weights nobody states, or (tokens) whose count cannot be compared."""
    share: float | None
    why_unknown: str | None = None
    """Why there is no share, or what it leaves out, with the next step."""

    @property
    def known(self) -> float | None:
        """The part of the whole that is open or closed."""
        whole = self.open + self.closed + self.unknown
        return (self.open + self.closed) / whole if whole else None


class Shares(msgspec.Struct, frozen=True, kw_only=True):
    """The four measures for one period of one owner."""

    since: str
    """First UTC day, ISO."""
    until: str
    """The day after the last."""
    by: By
    name: str | None
    """The route or team; `None` for all, and for requests without a team."""
    measures: tuple[Share, ...]

    def of(self, measure: Measure) -> Share:
        return next(one for one in self.measures if one.measure == measure)


Normalise = Callable[[str, str], float | None]
"""(route, arm) -> tokens of the route's incumbent for one token of the arm, on the same text; `None`: not measured."""

NO_OUTCOMES = "accepted tasks are not joined to days yet; `weighbridge outcomes show` has them by arm"


def open_shares(
    rows: Iterable[Used],
    weights: Mapping[str, Weights | None],
    normalise: Normalise,
    *,
    by: By = "all",
    period: Period | None = None,
) -> tuple[Shares, ...]:
    """Shares by owner and period, in the order of time, then name. `period` `None`: one span from first to last day.

    `weights`: of every arm that is or was configured; an arm that is absent is unknown.
    """
    groups: dict[tuple[date | None, str | None], list[Used]] = {}
    for row in rows:
        key = None if by == "all" else row.route if by == "route" else row.team
        groups.setdefault((None if period is None else start_of(row.day, period), key), []).append(row)
    order = sorted(groups, key=lambda key: (key[0] or date.min, key[1] is None, key[1] or ""))
    return tuple(_shares(groups[key], weights, normalise, by, key[1], key[0], period) for key in order)


def start_of(day: date, period: Period) -> date:
    """The first day of the day's week (Monday) or month."""
    if period == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if period == "month" else day


def _end_of(first: date, period: Period) -> date:
    if period == "month":
        return (first + timedelta(days=31)).replace(day=1)
    return first + timedelta(days=7 if period == "week" else 1)


def _shares(
    rows: list[Used], weights: Mapping[str, Weights | None], normalise: Normalise, by: By, name: str | None,
    first: date | None, period: Period | None,
) -> Shares:  # fmt: skip
    since = min(row.day for row in rows) if first is None else first
    until = max(row.day for row in rows) + timedelta(days=1) if period is None else _end_of(since, period)
    sums = {measure: {"open": 0.0, "closed": 0.0, "unknown": 0.0} for measure in MEASURES}
    unnamed: set[str] = set()
    unmeasured: set[str] = set()
    unpriced, reported = 0, False
    for row in rows:
        kind = weights.get(row.arm or "")
        word = kind or "unknown"
        if kind is None and row.arm is not None:
            unnamed.add(row.arm)
        sums["requests"][word] += row.requests
        sums["dollars"][word] += row.cost_nanousd
        unpriced += row.cost_unknown
        if row.accepted is not None:
            reported = True
            sums["accepted_tasks"][word] += row.accepted
        ratio = None if row.arm is None else normalise(row.route, row.arm)
        if ratio is None:
            sums["tokens"]["unknown"] += row.tokens
            if row.arm is not None and row.tokens:
                unmeasured.add(row.arm)
        else:
            sums["tokens"][word] += row.tokens * ratio
    why: dict[Measure, list[str]] = {measure: [] for measure in MEASURES}
    if unnamed:
        for measure in MEASURES:
            why[measure].append(f'state `weights = "open"` or `"closed"` for {", ".join(sorted(unnamed))}')
    if unmeasured:
        names = ", ".join(sorted(unmeasured))
        why["tokens"].append(f"no trial measured how {names} counts tokens beside the incumbent; run one")
    if unpriced:
        why["dollars"].append(f"{unpriced:,} calls have an unknown cost; state `price` for their arms")
    if not reported:
        why["accepted_tasks"] = [NO_OUTCOMES]
    return Shares(
        since=since.isoformat(), until=until.isoformat(), by=by, name=name,
        measures=tuple(_share(measure, sums[measure], why[measure]) for measure in MEASURES),
    )  # fmt: skip


def _share(measure: Measure, sums: Mapping[str, float], why: list[str]) -> Share:
    whole = sums["open"] + sums["closed"]
    return Share(
        measure=measure, open=sums["open"], closed=sums["closed"], unknown=sums["unknown"],
        share=sums["open"] / whole if whole else None, why_unknown="; ".join(why) or None,
    )  # fmt: skip


RATIO_S = 60.0


class OpenShare:
    """The open share out of one store's kept sums, which are as of their last refresh. Thread-safe.

    A process that asks again keeps it: ratios of tokens, which may read every file, are looked for anew where trials
    sent more requests, and while one runs once a minute.
    """

    def __init__(self, daily: Daily, clock: Callable[[], float] = monotonic) -> None:
        self._daily, self._clock = daily, clock
        self._lock = threading.Lock()
        self._ratios: dict[tuple[str, str], tuple[int, float, float | None]] = {}
        """(arm, other) -> (requests of trials to both by then, when, input tokens of the one for one of the other)."""

    @property
    def daily(self) -> Daily:
        return self._daily

    def used(
        self, since: date | None = None, until: date | None = None, teams: Sequence[str] | None = None
    ) -> list[Used]:
        """since: the first day; until: the day after the last; teams: only theirs. `None`: no bound."""
        with self._daily.cursor() as sql:
            found = sql.execute(_USED, [since, until, teams is None, list(teams or ())]).fetchall()
        names = ("day", "route", "team", "arm", "requests", "tokens", "cost_nanousd", "cost_unknown")
        return [msgspec.convert(dict(zip(names, row, strict=True)), Used) for row in found]

    def shares(
        self, loaded: Loaded, rows: Iterable[Used], *, by: By = "all", period: Period | None = None
    ) -> tuple[Shares, ...]:
        """Of `rows` (see `used`), with the weights that the configuration states; see `open_shares`."""
        incumbents = {route.name: route.incumbent for route in loaded.config.route}
        return open_shares(rows, configured_weights(loaded), self._normalise(incumbents), by=by, period=period)

    def _normalise(self, incumbents: Mapping[str, str]) -> Normalise:
        tried: dict[str | None, int] | None = None

        def normalise(route: str, arm: str) -> float | None:
            nonlocal tried
            incumbent = incumbents.get(route)
            if incumbent is None or arm == incumbent:
                return None if incumbent is None else 1.0
            if tried is None:
                tried = self._tried()
            sent = tried.get(arm, 0) + tried.get(incumbent, 0)
            return self._ratio(incumbent, arm, sent) if sent else None

        return normalise

    def _tried(self) -> dict[str | None, int]:
        with self._daily.cursor() as sql:
            return dict(sql.execute(_TRIED).fetchall())

    def _ratio(self, incumbent: str, arm: str, sent: int) -> float | None:
        with self._lock:
            known = self._ratios.get((incumbent, arm))
            if known is not None and (known[0] == sent or self._clock() - known[1] < RATIO_S):
                return known[2]
            with self._daily.cursor() as sql:
                source = self._daily.kept.source()
                sql.execute(f"CREATE OR REPLACE TEMP VIEW exchanges AS SELECT * FROM {source}")  # noqa: S608 (our own)
                ratios = token_ratios(sql, incumbent, arm)
            value = None if ratios is None else ratios.input.value
            self._ratios[incumbent, arm] = sent, self._clock(), value
            return value


def configured_weights(loaded: Loaded) -> dict[str, Weights | None]:
    return {arm.name: arm.weights for arm in loaded.config.arm}


_USED = (
    "SELECT day, route, team, arm, sum(ok)::BIGINT, sum(tokens)::BIGINT, sum(cost_nanousd)::BIGINT, "
    "sum(unknown)::BIGINT FROM daily WHERE purpose = 'user' AND day >= coalesce(?, DATE '0001-01-01') "
    "AND day < coalesce(?, DATE '9999-12-31') AND (? OR list_contains(?::VARCHAR[], team)) GROUP BY ALL "
    "HAVING sum(ok) > 0 OR sum(attempts) > 0 ORDER BY ALL"
)
_TRIED = "SELECT arm, sum(requests)::BIGINT FROM daily WHERE purpose = 'trial' GROUP BY ALL"
