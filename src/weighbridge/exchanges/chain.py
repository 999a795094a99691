"""Manifest and signed log in one: `log/chain.jsonl`, one line for everything that became durable or went away.

A line names the SHA-256 of the line before it and carries an Ed25519 signature over its own bytes without the
signature. Appending a line and syncing it is the commit; a last line without its newline does not count. Readers fold
the lines into a `Snapshot`. `log/head.json`, replaced at each append and each checkpoint, is signed too: it says how
many lines there must be, and the length and SHA-256 of what open segments held, so that a cut tail is found. Heads are
numbered, so that whoever remembers the last number (the keeper's database does) finds an older head that was put back.
"""

import fcntl
import os
import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from weighbridge.exchanges.files import sync_folder, write_new
from weighbridge.exchanges.framing import Corrupt
from weighbridge.exchanges.keys import create_key_file, read_key_file
from weighbridge.store.control import ObjectKind
from weighbridge.store.layout import Layout

FileKind = Literal["frames", "rows", "bodies", "done"]

_SIGNED = re.compile(rb'(\{.*),"signature":"([0-9a-f]{128})"\}', re.DOTALL)
FIRST_PREV = "0" * 64


class SealedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that will not change any more. `path` is relative to the store, `source` the open segment it came from.

    Kinds: `frames` (compressed segment), `rows` (Parquet), `bodies` (encrypted objects of one day and team) and `done`
    (no file: that the source needs none any more).
    """

    kind: FileKind
    path: str
    source: str
    bytes: int
    sha256: str
    count: int
    first_ns: int | None = None
    last_ns: int | None = None
    raw_bytes: int | None = None
    """Of a compressed segment: its length before compression."""


class OpenPrefix(msgspec.Struct, frozen=True, kw_only=True):
    """What an open segment held at a checkpoint. `file` is relative to the store."""

    file: str
    bytes: int
    sha256: str


class Dropped(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    why: Literal["erased", "retired"]
    """`erased`: replaced by an object without the erased bodies. `retired`: past its days."""


class ObjectEntry(msgspec.Struct, frozen=True, kw_only=True):
    digest: str
    kind: ObjectKind
    created_ns: int
    label: str


class Tombstone(msgspec.Struct, frozen=True, kw_only=True):
    """What is gone on purpose. `erased` and `lost` name one body, `retired` all bodies of a day and team.

    `lost`: the machine went down between a frame and its body; the body was never acknowledged.
    """

    kind: Literal["erased", "retired", "lost"]
    day: str
    team: str
    commitment: str | None = None
    exchange: str | None = None


class Line(msgspec.Struct, frozen=True, kw_only=True):
    seq: int
    time_ns: int
    prev: str
    sealed: tuple[SealedFile, ...] = ()
    open: tuple[OpenPrefix, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    objects: tuple[ObjectEntry, ...] = ()
    tombstones: tuple[Tombstone, ...] = ()


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The last line, `seq` 0 and a zero digest before the first, and the prefixes of the segments that are open."""

    seq: int
    digest: str
    time_ns: int
    number: int = 0
    """One more with each head that is written; never the same twice."""
    open: tuple[OpenPrefix, ...] = ()


class Mark(msgspec.Struct, frozen=True):
    """What it takes to recognise a store's newest head again."""

    seq: int
    digest: str
    """Of line `seq` of the chain."""
    number: int
    """Of the head."""
    head_digest: str
    """SHA-256 of the head's bytes, the newline left out."""

    def older_than(self, number: int, head_digest: str) -> str | None:
        """Why this is neither the head that is remembered nor a later one; `None` if it is.

        A later one is in order: a process may die between writing a head and remembering it. An empty `head_digest` is
        not compared.
        """
        if self.number < number:
            return f"it is head {self.number}, head {number} is remembered: an old head was put back"
        if self.number == number and head_digest and self.head_digest != head_digest:
            return f"it is not the head {number} that is remembered"
        return None


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The chain, folded. Dictionaries are by path relative to the store, `segments` by the name of the open segment."""

    seq: int
    digest: str
    segments: dict[str, SealedFile]
    rows: dict[str, SealedFile]
    bodies: dict[str, SealedFile]
    done: frozenset[str]
    """Names of open segments, of either kind, that are sealed: a file of that name is a leftover."""
    dropped: dict[str, Dropped]
    objects: tuple[ObjectEntry, ...]
    erased: dict[bytes, Tombstone]
    """By commitment; erased and lost bodies."""
    retired: frozenset[tuple[str, str]]


class SigningKey:
    """The store's Ed25519 key. `public` is its public half, 64 hex digits."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._key.public_key().public_bytes_raw().hex()

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""
        return self._key.sign(message)


def signing_key(layout: Layout) -> SigningKey:
    """The signing key of a store; made on first use, mode 0600, its public half beside it. Raises `Corrupt`."""
    path = layout.signing_key
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        create_key_file(path, "signing", os.urandom(32))
    key = SigningKey(read_key_file(path, "signing", 32))
    if not layout.signing_public.exists():
        create_key_file(layout.signing_public, "public", bytes.fromhex(key.public))
    return key


def public_key(layout: Layout) -> str:
    """The public half, 64 hex digits. Raises `FileNotFoundError`, `Corrupt`."""
    return read_key_file(layout.signing_public, "public", 32).hex()


def fingerprint(public: str) -> str:
    """A public key (64 hex digits) as people compare it, in the form of OpenSSH: `SHA256:` and 43 characters."""
    return "SHA256:" + b64encode(sha256(bytes.fromhex(public)).digest()).rstrip(b"=").decode()


def is_signed_by(public: str, message: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


_encode = msgspec.json.Encoder().encode
_line_decode = msgspec.json.Decoder(Line).decode
_head_decode = msgspec.json.Decoder(Head).decode


def sign(key: SigningKey, record: msgspec.Struct) -> bytes:
    body = _encode(record)
    return b'%b,"signature":"%b"}' % (body[:-1], key.sign(body).hex().encode())


def split(line: bytes) -> tuple[bytes, bytes]:
    """The signed bytes and the signature of a line. Raises `ValueError`."""
    match = _SIGNED.fullmatch(line)
    if match is None:
        raise ValueError("no signature of 128 hex digits at its end")
    return match[1] + b"}", bytes.fromhex(match[2].decode())


class _Fold:
    """The state of the chain after the lines that were read, and where the next one begins."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.at = self.seq = 0
        self.digest = FIRST_PREV
        self.segments: dict[str, SealedFile] = {}
        self.rows: dict[str, SealedFile] = {}
        self.bodies: dict[str, SealedFile] = {}
        self.done: set[str] = set()
        self.dropped: dict[str, Dropped] = {}
        self.objects: list[ObjectEntry] = []
        self.erased: dict[bytes, Tombstone] = {}
        self.retired: set[tuple[str, str]] = set()

    def add(self, raw: bytes) -> Line:
        """Take one line, without its newline. Raises `Corrupt` when it does not follow from the one before."""
        try:
            body, _ = split(raw)
            line = _line_decode(body)
            for stone in line.tombstones:
                bytes.fromhex(stone.commitment or "")  # in the last line nothing but its signature guards it
        except (ValueError, msgspec.MsgspecError) as error:
            raise Corrupt(self._file, self.at, f"line {self.seq + 1} cannot be read: {error}") from None
        if line.seq != self.seq + 1:
            raise Corrupt(self._file, self.at, f"line {self.seq + 1} says that it is line {line.seq}")
        if line.prev != self.digest:
            raise Corrupt(self._file, self.at, f"line {line.seq} does not follow from the line before it")
        self.at += len(raw) + 1
        self.seq, self.digest = line.seq, sha256(raw).hexdigest()
        self._apply(line)
        return line

    def _apply(self, line: Line) -> None:
        for file in line.sealed:
            self.done.add(file.source)
            if file.kind == "frames":
                self.segments[file.source] = file
            elif file.kind == "rows":
                self.rows[file.path] = file
            elif file.kind == "bodies":
                self.bodies[file.path] = file
        for gone in line.dropped:
            self.dropped[gone.path] = gone
            self.bodies.pop(gone.path, None)
            self.rows.pop(gone.path, None)
            for source in [name for name, file in self.segments.items() if file.path == gone.path]:
                del self.segments[source]
        self.objects += line.objects
        for stone in line.tombstones:
            if stone.commitment is None:
                self.retired.add((stone.day, stone.team))
            else:
                self.erased[bytes.fromhex(stone.commitment)] = stone

    def snapshot(self) -> Snapshot:
        return Snapshot(
            seq=self.seq, digest=self.digest, segments=dict(self.segments), rows=dict(self.rows),
            bodies=dict(self.bodies), done=frozenset(self.done), dropped=dict(self.dropped),
            objects=tuple(self.objects), erased=dict(self.erased), retired=frozenset(self.retired),
        )  # fmt: skip


class Chain:
    """Reads a chain, and appends to it (the keeper only; appends are serialised by a lock on the file)."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._fold = _Fold(layout.chain)
        self._snapshot: Snapshot | None = None
        self._number = 0
        """Of the newest head that this object wrote."""

    @property
    def head_path(self) -> Path:
        return self._layout.chain.with_name("head.json")

    def lines(self) -> list[bytes]:
        """The bytes of all committed lines, without newlines."""
        try:
            return self._layout.chain.read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return []

    def head(self) -> Head | None:
        """What the head file says, unchecked. Raises `Corrupt` when it is not one."""
        found = self._read_head()
        return None if found is None else found[0]

    def mark(self) -> Mark | None:
        """Of the head as it is now, unchecked; `None` before the first. Raises `Corrupt`."""
        found = self._read_head()
        if found is None:
            return None
        head, raw = found
        return Mark(head.seq, head.digest, head.number, sha256(raw).hexdigest())

    def _read_head(self) -> tuple[Head, bytes] | None:
        try:
            raw = self.head_path.read_bytes().removesuffix(b"\n")
            body, _ = split(raw)
            return _head_decode(body), raw
        except FileNotFoundError:
            return None
        except (ValueError, msgspec.MsgspecError) as error:
            raise Corrupt(self.head_path, None, f"cannot be read: {error}") from None

    def snapshot(self) -> Snapshot:
        """The chain as it is now. Only lines added since the last call are read. Raises `Corrupt`."""
        fold = self._fold
        try:
            with open(self._layout.chain, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size < fold.at:
                    raise Corrupt(self._layout.chain, size, f"the chain was cut: line {fold.seq} had been read")
                if size > fold.at or self._snapshot is None:
                    file.seek(fold.at)
                    for raw in file.read().split(b"\n")[:-1]:
                        fold.add(raw)
                        self._snapshot = None
        except FileNotFoundError:
            if fold.at:
                raise Corrupt(self._layout.chain, None, "the chain is gone") from None
        if self._snapshot is None:
            self._snapshot = fold.snapshot()
        return self._snapshot

    def append(
        self,
        key: SigningKey,
        *,
        time_ns: int,
        sealed: tuple[SealedFile, ...] = (),
        dropped: tuple[Dropped, ...] = (),
        objects: tuple[ObjectEntry, ...] = (),
        tombstones: tuple[Tombstone, ...] = (),
    ) -> Head:
        """Commit one line. Raises `Corrupt` when the chain does not end where the head says, `OSError`."""
        path = self._layout.chain
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists() and self.head() is None:
            self._write_head(key, Head(seq=0, digest=FIRST_PREV, time_ns=time_ns))
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            self.snapshot()
            head = self._checked_head()
            gone = {file.source for file in sealed} | {Path(file.path).name for file in dropped}
            still_open = tuple(one for one in head.open if Path(one.file).name not in gone)
            fold = self._fold
            line = Line(
                seq=fold.seq + 1, time_ns=time_ns, prev=fold.digest, sealed=sealed, open=still_open, dropped=dropped,
                objects=objects, tombstones=tombstones,
            )  # fmt: skip
            os.ftruncate(fd, fold.at)  # what a crash left of a line that was never committed
            raw = sign(key, line) + b"\n"
            written = os.pwrite(fd, raw, fold.at)
            if written != len(raw):
                os.ftruncate(fd, fold.at)
                raise OSError(28, "the chain could not be written whole", str(path))
            os.fsync(fd)
            if fold.seq == 0:
                sync_folder(path.parent)
        finally:
            os.close(fd)
        now = self.snapshot()
        return self._write_head(key, Head(seq=now.seq, digest=now.digest, time_ns=time_ns, open=still_open))

    def checkpoint(self, key: SigningKey, prefixes: tuple[OpenPrefix, ...], time_ns: int) -> Head:
        """Sign what the open segments hold now, without a line of its own."""
        now = self.snapshot()
        if now.seq:
            self._checked_head()
        return self._write_head(key, Head(seq=now.seq, digest=now.digest, time_ns=time_ns, open=prefixes))

    def check_head(self) -> None:
        """Raises `Corrupt` when lines are missing at the end of the chain, or the head is gone."""
        if self.snapshot().seq or self.head() is not None:
            self._checked_head()

    def _checked_head(self) -> Head:
        """Nothing is added to a chain that lost lines: that would make the loss look like history."""
        head = self.head()
        if head is None:
            raise Corrupt(self.head_path, None, "the signed head is gone, so lines of the chain may be missing")
        if head.seq > self._fold.seq:
            raise Corrupt(
                self._layout.chain,
                self._fold.at,
                f"the chain ends at line {self._fold.seq}, its head is line {head.seq}",
            )
        return head

    def _write_head(self, key: SigningKey, head: Head) -> Head:
        before = self.head()
        # Also when somebody puts an older head back under a running keeper, its number is not given again.
        self._number = 1 + max(self._number, 0 if before is None else before.number)
        head = msgspec.structs.replace(head, number=self._number)
        write_new(self.head_path, (sign(key, head), b"\n"))
        sync_folder(self.head_path.parent)
        return head


def put_object(
    layout: Layout, chain: Chain, key: SigningKey, kind: ObjectKind, label: str, body: bytes, time_ns: int
) -> ObjectEntry:
    """Store bytes under their SHA-256 and sign that into the chain. The same object and label again changes nothing."""
    digest = sha256(body).hexdigest()
    for entry in chain.snapshot().objects:
        if entry.digest == digest and entry.kind == kind and entry.label == label:
            return entry
    path = layout.object(digest)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_new(path, (body,))
    sync_folder(path.parent)
    entry = ObjectEntry(digest=digest, kind=kind, created_ns=time_ns, label=label)
    chain.append(key, time_ns=time_ns, objects=(entry,))
    return entry
