"""The tables of the ledger: windows of budgets, leases on them, how far the log is projected. Decides nothing.

- a *window* is one budget (or one user of it) over one span of time: its cap, and how much of that is out in leases
- a *lease* is what one worker may spend of one window. Closed ones are added up in their window; what each
  was charged stays known, so that the sum can be held against the log (`ledger.agreement`)
- `used_nanousd` of a window = the grants of its open leases + what closed ones spent. No grant lifts it over the cap
- ids come from one counter that starts anew, higher, after a restore: a lease of before a restore names no row
"""

from collections.abc import Iterable, Mapping

import msgspec

from weighbridge.errors import StoreError
from weighbridge.store.sql import Row, Sql

SCHEMA: tuple[str, ...] = (
    # 1
    """
    CREATE TABLE ledger_counter(name TEXT PRIMARY KEY, value INTEGER NOT NULL);
    INSERT INTO ledger_counter(name, value) VALUES ('id', 1), ('epoch', 1);
    CREATE TABLE ledger_note(name TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE budget_window(
        id INTEGER PRIMARY KEY,
        budget TEXT NOT NULL,
        subject TEXT NOT NULL,
        span TEXT NOT NULL,
        start_ns INTEGER NOT NULL,
        end_ns INTEGER,
        limit_nanousd INTEGER,
        used_nanousd INTEGER NOT NULL DEFAULT 0,
        posted_nanousd INTEGER NOT NULL DEFAULT 0,
        bound_nanousd INTEGER NOT NULL DEFAULT 0,
        requests INTEGER NOT NULL DEFAULT 0,
        orphans INTEGER NOT NULL DEFAULT 0,
        excess_nanousd INTEGER NOT NULL DEFAULT 0,
        alerted_percent INTEGER NOT NULL DEFAULT 0,
        UNIQUE(budget, subject, span, start_ns)
    );
    CREATE TABLE lease(
        id INTEGER PRIMARY KEY,
        window_id INTEGER NOT NULL REFERENCES budget_window(id),
        owner TEXT NOT NULL,
        site TEXT NOT NULL,
        granted_nanousd INTEGER NOT NULL,
        posted_nanousd INTEGER NOT NULL DEFAULT 0,
        bound_nanousd INTEGER NOT NULL DEFAULT 0,
        requests INTEGER NOT NULL DEFAULT 0,
        orphans INTEGER NOT NULL DEFAULT 0,
        excess_nanousd INTEGER NOT NULL DEFAULT 0,
        released_nanousd INTEGER
    );
    CREATE INDEX lease_owner ON lease(owner);
    CREATE INDEX lease_window ON lease(window_id);
    CREATE TABLE projected(
        site TEXT NOT NULL,
        owner TEXT NOT NULL,
        segment INTEGER NOT NULL,
        at_byte INTEGER NOT NULL,
        PRIMARY KEY(site, owner)
    );
    CREATE TABLE open_hold(
        exchange TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        site TEXT NOT NULL,
        time_ns INTEGER NOT NULL,
        held_nanousd INTEGER,
        posted_nanousd INTEGER NOT NULL,
        leases TEXT NOT NULL
    );
    CREATE INDEX open_hold_owner ON open_hold(owner);
    CREATE TABLE orphan(
        exchange TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        booked_nanousd INTEGER NOT NULL,
        resolved_ns INTEGER NOT NULL
    );
    """,
    # 2: what a window was charged for which lease stays known, so that it can be held against the log
    """
    CREATE TABLE closed_lease(
        id INTEGER PRIMARY KEY,
        window_id INTEGER NOT NULL REFERENCES budget_window(id),
        owner TEXT NOT NULL,
        site TEXT NOT NULL,
        posted_nanousd INTEGER NOT NULL,
        bound_nanousd INTEGER NOT NULL,
        requests INTEGER NOT NULL,
        orphans INTEGER NOT NULL,
        excess_nanousd INTEGER NOT NULL
    );
    CREATE TABLE charged_by_name(
        window_id INTEGER NOT NULL REFERENCES budget_window(id),
        owner TEXT NOT NULL,
        site TEXT NOT NULL,
        posted_nanousd INTEGER NOT NULL,
        bound_nanousd INTEGER NOT NULL,
        requests INTEGER NOT NULL,
        orphans INTEGER NOT NULL,
        excess_nanousd INTEGER NOT NULL,
        PRIMARY KEY(window_id, owner)
    );
    INSERT INTO closed_lease
        SELECT id, id, '', '', posted_nanousd, bound_nanousd, requests, orphans, excess_nanousd FROM budget_window
        WHERE posted_nanousd > 0 OR requests > 0;
    """,
)
"""Entry N brings schema N to N + 1, in one transaction with its number. Entries are only ever added."""

EPOCH_SHIFT = 40
"""Lease ids are `epoch << 40 | count`."""


class WindowRow(msgspec.Struct, frozen=True):
    id: int
    budget: str
    subject: str
    span: str
    start_ns: int
    end_ns: int | None
    limit_nanousd: int | None
    used_nanousd: int
    posted_nanousd: int
    """Of closed leases."""
    bound_nanousd: int
    requests: int
    orphans: int
    excess_nanousd: int
    alerted_percent: int


class LeaseRow(msgspec.Struct, frozen=True):
    id: int
    window_id: int
    owner: str
    site: str
    granted_nanousd: int
    posted_nanousd: int
    bound_nanousd: int
    """Of what was posted: booked at its upper bound, because nobody knows what it cost."""
    requests: int
    orphans: int
    excess_nanousd: int
    """What requests cost above what was held for them."""
    released_nanousd: int | None
    """What its worker said that it had spent, when it gave the lease back."""


class Sums(msgspec.Struct):
    """What a piece of the log adds to a lease or a window. Money in nano-dollars."""

    posted: int = 0
    bound: int = 0
    requests: int = 0
    orphans: int = 0
    excess: int = 0


class OpenHold(msgspec.Struct, frozen=True):
    """A request that had begun and not ended where the projection stands."""

    exchange: str
    owner: str
    site: str
    time_ns: int
    """When it began."""
    held_nanousd: int | None
    posted_nanousd: int
    """What its attempts were posted at so far."""
    leases: tuple[int | str, ...]


_WINDOW = ", ".join(WindowRow.__struct_fields__)
_LEASE = ", ".join(LeaseRow.__struct_fields__)


class LedgerStore:
    """The ledger's tables over either database. Only inside `sql.transaction()` do several calls belong together."""

    def __init__(self, sql: Sql) -> None:
        """Migrate to the newest schema. Raises `StoreError`."""
        self.sql = sql
        self._migrate()

    def _migrate(self) -> None:
        self.sql.run("CREATE TABLE IF NOT EXISTS ledger_schema(version INTEGER NOT NULL)")
        for number in range(len(SCHEMA) + 1):
            with self.sql.transaction():
                found = self.sql.run("SELECT version FROM ledger_schema")
                version = _int(found[0][0]) if found else 0
                if version > len(SCHEMA):
                    raise StoreError(
                        f"the ledger {self.sql.place} has schema {version}, this version knows {len(SCHEMA)}; it was "
                        "written by a newer weighbridge: use that one"
                    )
                if number != version or number == len(SCHEMA):
                    continue
                for statement in filter(str.strip, SCHEMA[number].split(";")):
                    self.sql.run(statement)
                if found:
                    self.sql.run("UPDATE ledger_schema SET version = ?", number + 1)
                else:
                    self.sql.run("INSERT INTO ledger_schema(version) VALUES (?)", number + 1)

    # --- ids and notes ------------------------------------------------------------------------------------------------

    def next_id(self) -> int:
        count = self.sql.run("UPDATE ledger_counter SET value = value + 1 WHERE name = 'id' RETURNING value")
        return self.epoch() << EPOCH_SHIFT | _int(count[0][0])

    def epoch(self) -> int:
        return _int(self.sql.run("SELECT value FROM ledger_counter WHERE name = 'epoch'")[0][0])

    def begin_epoch(self, epoch: int) -> None:
        """After a restore: every lease that is out is void, and ids are given anew."""
        self.sql.run("UPDATE ledger_counter SET value = ? WHERE name = 'epoch' AND value < ?", epoch, epoch)

    def note(self, name: str) -> str | None:
        found = self.sql.run("SELECT value FROM ledger_note WHERE name = ?", name)
        return str(found[0][0]) if found else None

    def set_note(self, name: str, value: str) -> None:
        self.sql.run(
            "INSERT INTO ledger_note(name, value) VALUES (?, ?) "
            "ON CONFLICT(name) DO UPDATE SET value = excluded.value",
            name, value,
        )  # fmt: skip

    # --- windows ------------------------------------------------------------------------------------------------------

    def latest_window(self, budget: str, subject: str, span: str) -> WindowRow | None:
        """The newest window of an account."""
        found = self.sql.run(
            f"SELECT {_WINDOW} FROM budget_window WHERE budget = ? AND subject = ? AND span = ? "  # noqa: S608 (names of ours)
            "ORDER BY start_ns DESC LIMIT 1",
            budget, subject, span,
        )  # fmt: skip
        return _window(found[0]) if found else None

    def window_at(self, budget: str, subject: str, span: str, start_ns: int) -> WindowRow | None:
        found = self.sql.run(
            f"SELECT {_WINDOW} FROM budget_window "  # noqa: S608 (names of ours)
            "WHERE budget = ? AND subject = ? AND span = ? AND start_ns = ?",
            budget, subject, span, start_ns,
        )  # fmt: skip
        return _window(found[0]) if found else None

    def open_window(
        self, budget: str, subject: str, span: str, start_ns: int, end_ns: int | None, limit_nanousd: int | None
    ) -> None:
        """Nothing happens where somebody else opened the same one first."""
        self.sql.run(
            "INSERT INTO budget_window(id, budget, subject, span, start_ns, end_ns, limit_nanousd) "
            "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            self.next_id(), budget, subject, span, start_ns, end_ns, limit_nanousd,
        )  # fmt: skip

    def windows(self, at_ns: int | None = None) -> list[WindowRow]:
        """All windows, or those that are open at a moment, by budget and subject."""
        where = "" if at_ns is None else "WHERE end_ns IS NULL OR end_ns > ? "
        values = () if at_ns is None else (at_ns,)
        found = self.sql.run(
            f"SELECT {_WINDOW} FROM budget_window {where}ORDER BY budget, subject, start_ns",  # noqa: S608 (names of ours)
            *values,
        )
        return [_window(row) for row in found]

    def set_limit(self, window: int, limit_nanousd: int | None) -> None:
        self.sql.run("UPDATE budget_window SET limit_nanousd = ? WHERE id = ?", limit_nanousd, window)

    def add_used(self, window: int, nanousd: int) -> None:
        self.sql.run("UPDATE budget_window SET used_nanousd = used_nanousd + ? WHERE id = ?", nanousd, window)

    def post_window(self, window: int, owner: str, site: str, sums: "Sums") -> None:
        """Spending without a lease: it is used as well as posted."""
        self.sql.run(
            "INSERT INTO charged_by_name(window_id, owner, site, posted_nanousd, bound_nanousd, requests, orphans, "
            "excess_nanousd) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(window_id, owner) DO UPDATE SET "
            "posted_nanousd = charged_by_name.posted_nanousd + excluded.posted_nanousd, "
            "bound_nanousd = charged_by_name.bound_nanousd + excluded.bound_nanousd, "
            "requests = charged_by_name.requests + excluded.requests, "
            "orphans = charged_by_name.orphans + excluded.orphans, "
            "excess_nanousd = charged_by_name.excess_nanousd + excluded.excess_nanousd",
            window, owner, site, sums.posted, sums.bound, sums.requests, sums.orphans, sums.excess,
        )  # fmt: skip
        self.sql.run(
            "UPDATE budget_window SET used_nanousd = used_nanousd + ?, posted_nanousd = posted_nanousd + ?, "
            "bound_nanousd = bound_nanousd + ?, requests = requests + ?, orphans = orphans + ?, "
            "excess_nanousd = excess_nanousd + ? WHERE id = ?",
            sums.posted, sums.posted, sums.bound, sums.requests, sums.orphans, sums.excess, window,
        )  # fmt: skip

    def set_alerted(self, window: int, percent: int) -> bool:
        """False where this threshold, or a higher one, was reported before."""
        return bool(
            self.sql.run(
                "UPDATE budget_window SET alerted_percent = ? WHERE id = ? AND alerted_percent < ? RETURNING id",
                percent, window, percent,
            )
        )  # fmt: skip

    # --- leases -------------------------------------------------------------------------------------------------------

    def lease_of(self, window: int, owner: str) -> LeaseRow | None:
        """The lease that a worker has of a window; one that it gave back is never given again."""
        found = self.sql.run(
            f"SELECT {_LEASE} FROM lease WHERE window_id = ? AND owner = ? AND released_nanousd IS NULL",  # noqa: S608 (names of ours)
            window, owner,
        )  # fmt: skip
        return _lease(found[0]) if found else None

    def lease(self, identity: int) -> LeaseRow | None:
        found = self.sql.run(f"SELECT {_LEASE} FROM lease WHERE id = ?", identity)  # noqa: S608 (names of ours)
        return _lease(found[0]) if found else None

    def new_lease(self, window: int, owner: str, site: str) -> int:
        identity = self.next_id()
        self.sql.run(
            "INSERT INTO lease(id, window_id, owner, site, granted_nanousd) VALUES (?, ?, ?, ?, 0)",
            identity, window, owner, site,
        )  # fmt: skip
        return identity

    def add_granted(self, lease: int, nanousd: int) -> None:
        self.sql.run("UPDATE lease SET granted_nanousd = granted_nanousd + ? WHERE id = ?", nanousd, lease)

    def set_released(self, lease: int, spent_nanousd: int) -> None:
        self.sql.run("UPDATE lease SET released_nanousd = ? WHERE id = ?", spent_nanousd, lease)

    def leases_on(self, windows: tuple[int, ...], *, but: str) -> list[LeaseRow]:
        """Leases of other workers that are still out on any of these windows."""
        found: list[LeaseRow] = []
        for window in windows:
            rows = self.sql.run(
                f"SELECT {_LEASE} FROM lease WHERE window_id = ? AND owner <> ? "  # noqa: S608 (names of ours)
                "AND released_nanousd IS NULL ORDER BY id",
                window, but,
            )  # fmt: skip
            found += [_lease(row) for row in rows]
        return found

    def leases_in(self, window: int) -> list[LeaseRow]:
        found = self.sql.run(f"SELECT {_LEASE} FROM lease WHERE window_id = ? ORDER BY id", window)  # noqa: S608 (names of ours)
        return [_lease(row) for row in found]

    def owners_on(self, window: int) -> int:
        return _int(
            self.sql.run("SELECT count(*) FROM lease WHERE window_id = ? AND released_nanousd IS NULL", window)[0][0]
        )

    def window(self, identity: int) -> WindowRow | None:
        found = self.sql.run(f"SELECT {_WINDOW} FROM budget_window WHERE id = ?", identity)  # noqa: S608 (names of ours)
        return _window(found[0]) if found else None

    def leases_of(self, owner: str) -> list[LeaseRow]:
        found = self.sql.run(f"SELECT {_LEASE} FROM lease WHERE owner = ? ORDER BY id", owner)  # noqa: S608 (names of ours)
        return [_lease(row) for row in found]

    def leases(self) -> list[LeaseRow]:
        return [_lease(row) for row in self.sql.run(f"SELECT {_LEASE} FROM lease ORDER BY id")]  # noqa: S608 (names of ours)

    def lease_owners(self, site: str) -> set[str]:
        return {str(row[0]) for row in self.sql.run("SELECT DISTINCT owner FROM lease WHERE site = ?", site)}

    def owners(self, site: str) -> set[str]:
        """Workers of a site that have leases, or requests that were open where the projection stands."""
        found = self.sql.run(
            "SELECT owner FROM lease WHERE site = ? UNION SELECT owner FROM open_hold WHERE site = ?", site, site
        )
        return {str(row[0]) for row in found}

    def post(self, charges: Mapping[int, "Sums"]) -> None:
        """Add what the log says to leases, by id; one that is not there (any more) is charged nothing."""
        self.sql.run_many(
            "UPDATE lease SET posted_nanousd = posted_nanousd + ?, bound_nanousd = bound_nanousd + ?, "
            "requests = requests + ?, orphans = orphans + ?, excess_nanousd = excess_nanousd + ? WHERE id = ?",
            [
                (sums.posted, sums.bound, sums.requests, sums.orphans, sums.excess, lease)
                for lease, sums in charges.items()
            ],
        )

    def leases_read(self, owner: str) -> list[LeaseRow]:
        """Leases that a worker gave back, and whose spending the projection has seen all of."""
        found = self.sql.run(
            f"SELECT {_LEASE} FROM lease WHERE owner = ? AND released_nanousd = posted_nanousd ORDER BY id",  # noqa: S608 (names of ours)
            owner,
        )
        return [_lease(row) for row in found]

    def close_lease(self, row: LeaseRow) -> None:
        """Everything of its worker is read: what was spent stays used, the rest is free again."""
        self.sql.run(
            "INSERT INTO closed_lease(id, window_id, owner, site, posted_nanousd, bound_nanousd, requests, orphans, "
            "excess_nanousd) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            row.id, row.window_id, row.owner, row.site, row.posted_nanousd, row.bound_nanousd, row.requests,
            row.orphans, row.excess_nanousd,
        )  # fmt: skip
        self.sql.run(
            "UPDATE budget_window SET used_nanousd = used_nanousd + ?, posted_nanousd = posted_nanousd + ?, "
            "bound_nanousd = bound_nanousd + ?, requests = requests + ?, orphans = orphans + ?, "
            "excess_nanousd = excess_nanousd + ? WHERE id = ?",
            row.posted_nanousd - row.granted_nanousd, row.posted_nanousd, row.bound_nanousd, row.requests, row.orphans,
            row.excess_nanousd, row.window_id,
        )  # fmt: skip
        self.sql.run("DELETE FROM lease WHERE id = ?", row.id)

    def is_used(self) -> bool:
        """Whether there is anything that a projection could be about."""
        return bool(self.sql.run("SELECT 1 FROM budget_window LIMIT 1"))

    # --- projection ---------------------------------------------------------------------------------------------------

    def projected(self, site: str) -> dict[str, tuple[int, int]]:
        """How far the log of each worker is read: segment number and byte."""
        found = self.sql.run("SELECT owner, segment, at_byte FROM projected WHERE site = ?", site)
        return {str(owner): (_int(segment), _int(at)) for owner, segment, at in found}

    def set_projected(self, site: str, owner: str, segment: int, at: int) -> None:
        self.sql.run(
            "INSERT INTO projected(site, owner, segment, at_byte) VALUES (?, ?, ?, ?) "
            "ON CONFLICT(site, owner) DO UPDATE SET segment = excluded.segment, at_byte = excluded.at_byte",
            site, owner, segment, at,
        )  # fmt: skip

    def open_holds(self, owner: str) -> list[OpenHold]:
        found = self.sql.run(
            "SELECT exchange, owner, site, time_ns, held_nanousd, posted_nanousd, leases "
            "FROM open_hold WHERE owner = ? ORDER BY exchange",
            owner,
        )
        return [
            OpenHold(
                str(row[0]), str(row[1]), str(row[2]), _int(row[3]), None if row[4] is None else _int(row[4]),
                _int(row[5]), msgspec.json.decode(str(row[6]), type=tuple[int | str, ...]),
            )
            for row in found
        ]  # fmt: skip

    def put_open_holds(self, holds: Iterable[OpenHold]) -> None:
        self.sql.run_many(
            "INSERT INTO open_hold(exchange, owner, site, time_ns, held_nanousd, posted_nanousd, leases) "
            "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT(exchange) DO UPDATE SET "
            "held_nanousd = excluded.held_nanousd, posted_nanousd = excluded.posted_nanousd",
            [
                (hold.exchange, hold.owner, hold.site, hold.time_ns, hold.held_nanousd, hold.posted_nanousd,
                 msgspec.json.encode(hold.leases).decode())
                for hold in holds
            ],
        )  # fmt: skip

    def drop_open_holds(self, exchanges: Iterable[str]) -> None:
        self.sql.run_many("DELETE FROM open_hold WHERE exchange = ?", [(exchange,) for exchange in exchanges])

    def put_orphans(self, owner: str, booked_nanousd: Mapping[str, int], now_ns: int) -> None:
        """By exchange."""
        self.sql.run_many(
            "INSERT INTO orphan(exchange, owner, booked_nanousd, resolved_ns) VALUES (?, ?, ?, ?) "
            "ON CONFLICT DO NOTHING",
            [(exchange, owner, booked, now_ns) for exchange, booked in booked_nanousd.items()],
        )

    def orphans(self) -> dict[str, int]:
        """What each request whose worker died was booked at, its upper bound."""
        return {str(row[0]): _int(row[1]) for row in self.sql.run("SELECT exchange, booked_nanousd FROM orphan")}

    def close(self) -> None:
        self.sql.close()


def _int(value: object) -> int:
    if not isinstance(value, int):
        raise StoreError(f"the ledger holds {value!r} where a number must be")
    return value


def _window(row: Row) -> WindowRow:
    return msgspec.convert(dict(zip(WindowRow.__struct_fields__, row, strict=True)), WindowRow)


def _lease(row: Row) -> LeaseRow:
    return msgspec.convert(dict(zip(LeaseRow.__struct_fields__, row, strict=True)), LeaseRow)
