"""`weighbridge user create | list | change | password`."""

import sys
from getpass import getpass
from secrets import token_urlsafe
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from weighbridge.app import keeper_of
from weighbridge.app.addresses import reachable
from weighbridge.cli.key import when
from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile, Json
from weighbridge.cli.outside import outside
from weighbridge.config import Loaded, load
from weighbridge.errors import UsageError, WeighbridgeError
from weighbridge.records.people import ROLES, Role, UserRow
from weighbridge.store.people_calls import AddUser, ChangeUser, ListUsers, UserList

app = typer.Typer(add_completion=False, help="People who may sign in to dashboard and admin API.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="How they sign in, and how the book of changes names them.")]
_TEAM = typer.Option(
    "--team", metavar="TEAM", help="They see this team's things only; may be repeated. Without: every team's."
)
_LINK = typer.Option(
    "--link", help="Print a link with which they choose a password themselves; it works once, for a day."
)


class UserShown(msgspec.Struct, frozen=True, kw_only=True):
    """One user in the JSON of every `user` command. `link` is there once, where it was just made."""

    name: str
    role: str
    teams: tuple[str, ...] | None
    """`null`: every team's."""
    source: str
    password: bool
    created: str | None
    disabled: str | None
    sessions: int
    link: str | None = None


class UsersShown(msgspec.Struct, frozen=True, kw_only=True):
    users: tuple[UserShown, ...]


def role_of(option: str, text: str) -> Role:
    """Raises `UsageError`."""
    found = next((role for role in ROLES if role == text), None)
    if found is None:
        raise UsageError(f"{option} {text!r} is no role; allowed are {', '.join(ROLES)}")
    return found


def shown(row: UserRow, link: str | None = None) -> UserShown:
    return UserShown(
        name=row.name, role=row.role, teams=row.teams, source=row.source, password=row.has_password,
        created=when(row.created_ns), disabled=when(row.disabled_ns), sessions=row.sessions, link=link,
    )  # fmt: skip


def _password() -> str:
    """Typed twice, or one line of standard input where that is not a terminal. Returns its hash."""
    try:
        from weighbridge.admin.passwords import hashed  # here: the extra may be missing
    except ModuleNotFoundError as error:
        raise WeighbridgeError(
            f"passwords need {error.name}, which is not installed; install the extra: pip install 'weighbridge[admin]'"
        ) from None
    if not sys.stdin.isatty():
        return hashed(sys.stdin.readline().rstrip("\r\n"))
    password = getpass("Password: ")
    if getpass("The same again: ") != password:
        raise UsageError("the two are not the same")
    return hashed(password)


def _link(loaded: Loaded, secret: str) -> str:
    base = loaded.config.admin.url or f"http://{reachable(loaded.config.server.admin_listen)}"
    return f"{base.rstrip('/')}/welcome/{secret}"


@app.command()
def create(
    name: Name,
    role: Annotated[str, typer.Option(help=f"One of {', '.join(ROLES)}; each may what those before it may.")],
    team: Annotated[list[str] | None, _TEAM] = None,
    link: Annotated[bool, _LINK] = False,
    as_json: Json = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Let a person in. Their password is asked for, or read from standard input; there is no default one."""
    loaded = load(config)
    secret = _new_link() if link else None
    asked = AddUser(
        name=name,
        role=role_of("--role", role),
        teams=None if team is None else tuple(team),
        password=None if link else _password(),
        link=secret,
    )
    with keeper_of(loaded) as control:
        row = control.call(asked, UserRow)
    _print(shown(row, None if secret is None else _link(loaded, secret)), as_json)


@app.command()
def change(
    name: Name,
    role: Annotated[str | None, typer.Option(help=f"One of {', '.join(ROLES)}.")] = None,
    team: Annotated[list[str] | None, _TEAM] = None,
    every_team: Annotated[bool, typer.Option("--every-team", help="They see every team's things.")] = False,
    disable: Annotated[
        bool | None, typer.Option("--disable/--enable", help="Let them in no more, or again.", show_default=False)
    ] = None,
    as_json: Json = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Change a person's role or teams, or whether they may come in. Ends their sessions."""
    if every_team and team:
        raise UsageError("--team and --every-team contradict each other")
    asked = ChangeUser(
        name=name,
        role=None if role is None else role_of("--role", role),
        teams=None if every_team else tuple(team) if team else msgspec.UNSET,
        disabled=disable,
    )
    if asked == ChangeUser(name=name):
        raise UsageError("nothing to change is named; give --role, --team, --every-team, --disable or --enable")
    loaded = load(config)
    with keeper_of(loaded) as control:
        row = control.call(asked, UserRow)
    _print(shown(row), as_json)


@app.command()
def password(
    name: Name,
    link: Annotated[bool, _LINK] = False,
    as_json: Json = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Give a person another password, or a link to choose one. A new password ends their sessions."""
    loaded = load(config)
    secret = _new_link() if link else None
    asked = ChangeUser(name=name, password=None if link else _password(), link=secret)
    with keeper_of(loaded) as control:
        row = control.call(asked, UserRow)
    _print(shown(row, None if secret is None else _link(loaded, secret)), as_json)


@app.command("list")
def list_(as_json: Json = False, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """List who may come in."""
    loaded = load(config)
    with keeper_of(loaded) as control:
        rows = tuple(shown(row) for row in control.call(ListUsers(), UserList).rows)
    if as_json:
        sys.stdout.write(outside(msgspec.json.encode(UsersShown(users=rows)).decode()) + "\n")
        return
    if not rows:
        print("there is no user; `weighbridge user create NAME --role admin` makes one")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("name", "role", "teams", "signs in by", "sessions", "state"):
        table.add_column(column, overflow="fold")
    for row in rows:
        by = "OpenID" if row.source == "oidc" else "password" if row.password else "a link, not used yet"
        teams = "every team" if row.teams is None else ", ".join(row.teams) or "none"
        state = "may come in" if row.disabled is None else f"disabled {row.disabled}"
        table.add_row(outside(row.name), row.role, outside(teams), by, str(row.sessions), state)
    Console(highlight=False, markup=False, emoji=False).print(table)


def _new_link() -> str:
    return token_urlsafe(32)


def _print(row: UserShown, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(outside(msgspec.json.encode(row).decode()) + "\n")
        return
    if row.link is not None:
        print(outside(row.link))
    teams = "every team's things" if row.teams is None else f"things of {', '.join(row.teams) or 'no team'}"
    state = "" if row.disabled is None else ", and is disabled"
    print(outside(f"user {row.name}: {row.role}, sees {teams}{state}"))
