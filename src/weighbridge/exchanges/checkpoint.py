"""Signing what open segments hold, between seals, so that rows cut from an unsealed tail are found."""

import os
from hashlib import sha256
from pathlib import Path

from weighbridge.exchanges.chain import Chain, OpenPrefix, SigningKey
from weighbridge.exchanges.files import FileDoor, SystemFiles
from weighbridge.exchanges.framing import BODIES_MAGIC, FRAMES_MAGIC, HEADER_BYTES, Corrupt, Scan, check_header
from weighbridge.exchanges.segments import open_names
from weighbridge.store.layout import Layout


class _Seen:
    """How far a segment is hashed."""

    def __init__(self) -> None:
        self.hash = sha256()
        self.bytes = 0


class Checkpointer:
    """Keeps a running hash of each open segment; for the keeper, every few seconds."""

    def __init__(self, layout: Layout, chain: Chain, key: SigningKey, files: FileDoor | None = None) -> None:
        self._layout, self._chain, self._key = layout, chain, key
        self._files = files or SystemFiles()
        self._seen: dict[Path, _Seen] = {}
        self._signed: tuple[OpenPrefix, ...] = ()

    def run(self, time_ns: int) -> list[Corrupt]:
        """Sync the open segments and sign their prefixes, if something changed.

        A segment that no longer begins with what an earlier checkpoint signed is returned as a problem; its old
        prefix stays signed, so that `verify` goes on finding it. Raises `OSError`, and `Corrupt` about the chain.
        """
        problems: list[Corrupt] = []
        head = self._chain.head()
        before = {} if head is None else {prefix.file: prefix for prefix in head.open}
        done = self._chain.snapshot().done
        after: dict[str, OpenPrefix] = {}
        # Frames are looked at first and synced last: every body that a signed frame speaks of was written before it.
        found = open_names(self._layout.open_log, ".wbx") + open_names(self._layout.open_bodies, ".wbb")
        for _, _, path in found:
            name = path.relative_to(self._layout.root).as_posix()
            if path.name in done:
                continue
            try:
                prefix = self._prefix(path, name, before.get(name))
            except Corrupt as damage:
                problems.append(damage)
                prefix = before.get(name)
            except FileNotFoundError:
                continue
            if prefix is not None:
                after[name] = prefix
        present = {path.relative_to(self._layout.root).as_posix() for _, _, path in found}
        for name, prefix in before.items():
            if name not in present and Path(name).name not in self._chain.snapshot().done:
                problems.append(Corrupt(self._layout.root / name, None, "an open segment is gone"))
                after[name] = prefix
        signed = tuple(after[name] for name in sorted(after))
        if signed != self._signed or head is None:
            for _, _, path in reversed(found):
                self._sync(path)
            self._chain.checkpoint(self._key, signed, time_ns)
            self._signed = signed
        return problems

    def _prefix(self, path: Path, name: str, before: OpenPrefix | None) -> OpenPrefix | None:
        seen = self._seen.setdefault(path, _Seen())
        with open(path, "rb") as file:
            file.seek(seen.bytes)
            data = file.read()
        start = 0
        if seen.bytes == 0:
            if not check_header(data, BODIES_MAGIC if path.suffix == ".wbb" else FRAMES_MAGIC, path):
                return before
            start = HEADER_BYTES
            if before is not None and sha256(data[: before.bytes]).hexdigest() != before.sha256:
                raise Corrupt(path, None, f"its first {before.bytes} bytes are not the ones that were signed")
        scan = Scan(data, start, None)
        for _ in scan:
            pass
        if scan.end > start:
            seen.hash.update(data[: scan.end])
            seen.bytes += scan.end
        if seen.bytes <= HEADER_BYTES:
            return before
        return OpenPrefix(file=name, bytes=seen.bytes, sha256=seen.hash.hexdigest())

    def _sync(self, path: Path) -> None:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            self._files.fdatasync(fd)
        finally:
            os.close(fd)
