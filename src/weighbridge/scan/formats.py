"""Formats: how each is recognised, and where our columns are in it.

A format is a list of the leaves it reads (dotted paths into a record) and one SQL expression per column over them.
Leaves are read as text; `read` turns them into numbers and says which rows could not be. Nothing but the leaves named
here is taken out of a file. `schema` cites where the columns were published.
"""

from collections.abc import Callable

import msgspec

from weighbridge.scan.columns import NEEDED, heading
from weighbridge.scan.source import Source


class Format(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    title: str
    schema: str
    """Where its columns are published, and the day they were read."""
    recognise: Callable[[Source], bool]
    leaves: tuple[str, ...]
    columns: dict[str, str]
    """Column -> SQL over the leaves, each written as a quoted identifier of its dotted path."""
    unnest: tuple[str, ...] = ()
    """Lists on the way from a document to its rows: leaves below them are dotted paths too."""
    grain: str = "request"
    """`request`: one row is one call. `bucket`: a row sums calls of an hour or a day, so hours may be unknown."""


def leaf(path: str) -> str:
    return '"' + path.replace('"', '""') + '"'


def first_of(*paths: str) -> str:
    return f"coalesce({', '.join(f'nullif({leaf(path)}, {chr(39)}{chr(39)})' for path in paths)})"


def _has(*fields: str) -> Callable[[Source], bool]:
    return lambda source: set(fields) <= set(source.fields)


def _openai_jsonl(source: Source) -> bool:
    return any(f"{prefix}usage.prompt_tokens" in source.fields for prefix in ("", "response.", "response.body."))


_CHAT = ("", "response.", "response.body.")

OPENAI_JSONL = Format(
    name="openai-jsonl",
    title="OpenAI-style chat completions, one a line",
    schema="https://pypi.org/project/openai/3.57.0/, types ChatCompletion and CompletionUsage, read 2026-11-25",
    recognise=_openai_jsonl,
    leaves=(
        "time",
        "timestamp",
        "application",
        "app",
        "team",
        "user",
        "provider",
        "custom_id",
        "latency_ms",
        "response.status_code",
        *(
            f"{prefix}{path}"
            for prefix in _CHAT
            for path in (
                "model",
                "created",
                "usage.prompt_tokens",
                "usage.completion_tokens",
                "usage.prompt_tokens_details.cached_tokens",
                "usage.completion_tokens_details.reasoning_tokens",
            )
        ),
    ),
    columns={
        "time": first_of("time", "timestamp", *(f"{p}created" for p in _CHAT)),
        "application": first_of("application", "app"),
        "team": first_of("team"),
        "user": first_of("user"),
        "provider": first_of("provider"),
        # The answer names the model that ran; a log may name only the one that was asked for.
        "model": first_of("response.body.model", "response.model", "model"),
        "input_tokens": first_of(*(f"{p}usage.prompt_tokens" for p in _CHAT)),
        "cached_input_tokens": first_of(*(f"{p}usage.prompt_tokens_details.cached_tokens" for p in _CHAT)),
        "output_tokens": first_of(*(f"{p}usage.completion_tokens" for p in _CHAT)),
        "reasoning_tokens": first_of(*(f"{p}usage.completion_tokens_details.reasoning_tokens" for p in _CHAT)),
        "batch": f"CASE WHEN {leaf('custom_id')} IS NOT NULL AND {leaf('response.body.model')} IS NOT NULL "
        "THEN 'true' END",
        "status": first_of("response.status_code"),
        "latency_ms": first_of("latency_ms"),
    },
)


def _in_metadata(*paths: str) -> str:
    """LiteLLM keeps `metadata` as an object in JSON and as its text in CSV; both arrive as text here."""
    inner = [f"json_extract_string({_METADATA}, '$.{path}')" for path in paths]
    return f"coalesce({', '.join(inner)})"


_METADATA = f"CASE WHEN json_valid({leaf('metadata')}) THEN {leaf('metadata')} END"

LITELLM = Format(
    name="litellm",
    title="LiteLLM spend logs (table LiteLLM_SpendLogs, or /spend/logs)",
    schema="https://pypi.org/project/litellm-proxy-extras/0.4.110/, schema.prisma, model LiteLLM_SpendLogs, "
    "read 2026-11-25",
    recognise=_has("request_id", "spend", "prompt_tokens", "completion_tokens", "startTime", "api_key"),
    leaves=(
        "startTime",
        "endTime",
        "api_key",
        "team_id",
        "user",
        "end_user",
        "model",
        "custom_llm_provider",
        "spend",
        "prompt_tokens",
        "completion_tokens",
        "metadata",
        "status",
    ),
    columns={
        "time": first_of("startTime"),
        "application": f"coalesce({_in_metadata('user_api_key_alias')}, {first_of('api_key')})",
        "team": f"coalesce({_in_metadata('user_api_key_team_alias')}, {first_of('team_id')})",
        "user": first_of("end_user", "user"),
        "provider": first_of("custom_llm_provider"),
        "model": first_of("model"),
        "input_tokens": first_of("prompt_tokens"),
        "cached_input_tokens": _in_metadata(
            "usage_object.prompt_tokens_details.cached_tokens", "additional_usage_values.cache_read_input_tokens"
        ),
        "cache_write_tokens": _in_metadata(
            "usage_object.cache_creation_input_tokens", "additional_usage_values.cache_creation_input_tokens"
        ),
        "output_tokens": first_of("completion_tokens"),
        "reasoning_tokens": _in_metadata("usage_object.completion_tokens_details.reasoning_tokens"),
        "cost_usd": first_of("spend"),
        "status": f"coalesce({first_of('status')}, {_in_metadata('status')})",
        "latency_ms": f"CAST(epoch_ms(TRY_CAST({leaf('endTime')} AS TIMESTAMPTZ)) "
        f"- epoch_ms(TRY_CAST({leaf('startTime')} AS TIMESTAMPTZ)) AS VARCHAR)",
    },
)

_RESULT = "data.results"

OPENAI_USAGE = Format(
    name="openai-usage",
    title="OpenAI organisation usage (GET /v1/organization/usage/completions)",
    schema="https://platform.openai.com/docs/api-reference/usage/completions_object, as generated into "
    "https://docs.rs/async-openai/latest/async_openai/types/admin/usage/struct.UsageCompletionsResult.html, "
    "read 2026-11-25",
    recognise=_has(_RESULT, f"{_RESULT}.num_model_requests", f"{_RESULT}.input_tokens"),
    leaves=(
        "data.start_time",
        *(
            f"{_RESULT}.{key}"
            for key in (
                "input_tokens",
                "input_cached_tokens",
                "output_tokens",
                "num_model_requests",
                "project_id",
                "user_id",
                "api_key_id",
                "model",
                "batch",
            )
        ),
    ),
    columns={
        "time": leaf("data.start_time"),
        "application": first_of(f"{_RESULT}.api_key_id", f"{_RESULT}.project_id"),
        "team": first_of(f"{_RESULT}.project_id"),
        "user": first_of(f"{_RESULT}.user_id"),
        "provider": "'openai'",
        "model": first_of(f"{_RESULT}.model"),
        "requests": first_of(f"{_RESULT}.num_model_requests"),
        "input_tokens": first_of(f"{_RESULT}.input_tokens"),
        "cached_input_tokens": first_of(f"{_RESULT}.input_cached_tokens"),
        "output_tokens": first_of(f"{_RESULT}.output_tokens"),
        "batch": first_of(f"{_RESULT}.batch"),
    },
    unnest=("data", _RESULT),
    grain="bucket",
)

FORMATS = (LITELLM, OPENAI_USAGE, OPENAI_JSONL)


def own_schema(source: Source, mapping: dict[str, str]) -> Format | None:
    """The documented schema: columns by their heading, or as `mapping` (column -> heading) says. `None`: no fit."""
    found: dict[str, str] = {}
    for field in source.fields:
        name = heading(field)
        if name is not None:
            found.setdefault(name, field)
    found |= {column: field for column, field in mapping.items() if field in source.fields}
    if not set(NEEDED) <= set(found):
        return None
    return Format(
        name="columns",
        title="Columns of the documented schema",
        schema="docs/scan.md",
        recognise=lambda _: True,
        leaves=tuple(found.values()),
        columns={column: first_of(field) for column, field in found.items()},
        grain="bucket" if "requests" in found else "request",
    )


def missing(source: Source, mapping: dict[str, str]) -> list[str]:
    """The needed columns that neither a heading nor the mapping gives."""
    found = {heading(field) for field in source.fields} | {
        column for column, field in mapping.items() if field in source.fields
    }
    return [name for name in NEEDED if name not in found]
