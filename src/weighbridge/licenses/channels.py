"""Where a paid licence can be had, and what is known of its price."""

from functools import cache

from weighbridge.licenses import load
from weighbridge.licenses.model import Confidence, Record


class Channel(Record, frozen=True, kw_only=True):
    licensor: str
    terms: tuple[str, ...]
    reseller: str
    plans: tuple[str, ...]
    source: str
    not_covered: tuple[str, ...] = ()
    territory: str | None = None
    confidence: Confidence | None = None


class _Channels(Record, frozen=True):
    channel: tuple[Channel, ...]


@cache
def channels() -> tuple[Channel, ...]:
    file = load.FOLDER / "_channels.toml"
    found = load.parse(file.name, load.read_toml(file), _Channels).channel
    for row in found:
        for name in row.terms:
            if name not in load.ids():
                raise load.unknown_name(file.name, f"channel[{row.licensor}].terms", name, load.ids())
    return found
