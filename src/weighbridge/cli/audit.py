"""`weighbridge audit`."""

import sys
from typing import Annotated

import msgspec
import typer

from weighbridge.app import keeper_of
from weighbridge.cli.key import when
from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile, Json
from weighbridge.cli.outside import outside
from weighbridge.config import load
from weighbridge.records.people import AuditEntry
from weighbridge.store.people_calls import AuditList, ShowAudit


class AuditShown(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON shape of `audit --json`."""

    entries: tuple[AuditEntry, ...]
    """Newest first."""


def audit(
    rows: Annotated[int, typer.Option(metavar="N", min=1, max=1000, help="How many, newest first.")] = 50,
    before: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Only those before this one, to read further back.")
    ] = None,
    as_json: Json = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Show the book of changes: who changed what, from what to what, and what was refused.

    Entries are signed and name each other; `weighbridge verify` finds one that was edited or taken out.
    """
    with keeper_of(load(config)) as control:
        found = control.call(ShowAudit(before_seq=before, rows_max=rows), AuditList).rows
    if as_json:
        sys.stdout.write(outside(msgspec.json.encode(AuditShown(entries=found)).decode()) + "\n")
        return
    for one in found:
        print(outside(line_of(one)))
    if not found:
        print("nothing is in the book yet")


def line_of(one: AuditEntry) -> str:
    said = f"{one.seq}  {when(one.time_ns)}  {one.by} ({one.via})  {one.action} {one.subject}"
    if one.before is not None or one.after is not None:
        said += f": {one.before or 'nothing'} -> {one.after or 'nothing'}"
    said += f" because {one.why}" if one.why else ""
    return said + (f"  REFUSED: {one.refused}" if one.refused is not None else "")
