"""`license mirror`: licence texts and weights of models in use, kept by sha256, so that neither can vanish or change.

    FOLDER/sha256/ab/abcd...      each file once, under the sha256 of its bytes
    FOLDER/manifest.json          which file belongs to which model, as what, from where, on which day

A file is copied and hashed in one pass into a part file, synced and moved into place; the manifest follows. A copy that
was cut off leaves no manifest line, and the next run goes on behind what is there.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Literal

import msgspec

from weighbridge.errors import ConfigError, StoreError, UsageError

MANIFEST = "manifest.json"
_CHUNK_BYTES = 4 << 20

Role = Literal["licence", "weights"]


class Kept(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    role: Role
    name: str
    """Its path below the folder that it came from, or its file name."""
    source: str
    """Where it was read: a path or an address."""
    bytes: int
    sha256: str


class Mirrored(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    model: str
    terms: tuple[str, ...]
    """Recorded terms of the licence files that are known word for word; empty where none is."""
    on: str
    files: tuple[Kept, ...]


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    schema: Literal["license-mirror/1"] = "license-mirror/1"
    models: tuple[Mirrored, ...] = ()

    def of(self, model: str) -> Mirrored | None:
        return next((row for row in self.models if row.model.lower() == model.lower()), None)


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with one file. `model` is `None` for a file that no model has."""

    model: str | None
    name: str
    kind: Literal["missing", "changed", "not listed"]
    sentence: str


class MirrorCheck(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON of `license mirror --check`."""

    ok: bool
    models: int
    files: int
    bytes: int
    faults: tuple[Fault, ...]


def read_manifest(folder: Path) -> Manifest:
    """Empty where there is none yet. Raises `ConfigError` for one that cannot be read."""
    path = folder / MANIFEST
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError:
        return Manifest()
    except msgspec.MsgspecError as error:
        raise ConfigError(
            str(path), "file", f"is not a mirror's manifest: {error}", allowed="a file as written"
        ) from None


def place(folder: Path, digest: str) -> Path:
    return folder / "sha256" / digest[:2] / digest


def weights_in(path: Path) -> list[tuple[str, Path]]:
    """Name and file of everything below a folder (or of one file); links are followed, hidden files left out."""
    if path.is_file():
        return [(path.name, path)]
    if not path.is_dir():
        raise UsageError(f"--weights {path}: is neither a file nor a folder")
    found = [
        (str(one.relative_to(path)), one)
        for one in sorted(path.rglob("*"))
        if one.is_file() and not any(part.startswith(".") for part in one.relative_to(path).parts)
    ]
    if not found:
        raise UsageError(f"--weights {path}: holds no file")
    return found


def keep_file(folder: Path, role: Role, name: str, file: Path) -> Kept:
    """Copy one file into the mirror. Raises `OSError`, `StoreError`."""
    with file.open("rb") as source:
        size = os.fstat(source.fileno()).st_size
        free = shutil.disk_usage(folder).free
        if size > free:
            raise StoreError(f"{file} has {size:,} bytes, and {folder} has room for {free:,}; name a folder elsewhere")
        return _keep(folder, role, name, str(file.resolve()), iter(lambda: source.read(_CHUNK_BYTES), b""))


def keep_bytes(folder: Path, role: Role, name: str, source: str, content: bytes) -> Kept:
    """The same for a text that was read from an address."""
    return _keep(folder, role, name, source, iter((content,)))


def _keep(folder: Path, role: Role, name: str, source: str, chunks: Iterator[bytes]) -> Kept:
    part = folder / f".{os.getpid()}.part"
    digest, size = sha256(), 0
    try:
        with part.open("wb") as file:
            for chunk in chunks:
                digest.update(chunk)
                file.write(chunk)
                size += len(chunk)
            file.flush()
            os.fsync(file.fileno())
        target = place(folder, digest.hexdigest())
        target.parent.mkdir(parents=True, exist_ok=True)
        part.chmod(0o444)  # kept, not worked on
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return Kept(role=role, name=name, source=source, bytes=size, sha256=digest.hexdigest())


def add(folder: Path, one: Mirrored) -> Manifest:
    """The manifest with `one` in it; files of an earlier run for the same model and role stay unless kept again."""
    before = read_manifest(folder)
    was = before.of(one.model)
    if was is not None:
        again = {(row.role, row.name) for row in one.files}
        kept = (*(row for row in was.files if (row.role, row.name) not in again), *one.files)
        one = msgspec.structs.replace(one, files=kept, terms=tuple(dict.fromkeys((*was.terms, *one.terms))))
    others = [row for row in before.models if row.model.lower() != one.model.lower()]
    made = Manifest(models=tuple(sorted((*others, one), key=lambda row: row.model.lower())))
    part = folder / f"{MANIFEST}.part"
    with part.open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(made), indent=1) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(folder / MANIFEST)
    return made


def check(folder: Path, told: Callable[[str], object] = lambda _: None) -> MirrorCheck:
    """Read every file again. `told` is called with each file's name before it is read."""
    manifest = read_manifest(folder)
    if not manifest.models:
        raise UsageError(f"{folder} holds no mirror; `weighbridge license mirror MODEL --to {folder}` makes one")
    faults, digests, size = [], dict[str, str | None](), 0
    for model in manifest.models:
        for row in model.files:
            path = place(folder, row.sha256)
            if row.sha256 not in digests:
                told(f"{model.model}: {row.name}")
                digests[row.sha256] = _digest(path)
                size += row.bytes
            found = digests[row.sha256]
            if found == row.sha256:
                continue
            kind: Literal["missing", "changed"] = "missing" if found is None else "changed"
            said = "is gone" if found is None else f"has sha256 {found} now"
            faults.append(
                Fault(
                    model=model.model, name=row.name, kind=kind, sentence=f"{model.model}: {row.name} ({path}) {said}"
                )
            )
    faults += _strangers(folder, digests)
    count = sum(len(model.files) for model in manifest.models)
    return MirrorCheck(ok=not faults, models=len(manifest.models), files=count, bytes=size, faults=tuple(faults))


def _strangers(folder: Path, listed: Iterable[str]) -> list[Fault]:
    known = {place(folder, digest) for digest in listed}
    return [
        Fault(model=None, name=path.name, kind="not listed", sentence=f"{path} is in no model's list")
        for path in sorted((folder / "sha256").rglob("*"))
        if path.is_file() and path not in known
    ]


def _digest(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            digest = sha256()
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
            return digest.hexdigest()
    except FileNotFoundError:
        return None


def escrow(model: str, folder: Path) -> str:
    """One sentence for the supplier picture: are licence and weights kept by hash?"""
    found = read_manifest(folder).of(model)
    counts = {role: sum(row.role == role for row in found.files) if found else 0 for role in ("licence", "weights")}
    if found is None or not any(counts.values()):
        return f"Escrow: nothing of {model} is mirrored in {folder} (`weighbridge license mirror`)"
    return (
        f"Escrow: mirrored by sha256 on {found.on}: {counts['licence']} licence file(s), {counts['weights']} of weights"
        f" ({folder}; `weighbridge license mirror --check` reads them again)"
    )
