"""`weighbridge gold import`."""

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from weighbridge.app import keeper_of
from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile, Json
from weighbridge.cli.outside import outside
from weighbridge.config import load
from weighbridge.errors import UsageError
from weighbridge.grading.gold import load_gold, read_gold, store_gold
from weighbridge.store.layout import Layout

app = typer.Typer(
    add_completion=False, help="Reference answers that people vouch for.", no_args_is_help=True, rich_markup_mode="rich"
)


@app.callback()
def gold() -> None:
    """Reference answers that people vouch for."""


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON shape of `gold import --json`."""

    file: str
    rows: int
    digest: str
    in_force: int
    """Reference answers after this import, all files together."""


@app.command(
    "import",
    epilog='A line is `{"prompt": "What is 6 x 7?", "answer": "42"}`; prompt_sha256 (of the last user text, '
    "UTF-8, stripped) or tags (all of them must be on the request) may stand in for prompt.",
)
def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="JSON lines, one reference answer each; - is standard input.")
    ],
    json: Json = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Import reference answers. A file with a bad line is refused whole; later imports override earlier ones."""
    loaded = load(config)
    name = "standard input" if str(file) == "-" else str(file)
    try:
        stored = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise UsageError(f"{name}: cannot be read: {error.strerror}") from None
    checked = read_gold(name, stored.split(b"\n"))
    with keeper_of(loaded) as control:
        row = store_gold(control, file.name, checked)
        book, _ = load_gold(control, Layout(loaded.store_path))
    done = Imported(file=name, rows=len(checked.rows), digest=row.digest, in_force=len(book))
    if json:
        sys.stdout.write(outside(msgspec.json.encode(done).decode()) + "\n")
    else:
        print(f"{done.rows:,} reference answers imported from {outside(name)}; {done.in_force:,} are in force")
