"""`weighbridge license watch`, and what the licence commands share."""

import asyncio
import sys
import time
from datetime import date
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from weighbridge.cli import license_output as output
from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile, Json
from weighbridge.config import load
from weighbridge.errors import ExitCode, UsageError, WeighbridgeError
from weighbridge.licenses import hub
from weighbridge.licenses import watch as watching
from weighbridge.licenses.shown import read_page

WATCH_EXAMPLES = (
    "Examples: `weighbridge license watch --accept --source llama-3.1=LICENSE`, then `weighbridge license watch`."
)
OnDay = Annotated[
    str | None, typer.Option("--on", metavar="DATE", help="The day to judge for, YYYY-MM-DD; today if absent.")
]


def write(made: msgspec.Struct) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(msgspec.json.encode(made).decode() + "\n")


def day_of(text: str | None) -> str:
    """`--on`, or today in UTC. Raises `UsageError`."""
    if text is None:
        return time.strftime("%Y-%m-%d", time.gmtime())
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise UsageError(f"--on {text}: is not a day; write YYYY-MM-DD") from None


def open_weights(config: Path) -> list[str]:
    """Terms or models of the configuration's arms with open weights."""
    loaded = load(config)
    found = [row.terms or row.model for row in loaded.config.arm if row.weights != "closed"]
    if not found:
        raise UsageError(f"{loaded.file} has no arm with open weights; name models with --for")
    return list(dict.fromkeys(found))


def watch(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="MODEL_OR_TERMS", help="Else the arms with open weights.")
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--source",
            metavar="NAME=URL|FILE|hf:REPO",
            help="A text that belongs to it: licence file, model card, policy page; may repeat.",
        ),
    ] = None,
    accepting: Annotated[bool, typer.Option("--accept", help="Accept everything as it is now.")] = False,
    on: OnDay = None,
    json: Json = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Compare terms and texts with what was accepted, and say what changed in meaning. Exit code 2: something did.

    What is accepted lies in weighbridge-licenses.json beside the configuration, the texts by hash in a folder beside
    it; both belong under version control.
    """
    day, file = day_of(on), config.resolve().parent / watching.LOCK_FILE
    lock = watching.read_lock(file)
    given = _sources(source or [])
    wanted = names or list(given) or [row.name for row in lock.accepted] or open_weights(config)
    told: list[watching.News] = []
    for name in wanted:
        where = given.get(name) or watching.places(lock, name)
        texts = {place: _text(place, file.parent) for place in where}
        if accepting:
            if missing := [place for place, text in texts.items() if text is None]:
                raise UsageError(f"{name}: {', '.join(missing)} cannot be read, so it cannot be accepted")
            lock = watching.accept(lock, file, name, {p: t for p, t in texts.items() if t is not None}, day)
        told += watching.compare_with(lock, file, name, texts)
    if accepting:
        watching.write_lock(lock, file)
    quiet = tuple(name for name in wanted if name not in {news.name for news in told})
    made = watching.Watched(on=day, unchanged=quiet, news=tuple(told))
    write(made) if json else output.watched(made, str(file), accepting)
    raise typer.Exit(ExitCode.UNDECIDED if told else ExitCode.DONE)


def _sources(texts: list[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, equals, place = text.partition("=")
        if not (name and equals and place):
            raise UsageError(f"--source {text}: write NAME=URL or NAME=FILE, e.g. llama-3.1=models/llama/LICENSE")
        found[name] = (*found.get(name, ()), place)
    return found


def _text(place: str, folder: Path) -> str | None:
    if hub.is_hub_name(place):
        try:
            return hub.watched_text(hub.read_card(place))
        except hub.HubError as error:
            typer.echo(f"weighbridge: {error}", err=True)
            return None
    if not place.startswith(("http://", "https://")):
        return watching.readable(place, folder)
    try:
        return asyncio.run(read_page(place))[place]
    except UsageError:
        raise
    except WeighbridgeError as error:
        typer.echo(f"weighbridge: {error}", err=True)
        return None
