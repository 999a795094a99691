"""A pool of grading processes. Each does one job at a time; one that passes its deadline is ended and replaced."""

import os
import selectors
import subprocess
import sys
import threading
import time
import weakref
from typing import Protocol

import msgspec

from weighbridge.errors import WeighbridgeError
from weighbridge.grading.child import READY, framed
from weighbridge.grading.jobs import Done, Failed, Job

CHILD = "weighbridge.grading.child"
PROCESSES_MAX = 64
START_S_MAX = 120.0


class GradingProcessError(WeighbridgeError):
    """No grading process can be had."""


class OverTime(Exception):  # noqa: N818
    """The job was still going on at its deadline; its process was ended."""


class Workers(Protocol):
    """Where jobs are done: processes here, or on a cluster."""

    @property
    def width(self) -> int:
        """How many jobs are done at once."""
        ...

    def do(self, job: Job, limit_s: float) -> Done:
        """Do one job; may be called from several threads. Raises `OverTime`."""
        ...


class _Process:
    def __init__(self) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, "-m", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        assert self._popen.stdin is not None  # noqa: S101 (asked for above)
        assert self._popen.stdout is not None  # noqa: S101
        self._in, self._out = self._popen.stdin, self._popen.stdout
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._out, selectors.EVENT_READ)
        if self._read(START_S_MAX) != READY:
            self.end()
            raise GradingProcessError("a grading process could not be started; its standard error says why")

    def ask(self, body: bytes, limit_s: float) -> bytes | None:
        """The answer, or `None` where the process ended. Raises `OverTime`."""
        try:
            self._in.write(framed(body))
            self._in.flush()
        except BrokenPipeError:
            return None
        return self._read(limit_s)

    def _read(self, limit_s: float) -> bytes | None:
        deadline = time.monotonic() + limit_s
        held = b""
        while len(held) < 4 or len(held) < 4 + int.from_bytes(held[:4], "little"):
            if not self._selector.select(max(0.0, deadline - time.monotonic())):
                raise OverTime
            part = os.read(self._out.fileno(), 1 << 16)
            if not part:
                return None
            held += part
        return held[4:]

    def end(self) -> None:
        self._selector.close()
        self._popen.kill()
        self._popen.wait()
        for stream in (self._in, self._out):
            # What was still to be written goes nowhere: the reader is gone.
            try:
                stream.close()
            except BrokenPipeError:
                continue


def _end_all(idle: list[_Process]) -> None:
    while idle:
        idle.pop().end()


class Children:
    """A `Workers` of at most `most` local processes, started when they are needed.

    A thread that finds all of them busy waits for one. They end with this object, with `close`, or when this process
    does (their input ends).
    """

    def __init__(self, most: int | None = None) -> None:
        self.width = most or min(PROCESSES_MAX, max(2, os.cpu_count() or 1))
        self._free = threading.Semaphore(self.width)
        self._idle: list[_Process] = []
        self._lock = threading.Lock()
        weakref.finalize(self, _end_all, self._idle)
        self._encode = msgspec.msgpack.Encoder().encode
        self._decoder: msgspec.msgpack.Decoder[Done] = msgspec.msgpack.Decoder(Done)

    def do(self, job: Job, limit_s: float) -> Done:
        body = self._encode(job)
        with self._free:
            # A first try may meet a process that died while it was idle.
            for _ in range(2):
                with self._lock:
                    process = self._idle.pop() if self._idle else None
                process = process or _Process()
                try:
                    answer = process.ask(body, limit_s)
                except BaseException:
                    process.end()
                    raise
                if answer is not None:
                    with self._lock:
                        self._idle.append(process)
                    return self._decoder.decode(answer)
                process.end()
        return Failed(reason="a grading process ended twice on the same answer, out of memory perhaps")

    def close(self) -> None:
        with self._lock:
            _end_all(self._idle)
