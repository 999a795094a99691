"""The keeper process; `python -m weighbridge.app.keeper --config FILE` starts it."""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from weighbridge.clock import Clock, SystemClock
from weighbridge.config import DEFAULT_FILE, Loaded, secret
from weighbridge.config.logs import log_to_stderr
from weighbridge.errors import ControlError, ExitCode, StoreError, WeighbridgeError
from weighbridge.exchanges.keys import master_key
from weighbridge.keeper import client_keys
from weighbridge.keeper.acting import Acting
from weighbridge.keeper.alerts import Alerts
from weighbridge.keeper.audit import AuditBook
from weighbridge.keeper.backing import Backing
from weighbridge.keeper.bank import Bank
from weighbridge.keeper.chores import Chores
from weighbridge.keeper.cluster import Cluster, host, refuse_outside
from weighbridge.keeper.compile import ClientKeys
from weighbridge.keeper.finding import Finding
from weighbridge.keeper.idempotency import Claims, Vault
from weighbridge.keeper.ledger import open_ledger
from weighbridge.keeper.lock import KeeperLock, StoreLockedError, refuse_unfinished
from weighbridge.keeper.money import Money
from weighbridge.keeper.parent import Ready, Refused, Start
from weighbridge.keeper.people import Actor, People
from weighbridge.keeper.plausible import implausible_prices
from weighbridge.keeper.projecting import projected
from weighbridge.keeper.publish import Published, Publisher
from weighbridge.keeper.ramps import Desk, OfficeMaker, Ramps
from weighbridge.keeper.server import ControlServer
from weighbridge.keeper.source import Source, accepted, from_file
from weighbridge.keeper.tokens import signed, trial_token
from weighbridge.keeper.usual import UsualOutputs
from weighbridge.records.alerts import BY_NAME
from weighbridge.records.drill import DrillInForce
from weighbridge.records.statement import SIGNED_AS, STATEMENT_SCHEMA, Statement
from weighbridge.records.table import RouteTable
from weighbridge.store.control import (
    Answer,
    Claim,
    CreateKey,
    Done,
    DrillAct,
    DrillShow,
    Erase,
    FindExchanges,
    IssueToken,
    KeepingRequest,
    KeyChange,
    KeyList,
    KeyRow,
    LimitKey,
    ListKeys,
    ListObjects,
    ObjectKind,
    Ping,
    Pong,
    PutObject,
    RampAct,
    RampShow,
    Reload,
    Request,
    RevokeKey,
    RotateKey,
    Seal,
    SealedCount,
    SetLimit,
    SettleClaim,
    ShowBudgets,
    Signature,
    SignStatement,
    Stop,
    TableChanged,
    TableNumber,
    TellAlert,
    TokenText,
)
from weighbridge.store.database import Database
from weighbridge.store.layout import Layout
from weighbridge.store.people_calls import PeopleRequest
from weighbridge.store.ramps import RampChange
from weighbridge.store.sightings import SharedSightings

log = logging.getLogger("keeper")

TICK_S = 1.0
RETRY_S = 60


@dataclass(frozen=True)
class Options:
    config: str
    resume: Path | None = None
    """The store of a keeper that died: go on with the configuration that was accepted last, not with the file."""
    for_command: bool = False
    """Publish nothing, and end in order when the command that started this keeper has."""
    client_keys: ClientKeys = "all"
    admin: str | None = None
    """HOST:PORT where `serve` has the dashboard, for commands that ask."""


class Keeper:
    """Holds the lock, the database and the chain of one store, from `start()` to the end of `run()`."""

    def __init__(self, options: Options, clock: Clock, office: OfficeMaker) -> None:
        """`office` decides about ramps; it is handed in because the keeper does not know how."""
        self._options, self._clock = options, clock
        source: Source | None = None
        if options.resume is None:
            source = from_file(options.config)
            self._layout = Layout(source.loaded.store_path)
        else:
            self._layout = Layout(options.resume)
        refuse_unfinished(self._layout)
        try:
            self._layout.create()
        except OSError as error:
            raise StoreError(
                f"the store {self._layout.root} cannot be created: {error.strerror}. "
                "Set store.path to a folder that this user may write."
            ) from None
        self._lock = KeeperLock(self._layout.lock)
        refuse_unfinished(self._layout)
        self._database = Database(self._layout.database)
        self._source = source or accepted(self._database) or from_file(options.config)
        self._chores = Chores(self._layout, self._database, clock, self._source.loaded)
        self._publisher = Publisher(self._layout, self._database, clock, self._chores.public_key)
        ledger = open_ledger(self._layout, self._source.loaded, clock)
        self._neighbours = ledger.neighbours
        self._bank = Bank(ledger.store, ledger.site, lines=lambda: self._server.workers, neighbours=ledger.neighbours)
        self._alerts = Alerts(self._layout)
        self._odd_prices: dict[str, str] = {}
        self._money = Money(self._layout, self._bank, self._alerts, self._publisher, clock, self)
        self._projecting = self._money.projecting
        self._server = ControlServer(self._layout, self._answer, self._bank.hear)
        self._claims = Claims(self._database.idempotency, self._vault, clock.wall_ns, time.monotonic)
        self._backing = Backing(
            self._layout, clock, self._chores, self._bank, self._projecting, self._server, lambda: self._source.loaded
        )
        self._shares = ledger.url is not None
        self._cluster: Cluster | None = None
        sightings: SharedSightings | None = None
        if ledger.url is not None and self.serving and options.client_keys == "all":
            from weighbridge.store.shared import SharedStore  # an extra: only where it is named

            shared = SharedStore(ledger.url, ledger.site, host())
            self._cluster = Cluster(self._layout, self._database, self._publisher, shared, self)
            sightings = SharedSightings(ledger.url, ledger.site, host())
        self._usual = UsualOutputs(self._layout, self._database, lambda: self._publish(self._source))
        self._desk = Desk(self._layout, self._database, clock, self, sightings)
        self._office = office(self._desk)
        self._finding = Finding(self._layout)
        book = AuditBook(self._database.people, clock, self._chores.signing_key.sign)
        self._people = People(
            self._database.people, book, clock, lambda: self._source.loaded.config.admin,
            lambda: tuple(row.name for row in self._source.loaded.config.team),
        )  # fmt: skip
        self._acting = Acting(self._database, self._people, book)
        self._ended = asyncio.Event()
        self._abandoned = False
        self.leaving: asyncio.Task[None] | None = None
        self._until_ns: int | None = None
        self._keys_changed = False
        """A key was changed, and no table that says so is published yet."""
        self._warnings: tuple[str, ...] = ()
        """Of what was published at the start."""

    # --- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> Ready:
        """Publish, then answer on the control socket. Raises `WeighbridgeError`."""
        warnings = self._chores.warnings
        for warning in warnings:
            log.error("%s", warning)
        await self._backing.sweep()
        if warnings and not self._options.for_command:
            self._alerts.send(self.loaded, "log-mistrusted", "The exchange log is not what was last signed", warnings)
        self._publisher.drills = self._desk.drills_in_force()
        if self._cluster is not None:
            await self._cluster.start()
            warnings += self._warnings
        elif not self._options.for_command:
            self._publish_at_start()
            warnings += self._warnings
        if self._neighbours is not None:
            self._neighbours.start(asyncio.get_running_loop(), self._bank.alone, self._bank.call_back_for)
        await self._server.start()
        table = self._publisher.current
        return Ready(table=0 if table is None else table.number, warnings=warnings)

    def _publish_at_start(self) -> None:
        try:
            self._warnings = self._publish(self._source).warnings
        except WeighbridgeError as error:
            if self._options.resume is None or self._publisher.current is None:
                raise
            log.error("going on with the last route table: %s", error)

    def end(self) -> None:
        """Seal what can be sealed, then end."""
        self._ended.set()

    async def end_when_alone(self) -> None:
        """The command that started this keeper is done, but others may have found it meanwhile."""
        await self._server.until_alone()
        self._server.turn_away()
        await self._server.until_alone()
        self.end()

    def abandon(self) -> None:
        """The parent is gone: make room for the next keeper at once; it seals what is left."""
        self._abandoned = True
        self._chores.abandon()
        self._ended.set()

    async def run(self) -> None:
        """Until `end()` or `abandon()`."""
        ticking = asyncio.create_task(self._ticks())
        sharing = None if self._cluster is None else asyncio.create_task(self._cluster.run())
        await self._ended.wait()
        if self._abandoned:
            # Every step on disk may be the last one (a crash is no different), and the lock must be free now: the
            # kernel frees it with the process, not a moment before the log's thread has stopped.
            logging.shutdown()
            os._exit(ExitCode.DONE)
        ticking.cancel()
        if sharing is not None:
            sharing.cancel()
        self._server.turn_away()
        try:
            await projected(self._projecting)  # workers are gone: what they did not spend is free for the next start
            await self._chores.finish()
        except (WeighbridgeError, OSError) as error:
            log.error("the log is sealed at the next start: %s", error)
        finally:
            self._projecting.close()
            if self._cluster is not None:
                self._cluster.close()
            if self._neighbours is not None:
                self._neighbours.close()
            await self._bank.close()
            self._server.close()
            self._office.close()
            self._finding.close()
            self._chores.close()
            self._database.close()
            self._lock.close()

    async def _ticks(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            try:
                await self._tick()
            except Exception:  # the edge of the process: what goes wrong with a chore must not end the others
                log.exception("a chore failed, it is tried again")

    async def _tick(self) -> None:
        await projected(self._projecting)
        await self._money.tell()
        now_ns = self._clock.wall_ns()
        if self.decides and self._until_ns is not None and now_ns >= self._until_ns:
            try:
                self._publish(self._source)
            except WeighbridgeError as error:
                self._until_ns = now_ns + RETRY_S * 1_000_000_000
                log.error("a price or key ended, but the new route table was not published: %s", error)
        try:
            if self.decides:
                self._publish_keys()
        except WeighbridgeError as error:
            log.error("a client key was changed, but the new route table was not published: %s", error)
        await self._backing.sweep()
        if self.decides and self._source.loaded.config.budget:
            self._usual.tick(now_ns)
        self._claims.tick(worker.incarnation for worker in self._server.workers)
        try:
            await self._chores.tick(self._server)
        except (WeighbridgeError, OSError) as error:
            log.error("keeping the exchange log failed, it is tried again: %s", error)

        if self.serving and not self._outside:
            try:
                await self._office.tick()
            except (WeighbridgeError, OSError) as error:
                log.error("looking after the ramps failed, it is tried again: %s", error)

    # --- what the office of ramps needs -------------------------------------------------------------------------------

    @property
    def loaded(self) -> Loaded:
        return self._source.loaded

    @property
    def serving(self) -> bool:
        return not self._options.for_command

    @property
    def _outside(self) -> bool:
        """Of a store that shares with others, but for a command or a trial only."""
        return self._shares and self._cluster is None

    @property
    def leader(self) -> str | None:
        return None if self._cluster is None or self._cluster.role != "follows" else self._cluster.leader

    @property
    def decides(self) -> bool:
        """Serves, and follows no other keeper."""
        return self.serving and (self._cluster is None or self._cluster.role != "follows")

    # --- what the cluster needs ---------------------------------------------------------------------------------------

    def lead(self, *, starting: bool) -> None:
        self._publisher.drills = self._desk.drills_in_force()
        if starting:
            self._publish_at_start()
            return
        try:
            self._publish(self._source)
        except WeighbridgeError as error:
            self._until_ns = self._clock.wall_ns() + RETRY_S * 1_000_000_000
            log.error("leading with the last route table, the configuration was not published: %s", error)

    def taken_over(self, published: Published) -> None:
        self.tell_workers(published)

    async def take_back(self, route: str, why: str) -> None:
        await self._office.act(RampAct(action="rollback", route=route, why=why))

    def current_table(self) -> RouteTable | None:
        return self._publisher.current

    async def put(self, kind: ObjectKind, label: str, body: bytes) -> str:
        return (await self._chores.put(PutObject(kind=kind, label=label, body=body))).digest

    def publish_ramp(self, change: RampChange, ramps: Ramps) -> int:
        if self._outside:
            raise StoreError("ramps are shared with other gateways, and the leader hears of it when this host serves")
        if not self.serving:
            self._publisher.swap_ramp(change)
            return 0
        published = self._publisher.publish_ramp(change, ramps, self.loaded)
        self.tell_workers(published)
        return published.table.number

    def publish_drills(self, drills: Mapping[str, DrillInForce]) -> int:
        published = self._publisher.publish_drills(drills)
        self.tell_workers(published)
        return published.table.number

    def publish_override(self, routes: frozenset[str]) -> int:
        published = self._publisher.publish_override(routes)
        self.tell_workers(published)
        if self._cluster is not None:
            self._cluster.hint()
        return published.table.number

    def _publish(self, source: Source) -> Published:
        published = self._publisher.publish(source.loaded, self._options.client_keys)
        source.remember(self._database)
        self._until_ns = published.valid_until_ns
        self.tell_workers(published)
        self._tell_of_prices(published.table)
        return published

    def _tell_of_prices(self, table: RouteTable) -> None:
        before, self._odd_prices = self._odd_prices, implausible_prices(table)
        for arm in sorted(before.keys() | self._odd_prices.keys()):
            was, found, labels = before.get(arm), self._odd_prices.get(arm), {"arm": arm}
            if found is None:
                subject = f"The price of arm {arm!r} can be meant again"
                self._alerts.send(self.loaded, "price-implausible", subject, (), state="ended", labels=labels)
            elif found != was:
                subject = f"The price of arm {arm!r} can hardly be meant"
                self._alerts.send(self.loaded, "price-implausible", subject, (found,), labels=labels)

    def tell_workers(self, published: Published) -> None:
        if published.changed:
            log.info("route table %d published", published.table.number)
            self._server.push(TableChanged(number=published.table.number))

    # --- calls --------------------------------------------------------------------------------------------------------

    async def _answer(self, request: Request) -> Answer:
        """Everything comes in here: what changes something is held against who asks, and written down."""
        actor, asked = self._acting.who_asks(request)
        return await self._acting.through(actor, asked, lambda: self._carried_out(asked, actor))

    async def _carried_out(self, request: Request, actor: Actor) -> Answer:
        self._refuse_elsewhere(request)
        match request:
            case Ping():
                return self._pong()
            case Reload():
                return self._reload()
            case IssueToken():
                return self._issue(request)
            case Seal():
                return SealedCount(segments=await self._chores.seal(self._server))
            case PutObject():
                return await self._chores.put(request)
            case SignStatement():
                return await self._sign(request)
            case ListObjects():
                return await self._chores.objects(request.kind)
            case Erase():
                return await self._chores.erase(request, self._server)
            case CreateKey() | LimitKey() | RotateKey() | RevokeKey():
                return self._change_key(request)
            case ListKeys():
                stored = self._database.client_keys.all()
                rows = client_keys.listed(stored, self._source.loaded.config, self._clock.wall_ns())
                return KeyList(rows=rows)
            case Claim() | SettleClaim() | ShowBudgets() | SetLimit():
                return await self._once_or_money(request)
            case RampAct() | RampShow() | FindExchanges() | DrillAct() | DrillShow():
                return await self._traffic(request, actor)
            case Stop() | TellAlert():
                return self._stop() if isinstance(request, Stop) else self._tell(request)
            case _:
                return await self._keeping(request, actor)

    def _refuse_elsewhere(self, request: Request) -> None:
        if self._cluster is not None:
            self._cluster.refuse(request)
        elif self._outside:
            refuse_outside(request)

    async def _keeping(self, request: Request, actor: Actor) -> Answer:
        if isinstance(request, PeopleRequest):
            return self._people.answer(request, actor)
        if isinstance(request, KeepingRequest):
            return await self._backing.answer(request)
        raise ControlError(f"{type(request).__name__} is not a call")

    def _vault(self) -> Vault:
        loaded = self._source.loaded
        reference = loaded.config.capture.encrypt_key
        try:
            given = None if reference is None else secret(reference, loaded.folder).encode()
        except LookupError as error:
            raise ControlError(f"answers cannot be encrypted: {error.args[0]} (capture.encrypt_key)") from None
        return Vault(master_key(self._layout, given))

    async def _traffic(
        self, request: RampAct | RampShow | FindExchanges | DrillAct | DrillShow, actor: Actor
    ) -> Answer:
        if isinstance(request, FindExchanges):
            return await self._finding.find(request.ids)
        if isinstance(request, DrillAct):
            return await self._office.drill(request, None if actor.is_command else actor.name)
        if isinstance(request, DrillShow):
            return self._office.show_drills(request)
        if isinstance(request, RampAct):
            return await self._office.act(request, None if actor.is_command else actor.name)
        return await self._office.show(request)

    async def _once_or_money(self, request: Claim | SettleClaim | ShowBudgets | SetLimit) -> Answer:
        if isinstance(request, ShowBudgets | SetLimit):
            return await self._money.answer(request)
        if isinstance(request, Claim):
            return await self._claims.claim(request)
        return self._claims.settle(request)

    def _pong(self) -> Pong:
        table, workers = self._publisher.current, self._server.workers
        return Pong(
            pid=os.getpid(),
            table=0 if table is None else table.number,
            workers=len(workers),
            listen=workers[0].listen if workers else None,
            local=workers[0].local if workers else None,
            clients=self._server.clients,
            admin=self._options.admin,
        )

    def _reload(self) -> TableNumber:
        source = from_file(self._options.config)
        if source.loaded.store_path != self._layout.root:
            raise ControlError(
                f"store.path is now {source.loaded.store_path}, but this keeper works on {self._layout.root}; "
                "restart `weighbridge serve` to change it. The old route table stays."
            )
        published = self._publish(source) if self.decides else self._accepted(source)
        after, before = source.loaded.config.server, self._source.loaded.config.server
        if (after.listen, after.workers, after.admin_listen) != (before.listen, before.workers, before.admin_listen):
            log.warning("[server] was edited: listen, workers and admin_listen change with a restart only")
        for warning in published.warnings:
            log.warning("%s", warning)
        self._source, self._chores.loaded = source, source.loaded
        self._chores.retire_soon()  # keep_days may be shorter now, and somebody may be waiting for the room
        return TableNumber(number=published.table.number)

    def _accepted(self, source: Source) -> Published:
        """Another keeper publishes; the new configuration is for this one's own work, and for the day that it leads."""
        current = self._publisher.current
        if current is None:
            raise ControlError("no route table is there yet; say it again")
        source.remember(self._database)
        said = "another host leads: routes, arms, prices, budgets and keys change when the configuration is read there"
        return Published(table=current, changed=False, warnings=(said,), valid_until_ns=None)

    def _change_key(self, request: KeyChange) -> KeyRow:
        """Stored first, then published: what was answered holds after a crash, too."""
        now_ns, stored, config = self._clock.wall_ns(), self._database.client_keys.all(), self._source.loaded.config
        match request:
            case CreateKey():
                key = client_keys.create(stored, config, request, now_ns)
            case LimitKey():
                key = client_keys.limit(stored, request)
            case RotateKey():
                key = client_keys.rotate(stored, request, now_ns)
            case _:
                key = client_keys.revoke(stored, request, now_ns)
        self._database.client_keys.put(key)
        self._keys_changed = not self._options.for_command
        try:
            table = self._publish_keys()
        except WeighbridgeError as error:
            raise ControlError(
                f"the change is stored, but the workers do not know it yet (tried again): {error}"
            ) from None
        row = next(row for row in client_keys.listed((key,), config, now_ns) if row.name == key.name)
        return msgspec.structs.replace(row, table=table)

    def _publish_keys(self) -> int | None:
        """Let the workers know. The number of their table; `None` where there is nobody to tell."""
        published = self._publisher.publish_keys(self._source.loaded) if self._keys_changed else None
        self._keys_changed = False
        if published is None:
            return None
        self.tell_workers(published)
        ends = (self._until_ns, published.valid_until_ns)
        self._until_ns = min((until_ns for until_ns in ends if until_ns is not None), default=None)
        return published.table.number

    def _issue(self, request: IssueToken) -> TokenText:
        now_ns = self._clock.wall_ns()
        token = trial_token(self._publisher.current, request, now_ns)
        text = signed(token, self._chores.signing_key)
        self._database.note_token(now_ns, token.expires_ns, token.trial, token.route, token.arm, token.budget_nanousd)
        return TokenText(text=text)

    async def _sign(self, request: SignStatement) -> Signature:
        """Nothing but a statement in this store's name is signed, and not without its being stored."""
        try:
            made = msgspec.json.decode(request.body, type=Statement)
        except msgspec.MsgspecError as error:
            raise ControlError(f"not a licence statement, so it is not signed: {error}") from None
        if made.schema != STATEMENT_SCHEMA or made.store_key != self._chores.public_key:
            raise ControlError(
                f"a statement is signed with schema {STATEMENT_SCHEMA!r} and store_key {self._chores.public_key}, "
                f"not with {made.schema!r} and {made.store_key}"
            )
        stored = await self._chores.put(PutObject(kind="statement", label=request.label, body=request.body))
        signature = self._chores.signing_key.sign(SIGNED_AS + request.body)
        return Signature(signature=signature.hex(), digest=stored.digest)

    def _tell(self, request: TellAlert) -> Done:
        if request.alert not in BY_NAME:
            raise ControlError(f"{request.alert!r} is no alert; there are: {', '.join(BY_NAME)}")
        self._alerts.send(
            self.loaded, request.alert, request.subject, request.lines, state=request.state, labels=request.labels
        )
        return Done()

    def _stop(self) -> Done:
        if self._server.workers:
            raise ControlError(f"{len(self._server.workers)} workers are serving; stop `weighbridge serve` instead")
        asyncio.get_running_loop().call_soon(self.end)
        return Done()


# --- the process ------------------------------------------------------------------------------------------------------


async def _live(options: Options, parent: socket.socket | None, office: OfficeMaker) -> None:
    keeper = Keeper(options, SystemClock(), office)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, keeper.end)
    ready = await keeper.start()
    if parent is not None:
        _tell(parent, ready)
        loop.add_reader(parent, _watch, parent, keeper, options)
    await keeper.run()


def _watch(parent: socket.socket, keeper: Keeper, options: Options) -> None:
    if parent.recv(4096):
        return
    loop = asyncio.get_running_loop()
    loop.remove_reader(parent)
    if options.for_command:
        keeper.leaving = loop.create_task(keeper.end_when_alone())
    else:
        keeper.abandon()


def _tell(parent: socket.socket, start: Start) -> None:
    with contextlib.suppress(OSError):  # the parent died meanwhile; the end of the socket says so too
        parent.sendall(msgspec.json.encode(start) + b"\n")


def main(office: OfficeMaker, arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="weighbridge-keeper", description=__doc__)
    parser.add_argument("--config", default=DEFAULT_FILE)
    parser.add_argument("--resume", type=Path, metavar="STORE", help="go on with the configuration accepted last")
    parser.add_argument("--for-command", action="store_true", help="publish no route table")
    parser.add_argument("--client-keys", choices=("all", "present"), default="all")
    parser.add_argument("--admin", metavar="HOST:PORT", help="where the dashboard is, for commands that ask")
    parser.add_argument("--parent-fd", type=int, help="an inherited socket; the keeper ends when its other end does")
    parser.add_argument("--quiet", action="store_true", help="log warnings and errors only")
    parser.add_argument("--log-format", choices=("text", "json"), default="text")
    given = parser.parse_args(arguments)
    log_to_stderr(given.log_format, quiet=given.quiet)
    os.umask(0o077)  # everything in a store is its user's own
    parent = None if given.parent_fd is None else socket.socket(fileno=given.parent_fd)
    options = Options(given.config, given.resume, given.for_command, given.client_keys, given.admin)
    try:
        asyncio.run(_live(options, parent, office))
    except WeighbridgeError as error:
        if parent is None:
            log.error("%s", error)
        else:
            locked = isinstance(error, StoreLockedError)
            _tell(parent, Refused(message=str(error), exit_code=error.exit_code, locked=locked))
        return error.exit_code
    return ExitCode.DONE
