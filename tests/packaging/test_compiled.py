"""The compiled wheel (`scripts/build --compiled`) does what the source does."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.packaging.test_wheel import REPOSITORY, build, export

COMPILE = {"HATCH_BUILD_HOOK_ENABLE_CUSTOM": "true"}

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler"),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(export(tmp_path_factory.mktemp("compiled") / "tree"), "wheel", COMPILE)


def test_two_compiled_builds_are_byte_equal(wheel: Path, tmp_path: Path) -> None:
    assert wheel.read_bytes() == build(export(tmp_path / "another folder"), "wheel", COMPILE).read_bytes()


def test_the_gateways_tests_pass_on_it(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    where = "import weighbridge.gateway.relay as relay; print(relay.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", where], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip().endswith(".so")
    # test_seen.py subclasses the connection to see which way a request takes, which only the source allows.
    ran = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-n2", "tests/gateway", "tests/exchanges", "tests/wire",
            "--deselect", "tests/gateway/test_seen.py",
        ],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert 0 == ran.returncode, ran.stdout[-5000:]
