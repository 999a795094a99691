"""When a budget's cap starts anew: windows of the calendar in an IANA time zone, as instants.

Minutes and hours are those of UTC. Days, weeks (from Monday), months and years begin at local midnight; where the clock
jumps over midnight, at the jump. So windows of one kind and zone cover all time without gap or overlap, also where the
clock is put forward or back: such a day has 23 or 25 hours.
"""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from weighbridge.records.budget import WindowKind

NS = 1_000_000_000
_FIXED_NS = {"minute": 60 * NS, "hour": 3600 * NS}


class Window(msgspec.Struct, frozen=True):
    """From `start_ns` (inclusive) to `end_ns` (exclusive), nanoseconds since 1970; no end: it never starts anew."""

    start_ns: int
    end_ns: int | None

    def has(self, at_ns: int) -> bool:
        return self.start_ns <= at_ns and (self.end_ns is None or at_ns < self.end_ns)


def window_of(kind: WindowKind, zone: str, at_ns: int) -> Window:
    """The window that an instant lies in. Raises `zoneinfo.ZoneInfoNotFoundError` for an unknown zone."""
    if kind == "total":
        return Window(0, None)
    if kind == "minute" or kind == "hour":
        length = _FIXED_NS[kind]
        start = at_ns - at_ns % length
        return Window(start, start + length)
    where = ZoneInfo(zone)
    day = datetime.fromtimestamp(at_ns // NS, UTC).astimezone(where).date()
    first, after = _dates(kind, day)
    return Window(_midnight_ns(first, where), _midnight_ns(after, where))


def local(at_ns: int, span: str) -> datetime:
    """An instant as the clocks of a budget show it; `span` is `Budget.span`, whose last word is the zone."""
    return datetime.fromtimestamp(at_ns // NS, ZoneInfo(span.rpartition(" ")[2]))


def shown(at_ns: int, span: str) -> str:
    """The same for people: `2026-12-01 00:00 Europe/Berlin`."""
    return f"{local(at_ns, span):%Y-%m-%d %H:%M} {span.rpartition(' ')[2]}"


def _dates(kind: WindowKind, day: date) -> tuple[date, date]:
    """The first day of the window, and the first one after it."""
    if kind == "day":
        return day, day + timedelta(days=1)
    if kind == "week":
        monday = day - timedelta(days=day.weekday())
        return monday, monday + timedelta(days=7)
    if kind == "month":
        first = day.replace(day=1)
        return first, (first + timedelta(days=31)).replace(day=1)
    return day.replace(month=1, day=1), day.replace(year=day.year + 1, month=1, day=1)


def _midnight_ns(day: date, where: ZoneInfo) -> int:
    # fold=0: the first of two midnights; of one that does not exist, the instant at which the clock jumped over it.
    return round(datetime(day.year, day.month, day.day, tzinfo=where).timestamp()) * NS
