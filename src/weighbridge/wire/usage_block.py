"""The shapes of a usage block in OpenAI's chat dialect, as msgspec decodes them. `wire.usage` says what they mean."""

import msgspec

Count = int | None


class Created(msgspec.Struct, gc=False, omit_defaults=True):
    """Cache writes by lifetime, in Anthropic's words; Qwen says them within a chat block."""

    ephemeral_5m_input_tokens: Count = None
    ephemeral_1h_input_tokens: Count = None


class Searches(msgspec.Struct, gc=False, omit_defaults=True):
    web_search_requests: Count = None


class Prompt(msgspec.Struct, gc=False):
    cached_tokens: Count = None
    cache_write_tokens: Count = None
    cache_creation_input_tokens: Count = None
    cache_creation_tokens: Count = None
    cache_creation: Created | None = None
    audio_tokens: Count = None
    image_tokens: Count = None
    video_tokens: Count = None


class Completion(msgspec.Struct, gc=False):
    reasoning_tokens: Count = None
    audio_tokens: Count = None
    image_tokens: Count = None
    video_tokens: Count = None


class Block(msgspec.Struct, gc=False):
    prompt_tokens: Count = None
    completion_tokens: Count = None
    total_tokens: Count = None
    prompt_tokens_details: Prompt | None = None
    completion_tokens_details: Completion | None = None
    prompt_cache_hit_tokens: Count = None
    prompt_cache_miss_tokens: Count = None
    cached_tokens: Count = None
    num_cached_tokens: Count = None
    cache_read_input_tokens: Count = None
    cache_creation_input_tokens: Count = None
    reasoning_tokens: Count = None
    citation_tokens: Count = None
    num_search_queries: Count = None
    num_server_side_tools_used: Count = None
    search_context_size: str | None = None
    server_tool_use: Searches | None = None


block_of = msgspec.json.Decoder(Block).decode
NO_PROMPT, NO_COMPLETION = Prompt(), Completion()
