"""Taking a backup while the gateway serves: the keeper makes a snapshot, this process writes it into one file.

Secret keys are not part of it: with them the file would open every prompt in it, and could sign in the store's name.
They go into a file of their own, to be kept elsewhere.
"""

import os
from pathlib import Path

import msgspec

from weighbridge.app.reach import keeper_of
from weighbridge.config import Loaded
from weighbridge.errors import StoreError
from weighbridge.exchanges.archive import read_archive, write_archive
from weighbridge.exchanges.chain import fingerprint
from weighbridge.exchanges.keys import KEY_BYTES, key_line, read_key_file
from weighbridge.exchanges.snapshot import CONTENT, hold
from weighbridge.store.control import Done, DropSnapshot, Signature, SignBackup, SnapshotTaken, TakeSnapshot
from weighbridge.store.files import write_durably
from weighbridge.store.layout import Layout


class BackedUp(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON shape of `backup --json`."""

    file: str
    bytes: int
    members: int
    made_ns: int
    signing_key: str
    """Fingerprint of the key that the list of members is signed with."""
    ledger: str
    keys: str | None
    """Where the secret keys were written; `null`: nowhere."""
    notes: tuple[str, ...]


def back_up(loaded: Loaded, to: Path, keys: Path | None) -> BackedUp:
    """Write the store as it is now into `to`, and read it back. Raises `WeighbridgeError`, `OSError`."""
    layout = Layout(loaded.store_path)
    for one in (to, keys):
        if one is not None and one.exists():
            raise StoreError(f"{one} exists and is not overwritten; give another name, or move it away")
        if one is not None and one.resolve().is_relative_to(layout.root.resolve()):
            raise StoreError(f"{one} lies in the store that it is a backup of; give a path outside {layout.root}")
    with keeper_of(loaded) as control:
        taken = control.call(TakeSnapshot(), SnapshotTaken)
        folder = layout.snapshots / taken.name
        try:
            held = hold(folder)
            try:
                size = write_archive(
                    folder / CONTENT, taken.facts, to,
                    lambda body: bytes.fromhex(control.call(SignBackup(body=body), Signature).signature),
                )  # fmt: skip
            finally:
                os.close(held)
        finally:
            control.call(DropSnapshot(name=taken.name), Done)
    archive = read_archive(to)
    if keys is not None:
        _write_keys(layout, keys, master=taken.facts.master_key)
    return BackedUp(
        file=str(to), bytes=size, members=len(archive.manifest.members), made_ns=taken.facts.made_ns,
        signing_key=fingerprint(taken.facts.signing_key), ledger=taken.facts.ledger,
        keys=None if keys is None else str(keys), notes=tuple(_notes(loaded, taken, keys)),
    )  # fmt: skip


def _notes(loaded: Loaded, taken: SnapshotTaken, keys: Path | None) -> list[str]:
    notes = []
    own = "signing.key and master.key" if taken.facts.master_key else "signing.key"
    if keys is None:
        notes.append(f"{own} of the store are not in it, and it cannot be restored without: --keys FILE writes them")
    if loaded.config.capture.encrypt_key is not None:
        notes.append("bodies are encrypted with capture.encrypt_key: keep that secret, it is in neither file")
    if taken.facts.ledger == "postgresql":
        notes.append("the ledger is in PostgreSQL and not in it: back that database up with its own tools")
    return notes


def _write_keys(layout: Layout, to: Path, *, master: bool) -> None:
    lines = [key_line("signing", read_key_file(layout.signing_key, "signing", KEY_BYTES))]
    if master:
        lines.append(key_line("master", read_key_file(layout.master_key, "master", KEY_BYTES)))
    write_durably(to, b"".join(lines))
