"""A store as it is at one moment, in a folder of links and copies: what a backup is made of, while the store goes on.

Sealed files, objects and sealed bodies never change, so a link keeps them even when retention removes the original.
What may change is copied: the chain, open segments, databases, journals. Secret keys, locks and sockets stay behind.

For the thread that keeps the log: nothing is sealed, erased or retired meanwhile, and workers only add to their open
segments. Frames are copied before bodies, because a body is written before the frame that speaks of it.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Collection
from pathlib import Path

from weighbridge.exchanges.live import is_live
from weighbridge.exchanges.segments import open_names
from weighbridge.store.checked import copy_database
from weighbridge.store.layout import Layout

BUSY = "busy"
"""Locked by whoever reads a snapshot; the file tells a forgotten snapshot from one in use."""
CONTENT = "store"
_ZEROS = 64 << 10
"""Of the zeros behind the frames of an open segment, so many are kept."""
_PIECE = 1 << 20


def take_snapshot(layout: Layout, name: str) -> tuple[Path, tuple[str, ...]]:
    """Make `snapshots/NAME/store`. Returns it, and the workers that may still write. Raises `OSError`, `StoreError`."""
    folder = layout.snapshots / name
    content = folder / CONTENT
    content.mkdir(parents=True, mode=0o700)
    (folder / BUSY).touch(0o600)
    live = tuple(sorted({name for name in _incarnations(layout) if is_live(layout, name)}))
    for _, _, path in (*open_names(layout.open_log, ".wbx"), *open_names(layout.open_bodies, ".wbb")):
        with contextlib.suppress(FileNotFoundError):  # a body segment that stayed empty is removed by its worker
            _copy_open(path, _place(layout, path, content))
    for path in sorted(layout.root.rglob("*")):
        if _is_kept(layout, path):
            to = _place(layout, path, content)
            if path.suffix == ".db":
                copy_database(path, to)
            elif _never_changes(layout, path):
                _link(path, to)
            else:
                with contextlib.suppress(FileNotFoundError):
                    shutil.copyfile(path, to)
    return content, live


def hold(folder: Path) -> int:
    """Keep a snapshot from being swept away for as long as the descriptor is open. Raises `OSError`."""
    fd = os.open(folder / BUSY, os.O_RDWR | os.O_CLOEXEC)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def sweep_snapshots(layout: Layout, keep: Collection[str] = ()) -> None:
    """Remove the snapshots that nobody uses: they keep erased and retired files on the disk."""
    with contextlib.suppress(FileNotFoundError):
        for folder in layout.snapshots.iterdir():
            if folder.name not in keep and not _in_use(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _in_use(folder: Path) -> bool:
    try:
        fd = os.open(folder / BUSY, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _incarnations(layout: Layout) -> set[str]:
    opened = {name for name, _, _ in open_names(layout.open_log, ".wbx")}
    return opened | {path.stem for path in layout.run.glob("*.live")}


def _place(layout: Layout, path: Path, content: Path) -> Path:
    to = content / path.relative_to(layout.root)
    to.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return to


def _is_kept(layout: Layout, path: Path) -> bool:
    first = path.relative_to(layout.root).parts[0]
    if first in (layout.run.name, layout.snapshots.name, layout.restoring.name):
        return False
    if path in (layout.lock, layout.signing_key, layout.master_key) or path.parent in (
        layout.open_log,
        layout.open_bodies,
    ):
        return False
    if path.name.startswith(".") or path.name.endswith(("-wal", "-shm", "-journal")):
        return False
    return path.is_file() and not path.is_symlink()


def _never_changes(layout: Layout, path: Path) -> bool:
    return any(
        path.is_relative_to(folder) for folder in (layout.sealed_log, layout.rows, layout.objects, layout.bodies)
    )


def _link(path: Path, to: Path) -> None:
    try:
        os.link(path, to)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(path, to)  # a file system without links


def _copy_open(path: Path, to: Path) -> None:
    """A segment in use, without most of the zeros that it was given in advance."""
    with path.open("rb") as file, to.open("wb") as out:
        end = _content_end(file.fileno())
        left = min(end + _ZEROS, os.fstat(file.fileno()).st_size)
        while left and (piece := file.read(min(_PIECE, left))):
            out.write(piece)
            left -= len(piece)


def _content_end(fd: int) -> int:
    """Behind the last byte that is not zero."""
    at = os.fstat(fd).st_size
    while at > 0:
        start = max(0, at - _PIECE)
        content = os.pread(fd, at - start, start).rstrip(b"\0")
        if content:
            return start + len(content)
        at = start
    return 0
