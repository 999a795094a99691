"""Figures as people read them. Unknown is written out."""

import re

from weighbridge.records.usage import NANOUSD
from weighbridge.scan.bill import Sum
from weighbridge.scan.figure import Figure

UNKNOWN = "unknown"
NOT_STATED = "not stated"


def money(nanousd: float | None) -> str:
    """US dollars: cents below a thousand, whole dollars from there; never rounds a cost down to nothing."""
    if nanousd is None:
        return UNKNOWN
    usd = nanousd / NANOUSD
    size = abs(usd)
    if 0 < size < 0.005:
        return "under $0.01"
    text = f"${size:,.0f}" if size >= 1000 else f"${size:,.2f}"
    return f"−{text}" if usd < 0 else text


def span(one: Figure) -> str:
    """`$12.00 (8.00 to 30.00)`, or why it is unknown."""
    if one.value is None:
        return UNKNOWN
    if one.low == one.high:
        return money(one.value)
    return f"{money(one.value)} ({money(one.low)} to {money(one.high)})"


def percent(share: float | None) -> str:
    if share is None:
        return UNKNOWN
    value = 100 * share
    if 0 < value < 0.1:
        return "under 0.1 %"
    return f"{value:.0f} %" if value >= 10 or value == 0 else f"{value:.1f} %"


def against(one: Figure, now: int | None) -> str:
    """The value against today's cost: `0.04x`."""
    if one.value is None or not now:
        return UNKNOWN
    ratio = one.value / now
    return f"{ratio:.2f}x" if ratio < 10 else f"{ratio:,.0f}x"


def tokens(count: int) -> str:
    for size, word in ((10**9, "bn"), (10**6, "m"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.1f}{word}"
    return str(count)


def count(number: int | None) -> str:
    return NOT_STATED if number is None else f"{number:,}"


def amount(one: Sum) -> str:
    """Requests where they are counted, else tokens."""
    if one.requests is None:
        return f"{tokens(one.input_tokens + one.output_tokens)} tokens"
    return f"{one.requests:,} request{'s' if one.requests != 1 else ''}"


def unknown_part(one: Sum) -> str:
    """Requests, or tokens, whose cost is unknown."""
    if one.unknown_requests is None:
        return f"{tokens(one.unknown_tokens)} tokens"
    return f"{one.unknown_requests:,} request{'s' if one.unknown_requests != 1 else ''}"


def name(text: str | None) -> str:
    return NOT_STATED if text is None else text


def minutes(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    return f"{value:.0f} min" if value >= 1 else "under 1 min"


def hours(value: float) -> str:
    return f"{value:.0f} hours" if value >= 10 else f"{value:.1f} hours"


_SHORT = (
    ("tokens.", "how it counts tokens"),
    ("output.", "how long its answers are"),
    ("cache.", "its cache"),
    ("hours.", "the hours of the requests"),
    ("batch.", "what can wait"),
    ("gpu.rent", "the rent"),
    ("gpu.own", "the cost of owning"),
    ("gpu.node", "GPUs bought together"),
    ("speed.", "how fast a GPU serves it"),
    ("waste.prefix", "how much of prompts is shared"),
    ("waste.", "where the rule draws its line"),
)


def short(ident: str) -> str:
    """An assumption in a few words, for a narrow column; its row has the sentence."""
    return next((words for start, words in _SHORT if ident.startswith(start)), ident)


def anchor(ident: str) -> str:
    return "a-" + re.sub(r"[^a-zA-Z0-9]+", "-", ident)
