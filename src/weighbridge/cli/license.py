"""`weighbridge license check`."""

import sys
import time
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile, Json
from weighbridge.config import load
from weighbridge.errors import ExitCode, UsageError
from weighbridge.licenses import finding
from weighbridge.records.evidence import Finding

app = typer.Typer(help="What the terms of an arm mean for you. Facts and a reading of them, not legal advice.")


@app.callback()
def license_() -> None:
    """What the terms of an arm mean for you. Facts and a reading of them, not legal advice."""


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON shape of `license check --json`."""

    findings: tuple[Finding, ...]


@app.command()
def check(
    arm: Annotated[str | None, typer.Option("--arm", metavar="NAME", help="This arm only.")] = None,
    json: Json = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Say for each arm what its licence means: permissive ones are recognised, everything else is unclear.

    Exit code 0: nothing unclear; 2: something is unclear, and the reasons say what to do.
    """
    loaded = load(config)
    arms = [row for row in loaded.config.arm if arm in (None, row.name)]
    if not arms:
        known = ", ".join(row.name for row in loaded.config.arm) or "none"
        raise UsageError(f"--arm {arm}: {loaded.file} has no such arm; it has: {known}")
    on = time.strftime("%Y-%m-%d", time.gmtime())
    found = tuple(finding(row, on) for row in arms)
    if json:
        sys.stdout.write(msgspec.json.encode(Checked(findings=found)).decode() + "\n")
    else:
        _print(found)
    raise typer.Exit(ExitCode.UNDECIDED if any(row.verdict == "unclear" for row in found) else ExitCode.DONE)


def _print(found: tuple[Finding, ...]) -> None:
    console = Console(highlight=False)
    for row in found:
        console.print(f"[bold]{row.arm}[/bold]: {row.verdict} ({row.terms or 'no terms configured'})")
        for line in (*row.reasons, *row.obligations):
            console.print(f"  {line}", soft_wrap=True, markup=False)
