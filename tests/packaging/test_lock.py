"""Everything that is installed is pinned by hash, the build backend and the installer included (promise 30)."""

import re
import tomllib

import pytest

from scripts.sbom import REPOSITORY, read_lock

pytestmark = pytest.mark.promise(30)

HASH = re.compile(r"sha256:[0-9a-f]{64}")


def pyproject() -> dict[str, dict[str, list[str]]]:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def test_every_file_that_the_lock_names_has_a_sha256() -> None:
    packages = [package for package in read_lock(REPOSITORY / "uv.lock").package if package.name != "weighbridge"]
    assert len(packages) > 30
    assert [] == [package.name for package in packages if not package.files()]
    unpinned = [file.url for package in packages for file in package.files() if not HASH.fullmatch(file.hash)]
    assert [] == unpinned


def test_every_package_comes_from_the_package_index_and_none_from_a_url_or_a_repository() -> None:
    packages = tomllib.loads((REPOSITORY / "uv.lock").read_text())["package"]
    kinds = {(package["name"], *package["source"]) for package in packages}
    assert {("weighbridge", "editable")} == {kind for kind in kinds if kind[1:] != ("registry",)}


def test_the_build_backend_is_the_one_that_the_lock_pins_by_hash() -> None:
    [required] = pyproject()["build-system"]["requires"]
    locked = {f"{package.name}=={package.version}" for package in read_lock(REPOSITORY / "uv.lock").package}
    assert required in locked


def test_the_installer_is_pinned_by_hash_and_installed_only_with_hashes() -> None:
    lines = (REPOSITORY / "scripts" / "bootstrap.txt").read_text().splitlines()
    requirement, *hashes = [line.strip(" \\") for line in lines if not line.startswith("#")]
    assert re.fullmatch(r"uv==[0-9.]+", requirement)
    assert hashes
    assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line) for line in hashes)
    bootstrap = (REPOSITORY / "scripts" / "bootstrap").read_text()
    assert "--require-hashes" in bootstrap
    assert " sync --locked " in bootstrap


def test_no_script_installs_python_packages_past_the_lock() -> None:
    scripts = [*(REPOSITORY / "scripts").iterdir(), REPOSITORY / ".ci" / "run"]
    installs = re.compile(r"pip3? install|uv (pip|add|tool)|pipx|npm (install|ci|i|exec) |curl |wget ")
    found = {
        (script.name, line.strip())
        for script in scripts
        if script.is_file() and script.name != "bootstrap.txt"
        for line in script.read_text().splitlines()
        if installs.search(line) and not line.lstrip().startswith("#")
    }
    [(script, command)] = found
    assert "bootstrap" == script  # uv itself, whose hashes the test above looks at
    assert "-m pip install" in command
