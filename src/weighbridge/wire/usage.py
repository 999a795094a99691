"""A provider's usage block as disjoint token classes: OpenAI's chat dialect. `wire.dialects.usages` has the others.

In this dialect `prompt_tokens` includes what was read from a cache and `completion_tokens` includes reasoning. Hosts
differ in where they say so. What is read:

- cache reads: `prompt_tokens_details.cached_tokens` (OpenAI, vLLM, SGLang, llama.cpp and most others), else
  `prompt_cache_hit_tokens` (DeepSeek), else `cached_tokens` (Moonshot, StepFun, Together), else `num_cached_tokens`
  (Mistral)
- cache writes: `prompt_tokens_details.cache_write_tokens` (OpenAI, OpenRouter), `.cache_creation_input_tokens` (Qwen)
  or `.cache_creation_tokens` (LiteLLM); those for an hour in `.cache_creation.ephemeral_1h_input_tokens`
- reasoning: `completion_tokens_details.reasoning_tokens`, else `reasoning_tokens` (SGLang); where `total_tokens` is
  more than prompt and completion, the host counts reasoning beside the completion (xAI, Gemini) and the difference is
  the reasoning
- sound and images: `audio_tokens` and `image_tokens` of both details, classes of their own. Video has none of ours
- searches: `num_search_queries` (Perplexity), `server_tool_use.web_search_requests` (OpenRouter)

A block that contradicts itself, counts what cannot be, or does not say which of two ways of counting it means, is
unknown with a reason, never a guess. The classes of a block that is known sum to its `total_tokens`.
"""

import re

import msgspec

from weighbridge.records.usage import Usage
from weighbridge.wire.usage_block import NO_COMPLETION, NO_PROMPT, Block, Completion, Prompt, block_of

TOKENS_COUNTED_MAX = 1 << 40
"""A count past this is no count: no call has used a million million tokens, and a log row holds 64 bits."""

TIER_CHARS_MAX = 64
_TIER = re.compile("[A-Za-z0-9][A-Za-z0-9_.:+-]*")
_NOT_SAID = (msgspec.Raw(b""), msgspec.Raw(b"null"))

UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)


def usage_of(raw: bytes | msgspec.Raw, service_tier: str | None = None) -> Usage | None:
    """The token classes of a usage block (the JSON object itself); `None` where `counted` has a reason instead."""
    usage = counted(raw, service_tier)
    return usage if isinstance(usage, Usage) else None


def tier_of(said: msgspec.Raw) -> str | None:
    """The service tier that an answer reports, `None` where it does not; a word that no price has for what is none."""
    if said in _NOT_SAID:
        return None
    text = bytes(said)[1:-1].decode("latin-1") if len(said) <= TIER_CHARS_MAX else ""
    return text if _TIER.fullmatch(text) else "unreadable"


def counted(raw: bytes | msgspec.Raw, service_tier: str | None = None) -> Usage | str:
    """The token classes of a usage block, or why it has none. `service_tier`: what the answer says beside the block."""
    try:
        block = block_of(raw)
    except UNREADABLE:
        return "the block is no JSON object with whole numbers where counts stand"
    prompt, completion, total = block.prompt_tokens, block.completion_tokens, block.total_tokens
    if prompt is None:
        return "it does not say prompt_tokens"
    if completion is None:
        if total is None:
            return "it says neither completion_tokens nor total_tokens"
        completion = total - prompt
    given = block.prompt_tokens_details or NO_PROMPT
    made = block.completion_tokens_details or NO_COMPLETION
    cached = _cached(block, given)
    written, hour = _written(block, given)
    if cached is None or written is None:
        return "it counts cached tokens beside the details without saying whether prompt_tokens includes them"
    reasoning = made.reasoning_tokens
    if reasoning is None:
        reasoning = block.reasoning_tokens or 0
    output = completion - reasoning
    if total is not None and total != prompt + completion:
        beside = total - prompt - completion
        if beside < 0:
            return "total_tokens is less than prompt and completion together"
        # Reasoning beside the completion. Where both are named they must agree with the total.
        if reasoning not in (0, beside) or beside == cached + written:
            # The last: a host that counts cache reads outside the prompt; which of the two is not said.
            return "total_tokens is more than prompt and completion, and reasoning does not explain it"
        reasoning, output = beside, completion
    if (
        given is not NO_PROMPT or made is not NO_COMPLETION or block.server_tool_use is not None
        or block.num_search_queries or block.num_server_side_tools_used or block.search_context_size
        or block.citation_tokens
    ):  # fmt: skip
        return _with_extras(block, given, made, (prompt, cached, written, hour, output, reasoning), service_tier)
    return checked(Usage(prompt - cached - written, output, cached, written - hour, hour, reasoning, 0, 0, 0, 0, 0,
                         service_tier))  # fmt: skip


def _cached(block: Block, given: Prompt) -> int | None:
    """Cache reads within the prompt; `None` where only a count stands that may be within or beside it."""
    for count in (given.cached_tokens, block.prompt_cache_hit_tokens, block.cached_tokens, block.num_cached_tokens):
        if count is not None:
            return count
    return None if block.cache_read_input_tokens else 0


def _written(block: Block, given: Prompt) -> tuple[int | None, int]:
    """Cache writes within the prompt, and how many of them for an hour; as for reads."""
    created = given.cache_creation
    hour = 0 if created is None else created.ephemeral_1h_input_tokens or 0
    for count in (given.cache_write_tokens, given.cache_creation_input_tokens, given.cache_creation_tokens):
        if count is not None:
            return count, hour
    if created is not None:
        return (created.ephemeral_5m_input_tokens or 0) + hour, hour
    return (None if block.cache_creation_input_tokens else 0), 0


def _with_extras(
    block: Block,
    given: Prompt,
    made: Completion,
    plain: tuple[int, int, int, int, int, int],
    service_tier: str | None,
) -> Usage | str:
    """Sound, images and searches, where the block has a place for them."""
    prompt, cached, written, hour, output, reasoning = plain
    heard, seen = given.audio_tokens or 0, given.image_tokens or 0
    spoken, drawn = made.audio_tokens or 0, made.image_tokens or 0
    if given.video_tokens or made.video_tokens:
        return "it counts video tokens, which no class here stands for"
    if block.citation_tokens:
        return "it counts citation tokens, which no class here stands for"
    if (heard or seen) and (cached or written):
        return "sound or image tokens and cached tokens overlap by an amount that it does not say"
    if (spoken or drawn) and reasoning and output < spoken + drawn:
        return "reasoning and sound or image tokens of the output overlap by an amount that it does not say"
    searches = block.num_search_queries
    if searches is None and block.server_tool_use is not None:
        searches = block.server_tool_use.web_search_requests
    if searches is None:
        # A search whose count is not said still has its fee: one at least.
        searches = block.num_server_side_tools_used or (1 if block.search_context_size else 0)
    return checked(Usage(
        prompt - cached - written - heard - seen, output - spoken - drawn, cached, written - hour, hour, reasoning,
        heard, spoken, seen, drawn, searches, service_tier,
    ))  # fmt: skip


def checked(usage: Usage) -> Usage | str:
    """The same, or why it cannot be."""
    counts = (
        usage.input, usage.output, usage.cache_read, usage.cache_write, usage.cache_write_1h, usage.reasoning,
        usage.audio_input, usage.audio_output, usage.image_input, usage.image_output, usage.web_searches,
    )  # fmt: skip
    if min(counts) < 0:
        return "a part is more than the whole that includes it, or less than nothing"
    if sum(counts) > TOKENS_COUNTED_MAX:
        return "it counts more tokens than any call has"
    return usage
