"""`weighbridge exchanges`: look at, export, erase and verify what went through the gateway."""

import heapq
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from weighbridge.app import keeper_of
from weighbridge.cli.importing import import_
from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile, Json
from weighbridge.cli.outside import outside
from weighbridge.cli.training import export_for_training
from weighbridge.cli.verify import verify as verify_command
from weighbridge.config import Loaded, load, secret
from weighbridge.errors import ExitCode, StoreError, UsageError
from weighbridge.exchanges import export as exporting
from weighbridge.exchanges.bodystore import BodyReader
from weighbridge.exchanges.framing import Corrupt
from weighbridge.exchanges.keys import find_master_key
from weighbridge.exchanges.reader import read
from weighbridge.exchanges.rows import ExchangeRow, ExportedExchange, row_of
from weighbridge.records.exchange import Exchange
from weighbridge.records.frames import Outcome, Purpose
from weighbridge.records.usage import usd
from weighbridge.store.control import Erase, ErasedCount
from weighbridge.store.layout import Layout

app = typer.Typer(
    add_completion=False,
    help="What went through the gateway: list, show, export, import, erase, verify.",
    no_args_is_help=True,
)

PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
_AGO = re.compile(r"(\d+)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}

RouteOption = Annotated[str | None, typer.Option(help="Only this route.")]
SliceOption = Annotated[str | None, typer.Option(help="Only this slice, e.g. task=refund.")]
PurposeOption = Annotated[str | None, typer.Option(help=f"Only this purpose: {', '.join(PURPOSES)}.")]
SinceOption = Annotated[
    str | None, typer.Option(help="Only from this time on: 2026-11-25, 2026-11-25T08:00 (UTC), or 2h, 3d ago.")
]


@app.callback()
def exchanges() -> None:
    """What went through the gateway: list, show, export, erase, verify."""


class ExchangeList(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON shape of `exchanges list --json`: newest first, without bodies."""

    exchanges: tuple[ExchangeRow, ...]


class ErasedShape(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON shape of `exchanges erase --json`."""

    exchanges: int
    bodies: int
    notes: tuple[str, ...]
    """What could not be erased, or not yet, one sentence each."""


def since_ns(text: str | None, now: datetime) -> int | None:
    """`3d` (ago) or an ISO date or time, UTC unless it says otherwise, as nanoseconds. Raises `UsageError`."""
    if text is None:
        return None
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return (int(now.timestamp()) - int(ago[1]) * _SECONDS[ago[2]]) * 1_000_000_000
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"--since {text!r}: write a date or time (2026-11-25T08:00, UTC) or an age (90m, 2h, 3d)"
        ) from None
    return int(at.replace(tzinfo=at.tzinfo or UTC).timestamp()) * 1_000_000_000


def _purpose(text: str | None) -> Purpose | None:
    found = next((purpose for purpose in PURPOSES if purpose == text), None)
    if text is not None and found is None:
        raise UsageError(f"--purpose {text!r}: write one of {', '.join(PURPOSES)}")
    return found


def _layout(loaded: Loaded) -> Layout:
    layout = Layout(loaded.store_path)
    if not layout.root.is_dir():
        raise StoreError(f"there is no store at {layout.root}; `weighbridge serve` makes one when it first starts")
    return layout


def master_of(loaded: Loaded, layout: Layout) -> bytes | None:
    """The key that bodies are encrypted with, `None` where none was ever made. Raises `StoreError`."""
    reference = loaded.config.capture.encrypt_key
    try:
        return find_master_key(layout, None if reference is None else secret(reference, loaded.folder).encode())
    except LookupError as error:
        raise StoreError(f"captured bodies cannot be read: capture.encrypt_key: {error}") from None


def _bodies(loaded: Loaded, layout: Layout) -> BodyReader | None:
    master = master_of(loaded, layout)
    return None if master is None else BodyReader(layout, master)


@contextmanager
def _damage_told() -> Iterator[list[Corrupt]]:
    """Collects damage, so that everything else is still shown; says so, and fails, at the end."""
    damage: list[Corrupt] = []
    yield damage
    for one in damage:
        print(f"weighbridge: {outside(str(one))}", file=sys.stderr)
    if damage:
        raise typer.Exit(ExitCode.FAILED)


@app.command("list", epilog="Example: `weighbridge exchanges list --route assistant --since 2h`")
def list_(
    route: RouteOption = None,
    slice_: Annotated[str | None, typer.Option("--slice", help="Only this slice, e.g. task=refund.")] = None,
    purpose: PurposeOption = None,
    outcome: Annotated[str | None, typer.Option(help=f"Only this outcome: {', '.join(OUTCOMES)}.")] = None,
    arm: Annotated[str | None, typer.Option(help="Only those that this arm was asked for.")] = None,
    key: Annotated[str | None, typer.Option(help="Only those of this client key.")] = None,
    since: SinceOption = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many, the newest.")] = 50,
    config: ConfigFile = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """List exchanges, the newest first; what was logged a moment ago is among them."""
    layout = _layout(load(config))
    if outcome is not None and outcome not in OUTCOMES:
        raise UsageError(f"--outcome {outcome!r}: write one of {', '.join(OUTCOMES)}")
    with _damage_told() as damage:
        rows = read(
            layout, route=route, slice=slice_, purpose=_purpose(purpose),
            since_ns=since_ns(since, datetime.now(UTC)), damaged=damage.append,
        )  # fmt: skip
        found = heapq.nlargest(
            limit,
            (
                one
                for one in rows
                if outcome in (None, one.outcome) and arm in (None, one.arm) and key in (None, one.key)
            ),
            key=lambda one: (one.time_ns, one.id),
        )  # fmt: skip
        if json:
            _print_json(ExchangeList(exchanges=tuple(map(row_of, found))))
        elif found:
            _print_table(found)
        else:
            print("No exchange fits. Send a request through the gateway, or loosen the filters.", file=sys.stderr)


@app.command(epilog="Example: `weighbridge exchanges show 19abc0123456789f-2a`")
def show(
    exchange_id: Annotated[str, typer.Argument(metavar="ID", help="An exchange's id, as in x-weighbridge-id.")],
    config: ConfigFile = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Show one exchange: what was asked, every attempt, what it cost, and both bodies where they were captured."""
    loaded = load(config)
    layout = _layout(loaded)
    with _damage_told() as damage:
        found = next(read(layout, ids=[exchange_id], damaged=damage.append), None)
        if found is None and not damage:
            raise UsageError(
                f"there is no exchange {exchange_id!r} in {layout.root}; it may still be running, "
                "and `weighbridge exchanges list` shows which there are"
            )
        if found is not None:
            whole = exporting.exported(found, _bodies(loaded, layout))
            if json:
                _print_json(whole)
            else:
                _print_one(whole)


@app.command(
    epilog="Examples: `weighbridge exchanges export --format jsonl --route assistant > traffic.jsonl`, "
    "`weighbridge exchanges export --for training --out rows.jsonl --refused refused.jsonl`"
)
def export(
    format_: Annotated[
        Literal["jsonl", "parquet"], typer.Option("--format", help="One JSON object a line, or one Parquet file.")
    ] = "jsonl",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to; standard output for jsonl without it.")
    ] = None,
    route: RouteOption = None,
    slice_: Annotated[str | None, typer.Option("--slice", help="Only this slice, e.g. task=refund.")] = None,
    purpose: PurposeOption = None,
    since: SinceOption = None,
    for_: Annotated[
        Literal["training"] | None,
        typer.Option(
            "--for",
            help="Only rows that a model may be trained on, tuned prompts, few-shot examples and rewards included, "
            "as recorded of their terms. Exit code 2: some were refused.",
        ),
    ] = None,
    refused: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --for: refused rows with reasons, JSON lines; else standard error."),
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Export exchanges with their bodies, in the order of the log; unsealed ones are included.

    A body that was not captured is `null`, an erased one is `"erased"`. An export is not legal clearance.
    """
    if format_ == "parquet" and out is None:
        raise UsageError("--format parquet needs a file: add --out FILE.parquet")
    if for_ is not None and format_ != "jsonl":
        raise UsageError("--for training writes JSON lines, so that each row carries its provenance; drop --format")
    if refused is not None and for_ is None:
        raise UsageError("--refused lists what --for training refuses; add --for training")
    loaded = load(config)
    layout = _layout(loaded)
    bodies = _bodies(loaded, layout)
    with _damage_told() as damage:
        found = read(
            layout, route=route, slice=slice_, purpose=_purpose(purpose),
            since_ns=since_ns(since, datetime.now(UTC)), damaged=damage.append,
        )  # fmt: skip
        if for_ is not None:
            users = read(layout, purpose="user", damaged=lambda _: None)  # the second reading tells it
            code = export_for_training(loaded, users, found, bodies, out, refused)
            if code and not damage:
                raise typer.Exit(code)
            return
        if out is None:
            for line in exporting.jsonl(found, bodies):
                sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
            return
        count = 0
        if format_ == "parquet":
            count = exporting.parquet(found, bodies, out)
        else:
            with out.open("wb") as file:
                for line in exporting.jsonl(found, bodies):
                    file.write(line)
                    count += 1
        print(f"{count} exchanges written to {out}", file=sys.stderr)


@app.command(epilog="Example: `weighbridge exchanges erase --user ann@example.org`")
def erase(
    ids: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    exchange: Annotated[list[str] | None, typer.Option(metavar="ID", help="An exchange; may be given again.")] = None,
    key: Annotated[str | None, typer.Option(help="Everything that this client key sent.")] = None,
    user: Annotated[str | None, typer.Option(help="Everything of this user (the request's user field).")] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Erase captured bodies and what was derived from them, for good; a signed tombstone stays.

    Replays of an erased exchange in trials are erased too. What the log says without the text (times, tokens, cost)
    stays, and `weighbridge verify` then says how many bodies were erased.
    """
    if ids:
        raise UsageError(
            f"erase takes no bare {ids[0]!r}; write --exchange {ids[0]} for an exchange, --key NAME for all of a "
            "client key, --user NAME for all of a user. What is erased does not come back."
        )
    if (exchange is not None) + (key is not None) + (user is not None) != 1:
        raise UsageError(
            "say what to erase: exactly one of --exchange ID (may be given again), --key NAME, --user NAME"
        )
    loaded = load(config)
    _layout(loaded)
    with keeper_of(loaded) as control:
        done = control.call(Erase(exchanges=tuple(exchange or ()), key=key, user=user), ErasedCount)
    if json:
        _print_json(ErasedShape(exchanges=done.exchanges, bodies=done.bodies, notes=done.notes))
    else:
        print(f"{done.bodies} bodies of {done.exchanges} exchanges are erased.")
        for note in done.notes:
            print(f"note: {outside(note)}")


app.command("verify")(verify_command)
app.command(
    "import", epilog="Example: `weighbridge exchanges import log.jsonl --route assistant --tag source=october`"
)(import_)


def _print_json(record: msgspec.Struct) -> None:
    sys.stdout.write(outside(msgspec.json.encode(record).decode()) + "\n")


def _print_table(found: list[Exchange]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("time (UTC)", "id", "route", "slice", "arm", "outcome"):
        table.add_column(name, no_wrap=name in ("time (UTC)", "id"), overflow="fold")
    for name in ("ms", "tokens", "cost"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in found:
        row = row_of(one)
        outcome = one.outcome if one.purpose == "user" else f"{one.outcome} ({one.purpose})"
        if one.outcome != "ok":
            outcome = outside(f"{outcome} {row.status or ''} {row.error or ''}".rstrip())
        table.add_row(
            row.time[:19].replace("T", " "), one.id, outside(one.route), outside(one.slice), outside(one.arm or "-"),
            outcome, "-" if one.duration_ns is None else f"{one.duration_ns / 1e6:,.0f}",
            "unknown" if one.usage is None else f"{one.usage.total:,}", usd(one.cost_nanousd),
        )  # fmt: skip
    _console().print(table)


def _console() -> Console:
    # Piped output is for programs and files: no wrapping at 80 columns.
    # No markup and no :emoji: either: what is printed comes from outside.
    width = None if sys.stdout.isatty() else 200
    return Console(width=width, highlight=False, markup=False, emoji=False, soft_wrap=False)


def _print_one(whole: ExportedExchange) -> None:
    console = _console()
    for name, value in (
        ("id", whole.id),
        ("time", whole.time),
        ("route", f"{whole.route} (table {whole.table}), slice {whole.slice}"),
        ("key", f"{whole.key}, team {whole.team or '-'}, user {whole.user or '-'}"),
        ("tags", ", ".join(f"{tag}={value}" for tag, values in whole.tags.items() for value in values) or "-"),
        ("purpose", whole.purpose + (f" {whole.trial} of {whole.item}" if whole.trial else "")),
        ("outcome", f"{whole.outcome} {whole.status or ''} {whole.error or ''}".rstrip()),
        ("tokens", "unknown" if whole.usage is None else _tokens(msgspec.structs.asdict(whole.usage))),
        ("cost", f"{usd(whole.cost_nanousd)} {whole.price_version or ''}".rstrip()),
        ("took", _took(whole.timings.duration_ns, whole.timings.first_byte_ns)),
    ):
        console.print(f"{name:8} ", end="", style="bold")
        console.print(outside(value))
    for attempt in whole.attempts:
        what = f"{attempt.model} at {attempt.endpoint} ({attempt.arm}), status {attempt.status or '-'}"
        edits = f", edited {', '.join(attempt.edits)}" if attempt.edits else ""
        console.print(outside(f"attempt {attempt.attempt}: {what}{edits}, {attempt.error or 'ok'}"))
    for name, body in (("request", whole.request), ("response", whole.response)):
        text = bytes(body)
        console.print(name, style="bold", end="")
        console.print(" (redacted)" if whole.redacted and name == "request" else "")
        shown = {b"null": "not captured", b'"erased"': "erased"}.get(text)
        print(shown or outside(msgspec.json.format(text, indent=2).decode(), lines=True))


def _tokens(classes: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in classes.items() if count)


def _took(duration_ns: int | None, first_byte_ns: int | None) -> str:
    if duration_ns is None:
        return "unknown: the worker ended before it"
    first = "" if first_byte_ns is None else f", first byte after {first_byte_ns / 1e6:,.0f} ms"
    return f"{duration_ns / 1e6:,.0f} ms{first}"
