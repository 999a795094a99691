"""What `license check` reads from the exchange log, where a licence counts output tokens and nobody stated them."""

import math
import time
from pathlib import Path

import msgspec

from weighbridge.cli.options import DEFAULT_CONFIG
from weighbridge.config import load
from weighbridge.exchanges.framing import Corrupt
from weighbridge.exchanges.reader import read
from weighbridge.licenses.ahead import ahead
from weighbridge.licenses.metered import MONTHS_BACK, MeteredTokens, counts_tokens, metered
from weighbridge.licenses.profile import Profile, Range
from weighbridge.licenses.resolve import Part
from weighbridge.licenses.statement import month_at, month_starts_ns
from weighbridge.store.layout import Layout


def from_log(query: str, parts: tuple[Part, ...], config: Path) -> MeteredTokens | None:
    """`None` where no part counts output tokens, no store is configured here, or the model was never called."""
    terms = counts_tokens(parts)
    if not terms or (config == DEFAULT_CONFIG and not config.exists()):
        return None
    loaded = load(config)
    layout = Layout(loaded.store_path)
    if not layout.root.is_dir():
        return None
    now_ns = time.time_ns()
    since = month_starts_ns(month_at(now_ns), after=-MONTHS_BACK)
    ids = {one.id for one in terms}
    arms = [row.name for row in loaded.config.arm if row.terms in ids]
    damage: list[Corrupt] = []
    found = metered(read(layout, since_ns=since, damaged=damage.append), query, terms, arms, now_ns)
    if damage:  # what is missing may have been calls
        found = msgspec.structs.replace(found, calls_uncounted=found.calls_uncounted + len(damage))
    return found if found.tokens or found.calls_uncounted else None


def with_tokens(who: Profile, found: MeteredTokens) -> Profile:
    """Calls that nobody counted leave the upper end open, so that they can never make a verdict milder."""
    high = math.inf if found.calls_uncounted else float(found.tokens)
    return msgspec.structs.replace(who, output_tokens_month=Range(float(found.tokens), high))


def told(query: str, who: Profile, found: MeteredTokens, on: str) -> list[str]:
    """What was metered, and when its line is reached if it goes on growing as it did."""
    more = (
        f"; {found.calls_uncounted} without a count (calls, or damaged stretches of the log)"
        if found.calls_uncounted
        else ""
    )
    said = [f"Metered here: {found.tokens:,} output tokens in the busiest of the last {MONTHS_BACK} months{more}."]
    if found.growth is None:
        return said
    only = msgspec.structs.replace(who, figures={}, output_tokens_month=Range(float(found.tokens), float(found.tokens)))
    rows = ahead(query, only, found.growth, on)
    first, last = found.months[0][0], found.months[-1][0]
    said.append(f"From {first} to {last} it grew by {found.growth:.0%} a month.")
    return [*said, *(row.sentence for row in rows)]
