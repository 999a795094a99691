"""What was paid for, written down as it happens: `trials/TRIAL/items.jsonl`, one outcome a line.

Each line is with the operating system before the next replay is counted, so that a killed process loses none; disks are
synced in groups. A torn last line is passed over. Lines hold ids and scores, never text, so erasing an exchange means
dropping its lines. What was replayed but not written down is found again in the exchange log.
"""

import fcntl
import os
import time
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from weighbridge.errors import StoreError, WeighbridgeError
from weighbridge.trials.outcome import Outcome, Unjudged
from weighbridge.trials.plan import TrialPlan

DONE = "finished"
SYNC_EVERY_S = 1.0
SYNC_EVERY_LINES = 64


class _Head(msgspec.Struct, frozen=True, kw_only=True, tag="head"):
    trial: str
    judging: str
    """Digest of graders and gold files: scores by others are not used again."""


_encode = msgspec.json.Encoder().encode
_decode_head = msgspec.json.Decoder(_Head).decode
_decode = msgspec.json.Decoder(Outcome).decode


def judging_digest(plan: TrialPlan) -> str:
    return sha256(msgspec.json.encode((plan.graders, plan.gold), order="deterministic")).hexdigest()


class Journal:
    """One running trial's journal; a second process is refused. Use as a context manager."""

    def __init__(self, folder: Path, plan: TrialPlan) -> None:
        self._folder, self._plan = folder, plan
        self._path, self._done = folder / "items.jsonl", folder / DONE
        self._file: int | None = None
        self._lock: int | None = None
        self._lines, self._synced_at = 0, time.monotonic()

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            self._lock = None
            raise WeighbridgeError(
                f"trial {self._plan.trial} is running in another process; wait for it, or end it and run this again"
            ) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.fsync(self._file)
            os.close(self._file)
            self._file = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def open(self) -> dict[str, Outcome]:
        """Read what is there and go on behind it. Outcomes of other graders or gold are put aside, with a new file."""
        found, whole = self._read()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        if not whole:
            flags |= os.O_TRUNC
        try:
            self._file = os.open(self._path, flags, 0o600)
        except OSError as error:
            raise StoreError(f"the trial's journal {self._path} cannot be written: {error.strerror}") from None
        if not whole:
            self._write(_Head(trial=self._plan.trial, judging=judging_digest(self._plan)))
            for outcome in found.values():
                self._write(outcome)
        return found

    def _read(self) -> tuple[dict[str, Outcome], bool]:
        """Outcomes by item, the last line of an item counts; False where the file has to be written anew."""
        return _outcomes(self._path, self._plan)

    def add(self, outcome: Outcome) -> None:
        """Write one outcome down. It survives the end of this process at once, and a power cut a second later."""
        self._write(outcome)
        self._lines += 1
        if self._lines >= SYNC_EVERY_LINES or time.monotonic() - self._synced_at > SYNC_EVERY_S:
            assert self._file is not None  # noqa: S101 (`open` comes first)
            os.fdatasync(self._file)
            self._lines, self._synced_at = 0, time.monotonic()

    def _write(self, row: msgspec.Struct) -> None:
        if self._file is None:
            raise RuntimeError("the journal is not open")
        line = _encode(row) + b"\n"
        try:
            written = os.write(self._file, line)
        except OSError as error:
            raise StoreError(
                f"the trial's journal {self._path} cannot be written: {error.strerror}; make room and run the trial "
                "again, nothing is paid twice"
            ) from None
        if written != len(line):
            raise StoreError(f"the disk is full: {self._path} was cut; make room and run the trial again")

    def finish(self) -> None:
        """Nothing is left to do for this plan."""
        self._done.touch(mode=0o600)


def is_finished(folder: Path) -> bool:
    """Was the trial of this folder carried to its end?"""
    return (folder / DONE).exists()


def read_outcomes(folder: Path, plan: TrialPlan) -> dict[str, Outcome]:
    """What a trial has written down so far, by item; nothing is locked or changed, it may be running."""
    return _outcomes(folder / "items.jsonl", plan, failed=True)[0]


def _outcomes(path: Path, plan: TrialPlan, *, failed: bool = False) -> tuple[dict[str, Outcome], bool]:
    """Outcomes by item, the last line of an item counts; False where the file has to be written anew.

    failed: those that could not be judged too; without, they are left out, so that the next run tries them again.
    """
    try:
        stored = path.read_bytes()
    except FileNotFoundError:
        return {}, False
    lines = stored.split(b"\n")
    try:
        head = _decode_head(lines[0])
    except msgspec.MsgspecError:
        return {}, False
    if head.trial != plan.trial or head.judging != judging_digest(plan):
        return {}, False
    found: dict[str, Outcome] = {}
    whole = stored.endswith(b"\n")
    for line in filter(None, lines[1:]):
        try:
            outcome = _decode(line)
        except msgspec.MsgspecError:
            whole = False
            continue
        if isinstance(outcome, Unjudged) and not failed:
            found.pop(outcome.item, None)
        else:
            found[outcome.item] = outcome
    return found, whole
