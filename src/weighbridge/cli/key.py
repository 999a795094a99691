"""`weighbridge key`."""

import json
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec
import typer

from weighbridge.app import keeper_of
from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile, Json
from weighbridge.cli.outside import outside
from weighbridge.config import load
from weighbridge.errors import UsageError
from weighbridge.keeper.compile import key_digest
from weighbridge.store.control import CreateKey, KeyList, KeyRow, LimitKey, ListKeys, RevokeKey, RotateKey

app = typer.Typer(add_completion=False, help="Keys that let applications in.", no_args_is_help=True)

SECOND_NS = 1_000_000_000
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DURATION = re.compile(r"(\d{1,9})([smhd])")


@app.callback()
def key() -> None:
    """Keys that let applications in.

    A key made here, and each change of one, takes effect in every worker at once, without a reload. Its secret is shown
    once and kept as a digest. Keys of the configuration file stay where they are, with the limits written there.
    """


class LiveSecret(msgspec.Struct, frozen=True, kw_only=True):
    fingerprint: str
    """The first 8 hex digits of the secret's BLAKE2b-256 digest: tells secrets apart, and nothing else."""
    expires: str | None


class KeyShown(msgspec.Struct, frozen=True, kw_only=True):
    """One key in the JSON of every `key` command. `secret` is there once, where it was just made."""

    name: str
    source: str
    team: str | None
    routes: tuple[str, ...]
    budget: str | None
    created: str | None
    revoked: str | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    live_secrets: tuple[LiveSecret, ...]
    route_table: int | None
    """The table that has the change; `null` while nothing serves."""
    secret: str | None = None


class KeysShown(msgspec.Struct, frozen=True, kw_only=True):
    keys: tuple[KeyShown, ...]


def duration_ns(option: str, text: str) -> int:
    """`90d`, `24h`, `30m`, `15s` or `0`. Raises `UsageError`."""
    found = _DURATION.fullmatch(text)
    if found is None and text != "0":
        raise UsageError(f"{option} {text!r} is not a duration; write a number and s, m, h or d, e.g. 24h or 90d")
    return 0 if found is None else int(found[1]) * _UNITS[found[2]] * SECOND_NS


def per_minute(option: str, text: str | None) -> int | msgspec.UnsetType | None:
    """A number, or `none` for no limit; not said at all: as it is. Raises `UsageError`."""
    if text is None:
        return msgspec.UNSET
    if text == "none":
        return None
    if not text.isascii() or not text.isdigit():
        raise UsageError(f"{option} {text!r} is not a limit; write a whole number, e.g. 600, or none for no limit")
    return int(text)


def end_ns(text: str | None, now: datetime) -> int | None:
    """When a secret ends: a duration from now, or a date (its first moment, UTC). Raises `UsageError`."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return round(now.timestamp()) * SECOND_NS + duration_ns("--expires", text)
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return round(at.timestamp()) * SECOND_NS


def shown(row: KeyRow, secret: str | None = None) -> KeyShown:
    return KeyShown(
        name=row.name,
        source=row.source,
        team=row.team,
        routes=row.routes,
        budget=row.budget,
        created=when(row.created_ns),
        revoked=when(row.revoked_ns),
        requests_per_minute=row.requests_per_minute,
        tokens_per_minute=row.tokens_per_minute,
        live_secrets=tuple(
            LiveSecret(fingerprint=fingerprint, expires=when(ends_ns)) for fingerprint, ends_ns in row.live
        ),
        route_table=row.table,
        secret=secret,
    )


def when(time_ns: int | None) -> str | None:
    if time_ns is None:
        return None
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=time_ns // SECOND_NS)).isoformat()


def _new_secret() -> str:
    return f"wb-{secrets.token_urlsafe(32)}"


_ROUTES = typer.Option("--route", metavar="ROUTE", help="A route it may use; may be repeated. Without: every route.")
_EXPIRES = typer.Option(
    "--expires", metavar="WHEN", help="When the secret ends: 90d, 24h, or a date such as 2027-01-31."
)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Shown in exchanges and reports in place of the secret.")],
    team: Annotated[str | None, typer.Option(help="A [[team]] of the configuration.")] = None,
    route: Annotated[list[str] | None, _ROUTES] = None,
    budget: Annotated[str | None, typer.Option(help="A [[budget]] of the configuration.")] = None,
    expires: Annotated[str | None, _EXPIRES] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Over all workers of a machine. Without: no limit.")
    ] = None,
    tokens_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Input and output, over all workers of a machine. Without: no limit.")
    ] = None,
    as_json: Json = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Let a new application in. The secret is shown once, now."""
    loaded, secret = load(config), _new_secret()
    asked = CreateKey(
        name=name,
        digest=key_digest(secret),
        team=team,
        routes=tuple(route or ("*",)),
        budget=budget,
        expires_ns=end_ns(expires, datetime.now(UTC)),
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
    )
    with keeper_of(loaded) as control:
        row = control.call(asked, KeyRow)
    _print_secret(shown(row, secret), as_json)


@app.command()
def limit(
    name: Annotated[str, typer.Argument(help="The key.")],
    requests_per_minute: Annotated[
        str | None, typer.Option(metavar="N|none", help="Over all workers of a machine. Not said: as it is.")
    ] = None,
    tokens_per_minute: Annotated[
        str | None,
        typer.Option(metavar="N|none", help="Input and output, over all workers of a machine. Not said: as it is."),
    ] = None,
    as_json: Json = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Give a key other limits of its rate, from now on. What it has used of its minute goes on counting."""
    loaded = load(config)
    asked = LimitKey(
        name=name,
        requests_per_minute=per_minute("--requests-per-minute", requests_per_minute),
        tokens_per_minute=per_minute("--tokens-per-minute", tokens_per_minute),
    )
    with keeper_of(loaded) as control:
        row = shown(control.call(asked, KeyRow))
    if as_json:
        _print_json(row)
    else:
        print(outside(f"key {row.name} may use per minute: {_rates(row)}; {_effect(row)}"))


@app.command()
def rotate(
    name: Annotated[str, typer.Argument(help="The key.")],
    overlap: Annotated[
        str, typer.Option(metavar="DURATION", help="How long the old secret still works: 24h, 30m, or 0.")
    ] = "24h",
    expires: Annotated[str | None, _EXPIRES] = None,
    as_json: Json = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Give a key a new secret. Both work until the overlap is over; then the old one ends by itself."""
    loaded, secret = load(config), _new_secret()
    asked = RotateKey(
        name=name,
        digest=key_digest(secret),
        overlap_ns=duration_ns("--overlap", overlap),
        expires_ns=end_ns(expires, datetime.now(UTC)),
    )
    with keeper_of(loaded) as control:
        row = control.call(asked, KeyRow)
    _print_secret(shown(row, secret), as_json)


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="The key.")],
    old: Annotated[bool, typer.Option("--old", help="Only its older secret; the newest goes on.")] = False,
    as_json: Json = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Let nobody in with this key any more, from now on and for good. Running answers are finished."""
    loaded = load(config)
    with keeper_of(loaded) as control:
        row = shown(control.call(RevokeKey(name=name, old_only=old), KeyRow))
    if as_json:
        _print_json(row)
    else:
        what = "the older secret of key" if old else "key"
        print(outside(f"{what} {row.name} is revoked; {_effect(row)}"))


@app.command("list")
def list_(as_json: Json = False, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """List the keys of the configuration and those made with `key create`."""
    loaded = load(config)
    with keeper_of(loaded) as control:
        rows = tuple(shown(row) for row in control.call(ListKeys(), KeyList).rows)
    if as_json:
        _print_json(KeysShown(keys=rows))
        return
    for line in _table([_columns(row) for row in rows]):
        print(outside(line))
    if not rows:
        print("there is no key; `weighbridge key create NAME` makes one")


def _effect(row: KeyShown) -> str:
    if row.route_table is None:
        return "nothing serves this store now, the next `weighbridge serve` knows it"
    return f"in effect with route table {row.route_table}"


def _print_secret(row: KeyShown, as_json: bool) -> None:
    if as_json:
        _print_json(row)
        return
    print(row.secret)
    print(
        outside(
            f"key {row.name}: {_effect(row)}. The secret is not shown again; applications send it as their API key."
        )
    )
    for ending in row.live_secrets[:-1]:
        print(f"the older secret ({ending.fingerprint}…) works until {ending.expires}")
    if row.live_secrets and row.live_secrets[-1].expires is not None:
        print(f"the new secret works until {row.live_secrets[-1].expires}")


def _print_json(value: KeyShown | KeysShown) -> None:
    print(outside(json.dumps(msgspec.to_builtins(value), indent=2), lines=True))


def _rates(row: KeyShown) -> str:
    limits = (("requests", row.requests_per_minute), ("tokens", row.tokens_per_minute))
    return ", ".join(f"{value} {what}" for what, value in limits if value is not None) or "no limit"


def _columns(row: KeyShown) -> tuple[str, ...]:
    if row.source == "config":
        state = "configuration file"
    elif row.revoked is not None:
        state = f"revoked {row.revoked}"
    elif not row.live_secrets:
        state = "expired"
    else:
        state = ", ".join(
            f"{each.fingerprint}… {'until ' + each.expires if each.expires else 'live'}" for each in row.live_secrets
        )
    return (row.name, row.team or "-", ",".join(row.routes), row.budget or "-", _rates(row), state)


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    if not rows:
        return []
    lines = [("name", "team", "routes", "budget", "per minute", "secrets"), *rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
