"""Options that many commands share."""

from pathlib import Path
from typing import Annotated

import typer

from weighbridge.config import DEFAULT_FILE

ConfigFile = Annotated[
    Path, typer.Option("--config", metavar="FILE", help="The configuration file.", show_default=True, dir_okay=False)
]
DEFAULT_CONFIG = Path(DEFAULT_FILE)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to standard output, and nothing else.")]
