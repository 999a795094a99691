"""`serve` looks at its own metrics and has the keeper tell people; without a keeper it tells them itself."""

import asyncio
import contextlib
import logging
import os
import shutil
import time
from collections.abc import Mapping

from weighbridge.app.watch import Case, Change, Series, Watch
from weighbridge.config import Loaded
from weighbridge.errors import ControlError
from weighbridge.keeper.alerts import Alerts
from weighbridge.records.alerts import ALERTS, BY_NAME, Said
from weighbridge.store.alerts import AlertEvent, events_in, keep_room, read_alerts, still_raised
from weighbridge.store.control import ControlClient, Done, TellAlert
from weighbridge.store.layout import Layout

log = logging.getLogger("serve")

TELL_S_MAX = 5.0


class Watchman:
    """`loaded` is what was in force at the start: it says whom to tell only while there is no keeper."""

    def __init__(self, loaded: Loaded, layout: Layout) -> None:
        self._loaded, self._layout = loaded, layout
        self._alerts = Alerts(layout)
        with contextlib.suppress(OSError):  # the first alert that does not fit says so
            keep_room(layout)
        events = read_alerts(layout)
        looked_at = [event.case for event in still_raised(events) if not isinstance(BY_NAME[event.alert].rule, Said)]
        self._watch = Watch(looked_at)
        self._counts = dict.fromkeys((kind.name for kind in ALERTS), 0)
        self._file, self._read_to = 0, 0
        self._raised: dict[Case, AlertEvent] = {}
        self._count()
        self._counts = dict.fromkeys(self._counts, 0)  # what was raised before this start is not counted again
        self._raised = {event.case: event for event in still_raised(events)}

    def series(self) -> dict[Series, float]:
        """Free space and alerts, for the metrics. A counter is there from the start, at 0: else its first growth is
        none for Prometheus."""
        raised = dict.fromkeys(self._counts, 0)
        for name, _ in tuple(self._raised):
            raised[name] += 1
        rows: dict[Series, float] = {}
        for name, count in self._counts.items():
            rows["weighbridge_alerts_total", (("alert", name),)] = float(count)
            rows["weighbridge_alerts_raised", (("alert", name),)] = float(raised[name])
        try:
            rows["weighbridge_store_free_bytes", ()] = float(shutil.disk_usage(self._layout.root).free)
        except OSError as error:
            log.error("the space left for %s is not known: %s", self._layout.root, error)
        return rows

    async def look(self, series: Mapping[Series, float]) -> None:
        """The event loop's; `series()` may be any thread's."""
        self._count()
        for change in self._watch.look(time.monotonic(), series):
            kind, labels = BY_NAME[change.alert], ", ".join(f"{k} {v}" for k, v in sorted(change.labels.items()))
            subject = f"{kind.title}{labels and f' ({labels})'}"
            if change.state == "ended":
                subject = f"over: {subject}"
            await self._tell(change, subject, (kind.meaning, change.says) if change.state == "raised" else ())

    async def _tell(self, change: Change, subject: str, lines: tuple[str, ...]) -> None:
        message = TellAlert(
            alert=change.alert, state=change.state, subject=subject, lines=lines, labels=change.labels
        )  # fmt: skip
        try:
            await asyncio.to_thread(self._ask_keeper, message)
        except ControlError:
            self._alerts.send(
                self._loaded, change.alert, subject, lines, state=change.state, labels=change.labels
            )  # fmt: skip

    def _ask_keeper(self, message: TellAlert) -> None:
        with ControlClient(self._layout, timeout_s=TELL_S_MAX) as control:
            control.call(message, Done)

    def _count(self) -> None:
        """Read what was appended to the list since the last time, by whomever."""
        try:
            with self._layout.alerts.open("rb") as file:
                number = os.fstat(file.fileno()).st_ino
                if number != self._file:
                    self._file, self._read_to = number, 0  # it was put aside, and begins anew
                file.seek(self._read_to)
                content = file.read()
        except OSError:
            return  # there is none yet, or it was put aside just now
        whole = content[: content.rfind(b"\n") + 1]
        self._read_to += len(whole)
        new = tuple(events_in(whole))
        for event in new:
            self._counts[event.alert] += event.state == "raised"
        self._raised = {event.case: event for event in still_raised((*self._raised.values(), *new))}
