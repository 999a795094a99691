"""`weighbridge dashboard`: the pages that a team keeps open."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile
from weighbridge.cli.outside import outside
from weighbridge.config.checks import parse_address
from weighbridge.errors import UsageError, WeighbridgeError
from weighbridge.records.people import ROLES

if TYPE_CHECKING:
    from weighbridge.admin.labels import Labelling


def dashboard(
    person: Annotated[
        list[str] | None,
        typer.Option("--person", metavar="NAME:ROLE[,ROLE...]", help="Who is let in; repeat for several."),
    ] = None,
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Where the pages are served; port 0 takes a free one.")
    ] = "127.0.0.1:0",
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Serve the dashboard: spend, routes and ramps, trials, budgets, licences, exchanges, labels, alerts, audit.

    Each person gets a token, printed here once. Roles: viewer, labeller, operator (moves ramps), approver (approves
    steps, changes budgets), admin (all of it). Ramps and budgets need a running `weighbridge serve`. Stop with Ctrl-C.
    """
    people = [_person(one) for one in person or ["admin:admin"]]
    names = [name for name, _ in people]
    if len(set(names)) < len(names):
        raise UsageError(f"--person {names}: each name once")
    serve_dashboard(config, listen, people)


def _person(text: str) -> tuple[str, tuple[str, ...]]:
    name, _, roles = text.partition(":")
    given = tuple(roles.split(","))
    if not name or any(role not in ROLES for role in given):
        raise UsageError(f"--person {text!r}: write NAME:ROLE, with roles out of {', '.join(ROLES)}")
    return name, given


def serve_dashboard(
    config: Path, listen: str, people: Sequence[tuple[str, tuple[str, ...]]], first: str = "/",
    labelling: "tuple[str, Labelling] | None" = None,
) -> None:  # fmt: skip
    """Serve until a signal; prints the address and each person's token. Raises `WeighbridgeError` without the extra.

    first: where who has signed in lands. labelling: of a trial, opened already.
    """
    try:
        from weighbridge.admin.dashboard import board_of, dashboard
        from weighbridge.admin.process import hosts_of, listening, run
        from weighbridge.admin.sessions import Person, Sessions
    except ModuleNotFoundError as error:
        raise WeighbridgeError(
            f"the pages need {error.name}, which is not installed; install the extra: pip install 'weighbridge[admin]'"
        ) from None
    host, port = parse_address("--listen", "address", listen)
    sessions = Sessions()
    board = board_of(config)
    if labelling is not None:
        board.labellings.put(*labelling)
    with listening(host, port) as sock:
        address = f"http://{f'[{host}]' if ':' in host else host}:{sock.getsockname()[1]}/"
        print(f"The pages are at {address}")
        for name, roles in people:
            token = sessions.invite(Person(name=name, roles=frozenset(one for one in ROLES if one in roles)))
            print(f"token of {outside(name)} ({', '.join(roles)}): {token}")
        print("Stop with Ctrl-C.", flush=True)
        run(dashboard(board, sessions, hosts_of(sock, host), first), sock)
