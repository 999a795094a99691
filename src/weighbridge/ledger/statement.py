"""What a month cost, until every nano-dollar of it lands somewhere.

The bill of a month is what was booked for its requests (postings and their adjustments) plus what was paid anyway
(commitments). Lines are by team, key, user and route, with the purpose; a request without a team or user stands in a
line that says so. What of a commitment no request used is a line of its own. What nobody can price is counted, not
hidden: its amount is unknown.
"""

import calendar
from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import duckdb
import msgspec

from weighbridge.config.moments import parse_moment
from weighbridge.config.tree import CommitmentSection
from weighbridge.errors import UsageError
from weighbridge.records.usage import nanousd_per_million

HOUR_S = 3600


class Month(msgspec.Struct, frozen=True, kw_only=True):
    """A calendar month on clocks of a zone. `until` is its first moment that belongs to the next."""

    name: str
    time_zone: str
    since: datetime
    until: datetime

    @classmethod
    def parse(cls, text: str, time_zone: str) -> "Month":
        """`2026-11`. Raises `UsageError` for anything else."""
        try:
            first = datetime.strptime(text, "%Y-%m").date()
        except ValueError:
            raise UsageError(f"{text!r} is not a month; write e.g. 2026-11") from None
        days = calendar.monthrange(first.year, first.month)[1]
        zone = ZoneInfo(time_zone)
        after = date.fromordinal(first.toordinal() + days)
        return cls(
            name=f"{first:%Y-%m}",
            time_zone=time_zone,
            since=datetime(first.year, first.month, 1, tzinfo=zone).astimezone(UTC),
            until=datetime(after.year, after.month, 1, tzinfo=zone).astimezone(UTC),
        )


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """Money that landed on somebody. `None` for team, key, user or route: not attributed."""

    team: str | None
    key: str | None
    user: str | None
    route: str | None
    purpose: str
    requests: int
    attempts: int
    tokens: int
    booked_nanousd: int
    """Of what is known. With `unknown` > 0 the true amount is more."""
    estimated_nanousd: int
    """The part that is an upper bound, because a cut answer never said what it used."""
    adjusted_nanousd: int
    """The part that later corrections made, plus or minus."""
    unknown: int
    """Attempts whose cost nobody knows."""


class Committed(msgspec.Struct, frozen=True, kw_only=True):
    """A commitment of the month: what was paid, and what requests were booked at against it."""

    name: str
    endpoint: str
    kind: str
    source: str
    paid_nanousd: int
    booked_nanousd: int
    unused_nanousd: int
    """Paid and booked on nobody. Negative where requests were booked at more than was paid: the stated rates are too
    high."""
    excess_tokens: int
    """Of a token plan: tokens past what it includes."""


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    month: str
    time_zone: str
    total_nanousd: int
    """The bill: everything booked, and what was paid for commitments beyond that."""
    unknown: int
    """Attempts whose cost nobody knows."""
    unknown_failed: int
    """Of them: calls that were answered with an error status, where nobody says whether the provider bills them."""
    lines: tuple[Line, ...]
    commitments: tuple[Committed, ...]

    @property
    def allocated_nanousd(self) -> int:
        return sum(line.booked_nanousd for line in self.lines) + sum(one.unused_nanousd for one in self.commitments)


def statement(
    sql: duckdb.DuckDBPyConnection, month: Month, commitments: tuple[CommitmentSection, ...] = ()
) -> Statement:
    """`sql` has the view `postings`. The total is summed apart from the lines: their sum has to meet it."""
    span = [month.since.replace(tzinfo=None), month.until.replace(tzinfo=None)]
    rows = sql.execute(_LINES, span).fetchall()
    lines = tuple(msgspec.convert(dict(zip(Line.__struct_fields__, row, strict=True)), Line) for row in rows)
    total = sql.execute(_TOTAL, span).fetchone()
    booked, unknown, failed = (0, 0, 0) if total is None else (int(total[0]), int(total[1]), int(total[2]))
    held = tuple(_committed(sql, month, row) for row in commitments if _part_paid(row, month) > 0)
    return Statement(
        month=month.name,
        time_zone=month.time_zone,
        total_nanousd=booked + sum(one.unused_nanousd for one in held),
        unknown=unknown,
        unknown_failed=failed,
        lines=lines,
        commitments=held,
    )


def _committed(sql: duckdb.DuckDBPyConnection, month: Month, row: CommitmentSection) -> Committed:
    since = max(month.since, parse_moment(row.since))
    until = month.until if row.until is None else min(month.until, parse_moment(row.until))
    found = sql.execute(_AT_ENDPOINT, [since.replace(tzinfo=None), until.replace(tzinfo=None), row.endpoint]).fetchone()
    booked, tokens = (0, 0) if found is None else (int(found[0]), int(found[1]))
    part = _part_paid(row, month)
    paid = int(_paid_nanousd(row, month) * part)
    included = 0 if row.included_tokens is None else int(row.included_tokens * part)
    excess = max(0, tokens - included) if row.kind == "token_plan" else 0
    unused = paid - booked
    if row.kind == "token_plan" and excess:
        unused = max(0, unused)  # what is past the plan is billed, at the rate that it was booked at
    return Committed(
        name=row.name, endpoint=row.endpoint, kind=row.kind, source=row.source, paid_nanousd=paid,
        booked_nanousd=booked, unused_nanousd=unused, excess_tokens=excess,
    )  # fmt: skip


def _part_paid(row: CommitmentSection, month: Month) -> Decimal:
    """The part of a month in which a commitment was paid for."""
    since = max(month.since, parse_moment(row.since))
    until = month.until if row.until is None else min(month.until, parse_moment(row.until))
    seconds = Decimal((until - since).total_seconds()) / Decimal((month.until - month.since).total_seconds())
    return max(Decimal(0), seconds)


def _paid_nanousd(row: CommitmentSection, month: Month) -> int:
    """For a whole month."""
    if row.kind == "gpu_hours":
        hours = Decimal((month.until - month.since).total_seconds()) / HOUR_S
        return int(hours * (row.gpus or 0) * nanousd_per_million(row.usd_per_gpu_hour or "0"))
    return nanousd_per_million(row.usd_per_month or "0")


_IN_MONTH = "time >= ? AND time < ?"
_LINES = (
    'SELECT team, key, "user", route, purpose, count(*) FILTER (attempt = 1), count(*), sum(tokens), '  # noqa: S608 (our own text)
    "coalesce(sum(cost_nanousd), 0)::HUGEINT, coalesce(sum(cost_nanousd) FILTER (estimated), 0)::HUGEINT, "
    "coalesce(sum(adjusted_nanousd), 0)::HUGEINT, count(*) FILTER (cost_nanousd IS NULL) "
    f"FROM postings WHERE {_IN_MONTH} GROUP BY ALL "
    'ORDER BY 9 DESC, team, key, "user", route, purpose'
)
_TOTAL = (
    "SELECT coalesce(sum(cost_nanousd), 0)::HUGEINT, count(*) FILTER (cost_nanousd IS NULL), "  # noqa: S608 (our own text)
    "count(*) FILTER (cost_nanousd IS NULL AND status >= 400) "
    f"FROM postings WHERE {_IN_MONTH}"
)
_AT_ENDPOINT = (
    "SELECT coalesce(sum(cost_nanousd), 0)::HUGEINT, coalesce(sum(tokens), 0) "  # noqa: S608 (our own text)
    f"FROM postings WHERE {_IN_MONTH} AND endpoint = ?"
)
