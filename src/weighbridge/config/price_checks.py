"""Do dated prices and commitments make sense? Amounts, names, days, hours, and what must stand together."""

from collections.abc import Callable, Iterable
from zoneinfo import available_timezones

from weighbridge.config.moments import parse_hours, parse_moment
from weighbridge.config.tree import CommitmentSection, Config, PriceRowSection, PriceSection
from weighbridge.errors import ConfigError
from weighbridge.records.usage import nanousd_per_million

AMOUNTS = (
    "input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning", "per_request", "audio_input",
    "audio_output", "image_input", "image_output", "web_search",
)  # fmt: skip
NEEDED = {
    "subscription": ("usd_per_month",),
    "token_plan": ("usd_per_month", "included_tokens"),
    "gpu_hours": ("gpus", "usd_per_gpu_hour"),
}
"""What each kind of commitment cannot be counted without."""
SOURCE_CHARS_MAX = 500


def price_problem(row: PriceRowSection, endpoints: Iterable[str] = ()) -> tuple[str, str] | None:
    """The key and what is wrong with it, for a row of the configuration or of `price set`."""
    if (row.provider is None) == (row.endpoint is None):
        return "provider", "say exactly one of: provider, endpoint"
    if row.endpoint is not None and row.endpoint not in endpoints:
        return "endpoint", f"{row.endpoint!r} is no [[endpoint]]; there are: {', '.join(endpoints) or 'none'}"
    if row.time_zone not in available_timezones():
        return "time_zone", f"{row.time_zone!r} is no IANA time zone; write e.g. UTC or Asia/Shanghai"
    if not row.source.strip() or len(row.source) > SOURCE_CHARS_MAX:
        return "source", "say where the price is from, in at most 500 characters"
    if row.above_input_tokens is not None and row.above_input_tokens < 1:
        return "above_input_tokens", f"{row.above_input_tokens} must be 1 or more"
    if row.service_tier is not None and not row.service_tier.strip():
        return "service_tier", "must be the word that responses report, e.g. flex"
    found = amounts_problem(row) or _unread("hours", lambda: None if row.hours is None else parse_hours(row.hours))
    return found or _span_problem(row.since, row.until, row.time_zone)


def amounts_problem(row: PriceSection) -> tuple[str, str] | None:
    for name in AMOUNTS:
        amount = getattr(row, name)
        if amount is not None and (found := _unread(name, lambda amount=amount: nanousd_per_million(amount))):  # type: ignore[misc]
            return found
    return None


def _unread(key: str, read: Callable[[], object]) -> tuple[str, str] | None:
    try:
        read()
    except ValueError as error:
        return key, str(error)
    return None


def _span_problem(since: str | None, until: str | None, time_zone: str) -> tuple[str, str] | None:
    for key, text in (("since", since), ("until", until)):
        if text is not None and (found := _unread(key, lambda text=text: parse_moment(text, time_zone))):  # type: ignore[misc]
            return found
    if since is not None and until is not None and parse_moment(since, time_zone) >= parse_moment(until, time_zone):
        return "until", f"{until!r} is not after since, {since!r}"
    return None


def commitment_problem(row: CommitmentSection, endpoints: Iterable[str]) -> tuple[str, str] | None:
    if row.endpoint not in endpoints:
        return "endpoint", f"{row.endpoint!r} is no [[endpoint]]; there are: {', '.join(endpoints) or 'none'}"
    for key in NEEDED[row.kind]:
        if getattr(row, key) is None:
            return key, f"is missing: a commitment of kind {row.kind!r} needs {', '.join(NEEDED[row.kind])}"
    for key in ("usd_per_month", "usd_per_gpu_hour"):
        amount = getattr(row, key)
        if amount is not None and (found := _unread(key, lambda amount=amount: nanousd_per_million(amount))):  # type: ignore[misc]
            return found
    for key in ("included_tokens", "gpus", "prefill_tokens_per_s", "decode_tokens_per_s"):
        count = getattr(row, key)
        if count is not None and not count > 0:
            return key, f"{count} must be more than 0"
    if (row.prefill_tokens_per_s is None) != (row.decode_tokens_per_s is None):
        return "decode_tokens_per_s", "state prefill_tokens_per_s and decode_tokens_per_s together"
    if not 0 < row.load <= 1:
        return "load", f"{row.load} must be more than 0 and at most 1"
    return _span_problem(row.since, row.until, "UTC")


def check_prices(file: str, config: Config) -> None:
    """Raises `ConfigError` for the first row that makes no sense."""
    endpoints = [row.name for row in config.endpoint]
    for number, row in enumerate(config.price):
        if (problem := price_problem(row, endpoints)) is not None:
            raise ConfigError(file, f"price[{number}].{problem[0]}", problem[1])
    for commitment in config.commitment:
        if (problem := commitment_problem(commitment, endpoints)) is not None:
            raise ConfigError(file, f"commitment[{commitment.name}].{problem[0]}", problem[1])
