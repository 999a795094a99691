"""An exchange as spans, in the words of OpenTelemetry's conventions for generative AI. Pure.

One span for the request (what the application asked, and for how long it waited), one child for each attempt (what a
provider was asked). Names, numbers and ends; no prompt, no answer, no user name, no text that a provider wrote freely.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Literal

import msgspec

from weighbridge.records.exchange import Attempt, Exchange
from weighbridge.records.frames import Asked
from weighbridge.records.table import Endpoint
from weighbridge.records.traces import TraceParent, parsed
from weighbridge.upstream import BaseUrl

Value = str | int | float | bool | tuple[str, ...]

PROVIDERS = {"azure": "azure.ai.openai", "bedrock": "aws.bedrock", "vertex": "gcp.vertex_ai"}
"""Dialect -> the conventions' name of the provider, where the price book's id is another."""


OPERATIONS: Mapping[Asked, str] = {
    "openai": "chat", "anthropic": "chat", "openai-responses": "chat", "openai-embeddings": "embeddings",
    "openai-completions": "text_completion", "anthropic-count-tokens": "count_tokens", "other": "other",
}  # fmt: skip
"""The conventions' names; for what they have no name for, one of ours."""


class Span(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    kind: Literal["server", "client"]
    trace_id: int
    span_id: int
    parent_id: int | None
    remote_parent: bool
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Value]
    error: str | None
    """The class of error; `None` where all went well."""


def spans_of(exchange: Exchange, endpoints: Mapping[str, Endpoint]) -> tuple[Span, ...]:
    """The request first. Empty where its client said that its trace is not sampled."""
    parent = parsed(exchange.traceparent)
    if parent is not None and not parent.sampled:
        return ()
    request = _request(exchange, parent)
    return (request, *(_attempt(exchange, attempt, request, endpoints) for attempt in exchange.attempts))


def _request(exchange: Exchange, parent: TraceParent | None) -> Span:
    usage, operation = exchange.usage, OPERATIONS[exchange.asked]
    attributes: dict[str, Value | None] = {
        "gen_ai.operation.name": operation,
        "gen_ai.request.model": exchange.route,
        "gen_ai.request.stream": exchange.stream,
        "gen_ai.request.max_tokens": exchange.max_tokens,
        "gen_ai.usage.input_tokens": None if usage is None else usage.input_total,
        "gen_ai.usage.output_tokens": None if usage is None else usage.output_total,
        "http.response.status_code": exchange.status,
        "weighbridge.exchange.id": exchange.id,
        "weighbridge.outcome": exchange.outcome,
        "weighbridge.purpose": exchange.purpose,
        "weighbridge.arm": exchange.arm,
        "weighbridge.key": exchange.key or None,
        "weighbridge.team": exchange.team,
        "weighbridge.table": exchange.table,
        "weighbridge.cost_nanousd": exchange.cost_nanousd,
        "gen_ai.response.time_to_first_chunk": _seconds(exchange.first_byte_ns),
    }
    return Span(
        name=f"{operation} {exchange.route}",
        kind="server",
        trace_id=_id(exchange.id, 16) if parent is None else parent.trace_id,
        span_id=_id(f"{exchange.id} request", 8),
        parent_id=None if parent is None else parent.span_id,
        remote_parent=parent is not None,
        start_ns=exchange.time_ns,
        end_ns=exchange.time_ns + (exchange.duration_ns or 0),
        attributes=_known(attributes),
        error=None if exchange.outcome in ("ok", "replayed") else exchange.outcome,
    )


def _attempt(exchange: Exchange, attempt: Attempt, request: Span, endpoints: Mapping[str, Endpoint]) -> Span:
    usage, endpoint = attempt.usage, endpoints.get(attempt.endpoint)
    operation = OPERATIONS[exchange.asked]
    base = None if endpoint is None else BaseUrl.parse(endpoint.base_url)
    start_ns = attempt.time_ns or exchange.time_ns
    failed = attempt.error is not None or attempt.status is None or attempt.status >= 400
    attributes: dict[str, Value | None] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": _provider(endpoint),
        "gen_ai.request.model": attempt.model,
        "gen_ai.response.finish_reasons": None if attempt.finish_reason is None else (attempt.finish_reason,),
        # The conventions count cached tokens as input and reasoning as output; the log keeps the classes apart.
        "gen_ai.usage.input_tokens": None if usage is None else usage.input_total,
        "gen_ai.usage.output_tokens": None if usage is None else usage.output_total,
        "gen_ai.usage.cache_read.input_tokens": None if usage is None else usage.cache_read,
        "gen_ai.usage.cache_creation.input_tokens": None if usage is None else usage.cache_write + usage.cache_write_1h,
        "gen_ai.usage.reasoning.output_tokens": None if usage is None else usage.reasoning,
        "gen_ai.response.time_to_first_chunk": _seconds(attempt.first_byte_ns),
        "server.address": None if base is None else base.host,
        "server.port": None if base is None else base.port,
        "http.response.status_code": attempt.status,
        "weighbridge.endpoint": attempt.endpoint,
        "weighbridge.arm": attempt.arm,
        "weighbridge.attempt": attempt.attempt,
        "weighbridge.fallback": attempt.fallback,
        "weighbridge.cost_nanousd": attempt.cost_nanousd,
        "weighbridge.cost_estimated": attempt.estimated,
    }
    return Span(
        name=f"{operation} {attempt.model}",
        kind="client",
        trace_id=request.trace_id,
        span_id=_id(f"{exchange.id} attempt {attempt.attempt}", 8),
        parent_id=request.span_id,
        remote_parent=False,
        start_ns=start_ns,
        end_ns=start_ns + (attempt.duration_ns or 0),
        attributes=_known(attributes),
        error=(str(attempt.status) if attempt.status is not None and attempt.status >= 400 else exchange.outcome)
        if failed
        else None,
    )


def _provider(endpoint: Endpoint | None) -> str | None:
    return None if endpoint is None else PROVIDERS.get(endpoint.dialect, endpoint.provider)


def _seconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e9


def _known(attributes: Mapping[str, Value | None]) -> dict[str, Value]:
    """What is unknown is left out: an attribute of 0 would be a lie."""
    return {name: value for name, value in attributes.items() if value is not None}


def _id(text: str, size: int) -> int:
    """The same for the same exchange: what is exported twice is one span."""
    return int.from_bytes(sha256(text.encode()).digest()[:size], "big") or 1
