"""`weighbridge restore`."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from weighbridge.app.restore import restore as put_back
from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile, Json
from weighbridge.cli.outside import outside
from weighbridge.clock import SystemClock
from weighbridge.config import load
from weighbridge.records.usage import usd


def restore(
    backup: Annotated[Path, typer.Argument(metavar="BACKUP", help="A file that `backup` wrote.", exists=True)],
    keys: Annotated[
        Path, typer.Option(metavar="FILE", help="The secret keys that `backup --keys` wrote.", exists=True)
    ],
    config: ConfigFile = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Put a backup back into store.path, which must be empty or not there.

    Every byte is checked before it is a store, and the store verified. The ledger begins a new epoch: what was leased
    to workers that went on after the backup is booked as spent, at its upper bound, and said in the signed log. A
    restore that was killed is run again. A place where a store is, in use or not, is refused.
    """
    done = put_back(load(config), backup, keys, SystemClock())
    if json:
        sys.stdout.write(outside(msgspec.json.encode(done).decode()) + "\n")
        return
    made = datetime.fromtimestamp(done.made_ns // 1_000_000_000, UTC).isoformat(timespec="seconds")
    print(outside(f"{done.exchanges:,} exchanges as of {made} are in {done.store}, verified"))
    print(f"signed with key {done.signing_key}; the ledger is in epoch {done.epoch}")
    for row in done.written_off:
        who = f"{row.budget} / {row.subject}" if row.subject else row.budget
        print(outside(f"  {who} ({row.span}): {usd(row.nanousd)} leased to worker {row.worker}, booked as spent"))
    for note in done.notes:
        print(outside(f"note: {note}"))
