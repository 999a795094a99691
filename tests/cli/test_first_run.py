"""As a new user would: init, serve, and an own client with only base URL and key changed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.app.serving import serving
from tests.fakes.provider import FakeProvider
from weighbridge.exchanges.reader import read


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


def weighbridge(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "weighbridge", *arguments], cwd=folder, capture_output=True, text=True, timeout=120
    )


def initialised(folder: Path, provider: FakeProvider) -> tuple[Path, str]:
    """The configuration file and the client key, as `init` made them; only the ports are others."""
    made = weighbridge(folder, "init", "--base-url", provider.url, "--model", "model-a", "--json")
    assert made.returncode == 0, made.stderr
    file = folder / "weighbridge.toml"
    text = file.read_text()
    file.write_text(text.replace("127.0.0.1:8400", "127.0.0.1:0").replace("127.0.0.1:8401", "127.0.0.1:0"))
    return file, json.loads(made.stdout)["client_key"]


def test_init_then_serve_then_the_official_client_works(tmp_path: Path, provider: FakeProvider) -> None:
    file, key = initialised(tmp_path, provider)
    with serving(file) as served:
        client = openai.OpenAI(base_url=f"http://{served.listen}/v1", api_key=key, max_retries=0)
        for model in ("assistant", "model-a"):  # the route, and the name that the application used so far
            answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hello"}])
            assert answer.choices[0].message.content == "Hello from the fake."
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=f"http://{served.listen}/v1", api_key="wrong", max_retries=0).models.list()
        assert [exchange.key for exchange in read(served.layout)] == ["app", "app"]
        assert [charge.model for charge in provider.bill] == ["model-a", "model-a"]


def test_doctor_after_init_says_what_is_still_missing_for_trials(tmp_path: Path, provider: FakeProvider) -> None:
    initialised(tmp_path, provider)
    told = weighbridge(tmp_path, "doctor", "--json")
    assert told.returncode == 2
    checks = {check["name"]: check for check in json.loads(told.stdout)["checks"]}
    assert checks["endpoint upstream"]["status"] == "ok"
    assert checks["capture"]["status"] == "warn"
    assert checks["price model-a"]["status"] == "warn"


def test_serve_without_a_configuration_says_how_to_get_one(tmp_path: Path) -> None:
    ended = weighbridge(tmp_path, "serve")
    assert ended.returncode == 64
    assert ended.stderr == (
        "weighbridge: weighbridge.toml: file: does not exist; `weighbridge init` writes one, --config names another.\n"
    )


def test_the_client_key_is_in_no_log_line_and_no_file_but_its_own(tmp_path: Path, provider: FakeProvider) -> None:
    file, key = initialised(tmp_path, provider)
    with serving(file) as served:
        openai.OpenAI(base_url=f"http://{served.listen}/v1", api_key=key).models.list()
        served.page("/metrics")
        served.end()
        assert not any(key in line for line in served.log)
    holding = [path for path in tmp_path.rglob("*") if path.is_file() and key.encode() in path.read_bytes()]
    assert holding == [tmp_path / "weighbridge-data" / "keys" / "app.key"]
    assert os.stat(holding[0]).st_mode & 0o077 == 0
