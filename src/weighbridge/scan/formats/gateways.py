"""Logs of gateways and trackers: LiteLLM, Helicone, Langfuse, OpenTelemetry, and bare OpenAI-style answers."""

from weighbridge.scan.formats.form import Format, first_of, has, in_json, leaf
from weighbridge.scan.source import Source


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
    return in_json("metadata", *paths)


LITELLM = Format(
    name="litellm",
    title="LiteLLM spend logs (table LiteLLM_SpendLogs, or /spend/logs)",
    schema="https://pypi.org/project/litellm-proxy-extras/0.4.110/, schema.prisma, model LiteLLM_SpendLogs, "
    "read 2026-11-25",
    recognise=has("request_id", "spend", "prompt_tokens", "completion_tokens", "startTime", "api_key"),
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


def _number(text: str) -> str:
    return f"TRY_CAST({text} AS BIGINT)"


_HELICONE_CACHED = " + ".join(
    f"coalesce({_number(leaf(name))}, 0)" for name in ("prompt_cache_read_tokens", "prompt_cache_write_tokens")
)
_HELICONE_BOTH = f"{_number(leaf('prompt_tokens'))} + {_number(leaf('completion_tokens'))}"

HELICONE = Format(
    name="helicone",
    title="Helicone export (request/query-clickhouse, or its export tool)",
    schema="https://docs.helicone.ai/rest/request/post-v1requestquery-clickhouse, type HeliconeRequest; the columns of "
    "the CSV in github.com/Helicone/helicone, examples/export/typescript/index.ts, read 2026-11-25",
    recognise=lambda source: has("request_created_at", "response_status", "prompt_tokens", "request_user_id")(source),
    leaves=(
        "request_created_at", "response_status", "request_user_id", "request_properties", "provider", "model",
        "request_model", "response_model", "prompt_tokens", "prompt_cache_read_tokens", "prompt_cache_write_tokens",
        "completion_tokens", "reasoning_tokens", "total_tokens", "cost", "costUSD", "delay_ms", "latency",
        "cache_reference_id",
    ),
    columns={
        "time": first_of("request_created_at"),
        "application": in_json("request_properties", "App", "app", "Application", "application"),
        "team": in_json("request_properties", "Team", "team"),
        "user": first_of("request_user_id"),
        "provider": f"lower({first_of('provider')})",
        "model": first_of("model", "response_model", "request_model"),
        # The total says whether cached tokens are counted among the prompt tokens or beside them.
        "input_tokens": f"CASE WHEN {_number(leaf('total_tokens'))} = {_HELICONE_BOTH} + {_HELICONE_CACHED} "
        f"THEN ({_number(leaf('prompt_tokens'))} + {_HELICONE_CACHED})::VARCHAR ELSE {first_of('prompt_tokens')} END",
        "cached_input_tokens": first_of("prompt_cache_read_tokens"),
        "cache_write_tokens": first_of("prompt_cache_write_tokens"),
        "output_tokens": first_of("completion_tokens"),
        "reasoning_tokens": first_of("reasoning_tokens"),
        "cost_usd": first_of("costUSD", "cost"),
        "status": first_of("response_status"),
        "latency_ms": first_of("delay_ms", "latency"),
    },
    passes=(
        (
            "answered from Helicone's own cache, so nobody charged for it",
            f"{leaf('cache_reference_id')} NOT IN ('', '00000000-0000-0000-0000-000000000000')",
        ),
    ),
    refuses=(
        (
            "its total does not say whether cached tokens are among the prompt tokens",
            f"{_HELICONE_CACHED} > 0 AND {_number(leaf('total_tokens'))} NOT IN "
            f"({_HELICONE_BOTH}, {_HELICONE_BOTH} + {_HELICONE_CACHED})",
        ),
    ),
)  # fmt: skip


def _langfuse(prefix: str) -> Format:
    usage = f"{prefix}usageDetails"

    def classes(*keys: str) -> str:
        known = [_number(in_json(usage, key)) for key in keys]
        return " + ".join(f"coalesce({one}, 0)" for one in known)

    fresh = in_json(usage, "input")
    read = classes("input_cached_tokens", "cache_read_input_tokens", "input_cache_read")
    write = classes("cache_creation_input_tokens", "input_cache_creation", "input_cache_creation_5m")
    write_1h = classes("input_cache_creation_1h")
    reasoning = classes("output_reasoning_tokens", "output_reasoning")
    made = in_json(usage, "output")
    every = f"{_number(fresh)} + {read} + {write} + {write_1h} + {_number(made)} + {reasoning}"
    total = _number(in_json(usage, "total"))
    return Format(
        name="langfuse",
        title="Langfuse observations (GET /api/public/v2/observations)",
        schema="https://pypi.org/project/langfuse/5.0.4/, langfuse.api ObservationV2; usage types as in "
        "https://langfuse.com/docs/token-usage, read 2026-11-25",
        recognise=has(f"{prefix}usageDetails", f"{prefix}startTime", f"{prefix}type"),
        unnest=("data",) if prefix else (),
        leaves=tuple(
            f"{prefix}{name}"
            for name in (
                "startTime", "type", "traceName", "name", "userId", "model", "usageDetails", "totalCost", "level",
                "latency", "environment",
            )
        ),
        columns={
            "time": first_of(f"{prefix}startTime"),
            "application": first_of(f"{prefix}traceName", f"{prefix}name"),
            "user": first_of(f"{prefix}userId"),
            "model": first_of(f"{prefix}model"),
            # Usage types are disjoint: what was read from a cache is not in `input`.
            "input_tokens": f"({_number(fresh)} + {read} + {write} + {write_1h})::VARCHAR",
            "cached_input_tokens": f"({read})::VARCHAR",
            "cache_write_tokens": f"nullif({write}, 0)::VARCHAR",
            "cache_write_1h_tokens": f"nullif({write_1h}, 0)::VARCHAR",
            "output_tokens": f"({_number(made)} + {reasoning})::VARCHAR",
            "reasoning_tokens": f"nullif({reasoning}, 0)::VARCHAR",
            "cost_usd": first_of(f"{prefix}totalCost"),
            "status": f"lower(nullif({leaf(f'{prefix}level')}, ''))",
            "latency_ms": f"(TRY_CAST({leaf(f'{prefix}latency')} AS DOUBLE) * 1000)::VARCHAR",
        },
        passes=(("an observation that is no call of a model", f"{leaf(f'{prefix}type')} <> 'GENERATION'"),),
        refuses=(
            ("its usage types do not add up to its total: one of them is not known here", f"{total} <> {every}"),
        ),
    )  # fmt: skip


LANGFUSE = (_langfuse("data."), _langfuse(""))

_SPAN = "resourceSpans.scopeSpans.spans"
_ATTRIBUTES = (
    'STRUCT("key" VARCHAR, "value" STRUCT("stringValue" VARCHAR, "intValue" VARCHAR, "doubleValue" VARCHAR))[]'
)


def _attribute(*keys: str, of: str = f"{_SPAN}.attributes") -> str:
    def one(key: str) -> str:
        value = f'list_filter({leaf(of)}, lambda one: one."key" = \'{key}\')[1]."value"'
        return f'{value}."stringValue", {value}."intValue", {value}."doubleValue"'

    return f"coalesce({', '.join(map(one, keys))})"


_NANOS = f"TRY_CAST({leaf(f'{_SPAN}.startTimeUnixNano')} AS HUGEINT)"

OTLP = Format(
    name="otlp",
    title="OpenTelemetry spans of calls of a language model (OTLP JSON)",
    schema="https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/ (semantic conventions 0.66b2) in "
    "https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/, read 2026-11-25",
    recognise=has("resourceSpans"),
    unnest=("resourceSpans", "resourceSpans.scopeSpans", _SPAN),
    leaves=(
        f"{_SPAN}.startTimeUnixNano",
        f"{_SPAN}.endTimeUnixNano",
        f"{_SPAN}.status.code",
        f"{_SPAN}.attributes",
        "resourceSpans.resource.attributes",
    ),
    # Attributes are a list of pairs, so it is read whole; what is not asked for below goes no further than that.
    typed={f"{_SPAN}.attributes": _ATTRIBUTES, "resourceSpans.resource.attributes": _ATTRIBUTES},
    columns={
        "time": f"({_NANOS} // 1000000)::VARCHAR",
        "application": _attribute("service.name", of="resourceSpans.resource.attributes"),
        "team": _attribute("service.namespace", of="resourceSpans.resource.attributes"),
        "user": _attribute("user.id", "enduser.id"),
        "provider": _attribute("gen_ai.provider.name", "gen_ai.system"),
        "model": _attribute("gen_ai.response.model", "gen_ai.request.model"),
        "input_tokens": _attribute("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
        "cached_input_tokens": _attribute("gen_ai.usage.cache_read.input_tokens"),
        "cache_write_tokens": _attribute("gen_ai.usage.cache_creation.input_tokens"),
        "output_tokens": _attribute("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
        "reasoning_tokens": _attribute("gen_ai.usage.reasoning.output_tokens"),
        "status": f"CASE WHEN {leaf(f'{_SPAN}.status.code')} IN ('2', 'STATUS_CODE_ERROR') THEN 'error' END",
        "latency_ms": f"((TRY_CAST({leaf(f'{_SPAN}.endTimeUnixNano')} AS HUGEINT) - {_NANOS}) // 1000000)::VARCHAR",
    },
    passes=(
        (
            "a span that is no call of a model",
            f"{_NANOS} IS NOT NULL AND coalesce({_attribute('gen_ai.operation.name')}, CASE WHEN "
            f"{_attribute('gen_ai.usage.input_tokens', 'gen_ai.usage.prompt_tokens')} IS NOT NULL THEN 'chat' END, '') "
            "NOT IN ('chat', 'text_completion', 'generate_content')",
        ),
        (
            "a failed call without a token count",
            f"{leaf(f'{_SPAN}.status.code')} IN ('2', 'STATUS_CODE_ERROR') AND "
            f"{_attribute('gen_ai.usage.input_tokens', 'gen_ai.usage.prompt_tokens')} IS NULL",
        ),
    ),
)
