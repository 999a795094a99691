"""What is past its days: bodies by day and team with their key, sealed segments whole.

A body is kept for `keep_days` full days after the day of its capture; a segment until its last frame is
`keep_rows_days` old. Both say so in the chain first and are removed then.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from weighbridge.exchanges.bodies import DAY_NS, day_name
from weighbridge.exchanges.chain import Chain, Dropped, SigningKey, Tombstone
from weighbridge.exchanges.files import nothing
from weighbridge.exchanges.seal import remove_folder, sweep
from weighbridge.store.layout import Layout


@dataclass(frozen=True)
class Retired:
    body_folders: int
    """Folders (one day of one team) whose bodies are gone."""
    segments: int


def retire(
    layout: Layout,
    chain: Chain,
    key: SigningKey,
    *,
    keep_days: int,
    keep_rows_days: int,
    time_ns: int,
    step: Callable[[str], object] = nothing,
) -> Retired:
    """Retire what is too old at `time_ns`. For the keeper, once a day. Raises `Corrupt`, `OSError`."""
    sweep(layout, chain)
    snapshot = chain.snapshot()
    today = time_ns // DAY_NS
    oldest_day = day_name(today - keep_days)
    folders = [folder for folder in _body_folders(layout) if folder.parent.name < oldest_day]
    stones = tuple(Tombstone(kind="retired", day=folder.parent.name, team=folder.name) for folder in folders)
    dropped = [
        Dropped(path=name, why="retired")
        for name in sorted(snapshot.bodies)
        if layout.root.joinpath(name).parent in folders
    ]
    oldest_ns = time_ns - keep_rows_days * DAY_NS
    segments = 0
    for source, file in sorted(snapshot.segments.items()):
        if file.last_ns is not None and file.last_ns < oldest_ns:
            segments += 1
            dropped.append(Dropped(path=file.path, why="retired"))
            dropped += [
                Dropped(path=name, why="retired") for name, row in snapshot.rows.items() if row.source == source
            ]
    if not stones and not dropped:
        return Retired(0, 0)
    chain.append(key, time_ns=time_ns, dropped=tuple(dropped), tombstones=stones)
    step("committed")
    for folder in folders:
        remove_folder(folder)
        step("folder removed")
    for gone in dropped:
        layout.root.joinpath(gone.path).unlink(missing_ok=True)
    step("removed")
    return Retired(len(folders), segments)


def _body_folders(layout: Layout) -> list[Path]:
    if not layout.bodies.is_dir():
        return []
    days = [day for day in sorted(layout.bodies.iterdir()) if day.is_dir() and day != layout.open_bodies]
    return [team for day in days for team in sorted(day.iterdir()) if team.is_dir()]
