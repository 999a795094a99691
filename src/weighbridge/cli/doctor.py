"""`weighbridge doctor`."""

import json
from typing import Annotated

import msgspec
import typer

from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile, Json
from weighbridge.cli.outside import outside
from weighbridge.errors import ExitCode

EXIT = {"ok": ExitCode.DONE, "warn": ExitCode.UNDECIDED, "fail": ExitCode.FAILED}


def doctor(
    config: ConfigFile = DEFAULT_CONFIG,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the endpoints.")] = False,
    as_json: Json = False,
) -> None:
    """Check everything that a gateway and a trial need, and say what to do next.

    Configuration, secrets, store, disk, SQLite, endpoints (GET /models), prices, the send gate of each candidate, and
    capture. Exit code 0 if all is well, 2 if something needs attention, 1 if something would fail, and 64 for a
    configuration that cannot be used, as everywhere.
    """
    from weighbridge.app.doctor import CONFIGURATION, examine

    diagnosis = examine(config, reach=not offline)
    if as_json:
        print(json.dumps(msgspec.to_builtins(diagnosis), indent=2))
    else:
        for check in diagnosis.checks:
            print(outside(f"{check.status:<4}  {check.name}: {check.says}"))
            if check.next_step:
                print(outside(f"      -> {check.next_step}"))
    unusable = any(check.name == CONFIGURATION and check.status == "fail" for check in diagnosis.checks)
    raise typer.Exit(ExitCode.USAGE if unusable else EXIT[diagnosis.status])
