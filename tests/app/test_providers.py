"""docs/providers.md: every block is a configuration, becomes the call that stands under it, and has its host's name."""

import re
from pathlib import Path
from typing import Any

import pytest
from genai_prices.data_snapshot import get_snapshot

from weighbridge.app.doctor_endpoints import described
from weighbridge.config import loads
from weighbridge.config.tree import EndpointSection
from weighbridge.keeper.compile import World, compile_table
from weighbridge.ledger.prices import PriceUnknown

PAGE = (Path(__file__).parents[2] / "docs" / "providers.md").read_text()
_BLOCK = r"## ([^\n]+)\n\n```toml\n(.*?)```\n\n\| endpoint \| becomes \|\n\|---\|---\|\n(.*?)\n\n"
BLOCKS = re.findall(_BLOCK, PAGE, re.S)
ROUTE = """
[[arm]]
name = "a"
endpoint = "{first}"
model = "MODEL"
[[route]]
name = "r"
incumbent = "a"
"""
FAMILIES = ("OpenAI", "Anthropic", "Azure", "Bedrock", "Vertex", "Gemini", "DeepSeek", "Moonshot", "MiniMax", "Z.ai",
            "Qwen", "OpenRouter", "Together", "vLLM", "SGLang", "llama.cpp", "Ollama")  # fmt: skip


def test_every_family_has_its_block() -> None:
    titles = " ".join(title for title, _, _ in BLOCKS)
    assert [] == [name for name in FAMILIES if name not in titles]


@pytest.mark.parametrize(("title", "toml", "rows"), BLOCKS, ids=[title for title, _, _ in BLOCKS])
def test_a_block_becomes_the_calls_that_stand_under_it(title: str, toml: str, rows: str, tmp_path: Path) -> None:
    first = re.search(r'name = "([^"]+)"', toml)
    assert first is not None
    loaded = loads(toml + ROUTE.format(first=first[1]), folder=tmp_path)
    world = World(secret=lambda _: "x", text=lambda _: "", price=lambda *_: PriceUnknown("not asked"))
    table = compile_table(loaded, number=1, now_ns=0, trial_key="", world=world, client_keys="present").table
    said = [f"| `{one.name}` | {described(one, 'MODEL', lambda _: 'x')} |" for one in table.endpoints]
    assert rows.splitlines() == [line.replace(f"{tmp_path}/", "") for line in said]
    for endpoint in loaded.config.endpoint:
        assert _host_problem(endpoint) is None


def _host_problem(endpoint: EndpointSection) -> Any:
    """Of a provider that the price book knows: does its entry match the address?"""
    known = next((one for one in get_snapshot().providers if one.id == endpoint.provider), None)
    if known is None or re.match(known.api_pattern, endpoint.base_url):
        return None
    return endpoint.base_url, known.api_pattern
