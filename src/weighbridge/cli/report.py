"""`weighbridge report`."""

from pathlib import Path
from typing import Annotated

import typer

from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile, Json
from weighbridge.cli.outside import outside


def report(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder for the report.")] = Path("report"),
    config: ConfigFile = DEFAULT_CONFIG,
    route: Annotated[str | None, typer.Option("--route", help="Only this route.")] = None,
    losses: Annotated[
        bool, typer.Option("--show-losses", help="Show the three worst losses of each slice with prompt and answers.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write what may move, what must not, and what nobody can say yet, with what would change it.

    The folder gets `index.html` (one file that needs nothing else), `report.json` and `summary.md`. Everything comes
    from the log and the stored verdicts; nothing is asked of a model. `--show-losses` puts captured prompts and answers
    into the report, redacted and shortened: erasing an exchange later does not reach copies of a report.

    Example: `weighbridge report --out report`
    """
    import sys
    import time

    from weighbridge.config import load
    from weighbridge.reports.build import build
    from weighbridge.reports.write import to_json, write
    from weighbridge.store.layout import Layout

    loaded = load(config)
    made = build(Layout(loaded.store_path), loaded, time.time_ns(), only_route=route, show_losses=losses)
    written = write(made, out)
    if as_json:
        sys.stdout.buffer.write(to_json(made))
        sys.stdout.buffer.flush()
        print(f"written: {written.html}", file=sys.stderr)
        return
    for one in made.routes:
        print(outside(f"{one.route}: {one.headline}"))
    print(f"\nThe report is in {written.html}; beside it lie {written.json.name} and {written.markdown.name}.")
