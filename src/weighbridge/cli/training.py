"""`exchanges export --for training`: only rows that a model may be trained on, and the reason for each that is not."""

import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

from weighbridge.config import Loaded
from weighbridge.errors import ExitCode, UsageError
from weighbridge.exchanges.bodystore import BodyReader
from weighbridge.exchanges.export import exported
from weighbridge.exchanges.rows import ExportedExchange
from weighbridge.licenses import profile
from weighbridge.licenses.provenance import Provenance
from weighbridge.licenses.training import NOT_CLEARANCE, Rights
from weighbridge.records.evidence import LicenseWord
from weighbridge.records.exchange import Exchange


class TrainingExchange(ExportedExchange, frozen=True, kw_only=True):
    """The documented object of `exchanges export --for training`: an exported exchange and whose terms it is under."""

    provenance: Provenance


class RefusedExchange(msgspec.Struct, frozen=True, kw_only=True):
    """The documented object of the list of refused rows."""

    id: str
    training: LicenseWord
    terms: tuple[str, ...]
    reasons: tuple[str, ...]
    on: str


def export_for_training(
    loaded: Loaded,
    log: Iterable[Exchange],
    chosen: Iterable[Exchange],
    bodies: BodyReader | None,
    out: Path | None,
    refused: Path | None,
) -> int:
    """Write permitted rows to `out` (standard output without it), refused ones to `refused` or standard error.

    `log`: every exchange of users, so that earlier turns of a conversation are known. Returns the exit code: 2 where a
    row was refused.
    """
    if out is not None and refused is not None and out.resolve() == refused.resolve():
        raise UsageError(f"--refused {refused}: is the file of --out; name another")
    rights = Rights(loaded, profile(loaded.config.organization, loaded.file))
    rights.earlier(log)
    good, bad = 0, dict[str, int]()
    rows = sys.stdout.buffer if out is None else out.open("wb")
    lines = None if refused is None else refused.open("wb")
    try:
        for exchange in chosen:
            body = None if bodies is None else bodies.get(exchange.request)
            found = rights.of(exchange, body if isinstance(body, bytes) else None)
            if found.permitted:
                row = exported(exchange, bodies)
                rows.write(_line(TrainingExchange(**msgspec.structs.asdict(row), provenance=found)))
                good += 1
                continue
            bad[found.training] = bad.get(found.training, 0) + 1
            one = RefusedExchange(
                id=exchange.id, training=found.training, terms=found.terms, reasons=found.reasons, on=found.on
            )
            if lines is not None:
                lines.write(_line(one))
            else:
                print(f"refused {one.id}: {one.training}: {' '.join(one.reasons)}", file=sys.stderr)
        rows.flush()
    finally:
        if out is not None:
            rows.close()
        if lines is not None:
            lines.close()
    words = ", ".join(f"{count} {word.replace('_', ' ')}" for word, count in sorted(bad.items()))
    tail = f", {sum(bad.values())} refused ({words})" if bad else ", none refused"
    where = "" if out is None else f" to {out}"
    print(f"{good} exchanges written{where}{tail}. {NOT_CLEARANCE}", file=sys.stderr)
    return ExitCode.UNDECIDED if bad else ExitCode.DONE


def _line(record: msgspec.Struct) -> bytes:
    return msgspec.json.encode(record) + b"\n"
