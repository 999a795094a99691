"""`init`: a configuration that loads, facts with their source, and nothing overwritten."""

import json
import re
from pathlib import Path

import pytest

from weighbridge.app.first import Upstream, config_text
from weighbridge.cli.root import run
from weighbridge.config import load, loads
from weighbridge.config.tree import ArmSection, EndpointSection
from weighbridge.ledger.prices import PriceFound, compile_price
from weighbridge.ledger.providers import known_providers
from weighbridge.store.layout import Layout


def test_it_writes_a_configuration_a_store_and_a_client_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "weighbridge.toml"
    assert run(["init", "--config", str(file)]) == 0
    shown = capsys.readouterr().out
    loaded = load(file)
    layout = Layout(loaded.store_path)
    key = (layout.root / "keys" / "app.key").read_text().strip()
    assert re.fullmatch(r"wb-[\w-]{43}", key)
    assert shown.count(key) == 1
    assert "export OPENAI_API_KEY" in shown
    for path in (layout.root / "keys" / "app.key", layout.signing_key):
        assert path.stat().st_mode & 0o777 == 0o600
    assert layout.root.stat().st_mode & 0o777 == 0o700
    assert key not in file.read_text()


def test_it_never_overwrites_a_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "weighbridge.toml"
    file.write_text("# mine\n")
    assert run(["init", "--config", str(file)]) == 64
    assert "never overwrites" in capsys.readouterr().err
    assert file.read_text() == "# mine\n"
    assert list(tmp_path.iterdir()) == [file]


def test_it_keeps_the_keys_of_a_store_that_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "weighbridge.toml"
    run(["init", "--config", str(file)])
    keys = {path.name: path.read_bytes() for path in (tmp_path / "weighbridge-data" / "keys").iterdir()}
    file.unlink()
    capsys.readouterr()
    assert run(["init", "--config", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "kept the client key" in shown
    assert keys["app.key"].decode().strip() not in shown
    assert keys == {path.name: path.read_bytes() for path in (tmp_path / "weighbridge-data" / "keys").iterdir()}


def test_json_is_one_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", "--config", str(tmp_path / "w.toml"), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["upstream_key_variable"] == "OPENAI_API_KEY"
    assert made["client_key"].startswith("wb-")


@pytest.mark.parametrize("name", known_providers())
def test_every_known_provider_gives_a_configuration_with_its_facts_and_their_source(name: str) -> None:
    provider = known_providers()[name]
    text = config_text(Upstream(provider=name)).config
    endpoint = loads(text).config.endpoint[0]
    assert (endpoint.region, endpoint.retention_days, endpoint.trains_on_data) == (
        provider.region,
        provider.retention_days,
        provider.trains_on_data,
    )
    assert f"# From {provider.source} (read {provider.read}):" in text


@pytest.mark.parametrize("name", known_providers())
def test_the_example_model_of_every_known_provider_has_a_price(name: str) -> None:
    from datetime import UTC, datetime

    provider = known_providers()[name]
    arm = ArmSection(name="a", endpoint="e", model=provider.example)
    endpoint = EndpointSection(name="e", base_url=provider.base_url, provider=provider.price_book)
    assert isinstance(compile_price(arm, endpoint, datetime.now(UTC)), PriceFound)


@pytest.mark.parametrize(
    "upstream",
    [
        Upstream(),
        Upstream(provider="groq"),
        Upstream(base_url="http://127.0.0.1:8000/v1", model="Qwen/Qwen2.5-72B-Instruct"),
        Upstream(base_url="https://llm.example.com/v1", model="m", key_variable="LLM_KEY", provider="together"),
    ],
)
def test_every_commented_example_is_one_that_loads(upstream: Upstream) -> None:
    text = re.sub(r"^#(?=\[\[|\w+ = )", "", config_text(upstream).config, flags=re.MULTILINE)
    config = loads(text).config
    assert [arm.name for arm in config.arm][1:] == ["qwen-72b"]
    assert config.grader[0].labels == ("refund", "delivery", "other")
    assert config.capture.encrypt_key is not None


def test_the_model_that_applications_send_now_is_an_alias() -> None:
    config = loads(config_text(Upstream(base_url="http://127.0.0.1:1/v1", model="Qwen/Qwen2.5-7B")).config).config
    assert config.route[0].aliases == ("Qwen/Qwen2.5-7B",)
    assert config.arm[0].name == "Qwen2.5-7B"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--provider", "openay"], "known are openai, anthropic, together"),
        (["--base-url", "http://127.0.0.1:1/v1"], "--base-url needs --model"),
        (["--base-url", "not a url", "--model", "m"], "endpoint[upstream].base_url"),
    ],
)
def test_an_upstream_that_is_not_understood_is_said_and_nothing_is_written(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["init", "--config", str(tmp_path / "w.toml"), *arguments]) == 64
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "weighbridge-data").write_text("a file")
    assert run(["init", "--config", str(tmp_path / "w.toml")]) == 1
    assert "weighbridge-data cannot be written" in capsys.readouterr().err
    assert not (tmp_path / "w.toml").exists()
