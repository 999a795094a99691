"""The columns of a usage row: what the documented CSV and JSONL schema calls them, and what they mean."""

import msgspec


class Column(msgspec.Struct, frozen=True):
    name: str
    meaning: str
    also: tuple[str, ...] = ()
    """Other headings that are taken for it, lower case."""


COLUMNS = (
    Column("time", "when, ISO 8601 or Unix seconds; without a zone it is UTC", ("timestamp", "date", "created_at")),
    Column("application", "what made the requests", ("app", "project", "route", "api_key_alias", "service")),
    Column("team", "who answers for it", ("department", "cost_center", "cost_centre")),
    Column("user", "who made the requests", ("user_id", "end_user")),
    Column("provider", "who sells the model; guessed from the model where absent", ("vendor",)),
    Column("model", "the model as the provider names it; needed", ("model_name", "model_id")),
    Column("requests", "how many requests the row sums; 1 where absent", ("num_requests", "request_count")),
    Column("input_tokens", "all input tokens, cached ones included; needed", ("prompt_tokens",)),
    Column("cached_input_tokens", "input tokens read from a cache", ("cache_read_tokens", "cached_tokens")),
    Column("cache_write_tokens", "input tokens written to a cache", ("cache_creation_tokens",)),
    Column("cache_write_1h_tokens", "input tokens written to a cache that lives an hour"),
    Column("output_tokens", "all output tokens, reasoning included; needed", ("completion_tokens",)),
    Column("reasoning_tokens", "output tokens spent on reasoning", ("tokens_reasoning",)),
    Column("cost_usd", "what was charged, in US dollars", ("cost", "spend", "spend_usd")),
    Column("batch", "true where the batch price was paid", ("is_batch",)),
    Column("service_tier", "`batch`, or another tier than the standard one, whose price is then unknown", ("tier",)),
    Column("status", "`error` or an HTTP status of 400 and above marks a failure", ("status_code",)),
    Column("latency_ms", "milliseconds from request to last byte", ("duration_ms",)),
    Column("request_key", "equal for requests with the same content, e.g. a hash", ("prompt_sha256", "prompt_hash")),
)

NAMES = tuple(column.name for column in COLUMNS)
NEEDED = ("model", "input_tokens", "output_tokens")


def heading(text: str) -> str | None:
    """The column that a heading means, `None` if none: case, spaces and hyphens do not matter."""
    plain = text.strip().lower().replace(" ", "_").replace("-", "_")
    return next((column.name for column in COLUMNS if plain == column.name or plain in column.also), None)
