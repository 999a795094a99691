"""What each dialect has a place for: the table behind every `Loss`, and behind the reference page of dialects.

A feature goes from one dialect to another where both say `yes` or say how. Where the second says `no`, the translation
names a loss. Each loss has one of two ends: `refuse`, where the answer would be an answer to another question, and
`name`, where the request can go on and a header says what is missing. `tests/wire` checks the table against the code.
"""

from collections.abc import Iterable
from typing import Literal

import msgspec

from weighbridge.wire.conversation import Dialect, FinishReason, Loss

End = Literal["refuse", "name"]


class Feature(msgspec.Struct, frozen=True):
    """`openai`, `anthropic`, `responses`: `yes`, `no`, or how. `partly ...` is carried with a named loss."""

    name: str
    what: str
    openai: str
    anthropic: str
    responses: str
    end: End

    def in_dialect(self, dialect: Dialect) -> str:
        return {"openai": self.openai, "anthropic": self.anthropic, "openai-responses": self.responses}[dialect]


def _feature(name: str, what: str, openai: str, anthropic: str, responses: str, end: End = "name") -> Feature:
    return Feature(name, what, openai, anthropic, responses, end)


FEATURES: tuple[Feature, ...] = (
    # Turns
    _feature("system", "System prompt, also between turns", "yes", "yes", "yes"),
    _feature("text", "Text, several parts a turn", "yes", "yes", "yes"),
    _feature("text_parts", "Borders between text parts", "partly: joined, at some hosts", "yes", "yes"),
    _feature("image", "Images, inline or by address", "yes", "yes", "yes"),
    _feature("image_detail", "How closely an image is looked at", "yes", "no", "yes"),
    _feature("document", "PDF documents, inline", "yes", "yes", "yes"),
    _feature("document_url", "Documents by address", "no", "yes", "yes", "refuse"),
    _feature("document_borders", "Plain-text documents as such", "partly: as text", "yes", "partly: as text"),
    _feature("document_name", "Name of a document", "yes", "yes", "yes"),
    _feature("document_context", "Context given with a document", "no", "yes", "no"),
    _feature("citations", "Citations into documents", "no", "yes", "no"),
    _feature("provider_file", "Files stored at the provider", "no", "no", "no", "refuse"),
    _feature("unknown_part", "Audio and any other part, item or block", "no", "no", "no", "refuse"),
    _feature("speaker_name", "Name of the speaker of a turn", "yes, own", "no", "no"),
    _feature("prefill", "An answer begun by the client", "no", "yes", "no", "refuse"),
    _feature("refusal_turn", "Refusals in earlier turns", "yes", "partly: as text", "yes"),
    _feature("part_order", "Text after a tool call in one turn", "partly: text first", "yes", "yes"),
    # Tools
    _feature("tools", "Functions with JSON schema", "yes", "yes", "yes"),
    _feature("tool_strict", "Schema enforced on arguments", "yes", "yes", "yes"),
    _feature("tool_choice", "auto, none, required, named", "yes", "yes", "yes"),
    _feature("tool_choice_allowed", "Choice among some of the tools", "yes", "partly: only those are sent", "yes"),
    _feature("parallel_calls", "Several calls at once, or not", "yes", "yes", "yes"),
    _feature("custom_tool", "Tools with free text or a grammar", "yes", "no", "yes", "refuse"),
    _feature("hosted_tool", "Tools that the provider runs", "no", "no", "no", "refuse"),
    _feature("legacy_functions", "`functions` and `function_call`", "yes, own", "no", "no", "refuse"),
    _feature("tool_result_error", "A tool result marked as an error", "no", "yes", "no"),
    _feature("tool_result_media", "Images and documents in a tool result", "partly: after it", "yes", "yes"),
    _feature("invalid_arguments", "Arguments that are no JSON object", "yes", "partly: under INVALID_JSON", "yes"),
    # Reasoning
    _feature("effort", "Reasoning effort", "yes", "yes", "yes"),
    _feature("effort_minimal", "Efforts `none` and `minimal`", "yes", "partly: off, low", "yes"),
    _feature("thinking_budget", "Reasoning budget in tokens", "no", "yes", "no"),
    _feature("thinking_off", "Reasoning turned off", "partly: where the host has a switch", "yes", "yes"),
    _feature("reasoning", "Reasoning sent back to who wrote it", "yes", "yes", "yes"),
    _feature("foreign_reasoning", "Reasoning of another model or host", "partly: where the host takes it", "no", "no"),
    _feature("reasoning_options", "Reasoning summaries and other options", "no", "no", "yes, own"),
    # Output
    _feature("schema", "Structured output by JSON schema", "yes", "yes", "yes"),
    _feature("schema_label", "Name and description of that schema", "yes", "no", "yes"),
    _feature("schema_loose", "A schema that is not enforced", "yes", "no", "yes"),
    _feature("json_object", "Any JSON object as output", "yes", "no", "yes", "refuse"),
    _feature("choices", "Several answers (`n`)", "yes, own", "no", "no", "refuse"),
    _feature("logprobs", "Log probabilities", "yes, own", "no", "yes, own", "refuse"),
    _feature("max_tokens_missing", "No limit on the answer", "yes", "partly: a default is sent", "yes"),
    _feature("stop", "Stop sequences", "yes", "yes", "no", "refuse"),
    _feature("verbosity", "Verbosity", "yes", "no", "yes"),
    # Sampling
    _feature("temperature", "Temperature up to 1", "yes", "yes", "yes"),
    _feature("temperature_range", "Temperature above 1", "yes", "no", "yes", "refuse"),
    _feature("top_p", "Nucleus sampling", "yes", "yes", "yes"),
    _feature("top_k", "Top-k sampling", "partly: where the host takes it", "yes", "no"),
    _feature("seed", "Seed", "yes, own", "no", "no"),
    _feature("penalties", "Presence and frequency penalty", "yes, own", "no", "no"),
    _feature("logit_bias", "Logit bias", "yes, own", "no", "no"),
    # Caching and the rest
    _feature("cache_marker", "Cache markers", "partly: where the host takes them", "yes", "yes"),
    _feature("cache_ttl", "Lifetime of a cache marker", "partly: at some hosts", "yes", "partly: its own"),
    _feature("cache_key", "Cache key", "yes", "no", "yes"),
    _feature("user", "User of the application", "yes", "yes", "yes"),
    _feature("metadata", "Metadata for the provider's log", "yes", "no", "yes"),
    _feature("store", "Keep the answer at the provider", "yes", "no", "yes"),
    _feature("service_tier", "Service tier", "yes", "no", "yes"),
    _feature("server_state", "Earlier turns kept at the provider, background runs", "no", "no", "yes, own", "refuse"),
    _feature("beta_header", "Betas that a client opts into by header", "no", "yes, own", "no"),
    _feature("unknown_field", "Any other field", "own", "own", "own"),
    # Answers
    _feature("usage", "Input, output, cache reads and writes, reasoning", "yes", "yes", "yes"),
    _feature("usage_1h", "Cache writes for an hour told apart", "partly: with the others", "yes", "partly: likewise"),
    _feature("stop_sequence", "Which stop sequence was met", "no", "yes", "no"),
    _feature("refusal", "Refusals", "yes", "yes", "yes"),
    _feature("annotations", "Citations and annotations of an answer", "own", "own", "own"),
    _feature("answer_part", "Any other part of an answer", "own", "own", "own"),
)  # fmt: skip

BY_NAME = {feature.name: feature for feature in FEATURES}


def refused(losses: Iterable[Loss]) -> tuple[Loss, ...]:
    """Those for which the request must not be sent."""
    return tuple(loss for loss in losses if BY_NAME[loss.feature].end == "refuse")


HEADER = "x-weighbridge-lost"
HEADER_CHARACTERS_MAX = 1024


def header_value(losses: Iterable[Loss]) -> str | None:
    """The losses for a response header: each once, with its place, cut at `HEADER_CHARACTERS_MAX` with a count of the
    rest; `None` where nothing was lost. Only ASCII, whatever the client called its fields."""
    named = list(dict.fromkeys(str(loss).encode("ascii", "backslashreplace").decode() for loss in losses))
    named = ["".join(c if " " < c < "\x7f" and c != "," else "?" for c in name)[:120] for name in named]
    value = ""
    for place, name in enumerate(named):
        longer = f"{value}, {name}" if value else name
        if len(longer) > HEADER_CHARACTERS_MAX - 20:
            return f"{value}, +{len(named) - place} more"
        value = longer
    return value or None


class Stop(msgspec.Struct, frozen=True):
    """One reason to stop, as each dialect writes it. For `responses`: status, and reason where incomplete."""

    reason: FinishReason
    openai: str
    anthropic: str
    responses: tuple[str, str | None]


STOPS: tuple[Stop, ...] = (
    Stop("stop", "stop", "end_turn", ("completed", None)),
    Stop("calls", "tool_calls", "tool_use", ("completed", None)),
    Stop("length", "length", "max_tokens", ("incomplete", "max_output_tokens")),
    Stop("filter", "content_filter", "refusal", ("incomplete", "content_filter")),
    Stop("stop_sequence", "stop", "stop_sequence", ("completed", None)),
    Stop("context", "length", "model_context_window_exceeded", ("incomplete", "max_output_tokens")),
    Stop("pause", "stop", "pause_turn", ("completed", None)),
)
STOP_OF = {stop.reason: stop for stop in STOPS}
FROM_OPENAI: dict[str, FinishReason] = {stop.openai: stop.reason for stop in reversed(STOPS)} | {
    "function_call": "calls",
    "eos": "stop",
    "insufficient_system_resource": "length",  # DeepSeek broke off
    "sensitive": "filter",  # Z.ai
}
FROM_ANTHROPIC: dict[str, FinishReason] = {stop.anthropic: stop.reason for stop in STOPS}
"""Reasons that no row has, of hosts that make up their own, are read as `stop`."""
