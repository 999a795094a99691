"""`price show`: what each arm costs, where that comes from, and what nobody says."""

import json
from pathlib import Path

import pytest

from weighbridge.cli.root import run

CONFIG = """
[[endpoint]]
name = "openai"
base_url = "https://api.openai.com/v1"
provider = "openai"
[[endpoint]]
name = "own"
base_url = "http://127.0.0.1:1/v1"
[[arm]]
name = "gpt"
endpoint = "openai"
model = "gpt-4o-2024-08-06"
[[arm]]
name = "stated"
endpoint = "own"
model = "m"
price = { input = "0.35", output = "0.4", per_request = "0.001" }
[[arm]]
name = "unstated"
endpoint = "own"
model = "m"
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "w.toml").write_text(CONFIG)
    return str(tmp_path / "w.toml")


def test_known_prices_are_exact_and_name_their_version(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["price", "show", "gpt", "--config", file, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)["prices"][0]
    assert row["usd_per_million_tokens"]["input"] == "2.5"
    assert row["usd_per_million_tokens"]["cache_write"] is None
    assert row["price_version"].startswith("genai-prices ")
    assert row["source"].startswith("https://")


def test_an_unknown_price_is_null_never_zero_and_needs_attention(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["price", "show", "--config", file, "--json"]) == 2
    rows = {row["arm"]: row for row in json.loads(capsys.readouterr().out)["prices"]}
    assert rows["unstated"]["usd_per_million_tokens"] is None
    assert "states no price" in rows["unstated"]["why_unknown"]
    assert rows["stated"]["why_unknown"] is None


def test_people_see_amounts_source_and_what_is_unknown(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["price", "show", "--config", file]) == 2
    shown = capsys.readouterr().out
    assert "input $0.35, output $0.4, cache read unknown" in shown
    assert "per request: $0.001" in shown
    assert "arm[stated].price" in shown
    assert "unknown: endpoint 'own'" in shown


def test_an_arm_that_is_not_there_is_a_usage_error(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["price", "show", "nope", "--config", file]) == 64
    assert "has no arm 'nope'; it has: gpt, stated, unstated" in capsys.readouterr().err
