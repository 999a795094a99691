"""`weighbridge license statement`: metered tokens and attributed revenue as a signed file, and its verification."""

import sys
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from weighbridge.app import keeper_of
from weighbridge.cli.license_watch import write
from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile, Json
from weighbridge.config import Loaded, load
from weighbridge.errors import ExitCode, StoreError, UsageError
from weighbridge.exchanges.chain import Chain, public_key
from weighbridge.exchanges.reader import read
from weighbridge.licenses import statement as stating
from weighbridge.records.statement import Metered, SignedStatement, Statement
from weighbridge.store.control import Signature, SignStatement
from weighbridge.store.layout import Layout

STATEMENT_EXAMPLES = (
    "Examples: `weighbridge license statement --from 2026-07 --until 2026-09 --revenue revenue.csv --out q3.json`, "
    "`weighbridge license statement --check q3.json`."
)


def statement(
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where to write the signed file.")] = None,
    first: Annotated[str | None, typer.Option("--from", metavar="YYYY-MM", help="The first month.")] = None,
    last: Annotated[str | None, typer.Option("--until", metavar="YYYY-MM", help="The last month, included.")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", metavar="NAME", help="Only this model, as arms name it; may repeat. Else all open ones."
        ),
    ] = None,
    revenue: Annotated[
        Path | None,
        typer.Option("--revenue", metavar="FILE", help="CSV: month,model,revenue_usd. What is absent stays unknown."),
    ] = None,
    checked: Annotated[
        Path | None, typer.Option("--check", metavar="FILE", help="Verify a statement; write and sign nothing.")
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", metavar="HEX", help="With --check: the public key that must have signed.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    json: Json = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """State metered tokens by model, month and purpose, with the revenue that you attribute, signed by the store's key.

    Figures are sums over the exchange log, retries included; revenue is what you say, and unknown where you do not.
    Exit code with --check: 1 where file, signature or figures are wrong, 2 where nobody here knows the key.
    """
    if checked is not None:
        _check(checked, key, config, json)
        return
    if out is not None and out.exists() and not force:
        raise UsageError(f"{out} is there already; --force writes over it")
    asked = stating.Asked(
        first_month=None if first is None else stating.month_of(first, "--from"),
        last_month=None if last is None else stating.month_of(last, "--until"),
        models=tuple(model or ()),
    )
    given = {} if revenue is None else stating.read_revenue(revenue)
    loaded = load(config)
    layout = _layout(loaded)
    with keeper_of(loaded) as keeper:
        made = stating.statement(
            _meter(loaded, layout, asked), given, asked,
            store_key=public_key(layout), now_ns=time.time_ns(), notes=_notes(layout),
        )  # fmt: skip
        body = msgspec.json.encode(made)
        span = f"{asked.first_month or 'start'}..{asked.last_month or 'now'}"
        got = keeper.call(SignStatement(label=span, body=body), Signature)
    signed = SignedStatement(**msgspec.structs.asdict(made), signature=got.signature)
    if out is not None:
        out.write_bytes(msgspec.json.encode(signed) + b"\n")
        print(f"weighbridge: signed and written to {out}; stored as {got.digest[:16]}", file=sys.stderr)
    if json:
        write(signed)
    else:
        _show(made)


def _check(file: Path, key: str | None, config: Path, json: bool) -> None:
    raw = file.read_bytes()
    made, _, _ = stating.read_signed(raw, str(file))
    now: tuple[Metered, ...] | None = None
    if config != DEFAULT_CONFIG or config.exists():
        loaded = load(config)
        layout = Layout(loaded.store_path)
        own = public_key(layout) if layout.signing_public.exists() else None
        if own == made.store_key:
            key = key or own
            asked = stating.Asked(first_month=made.first_month, last_month=made.last_month, models=made.models)
            until = made.months_not_over[0] if made.months_not_over else None
            now = _meter(loaded, layout, asked)
            if until is not None:  # a month that was not over when this was signed has grown since
                now = tuple(row for row in now if row.month < until) + tuple(
                    row for row in made.metered if row.month >= until
                )
    found = stating.check(raw, str(file), key, now)
    if json:
        write(found)
    else:
        _show(found.statement)
        for line in (*found.problems, *found.differences):
            print(f"WRONG: {line}")
        if found.ok:
            known = "the expected key" if found.key_known else "a key that nobody here knows: compare it with --key HEX"
            follows = "; its figures follow from the log" if now is not None else ""
            print(f"Intact, signed by {found.signed_by} ({known}){follows}.")
    if not found.ok:
        raise typer.Exit(ExitCode.FAILED)
    raise typer.Exit(ExitCode.DONE if found.key_known else ExitCode.UNDECIDED)


def _layout(loaded: Loaded) -> Layout:
    layout = Layout(loaded.store_path)
    if not layout.root.is_dir():
        raise StoreError(f"there is no store at {layout.root}; `weighbridge serve` makes one when it first starts")
    return layout


def _meter(loaded: Loaded, layout: Layout, asked: stating.Asked) -> tuple[Metered, ...]:
    since = None if asked.first_month is None else stating.month_starts_ns(asked.first_month)
    until = None if asked.last_month is None else stating.month_starts_ns(asked.last_month, after=1)
    return stating.meter(read(layout, since_ns=since, until_ns=until), loaded, asked)


def _notes(layout: Layout) -> tuple[str, ...]:
    gone = [row for row in Chain(layout).snapshot().dropped.values() if row.path.startswith("log/sealed/")]
    return ("Part of the log was deleted by retention; older months may be incomplete.",) if gone else ()


def _show(made: Statement) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False, markup=False, emoji=False)
    table = Table(box=None, pad_edge=False)
    for name in ("month", "model", "purpose", "terms"):
        table.add_column(name, overflow="fold")
    for name in ("calls", "uncounted", "input", "output", "total", "revenue USD"):
        table.add_column(name, justify="right")
    money = {(row.month, row.model): row.revenue_usd for row in made.revenue}
    for row in made.metered:
        own = money.get((row.month, row.model)) or "unknown"
        table.add_row(
            row.month + (" (not over)" if row.month in made.months_not_over else ""), row.model, row.purpose,
            " + ".join(row.terms) or "not known", f"{row.calls:,}", f"{row.calls_uncounted:,}",
            f"{row.input + row.cache_read + row.cache_write:,}", f"{row.output + row.reasoning:,}", f"{row.total:,}",
            own if row.purpose == "user" else "",
        )  # fmt: skip
    console.print(table)
    for note in made.notes:
        console.print(note)
