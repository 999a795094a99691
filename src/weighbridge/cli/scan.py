"""`weighbridge scan`."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from weighbridge.cli import scan_output
from weighbridge.cli.options import Json
from weighbridge.cli.outside import outside
from weighbridge.errors import ExitCode, UsageError
from weighbridge.licenses import load_profile
from weighbridge.licenses.profile import EMPTY

if TYPE_CHECKING:
    from weighbridge.scan.scan import Scan

EPILOG = (
    "Examples: `weighbridge scan spend_logs.jsonl`, `weighbridge scan usage-*.json --html bill.html`, "
    "`weighbridge scan own.csv --map model=engine --map input_tokens=in --map output_tokens=out`. "
    "Formats and columns: docs/scan.md."
)

app = typer.Typer(add_completion=False)


@app.command(epilog=EPILOG)
def scan(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Usage exports or logs; gzip is fine.", exists=True, dir_okay=False),
    ],
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write one self-contained page.")] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="COLUMN=HEADING", help="Which heading is which column. May repeat."),
    ] = None,
    assume: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A TOML file with assumptions of your own.", exists=True, dir_okay=False),
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A TOML file with [organization], for the licences.", dir_okay=False),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write a weighbridge.toml there, with the routes, arms and candidates found."),
    ] = None,
    # Nothing looks at it: there is no other way. It is there to be asked for by name.
    no_bodies: Annotated[
        bool, typer.Option("--no-bodies", help="Do not read prompts and answers: always so, said or not.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Read usage files: what was spent, what is wasted, what else there is, and what it would cost to decide.

    Formats are recognised by content. Nothing leaves this machine, no key is needed, and columns with prompts or
    answers are not read. Exit code 2 if a file, or a row of one, could not be used.
    """
    from weighbridge.scan import assumptions  # DuckDB and the price book: only for this command
    from weighbridge.scan.page import render
    from weighbridge.scan.scan import scan as read

    if html is not None and not html.parent.is_dir():
        raise UsageError(f"--html {html}: the folder {html.parent} does not exist. Make it, or give another place.")
    found = read(
        files,
        datetime.now(UTC),
        mapping=_mapping(map_ or []),
        rows=assumptions.load(assume),
        profile=EMPTY if profile is None else load_profile(profile),
    )
    if html is not None:
        html.write_text(render(found), "utf-8")
        print(f"wrote {html}", file=sys.stderr)
    if init is not None:
        _init(init, found)
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        scan_output.show(found)
    if any(file.problem or file.skipped for file in found.files):
        raise typer.Exit(ExitCode.UNDECIDED)


def _init(folder: Path, found: "Scan") -> None:
    from weighbridge.app.found import write_found

    made = write_found(folder, found)
    routes = f"{len(made.routes)} route{'s' if len(made.routes) != 1 else ''}"
    notes = [f"wrote {made.config}: {routes} ({', '.join(map(outside, made.routes))})"]
    if made.client_key is not None:
        notes.append(f"made a client key, shown this once: {made.client_key}")
    notes += [f"left out: {outside(one)}" for one in made.left_out]
    notes.append(f"next: set {', '.join(made.key_variables)}, then `weighbridge doctor --config {made.config}`")
    print("\n".join(notes), file=sys.stderr)


def _mapping(given: list[str]) -> dict[str, str]:
    from weighbridge.scan.columns import NAMES

    found: dict[str, str] = {}
    for text in given:
        column, equals, heading = text.partition("=")
        if not equals or not heading or column not in NAMES:
            raise UsageError(f"--map {text}: write COLUMN=HEADING; columns are {', '.join(NAMES)}.")
        found[column] = heading
    return found
