"""A drill: for a short announced time a share of a route's users is answered by another arm, to see whether it could.

The announcement is an object in the signed log before anybody is moved; the route table names it and says when it ends,
so workers go back by themselves, also when nobody is left to tell them. Exchanges of a drill have the purpose `drill`.
"""

from typing import Literal

import msgspec

DRILL_SCHEMA, DRILL_REPORT_SCHEMA = "drill/1", "drill-report/1"

DrillEnd = Literal["time", "person", "failing"]
"""Its time was over; somebody stopped it; too much of it failed."""


class Drill(msgspec.Struct, frozen=True, kw_only=True):
    schema: str
    route: str
    arm: str
    basis_points: int
    from_ns: int
    until_ns: int
    by: str
    why: str


class DrillInForce(msgspec.Struct, frozen=True, kw_only=True):
    """What a route table says of it."""

    record: str
    """Digest of the announcement."""
    arm: str
    basis_points: int
    until_ns: int


class DrillSide(msgspec.Struct, frozen=True, kw_only=True):
    """Requests of the drill, or those of all others on the route at the same time."""

    requests: int
    ok: int
    limited: int
    """Asked first and answered 429 or 503: at its limit."""
    failed: int
    """No answer, another error, or a timeout of the arm that was asked first, whoever answered in the end."""
    stood_in: int
    """Answered by another arm, because the one that was asked could not."""
    unanswered: int
    """The client got an error."""
    latency_ms: tuple[float, float, float] | None
    """p50, p90, p99 of whole answers; `None` without any."""
    judged: int
    score: float | None
    """Mean of what could be judged."""
    cost_nanousd: int | None
    """`None` as soon as one is unknown."""


class DrillReport(msgspec.Struct, frozen=True, kw_only=True):
    schema: str
    drill: str
    """Digest of the announcement."""
    route: str
    arm: str
    ended_ns: int
    ended_by: DrillEnd
    drilled: DrillSide
    others: DrillSide
    per_minute: float | None
    """Requests that the arm got in its busiest minute."""
    not_judged: str | None
    """Why quality was not seen; `None` where it was."""


class DrillView(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON shape of `ramp drill --json`."""

    drill: Drill
    report: DrillReport | None
    """`None` while it runs."""
