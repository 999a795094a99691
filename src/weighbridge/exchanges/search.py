"""Finding exchanges in a kept relation: by what is known of them, the newest first; and one by its id.

What people and models wrote is encrypted and not searched. Sealed files are asked from the newest on: once enough is
found that is newer than everything in the rest, the rest is not read.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Literal

import msgspec

from weighbridge.exchanges.framing import FRAMES_MAGIC, HEADER_BYTES, Scan, check_header
from weighbridge.exchanges.kept import UNSEALED, KeptRelation
from weighbridge.exchanges.merge import Merge
from weighbridge.exchanges.segments import Segment, View, look, parse_name
from weighbridge.records.exchange import Exchange
from weighbridge.records.frames import Held

ID = re.compile(r"[0-9a-f]{16}-[0-9a-f]{1,16}")
LIMIT_MAX = 500
FILES_FIRST = 8
"""So many of the newest files are asked first, then twice as many, and so on."""

Spans = Mapping[str, tuple[datetime, datetime]]
"""Sealed file -> when its first and last exchange began, UTC without a zone."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What an exchange must be; `None` and empty: anything. Text is compared whole, not in part."""

    id: str | None = None
    route: str | None = None
    arm: str | None = None
    team: str | None = None
    key: str | None = None
    user: str | None = None
    slice: str | None = None
    conversation: str | None = None
    trial: str | None = None
    item: str | None = None
    purpose: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    """UTC without a zone, inclusive."""
    until: datetime | None = None
    """Exclusive."""
    teams: tuple[str, ...] | None = None
    """Only what belongs to these teams, whatever else is asked for; `None`: whoever asks may see all."""
    after: tuple[datetime, str] | None = None
    """Go on behind this one, in the order of the answer: the last row's time and id."""
    limit: int = 50


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a list of exchanges."""

    id: str
    time: datetime
    route: str
    arm: str | None
    team: str | None
    user: str | None
    slice: str
    purpose: str
    outcome: str
    status: int | None
    cost_nanousd: int | None
    tokens: int | None
    duration_ns: int | None


class Page(msgspec.Struct, frozen=True, kw_only=True):
    rows: tuple[Row, ...]
    more: bool


_COLUMNS = (
    'id, time, route, arm, team, "user", slice, purpose, outcome, status, cost_nanousd, usage.total AS tokens, '
    "timings.duration_ns AS duration_ns"
)
_PLAIN: tuple[
    Literal[
        "id", "route", "arm", "team", "key", "user", "slice", "conversation", "trial", "item", "purpose", "outcome"
    ],
    ...,
] = ("id", "route", "arm", "team", "key", "user", "slice", "conversation", "trial", "item", "purpose", "outcome")


def search(kept: KeptRelation, wanted: Wanted, spans: Spans) -> Page:
    """The newest exchanges that fit. Files without a span are always read. `kept` is as of its last refresh."""
    limit = max(1, min(wanted.limit, LIMIT_MAX))
    files = _candidates(kept, wanted, spans)
    found: list[Row] = []
    at, many = 0, FILES_FIRST
    while at == 0 or at < len(files):
        names = [name for name, _ in files[at : at + many]]
        found += _ask(kept, wanted, names, limit + 1, unsealed=at == 0)
        found = sorted(found, key=lambda row: (row.time, row.id), reverse=True)[: limit + 1]
        at, many = at + many, many * 2
        newest_left = max((last for _, last in files[at:]), default=None)
        if newest_left is None or (len(found) > limit and found[limit].time > newest_left):
            break
    return Page(rows=tuple(found[:limit]), more=len(found) > limit)


def _candidates(kept: KeptRelation, wanted: Wanted, spans: Spans) -> list[tuple[str, datetime]]:
    """Files that may hold something, newest first, each with the time of its newest exchange."""
    before = min([one for one in (wanted.until, wanted.after[0] if wanted.after else None) if one], default=None)
    found = []
    for name in kept.rows:
        first, last = spans.get(name, (datetime.min, datetime.max))
        if wanted.since is not None and last < wanted.since:
            continue
        if before is not None and first > before:
            continue
        if wanted.id is not None and wanted.id.partition("-")[0] not in name:
            continue
        found.append((name, last))
    return sorted(found, key=lambda one: (one[1], one[0]), reverse=True)


def _ask(kept: KeptRelation, wanted: Wanted, files: Sequence[str], limit: int, *, unsealed: bool) -> list[Row]:
    conditions, values = _conditions(wanted)
    source = kept.source(files) if unsealed else kept.sealed_source(files)
    with kept.cursor() as sql:
        rows = sql.execute(
            f"SELECT {_COLUMNS} FROM {source} WHERE {conditions} ORDER BY time DESC, id DESC LIMIT {limit}",  # noqa: S608 (our own text; values are bound)
            values,
        ).fetchall()
    return [_row(row) for row in rows]


def _conditions(wanted: Wanted) -> tuple[str, list[object]]:
    conditions, values = ["true"], []
    for name in _PLAIN:
        value = getattr(wanted, name)
        if value is not None:
            conditions.append(f'"{name}" = ?')
            values.append(value)
    if wanted.since is not None:
        conditions.append("time >= ?")
        values.append(wanted.since)
    if wanted.until is not None:
        conditions.append("time < ?")
        values.append(wanted.until)
    if wanted.teams is not None:
        conditions.append("list_contains(?::VARCHAR[], team)")
        values.append(list(wanted.teams))
    if wanted.after is not None:
        conditions.append("time <= ? AND (time < ? OR id < ?)")
        values += [wanted.after[0], wanted.after[0], wanted.after[1]]
    return " AND ".join(conditions), values


def _row(row: tuple[object, ...]) -> Row:
    names = [field.name for field in msgspec.structs.fields(Row)]
    return msgspec.convert(dict(zip(names, row, strict=True)), Row)


def find(kept: KeptRelation, identity: str) -> Exchange | None:
    """The exchange with this id, as the log has it; `None` where there is none. Raises `Corrupt`.

    The row says in which segment it ended; its frames are in that one, or begin in one before.
    """
    if ID.fullmatch(identity) is None:
        return None
    segment = _segment_of(kept, identity)
    if segment is None:
        return None
    parsed = parse_name(segment)
    if parsed is None:
        return None
    incarnation, number = parsed
    with look(kept.layout, kept.chain) as view:
        for name, group in groupby(view.segments, key=lambda one: one.incarnation):
            if name == incarnation:
                segments = [one for one in group if one.number <= number]
                return _merged(view, segments[-2:], identity) or _merged(view, segments, identity)
    return None


def _segment_of(kept: KeptRelation, identity: str) -> str | None:
    with kept.cursor() as sql:
        row = sql.execute(f"SELECT segment FROM {UNSEALED} WHERE id = ?", [identity]).fetchone()  # noqa: S608 (our own name)
        if row is not None:
            return str(row[0])
        files = [name for name in kept.rows if identity.partition("-")[0] in name]
        if not files:
            return None
        paths = [str(kept.layout.root / name) for name in files]
        row = sql.execute(
            "SELECT filename FROM read_parquet(?, filename = true, union_by_name = true) WHERE id = ?",
            [paths, identity],
        ).fetchone()
    if row is None:
        return None
    return next(kept.rows[name].source for name, path in zip(files, paths, strict=True) if path == str(row[0]))


def _merged(view: View, segments: Sequence[Segment], identity: str) -> Exchange | None:
    def wanted(held: Held) -> bool:
        return held.id == identity

    merge = Merge(wanted)
    for segment in segments:
        data = segment.read()
        if not check_header(data, FRAMES_MAGIC, segment.path):
            continue
        for offset, payload in Scan(data, HEADER_BYTES, None):
            if (done := merge.add(payload, segment.path, offset)) is not None:
                return done
    lost = merge.finish() if segments and segments[0].incarnation not in view.live else []
    return lost[0] if lost else None


def utc(time_ns: int) -> datetime:
    """As rows have it: without a zone."""
    at = datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).replace(microsecond=time_ns // 1000 % 1_000_000)
    return at.replace(tzinfo=None)
