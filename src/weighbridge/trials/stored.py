"""Verdicts read back from the store."""

from weighbridge.errors import UsageError, WeighbridgeError
from weighbridge.records.canonical import digest, parse
from weighbridge.records.evidence import Verdict
from weighbridge.store.control import ControlClient, ListObjects, ObjectList
from weighbridge.store.layout import Layout

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
