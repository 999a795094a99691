"""Keeping the exchange log: the keeper only decides when; `exchanges` knows how."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import TypeVar

from weighbridge.clock import Clock
from weighbridge.config import Loaded, secret
from weighbridge.errors import ControlError
from weighbridge.exchanges.chain import Chain, Mark, ObjectEntry, fingerprint, put_object, signing_key
from weighbridge.exchanges.checkpoint import Checkpointer
from weighbridge.exchanges.erase import Erased, erase
from weighbridge.exchanges.framing import Corrupt
from weighbridge.exchanges.keys import master_key
from weighbridge.exchanges.live import is_live
from weighbridge.exchanges.retention import retire
from weighbridge.exchanges.seal import Sealed, seal_all
from weighbridge.exchanges.segments import open_names
from weighbridge.exchanges.snapshot import take_snapshot
from weighbridge.keeper.server import ControlServer
from weighbridge.store.control import Erase, ErasedCount, ObjectKind, ObjectList, ObjectRow, PutObject
from weighbridge.store.database import Database, Head
from weighbridge.store.layout import Layout

log = logging.getLogger("keeper")

T = TypeVar("T")

LOOK_EVERY_S = 5
"""How often the keeper signs what open segments hold, and looks for segments that nobody writes to any more."""
DAY_NS = 86_400 * 1_000_000_000
ROLL_EVERY_S = 3600
"""A segment in use is rolled and sealed this often, so that Parquet readers are at most that far behind."""


class Chores:
    """All work on the log happens in one thread, one thing after the other, so that control calls stay quick."""

    def __init__(self, layout: Layout, database: Database, clock: Clock, loaded: Loaded) -> None:
        self._layout, self._database, self._clock = layout, database, clock
        self.loaded = loaded
        """The configuration as last read; the keeper replaces it on a reload."""
        self.signing_key = signing_key(layout)
        self._chain = Chain(layout)
        self._checkpointer = Checkpointer(layout, self._chain, self.signing_key)
        self._thread = ThreadPoolExecutor(1, "log")
        self._damaged: set[str] = set()
        self._abandoned = False
        self._mistrust = self._remember_mistrust()
        self._looked_ns = 0
        self._retired_on = 0
        """The last day, counted from 1970 in UTC, on which retention was seen to."""
        self._rolled_ns = clock.mono_ns()

    def retire_soon(self) -> None:
        """See to retention with the next look, not tomorrow."""
        self._retired_on = 0

    @property
    def public_key(self) -> str:
        return self.signing_key.public

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is wrong with the log, for whoever starts the keeper."""
        return () if self._mistrust is None else (self._mistrust,)

    def _remember_mistrust(self) -> str | None:
        """What the database remembers does not fit the log: say so now, and for as long as this database is there.

        What this keeper signs from now on would otherwise make the old state look like the newest.
        """
        self._database.remember_signing_key(self.public_key)
        found = self._database.remembered().mistrust or self._changed() or self._signed_by_another()
        if found is None:
            return None
        self._database.remember_mistrust(found)
        return (
            f"{found}. `weighbridge verify` shows what is missing. If you put back a backup, or the key, on purpose, "
            f"stop everything and move {self._layout.database} away: nothing is compared with it then"
        )

    def _changed(self) -> str | None:
        """Were lines taken from the chain, or put in their place, or an older head put back?"""
        head = self._database.last_head()
        if head is None:
            return None
        lines, what = self._chain.lines(), f"the signed log {self._layout.chain} was changed"
        if len(lines) < head.seq:
            return f"{what}: line {head.seq} is remembered, but it ends at line {len(lines)}"
        if head.seq and sha256(lines[head.seq - 1]).hexdigest() != head.digest:
            return f"{what}: line {head.seq} is remembered, but it is not the one that was signed then"
        try:
            mark = self._chain.mark()
        except Corrupt:
            return None  # nothing is signed on top of it, and `verify` names it
        if mark is None:
            return f"{what}: its signed head {self._chain.head_path} is gone"
        old = mark.older_than(head.number, head.head_digest)
        return None if old is None else f"{what}: {self._chain.head_path}: {old}"

    def _signed_by_another(self) -> str | None:
        known = self._database.remembered().signing_key
        if known is None or known == self.public_key:
            return None
        return (
            f"the signing key of {self._layout.root} is {fingerprint(self.public_key)}, but {fingerprint(known)} is "
            "remembered"
        )

    async def _do(self, work: Callable[[], T]) -> T:
        """Run `work` in the log's thread, then remember the head it left."""

        def then_look() -> tuple[T, Mark | None]:
            return work(), self._chain.mark()

        result, mark = await asyncio.get_running_loop().run_in_executor(self._thread, then_look)
        if mark is not None and self._mistrust is None:
            self._database.remember_head(Head(mark.seq, mark.digest, mark.number, mark.head_digest))
        return result

    # --- when ---------------------------------------------------------------------------------------------------------

    async def tick(self, server: ControlServer) -> None:
        """Called each second: what is due is done."""
        now_ns = self._clock.mono_ns()
        if now_ns - self._rolled_ns >= ROLL_EVERY_S * 1_000_000_000:
            await self.seal(server)
        if now_ns - self._looked_ns >= LOOK_EVERY_S * 1_000_000_000:
            self._looked_ns = now_ns
            if self._left_behind():
                await self._do(self._seal)
            await self._do(self._checkpoint)
            today = self._clock.wall_ns() // DAY_NS
            if today != self._retired_on:
                await self._do(self._retire)
                self._retired_on = today

    def _left_behind(self) -> bool:
        """Is there a segment whose writer is gone, or that its writer has followed up by another?"""
        layout = self._layout
        for folder, suffix in ((layout.open_log, ".wbx"), (layout.open_bodies, ".wbb")):
            latest: dict[str, int] = {}
            names = [name for name in open_names(folder, suffix) if name[2].name not in self._damaged]
            for incarnation, number, _ in names:
                latest[incarnation] = max(number, latest.get(incarnation, 0))
            if any(number < latest[incarnation] for incarnation, number, _ in names):
                return True
            if any(not is_live(layout, incarnation) for incarnation in latest):
                return True
        return False

    async def finish(self) -> None:
        """The last thing before the keeper ends in order; workers are gone by then."""
        if self._left_behind():
            await self._do(self._seal)
        await self._do(self._checkpoint)

    def abandon(self) -> None:
        """Stop between two steps; the next keeper goes on from there."""
        self._abandoned = True

    def close(self) -> None:
        self._thread.shutdown(wait=True)

    # --- what ---------------------------------------------------------------------------------------------------------

    async def seal(self, server: ControlServer) -> int:
        """Roll and seal everything written so far; returns how many segments were sealed."""
        self._rolled_ns = self._clock.mono_ns()
        await server.roll()
        return (await self._do(self._seal)).segments

    def _seal(self) -> Sealed:
        done = seal_all(
            self._layout,
            self._chain,
            self.signing_key,
            self._master(),
            time_ns=self._clock.wall_ns(),
            step=self._between,
        )
        self._tell(done.problems)
        if done.segments:
            log.info("sealed %d segments with %d exchanges", done.segments, done.exchanges)
        return done

    def _checkpoint(self) -> None:
        self._tell(self._checkpointer.run(self._clock.wall_ns()))

    def _between(self, step: str) -> None:
        if self._abandoned:
            raise AbandonedError(f"stopped after {step!r}")

    def _tell(self, problems: Iterable[Corrupt]) -> None:
        """Once for each damaged file: it stays as it is, and `verify` names the place."""
        for problem in problems:
            name = problem.file.rpartition("/")[2]
            if name not in self._damaged:
                self._damaged.add(name)
                log.error("left as it is: %s", problem)

    def _master(self) -> bytes | None:
        """The master key of bodies; `None` where its secret is missing (body segments then stay open)."""
        reference = self.loaded.config.capture.encrypt_key
        try:
            given = None if reference is None else secret(reference, self.loaded.folder).encode()
        except LookupError as error:
            if "encrypt_key" not in self._damaged:
                self._damaged.add("encrypt_key")
                log.error("captured bodies cannot be sealed: %s (capture.encrypt_key)", error.args[0])
            return None
        return master_key(self._layout, given)

    async def put(self, asked: PutObject) -> ObjectRow:
        now_ns = self._clock.wall_ns()
        return _row(
            await self._do(
                lambda: put_object(
                    self._layout, self._chain, self.signing_key, asked.kind, asked.label, asked.body, now_ns
                )
            )
        )

    async def objects(self, kind: ObjectKind | None) -> ObjectList:
        snapshot = await self._do(self._chain.snapshot)
        return ObjectList(rows=tuple(_row(entry) for entry in snapshot.objects if kind in (None, entry.kind)))

    async def snapshot(self, name: str) -> tuple[str, ...]:
        """Keep the store as it is now, in links and copies; returns the workers that may still write."""
        return (await self._do(lambda: take_snapshot(self._layout, name)))[1]

    async def erase(self, asked: Erase, server: ControlServer) -> ErasedCount:
        """Roll and seal first, so that what is erased is off the disk when this is answered."""
        if [bool(asked.exchanges), asked.key is not None, asked.user is not None].count(True) != 1:
            raise ControlError("say exactly one of: exchanges, key, user")
        await self.seal(server)
        done = await self._do(lambda: self._erase(asked))
        answers = self._database.idempotency.erase(done.ids)
        if answers:
            log.info("erased %d answers that were kept for their idempotency keys", answers)
        return _erased(done)

    def _erase(self, asked: Erase) -> Erased:
        done = erase(
            self._layout,
            self._chain,
            self.signing_key,
            exchanges=asked.exchanges,
            client_key=asked.key,
            user=asked.user,
            time_ns=self._clock.wall_ns(),
            step=self._between,
        )
        log.info("erased %d bodies of %d exchanges", done.bodies, done.exchanges)
        return done

    def _retire(self) -> None:
        capture = self.loaded.config.capture
        done = retire(
            self._layout,
            self._chain,
            self.signing_key,
            keep_days=capture.keep_days,
            keep_rows_days=capture.keep_rows_days,
            time_ns=self._clock.wall_ns(),
            step=self._between,
        )
        if done.body_folders or done.segments:
            log.info("retired the bodies of %d days and teams, and %d segments", done.body_folders, done.segments)


def _erased(done: Erased) -> ErasedCount:
    notes: list[str] = []
    if done.still_open:
        notes.append(
            f"{done.still_open} bodies lie in a segment that is still in use: they cannot be read any more, and are "
            "gone from the disk when it is sealed"
        )
    if done.evidence:
        notes.append(
            f"signed evidence carries graders' notes about erased exchanges and cannot be changed: "
            f"{', '.join(done.evidence)}"
        )
    if done.busy_trials:
        notes.append(
            f"running trials still name erased exchanges in their journals (ids and scores, no text): "
            f"{', '.join(done.busy_trials)}"
        )
    notes += [f"could not be read, so nothing was erased there: {place}" for place in done.damage]
    return ErasedCount(exchanges=done.exchanges, bodies=done.bodies, notes=tuple(notes))


class AbandonedError(ControlError):
    """The keeper's starter is gone, and it stops in the middle."""


def _row(entry: ObjectEntry) -> ObjectRow:
    return ObjectRow(digest=entry.digest, kind=entry.kind, created_ns=entry.created_ns, label=entry.label)
