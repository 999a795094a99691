"""`price set`, `history`, `compare` and `adjust` with a real keeper."""

import json
from pathlib import Path

import pytest

from weighbridge.cli.root import run

CONFIG = """
[[endpoint]]
name = "openai"
base_url = "https://api.openai.com/v1"
provider = "openai"
[[arm]]
name = "gpt"
endpoint = "openai"
model = "gpt-5.5"
"""
SET = ["price", "set", "gpt-5.5", "--provider", "openai", "--source", "contract 7", "--output", "20"]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.toml").write_text(CONFIG)
    return str(tmp_path / "w.toml")


def shown(file: str, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    capsys.readouterr()
    run(["price", *words, "--config", file, "--json"])
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_a_stated_price_holds_from_its_day_and_history_keeps_the_one_before(
    file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for amount, since in (("4", "2026-01-01"), ("3", "2026-02-01"), ("99", "2999-01-01")):
        assert 0 == run([*SET, "--input", amount, "--since", since, "--config", file])
    row = shown(file, capsys, "show", "gpt")["prices"][0]  # type: ignore[index]
    assert ("3", "contract 7", "2026-02-01") == (
        row["usd_per_million_tokens"]["input"], row["source"], row["since"],
    )  # fmt: skip
    told = shown(file, capsys, "history", "gpt-5.5")["prices"]
    assert ["4", "3", "99"] == [one["input"] for one in told]  # type: ignore[attr-defined]
    assert 0 == run(["verify", "--config", file])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--input", "cheap"], "--input: 'cheap' is not an amount"),
        (["--input", "1", "--since", "soon"], "--since: 'soon' is not a day"),
        (["--input", "1", "--hours", "9-12"], "--hours: '9-12' is no part of a day"),
        (["--input", "1", "--time-zone", "Moon"], "--time-zone: 'Moon' is no IANA time zone"),
        (["--input", "1", "--endpoint", "openai"], "--provider: say exactly one of: provider, endpoint"),
    ],
)
def test_a_price_that_makes_no_sense_is_refused_and_not_stored(
    file: str, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert 64 == run([*SET, *words, "--config", file])
    assert said in capsys.readouterr().err
    assert [] == shown(file, capsys, "history")["prices"]


def test_tiers_and_lengths_of_a_price_are_shown(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    row = shown(file, capsys, "show", "gpt")["prices"][0]  # type: ignore[index]
    places = {(one["service_tier"], one["above_input_tokens"]) for one in row["elsewhere"]}
    assert {(None, 272_000), ("flex", None), ("flex", 272_000), ("priority", None), ("batch", None)} <= places


def test_sources_that_disagree_are_shown_side_by_side(
    file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "litellm.json"
    table.write_text(
        '{"sample_spec": {"input_cost_per_token": 0}, "gpt-5.5": {"input_cost_per_token": '
        '5e-06, "output_cost_per_token": 3.1e-05}}'
    )
    routed = tmp_path / "openrouter.json"
    routed.write_text(
        '{"data": [{"id": "openai/gpt-5.5", "pricing": {"prompt": "0.000005", "completion": "0.00003"}}]}'
    )
    words = ["compare", "gpt-5.5", "--provider", "openai", "--beside", str(table), "--beside", str(routed)]
    said = shown(file, capsys, *words)
    disagree = said["disagree"]
    assert isinstance(disagree, dict)
    assert ["output"] == list(disagree)
    assert {"30", "31"} == set(disagree["output"].values())


def test_a_table_of_another_kind_is_refused(file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.json").write_text("[1, 2]")
    words = ["price", "compare", "gpt-5.5", "--provider", "openai", "--beside", str(tmp_path / "t.json")]
    assert 64 == run([*words, "--config", file])
    assert "neither LiteLLM's table of prices nor OpenRouter's" in capsys.readouterr().err
