"""The list of alerts in a store: who appends, what is read back, and that it stays small."""

import errno
import os
import re
import threading
from pathlib import Path

import pytest

from weighbridge.records.alerts import ALERTS
from weighbridge.store import alerts
from weighbridge.store.alerts import AlertEvent, State, append_alert, read_alerts, runbook, still_raised
from weighbridge.store.layout import Layout


def event(number: int = 0, name: str = "endpoint-out", state: State = "raised", **labels: str) -> AlertEvent:
    return AlertEvent(time_ns=number, alert=name, state=state, subject="subject", lines=("a line",), labels=labels)


def test_what_was_appended_is_read_in_order(tmp_path: Path) -> None:
    for number in range(3):
        append_alert(Layout(tmp_path), event(number))
    assert (event(0), event(1), event(2)) == read_alerts(Layout(tmp_path))


def test_a_store_without_alerts_has_none(tmp_path: Path) -> None:
    assert () == read_alerts(Layout(tmp_path))


def test_a_line_that_is_torn_or_of_another_version_is_left_out(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    append_alert(layout, event(1))
    written = layout.alerts.read_bytes().rstrip(b"\0")
    layout.alerts.write_bytes(
        written + b'{"time_ns":2,"alert":"of-a-later-version","state":"raised","subject":""}\n{"time_ns":3,"al\n'
    )
    append_alert(layout, event(4))
    assert [1, 4] == [one.time_ns for one in read_alerts(layout)]


def test_the_list_keeps_two_files_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "BYTES_MAX", 1000)
    monkeypatch.setattr(alerts, "ROOM_BYTES", 200)
    layout = Layout(tmp_path)
    for number in range(100):
        append_alert(layout, event(number))
    kept = [one.time_ns for one in read_alerts(layout)]
    assert list(range(kept[0], 100)) == kept
    assert 5 <= len(kept) < 30
    assert {"alerts.jsonl", "alerts.old.jsonl"} == {path.name for path in tmp_path.iterdir()}
    assert all(path.stat().st_size <= 1000 + 2 * 200 for path in tmp_path.iterdir())


def test_two_who_append_at_once_lose_nothing_of_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "BYTES_MAX", 20_000)
    layout = Layout(tmp_path)

    def append(start: int) -> None:
        for number in range(start, start + 100):
            append_alert(layout, event(number))

    threads = [threading.Thread(target=append, args=(start,)) for start in (0, 1000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {*range(100), *range(1000, 1100)} == {one.time_ns for one in read_alerts(layout)}


def test_on_a_full_disk_there_is_room_for_some_more_and_then_nothing_is_torn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout, pwrite = Layout(tmp_path), os.pwrite
    append_alert(layout, event(0))
    size = layout.alerts.stat().st_size

    def on_a_full_disk(fd: int, data: bytes, offset: int) -> int:
        if offset >= size:
            raise OSError(errno.ENOSPC, "the disk is full")
        return pwrite(fd, data[: size - offset], offset)

    monkeypatch.setattr(os, "pwrite", on_a_full_disk)
    fitted, stopped_by = 0, None
    try:
        while fitted < 10_000:
            append_alert(layout, event(fitted + 1))
            fitted += 1
    except OSError as error:
        stopped_by = error.errno
    monkeypatch.undo()
    assert errno.ENOSPC == stopped_by
    assert 50 < fitted < 10_000
    append_alert(layout, event(fitted + 1))
    assert list(range(fitted + 2)) == [one.time_ns for one in read_alerts(layout)]


def test_what_is_raised_now_is_told_apart_by_its_labels_and_what_only_happened_is_not_in_it() -> None:
    events = (
        event(1, endpoint="a"),
        event(2, endpoint="b"),
        event(3, state="ended", endpoint="a"),
        event(4, name="ramp-rolled-back", route="r"),
        event(5, name="price-implausible", arm="x"),
    )
    assert [2, 5] == [one.time_ns for one in still_raised(events)]


def test_every_alert_has_its_runbook_and_every_runbook_its_alert() -> None:
    folder = Path(alerts.__file__).parent / "runbooks"
    assert sorted(kind.name for kind in ALERTS) == sorted(path.stem for path in folder.iterdir())
    for kind in ALERTS:
        text = runbook(kind.name)
        assert "## It is over when" in text, kind.name
        assert re.search(r"^## .*(mend it|Decide|can be done)$", text, re.MULTILINE | re.IGNORECASE), kind.name
