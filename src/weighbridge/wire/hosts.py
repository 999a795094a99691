"""What hosts of the chat dialect take beyond it or want otherwise, by provider: the table behind every `Target`.

Each row names where to check it. A provider that is not in the table, and an own server, gets the plain dialect.
Only translated requests are written after this table: between chat and chat the client's bytes go out as they are.
"""

from typing import Literal

import msgspec

from weighbridge.wire.conversation import Target


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """See `Target` for each field."""

    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    cache_markers: Literal["cache_control", "prompt_cache_breakpoint"] | None = None
    reasoning_field: Literal["reasoning_content", "reasoning"] | None = None
    thinking_switch: Literal["thinking", "reasoning_effort"] | None = None
    flat_text: bool = False
    top_k: bool = False
    source: str


PLAIN = Host(source="the chat dialect itself")

HOSTS: dict[str, Host] = {
    "openai": Host(
        max_tokens_field="max_completion_tokens",
        cache_markers="prompt_cache_breakpoint",
        thinking_switch="reasoning_effort",
        source="https://platform.openai.com/docs/api-reference/chat/create",
    ),
    "deepseek": Host(
        reasoning_field="reasoning_content",
        thinking_switch="thinking",
        flat_text=True,
        source="https://api-docs.deepseek.com/guides/thinking_mode",
    ),
    "moonshotai": Host(
        reasoning_field="reasoning_content",
        thinking_switch="thinking",
        max_tokens_field="max_completion_tokens",
        source="https://platform.moonshot.ai/docs/guide/use-kimi-k2-thinking-model",
    ),
    "minimax": Host(
        reasoning_field="reasoning_content",
        source="https://novita.ai/docs/guides/llm-interleaved-thinking",
    ),
    "zai": Host(thinking_switch="thinking", source="https://docs.z.ai/guides/capabilities/thinking-mode"),
    "qwen": Host(
        cache_markers="cache_control",
        top_k=True,
        source="https://www.alibabacloud.com/help/en/model-studio/context-cache",
    ),
    "openrouter": Host(
        cache_markers="cache_control",
        top_k=True,
        source="https://openrouter.ai/docs/api-reference/parameters",
    ),
    "vllm": Host(top_k=True, source="https://docs.vllm.ai/en/stable/serving/openai_compatible_server.html"),
    "llamacpp": Host(top_k=True, source="https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md"),
}
_OTHER_NAMES = {"moonshot": "moonshotai", "kimi": "moonshotai", "z-ai": "zai", "zhipuai": "zai", "alibaba": "qwen"}


def host_of(provider: str | None) -> Host:
    name = (provider or "").lower()
    return HOSTS.get(_OTHER_NAMES.get(name, name), PLAIN)


def target_of(provider: str | None, model: str) -> Target:
    """How a translated request for this model is written for this provider."""
    host = host_of(provider)
    return Target(
        model=model,
        max_tokens_field=host.max_tokens_field,
        cache_markers=host.cache_markers,
        reasoning_field=host.reasoning_field,
        thinking_switch=host.thinking_switch,
        flat_text=host.flat_text,
        top_k=host.top_k,
    )
