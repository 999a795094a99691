"""Encryption keys of captured bodies: one data key per day and team, wrapped by the master key of the store.

A key file is one line: kind, hex, and a CRC-32 of both, so that a changed byte is found without knowing the master key.
"""

import contextlib
import os
import re
from hashlib import blake2b
from pathlib import Path
from urllib.parse import quote, unquote
from zlib import crc32

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from weighbridge.errors import StoreError
from weighbridge.exchanges.files import sync_folder
from weighbridge.exchanges.framing import Corrupt
from weighbridge.store.layout import Layout

KEY_BYTES = 32
NONCE_BYTES = 12
KEY_FILE = "key"
NO_TEAM = "-"
_TEAM_CHARS_MAX = 180
_LINE = re.compile(rb"([a-z]+) ([0-9a-f]+) ([0-9a-f]{8})\n")


def master_key(layout: Layout, reference: bytes | None) -> bytes:
    """The 32-byte master key: derived from the configured secret; without one, made in the store (mode 0600).

    Raises `Corrupt` when the store's key file was changed, `StoreError` when it cannot be made.
    """
    if reference is None and not layout.master_key.exists():
        create_key_file(layout.master_key, "master", os.urandom(KEY_BYTES))
    return _existing_master_key(layout, reference)


def find_master_key(layout: Layout, reference: bytes | None) -> bytes | None:
    """`master_key` for those who only read: `None` where no key was ever made. Raises `Corrupt`."""
    try:
        return _existing_master_key(layout, reference)
    except FileNotFoundError:
        return None


def _existing_master_key(layout: Layout, reference: bytes | None) -> bytes:
    if reference is not None:
        return blake2b(reference, digest_size=KEY_BYTES, person=b"wb-master-key").digest()
    return read_key_file(layout.master_key, "master", KEY_BYTES)


def team_folder(team: str | None) -> str:
    """A team's name as one path step; `-` is no team."""
    if team is None:
        return NO_TEAM
    safe = quote(team, safe="").replace("~", "%7E")
    if safe[:1] in (".", "-", ""):
        safe = f"%{ord(team[0]):02X}{safe[1:]}" if team else "%"
    if len(safe) > _TEAM_CHARS_MAX:
        safe = f"{safe[:100]}~{blake2b(team.encode(), digest_size=16).hexdigest()}"
    return safe


def team_of(folder: str) -> str | None:
    """The team of a `team_folder`, for people: a very long name is shown shortened."""
    return None if folder == NO_TEAM else unquote(folder)


class DataKeys:
    """The data keys of a store, each unwrapped once. `create` makes a missing one; workers racing for it agree."""

    def __init__(self, layout: Layout, master: bytes) -> None:
        self._layout, self._master = layout, AESGCM(master)
        self._known: dict[tuple[str, str], AESGCM] = {}

    def find(self, day: str, team: str) -> AESGCM | None:
        """The key of a day and team folder, `None` where it is gone (or never was)."""
        known = self._known.get((day, team))
        if known is not None:
            return known
        path = self._layout.body_folder(day, team) / KEY_FILE
        try:
            wrapped = read_key_file(path, "wrapped", NONCE_BYTES + KEY_BYTES + 16)
        except FileNotFoundError:
            return None
        try:
            key = self._master.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _wrapped_as(day, team))
        except InvalidTag:
            raise StoreError(
                f"{path}: cannot be opened with this master key; is capture.encrypt_key the one that the bodies of "
                f"{day} were captured with?"
            ) from None
        self._known[day, team] = found = AESGCM(key)
        return found

    def create(self, day: str, team: str) -> AESGCM:
        """`find`, or make one. Raises `OSError` when it cannot be written."""
        found = self.find(day, team)
        if found is not None:
            return found
        nonce = os.urandom(NONCE_BYTES)
        wrapped = nonce + self._master.encrypt(nonce, os.urandom(KEY_BYTES), _wrapped_as(day, team))
        folder = self._layout.body_folder(day, team)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        create_key_file(folder / KEY_FILE, "wrapped", wrapped)
        sync_folder(folder.parent)
        sync_folder(folder.parent.parent)
        again = self.find(day, team)
        if again is None:
            raise OSError(2, "the data key vanished while it was made", str(folder / KEY_FILE))
        return again


def _wrapped_as(day: str, team: str) -> bytes:
    return f"{day}/{team}".encode()


def key_line(kind: str, key: bytes) -> bytes:
    text = f"{kind} {key.hex()}".encode()
    return text + b" %08x\n" % crc32(text)


def read_key_file(path: Path, kind: str, length: int) -> bytes:
    """Raises `FileNotFoundError`, or `Corrupt`."""
    line = path.read_bytes()
    match = _LINE.fullmatch(line)
    if match is None or match[1] != kind.encode() or len(match[2]) != 2 * length:
        raise Corrupt(path, None, f"is not a {kind} key file")
    if b"%08x" % crc32(line[: match.end(2)]) != match[3]:
        raise Corrupt(path, None, "the checksum of the key file does not fit its bytes")
    return bytes.fromhex(match[2].decode())


def parse_key_line(path: Path, line: bytes, length: int) -> tuple[str, bytes]:
    """Kind and key of a line that stands with others in a file. Raises `Corrupt`."""
    match = _LINE.fullmatch(line)
    if match is None or len(match[2]) != 2 * length or b"%08x" % crc32(line[: match.end(2)]) != match[3]:
        raise Corrupt(path, None, "holds a line that is no key, or was changed")
    return match[1].decode(), bytes.fromhex(match[2].decode())


def create_key_file(path: Path, kind: str, key: bytes) -> None:
    """Put a whole file in place unless one is there: whoever is first wins, and nobody sees half of one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, key_line(kind, key))
        os.fsync(fd)
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
        sync_folder(path.parent)
    finally:
        os.close(fd)
        os.unlink(temporary)
