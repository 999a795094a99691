"""One file that holds a whole store: a tar archive whose last member says, signed, what every byte before it must be.

    members in the order of their names, mode 0600     any tar program unpacks them
    MANIFEST.json                                      sizes and SHA-256 of all of them, signed with the store's key
    zeros                                              as tar ends an archive

Headers follow from the manifest, so they are checked as well: no byte of the file can change unnoticed. Secret keys are
never in it. Whoever made the archive could have signed it anew with another key: the fingerprint is for people to
compare.
"""

import io
import os
import tarfile
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import msgspec

from weighbridge.errors import StoreError
from weighbridge.exchanges.chain import is_signed_by, split
from weighbridge.exchanges.files import sync_folder
from weighbridge.records.backup import BACKUP_SCHEMA, SIGNED_AS, Facts, Manifest, Member

MANIFEST = "MANIFEST.json"
_BLOCK = 512
_PIECE = 1 << 20
_MANIFEST_BYTES_MAX = 1 << 30


Sign = Callable[[bytes], bytes]
"""Signs a manifest's bytes, `SIGNED_AS` before them; returns 64 bytes."""


class Archive(msgspec.Struct, frozen=True):
    """One that was found to be as it was written."""

    manifest: Manifest
    bytes: int


class Writing:
    """Writes members to a file; `manifest` is then to be signed, and `finish` adds it."""

    def __init__(self, out: BinaryIO, facts: Facts) -> None:
        self._out, self._facts = out, facts
        self._members: list[Member] = []

    def add(self, name: str, path: Path) -> None:
        """A file as it is now. Raises `StoreError` where it changes while it is read: that is not a snapshot."""
        size = path.stat().st_size
        self._out.write(_header(name, size, self._facts.made_ns))
        digest, left = sha256(), size
        with path.open("rb") as file:
            while left and (piece := file.read(min(_PIECE, left))):
                digest.update(piece)
                self._out.write(piece)
                left -= len(piece)
        if left:
            raise StoreError(f"{path} became shorter while it was read; take the backup again")
        self._out.write(bytes(-size % _BLOCK))
        self._members.append(Member(name, size, digest.hexdigest()))

    def manifest(self) -> bytes:
        """The bytes to sign."""
        return msgspec.json.encode(Manifest(schema=BACKUP_SCHEMA, facts=self._facts, members=tuple(self._members)))

    def finish(self, manifest: bytes, signature: bytes) -> None:
        body = b'%b,"signature":"%b"}' % (manifest[:-1], signature.hex().encode())
        self._out.write(_tail(body, self._facts.made_ns))


def write_archive(folder: Path, facts: Facts, to: Path, sign: Sign) -> int:
    """Put every file below `folder` into the archive `to`, which appears whole or not at all. Returns its size.

    Raises `StoreError` where `to` exists, `OSError`.
    """
    if to.exists():
        raise StoreError(f"{to} exists and is not overwritten; give another name, or move it away")
    beside = to.with_name(f".{to.name}.{os.getpid()}.partial")
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as out:
            writing = Writing(out, facts)
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                writing.add(path.relative_to(folder).as_posix(), path)
            manifest = writing.manifest()
            writing.finish(manifest, sign(manifest))
            out.flush()
            os.fsync(out.fileno())
        _put(beside, to)
    except FileExistsError:
        raise StoreError(f"{to} exists and is not overwritten; give another name, or move it away") from None
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(to.resolve().parent)
    return to.stat().st_size


def _put(beside: Path, to: Path) -> None:
    """Unlike a rename, a link never replaces what came there meanwhile; some file systems have none."""
    try:
        os.link(beside, to)
    except FileExistsError:
        raise
    except OSError:
        os.rename(beside, to)


def read_archive(path: Path) -> Archive:
    """Check every byte. Raises `StoreError` that names the member, or the place, where it is not as it was written."""
    return Archive(manifest=_checked(path, None), bytes=path.stat().st_size)


def unpack(path: Path, folder: Path) -> Manifest:
    """Check every byte, and put the members below `folder`, each of them durable. Raises as `read_archive` does."""
    return _checked(path, folder)


def _checked(path: Path, folder: Path | None) -> Manifest:
    try:
        with path.open("rb") as file:
            at, body = _find_manifest(path, file)
            manifest = _signed_manifest(path, body)
            file.seek(0)
            for member in manifest.members:
                _member(path, file, member, manifest.facts.made_ns, folder)
            if file.tell() != at:
                raise _damaged(path, f"at byte {file.tell()}: something lies between its members and their list")
            if file.read() != _tail(body, manifest.facts.made_ns):
                raise _damaged(path, f"behind byte {at}: its end is not as it was written")
    except OSError as error:
        raise StoreError(f"the backup {path} cannot be read: {error.strerror or error}") from None
    if folder is not None:
        for one in sorted({folder, *(found for found in folder.rglob("*") if found.is_dir())}):
            sync_folder(one)
    return manifest


def _find_manifest(path: Path, file: BinaryIO) -> tuple[int, bytes]:
    """Where the list of members begins, and its bytes. What leads there is checked afterwards."""
    while True:
        at = file.tell()
        block = file.read(_BLOCK)
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        except (tarfile.HeaderError, UnicodeError):
            raise _damaged(path, f"at byte {at}: no header of a member, or the archive was cut") from None
        if info.name == MANIFEST:
            if info.size > _MANIFEST_BYTES_MAX:
                raise _damaged(path, f"at byte {at}: the list of members is too long")
            body = file.read(info.size)
            if len(body) != info.size:
                raise _damaged(path, "it was cut")
            return at, body
        file.seek(info.size + -info.size % _BLOCK, os.SEEK_CUR)


def _signed_manifest(path: Path, line: bytes) -> Manifest:
    try:
        body, signature = split(line)
        manifest = msgspec.json.decode(body, type=Manifest)
    except (ValueError, msgspec.MsgspecError) as error:
        raise _damaged(path, f"the list of its members cannot be read: {error}") from None
    if manifest.schema != BACKUP_SCHEMA:
        raise StoreError(
            f"the backup {path} has schema {manifest.schema!r}, this version reads {BACKUP_SCHEMA!r}; "
            f"use the weighbridge {manifest.facts.version} that made it"
        )
    if not is_signed_by(manifest.facts.signing_key, SIGNED_AS + body, signature):
        raise _damaged(path, "the signature of the list of its members does not fit")
    return manifest


def _member(path: Path, file: BinaryIO, member: Member, made_ns: int, folder: Path | None) -> None:
    header = _header(member.name, member.bytes, made_ns)
    if file.read(len(header)) != header:
        raise _damaged(path, f"the header of {member.name} is not the one that was written")
    digest, out = sha256(), None if folder is None else _create(folder, member.name)
    try:
        for piece in _pieces(file, member.bytes):
            digest.update(piece)
            if out is not None:
                out.write(piece)
        if digest.hexdigest() != member.sha256 or file.read(-member.bytes % _BLOCK) != bytes(-member.bytes % _BLOCK):
            raise _damaged(path, f"the bytes of {member.name} are not the ones that were written")
        if out is not None:
            out.flush()
            os.fsync(out.fileno())
    finally:
        if out is not None:
            out.close()


def _pieces(file: BinaryIO, left: int) -> Iterator[bytes]:
    while left and (piece := file.read(min(_PIECE, left))):
        left -= len(piece)
        yield piece


def _create(folder: Path, name: str) -> BinaryIO:
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts or "\0" in name or not parts.parts:
        raise StoreError(f"the backup holds a member named {name!r}, which leads out of the store")
    path = folder.joinpath(*parts.parts)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def _header(name: str, size: int, made_ns: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o600, made_ns // 1_000_000_000
    return info.tobuf(tarfile.PAX_FORMAT)


def _tail(manifest: bytes, made_ns: int) -> bytes:
    out = io.BytesIO()
    out.write(_header(MANIFEST, len(manifest), made_ns))
    out.write(manifest)
    out.write(bytes(-len(manifest) % _BLOCK))
    out.write(bytes(2 * _BLOCK))
    return out.getvalue()


def _damaged(path: Path, what: str) -> StoreError:
    return StoreError(f"the backup {path} is damaged: {what}. Nothing of it was used; take another copy of it.")
