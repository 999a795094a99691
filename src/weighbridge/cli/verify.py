"""`weighbridge verify`, also as `weighbridge exchanges verify`."""

import sys

import msgspec
import typer

from weighbridge.cli.options import DEFAULT_CONFIG, ConfigFile, Json
from weighbridge.config import load, secret
from weighbridge.errors import ExitCode, StoreError
from weighbridge.exchanges.framing import Corrupt
from weighbridge.exchanges.keys import find_master_key
from weighbridge.exchanges.verify import Counts, Problem, VerifyReport
from weighbridge.exchanges.verify import verify as verify_store
from weighbridge.store.database import remembered_head
from weighbridge.store.layout import Layout
from weighbridge.trials.rederive import Rederived, rederive


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """The documented JSON shape of `verify --json`."""

    ok: bool
    summary: str
    problems: tuple[Problem, ...]
    counts: Counts
    derived: int
    """Verdicts of trials whose figures were derived again from their pairs."""
    notes: tuple[str, ...]


def verify(config: ConfigFile = DEFAULT_CONFIG, json: Json = False) -> None:
    """Check that the store is what was written: log, signatures, bodies, and each verdict down to its exchanges.

    One changed byte, a cut tail or a missing file is named, and so is a figure of a verdict that its pairs do not give.
    It may run while the gateway serves. Exit code 1 if
    anything is wrong. What it cannot prove is that the world was as recorded.
    """
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
    report = verify_store(layout, master=master, known_head=_known_head(layout, notes))
    # Stored bytes may all be as written and a verdict still not follow from them.
    derived = rederive(layout) if report.ok else Rederived(verdicts=0, disagreements=())
    broken = tuple(Problem(where=one.where, what=f"does not follow: {one.what}") for one in derived.disagreements)
    shape = Verified(
        ok=report.ok and not broken,
        summary=report.summary if not broken else f"NOT intact: {len(broken)} figures do not follow from their pairs",
        problems=(*report.problems, *broken),
        counts=report.counts,
        derived=derived.verdicts,
        notes=(*notes, *report.notes),
    )
    if json:
        sys.stdout.write(msgspec.json.encode(shape).decode() + "\n")
    else:
        _print(report, shape)
    if not shape.ok:
        raise typer.Exit(ExitCode.FAILED)


def _known_head(layout: Layout, notes: list[str]) -> tuple[int, str] | None:
    """What the keeper remembers outside the log's own files: a chain that was cut and signed anew is found by it."""
    try:
        head = remembered_head(layout.database)
    except StoreError as error:
        notes.append(f"what the keeper remembers of the log was not compared: {error}")
        return None
    return None if head is None else (head.seq, head.digest)


def _print(report: VerifyReport, shape: Verified) -> None:
    counts = report.counts
    for problem in shape.problems:
        print(f"{problem.where}: {problem.what}")
    print(shape.summary)
    print(
        f"{counts.exchanges:,} exchanges in {counts.segments:,} segments, {counts.bodies:,} bodies, "
        f"{counts.objects:,} objects, {counts.verdicts:,} verdicts with {counts.pairs:,} pairs, "
        f"{counts.chain_lines:,} signed lines"
    )
    if shape.derived and shape.ok:
        print(f"{shape.derived:,} verdicts of trials were derived again from their pairs and agree")
    if counts.exchanges_lost:
        print(f"{counts.exchanges_lost:,} exchanges have no end: their worker was gone before it")
    if counts.unsigned_bytes:
        print(f"{counts.unsigned_bytes:,} bytes of open segments are checksummed but not signed yet")
    for note in shape.notes:
        print(f"note: {note}")
