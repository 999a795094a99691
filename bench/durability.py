"""The long forms of the promises about money and disks, with the figures that they came to.

    scripts/bench durability             some twenty minutes on two cores
    scripts/bench durability --short     a few of each
    scripts/bench durability --write     also docs/evidence/durability.md
    scripts/bench durability --write --only kills    one row of that page anew

Each row is a test of the default run, with more seeds, kills or bytes: a row is written only if it held to the end.
"""

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import apsw
import msgspec

from tests.exchanges.test_archive import flips as archive_flips
from tests.exchanges.test_verify import flips as store_flips
from tests.faults.test_ledger_full import every_statement_fails
from tests.faults.test_ledger_kill import survives
from tests.faults.test_log_full import every_call_fails
from tests.faults.test_log_power import cut_once
from tests.ledger.test_balance import simulated
from tests.store.test_checked import flips as ledger_flips
from tests.store.test_checked import ledger
from tests.store.test_upgrades import brought_up
from weighbridge.exchanges import syncer, writer
from weighbridge.ledger import projection
from weighbridge.store import checked
from weighbridge.store.database import MIGRATIONS, Database
from weighbridge.store.ledger import LedgerStore
from weighbridge.store.sql import SqliteSql

EVIDENCE = Path(__file__).resolve().parent.parent / "docs" / "evidence" / "durability.md"
SQLITE_ROWS = 1_000_000


class Row(msgspec.Struct, frozen=True):
    promise: str
    what: str
    figure: str


def books(folder: Path, short: bool) -> Row:
    worlds = [simulated(1_000 + seed, 20_000) for seed in range(2 if short else 50)]
    operations = sum(world.operations for world in worlds)
    funded, refused = sum(world.funded for world in worlds), sum(world.refused for world in worlds)
    return Row(
        "1", "books balance, after random operations, messages lost and late, workers that die, windows that end",
        f"{operations:,} operations, {funded:,} requests let in, {refused:,} refused: 0 violations",
    )  # fmt: skip


def kills(folder: Path, short: bool) -> Row:
    runs = [survives(folder / f"{seed}", 9 if short else 49, seed) for seed in range(1 if short else 4)]
    return Row(
        "5, 6", "`kill -9` of worker, keeper and supervisor under load and hard budgets",
        f"{sum(run.kills for run in runs)} kills, {sum(run.requests for run in runs):,} requests: 0 rows lost; "
        f"{sum(run.orphans for run in runs)} orphans booked at their upper bound, the last ones "
        f"{max(run.resolved_s for run in runs):.1f} s after the kill; ledger = log to the nano-dollar",
    )  # fmt: skip


def changed_bytes(folder: Path, short: bool) -> Row:
    checked._WAIT_S = 0.0  # nobody writes here
    count = 60 if short else 1_000
    for name in ("log", "ledger", "backup"):
        (folder / name).mkdir()
    store_flips(folder / "log", count, seed=2)
    ledger(folder / "ledger" / "ledger.db", windows=3_000).close()
    ledger_flips(folder / "ledger" / "ledger.db", count, seed=3)
    archive_flips(folder / "backup", count, seed=4)
    return Row(
        "12", "one changed byte of the log and its keys, of the ledger's database, of a backup",
        f"{count:,} / {count:,}, {count:,} / {count:,} and {count:,} / {count:,} found; untouched they verify",
    )  # fmt: skip


def failing_calls(folder: Path, short: bool) -> Row:
    syncer.PROBE_S = 0.002
    writer.SYNC_S["power"] = 0.0
    lives = 0
    for fault in ("ENOSPC", "EIO", "short"):
        for times in (1,) if short else (1, 3):
            lives += every_call_fails(folder / f"{fault}{times}", fault, times)
    projection.FRAMES_PER_BATCH = 3
    statements, again = every_statement_fails(folder / "ledger", 10 if short else 1)
    return Row(
        "13", "each call to the disk fails once, or three times running; each statement of the ledger fails once",
        f"{lives:,} lives of a log, {statements:,} of a ledger ({again:,} steps done again): all acknowledged rows are "
        "there, everything verifies, no restart",
    )  # fmt: skip


def power(folder: Path, short: bool) -> Row:
    writer.SYNC_S["power"] = 0.001
    cuts = [cut_once(folder / f"{seed}", seed) for seed in range(100, 108 if short else 200)]
    return Row(
        "14", 'power cuts, `durability = "power"`, through a disk that forgets what was not synced',
        f"{len(cuts)} cuts, {sum(rows for rows, _ in cuts):,} acknowledged rows, {sum(lost for _, lost in cuts):,} "
        "sectors lost: 0 acknowledged rows lost",
    )  # fmt: skip


def upgrades(folder: Path, short: bool) -> Row:
    killed = 0
    for version in range(1, len(MIGRATIONS) + 1):
        (folder / f"{version}").mkdir()
        killed += brought_up(folder / f"{version}", version)
    return Row(
        "16", "every schema of the keeper's database brought up, killed at each statement",
        f"{len(MIGRATIONS)} schemas, {killed} kills: 0 rows lost",
    )  # fmt: skip


def start(folder: Path, short: bool) -> Row:
    """Opening both databases, checked whole, with a million rows in each; first as an earlier version left them."""
    rows = SQLITE_ROWS // (10 if short else 1)
    keeper, ledger_file = folder / "keeper.db", folder / "ledger.db"
    _filled(keeper, ledger_file, rows)
    times = []
    for _ in range(2):
        began, busy = time.perf_counter(), time.process_time()
        Database(keeper).close()
        LedgerStore(SqliteSql(ledger_file, time.time_ns)).close()
        times.append(f"{time.perf_counter() - began:.1f} s ({time.process_time() - busy:.1f} s of CPU)")
    size = (keeper.stat().st_size + ledger_file.stat().st_size) >> 20
    return Row(
        "16", f"start with {rows:,} rows in each of the two databases ({size} MiB)",
        f"{times[1]}, all pages checked; the first time, when checksums are added, {times[0]}",
    )  # fmt: skip


def _filled(keeper: Path, ledger_file: Path, rows: int) -> None:
    real = checked.connect
    checked.connect = lambda path, *, flags=None: apsw.Connection(str(path), vfs="unix")
    try:
        Database(keeper).close()
        LedgerStore(SqliteSql(ledger_file, time.time_ns)).close()
    finally:
        checked.connect = real
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) "  # noqa: S608 (ours)
    for path, insert in (
        (keeper, "INSERT INTO trial_token(issued_ns, expires_ns, trial, route, arm) SELECT i, i, 't-' || i, 'r', 'a' "),
        (ledger_file, "INSERT INTO orphan SELECT '0194f0c1a2b3abcd-' || i, '0194f0c1a2b3abcd', i, i "),
    ):
        db = apsw.Connection(str(path), vfs="unix")
        db.execute("PRAGMA journal_mode = WAL").fetchall()
        db.execute(f"{numbers}{insert}FROM n").fetchall()
        db.close()


PARTS: tuple[Callable[[Path, bool], Row], ...] = (
    books, kills, changed_bytes, failing_calls, power, upgrades, start,
)  # fmt: skip


def page(rows: list[Row], before: str) -> str:
    """`before`: the page as it is, for the rows that this run did not make."""
    mine = {row.what: f"| {row.promise} | {row.what} | {row.figure} |" for row in rows}
    kept = {line.split(" | ")[1]: line for line in before.splitlines() if line.startswith("| ") and line[2].isdigit()}
    lines = "\n".join(sorted((kept | mine).values(), key=lambda line: int(line[2:].partition(" ")[0].strip(","))))
    return f"""# What survives

Written by `scripts/bench durability --write` with Python {platform.python_version()} on {os.cpu_count()} cores shared
with other work. Each row is a test of the default run with more of the same; a row stands here because it held to its
end. The number is that of the promise.

| | what was done | what came of it |
|---|---|---|
{lines}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--write", action="store_true")
    names = [part.__name__ for part in PARTS]
    parser.add_argument("--only", help="only these parts", choices=names, nargs="+", default=names)
    given = parser.parse_args()
    rows, began = [], time.monotonic()
    for part in PARTS:
        if part.__name__ in given.only:
            with tempfile.TemporaryDirectory(prefix="weighbridge-durability-") as folder:
                rows.append(part(Path(folder), given.short))
            print(f"{time.monotonic() - began:6.0f} s  {rows[-1].promise}: {rows[-1].figure}", file=sys.stderr)
            if given.write and not given.short:
                EVIDENCE.write_text(page(rows[-1:], EVIDENCE.read_text() if EVIDENCE.exists() else ""))
    print(page(rows, ""))


if __name__ == "__main__":
    main()
