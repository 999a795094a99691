"""Verdicts read back from the store."""

from weighbridge.errors import UsageError, WeighbridgeError
from weighbridge.exchanges.chain import Chain
from weighbridge.ledger.savings import JudgedRow
from weighbridge.records.canonical import digest, parse
from weighbridge.records.evidence import Verdict
from weighbridge.store.control import ControlClient, ListObjects, ObjectList
from weighbridge.store.layout import Layout
from weighbridge.trials.plan import read_object

LATEST = "latest"


def stored_verdict(control: ControlClient, layout: Layout, name: str) -> tuple[Verdict, bytes]:
    """The verdict of a trial (`t-…`, or its beginning), of an object (its digest), or the latest; with its exact bytes.

    Raises `UsageError` where nothing or more than one thing has this name.
    """
    rows = control.call(ListObjects(kind="verdict"), ObjectList).rows
    if not rows:
        raise WeighbridgeError("there is no verdict in this store yet; `weighbridge trial run` makes one")
    found: dict[str, tuple[Verdict, bytes]] = {}
    for row in reversed(rows):
        stored = layout.object(row.digest).read_bytes()
        if digest(stored) != row.digest:
            raise WeighbridgeError(f"verdict {row.digest[:12]} in the store was changed; run `weighbridge verify`")
        verdict = parse(stored, Verdict)
        if name == LATEST or row.digest == name:
            return verdict, stored
        # Of one trial that was run several times the last verdict counts.
        if verdict.trial is not None and (verdict.trial.startswith(name) or row.digest.startswith(name)):
            found.setdefault(verdict.trial, (verdict, stored))
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise UsageError(f"{name} is the beginning of several trials: {', '.join(sorted(found))}")
    known = sorted({row.label for row in rows})
    raise UsageError(f"there is no trial or verdict {name}; there are verdicts about {', '.join(known)} (try `latest`)")


def standing_verdicts(layout: Layout) -> dict[tuple[str, str, str], JudgedRow]:
    """(route, slice, candidate) -> the last verdict on it, by when it was drawn; read from the signed log's objects.

    Raises `WeighbridgeError` where a stored verdict was changed.
    """
    read = [
        read_object(layout, row.digest, Verdict) for row in Chain(layout).snapshot().objects if row.kind == "verdict"
    ]
    found: dict[tuple[str, str, str], JudgedRow] = {}
    for verdict in sorted(read, key=lambda one: one.created_ns):
        if verdict.route is None or verdict.candidate is None or verdict.incumbent is None:
            continue
        for row in verdict.verdicts:
            found[verdict.route, row.slice, verdict.candidate] = JudgedRow(
                verdict=row.verdict, difference=row.difference, interval=row.interval, margin=verdict.margin,
                trial=verdict.trial, incumbent=verdict.incumbent,
            )  # fmt: skip
    return found
