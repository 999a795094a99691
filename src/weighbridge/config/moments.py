"""Days, moments and hours of the day as people write them in a configuration."""

import re
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

_HOURS = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)")


def parse_moment(text: str, time_zone: str = "UTC") -> datetime:
    """`2026-12-01` is its first moment on clocks of the zone; `2026-12-01T09:30` is on them, with an offset it is as it
    says. The answer is in UTC. Raises `ValueError` on anything else.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a day or moment; write 2026-12-01 or 2026-12-01T09:30+08:00") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(time_zone))
    return moment.astimezone(UTC)


def parse_hours(text: str) -> tuple[time, time]:
    """`09:00-12:00`; `22:00-06:00` goes past midnight, `18:00-24:00` up to it. Raises `ValueError` on anything else."""
    found = _HOURS.fullmatch(text)
    numbers = [int(part) for part in found.groups()] if found else []
    if len(numbers) == 4 and numbers[2:] == [24, 0]:
        numbers[2] = 0
    try:
        start, end = (time(hour, minute) for hour, minute in zip(numbers[::2], numbers[1::2], strict=True))
    except ValueError:  # an hour that no clock shows, or no hours at all
        start = end = time()
    if start == end:
        raise ValueError(f"{text!r} is no part of a day; write HH:MM-HH:MM, e.g. 09:00-12:00")
    return start, end


def local_day(moment: datetime, time_zone: str) -> date:
    """The day that clocks of the zone show."""
    return moment.astimezone(ZoneInfo(time_zone)).date()
