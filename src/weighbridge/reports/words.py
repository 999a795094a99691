"""Figures as people read them: points, percentages, money, time. The same words in every rendering.

Unknown is written `unknown`; minus is the real minus sign.
"""

from datetime import UTC, datetime

from weighbridge.records.evidence import VerdictWord
from weighbridge.records.usage import NANOUSD

UNKNOWN = "unknown"
MINUS = "−"


def points(difference: float | None, *, sign: bool = False) -> str:
    """A difference in [-1, 1] as percentage points: `3 points`, with a sign `+1.2 points`."""
    if difference is None:
        return UNKNOWN
    text = signed(100 * difference) if sign else _short(100 * difference)
    return f"{text} {'point' if text.lstrip('+' + MINUS) == '1' else 'points'}"


def signed(value: float, digits: int = 1) -> str:
    """`+1.2`, `−0.4`, `0.0` at the given digits."""
    text = f"{abs(value):.{digits}f}"
    if not text.strip("0."):
        return text
    return f"{'+' if value > 0 else MINUS}{text}"


def interval(bounds: tuple[float, float] | None) -> str:
    """`−2.1 to +3.4` in points."""
    return UNKNOWN if bounds is None else f"{signed(100 * bounds[0])} to {signed(100 * bounds[1])}"


def percent(share: float | None, digits: int | None = None) -> str:
    """A share as a percentage: whole numbers from 10 % on, one digit below unless said otherwise."""
    if share is None:
        return UNKNOWN
    value = 100 * share
    if digits is None:
        digits = 0 if abs(value) >= 9.95 or value == 0 else 1
    text = f"{abs(value):.{digits}f}".removesuffix(".0")
    if value and not text.strip("0."):
        text = f"under {10**-digits:g}"
    return f"{MINUS if value < 0 else ''}{text} %"


def change(relative: float | None) -> str:
    """A relative change: `−81 %`, `+4.0 %`."""
    if relative is None:
        return UNKNOWN
    text = percent(abs(relative))
    return text if relative == 0 else f"{'+' if relative > 0 else MINUS}{text}"


def money(nanousd: float | None) -> str:
    """US dollars with three significant digits below ten dollars, whole dollars from a thousand on."""
    if nanousd is None:
        return UNKNOWN
    amount = nanousd / NANOUSD
    if amount == 0:
        return "$0"
    size = abs(amount)
    if size >= 1000:
        text = f"{size:,.0f}"
    elif size >= 1:
        text = f"{size:,.2f}"
    else:
        digits = 2
        while digits < 9 and size * 10**digits < 100:
            digits += 1
        text = f"{size:.{digits}f}"
    return f"{MINUS if amount < 0 else ''}${text}"


def per_thousand(sum_nanousd: int | None, requests: int) -> str:
    """Money per 1,000 requests."""
    return UNKNOWN if sum_nanousd is None or not requests else money(1000 * sum_nanousd / requests)


def seconds(ns: int | None) -> str:
    """`180 ms`, `2.4 s`, `3 min 5 s`."""
    if ns is None:
        return UNKNOWN
    value = ns / 1e9
    if value < 0.9995:
        return f"{1000 * value:.0f} ms" if value >= 0.0095 else f"{1000 * value:.1f} ms"
    if value < 100:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s"


def days(span: float | None) -> str:
    """How long a span is, in the largest unit that says it: `12 days`, `5 hours`, `40 minutes`."""
    if span is None:
        return UNKNOWN
    for unit, size in (("day", 1.0), ("hour", 1 / 24), ("minute", 1 / 1440)):
        if span >= size:
            return count(round(span / size), unit)
    return "less than a minute"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """`1 request`, `1,319 requests`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def day(ns: int | None) -> str:
    """A UTC day as `25 November 2026`."""
    if ns is None:
        return UNKNOWN
    when = datetime.fromtimestamp(ns / 1e9, UTC)
    return f"{when.day} {when:%B %Y}"


def moment(ns: int | None) -> str:
    """A UTC moment as `25 November 2026, 14:03 UTC`."""
    if ns is None:
        return UNKNOWN
    return f"{day(ns)}, {datetime.fromtimestamp(ns / 1e9, UTC):%H:%M} UTC"


def period(first_ns: int | None, last_ns: int | None) -> str:
    """`25 November 2026`, or `3 November 2026 to 25 November 2026`."""
    first, last = day(first_ns), day(last_ns)
    return first if first == last else f"{first} to {last}"


def listed(names: tuple[str, ...] | list[str], conjunction: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {conjunction} {names[-1]}"


def _short(value: float) -> str:
    text = f"{abs(value):.1f}".removesuffix(".0")
    return f"{MINUS if value < 0 else ''}{text}"


def verdict(word: VerdictWord) -> str:
    """A verdict as a table's cell says it."""
    return _VERDICTS[word]


_VERDICTS: dict[VerdictWord, str] = {"non_inferior": "as good", "inferior": "worse", "undecided": "undecided"}
