"""How pages write figures. Unknown is written as unknown, never as 0."""

from datetime import UTC, datetime

from weighbridge.ledger.share import Measure, Shares
from weighbridge.records.usage import usd

VERDICTS = {"non_inferior": "as good", "inferior": "worse", "undecided": "undecided"}
TONES = {
    "non_inferior": "good", "inferior": "bad", "undecided": "unknown", "ok": "good", "allowed": "good",
    "obligations": "warn", "permission": "warn", "permission_fee_expected": "warn", "fee": "warn", "prohibited": "bad",
    "unclear": "unknown", "rolled_back": "bad", "rejected": "bad", "paused": "warn", "settled": "good", "lost": "bad",
    "upstream_error": "bad", "upstream_cut": "bad", "timeout": "bad", "refused": "warn", "client_gone": "warn",
}  # fmt: skip
"""Word -> how it is coloured; the word itself is always there too."""
STAGES = {
    "proposed": "proposed", "shadow": "shadow", "canary": "canary", "few": "few", "quarter": "quarter", "half": "half",
    "all": "all", "settled": "settled", "paused": "paused", "rolled_back": "rolled back", "rejected": "rejected",
}  # fmt: skip
UNKNOWN = "unknown"


def money(nanousd: int | None) -> str:
    return usd(None if nanousd is None else int(nanousd))


def percent(share: float | None, places: int = 1) -> str:
    """A share of one, as a percentage."""
    return UNKNOWN if share is None else f"{100 * share:.{places}f} %"


def part(shares: Shares | None, measure: Measure) -> float | None:
    """The open share by one measure; `None` where there is none."""
    return None if shares is None else shares.of(measure).share


def left_out(shares: Shares | None) -> tuple[str, ...]:
    """What the shares leave out and why, each said once; accepted tasks have a page of their own."""
    rows = () if shares is None else shares.measures
    whys = (one.why_unknown for one in rows if one.measure != "accepted_tasks")
    return tuple(dict.fromkeys(one for why in whys if why for one in why.split("; ")))


def points(value: float | None) -> str:
    """A difference of scores in points of a hundred, with its sign."""
    return UNKNOWN if value is None else f"{100 * value:+.1f}".replace("-", "\u2212")


def count(value: int | None) -> str:
    return UNKNOWN if value is None else f"{int(value):,}"


def compact(value: int | None) -> str:
    """A large count in few characters: 1.2 M."""
    if value is None:
        return UNKNOWN
    for bound, mark in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**4, "k")):
        if abs(value) >= bound:
            return f"{value / (1000 if mark == 'k' else bound):,.1f} {mark}"
    return f"{int(value):,}"


def when(time_ns: int | None) -> str:
    """`2026-11-25 08:15:30`, UTC."""
    if time_ns is None:
        return UNKNOWN
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def moment(at: datetime | None) -> str:
    return UNKNOWN if at is None else at.strftime("%Y-%m-%d %H:%M:%S")


def seconds(duration_ns: int | None) -> str:
    if duration_ns is None:
        return UNKNOWN
    ms = duration_ns / 1e6
    if 0 < ms < 1:
        return "under 1 ms"
    return f"{ms:,.0f} ms" if ms < 10_000 else f"{ms / 1000:,.1f} s"


def span(seconds_: float) -> str:
    """A duration for people: `3 h 20 min`."""
    whole = int(seconds_)
    days, hours, minutes = whole // 86_400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{whole} s"


def tone(word: str | None) -> str:
    return TONES.get(word or "", "plain")


def verdict(word: str | None) -> str:
    return VERDICTS.get(word or "", "none yet")


def stage(word: str) -> str:
    return STAGES.get(word, word)


def plain(word: str) -> str:
    """A word of the code as people read it."""
    return word.replace("_", " ")
