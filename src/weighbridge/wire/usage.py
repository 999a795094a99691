"""A provider's usage block as disjoint token classes.

In OpenAI's chat dialect `prompt_tokens` includes what was read from a cache and `completion_tokens` includes reasoning.
Hosts differ in where they say so. What is read:

- cache reads: `prompt_tokens_details.cached_tokens` (OpenAI, vLLM, SGLang, llama.cpp and most others), else
  `prompt_cache_hit_tokens` (DeepSeek), else `cached_tokens` (Moonshot)
- cache writes: `prompt_tokens_details.cache_write_tokens` (OpenRouter) or `.cache_creation_input_tokens` (Qwen)
- reasoning: `completion_tokens_details.reasoning_tokens`; where `total_tokens` is more than prompt and completion, the
  host counts reasoning beside the completion (xAI, Gemini) and the difference is the reasoning

A block that contradicts itself, counts what cannot be, or counts audio (priced apart, no class of ours), gives `None`:
unknown, never a guess."""

import msgspec

from weighbridge.records.usage import Usage

Count = int | None

TOKENS_COUNTED_MAX = 1 << 40
"""A count past this is no count: no call has used a million million tokens, and a log row holds 64 bits."""


class _Prompt(msgspec.Struct, gc=False):
    cached_tokens: Count = None
    cache_write_tokens: Count = None
    cache_creation_input_tokens: Count = None
    audio_tokens: Count = None


class _Completion(msgspec.Struct, gc=False):
    reasoning_tokens: Count = None
    audio_tokens: Count = None


class _Block(msgspec.Struct, gc=False):
    prompt_tokens: Count = None
    completion_tokens: Count = None
    total_tokens: Count = None
    prompt_tokens_details: _Prompt | None = None
    completion_tokens_details: _Completion | None = None
    prompt_cache_hit_tokens: Count = None
    cached_tokens: Count = None


_block = msgspec.json.Decoder(_Block).decode
_NO_PROMPT, _NO_COMPLETION = _Prompt(), _Completion()


def usage_of(raw: bytes | msgspec.Raw) -> Usage | None:
    """The token classes of a usage block (the JSON object itself); `None` where it is silent or contradicts itself."""
    try:
        block = _block(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
    prompt, completion, total = block.prompt_tokens, block.completion_tokens, block.total_tokens
    if prompt is None:
        return None
    if completion is None:
        if total is None:
            return None
        completion = total - prompt
    of_prompt = block.prompt_tokens_details or _NO_PROMPT
    of_completion = block.completion_tokens_details or _NO_COMPLETION
    if of_prompt.audio_tokens or of_completion.audio_tokens:
        return None
    cached = of_prompt.cached_tokens
    if cached is None:
        cached = block.prompt_cache_hit_tokens
    if cached is None:
        cached = block.cached_tokens or 0
    written = of_prompt.cache_write_tokens or of_prompt.cache_creation_input_tokens or 0
    reasoning = of_completion.reasoning_tokens or 0
    output = completion - reasoning
    if total is not None and total > prompt + completion:
        # Reasoning beside the completion. Where both are named they must agree with the total.
        beside = total - prompt - completion
        if reasoning not in (0, beside) or beside == cached + written:
            return None  # the last: a host that counts cache reads outside the prompt; which of the two is not said
        reasoning, output = beside, completion
    fresh = prompt - cached - written
    if min(fresh, output, cached, written, reasoning) < 0 or prompt + output + reasoning > TOKENS_COUNTED_MAX:
        return None
    return Usage(fresh, output, cached, written, 0, reasoning)
