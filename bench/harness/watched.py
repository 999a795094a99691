"""What the kernel says of processes: memory, open files, threads, and which of their sockets lead where."""

import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

ESTABLISHED = "01"
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Seen(NamedTuple):
    resident_bytes: int
    files: int
    threads: int


def seen(pid: int) -> Seen:
    """Raises `OSError` where the process is gone."""
    proc = Path(f"/proc/{pid}")
    threads = next(line for line in (proc / "status").read_text().splitlines() if line.startswith("Threads:"))
    resident = int((proc / "statm").read_text().split()[1]) * _PAGE
    return Seen(resident, len(os.listdir(proc / "fd")), int(threads.split()[1]))


def cpu_s(pid: int) -> float:
    """CPU time of a process so far, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Sockets(NamedTuple):
    """Established TCP connections of a process, by the port at this end and at the other."""

    local: Counter[int]
    remote: Counter[int]
    other: int
    """Sockets that are no established TCP connection: listening ones, those of the local machine."""


def sockets(pid: int) -> Sockets:
    own: set[str] = set()
    folder = Path(f"/proc/{pid}/fd")
    for name in os.listdir(folder):
        try:
            target = os.readlink(folder / name)
        except OSError:
            continue  # closed since
        if target.startswith("socket:["):
            own.add(target[8:-1])
    ends: dict[str, tuple[int, int]] = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            row = line.split()
            if row[9] in own and row[3] == ESTABLISHED:
                # By socket: while others open and close connections the kernel's table repeats rows.
                ends[row[9]] = (int(row[1].rpartition(":")[2], 16), int(row[2].rpartition(":")[2], 16))
    local, remote = Counter(here for here, _ in ends.values()), Counter(there for _, there in ends.values())
    return Sockets(local, remote, len(own) - len(ends))
