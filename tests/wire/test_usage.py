"""Usage blocks of providers as disjoint token classes. The blocks have the fields that these hosts send."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.records.usage import Usage
from weighbridge.wire.openai import usage_of


def of(block: Any) -> Usage | None:
    return usage_of(json.dumps(block).encode())


BLOCKS: list[tuple[str, dict[str, Any], Usage]] = [
    ("bare", {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}, Usage(10, 4)),
    (
        "OpenAI, cached and reasoning",
        {
            "prompt_tokens": 2006,
            "completion_tokens": 300,
            "total_tokens": 2306,
            "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 192,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        Usage(86, 108, 1920, 0, 0, 192),
    ),
    (
        "vLLM, details null",
        {"prompt_tokens": 30, "total_tokens": 38, "completion_tokens": 8, "prompt_tokens_details": None},
        Usage(30, 8),
    ),
    (
        "llama.cpp",
        {
            "completion_tokens": 2,
            "prompt_tokens": 37,
            "total_tokens": 39,
            "prompt_tokens_details": {"cached_tokens": 36},
        },
        Usage(1, 2, 36),
    ),
    (
        "DeepSeek",
        {
            "prompt_tokens": 1000,
            "completion_tokens": 200,
            "total_tokens": 1200,
            "prompt_tokens_details": {"cached_tokens": 960},
            "completion_tokens_details": {"reasoning_tokens": 150},
            "prompt_cache_hit_tokens": 960,
            "prompt_cache_miss_tokens": 40,
        },
        Usage(40, 50, 960, 0, 0, 150),
    ),
    (
        "DeepSeek, older",
        {
            "prompt_tokens": 1000,
            "completion_tokens": 20,
            "total_tokens": 1020,
            "prompt_cache_hit_tokens": 960,
            "prompt_cache_miss_tokens": 40,
        },
        Usage(40, 20, 960),
    ),
    (
        "Moonshot",
        {"prompt_tokens": 19, "completion_tokens": 21, "total_tokens": 40, "cached_tokens": 10},
        Usage(9, 21, 10),
    ),
    (
        "OpenRouter, cache write",
        {
            "prompt_tokens": 100,
            "completion_tokens": 10,
            "total_tokens": 110,
            "cost": 0.001,
            "prompt_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 30},
        },
        Usage(50, 10, 20, 30),
    ),
    (
        "Qwen, cache creation",
        {
            "prompt_tokens": 3019,
            "completion_tokens": 104,
            "total_tokens": 3123,
            "prompt_tokens_details": {"cache_creation_input_tokens": 2000, "cached_tokens": 0},
        },
        Usage(1019, 104, 0, 2000),
    ),
    (
        "xAI, reasoning beside the completion",
        {
            "prompt_tokens": 32,
            "completion_tokens": 9,
            "total_tokens": 135,
            "completion_tokens_details": {"reasoning_tokens": 94},
        },
        Usage(32, 9, 0, 0, 0, 94),
    ),
    (
        "Gemini, thoughts only in the total",
        {"prompt_tokens": 12, "completion_tokens": 40, "total_tokens": 300},
        Usage(12, 40, 0, 0, 0, 248),
    ),
    ("embeddings", {"prompt_tokens": 8, "total_tokens": 8}, Usage(8, 0)),
]


@pytest.mark.parametrize(("block", "usage"), [row[1:] for row in BLOCKS], ids=[row[0] for row in BLOCKS])
def test_each_host_is_read_as_it_counts(block: dict[str, Any], usage: Usage) -> None:
    assert usage == of(block)
    total = block.get("total_tokens")
    assert total == usage.total


@pytest.mark.parametrize(
    "block",
    [
        {},
        {"completion_tokens": 3},
        {"prompt_tokens": 3},
        {"prompt_tokens": None, "completion_tokens": 3},
        {"prompt_tokens": "3", "completion_tokens": 3},
        {"prompt_tokens": -1, "completion_tokens": 3},
        {"prompt_tokens": 1, "completion_tokens": -3},
        {"prompt_tokens": 10, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 11}},
        {"prompt_tokens": 10, "completion_tokens": 3, "completion_tokens_details": {"reasoning_tokens": 4}},
        {
            "prompt_tokens": 10,
            "completion_tokens": 3,
            "total_tokens": 20,
            "completion_tokens_details": {"reasoning_tokens": 5},
        },
        {
            "prompt_tokens": 10,
            "completion_tokens": 3,
            "total_tokens": 18,
            "prompt_tokens_details": {"cached_tokens": 5},
        },
        {"prompt_tokens": 10**20, "completion_tokens": 3},
        {"prompt_tokens": 3, "completion_tokens": 1 << 41},
        {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 1 << 62},
        {"prompt_tokens": 3, "completion_tokens": 1 << 63},
        [],
        "text",
        None,
    ],
)
def test_what_is_silent_or_contradicts_itself_is_unknown_and_never_zero(block: Any) -> None:
    assert of(block) is None


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_classes_are_disjoint_and_sum_to_what_the_provider_counted(
    fresh: int, cached: int, visible: int, reasoning: int
) -> None:
    usage = of(
        {
            "prompt_tokens": fresh + cached,
            "completion_tokens": visible + reasoning,
            "total_tokens": fresh + cached + visible + reasoning,
            "prompt_tokens_details": {"cached_tokens": cached},
            "completion_tokens_details": {"reasoning_tokens": reasoning},
        }
    )
    assert Usage(fresh, visible, cached, 0, 0, reasoning) == usage
    assert fresh + cached + visible + reasoning == usage.total


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail(raw: bytes) -> None:
    usage_of(raw)
