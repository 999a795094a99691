"""`weighbridge token create | list | revoke`."""

import sys
from datetime import UTC, datetime
from secrets import token_urlsafe
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from weighbridge.app import keeper_of
from weighbridge.cli.key import end_ns, when
from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile, Json
from weighbridge.cli.outside import outside
from weighbridge.cli.user import role_of
from weighbridge.config import load
from weighbridge.records.people import TokenRow
from weighbridge.store.people_calls import CreateApiToken, ListApiTokens, RevokeApiToken, TokenList

app = typer.Typer(add_completion=False, help="Tokens for programs that use the admin API.", no_args_is_help=True)


class TokenShown(msgspec.Struct, frozen=True, kw_only=True):
    """One token in the JSON of every `token` command. `token` is there once, where it was just made."""

    id: str
    label: str
    owner: str
    role: str
    teams: tuple[str, ...] | None
    created: str | None
    expires: str | None
    revoked: str | None
    token: str | None = None


class TokensShown(msgspec.Struct, frozen=True, kw_only=True):
    tokens: tuple[TokenShown, ...]


def shown(row: TokenRow, token: str | None = None) -> TokenShown:
    return TokenShown(
        id=row.id, label=row.label, owner=row.owner, role=row.role, teams=row.teams, created=when(row.created_ns),
        expires=when(row.expires_ns), revoked=when(row.revoked_ns), token=token,
    )  # fmt: skip


@app.command()
def create(
    owner: Annotated[str, typer.Argument(help="A user; the token never may more than they.")],
    label: Annotated[str, typer.Option(help="What it is for.")],
    role: Annotated[str, typer.Option(help="The most that it may.")] = "viewer",
    team: Annotated[
        list[str] | None, typer.Option("--team", metavar="TEAM", help="Only this team's things; may be repeated.")
    ] = None,
    expires: Annotated[
        str, typer.Option(metavar="WHEN", help="When it ends: 90d, 24h, or a date such as 2027-01-31.")
    ] = "90d",
    as_json: Json = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Make a token, sent as `authorization: Bearer wba-...`. It is shown once, now."""
    secret = "wba-" + token_urlsafe(32)
    asked = CreateApiToken(
        owner=owner, label=label, token=secret, role=role_of("--role", role),
        teams=None if team is None else tuple(team), expires_ns=end_ns(expires, datetime.now(UTC)),
    )  # fmt: skip
    with keeper_of(load(config)) as control:
        row = shown(control.call(asked, TokenRow), secret)
    if as_json:
        sys.stdout.write(outside(msgspec.json.encode(row).decode()) + "\n")
        return
    print(row.token)
    print(outside(f"token {row.id} of {row.owner} ({row.role}), until {row.expires}. It is not shown again."))


@app.command()
def revoke(
    token: Annotated[str, typer.Argument(metavar="ID", help="As `token list` shows it.")],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """End a token, for good."""
    with keeper_of(load(config)) as control:
        row = shown(control.call(RevokeApiToken(id=token), TokenRow))
    print(outside(f"token {row.id} ({row.label}) is revoked"))


@app.command("list")
def list_(as_json: Json = False, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """List every token, those that ended too."""
    with keeper_of(load(config)) as control:
        rows = tuple(shown(row) for row in control.call(ListApiTokens(), TokenList).rows)
    if as_json:
        sys.stdout.write(outside(msgspec.json.encode(TokensShown(tokens=rows)).decode()) + "\n")
        return
    if not rows:
        print("there is no token; `weighbridge token create USER --label WHAT` makes one")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("id", "label", "owner", "role", "teams", "state"):
        table.add_column(column, overflow="fold")
    for row in rows:
        state = f"revoked {row.revoked}" if row.revoked is not None else f"until {row.expires or 'it is revoked'}"
        teams = "every team" if row.teams is None else ", ".join(row.teams) or "none"
        table.add_row(row.id, outside(row.label), outside(row.owner), row.role, outside(teams), state)
    Console(highlight=False, markup=False, emoji=False).print(table)
