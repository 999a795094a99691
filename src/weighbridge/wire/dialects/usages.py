"""Usage blocks of each dialect, read into disjoint token classes and written back.

A class that a dialect does not know is counted where the dialect would count it, so that totals agree: writes for an
hour among the cache writes, reasoning within the output. Unknown usage stays unknown.
"""

import msgspec

from weighbridge.records.usage import STANDARD_TIERS, Usage
from weighbridge.wire.usage import UNREADABLE, checked
from weighbridge.wire.usage_block import Count, Created, Searches

Json = dict[str, object]

STANDARD_GEOGRAPHIES = frozenset(("global", "not_available"))
"""What `inference_geo` says where no surcharge for a place applies."""


class _Thought(msgspec.Struct, gc=False, omit_defaults=True):
    thinking_tokens: Count = None


class _Iteration(msgspec.Struct, gc=False, omit_defaults=True):
    """One sampling of a call that compacts its own context. The block's own counts leave out what compaction used."""

    type: str = "message"
    input_tokens: Count = None
    output_tokens: Count = None
    cache_read_input_tokens: Count = None
    cache_creation_input_tokens: Count = None
    cache_creation: Created | None = None


class AnthropicUsage(msgspec.Struct, gc=False, omit_defaults=True):
    """A usage block of a message; of a stream, once the one at its start and those at its end are `merged`."""

    input_tokens: Count = None
    output_tokens: Count = None
    cache_read_input_tokens: Count = None
    cache_creation_input_tokens: Count = None
    cache_creation: Created | None = None
    output_tokens_details: _Thought | None = None
    server_tool_use: Searches | None = None
    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None
    iterations: list[_Iteration] | None = None

    def merged(self, later: "AnthropicUsage") -> "AnthropicUsage":
        """Counts are totals: the later one holds, where it is given."""
        given = {name: getattr(later, name) for name in self.__struct_fields__ if getattr(later, name) is not None}
        if given.get("cache_creation_input_tokens", self.cache_creation_input_tokens) != (
            self.cache_creation_input_tokens
        ):
            given.setdefault("cache_creation", None)
        return msgspec.structs.replace(self, **given)

    def usage(self) -> Usage | None:
        counted = self.counted()
        return counted if isinstance(counted, Usage) else None

    def counted(self) -> Usage | str:
        """The token classes, or why there are none."""
        if self.input_tokens is None:
            return "it does not say input_tokens"
        if self.output_tokens is None:
            return "it does not say output_tokens"
        kinds = {one.type for one in self.iterations or ()}
        if kinds - {"message", "compaction"}:
            return f"it counts {', '.join(sorted(kinds - {'message', 'compaction'}))} of another model along"
        parts = self.iterations if self.iterations and "compaction" in kinds else [self]
        given = made = read = written = hour = 0
        for part in parts:
            if part.input_tokens is None or part.output_tokens is None:
                return "an iteration does not say what it used"
            created = part.cache_creation or _NOTHING_CREATED
            own_hour = created.ephemeral_1h_input_tokens or 0
            own = part.cache_creation_input_tokens
            if own is None:
                own = (created.ephemeral_5m_input_tokens or 0) + own_hour
            elif created.ephemeral_5m_input_tokens is not None and own != (
                created.ephemeral_5m_input_tokens + own_hour
            ):
                return "cache_creation_input_tokens is not the sum of its lifetimes"
            given, made = given + part.input_tokens, made + part.output_tokens
            read, written, hour = read + (part.cache_read_input_tokens or 0), written + own, hour + own_hour
        reasoning = (self.output_tokens_details or _Thought()).thinking_tokens or 0
        searches = 0 if self.server_tool_use is None else self.server_tool_use.web_search_requests or 0
        return checked(
            Usage(
                given, made - reasoning, read, written - hour, hour, reasoning,
                web_searches=searches, service_tier=self._tier(),
            )
        )  # fmt: skip

    def _tier(self) -> str | None:
        """One word for all that multiplies the price: tier, speed, place. What is plain is left out."""
        words = [word for word in (self.service_tier, self.speed) if word is not None and word not in STANDARD_TIERS]
        if self.inference_geo is not None and self.inference_geo not in STANDARD_GEOGRAPHIES:
            words.append(f"geo:{self.inference_geo}")
        return "+".join(words) or self.service_tier


_NOTHING_CREATED = Created()
_anthropic = msgspec.json.Decoder(AnthropicUsage).decode


def anthropic_block(raw: bytes | msgspec.Raw) -> AnthropicUsage | None:
    try:
        return _anthropic(raw)
    except UNREADABLE:
        return None


def anthropic_counted(raw: bytes | msgspec.Raw) -> Usage | str:
    """The token classes of a whole message's block, or why there are none."""
    block = anthropic_block(raw)
    return "the block is no JSON object with whole numbers where counts stand" if block is None else block.counted()


def to_anthropic(usage: Usage | None) -> Json:
    if usage is None:
        return {"input_tokens": None, "output_tokens": None}
    block: Json = {
        "input_tokens": usage.input + usage.audio_input + usage.image_input,
        "output_tokens": usage.output_total,
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
    audio_tokens: Count = None
    image_tokens: Count = None


class _Out(msgspec.Struct, gc=False):
    reasoning_tokens: Count = None
    audio_tokens: Count = None
    image_tokens: Count = None


class _Responses(msgspec.Struct, gc=False):
    input_tokens: Count = None
    output_tokens: Count = None
    total_tokens: Count = None
    input_tokens_details: _In | None = None
    output_tokens_details: _Out | None = None
    num_server_side_tools_used: Count = None


_responses = msgspec.json.Decoder(_Responses).decode


def responses_usage(raw: bytes | msgspec.Raw, service_tier: str | None = None) -> Usage | None:
    usage = responses_counted(raw, service_tier)
    return usage if isinstance(usage, Usage) else None


def responses_counted(raw: bytes | msgspec.Raw, service_tier: str | None = None) -> Usage | str:
    """The token classes, or why there are none: the block is silent, contradicts itself, or counts writes for 12 hours
    (priced apart, no class of ours). `service_tier`: what the answer says beside the block."""
    try:
        block = _responses(raw)
    except UNREADABLE:
        return "the block is no JSON object with whole numbers where counts stand"
    if block.input_tokens is None or block.output_tokens is None:
        return "it does not say input_tokens and output_tokens"
    if block.total_tokens is not None and block.total_tokens != block.input_tokens + block.output_tokens:
        return "total_tokens is not input and output together"
    given, made = block.input_tokens_details or _In(), block.output_tokens_details or _Out()
    if given.cache_write_tokens_details is not None and given.cache_write_tokens_details.ttl_12h_tokens:
        return "it counts cache writes for 12 hours, which no class here stands for"
    cached, written, reasoning = given.cached_tokens or 0, given.cache_write_tokens or 0, made.reasoning_tokens or 0
    heard, seen = given.audio_tokens or 0, given.image_tokens or 0
    spoken, drawn = made.audio_tokens or 0, made.image_tokens or 0
    if (heard or seen) and (cached or written):
        return "sound or image tokens and cached tokens overlap by an amount that it does not say"
    return checked(Usage(
        block.input_tokens - cached - written - heard - seen, block.output_tokens - reasoning - spoken - drawn, cached,
        written, 0, reasoning, heard, spoken, seen, drawn, block.num_server_side_tools_used or 0, service_tier,
    ))  # fmt: skip


def to_responses(usage: Usage | None) -> Json | None:
    if usage is None:
        return None
    return {
        "input_tokens": usage.input_total,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write + usage.cache_write_1h,
        },
        "output_tokens": usage.output_total,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total,
    }


def to_chat(usage: Usage) -> Json:
    return {
        "prompt_tokens": usage.input_total,
        "completion_tokens": usage.output_total,
        "total_tokens": usage.total,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write + usage.cache_write_1h,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
