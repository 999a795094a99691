"""What was raised and what ended, one JSON line each, in `alerts.jsonl` of the store; and the runbooks.

The keeper and `serve` both append, so that an alert is there also when the other one is not. Behind the last line stand
zeros: room for some more lines on a disk that is full, which is when they matter. Past a megabyte the file is put aside
as `alerts.old.jsonl`, the one before it is dropped. It is for people: nothing is decided by it.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterable
from importlib.resources import files
from typing import Final, Literal

import msgspec

from weighbridge.records.alerts import BY_NAME, Said
from weighbridge.store.layout import Layout

State = Literal["raised", "ended"]

BYTES_MAX: Final = 1 << 20
ROOM_BYTES: Final = 16 << 10


class AlertEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One line. `labels` tell one case from another, e.g. the endpoint; `alert` is a name of `records.alerts`."""

    time_ns: int
    alert: str
    state: State
    subject: str
    lines: tuple[str, ...] = ()
    labels: dict[str, str] = {}

    @property
    def case(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        return self.alert, tuple(sorted(self.labels.items()))


_EVENT: msgspec.json.Decoder[AlertEvent] = msgspec.json.Decoder(AlertEvent)


def append_alert(layout: Layout, event: AlertEvent) -> None:
    """Raises `OSError` where even the room kept for it is used up; the caller has said it in its log by then."""
    line = msgspec.json.encode(event) + b"\n"
    while True:
        fd = os.open(layout.alerts, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            found = os.fstat(fd)
            if not os.path.samestat(found, os.stat(layout.alerts)):
                continue  # somebody put it aside between the opening and the lock
            end = len(os.pread(fd, found.st_size, 0).rstrip(b"\0"))
            if end and end + len(line) > BYTES_MAX:
                os.replace(layout.alerts, layout.alerts_old)
                continue
            size = found.st_size
            if size < end + len(line):
                size = _more_room(fd, size, len(line))
            os.pwrite(fd, line, end)
            if size < end + len(line) + ROOM_BYTES:
                with contextlib.suppress(OSError):  # then the next one may be the last that fits
                    _more_room(fd, size, ROOM_BYTES)
            return
        except FileNotFoundError:
            continue
        finally:
            os.close(fd)


def keep_room(layout: Layout) -> None:
    """Have the list there, with room, before the disk is full. Raises `OSError`."""
    fd = os.open(layout.alerts, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        if not os.fstat(fd).st_size:
            _more_room(fd, 0, ROOM_BYTES)
    finally:
        os.close(fd)


def _more_room(fd: int, size: int, least: int) -> int:
    """Zeros, really written: a disk that is full later has room for what is written over them. The new size."""
    wanted = -(-least // ROOM_BYTES) * ROOM_BYTES
    if os.pwrite(fd, bytes(wanted), size) != wanted:
        os.ftruncate(fd, size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return size + wanted


def read_alerts(layout: Layout) -> tuple[AlertEvent, ...]:
    """Everything that is kept, the oldest first. A line that cannot be read, or of a kind unknown here, is left out."""
    events: list[AlertEvent] = []
    for path in (layout.alerts_old, layout.alerts):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue
        events += events_in(content)
    return tuple(events)


def events_in(content: bytes) -> Iterable[AlertEvent]:
    for line in content.rstrip(b"\0").split(b"\n"):
        try:
            event = _EVENT.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        if event.alert in BY_NAME:
            yield event


def still_raised(events: Iterable[AlertEvent]) -> tuple[AlertEvent, ...]:
    """Those that were raised and have not ended. What a process only says once, such as a rollback, has no end."""
    found: dict[tuple[str, tuple[tuple[str, str], ...]], AlertEvent] = {}
    for event in events:
        found.pop(event.case, None)
        rule = BY_NAME[event.alert].rule
        if event.state == "raised" and (not isinstance(rule, Said) or rule.ends):
            found[event.case] = event
    return tuple(found.values())


def runbook(name: str) -> str:
    """The text of a runbook: how to find the cause of this alert and mend it. Raises `KeyError` for a name unknown."""
    return files("weighbridge.store").joinpath("runbooks", f"{BY_NAME[name].name}.md").read_text("utf-8")
