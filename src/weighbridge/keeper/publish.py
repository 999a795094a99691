"""Publishing route tables: a number by compare-and-swap, then the files that workers read."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from weighbridge import __version__
from weighbridge.clock import Clock
from weighbridge.config import Loaded, secret
from weighbridge.config.tree import ArmSection, EndpointSection
from weighbridge.errors import StoreError
from weighbridge.exchanges.chain import Chain
from weighbridge.keeper.client_keys import for_table
from weighbridge.keeper.compile import ClientKeys, Compiled, World, compile_table, compiled_budget
from weighbridge.keeper.ramps import Ramps, at_incumbent, read_overrides, with_ramps
from weighbridge.keeper.usual import remembered_usual
from weighbridge.ledger.limits import LimitChange, in_force, newest_changes, with_limits
from weighbridge.ledger.prices import PriceAnswer, PriceFound, Terms, book_version, compile_schedule
from weighbridge.ledger.stored import terms_of
from weighbridge.records.canonical import canonical, digest, parse
from weighbridge.records.drill import DrillInForce
from weighbridge.records.ramp import RampState
from weighbridge.records.table import SCHEMA, RouteTable
from weighbridge.store.database import Database
from weighbridge.store.files import write_durably
from weighbridge.store.layout import Layout
from weighbridge.store.ramps import RampChange

_ANSWER: msgspec.json.Decoder[PriceAnswer] = msgspec.json.Decoder(PriceAnswer)


class Published(msgspec.Struct, frozen=True, kw_only=True):
    table: RouteTable
    changed: bool
    """False where the configuration compiled to what is already published."""
    warnings: tuple[str, ...]
    valid_until_ns: int | None


class Publisher:
    """Owns the numbers. `current` is the table that workers read, `None` before the first."""

    def __init__(self, layout: Layout, database: Database, clock: Clock, trial_key: str) -> None:
        self._layout, self._database, self._clock, self._trial_key = layout, database, clock, trial_key
        self._chain = Chain(layout)
        self._limits: tuple[int, dict[str, LimitChange]] | None = None
        """Line of the chain -> what it had; read again when there is another line."""
        self.current: RouteTable | None = None
        self.drills: Mapping[str, DrillInForce] = {}
        """By route; every table that is compiled carries them."""
        self.floor = 0
        """The highest number that any gateway of a shared database has had."""
        self._restore()

    def _restore(self) -> None:
        """After a crash between the number and the file, the file catches up with the number."""
        stored = self._database.last_table()
        on_disk = _read(self._layout.table)
        if stored is not None and (on_disk is None or on_disk.number < stored[0]):
            table = _parsed(stored[1])
            if table is not None:
                table = msgspec.structs.replace(table, trial_key=self._trial_key)  # it may be another store's
                self._write(canonical(table))
                self.current = table
                return
        self.current = on_disk or _read(self._layout.table_last_good)

    def publish(self, loaded: Loaded, client_keys: ClientKeys = "all") -> Published:
        """Compile and publish; the same content keeps its number. An error changes nothing."""
        now_ns = self._clock.wall_ns()
        highest = self._highest_in_database()
        compiled = self._compile(loaded, self._next(highest), now_ns, client_keys)
        return self._publish(compiled, highest, loaded.file)

    def publish_ramp(self, change: RampChange, ramps: Ramps, loaded: Loaded) -> Published:
        """The current table with the shares of `ramps`, in one transaction with the change that allows them.

        Nothing else is compiled: going back must be possible also while the configuration or a secret is broken. Raises
        `StoreError` where the database cannot, or somebody else was first.
        """
        current = self.current
        if current is None:
            raise StoreError("no route table is published yet, so no share can be; start `weighbridge serve`")
        highest, now_ns = self._highest_in_database(), self._clock.wall_ns()
        table = with_ramps(current, ramps, read_overrides(self._layout), loaded)
        table = msgspec.structs.replace(table, number=self._next(highest), created_ns=now_ns)
        compiled = Compiled(table=table, warnings=(), valid_until_ns=None)
        if _same_content(current, table):
            self.swap_ramp(change)
            return _published(current, compiled, changed=False)
        return self._publish(compiled, highest, "in force", change)

    def swap_ramp(self, change: RampChange) -> None:
        """A ramp changes and no share with it. Raises `StoreError`."""
        current = self.current
        if not self._database.swap_ramp(change, 0 if current is None else current.number):
            raise StoreError(f"the ramp of {change.route} was changed by somebody else meanwhile; look at it again")

    def publish_drills(self, drills: Mapping[str, DrillInForce]) -> Published:
        """The current table with these drills and no others. Raises `StoreError`."""
        current = self.current
        if current is None:
            raise StoreError("no route table is published yet, so there is nothing to drill; start `weighbridge serve`")
        highest = self._highest_in_database()
        table = msgspec.structs.replace(
            with_drills(current, drills), number=self._next(highest), created_ns=self._clock.wall_ns()
        )
        self.drills = dict(drills)
        return self._publish(Compiled(table=table, warnings=(), valid_until_ns=None), highest, "in force")

    def publish_override(self, routes: frozenset[str]) -> Published:
        """The current table with these routes at their incumbents: files alone, where the database is out of reach."""
        current = self.current
        if current is None:
            raise StoreError("no route table is published, so everything is at its incumbent")
        table = msgspec.structs.replace(
            current,
            number=self._next(0),
            created_ns=self._clock.wall_ns(),
            routes=tuple(at_incumbent(route) if route.name in routes else route for route in current.routes),
        )
        if _same_content(current, table):
            return Published(table=current, changed=False, warnings=(), valid_until_ns=None)
        self._write(canonical(table))
        self.current = table
        return Published(table=table, changed=True, warnings=(), valid_until_ns=None)

    def _next(self, highest: int) -> int:
        known = (self.current, *self._on_disk())
        return 1 + max(highest, self.floor, *(0 if table is None else table.number for table in known))

    def highest(self) -> int:
        """The highest number that this store has had."""
        known = (self.current, *self._on_disk())
        return max(self._highest_in_database(), *(0 if table is None else table.number for table in known))

    def readable(self, body: bytes, number: int) -> RouteTable:
        """A table that another keeper published. Raises `StoreError` where this version cannot serve it."""
        table = _parsed(body)
        if table is None or table.schema != SCHEMA or table.number != number:
            raise StoreError(
                f"route table {number} of the shared database cannot be read by this version; run the same version of "
                "weighbridge on every host. The old table stays"
            )
        return table

    def take_over(self, table: RouteTable) -> Published:
        """Another keeper's table under its own number; what is this store's own stays: trial tokens are signed with
        its key, and a route that somebody holds at its incumbent here is held.
        """
        held = read_overrides(self._layout)
        own = msgspec.structs.replace(
            table,
            trial_key=self._trial_key,
            routes=tuple(at_incumbent(route) if route.name in held else route for route in table.routes),
        )
        self._write(canonical(own))
        self.current = own
        return Published(table=own, changed=True, warnings=(), valid_until_ns=None)

    def renumber(self) -> Published:
        """The current table under a number that nobody has had. Raises `StoreError`."""
        current = self.current
        if current is None:
            raise StoreError("no route table is published yet")
        highest = self._highest_in_database()
        table = msgspec.structs.replace(current, number=self._next(highest), created_ns=self._clock.wall_ns())
        if not self._database.publish(highest, table.number, canonical(table), table.created_ns):
            raise StoreError(f"route table {table.number} was published by somebody else meanwhile")
        self._write(canonical(table))
        self.current = table
        return Published(table=table, changed=True, warnings=(), valid_until_ns=None)

    def publish_keys(self, loaded: Loaded) -> Published | None:
        """The current table with the keys of `key create` as they are now; `None` before the first table.

        Nothing else is compiled: a key must be taken back also while the configuration or a secret of it is broken.
        """
        current = self.current
        if current is None:
            return None
        now_ns = self._clock.wall_ns()
        made = for_table(self._database.client_keys.all(), loaded.config, now_ns)
        configured = {row.name for row in loaded.config.key}
        highest = self._highest_in_database()
        table = msgspec.structs.replace(
            current,
            number=self._next(highest),
            created_ns=now_ns,
            keys=(*(key for key in current.keys if key.name in configured), *made.rows),
        )
        compiled = Compiled(table=table, warnings=made.warnings, valid_until_ns=made.until_ns)
        return self._publish(compiled, highest, loaded.file)

    def limits(self, loaded: Loaded) -> dict[str, LimitChange]:
        """Limits of budgets that were changed over the configuration. Raises `StoreError`."""
        snapshot = self._chain.snapshot()
        if self._limits is None or self._limits[0] != snapshot.seq:
            self._limits = snapshot.seq, newest_changes(self._layout, snapshot)
        return in_force(loaded.config, self._limits[1])

    def publish_limits(self, loaded: Loaded) -> Published | None:
        """The current table with budgets as they are now; `None` before the first table. Nothing else is compiled."""
        current = self.current
        if current is None:
            return None
        budgets = with_limits(tuple(map(compiled_budget, loaded.config.budget)), self.limits(loaded))
        highest = self._highest_in_database()
        table = msgspec.structs.replace(
            current, number=self._next(highest), created_ns=self._clock.wall_ns(), budgets=budgets
        )
        return self._publish(Compiled(table=table, warnings=(), valid_until_ns=None), highest, loaded.file)

    def _publish(self, compiled: Compiled, highest: int, file: str, ramp: RampChange | None = None) -> Published:
        current, number = self.current, compiled.table.number
        if current is not None and _same_content(current, compiled.table):
            if _read(self._layout.table) != current:
                self._write(canonical(current))
            return _published(current, compiled, changed=False)
        body = canonical(compiled.table)
        if _parsed(body) != compiled.table:
            # Workers would refuse it, and a number that is given out is never taken back.
            raise StoreError(
                f"the configuration {file} compiles to a route table that cannot be read back, so it is not "
                "published and the old one stays. This is a defect of weighbridge: please report it with the "
                "configuration (it holds no secrets)."
            )
        if not self._database.publish(highest, number, body, compiled.table.created_ns, ramp):
            raise StoreError(f"route table {number} was published by somebody else meanwhile; say it again")
        self._write(body)
        self.current = compiled.table
        return _published(compiled.table, compiled, changed=True)

    def _compile(self, loaded: Loaded, number: int, now_ns: int, client_keys: ClientKeys) -> Compiled:
        terms = terms_of(loaded, self._layout)
        world = World(
            secret=lambda reference: secret(reference, loaded.folder),
            text=lambda path: loaded.path(path).read_text(encoding="utf-8"),
            price=lambda arm, endpoint: self._price(arm, endpoint, now_ns, terms),
        )
        made = for_table(self._database.client_keys.all(), loaded.config, now_ns)
        compiled = compile_table(
            loaded,
            number=number,
            now_ns=now_ns,
            trial_key=self._trial_key,
            world=world,
            client_keys=client_keys,
            made_keys=made.rows,
            ramps={row.route: (parse(row.body, RampState), row.digest) for row in self._database.ramps.all()},
            overrides=read_overrides(self._layout),
            usual=remembered_usual(self._database).routes,
            limits=self.limits(loaded),
        )
        compiled = msgspec.structs.replace(compiled, table=with_drills(compiled.table, self.drills))
        ends = [until_ns for until_ns in (compiled.valid_until_ns, made.until_ns) if until_ns is not None]
        return msgspec.structs.replace(
            compiled, warnings=(*compiled.warnings, *made.warnings), valid_until_ns=min(ends, default=None)
        )

    def _price(self, arm: ArmSection, endpoint: EndpointSection, now_ns: int, terms: Terms) -> PriceAnswer:
        """Like `compile_schedule`, remembered in the database: loading the price book would double the start."""
        at = datetime.fromtimestamp(now_ns // 1_000_000_000, UTC)
        if arm.price is not None:
            return compile_schedule(arm, endpoint, at, terms)
        asked = msgspec.json.encode(
            (__version__, book_version(), endpoint.provider, endpoint.base_url, arm.model, digest(canonical(terms)))
        ).decode()
        remembered = self._database.price_memo(asked, now_ns)
        if remembered is not None:
            return _ANSWER.decode(remembered)
        answer = compile_schedule(arm, endpoint, at, terms)
        if isinstance(answer, PriceFound):
            self._database.remember_price(asked, answer.until_ns, msgspec.json.encode(answer))
        return answer

    def _highest_in_database(self) -> int:
        stored = self._database.last_table()
        return 0 if stored is None else stored[0]

    def _on_disk(self) -> tuple[RouteTable | None, RouteTable | None]:
        # If the database was lost, the files still know how far the numbers went: workers never go back.
        return _read(self._layout.table), _read(self._layout.table_last_good)

    def _write(self, body: bytes) -> None:
        current, last_good = self._layout.table, self._layout.table_last_good
        try:
            if _read(current) is not None:
                write_durably(last_good, current.read_bytes())
            write_durably(current, body)
            if not last_good.exists():
                write_durably(last_good, body)
        except OSError as error:
            raise StoreError(f"the route table cannot be written to {current}: {error.strerror}") from None


def _published(table: RouteTable, compiled: Compiled, *, changed: bool) -> Published:
    return Published(table=table, changed=changed, warnings=compiled.warnings, valid_until_ns=compiled.valid_until_ns)


def with_drills(table: RouteTable, drills: Mapping[str, DrillInForce]) -> RouteTable:
    """The table with these drills, as far as it knows their arms, and no others."""
    arms = {arm.name for arm in table.arms}
    routes = tuple(
        msgspec.structs.replace(route, drill=drill if drill is not None and drill.arm in arms else None)
        for route in table.routes
        for drill in (drills.get(route.name),)
    )
    return msgspec.structs.replace(table, routes=routes)


def _same_content(left: RouteTable, right: RouteTable) -> bool:
    return left == msgspec.structs.replace(right, number=left.number, created_ns=left.created_ns)


def _read(path: Path) -> RouteTable | None:
    try:
        return _parsed(path.read_bytes())
    except OSError:
        return None


def _parsed(body: bytes) -> RouteTable | None:
    try:
        return parse(body, RouteTable)
    except ValueError:
        return None
