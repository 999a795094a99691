"""Processes of a benchmark: ports, start and end, CPU time and memory of a whole tree, from /proc.

CPU time stays meaningful on a busy machine, where requests per second do not.
"""

import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

BYTECODE = Path(".cache/bench/bytecode")


class NotMeasuredError(Exception):
    """What was to be measured did not happen; the message says what did."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(port: int) -> None:
    for _ in range(200):
        if listens(port):
            return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")


def raise_file_limit() -> None:
    """As many open files as the system lets us have; what is started afterwards may have as many."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def touch_memory(share: float = 0.75) -> None:
    """Write once to most of the free memory, in a process that ends.

    The host of a virtual machine gives a page when it is first touched, which costs the guest some seven times what
    writing it costs later. Without this a run that fills the page cache measures the host, and who comes first pays.
    """
    available = next(
        int(line.split()[1]) << 10
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemAvailable:")
    )
    code = f"b = bytearray({int(available * share)})\nfor at in range(0, len(b), 4096): b[at] = 1"
    subprocess.run([sys.executable, "-I", "-c", code], check=True)


def tree(pid: int) -> Iterator[int]:
    """A process, its children, theirs and so on."""
    yield pid
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                yield from tree(int(child))
    except OSError:
        return


def cpu_ns(pid: int) -> int:
    """Nanoseconds on a CPU of a process tree, over the threads that live."""
    total = 0
    for member in tree(pid):
        try:
            for task in os.listdir(f"/proc/{member}/task"):
                total += int(Path(f"/proc/{member}/task/{task}/schedstat").read_text().split()[0])
        except OSError:
            continue  # it ended while we looked
    return total


def rss_mb(pid: int) -> float:
    """Resident memory of a process tree in MB of 10^6 bytes. Pages that two processes share count twice."""
    kib = 0
    for member in tree(pid):
        for line in Path(f"/proc/{member}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                kib += int(line.split()[1])
    return kib * 1024 / 1e6


def environment_with_bytecode() -> dict[str, str]:
    """This environment, in which Python keeps what it has compiled, as it does in an installation.

    Where it may not (`PYTHONDONTWRITEBYTECODE`, a folder that is read-only), each start compiles every module again:
    two more seconds of CPU, and memory that is never given back.
    """
    return {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(BYTECODE.absolute())}


def end(process: "subprocess.Popen[bytes]", seconds: float = 20) -> None:
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def running(
    arguments: Sequence[str], port: int, environment: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that listens on `port`."""
    process = subprocess.Popen(
        arguments, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **(environment or {})}
    )
    try:
        wait_for(port)
        yield process
    finally:
        end(process)
