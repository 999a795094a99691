"""`weighbridge backup`."""

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from weighbridge.app.backup import back_up
from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile, Json
from weighbridge.cli.outside import outside
from weighbridge.config import load


def backup(
    to: Annotated[Path, typer.Option(metavar="FILE", help="The file to write; it must not exist.", dir_okay=False)],
    keys: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write the store's secret keys, into a file to be kept elsewhere."),
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Write the whole store into one file: exchanges, bodies, evidence, keys' digests, route tables and the ledger.

    It may run while the gateway serves; the file is the store at one moment, read back and checked. Its list of members
    is signed, so that one changed byte is found (`verify --backup FILE`). Bodies stay encrypted. The secret keys are
    not in it: `--keys` writes them, and `restore` needs them.
    """
    done = back_up(load(config), to, keys)
    if json:
        sys.stdout.write(outside(msgspec.json.encode(done).decode()) + "\n")
        return
    print(outside(f"{done.members:,} files, {done.bytes:,} bytes, written to {done.file} and read back"))
    if done.keys is not None:
        print(outside(f"secret keys written to {done.keys} (mode 0600): keep it away from the backup"))
    print(f"signed with key {done.signing_key}")
    for note in done.notes:
        print(outside(f"note: {note}"))
