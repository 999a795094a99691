"""`weighbridge alerts`."""

import json
import sys
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile, Json
from weighbridge.cli.outside import outside
from weighbridge.config import load
from weighbridge.errors import ExitCode, UsageError
from weighbridge.records.alerts import ALERTS, BY_NAME, AlertKind
from weighbridge.store.alerts import AlertEvent, read_alerts, runbook, still_raised
from weighbridge.store.layout import Layout


def alerts(
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="Print what this alert means and its runbook.", show_default=False)
    ] = "",
    kinds: Annotated[bool, typer.Option("--kinds", help="List every kind of alert there is.")] = False,
    last: Annotated[int, typer.Option("--last", metavar="N", min=1, help="So many of those that were raised.")] = 20,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: Json = False,
) -> None:
    """Show what is raised now and what was raised lately, or how to mend one of them.

    It reads the store's own list, so it works while nothing serves. Exit code 2 while something is raised.
    """
    if name:
        _show(name, as_json)
        return
    if kinds:
        _list_kinds(as_json)
        return
    events = read_alerts(Layout(load(config).store_path))
    now = still_raised(events)
    lately = tuple(event for event in events if event.state == "raised")[-last:]
    if as_json:
        document = {"raised": msgspec.to_builtins(now), "lately": msgspec.to_builtins(lately)}
        print(json.dumps(document, indent=2))
    else:
        _print(now, lately)
    raise typer.Exit(ExitCode.UNDECIDED if now else ExitCode.DONE)


def _print(now: tuple[AlertEvent, ...], lately: tuple[AlertEvent, ...]) -> None:
    print(f"{len(now)} raised now" if now else "Nothing is raised now.")
    for event in now:
        _print_event(event)
    ended = [event for event in lately if event not in now]
    if ended:
        print("\nRaised lately:")
    for event in reversed(ended):
        _print_event(event)


def _print_event(event: AlertEvent) -> None:
    kind = BY_NAME[event.alert]
    at = datetime.fromtimestamp(event.time_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    print(outside(f"{at}  {kind.severity:<6}  {event.alert}: {event.subject}"))
    for line in event.lines:
        print(outside(f"    {line}"))
    print(f"    first: {kind.first_step}")
    print(f"    runbook: weighbridge alerts {event.alert}")


def _show(name: str, as_json: bool) -> None:
    kind = BY_NAME.get(name)
    if kind is None:
        raise UsageError(f"there is no alert {name!r}; there are: {', '.join(BY_NAME)}")
    text = runbook(name)
    if as_json:
        print(json.dumps({**_kind(kind), "text": text}, indent=2))
        return
    print(f"{kind.title} ({name}, {kind.severity})\n\n{kind.meaning}\n\nFirst: {kind.first_step}\n")
    sys.stdout.write(text)


def _list_kinds(as_json: bool) -> None:
    if as_json:
        print(json.dumps([_kind(kind) for kind in ALERTS], indent=2))
        return
    for kind in ALERTS:
        print(f"{kind.name:<20} {kind.severity:<7} {kind.title}")


def _kind(kind: AlertKind) -> dict[str, object]:
    return {**msgspec.to_builtins(kind), "runbook": kind.runbook}
