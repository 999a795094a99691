"""The bill of materials names what is installed, from the lock, the same bytes each time (promise 30)."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest

from scripts.sbom import REPOSITORY, Lock, Needed, bill, closure, read_lock, rendered
from weighbridge import __version__


class Hash(msgspec.Struct):
    alg: str
    content: str


class Reference(msgspec.Struct):
    url: str
    hashes: list[Hash] = []


class Component(msgspec.Struct, rename={"ref": "bom-ref", "references": "externalReferences"}):
    name: str
    version: str
    ref: str
    scope: str | None = None
    references: list[Reference] = []


class Dependency(msgspec.Struct, rename={"needs": "dependsOn"}):
    ref: str
    needs: list[str] = []


class Metadata(msgspec.Struct):
    component: Component


class Document(msgspec.Struct):
    metadata: Metadata
    components: list[Component]
    dependencies: list[Dependency]


@pytest.fixture(scope="module")
def lock() -> Lock:
    return read_lock(REPOSITORY / "uv.lock")


@pytest.fixture(scope="module")
def document(lock: Lock) -> Document:
    return msgspec.json.decode(rendered(bill(lock)), type=Document)


@pytest.mark.promise(30)
def test_two_runs_give_the_same_bytes(tmp_path: Path) -> None:
    made = []
    for seed in ("1", "2"):
        file = tmp_path / seed / "sbom.json"
        environment = {**os.environ, "PYTHONHASHSEED": seed, "SOURCE_DATE_EPOCH": "1764000000"}
        subprocess.run(
            [sys.executable, "-m", "scripts.sbom", str(file)],
            cwd=REPOSITORY,
            env=environment,
            check=True,
            capture_output=True,
        )
        made.append(file.read_bytes())
    assert made[0] == made[1]
    assert "2025-11-24T16:00:00+00:00" == json.loads(made[0])["metadata"]["timestamp"]


def test_it_names_exactly_what_the_base_and_the_extras_bring(lock: Lock, document: Document) -> None:
    root = next(package for package in lock.package if package.name == "weighbridge")
    expected = closure(lock, root.needs(root.optional))
    assert expected == {(component.name, component.version) for component in document.components}
    assert {"uvloop", "msgspec", "duckdb", "xllamacpp"} <= {name for name, _ in expected}


def test_tools_for_development_are_not_in_it_and_extras_are_optional(document: Document) -> None:
    scopes = {component.name: component.scope for component in document.components}
    assert not {"pytest", "mypy", "ruff", "cyclonedx-bom"} & scopes.keys()
    assert "optional" == scopes["xllamacpp"]
    assert "required" == scopes["msgspec"]


def test_each_file_of_each_package_has_its_sha256(document: Document) -> None:
    for component in document.components:
        assert component.references, component.name
        assert all(["SHA-256"] == [h.alg for h in reference.hashes] for reference in component.references)


def test_the_product_depends_on_what_pyproject_says(document: Document) -> None:
    said = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    top = document.metadata.component
    assert ("weighbridge", __version__) == (top.name, top.version)
    names = {component.ref: component.name for component in document.components}
    [needs] = [dependency.needs for dependency in document.dependencies if dependency.ref == top.ref]
    wanted = [*said["dependencies"], *(need for extra in said["optional-dependencies"].values() for need in extra)]
    assert {re.split(r"[\[>=]", need)[0] for need in wanted} == {names[ref] for ref in needs}


def test_a_package_that_several_versions_of_python_lock_apart_is_named_with_each_version(lock: Lock) -> None:
    numpy = [package.version for package in lock.package if package.name == "numpy"]
    assert {("numpy", version) for version in numpy} == closure(lock, [Needed("numpy")])
