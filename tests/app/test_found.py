"""A configuration from a scan: it loads, the doctor takes it, a gateway serves it."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import openai
import pytest

from tests.app.serving import serving
from weighbridge.app.found import Written, write_found
from weighbridge.cli.root import run
from weighbridge.config import load
from weighbridge.errors import UsageError
from weighbridge.scan.scan import Scan, scan

SAMPLE = Path(__file__).parents[2] / "examples" / "scan_sample.csv"
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def sample() -> Scan:
    return scan([SAMPLE], NOW)


def rows(folder: Path, *lines: str) -> Scan:
    path = folder / "usage.csv"
    path.write_text("\n".join(("time,application,provider,model,input_tokens,output_tokens", *lines)) + "\n")
    return scan([path], NOW)


def test_each_application_becomes_a_route_with_its_model_and_cheaper_open_candidates(
    sample: Scan, tmp_path: Path
) -> None:
    made = write_found(tmp_path, sample)
    config = load(tmp_path / "weighbridge.toml").config
    assert ("support-assistant", "contract-summaries", "coding-agent", "ticket-labels") == made.routes
    assert made.routes == tuple(route.name for route in config.route)
    arms = {arm.name: arm for arm in config.arm}
    for route, application in zip(config.route, sample.applications, strict=False):
        stay = application.alternatives[0]
        assert stay.model == arms[route.incumbent].model
        assert {"open"} == {arms[name].weights for name in route.candidates}
        assert all(arms[name].endpoint in made.endpoints for name in (route.incumbent, *route.candidates))
    assert any("pilot-search: house-model-7b at in-house" in one for one in made.left_out)
    aliases = [alias for route in config.route for alias in route.aliases]
    assert len(set(aliases)) == len(aliases)


def test_a_gateway_serves_what_was_written_and_the_doctor_takes_it(
    sample: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = write_found(tmp_path, sample)
    for variable in made.key_variables:
        monkeypatch.setenv(variable, "sk-test")
    file = tmp_path / "weighbridge.toml"
    file.write_text(file.read_text().replace("127.0.0.1:8400", "127.0.0.1:0").replace("127.0.0.1:8401", "127.0.0.1:0"))
    with serving(file) as served:
        client = openai.OpenAI(base_url=f"http://{served.listen}/v1", api_key=made.client_key, max_retries=0)
        assert set(made.routes) <= {model.id for model in client.models.list()}
    told = subprocess.run(
        [sys.executable, "-m", "weighbridge", "doctor", "--json", "--config", str(file)],
        capture_output=True, text=True, timeout=120, check=False, env={**os.environ},
    )  # fmt: skip
    assert told.returncode in (0, 1, 2), told.stderr  # hosts cannot be reached from here; the file itself is in order
    checks = {check["name"]: check["status"] for check in json.loads(told.stdout)["checks"]}
    assert "ok" == checks["price gpt-5.5"]


def test_what_exists_is_not_overwritten(sample: Scan, tmp_path: Path) -> None:
    write_found(tmp_path, sample)
    before = (tmp_path / "weighbridge.toml").read_text()
    with pytest.raises(UsageError, match="exists and is not overwritten"):
        write_found(tmp_path, sample)
    assert before == (tmp_path / "weighbridge.toml").read_text()


def test_names_from_files_are_text_and_never_configuration(tmp_path: Path) -> None:
    found = rows(
        tmp_path,
        '2026-11-01,"a""] \x7f $store","openai","gpt-4o",10,2',
        '2026-11-01,"x\n[server]\nlisten = ""0.0.0.0:1""","openai","gpt-4o",10,2',
        '2026-11-01,"A / B","openai","odd ""model\\",10,2',
        '2026-11-01,"a-b","openai","gpt-4o",10,2',
    )
    made: Written = write_found(tmp_path / "new", found)
    config = load(tmp_path / "new" / "weighbridge.toml").config
    assert "127.0.0.1:8400" == config.server.listen
    assert len(made.routes) == len(set(made.routes)) == 4
    assert 'odd "model\\' in {arm.model for arm in config.arm}


def test_without_any_known_provider_nothing_is_written(tmp_path: Path) -> None:
    found = rows(tmp_path, "2026-11-01,search,in-house,own-7b,10,2")
    with pytest.raises(UsageError, match="search: own-7b at in-house, whose address is not known"):
        write_found(tmp_path / "new", found)
    assert not (tmp_path / "new").exists()


def test_the_command_writes_it_beside_its_usual_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == run(["scan", str(SAMPLE), "--json", "--init", str(tmp_path)])
    out, err = capsys.readouterr()
    assert "scan/1" == json.loads(out)["schema"]
    assert "4 routes (support-assistant" in err
    assert "left out: pilot-search" in err
    assert (tmp_path / "weighbridge.toml").is_file()
