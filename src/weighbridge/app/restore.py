"""Putting a backup back: into an empty place, checked whole before it is a store, in a new epoch of the ledger.

While `<store>/restoring` is there nobody uses the store; whatever a kill leaves behind, the next run starts over. What
was leased to workers that wrote on after the backup is booked as spent: what they spent since is in no log.
"""

import shutil
from pathlib import Path

import msgspec

from weighbridge.clock import Clock
from weighbridge.config import Loaded, secret
from weighbridge.errors import StoreError
from weighbridge.exchanges.archive import unpack
from weighbridge.exchanges.chain import Chain, SigningKey, fingerprint, put_object, signing_key
from weighbridge.exchanges.files import nothing, sync_folder
from weighbridge.exchanges.keys import KEY_BYTES, create_key_file, find_master_key, parse_key_line
from weighbridge.exchanges.seal import Step
from weighbridge.exchanges.segments import look
from weighbridge.exchanges.verify import verify
from weighbridge.keeper.ledger import open_ledger
from weighbridge.keeper.lock import KeeperLock
from weighbridge.ledger.writeoff import write_off
from weighbridge.records.backup import WRITE_OFF_SCHEMA, Facts, WriteOff, WrittenOff
from weighbridge.records.canonical import canonical
from weighbridge.store.database import remembered
from weighbridge.store.layout import Layout

_MAY_BE_THERE = frozenset({"keeper.lock", "lost+found", "restoring"})
_CONTENT = "store"


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON shape of `restore --json`."""

    store: str
    made_ns: int
    """When the backup was taken: what happened since is in no log."""
    signing_key: str
    exchanges: int
    epoch: int
    """Of the ledger. Leases of earlier ones are void."""
    written_off: tuple[WrittenOff, ...]
    notes: tuple[str, ...]


def restore(loaded: Loaded, backup: Path, keys: Path, clock: Clock, *, step: Step = nothing) -> Restored:
    """Put `backup` into `store.path`, which must be empty. Raises `WeighbridgeError`, `OSError`."""
    layout = Layout(loaded.store_path)
    secrets = _keys(keys)
    lock = _claim(layout)
    try:
        _start_over(layout)
        step("claimed")
        content = Layout(layout.restoring / _CONTENT)
        try:
            facts = unpack(backup, content.root).facts
            step("unpacked")
            _put_keys(content, secrets, facts, keys)
            content.create()
            exchanges, notes = _verified(loaded, content)
            epoch, rows = _new_epoch(loaded, content, facts, clock)
            step("verified")
        except BaseException:
            shutil.rmtree(layout.restoring)
            raise
        for path in sorted(content.root.iterdir()):
            path.rename(layout.root / path.name)
            step("moved")
        sync_folder(layout.root)
        shutil.rmtree(layout.restoring)
        sync_folder(layout.root)
    finally:
        lock.close()
    return Restored(
        store=str(layout.root), made_ns=facts.made_ns, signing_key=fingerprint(facts.signing_key), exchanges=exchanges,
        epoch=epoch, written_off=rows, notes=(*notes, *_notes(facts)),
    )  # fmt: skip


def _claim(layout: Layout) -> KeeperLock:
    """The store's place, for us alone. Raises `StoreError` where a store is there already, used or not."""
    root = layout.root
    if root.exists() and not layout.restoring.exists():
        found = sorted(path.name for path in root.iterdir() if path.name not in _MAY_BE_THERE)
        if found:
            in_use = "" if not layout.lock.exists() else _holder(layout)
            raise StoreError(
                f"there is a store at {root} ({', '.join(found[:4])}), and a restore never writes into one{in_use}. "
                "Stop whatever uses it and move it away, or set store.path to another folder."
            )
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    return KeeperLock(layout.lock, wait_s=0)


def _holder(layout: Layout) -> str:
    try:
        KeeperLock(layout.lock, wait_s=0).close()
    except StoreError as error:
        return f"; {error}"
    return ""


def _start_over(layout: Layout) -> None:
    """What an interrupted restore left is all ours: `restoring` says so, and it goes last."""
    if layout.restoring.exists():
        for path in layout.root.iterdir():
            if path.name not in _MAY_BE_THERE:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.rmtree(layout.restoring)
    (layout.restoring / _CONTENT).mkdir(parents=True, mode=0o700)
    sync_folder(layout.restoring)
    sync_folder(layout.root)


def _keys(path: Path) -> dict[str, bytes]:
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise StoreError(f"the keys cannot be read: {path}: {error.strerror}") from None
    found = dict(parse_key_line(path, line, KEY_BYTES) for line in lines)
    if "signing" not in found or not found.keys() <= {"signing", "master"}:
        raise StoreError(f"{path} is not a file that `weighbridge backup --keys` wrote: it holds no signing key")
    return found


def _put_keys(content: Layout, secrets: dict[str, bytes], facts: Facts, keys: Path) -> None:
    if SigningKey(secrets["signing"]).public != facts.signing_key:
        raise StoreError(
            f"{keys} holds another store's signing key, the backup is of {fingerprint(facts.signing_key)}; give the "
            "file that was written with it"
        )
    if facts.master_key and "master" not in secrets:
        raise StoreError(f"{keys} holds no master key, and bodies in the backup are encrypted with one")
    content.signing_key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    create_key_file(content.signing_key, "signing", secrets["signing"])
    if facts.master_key:
        create_key_file(content.master_key, "master", secrets["master"])


def _verified(loaded: Loaded, content: Layout) -> tuple[int, tuple[str, ...]]:
    reference, notes = loaded.config.capture.encrypt_key, []
    master = None
    try:
        master = find_master_key(content, None if reference is None else secret(reference, loaded.folder).encode())
    except LookupError as error:
        notes.append(f"capture.encrypt_key: {error.args[0]}; bodies were not decrypted")
    report = verify(content, master=master, known=remembered(content.database))
    if not report.ok:
        first = report.problems[0]
        raise StoreError(
            f"what the backup holds does not verify, so it is not used: {len(report.problems)} problems, the first in "
            f"{first.where}: {first.what}"
        )
    return report.counts.exchanges, tuple(notes)


def _new_epoch(loaded: Loaded, content: Layout, facts: Facts, clock: Clock) -> tuple[int, tuple[WrittenOff, ...]]:
    """Leases that are out hold no more, and what may have been spent of them is booked as spent."""
    chain, now_ns = Chain(content), clock.wall_ns()
    with look(content, chain) as view:
        whole = {segment.incarnation for segment in view.segments} - set(facts.live)
    ledger = open_ledger(content, loaded, clock)
    store = ledger.store
    try:
        with store.sql.transaction():
            workers = sorted(store.lease_owners(ledger.site) - whole)
            rows = tuple(row for worker in workers for row in write_off(store, ledger.site, worker, now_ns))
            if facts.ledger == "sqlite":
                store.begin_epoch(store.epoch() + 1)
            epoch = store.epoch()
    finally:
        store.close()
    record = WriteOff(
        schema=WRITE_OFF_SCHEMA, made_ns=now_ns, by="restore", rows=rows,
        reason=f"a backup of {facts.made_ns} was put back; what these workers spent since is in no log",
    )  # fmt: skip
    put_object(content, chain, signing_key(content), "write_off", "restore", canonical(record), now_ns)
    return epoch, rows


def _notes(facts: Facts) -> list[str]:
    notes = [
        "requests since the backup are in no book: set the provider's usage export beside it (`budget reconcile`)",
        "what was erased since the backup is here again: erase it again",
    ]
    if facts.ledger == "postgresql":
        notes.append("the ledger is in PostgreSQL, and is what that database holds now")
    return notes
