"""scripts/bootstrap on machines that lack something: a clear message and a next step, no half-made environment."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
TOOLS = ("bash", "cat", "cksum", "dirname", "env", "flock", "grep", "head", "mkdir", "mv", "rm", "sed", "tail", "tee")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What scripts/bootstrap reads, in a folder whose name has spaces."""
    folder = tmp_path / "a fresh clone"
    (folder / "scripts").mkdir(parents=True)
    for name in ("scripts/bootstrap", "scripts/bootstrap.txt", "uv.lock", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, folder / name)
    return folder


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    """A PATH with the usual small tools and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        if found is not None:  # flock may be missing: the script does without it
            (folder / tool).symlink_to(found)
    return folder


def bootstrap(copy: Path, bin_folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(copy / "scripts" / "bootstrap"), *arguments],
        cwd="/",
        env={"PATH": str(bin_folder), "HOME": str(copy.parent), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def python_that_says(bin_folder: Path, name: str, version: str, *, venv: bool = True) -> None:
    script = f"""#!{shutil.which("bash")}
    case "$2" in
      *ensurepip*) exit {0 if venv else 1} ;;
      *version_info*) echo {version} ;;
    esac
    """
    (bin_folder / name).write_text(script)
    (bin_folder / name).chmod(0o755)


def real_python(bin_folder: Path) -> None:
    (bin_folder / "python3").symlink_to(Path(sys.base_prefix) / "bin" / "python3")


def test_without_python_it_says_which_is_needed_and_how_to_get_it(copy: Path, bin_folder: Path) -> None:
    ran = bootstrap(copy, bin_folder)
    assert 1 == ran.returncode
    assert "needs Python 3.11 or newer and found none" in ran.stderr
    assert "no python3 on PATH" in ran.stderr
    assert "WEIGHBRIDGE_PYTHON=" in ran.stderr


def test_a_python_that_is_too_old_is_named_with_its_version(copy: Path, bin_folder: Path) -> None:
    python_that_says(bin_folder, "python3", "3.9.2")
    ran = bootstrap(copy, bin_folder)
    assert 1 == ran.returncode
    assert f"{bin_folder}/python3 is 3.9.2" in ran.stderr


def test_a_python_without_venv_names_the_package_that_brings_it(copy: Path, bin_folder: Path) -> None:
    python_that_says(bin_folder, "python3", "3.11.2", venv=False)
    ran = bootstrap(copy, bin_folder)
    assert 1 == ran.returncode
    assert "apt-get install python3-venv" in ran.stderr


def test_a_newer_python_beside_an_old_python3_is_found(copy: Path, bin_folder: Path) -> None:
    python_that_says(bin_folder, "python3", "3.9.2")
    python_that_says(bin_folder, "python3.12", "3.12.4", venv=False)
    ran = bootstrap(copy, bin_folder)
    assert "python3.12 (Python 3.12) has no venv module" in ran.stderr


def test_without_a_package_index_it_says_what_to_check_and_leaves_no_environment(copy: Path, bin_folder: Path) -> None:
    real_python(bin_folder)
    # Port 9 of this machine: nothing answers there.
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull}
    ran = bootstrap(copy, bin_folder, **nowhere)
    assert 1 == ran.returncode
    assert "no package index could be reached" in ran.stderr
    assert "HTTPS_PROXY" in ran.stderr
    assert not (copy / ".venv").exists()


def test_a_file_that_is_not_the_recorded_one_is_refused(copy: Path, bin_folder: Path) -> None:
    real_python(bin_folder)
    pinned = next(line for line in (copy / "scripts" / "bootstrap.txt").read_text().splitlines() if line[:4] == "uv==")
    version = pinned.removeprefix("uv==").rstrip(" \\")
    wheels = copy.parent / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / f"uv-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"uv-{version}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: uv\nVersion: {version}\n")
        wheel.writestr(f"uv-{version}.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"uv-{version}.dist-info/RECORD", "")
    only_those = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_CONFIG_FILE": os.devnull}
    ran = bootstrap(copy, bin_folder, **only_those)
    assert 1 == ran.returncode
    assert "not the one recorded, so it was refused" in ran.stderr
    assert not (copy / ".boot" / "bin" / "uv").exists()


def test_once_made_it_returns_at_once_without_even_a_python(copy: Path, bin_folder: Path) -> None:
    made = copy / ".venv"
    (made / "bin").mkdir(parents=True)
    (made / "bin" / "python").symlink_to(sys.executable)
    inputs = ("uv.lock", "pyproject.toml", "scripts/bootstrap", "scripts/bootstrap.txt")
    sums = subprocess.run(["cksum", *inputs], cwd=copy, check=True, capture_output=True, text=True).stdout
    (made / ".complete").write_text(f"{copy}\n{sums}")
    ran = bootstrap(copy, bin_folder)
    assert (0, "", "") == (ran.returncode, ran.stdout, ran.stderr)

    (copy / "uv.lock").write_text((copy / "uv.lock").read_text() + "\n# another lock\n")
    assert 1 == bootstrap(copy, bin_folder).returncode  # it looks again, and finds no Python here


def test_an_argument_that_it_does_not_know_is_refused(copy: Path, bin_folder: Path) -> None:
    ran = bootstrap(copy, bin_folder, "--fast")
    assert 1 == ran.returncode
    assert "knows only --force, not '--fast'" in ran.stderr
