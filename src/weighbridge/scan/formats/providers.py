"""What providers export of their own: OpenAI's and Anthropic's usage reports, OpenRouter's activity."""

from weighbridge.scan.formats.form import Format, first_of, has, leaf

_RESULT = "data.results"

OPENAI_USAGE = Format(
    name="openai-usage",
    title="OpenAI organisation usage (GET /v1/organization/usage/completions)",
    schema="https://platform.openai.com/docs/api-reference/usage/completions_object, as generated into "
    "https://pypi.org/project/openai/3.57.0/, types.admin.organization.UsageCompletionsResponse, read 2026-11-25",
    recognise=has(_RESULT, f"{_RESULT}.num_model_requests", f"{_RESULT}.input_tokens"),
    leaves=(
        "data.start_time",
        *(
            f"{_RESULT}.{key}"
            for key in (
                "input_tokens",
                "input_cached_tokens",
                "input_cache_write_tokens",
                "input_cache_write_12h_tokens",
                "service_tier",
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
        "cache_write_tokens": first_of(f"{_RESULT}.input_cache_write_tokens"),
        "output_tokens": first_of(f"{_RESULT}.output_tokens"),
        "service_tier": f"CASE WHEN TRY_CAST({leaf(f'{_RESULT}.input_cache_write_12h_tokens')} AS BIGINT) > 0 "
        f"THEN 'cache kept for 12 hours' ELSE {first_of(f'{_RESULT}.service_tier')} END",
        "batch": first_of(f"{_RESULT}.batch"),
    },
    unnest=("data", _RESULT),
    grain="bucket",
)

ANTHROPIC_USAGE = Format(
    name="anthropic-usage",
    title="Anthropic usage report (GET /v1/organizations/usage_report/messages, or analytics/usage)",
    schema="https://platform.claude.com/docs/en/api/admin/usage_report/retrieve_messages; for analytics/usage "
    "https://pypi.org/project/anthropic/2.14.0/, types.beta.organization.BetaAnalyticsUsageReportTimeBucket, "
    "read 2026-11-25",
    recognise=has(_RESULT, f"{_RESULT}.uncached_input_tokens", f"{_RESULT}.output_tokens"),
    leaves=(
        "data.starting_at",
        *(
            f"{_RESULT}.{key}"
            for key in (
                "uncached_input_tokens",
                "cache_read_input_tokens",
                "cache_creation.ephemeral_5m_input_tokens",
                "cache_creation.ephemeral_1h_input_tokens",
                "output_tokens",
                "requests",
                "api_key_id",
                "workspace_id",
                "account_id",
                "product",
                "model",
                "service_tier",
                "speed",
            )
        ),
    ),
    columns={
        "time": leaf("data.starting_at"),
        "application": first_of(f"{_RESULT}.api_key_id", f"{_RESULT}.product", f"{_RESULT}.workspace_id"),
        "team": first_of(f"{_RESULT}.workspace_id"),
        "user": first_of(f"{_RESULT}.account_id"),
        "provider": "'anthropic'",
        "model": first_of(f"{_RESULT}.model"),
        "requests": first_of(f"{_RESULT}.requests"),
        "input_tokens": f"CASE WHEN {leaf(f'{_RESULT}.uncached_input_tokens')} IS NOT NULL THEN ("
        + " + ".join(
            f"coalesce(TRY_CAST({leaf(f'{_RESULT}.{key}')} AS BIGINT), 0)"
            for key in (
                "uncached_input_tokens",
                "cache_read_input_tokens",
                "cache_creation.ephemeral_5m_input_tokens",
                "cache_creation.ephemeral_1h_input_tokens",
            )
        )
        + ")::VARCHAR END",
        "cached_input_tokens": first_of(f"{_RESULT}.cache_read_input_tokens"),
        "cache_write_tokens": first_of(f"{_RESULT}.cache_creation.ephemeral_5m_input_tokens"),
        "cache_write_1h_tokens": first_of(f"{_RESULT}.cache_creation.ephemeral_1h_input_tokens"),
        "output_tokens": first_of(f"{_RESULT}.output_tokens"),
        "service_tier": f"CASE WHEN {leaf(f'{_RESULT}.speed')} = 'fast' THEN 'fast' "
        f"ELSE {first_of(f'{_RESULT}.service_tier')} END",
    },
    passes=(
        (
            "use that is no tokens of a model (code execution)",
            f"{leaf(f'{_RESULT}.model')} IS NULL AND {leaf(f'{_RESULT}.uncached_input_tokens')} = '0' "
            f"AND {leaf(f'{_RESULT}.output_tokens')} = '0'",
        ),
    ),
    unnest=("data", _RESULT),
    grain="bucket",
    counted=False,
)

OPENROUTER = Format(
    name="openrouter",
    title="OpenRouter activity (GET /api/v1/activity)",
    schema="https://pypi.org/project/openrouter/1.3.84/, components.ActivityItem, read 2026-11-25",
    recognise=has("data.model_permaslug", "data.byok_usage_inference", "data.prompt_tokens"),
    leaves=tuple(
        f"data.{key}"
        for key in (
            "date",
            "model",
            "provider_name",
            "usage",
            "byok_usage_inference",
            "requests",
            "prompt_tokens",
            "completion_tokens",
            "reasoning_tokens",
            "cached_tokens",
            "workspace_id",
        )
    ),
    columns={
        "time": first_of("data.date"),
        "provider": "'openrouter'",
        "model": first_of("data.model"),
        "requests": first_of("data.requests"),
        "team": first_of("data.workspace_id"),
        "input_tokens": first_of("data.prompt_tokens"),
        "cached_input_tokens": first_of("data.cached_tokens"),
        "output_tokens": first_of("data.completion_tokens"),
        "reasoning_tokens": first_of("data.reasoning_tokens"),
        # What a key of one's own paid the provider directly comes on top of the credits.
        "cost_usd": f"(TRY_CAST({leaf('data.usage')} AS DECIMAL(38, 12)) "
        f"+ coalesce(TRY_CAST({leaf('data.byok_usage_inference')} AS DECIMAL(38, 12)), 0))::VARCHAR",
    },
    unnest=("data",),
    grain="bucket",
)
