"""`weighbridge verify`, also as `weighbridge exchanges verify`."""

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile, Json
from weighbridge.cli.outside import outside
from weighbridge.config import Loaded, load, secret
from weighbridge.errors import ConfigError, ExitCode, StoreError
from weighbridge.exchanges.archive import read_archive
from weighbridge.exchanges.chain import fingerprint, is_signed_by
from weighbridge.exchanges.framing import Corrupt
from weighbridge.exchanges.keys import find_master_key
from weighbridge.exchanges.verify import Counts, Problem, VerifyReport
from weighbridge.exchanges.verify import verify as verify_store
from weighbridge.keeper.audit import problems
from weighbridge.keeper.ledger import books_of
from weighbridge.ledger.agreement import Agreement, agree
from weighbridge.ramp.custody import Custody
from weighbridge.ramp.custody import check as check_custody
from weighbridge.store.database import Remembered, remembered, stored_audit, stored_tables
from weighbridge.store.layout import Layout
from weighbridge.trials.rederive import Rederived, rederive


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON shape of `verify --json`."""

    ok: bool
    summary: str
    problems: tuple[Problem, ...]
    signing_key: str | None
    """Fingerprint of the public key that signatures were held against, as `serve` shows it; `null`: there is none."""
    counts: Counts
    derived: int
    """Verdicts of trials whose figures were derived again from their pairs."""
    ramp_changes: int
    """Changes of ramps, each walked back to the verdict and the approvals that allowed it."""
    route_tables: int
    """Stored route tables whose shares were held against the change that they name."""
    audit_entries: int
    """Entries of the book of changes, each held against its signature and the entry before."""
    budget_windows: int
    """Windows of budgets whose sums were counted again from the log."""
    budget_charges: int
    """What was charged to them: one for each request and budget."""
    notes: tuple[str, ...]


class VerifiedBackup(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON shape of `verify --backup FILE --json`."""

    ok: bool
    summary: str
    made_ns: int | None = None
    version: str | None = None
    members: int = 0
    bytes: int = 0
    signing_key: str | None = None


def verify(
    backup: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Check this backup instead of the store.", exists=True)
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Check that the store is what was written: log, signatures, bodies, and each verdict down to its exchanges.

    One changed byte, a cut tail or a missing file is named, and so is a figure of a verdict that its pairs do not give,
    and a sum of a budget that is not what the log charged to it.
    It may run while the gateway serves. The newest head and the signing key are compared with what the keeper's
    database remembers. Exit code 1 if anything is wrong. What it cannot prove is that the world was as recorded.
    """
    if backup is not None:
        _verify_backup(backup, json)
        return
    loaded = load(config)
    layout = Layout(loaded.store_path)
    reference = loaded.config.capture.encrypt_key
    notes: list[str] = []
    master: bytes | None = None
    try:
        master = find_master_key(layout, None if reference is None else secret(reference, loaded.folder).encode())
    except LookupError as error:
        notes.append(f"capture.encrypt_key: {error}")
    except Corrupt:
        pass  # the verification itself names the key file
    report = verify_store(layout, master=master, known=_known(layout, notes))
    # Stored bytes may all be as written and a verdict still not follow from them.
    derived = rederive(layout) if report.ok else Rederived(verdicts=0, disagreements=())
    custody = _custody(layout, notes) if report.ok else None
    book = _book(layout, report.signing_key, notes)
    sums = _sums(layout, loaded, notes) if report.ok else Agreement()
    broken = (
        *(Problem(where=one.where, what=f"does not follow: {one.what}") for one in derived.disagreements),
        *(Problem(where=one.where, what=one.what) for one in (() if custody is None else custody.broken)),
        *book[1],
        *(Problem(where=one.where, what=one.what) for one in sums.differences),
    )
    shape = Verified(
        ok=report.ok and not broken,
        summary=report.summary
        if not broken
        else f"NOT intact: {len(broken)} figures, shares, entries or sums do not follow from what they name",
        problems=(*report.problems, *broken),
        signing_key=None if report.signing_key is None else fingerprint(report.signing_key),
        counts=report.counts,
        derived=derived.verdicts,
        ramp_changes=0 if custody is None else custody.changes,
        route_tables=0 if custody is None else custody.tables,
        audit_entries=book[0],
        budget_windows=sums.windows,
        budget_charges=sums.requests,
        notes=(*notes, *report.notes),
    )
    if json:
        sys.stdout.write(outside(msgspec.json.encode(shape).decode()) + "\n")
    else:
        _print(report, shape)
    if not shape.ok:
        raise typer.Exit(ExitCode.FAILED)


def _verify_backup(path: Path, json: bool) -> None:
    try:
        archive = read_archive(path)
    except StoreError as error:
        shape = VerifiedBackup(ok=False, summary=str(error))
    else:
        facts = archive.manifest.facts
        shape = VerifiedBackup(
            ok=True, summary="intact", made_ns=facts.made_ns, version=facts.version,
            members=len(archive.manifest.members), bytes=archive.bytes, signing_key=fingerprint(facts.signing_key),
        )  # fmt: skip
    if json:
        sys.stdout.write(outside(msgspec.json.encode(shape).decode()) + "\n")
    else:
        print(outside(shape.summary))
        if shape.ok:
            print(f"{shape.members:,} files, {shape.bytes:,} bytes, made by weighbridge {shape.version}")
            print(f"signed with key {shape.signing_key}")
    if not shape.ok:
        raise typer.Exit(ExitCode.FAILED)


def _custody(layout: Layout, notes: list[str]) -> Custody:
    """Who allowed which share."""
    try:
        tables = stored_tables(layout.database)
    except StoreError as error:
        notes.append(f"route tables were not held against the ramps that allowed them: {error}")
        tables = ()
    return check_custody(layout, tables)


def _book(layout: Layout, signing_key: str | None, notes: list[str]) -> tuple[int, tuple[Problem, ...]]:
    """How many entries the book of changes has, and what is wrong with them."""
    try:
        rows = stored_audit(layout.database)
    except StoreError as error:
        notes.append(f"the book of changes was not read: {error}")
        return 0, ()
    if signing_key is None:
        return len(rows), ()
    found = problems(rows, lambda body, signature: is_signed_by(signing_key, body, signature))
    return len(rows), tuple(Problem(where=f"book of changes, entry {seq}", what=what) for seq, what in found)


def _sums(layout: Layout, loaded: Loaded, notes: list[str]) -> Agreement:
    """Do the budgets say what the log says?"""
    try:
        found = books_of(layout, loaded)
        agreement = Agreement() if found is None else agree(layout, found[1], found[0])
    except (StoreError, ConfigError, OSError, ValueError) as error:
        notes.append(f"sums of budgets were not counted again: {error}")
        return Agreement()
    notes += agreement.notes
    return agreement


def _known(layout: Layout, notes: list[str]) -> Remembered | None:
    """What the keeper remembers outside the log's own files: a log that was put back or signed anew is found by it."""
    try:
        known = remembered(layout.database)
    except StoreError as error:
        notes.append(f"what the keeper remembers of the log was not compared: {error}")
        return None
    if known is None or known.head is None or known.signing_key is None:
        why = f"there is no database at {layout.database}" if known is None else "the keeper's database is new"
        notes.append(
            f"{why}, so the newest head and the signing key were compared with nothing: a log put back to an older "
            "state, or signed anew with another key, would not be found. Compare the fingerprint with your own record"
        )
    return known


def _print(report: VerifyReport, shape: Verified) -> None:
    counts = report.counts
    for problem in shape.problems:
        print(outside(f"{problem.where}: {problem.what}"))
    print(shape.summary)
    print(
        f"{counts.exchanges:,} exchanges in {counts.segments:,} segments, {counts.bodies:,} bodies, "
        f"{counts.objects:,} objects, {counts.verdicts:,} verdicts with {counts.pairs:,} pairs, "
        f"{counts.chain_lines:,} signed lines"
    )
    if shape.derived and shape.ok:
        print(f"{shape.derived:,} verdicts of trials were derived again from their pairs and agree")
    if shape.ramp_changes and shape.ok:
        print(
            f"{shape.ramp_changes:,} changes of ramps lead back to their verdicts, and {shape.route_tables:,} route "
            "tables hold the shares that were allowed"
        )
    if shape.audit_entries and shape.ok:
        print(f"{shape.audit_entries:,} entries of the book of changes are signed and follow each other")
    if shape.budget_windows and shape.ok:
        print(
            f"{shape.budget_windows:,} windows of budgets hold what the log charges to them, {shape.budget_charges:,} "
            "charges in all"
        )
    if counts.exchanges_lost:
        print(f"{counts.exchanges_lost:,} exchanges have no end: their worker was gone before it")
    if counts.unsigned_bytes:
        print(f"{counts.unsigned_bytes:,} bytes of open segments are checksummed but not signed yet")
    if shape.signing_key is not None:
        print(f"signed with key {shape.signing_key}")
    for note in shape.notes:
        print(f"note: {outside(note)}")
