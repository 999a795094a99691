"""`weighbridge dashboard`: the pages that a team keeps open."""

from collections.abc import Sequence
from typing import Annotated

import typer

from weighbridge.app import keeper_of
from weighbridge.app.looking import Invited, can_sign_in, invited, pages_of
from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile
from weighbridge.cli.outside import outside
from weighbridge.cli.user import role_of
from weighbridge.config import Loaded, load
from weighbridge.errors import UsageError
from weighbridge.records.people import Role
from weighbridge.store.control import ControlClient


def dashboard(
    person: Annotated[
        list[str] | None,
        typer.Option("--person", metavar="NAME:ROLE", help="Let this user in, made now if need be; may be repeated."),
    ] = None,
    listen: Annotated[
        str,
        typer.Option(
            "--listen", metavar="HOST:PORT", help="Where the pages are, if nothing serves; port 0 takes a free one."
        ),
    ] = "127.0.0.1:0",
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Open the dashboard: spend, routes and ramps, trials, budgets, licences, exchanges, labels, alerts, audit.

    Where `weighbridge serve` runs, this says where its pages are. On a store that nothing serves it serves them until
    Ctrl-C; no other command can serve or run a trial on it meanwhile. People sign in as users of the store; who has no
    password yet gets a link to choose one, printed here once. Roles: viewer, labeller, operator, approver, admin.
    """
    people = [_person(one) for one in person or []]
    names = [name for name, _ in people]
    if len(set(names)) < len(names):
        raise UsageError(f"--person {names}: each name once")
    loaded = load(config)
    with keeper_of(loaded) as control:
        if not people and not can_sign_in(control, "viewer"):
            raise UsageError("nobody may sign in yet; `--person NAME:admin` lets the first one in")
        open_pages(loaded, control, listen, people)


def _person(text: str) -> tuple[str, Role]:
    name, _, role = text.partition(":")
    if not name or not role:
        raise UsageError(f"--person {text!r}: write NAME:ROLE, such as ann:viewer")
    return name, role_of(f"--person {name}:", role)


def open_pages(
    loaded: Loaded, control: ControlClient, listen: str, people: Sequence[tuple[str, Role]], path: str = ""
) -> None:
    """Say where the pages are and how these people come in; where nothing serves them, serve them until a signal.

    path: what is said to be there, below the address.
    """
    with pages_of(loaded, control, listen) as pages:
        guests = [invited(control, name, role) for name, role in people]
        print(f"The pages are at {pages.url}{path}")
        for guest in guests:
            print(outside(_welcome(pages.url, guest)))
        if pages.own:
            print("Stop with Ctrl-C.", flush=True)
        pages.wait()


def _welcome(url: str, guest: Invited) -> str:
    who = f"{guest.name} ({guest.role})"
    if guest.link is None:
        return f"{who} signs in as before"
    return f"{who} chooses a password, once, within a day: {url}welcome/{guest.link}"
