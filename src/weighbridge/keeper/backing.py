"""What the keeper does for backups, and after a log was lost: it alone may seal, sign and write to the ledger."""

import asyncio
import secrets
import shutil
from collections.abc import Callable

import msgspec

from weighbridge import __version__
from weighbridge.clock import Clock
from weighbridge.config import Loaded
from weighbridge.errors import ControlError
from weighbridge.exchanges.live import is_live
from weighbridge.exchanges.snapshot import sweep_snapshots
from weighbridge.keeper.bank import Bank
from weighbridge.keeper.chores import Chores
from weighbridge.keeper.projecting import Projecting
from weighbridge.keeper.server import ControlServer
from weighbridge.ledger.writeoff import write_off
from weighbridge.records.backup import (
    BACKUP_SCHEMA,
    SIGNED_AS,
    WRITE_OFF_SCHEMA,
    Facts,
    Manifest,
    WriteOff,
    WrittenOff,
)
from weighbridge.records.canonical import canonical
from weighbridge.store.control import (
    Answer,
    Done,
    DropSnapshot,
    KeepingRequest,
    ListLost,
    LostWorker,
    LostWorkers,
    PutObject,
    Signature,
    SignBackup,
    SnapshotTaken,
    TakeSnapshot,
    WriteOffRows,
    WriteOffWorker,
)
from weighbridge.store.layout import Layout

LOCKED_S_MAX = 60
"""So long a snapshot waits for the command that asked for it to lock it."""


class Backing:
    def __init__(
        self, layout: Layout, clock: Clock, chores: Chores, bank: Bank, projecting: Projecting, server: ControlServer,
        loaded: Callable[[], Loaded],
    ) -> None:  # fmt: skip
        self._layout, self._clock, self._chores, self._loaded = layout, clock, chores, loaded
        self._bank, self._projecting, self._server = bank, projecting, server
        self._fresh: dict[str, int] = {}
        """Snapshots of the last minute: whoever asked may not have locked it yet."""

    async def answer(self, request: KeepingRequest) -> Answer:
        match request:
            case TakeSnapshot():
                return await self._take()
            case SignBackup():
                return self._sign(request.body)
            case DropSnapshot():
                return await self._drop(request.name)
            case ListLost():
                return LostWorkers(rows=await self._lost())
            case _:
                return await self._write_off(request)

    async def sweep(self) -> None:
        """Called each second: snapshots whose command is gone are removed."""
        if self._layout.snapshots.is_dir():
            since_ns = self._clock.mono_ns() - LOCKED_S_MAX * 1_000_000_000
            self._fresh = {name: at_ns for name, at_ns in self._fresh.items() if at_ns > since_ns}
            await asyncio.to_thread(sweep_snapshots, self._layout, tuple(self._fresh))

    async def _take(self) -> SnapshotTaken:
        """What is in the ledger's copy but not in the log's was spent by workers that are named as live."""
        await self._chores.seal(self._server)
        await self._projecting.run()
        name, config = secrets.token_hex(8), self._loaded().config
        self._fresh[name] = self._clock.mono_ns()
        made_ns = self._clock.wall_ns()
        live = await self._chores.snapshot(name)
        own_key = config.capture.encrypt_key is None and self._layout.master_key.exists()
        ledger = "sqlite" if config.store.url is None else "postgresql"
        facts = Facts(
            version=__version__, made_ns=made_ns, signing_key=self._chores.public_key, master_key=own_key,
            ledger=ledger, live=live,
        )  # fmt: skip
        return SnapshotTaken(name=name, facts=facts)

    def _sign(self, body: bytes) -> Signature:
        """Nothing but a list of members in this store's name."""
        try:
            manifest = msgspec.json.decode(body, type=Manifest)
        except msgspec.MsgspecError as error:
            raise ControlError(f"not the list of a backup's members, so it is not signed: {error}") from None
        if manifest.schema != BACKUP_SCHEMA or manifest.facts.signing_key != self._chores.public_key:
            raise ControlError(
                f"a backup is signed with schema {BACKUP_SCHEMA!r} and this store's key, not with {manifest.schema!r} "
                f"and {manifest.facts.signing_key}"
            )
        return Signature(signature=self._chores.signing_key.sign(SIGNED_AS + body).hex(), digest="")

    async def _drop(self, name: str) -> Done:
        folder = self._layout.snapshots / name
        if folder.parent != self._layout.snapshots or name in ("", ".", ".."):
            raise ControlError(f"{name!r} is not the name of a snapshot")
        self._fresh.pop(name, None)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        return Done()

    # --- after a loss -------------------------------------------------------------------------------------------------

    async def _lost(self) -> tuple[LostWorker, ...]:
        await self._projecting.run()
        store = self._bank.store

        def find() -> tuple[LostWorker, ...]:
            rows = []
            for worker, why in sorted(self._projecting.lost().items()):
                leases = store.leases_of(worker)
                rest = sum(max(0, row.granted_nanousd - row.posted_nanousd) for row in leases)
                rows.append(LostWorker(worker=worker, leases=len(leases), nanousd=rest, why=why))
            return tuple(rows)

        return await self._bank.do(find)

    async def _write_off(self, asked: WriteOffWorker) -> WriteOffRows:
        """Signed first, then booked: money that was booked without a reason is never there."""
        if not asked.reason.strip() or not asked.by.strip():
            raise ControlError("say why it is written off (--reason), and who says so (--by)")
        if asked.worker in {line.incarnation for line in self._server.workers} or is_live(self._layout, asked.worker):
            raise ControlError(f"worker {asked.worker} is running; what it is leased is its own until it ends")
        lost = {row.worker: row for row in await self._lost()}
        if asked.worker not in lost:
            names = ", ".join(lost) or "none"
            raise ControlError(
                f"nothing of worker {asked.worker!r} is to be written off: its log can be read, or it has no lease. "
                f"Workers whose log is lost: {names}"
            )
        now_ns = self._clock.wall_ns()
        rows = await self._rehearsed(asked.worker, now_ns)
        body = canonical(WriteOff(schema=WRITE_OFF_SCHEMA, made_ns=now_ns, reason=asked.reason, by=asked.by, rows=rows))
        stored = await self._chores.put(PutObject(kind="write_off", label=asked.worker, body=body))
        await self._bank.do(lambda: self._book(asked.worker, now_ns))
        self._projecting.forget(asked.worker)
        return WriteOffRows(rows=rows, digest=stored.digest)

    def _book(self, worker: str, now_ns: int) -> tuple[WrittenOff, ...]:
        return write_off(self._bank.store, self._bank.site, worker, now_ns)

    async def _rehearsed(self, worker: str, now_ns: int) -> tuple[WrittenOff, ...]:
        """What would be booked; the worker is gone, so nothing else changes its leases meanwhile."""

        def rehearse() -> None:
            raise _Rehearsed(self._book(worker, now_ns))

        try:
            await self._bank.do(rehearse)
        except _Rehearsed as done:
            return done.rows
        raise AssertionError("unreachable")


class _Rehearsed(Exception):  # noqa: N818 (it undoes a transaction and is caught where it is raised)
    def __init__(self, rows: tuple[WrittenOff, ...]) -> None:
        self.rows = rows
