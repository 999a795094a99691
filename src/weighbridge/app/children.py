"""Starting the processes that `serve` and the commands need, and listening to what they say."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from weighbridge.config import Loaded
from weighbridge.config.logs import LogFormat
from weighbridge.config.tree import TracesSection
from weighbridge.errors import ExitCode, StoreError, WeighbridgeError
from weighbridge.keeper.compile import ClientKeys
from weighbridge.keeper.parent import Ready, Refused, Start

WORKER_MODULE = "weighbridge.gateway.worker"
KEEPER_START_S_MAX = 30.0

# Fewer trips to the kernel for the large buffers of streams; on Python 3.13 half the cost of TLS chunks.
WORKER_ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "134217728"}

_START: msgspec.json.Decoder[Start] = msgspec.json.Decoder(Start)


class ChildRefusedError(WeighbridgeError):
    """A child could not start, and said why. `locked`: another keeper has the store."""

    def __init__(self, message: str, exit_code: int, *, locked: bool = False) -> None:
        super().__init__(message)
        self.exit_code = ExitCode(exit_code) if exit_code in tuple(ExitCode) else ExitCode.FAILED
        self.locked = locked


@dataclass
class Child:
    """A process and our end of its socketpair. Closing that end asks it to end."""

    process: subprocess.Popen[bytes]
    line: socket.socket

    def signal(self, number: signal.Signals) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)

    def stop(self, wait_s: float) -> None:
        """Close our end and wait; kill it if it takes longer than `wait_s`."""
        self.line.close()
        try:
            self.process.wait(wait_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def spawn(
    arguments: Sequence[str], fd_option: str, environment: dict[str, str] | None = None, keep: Sequence[int] = ()
) -> Child:
    """Start `python ARGUMENTS FD_OPTION N` with one end of a socketpair as descriptor N, in a session of its own.

    An own session: Ctrl-C in a terminal reaches the starter only, which then ends its children in order.
    keep: more descriptors that it inherits, under their numbers.
    """
    ours, theirs = socket.socketpair()
    try:
        process = subprocess.Popen(
            [sys.executable, *arguments, fd_option, str(theirs.fileno())],
            pass_fds=(theirs.fileno(), *keep),
            stdin=subprocess.DEVNULL,
            env=None if environment is None else {**os.environ, **environment},
            start_new_session=True,
        )
    except OSError as error:
        ours.close()
        raise StoreError(f"a process could not be started: {error}") from None
    finally:
        theirs.close()
    return Child(process, ours)


def keeper(
    config: str,
    *,
    resume: Path | None = None,
    for_command: bool = False,
    client_keys: ClientKeys = "all",
    quiet: bool = False,
    log_format: LogFormat = "text",
    admin: str | None = None,
) -> Child:
    """Start a keeper; `resume`, `for_command` and `admin` are those of `keeper.main.Options`."""
    arguments = ["-m", "weighbridge.app.keeper", "--config", config, "--client-keys", client_keys]
    arguments += ["--resume", str(resume)] if resume is not None else []
    arguments += ["--for-command"] if for_command else []
    arguments += ["--admin", admin] if admin is not None else []
    arguments += ["--log-format", log_format]
    return spawn([*arguments, *(["--quiet"] if quiet else [])], "--parent-fd")


def worker(loaded: Loaded, listen: str, index: int, *, plain: bool = False) -> Child:
    arguments = [
        "-m", WORKER_MODULE, "--store", str(loaded.store_path), "--folder", str(loaded.folder),
        "--listen", listen, "--index", str(index), "--workers", str(loaded.config.server.workers),
        *(["--plain"] if plain else []),
        "--log-format", loaded.config.server.log_format,
    ]  # fmt: skip
    return spawn(arguments, "--supervisor-fd", WORKER_ENVIRONMENT)


def admin(loaded: Loaded, listening: socket.socket) -> Child:
    arguments = [
        "-m", "weighbridge.app.dashboard", "--config", loaded.file, "--listen-fd", str(listening.fileno()),
        "--log-format", loaded.config.server.log_format,
    ]  # fmt: skip
    return spawn(arguments, "--supervisor-fd", keep=(listening.fileno(),))


def tracer(loaded: Loaded, traces: TracesSection) -> Child:
    arguments = [
        "-m", "weighbridge.app.traces", "--store", str(loaded.store_path), "--folder", str(loaded.folder),
        "--otlp", traces.otlp, "--service", traces.service, "--log-format", loaded.config.server.log_format,
        *([] if traces.headers is None else ["--headers", traces.headers]),
    ]  # fmt: skip
    return spawn(arguments, "--supervisor-fd")


def first_line(child: Child, wait_s: float) -> bytes:
    """What a child says first; empty if it ended without a word. Raises `TimeoutError`."""
    child.line.settimeout(wait_s)
    got = bytearray()
    try:
        while not got.endswith(b"\n"):
            part = child.line.recv(1 << 16)
            if not part:
                return b""
            got += part
    finally:
        child.line.settimeout(None)
    return bytes(got)


def keeper_ready(child: Child) -> Ready:
    """Wait until the keeper answers. Raises `ChildRefusedError` with its reason; the child is then gone."""
    try:
        line = first_line(child, KEEPER_START_S_MAX)
    except TimeoutError:
        child.stop(1.0)
        raise ChildRefusedError(f"the keeper was not ready within {KEEPER_START_S_MAX:.0f} seconds", 1) from None
    start = _START.decode(line) if line else None
    if isinstance(start, Ready):
        return start
    child.stop(5.0)
    if isinstance(start, Refused):
        raise ChildRefusedError(start.message, start.exit_code, locked=start.locked)
    raise ChildRefusedError(f"the keeper ended at its start with exit code {child.process.returncode}", 1)


def stop_all(children: Iterable[Child], wait_s: float) -> None:
    for child in children:
        child.stop(wait_s)
