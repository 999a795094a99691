"""What you install is what was reviewed (promise 30): the built files against the committed tree."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from email.parser import Parser
from pathlib import Path

import pytest

pytestmark = pytest.mark.promise(30)

REPOSITORY = Path(__file__).resolve().parents[2]
VERSION = "0.1.0"


def git(*arguments: str) -> bytes:
    return subprocess.run(["git", "-C", str(REPOSITORY), *arguments], check=True, capture_output=True).stdout


def export(folder: Path) -> Path:
    """The committed tree, as a fresh clone would have it."""
    folder.mkdir(parents=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=git("archive", "HEAD"), check=True)
    return folder


def build(tree: Path, target: str, environment: Mapping[str, str] | None = None) -> Path:
    """Build one target with the backend that uv.lock pins; returns the file."""
    out = tree / "out"
    command = [sys.executable, "-I", "-m", "hatchling", "build", "--target", target, "--directory", str(out)]
    settings = {**os.environ, "SOURCE_DATE_EPOCH": "1764000000", **(environment or {})}
    subprocess.run(command, cwd=tree, check=True, capture_output=True, env=settings)
    [made] = out.glob("*.whl" if target == "wheel" else "*.tar.gz")
    return made


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(tmp_path_factory.mktemp("build") / "tree")


@pytest.fixture(scope="module")
def wheel(tree: Path) -> Path:
    return build(tree, "wheel")


@pytest.fixture(scope="module")
def sdist(tree: Path, wheel: Path) -> Path:
    return build(tree, "sdist")


def test_two_builds_of_one_commit_in_two_folders_are_byte_equal(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    other = export(tmp_path / "another folder")
    for file in other.rglob("*"):  # another machine: other permissions, other times, another locale and zone
        file.chmod(0o777 if file.is_dir() else 0o640)
        os.utime(file, (1_000_000_000, 1_000_000_000))
    elsewhere = {"TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONHASHSEED": "7"}
    assert wheel.read_bytes() == build(other, "wheel", elsewhere).read_bytes()
    shutil.rmtree(other / "out")
    assert sdist.read_bytes() == build(other, "sdist", elsewhere).read_bytes()


def test_the_wheel_holds_every_committed_source_file_byte_for_byte_and_nothing_unexplained(wheel: Path) -> None:
    committed = {
        name.removeprefix("src/"): git("show", f"HEAD:{name}")
        for name in git("ls-tree", "-r", "--name-only", "HEAD", "src/weighbridge").decode().splitlines()
    }
    metadata = f"weighbridge-{VERSION}.dist-info"
    explained = {f"{metadata}/{name}" for name in ("METADATA", "WHEEL", "entry_points.txt", "RECORD")}
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    assert git("show", "HEAD:LICENSE") == held.pop(f"{metadata}/licenses/LICENSE")
    assert explained == {name for name in held if name.startswith(metadata)}
    assert committed == {name: content for name, content in held.items() if name not in explained}


def test_the_wheel_holds_no_file_that_python_runs_by_itself(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert [] == [n for n in names if n.endswith((".pth", "sitecustomize.py", ".so")) or ".data/" in n]


def test_a_wheel_made_from_the_source_distribution_is_the_same_wheel(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    subprocess.run(["tar", "-xzf", str(sdist), "-C", str(tmp_path)], check=True)
    assert wheel.read_bytes() == build(tmp_path / f"weighbridge-{VERSION}", "wheel").read_bytes()


def test_the_wheel_asks_for_at_most_16_packages_and_states_its_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata = Parser().parsestr(archive.read(f"weighbridge-{VERSION}.dist-info/METADATA").decode())
    base = [need for need in metadata.get_all("Requires-Dist", []) if "extra ==" not in need]
    assert 1 <= len(base) <= 16, base
    assert "Apache-2.0" == metadata["License-Expression"]
    assert ">=3.11" == metadata["Requires-Python"]


def test_an_installed_wheel_runs_without_the_repository(wheel: Path, tmp_path: Path) -> None:
    # Unpacked is what installing does with a wheel that has no scripts; it comes before the editable install. Its
    # coverage would be of files that are gone when the report is made.
    installed = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    program = "import sys, weighbridge; from weighbridge.cli import main; print(weighbridge.__file__); sys.exit(main())"
    ran = subprocess.run(
        [sys.executable, "-c", program, "--help"],
        cwd=tmp_path,
        env={**{k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == ran.returncode, ran.stderr
    assert str(installed) in ran.stdout
    assert "serve" in ran.stdout
