"""Windows cover all time, without gap or overlap, in every zone and over every jump of its clock."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.ledger.windows import NS, Window, window_of
from weighbridge.records.budget import WindowKind

pytestmark = pytest.mark.promise(15)

ZONES = ("UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Kolkata", "Pacific/Apia", "Australia/Lord_Howe",
         "Africa/Cairo", "America/New_York", "Asia/Shanghai", "Pacific/Chatham")  # fmt: skip
KINDS: tuple[WindowKind, ...] = ("minute", "hour", "day", "week", "month", "year", "total")
SINCE, UNTIL = 946_684_800, 1_924_992_000
"""2000 to 2031."""


def at(text: str, zone: str = "UTC") -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * NS


@given(st.sampled_from(KINDS), st.sampled_from(ZONES), st.integers(SINCE * NS, UNTIL * NS))
def test_every_instant_is_in_its_window_and_the_next_window_begins_where_it_ends(
    kind: WindowKind, zone: str, now_ns: int
) -> None:
    window = window_of(kind, zone, now_ns)
    assert window.has(now_ns)
    if window.end_ns is None:
        assert window == window_of(kind, zone, now_ns + 10**18)
        return
    assert window == window_of(kind, zone, window.start_ns) == window_of(kind, zone, window.end_ns - 1)
    assert window.end_ns == window_of(kind, zone, window.end_ns).start_ns
    assert window.start_ns == window_of(kind, zone, window.start_ns - 1).end_ns


@pytest.mark.parametrize(
    ("kind", "zone", "moment", "start", "end"),
    [
        ("day", "Europe/Berlin", "2026-03-29T12:00", "2026-03-28T23:00", "2026-03-29T22:00"),  # 23 hours
        ("day", "Europe/Berlin", "2026-10-25T12:00", "2026-10-24T22:00", "2026-10-25T23:00"),  # 25 hours
        ("day", "UTC", "2024-02-29T23:59:59", "2024-02-29T00:00", "2024-03-01T00:00"),
        ("month", "UTC", "2024-02-29T23:59:59", "2024-02-01T00:00", "2024-03-01T00:00"),
        ("month", "Asia/Shanghai", "2026-11-30T16:00", "2026-11-30T16:00", "2026-12-31T16:00"),
        ("week", "UTC", "2026-11-29T23:59:59", "2026-11-23T00:00", "2026-11-30T00:00"),
        ("year", "America/New_York", "2027-01-01T04:59:59", "2026-01-01T05:00", "2027-01-01T05:00"),
        ("day", "Pacific/Apia", "2011-12-30T09:59", "2011-12-29T10:00", "2011-12-30T10:00"),  # the 30th never was
        ("hour", "Asia/Kolkata", "2026-11-25T10:29", "2026-11-25T10:00", "2026-11-25T11:00"),
    ],
)
def test_windows_of_the_calendar(kind: WindowKind, zone: str, moment: str, start: str, end: str) -> None:
    assert Window(at(start), at(end)) == window_of(kind, zone, at(moment))


def test_a_total_budget_never_starts_anew() -> None:
    assert Window(0, None) == window_of("total", "UTC", round(datetime.now(UTC).timestamp()) * NS)
