"""What lies in deploy/: the unit, the container file, the chart and the folder for machines without a network."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped] # its stubs are a package of their own
from jsonschema import Draft7Validator

from weighbridge.config import load

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy"
CHART = DEPLOY / "helm" / "weighbridge"
UNIT = DEPLOY / "systemd" / "weighbridge.service"
EXPOSURE_MAX = "15"
"""Tenths of systemd's own measure, from 0 to 10; services without any hardening have 9.6."""

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")


def ran(*command: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, **more)


@needs_systemd
def test_systemd_takes_the_unit_without_a_word(tmp_path: Path) -> None:
    program = tmp_path / "weighbridge"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/weighbridge/bin/weighbridge", str(program)))
    verified = ran("systemd-analyze", "verify", unit)
    said = [line for line in verified.stderr.splitlines() if "weighbridge" in line]
    assert [] == said


@needs_systemd
def test_the_unit_exposes_little() -> None:
    looked = ran("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", UNIT)
    assert 0 == looked.returncode, looked.stdout + looked.stderr


def test_the_image_is_no_roots_and_asks_no_package_index() -> None:
    lines = [line for line in (DEPLOY / "container" / "Containerfile").read_text().splitlines() if line[:1] != "#"]
    text = "\n".join(lines)
    final = text[text.rindex("\nFROM ") :]
    assert re.search(r"^USER 10001:10001$", final, re.MULTILINE)
    assert not re.search(r"pip |apt|curl|wget|ADD ", text)
    assert {"HEALTHCHECK", 'ENTRYPOINT ["weighbridge"]'} <= set(re.findall(r"HEALTHCHECK|ENTRYPOINT.*$", final, re.M))


def values() -> Any:
    return yaml.safe_load((CHART / "values.yaml").read_text())


def schema() -> Draft7Validator:
    document = json.loads((CHART / "values.schema.json").read_text())
    Draft7Validator.check_schema(document)
    return Draft7Validator(document)


def test_the_charts_values_fit_its_schema_and_every_one_is_in_it() -> None:
    schema().validate(values())
    assert set(values()) == set(schema().schema["properties"]) - {"global"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"replica": 2},
        {"store": {"size": "20"}},
        {"image": {"repository": "x", "digest": "sha256:1"}},
        {"config": "[server]\nlisten = '0.0.0.0:1'"},
    ],
)
def test_a_wrong_value_is_refused(wrong: dict[str, Any]) -> None:
    assert not schema().is_valid({**values(), **wrong})


def test_every_value_of_a_template_is_there() -> None:
    used = set()
    for template in (CHART / "templates").iterdir():
        used |= set(re.findall(r"\.Values\.([\w.]+)", template.read_text()))
    for path in used:
        found = values()
        for name in path.split("."):
            assert name in found, path
            found = found[name]
    assert set(values()) == {path.split(".")[0] for path in used}


def loads(text: str, folder: Path) -> None:
    file = folder / "weighbridge.toml"
    file.write_text(text)
    loaded = load(file)
    assert 1 == len(loaded.config.route)


def test_the_charts_own_configuration_is_one_that_can_be_served(tmp_path: Path) -> None:
    loads(values()["config"], tmp_path)


@pytest.mark.long
def test_helm_renders_what_kubernetes_takes(tmp_path: Path) -> None:
    uv = REPOSITORY / ".boot" / "bin" / "uv"
    program = REPOSITORY / "tests" / "packaging" / "chart.py"
    rendered = ran(
        uv, "tool", "run", "--quiet", "--from", "helm-python-sdk==0.2.2", "--with", "kubernetes-validate==1.37.0",
        "--with", "pyyaml==6.0.3", "python", program, CHART,
    )  # fmt: skip
    assert 0 == rendered.returncode, rendered.stderr
    made = json.loads(rendered.stdout)
    cases = made["cases"]
    for name in ("defaults", "everything"):
        assert [] == [(one["object"]["kind"], one["problem"]) for one in cases[name] if one["problem"] is not None]
        (text,) = [
            one["object"]["data"]["weighbridge.toml"] for one in cases[name] if one["object"]["kind"] == "ConfigMap"
        ]
        loads(text, tmp_path)
    kinds = [one["object"]["kind"] for one in cases["everything"]]
    assert {"PrometheusRule", "ServiceMonitor", "PodDisruptionBudget"} <= set(kinds)
    assert "replicas above 1 need postgresql.existingSecret" in cases["replicas without a shared ledger"]["error"]
    assert "additional properties 'replica' not allowed" in cases["an unknown value"]["error"]
    assert "'/config'" in cases["a server section of their own"]["error"]
    assert "'errors': []" in made["lint"]


@pytest.mark.long
def test_it_installs_and_runs_from_a_folder_with_the_network_off(tmp_path: Path) -> None:
    if ran("unshare", "-n", "true").returncode:
        pytest.skip("this user may not make a network namespace (unshare -n)")
    folder, target, work = tmp_path / "airgap", tmp_path / "opt", tmp_path / "work"
    packed = ran(REPOSITORY / "scripts" / "airgap", "--extra", "admin", "--out", folder)
    assert 0 == packed.returncode, packed.stderr
    installed = ran("unshare", "-n", folder / "install.sh", target, cwd="/")
    assert 0 == installed.returncode, installed.stderr
    work.mkdir()
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    for command in (["demo"], ["alerts", "disk-full"], ["license", "matrix"]):
        told = ran("unshare", "-n", target / "bin" / "weighbridge", *command, cwd=work, env=clean)
        assert told.returncode in (0, 2), told.stderr
    wheel = next((folder / "wheels").glob("numpy-*.whl"))
    wheel.write_bytes(wheel.read_bytes()[:-1] + b"\0")
    refused = ran(folder / "install.sh", tmp_path / "second")
    assert (1, False) == (refused.returncode, (tmp_path / "second").exists())
    assert "a file is not the one that was packed" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--python", "2.7"], "write a version such as 3.11"),
        (["--machine", "sparc"], "x86_64 or aarch64"),
        (["--extra"], "--extra needs a value"),
        (["--fast"], "there is no option --fast"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_made(arguments: list[str], words: str) -> None:
    refused = ran(REPOSITORY / "scripts" / "airgap", *arguments)
    assert (64, True) == (refused.returncode, words in refused.stderr)
