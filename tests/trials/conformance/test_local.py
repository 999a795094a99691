"""`endpoint check` against a real engine: llama.cpp with small open weights, on two ports."""

import json
import os
from pathlib import Path

import pytest

from tests.trials.conformance.test_check import CONFIG, command
from weighbridge.samples.local_model import LocalModelError, LocalServer, fetch_weights

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "weighbridge" / "models"


@pytest.mark.long
def test_a_real_engine_is_described_and_not_told_apart_from_itself_on_another_port(tmp_path: Path) -> None:
    try:
        weights = fetch_weights(CACHE)
    except LocalModelError as error:
        pytest.skip(f"the weights of the local model cannot be fetched: {error}")
    with LocalServer(weights, parallel=1) as first, LocalServer(weights, parallel=1) as second:
        file = tmp_path / "weighbridge.toml"
        text = CONFIG.format(first=first.base_url, second=second.base_url)
        file.write_text(text.replace('"model"', f'"{first.model}"'))
        options = ("--max-usd", "1", "--samples", "2", "--context-max", "1000", "--json")
        done = command(file, "endpoint", "check", "first", "--against", "second", *options)
    assert 2 == done.returncode, done.stderr  # weights this small miss something: words at the start, tools
    found = json.loads(done.stdout)
    rows = {row["check"]: row for row in found["rows"]}
    for check in ("answers", "stream", "usage in streams", "max_tokens", "schema enforced", "time to first token"):
        assert "yes" == rows[check]["status"], rows[check]
    assert "tokens" in rows["context"]["says"]
    compared = found["comparison"]
    assert "alike" == compared["finding"], compared
    assert 40 == compared["same_prompt_tokens"]["count"] == compared["agreement"]["n"]
