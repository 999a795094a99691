"""Golden usage blocks of all dialects and provider families: exact disjoint classes, or unknown with the reason.

`tests/golden/usage/make.py` writes the blocks from counts; each line names the schema that it follows.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from weighbridge.records.usage import Usage
from weighbridge.wire.chat import plain_usage
from weighbridge.wire.dialects.usages import anthropic_counted, responses_counted
from weighbridge.wire.usage import counted

pytestmark = pytest.mark.promise(9)

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "usage"


class Known(msgspec.Struct, frozen=True):
    family: str
    dialect: str
    scenario: str
    source: str
    how: str
    service_tier: str | None
    block: msgspec.Raw
    usage: Usage


class Unknown(msgspec.Struct, frozen=True):
    family: str
    dialect: str
    block: msgspec.Raw
    why: str


class Totals(msgspec.Struct, frozen=True):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0

    def counted(self, dialect: str) -> int:
        if self.total_tokens is not None:
            return self.total_tokens
        cached = self.cache_creation_input_tokens + self.cache_read_input_tokens if dialect == "anthropic" else 0
        return self.prompt_tokens + self.completion_tokens + self.input_tokens + self.output_tokens + cached


def lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()


KNOWN = [
    msgspec.json.decode(line, type=Known)
    for path in sorted(GOLDEN.glob("*.jsonl"))
    if path.stem != "unknown"
    for line in lines(path)
]
UNKNOWN = [msgspec.json.decode(line, type=Unknown) for line in lines(GOLDEN / "unknown.jsonl")]
READERS: dict[str, Callable[[bytes, str | None], Usage | str]] = {
    "openai": counted,
    "openai-responses": responses_counted,
    "anthropic": lambda block, _: anthropic_counted(block),
}


def test_there_are_three_hundred_blocks_of_every_dialect_and_of_forty_families() -> None:
    assert 300 <= len(KNOWN)
    assert 40 <= len({one.family for one in KNOWN})
    assert {"openai", "openai-responses", "anthropic"} == set(Counter(one.dialect for one in KNOWN))
    assert all(one.source.startswith("https://") and one.how for one in KNOWN)


@pytest.mark.parametrize("one", KNOWN, ids=lambda one: f"{one.family}: {one.scenario} {one.service_tier or ''}".strip())
def test_a_block_is_read_into_exactly_the_classes_that_were_used(one: Known) -> None:
    block = bytes(one.block)
    assert one.usage == READERS[one.dialect](block, one.service_tier)
    assert msgspec.json.decode(block, type=Totals).counted(one.dialect) == one.usage.total


@pytest.mark.parametrize("one", KNOWN, ids=lambda one: f"{one.family}: {one.scenario} {one.service_tier or ''}".strip())
def test_the_raw_block_of_numbers_and_price_words_is_kept_byte_for_byte(one: Known) -> None:
    free_text = one.family in ("sambanova", "vertex-chat") or b"cache_type" in bytes(one.block)
    assert (None if free_text else bytes(one.block)) == plain_usage(bytes(one.block))


@pytest.mark.parametrize("one", UNKNOWN, ids=lambda one: f"{one.family}: {one.why}")
def test_a_block_that_cannot_be_told_apart_is_unknown_with_the_reason(one: Unknown) -> None:
    reason = READERS[one.dialect](bytes(one.block), None)
    assert isinstance(reason, str)
    assert one.why in reason


def test_what_a_compaction_used_is_counted_along() -> None:
    block = (
        b'{"input_tokens": 23000, "output_tokens": 1000, "iterations": [{"type": "compaction", "input_tokens": 180000, '
        b'"output_tokens": 3500}, {"type": "message", "input_tokens": 23000, "output_tokens": 1000}]}'
    )
    assert Usage(203_000, 4_500) == anthropic_counted(block)


@pytest.mark.parametrize(
    ("block", "tier"),
    [
        (b'{"input_tokens":1,"output_tokens":1,"service_tier":"standard","speed":"fast"}', "fast"),
        (b'{"input_tokens":1,"output_tokens":1,"service_tier":"batch"}', "batch"),
        (b'{"input_tokens":1,"output_tokens":1,"service_tier":"standard","inference_geo":"us"}', "geo:us"),
        (b'{"input_tokens":1,"output_tokens":1,"speed":"fast","inference_geo":"us"}', "fast+geo:us"),
        (b'{"input_tokens":1,"output_tokens":1,"service_tier":"standard","inference_geo":"global"}', "standard"),
        (b'{"input_tokens":1,"output_tokens":1}', None),
    ],
)
def test_speed_and_place_are_part_of_the_tier_because_they_multiply_the_price(block: bytes, tier: str | None) -> None:
    usage = anthropic_counted(block)
    assert isinstance(usage, Usage)
    assert tier == usage.service_tier
