"""Usage blocks of each dialect, read into disjoint token classes and written back.

A class that a dialect does not know is counted where the dialect would count it, so that totals agree: writes for an
hour among the cache writes, reasoning within the output. Unknown usage stays unknown.
"""

import msgspec

from weighbridge.records.usage import Usage

Count = int | None
Json = dict[str, object]
_UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)


class _Created(msgspec.Struct, gc=False, omit_defaults=True):
    ephemeral_5m_input_tokens: Count = None
    ephemeral_1h_input_tokens: Count = None


class _Thought(msgspec.Struct, gc=False):
    thinking_tokens: Count = None


class AnthropicUsage(msgspec.Struct, gc=False, omit_defaults=True):
    """A usage block of a message; of a stream, once the one at its start and those at its end are `merged`."""

    input_tokens: Count = None
    output_tokens: Count = None
    cache_read_input_tokens: Count = None
    cache_creation_input_tokens: Count = None
    cache_creation: _Created | None = None
    output_tokens_details: _Thought | None = None

    def merged(self, later: "AnthropicUsage") -> "AnthropicUsage":
        """Counts are totals: the later one holds, where it is given."""
        given = {name: getattr(later, name) for name in self.__struct_fields__ if getattr(later, name) is not None}
        if given.get("cache_creation_input_tokens", self.cache_creation_input_tokens) != (
            self.cache_creation_input_tokens
        ):
            given.setdefault("cache_creation", None)
        return msgspec.structs.replace(self, **given)

    def usage(self) -> Usage | None:
        if self.input_tokens is None or self.output_tokens is None:
            return None
        created = self.cache_creation or _Created()
        hour = created.ephemeral_1h_input_tokens or 0
        written = self.cache_creation_input_tokens
        if written is None:
            written = (created.ephemeral_5m_input_tokens or 0) + hour
        reasoning = (self.output_tokens_details or _Thought()).thinking_tokens or 0
        usage = Usage(
            self.input_tokens, self.output_tokens - reasoning, self.cache_read_input_tokens or 0, written - hour, hour,
            reasoning,
        )  # fmt: skip
        return None if min(msgspec.structs.astuple(usage)) < 0 else usage


_anthropic = msgspec.json.Decoder(AnthropicUsage).decode


def anthropic_block(raw: bytes | msgspec.Raw) -> AnthropicUsage | None:
    try:
        return _anthropic(raw)
    except _UNREADABLE:
        return None


def to_anthropic(usage: Usage | None) -> Json:
    if usage is None:
        return {"input_tokens": None, "output_tokens": None}
    block: Json = {
        "input_tokens": usage.input,
        "output_tokens": usage.output + usage.reasoning,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation_input_tokens": usage.cache_write + usage.cache_write_1h,
    }
    if usage.cache_write_1h:
        block["cache_creation"] = {
            "ephemeral_5m_input_tokens": usage.cache_write,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        }
    if usage.reasoning:
        block["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return block


class _WrittenFor(msgspec.Struct, gc=False):
    ttl_12h_tokens: Count = None


class _In(msgspec.Struct, gc=False):
    cached_tokens: Count = None
    cache_write_tokens: Count = None
    cache_write_tokens_details: _WrittenFor | None = None


class _Out(msgspec.Struct, gc=False):
    reasoning_tokens: Count = None


class _Responses(msgspec.Struct, gc=False):
    input_tokens: int
    output_tokens: int
    input_tokens_details: _In | None = None
    output_tokens_details: _Out | None = None


_responses = msgspec.json.Decoder(_Responses).decode


def responses_usage(raw: bytes | msgspec.Raw) -> Usage | None:
    """`None` where the block is silent, contradicts itself, or counts writes for 12 hours (priced apart, no class of
    ours)."""
    try:
        block = _responses(raw)
    except _UNREADABLE:
        return None
    given, made = block.input_tokens_details or _In(), block.output_tokens_details or _Out()
    if given.cache_write_tokens_details is not None and given.cache_write_tokens_details.ttl_12h_tokens:
        return None
    cached, written, reasoning = given.cached_tokens or 0, given.cache_write_tokens or 0, made.reasoning_tokens or 0
    usage = Usage(block.input_tokens - cached - written, block.output_tokens - reasoning, cached, written, 0, reasoning)
    return None if min(msgspec.structs.astuple(usage)) < 0 else usage


def to_responses(usage: Usage | None) -> Json | None:
    if usage is None:
        return None
    return {
        "input_tokens": usage.input_total,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write + usage.cache_write_1h,
        },
        "output_tokens": usage.output + usage.reasoning,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total,
    }


def to_chat(usage: Usage) -> Json:
    return {
        "prompt_tokens": usage.input_total,
        "completion_tokens": usage.output + usage.reasoning,
        "total_tokens": usage.total,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write + usage.cache_write_1h,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
