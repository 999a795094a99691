"""Writes the golden usage blocks beside this file: what hosts send, from what was used.

    .venv/bin/python -m tests.golden.usage.make

Each family is a writer: from disjoint counts to the block as that host's documentation describes it. The expected
classes are the counts that went in, so nothing of the reader under test takes part. A scenario that a family has no
place for is left out for it. `source` is where the host describes its block; no block was recorded from a live answer,
and a host may have changed since. Blocks that must be unknown stand in `unknown.jsonl`, written by hand.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).resolve().parent
HOW = "schema as the host describes it; not recorded from a live answer"

Block = dict[str, object]


class Used(NamedTuple):
    """Disjoint counts of a made-up call."""

    fresh: int = 0
    output: int = 0
    read: int = 0
    written: int = 0
    hour: int = 0
    reasoning: int = 0
    heard: int = 0
    spoken: int = 0
    seen: int = 0
    drawn: int = 0
    searches: int = 0
    tier: str | None = None

    @property
    def given(self) -> int:
        return self.fresh + self.read + self.written + self.hour + self.heard + self.seen

    @property
    def made(self) -> int:
        return self.output + self.reasoning + self.spoken + self.drawn

    def only(self, *names: str) -> bool:
        """Whether nothing but fresh input, output and these was used."""
        return all(not getattr(self, name) for name in self._fields[2:] if name not in names)


SCENARIOS: dict[str, Used] = {
    "short": Used(12, 34),
    "one token": Used(9, 1),
    "no answer": Used(2_048, 0),
    "long prompt": Used(181_377, 902),
    "cached prefix": Used(86, 300, read=1_920),
    "all cached": Used(0, 41, read=37_888),
    "reasoning": Used(58, 211, reasoning=1_472),
    "reasoning only": Used(301, 0, reasoning=4_096),
    "agent turn": Used(1_204, 377, read=58_880, reasoning=640),
    "cache written": Used(21, 393, written=2_051),
    "cache written for an hour": Used(17, 88, hour=188_086),
    "cache of both lifetimes": Used(4, 503, read=1_800, written=148, hour=456),
    "cache written and reasoning": Used(9, 120, written=4_096, reasoning=700),
    "sound in": Used(14, 92, heard=126),
    "sound out": Used(19, 23, spoken=148),
    "image in": Used(22, 118, seen=1_105),
    "image out": Used(31, 12, drawn=1_290),
    "searches": Used(10_682, 510, searches=3),
}
TIERS = ("flex", "priority", "batch")


class Family(NamedTuple):
    dialect: str
    source: str
    write: Callable[[Used], Block | None]
    tiers: tuple[str, ...] = ()
    """Service tiers that the answer reports beside its block."""


def chat(used: Used, **more: object) -> Block:
    return {"prompt_tokens": used.given, "completion_tokens": used.made, "total_tokens": used.given + used.made, **more}


def plain(used: Used) -> Block | None:
    return chat(used) if used.only() else None


def details_null(used: Used) -> Block | None:
    return chat(used, prompt_tokens_details=None) if used.only() else None


def cached_in_details(used: Used) -> Block | None:
    return chat(used, prompt_tokens_details={"cached_tokens": used.read}) if used.only("read") else None


def cached_and_reasoning(used: Used) -> Block | None:
    if not used.only("read", "reasoning"):
        return None
    return chat(
        used,
        prompt_tokens_details={"cached_tokens": used.read},
        completion_tokens_details={"reasoning_tokens": used.reasoning},
    )


def openai_chat(used: Used) -> Block | None:
    if used.searches or used.hour or used.drawn or used.seen:
        return None
    return chat(
        used,
        prompt_tokens_details={
            "cached_tokens": used.read, "audio_tokens": used.heard, "cache_write_tokens": used.written,
        },
        completion_tokens_details={
            "reasoning_tokens": used.reasoning, "audio_tokens": used.spoken, "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    )  # fmt: skip


def deepseek(used: Used) -> Block | None:
    if not used.only("read", "reasoning"):
        return None
    block = chat(used, prompt_tokens_details={"cached_tokens": used.read})
    if used.reasoning:
        block["completion_tokens_details"] = {"reasoning_tokens": used.reasoning}
    return block | {"prompt_cache_hit_tokens": used.read, "prompt_cache_miss_tokens": used.fresh}


def deepseek_before_details(used: Used) -> Block | None:
    return (
        chat(used, prompt_cache_hit_tokens=used.read, prompt_cache_miss_tokens=used.fresh)
        if used.only("read")
        else None
    )


def top_level_cached(used: Used) -> Block | None:
    return chat(used, cached_tokens=used.read) if used.only("read") else None


def mistral(used: Used) -> Block | None:
    return chat(used, prompt_audio_seconds=None, num_cached_tokens=used.read) if used.only("read") else None


def minimax(used: Used) -> Block | None:
    if not used.only("read", "reasoning"):
        return None
    block = chat(used, total_characters=0, prompt_tokens_details={"cached_tokens": used.read})
    return block | {"completion_tokens_details": {"reasoning_tokens": used.reasoning}}


def qwen(used: Used) -> Block | None:
    if used.searches or used.drawn or used.hour:
        return None
    given: Block = {"cached_tokens": used.read}
    if used.written:
        given |= {
            "cache_creation": {"ephemeral_5m_input_tokens": used.written}, "cache_creation_input_tokens": used.written,
            "cache_type": "ephemeral",
        }  # fmt: skip
    if used.seen or used.heard:
        given |= {"text_tokens": used.fresh, "image_tokens": used.seen, "audio_tokens": used.heard}
    block = chat(used, prompt_tokens_details=given)
    made: Block = {"reasoning_tokens": used.reasoning} if used.reasoning else {}
    if used.spoken:
        made |= {"text_tokens": used.output, "audio_tokens": used.spoken}
    return block | ({"completion_tokens_details": made} if made else {})


def reasoning_beside(used: Used) -> Block | None:
    """The completion without what was thought; the total counts both."""
    if not used.only("read", "reasoning", "seen") or (used.seen and used.read):
        return None
    return {
        "prompt_tokens": used.given, "completion_tokens": used.output, "total_tokens": used.given + used.made,
        "prompt_tokens_details": {
            "text_tokens": used.fresh, "audio_tokens": 0, "image_tokens": used.seen, "cached_tokens": used.read,
        },
        "completion_tokens_details": {
            "reasoning_tokens": used.reasoning, "audio_tokens": 0, "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
        "num_sources_used": 0, "cost_in_usd_ticks": 1_587_000,
    }  # fmt: skip


def thoughts_in_the_total_only(used: Used) -> Block | None:
    if not used.only("reasoning"):
        return None
    return {
        "prompt_tokens": used.given, "completion_tokens": used.output, "total_tokens": used.given + used.made,
    }  # fmt: skip


def openrouter(used: Used) -> Block | None:
    if used.hour:
        return None
    block = chat(
        used, cost=0.00211, is_byok=False,
        prompt_tokens_details={
            "cached_tokens": used.read, "cache_write_tokens": used.written, "audio_tokens": used.heard,
            "video_tokens": 0, "image_tokens": used.seen,
        },
        cost_details={"upstream_inference_cost": None},
        completion_tokens_details={
            "reasoning_tokens": used.reasoning, "image_tokens": used.drawn, "audio_tokens": used.spoken,
        },
    )  # fmt: skip
    return block | ({"server_tool_use": {"web_search_requests": used.searches}} if used.searches else {})


def litellm(used: Used) -> Block | None:
    if not used.only("read", "written", "reasoning"):
        return None
    return chat(
        used,
        prompt_tokens_details={"cached_tokens": used.read, "cache_creation_tokens": used.written, "audio_tokens": None},
        completion_tokens_details={"reasoning_tokens": used.reasoning, "audio_tokens": None},
        cache_creation_input_tokens=used.written, cache_read_input_tokens=used.read,
    )  # fmt: skip


def sglang(used: Used) -> Block | None:
    if not used.only("read", "reasoning"):
        return None
    details = {"cached_tokens": used.read} if used.read else None
    return chat(used, prompt_tokens_details=details, reasoning_tokens=used.reasoning)


def groq(used: Used) -> Block | None:
    block = cached_and_reasoning(used)
    timing = {"queue_time": 0.0371, "prompt_time": 0.0021, "completion_time": 0.41, "total_time": 0.4121}
    return None if block is None else block | timing


def perplexity(used: Used) -> Block | None:
    if not used.only("searches") or not used.searches:
        return None
    return chat(used, search_context_size="low", citation_tokens=0, num_search_queries=used.searches)


def sambanova(used: Used) -> Block | None:
    if not used.only("read"):
        return None
    return chat(
        used, acceptance_rate=None, completion_tokens_per_sec=211.4, end_time=1764072000.2, is_last_response=True,
        time_to_first_token=0.31, prompt_tokens_details={"cached_tokens": used.read}, stop_reason="stop",
    )  # fmt: skip


def deepinfra(used: Used) -> Block | None:
    block = cached_in_details(used)
    return None if block is None else block | {"estimated_cost": 3.1e-05}


def vertex_chat(used: Used) -> Block | None:
    block = thoughts_in_the_total_only(used)
    return None if block is None else block | {"extra_properties": {"google": {"traffic_type": "ON_DEMAND"}}}


def embeddings(used: Used) -> Block | None:
    return {"prompt_tokens": used.given, "total_tokens": used.given} if used.only() and not used.output else None


def anthropic(used: Used) -> Block | None:
    if used.heard or used.spoken or used.seen or used.drawn:
        return None
    block: Block = {
        "input_tokens": used.fresh, "cache_creation_input_tokens": used.written + used.hour,
        "cache_read_input_tokens": used.read,
        "cache_creation": {"ephemeral_5m_input_tokens": used.written, "ephemeral_1h_input_tokens": used.hour},
        "output_tokens": used.output + used.reasoning, "service_tier": used.tier or "standard",
        "inference_geo": "not_available",
    }  # fmt: skip
    if used.reasoning:
        block["output_tokens_details"] = {"thinking_tokens": used.reasoning}
    if used.searches:
        block["server_tool_use"] = {"web_search_requests": used.searches, "web_fetch_requests": 0}
    return block


def anthropic_like(used: Used) -> Block | None:
    """Hosts that speak the dialect and know one lifetime and no tiers."""
    if not used.only("read", "written"):
        return None
    return {
        "input_tokens": used.fresh, "output_tokens": used.output, "cache_creation_input_tokens": used.written,
        "cache_read_input_tokens": used.read,
    }  # fmt: skip


def anthropic_bare(used: Used) -> Block | None:
    return {"input_tokens": used.fresh, "output_tokens": used.output} if used.only() else None


def responses(used: Used) -> Block | None:
    if not used.only("read", "written", "reasoning"):
        return None
    return {
        "input_tokens": used.given,
        "input_tokens_details": {"cached_tokens": used.read, "cache_write_tokens": used.written},
        "output_tokens": used.made, "output_tokens_details": {"reasoning_tokens": used.reasoning},
        "total_tokens": used.given + used.made,
    }  # fmt: skip


def responses_bare(used: Used) -> Block | None:
    if not used.only("read"):
        return None
    return {
        "input_tokens": used.given, "input_tokens_details": {"cached_tokens": used.read}, "output_tokens": used.made,
        "output_tokens_details": {}, "total_tokens": used.given + used.made,
    }  # fmt: skip


_OPENAI = "https://platform.openai.com/docs/api-reference/chat/object"
_ANTHROPIC = "https://docs.anthropic.com/en/api/messages"
FAMILIES: dict[str, Family] = {
    "openai-chat": Family("openai", _OPENAI, openai_chat, ("default", "flex", "priority")),
    "openai-responses": Family(
        "openai-responses",
        "https://platform.openai.com/docs/api-reference/responses/object",
        responses,
        ("default", "flex"),
    ),
    "openai-embeddings": Family(
        "openai", "https://platform.openai.com/docs/api-reference/embeddings/object", embeddings
    ),
    "azure-chat": Family("openai", "https://learn.microsoft.com/azure/ai-foundry/openai/reference", openai_chat),
    "azure-responses": Family(
        "openai-responses", "https://learn.microsoft.com/azure/ai-foundry/openai/how-to/responses", responses
    ),
    "anthropic": Family("anthropic", _ANTHROPIC, anthropic, ("batch", "priority")),
    "bedrock-anthropic": Family(
        "anthropic",
        "https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html",
        anthropic_like,
    ),
    "bedrock-openai": Family(
        "openai", "https://docs.aws.amazon.com/bedrock/latest/userguide/inference-chat-completions.html", plain
    ),
    "vertex-anthropic": Family(
        "anthropic", "https://cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude", anthropic_like
    ),
    "vertex-chat": Family(
        "openai", "https://cloud.google.com/vertex-ai/generative-ai/docs/migrate/openai/overview", vertex_chat
    ),
    "gemini-compatible": Family("openai", "https://ai.google.dev/gemini-api/docs/openai", thoughts_in_the_total_only),
    "deepseek": Family("openai", "https://api-docs.deepseek.com/api/create-chat-completion", deepseek),
    "deepseek-before-details": Family(
        "openai", "https://api-docs.deepseek.com/guides/kv_cache", deepseek_before_details
    ),
    "deepseek-anthropic": Family("anthropic", "https://api-docs.deepseek.com/guides/anthropic_api", anthropic_like),
    "moonshot": Family("openai", "https://platform.moonshot.ai/docs/api/chat", top_level_cached),
    "moonshot-anthropic": Family("anthropic", "https://platform.moonshot.ai/docs/guide/agent-support", anthropic_like),
    "minimax": Family("openai", "https://platform.minimax.io/docs/api-reference/text-openai-api", minimax),
    "minimax-anthropic": Family(
        "anthropic", "https://platform.minimax.io/docs/api-reference/text-anthropic-api", anthropic_like
    ),
    "zai": Family("openai", "https://docs.z.ai/api-reference/llm/chat-completion", cached_in_details),
    "zai-anthropic": Family("anthropic", "https://docs.z.ai/devpack/tool/claude", anthropic_like),
    "qwen": Family("openai", "https://www.alibabacloud.com/help/en/model-studio/context-cache", qwen),
    "stepfun": Family(
        "openai", "https://platform.stepfun.ai/docs/en/api-reference/chat/chat-completion-create", top_level_cached
    ),
    "ark": Family("openai", "https://www.volcengine.com/docs/82379/1494384", cached_and_reasoning),
    "hunyuan": Family("openai", "https://cloud.tencent.com/document/product/1729/111007", plain),
    "xai": Family("openai", "https://docs.x.ai/docs/api-reference", reasoning_beside),
    "mistral": Family("openai", "https://docs.mistral.ai/api/", mistral),
    "groq": Family("openai", "https://console.groq.com/docs/api-reference", groq, ("on_demand", "flex")),
    "openrouter": Family("openai", "https://openrouter.ai/docs/use-cases/usage-accounting", openrouter),
    "together": Family("openai", "https://docs.together.ai/reference/chat-completions-1", top_level_cached),
    "fireworks": Family("openai", "https://docs.fireworks.ai/api-reference/post-chatcompletions", cached_in_details),
    "deepinfra": Family("openai", "https://deepinfra.com/docs/openai_api", deepinfra),
    "cerebras": Family(
        "openai", "https://inference-docs.cerebras.ai/api-reference/chat-completions", cached_and_reasoning
    ),
    "sambanova": Family("openai", "https://docs.sambanova.ai/docs/en/api-reference/chat-completion", sambanova),
    "perplexity": Family("openai", "https://docs.perplexity.ai/api-reference/chat-completions-post", perplexity),
    "novita": Family(
        "openai", "https://novita.ai/docs/api-reference/model-apis-llm-create-chat-completion", cached_in_details
    ),
    "siliconflow": Family(
        "openai",
        "https://docs.siliconflow.com/en/api-reference/chat-completions/chat-completions",
        cached_and_reasoning,
    ),
    "nvidia-nim": Family(
        "openai", "https://docs.nvidia.com/nim/large-language-models/latest/api-reference.html", plain
    ),
    "litellm-proxy": Family("openai", "https://docs.litellm.ai/docs/completion/prompt_caching", litellm),
    "vllm": Family("openai", "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html", details_null),
    "vllm-cached": Family("openai", "https://docs.vllm.ai/en/latest/cli/serve.html", cached_in_details),
    "vllm-anthropic": Family(
        "anthropic", "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html", anthropic_bare
    ),
    "vllm-responses": Family(
        "openai-responses", "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html", responses_bare
    ),
    "sglang": Family("openai", "https://docs.sglang.ai/basic_usage/openai_api_completions.html", sglang),
    "llamacpp": Family(
        "openai", "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md", cached_in_details
    ),
    "llamacpp-anthropic": Family(
        "anthropic", "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md", anthropic_like
    ),
    "ollama": Family("openai", "https://docs.ollama.com/api/openai-compatibility", plain),
    "ollama-anthropic": Family("anthropic", "https://docs.ollama.com/api/anthropic-compatibility", anthropic_bare),
    "lm-studio": Family("openai", "https://lmstudio.ai/docs/developer/openai-compat", plain),
    "tgi": Family("openai", "https://huggingface.co/docs/text-generation-inference/messages_api", plain),
}


def lines(name: str, family: Family) -> list[str]:
    found: list[str] = []
    for scenario, used in SCENARIOS.items():
        tiers: tuple[str | None, ...] = (None, *family.tiers) if scenario == "agent turn" else (None,)
        for tier in tiers:
            own = used._replace(tier=tier) if family.dialect == "anthropic" else used
            block = family.write(own)
            if block is None:
                continue
            beside = tier if family.dialect != "anthropic" else None
            reported = own.tier or "standard" if family.write is anthropic else beside
            expected = [*used[:11], reported]
            found.append(json.dumps({
                "family": name, "dialect": family.dialect, "scenario": scenario, "source": family.source,
                "how": HOW, "service_tier": beside, "block": block, "usage": expected,
            }))  # fmt: skip
    return found


def main() -> None:
    total = 0
    for name, family in FAMILIES.items():
        rows = lines(name, family)
        total += len(rows)
        (FOLDER / f"{name}.jsonl").write_text("\n".join(rows) + "\n", "utf-8")
    print(f"{total} blocks of {len(FAMILIES)} families")


if __name__ == "__main__":
    main()
