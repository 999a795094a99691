"""The newest ramp of each route: its state's exact bytes, swapped by revision, and how long its stage has lasted."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import apsw
import msgspec

Told = Callable[[str], AbstractContextManager[None]]

MIGRATION = """
    CREATE TABLE ramp(
        route TEXT PRIMARY KEY,
        revision INTEGER NOT NULL,
        digest TEXT NOT NULL,
        body BLOB NOT NULL,
        table_from INTEGER NOT NULL,
        held_s REAL NOT NULL
    ) STRICT, WITHOUT ROWID;
"""


class StoredRamp(msgspec.Struct, frozen=True, kw_only=True):
    route: str
    revision: int
    digest: str
    """Of the object in the signed log that is this state."""
    body: bytes
    table_from: int
    """The first route table of the stage whose share stands: what was routed before it does not count."""
    held_s: float
    """How long that stage has lasted, by a monotonic clock while a keeper ran."""


class RampChange(msgspec.Struct, frozen=True, kw_only=True):
    """Revision `after` becomes `after + 1`. `restarts`: another stage's share stands from now on."""

    route: str
    after: int
    digest: str
    body: bytes
    restarts: bool


class RampTable:
    def __init__(self, db: apsw.Connection, told: Told) -> None:
        self._db, self._told = db, told

    def all(self) -> tuple[StoredRamp, ...]:
        with self._told("read"):
            rows = self._db.execute(
                "SELECT route, revision, digest, body, table_from, held_s FROM ramp ORDER BY route"
            ).fetchall()
        return tuple(
            msgspec.convert(dict(zip(StoredRamp.__struct_fields__, row, strict=True)), StoredRamp) for row in rows
        )

    def swap(self, change: RampChange, table: int) -> bool:
        """Within a transaction of the caller. False where somebody else was first; then nothing may be kept."""
        if change.after == 0:
            self._db.execute(
                "INSERT INTO ramp VALUES (?, 1, ?, ?, ?, 0.0) ON CONFLICT DO NOTHING",
                (change.route, change.digest, change.body, table),
            )
        else:
            self._db.execute(
                "UPDATE ramp SET revision = revision + 1, digest = ?, body = ?, "
                "table_from = iif(?, ?, table_from), held_s = iif(?, 0.0, held_s) WHERE route = ? AND revision = ?",
                (
                    change.digest, change.body, change.restarts, table, change.restarts, change.route, change.after,
                ),
            )  # fmt: skip
        return self._db.changes() == 1

    def replace(self, rows: tuple[StoredRamp, ...]) -> None:
        """These and no others, within a transaction of the caller. A stage that lasted longer here stays so."""
        held = {(row.route, row.revision): row.held_s for row in self.all()}
        self._db.execute("DELETE FROM ramp")
        self._db.executemany(
            "INSERT INTO ramp(route, revision, digest, body, table_from, held_s) VALUES (?, ?, ?, ?, ?, ?)",
            [
                (
                    row.route, row.revision, row.digest, row.body, row.table_from,
                    max(row.held_s, held.get((row.route, row.revision), 0.0)),
                )
                for row in rows
            ],
        )  # fmt: skip

    def note_held(self, route: str, revision: int, held_s: float) -> None:
        """Only ever more: a keeper that was replaced cannot make a stage younger or older than it is."""
        with self._told("written"), self._db:
            self._db.execute(
                "UPDATE ramp SET held_s = max(held_s, ?) WHERE route = ? AND revision = ?", (held_s, route, revision)
            )
