"""Writes the software bill of materials of an installed Weighbridge, from uv.lock, as CycloneDX 1.6 JSON.

Packages, versions, who needs whom and every file's sha256 come from the lock; licences come from the packages' own
metadata where the locked version is installed, and are left out, not guessed, where it is not. Packages that only an
extra brings have the scope `optional`; tools for development are not in it. The same lock and environment give the
same bytes: the serial number is derived from the content, and the time is SOURCE_DATE_EPOCH or absent.
"""

import hashlib
import importlib.metadata
import json
import os
import sys
import tomllib
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.bom_ref import BomRef
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.license import License, LicenseAcknowledgement
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parent.parent
PROJECT = "weighbridge"
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, PROJECT)


class File(msgspec.Struct, frozen=True):
    url: str
    hash: str


class Needed(msgspec.Struct, frozen=True):
    name: str
    version: str | None = None
    extra: tuple[str, ...] = ()


class Locked(msgspec.Struct, frozen=True, rename={"optional": "optional-dependencies"}):
    """One `[[package]]` of uv.lock; only what is used here."""

    name: str
    version: str
    dependencies: tuple[Needed, ...] = ()
    optional: dict[str, tuple[Needed, ...]] = {}
    sdist: File | None = None
    wheels: tuple[File, ...] = ()

    def needs(self, extras: Iterable[str]) -> tuple[Needed, ...]:
        return self.dependencies + tuple(need for extra in extras for need in self.optional.get(extra, ()))

    def files(self) -> tuple[File, ...]:
        return (*self.wheels, *((self.sdist,) if self.sdist else ()))


class Lock(msgspec.Struct, frozen=True):
    package: tuple[Locked, ...]

    def get(self, need: Needed) -> tuple[Locked, ...]:
        """The locked package, or both where the lock forks by Python version."""
        return tuple(p for p in self.package if p.name == need.name and need.version in (None, p.version))


def read_lock(file: Path) -> Lock:
    return msgspec.convert(tomllib.loads(file.read_text()), Lock)


def closure(lock: Lock, needs: Iterable[Needed]) -> set[tuple[str, str]]:
    """(name, version) of everything that these needs bring with them."""
    found: set[tuple[str, str]] = set()
    seen: set[Needed] = set()
    waiting = list(needs)
    while waiting:
        need = waiting.pop()
        if need in seen:
            continue
        seen.add(need)
        for package in lock.get(need):
            found.add((package.name, package.version))
            waiting += package.needs(need.extra)
    return found


def licenses_of(package: Locked) -> list[License]:
    """As the package itself declares them; empty where that version is not installed or says nothing."""
    try:
        metadata = importlib.metadata.metadata(package.name)
    except importlib.metadata.PackageNotFoundError:
        return []
    if metadata["Version"] != package.version:
        return []
    declared = next(iter(metadata.get_all("License-Expression") or []), "")
    if not declared:
        named = [c.rpartition(" :: ")[2] for c in metadata.get_all("Classifier") or [] if c.startswith("License ::")]
        text = next(iter(metadata.get_all("License") or []), "")
        # Some packages put the whole licence text where its name belongs.
        declared = " AND ".join(sorted(named)) or (text if len(text) < 80 else "")
    if not declared:
        return []
    made = LicenseFactory().make_from_string(declared, license_acknowledgement=LicenseAcknowledgement.DECLARED)
    return [made]


def component_of(package: Locked, scope: ComponentScope) -> Component:
    purl = PackageURL("pypi", None, str(canonicalize_name(package.name)), package.version)
    return Component(
        type=ComponentType.LIBRARY,
        name=package.name,
        version=package.version,
        purl=purl,
        bom_ref=BomRef(str(purl)),
        scope=scope,
        licenses=licenses_of(package),
        external_references=[
            ExternalReference(
                type=ExternalReferenceType.DISTRIBUTION,
                url=XsUri(file.url),
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=file.hash.removeprefix("sha256:"))],
            )
            for file in package.files()
        ],
    )


def bill(lock: Lock) -> Bom:
    root = next(package for package in lock.package if package.name == PROJECT)
    base = closure(lock, root.dependencies)
    everything = closure(lock, root.needs(root.optional))
    components = {
        (package.name, package.version): component_of(
            package,
            ComponentScope.REQUIRED if (package.name, package.version) in base else ComponentScope.OPTIONAL,
        )
        for package in lock.package
        if (package.name, package.version) in everything
    }
    top = Component(
        type=ComponentType.APPLICATION,
        name=PROJECT,
        version=root.version,
        purl=PackageURL("pypi", None, PROJECT, root.version),
        bom_ref=BomRef(f"pkg:pypi/{PROJECT}@{root.version}"),
        licenses=[LicenseFactory().make_from_string("Apache-2.0")],
    )
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    bom = Bom(components=components.values(), serial_number=uuid.UUID(int=0))
    bom.metadata.component = top
    bom.metadata.timestamp = datetime.fromtimestamp(int(epoch or 0), UTC)
    for package, component in [
        (root, top),
        *(
            (p, components[p.name, p.version])
            for p in lock.package
            if p is not root and (p.name, p.version) in components
        ),
    ]:
        needs = root.needs(root.optional) if package is root else package.needs(package.optional)
        wanted = [
            components[p.name, p.version] for need in needs for p in lock.get(need) if (p.name, p.version) in components
        ]
        bom.register_dependency(component, wanted)
    return bom


def rendered(bom: Bom) -> str:
    """Sorted JSON that names no moment and no machine. Raises `ValueError` where it is not valid CycloneDX."""
    text = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string()
    document = json.loads(text)
    if "SOURCE_DATE_EPOCH" not in os.environ:
        del document["metadata"]["timestamp"]
    del document["serialNumber"]
    content = json.dumps(document, sort_keys=True).encode()
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(NAMESPACE, hashlib.sha256(content).hexdigest())}"
    text = json.dumps(document, indent=2, sort_keys=True) + "\n"
    # The validator parses each of a thousand URLs by a full grammar, 80 ms each. They all have the same shape, so one
    # per package stands for the others: half a second instead of a minute and a half.
    for component in document["components"]:
        component["externalReferences"] = [{**component["externalReferences"][0], "url": "https://example.org/"}]
    if (problem := JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document))) is not None:
        raise ValueError(f"not valid CycloneDX 1.6: {problem}")
    return text


def main(arguments: list[str]) -> int:
    if len(arguments) > 1 or (arguments and arguments[0].startswith("-")):
        print("scripts/sbom [FILE]: writes the bill of materials; default dist/sbom.json", file=sys.stderr)
        return 64
    target = Path(arguments[0]) if arguments else REPOSITORY / "dist" / "sbom.json"
    bom = bill(read_lock(REPOSITORY / "uv.lock"))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(rendered(bom))
    bare = sorted(component.name for component in bom.components if not component.licenses)
    print(
        f"{target}: {len(bom.components)} packages" + (f"; no licence known here: {', '.join(bare)}" if bare else ""),
        file=sys.stderr,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
