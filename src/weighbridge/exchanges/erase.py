"""Erasing captured bodies: the record, its key, every copy derived from it. What stays is a tombstone.

An object that holds an erased body is written anew without it. The chain names the tombstone, the new object and the
old one in one line; then the old one is removed. A body whose segment is still open is read as erased at once and is
gone when the segment is sealed: roll and seal first.
"""

import contextlib
import fcntl
import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import msgspec

from weighbridge.exchanges.bodystore import OBJECT_SUFFIX, object_bytes, object_records, record_commitment
from weighbridge.exchanges.chain import Chain, Dropped, SealedFile, SigningKey, Tombstone
from weighbridge.exchanges.files import nothing, sync_folder, write_new
from weighbridge.exchanges.framing import Corrupt
from weighbridge.exchanges.reader import read
from weighbridge.exchanges.seal import relative, sweep
from weighbridge.records.exchange import Exchange
from weighbridge.records.frames import BodyRef
from weighbridge.store.layout import Layout

Step = Callable[[str], object]


@dataclass(frozen=True)
class Erased:
    exchanges: int
    """Exchanges that had a body to erase, replays of them in trials included."""
    bodies: int
    still_open: int
    """Of `bodies`: how many lie in a segment that is still open. They are gone when it is sealed."""
    evidence: tuple[str, ...]
    """Digests of signed evidence that carries a grader's note about an erased exchange. It cannot be changed."""
    busy_trials: tuple[str, ...]
    """Trials that are running: their journals still name erased exchanges (ids and scores, no text)."""
    damage: tuple[str, ...] = ()
    """Places of the log that could not be read: an exchange there was not erased."""
    ids: frozenset[str] = frozenset()
    """Every exchange that was asked for, with or without a body: what else is kept of them must go too."""


class _PairNote(msgspec.Struct, frozen=True):
    item: str
    replay: str | None = None
    note: str | None = None


class _Notes(msgspec.Struct, frozen=True):
    pairs: tuple[_PairNote, ...] = ()


def erase(
    layout: Layout,
    chain: Chain,
    key: SigningKey,
    *,
    exchanges: Iterable[str] = (),
    client_key: str | None = None,
    user: str | None = None,
    time_ns: int,
    step: Callable[[str], object] = nothing,
) -> Erased:
    """Erase the bodies of exchanges named by id, by client key or by user, and of their replays. For the keeper.

    Exchanges that are not there, or have no body, are passed over: asking twice does no harm. Raises `Corrupt`.
    """
    sweep(layout, chain)
    snapshot = chain.snapshot()
    wanted = frozenset(exchanges)
    damage: list[Corrupt] = []
    found = _with_replays(layout, lambda one: _is_asked_for(one, wanted, client_key, user), damage)
    targets: dict[bytes, tuple[str, BodyRef]] = {}
    for exchange in found:
        for ref in (exchange.request, exchange.response):
            if (
                ref is not None
                and ref.commitment not in snapshot.erased
                and (ref.day, ref.team) not in snapshot.retired
            ):
                targets[ref.commitment] = (exchange.id, ref)
    ids = {exchange.id for exchange in found} | wanted
    busy = _drop_from_trials(layout, ids)
    if not targets:
        return Erased(0, 0, 0, _with_notes(layout, chain, ids), busy, tuple(map(str, damage)), frozenset(ids))
    sealed, dropped, rewritten = _rewrite(layout, chain, targets, step)
    stones = tuple(
        Tombstone(kind="erased", day=ref.day, team=ref.team, commitment=commitment.hex(), exchange=identity)
        for commitment, (identity, ref) in sorted(targets.items(), key=lambda one: (one[1][0], one[0]))
    )
    chain.append(key, time_ns=time_ns, sealed=sealed, dropped=dropped, tombstones=stones)
    step("committed")
    for gone in dropped:
        layout.root.joinpath(gone.path).unlink(missing_ok=True)
    for folder in {layout.root.joinpath(gone.path).parent for gone in dropped}:
        sync_folder(folder)
    step("removed")
    return Erased(
        exchanges=len({identity for identity, _ in targets.values()}),
        bodies=len(targets),
        still_open=len(targets) - rewritten,
        evidence=_with_notes(layout, chain, ids),
        busy_trials=busy,
        damage=tuple(map(str, damage)),
        ids=frozenset(ids),
    )


def _is_asked_for(exchange: Exchange, ids: frozenset[str], client_key: str | None, user: str | None) -> bool:
    return exchange.id in ids or exchange.key == client_key or (user is not None and exchange.user == user)


def _with_replays(layout: Layout, chosen: Callable[[Exchange], bool], damage: list[Corrupt]) -> list[Exchange]:
    """What is asked for, and what trials sent of it again: a replay holds the same prompt."""
    found: list[Exchange] = []
    replays: list[Exchange] = []
    for exchange in read(layout, damaged=damage.append):
        if chosen(exchange):
            found.append(exchange)
        elif exchange.item is not None:
            replays.append(exchange)
    ids = {exchange.id for exchange in found}
    return found + [exchange for exchange in replays if exchange.item in ids]


def _rewrite(
    layout: Layout, chain: Chain, targets: dict[bytes, tuple[str, BodyRef]], step: Step
) -> tuple[tuple[SealedFile, ...], tuple[Dropped, ...], int]:
    """New objects without the targets, the old ones, and how many bodies that took out. Nothing is removed yet."""
    by_folder: dict[Path, set[bytes]] = defaultdict(set)
    for commitment, (_, ref) in targets.items():
        by_folder[layout.body_folder(ref.day, ref.team)].add(commitment)
    sealed: list[SealedFile] = []
    dropped: list[Dropped] = []
    taken = 0
    for name, file in sorted(chain.snapshot().bodies.items()):
        path = layout.root / name
        unwanted = by_folder.get(path.parent)
        if unwanted is None:
            continue
        records = [bytes(payload) for _, payload in object_records(path, path.read_bytes())]
        kept = [payload for payload in records if record_commitment(memoryview(payload)) not in unwanted]
        if len(kept) == len(records):
            continue
        taken += len(records) - len(kept)
        dropped.append(Dropped(path=name, why="erased"))
        if not kept:
            continue
        target = _next_generation(path)
        packed = object_bytes(kept)
        write_new(target, (packed,))
        sync_folder(target.parent)
        step("object written")
        sealed.append(
            SealedFile(
                kind="bodies", path=relative(layout, target), source=file.source, bytes=len(packed),
                sha256=sha256(packed).hexdigest(), count=len(kept),
            )
        )  # fmt: skip
    return tuple(sealed), tuple(dropped), taken


def _next_generation(path: Path) -> Path:
    """`STEM.0.wbo` -> `STEM.1.wbo`"""
    stem, generation = path.name.removesuffix(OBJECT_SUFFIX).rsplit(".", 1)
    return path.with_name(f"{stem}.{int(generation) + 1}{OBJECT_SUFFIX}")


def _drop_from_trials(layout: Layout, ids: set[str]) -> tuple[str, ...]:
    """Drop the lines of trial journals that name an erased exchange. Returns the trials that are running."""
    busy = []
    names = [f'"{identity}"'.encode() for identity in sorted(ids)]
    for path in sorted(layout.trials.glob("*/*.jsonl")):
        lines = path.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if not any(name in line for name in names)]
        if len(kept) == len(lines):
            continue
        lock = os.open(path.parent / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            busy.append(path.parent.name)
        else:
            write_new(path, kept)
            sync_folder(path.parent)
        finally:
            os.close(lock)
    return tuple(busy)


def _with_notes(layout: Layout, chain: Chain, ids: set[str]) -> tuple[str, ...]:
    found = []
    for entry in chain.snapshot().objects:
        if entry.kind == "evidence":
            with contextlib.suppress(OSError, msgspec.MsgspecError):  # `verify` is the one that complains
                evidence = msgspec.json.decode(layout.object(entry.digest).read_bytes(), type=_Notes)
                if any(pair.note and (pair.item in ids or pair.replay in ids) for pair in evidence.pairs):
                    found.append(entry.digest)
    return tuple(found)
