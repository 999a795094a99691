"""A real `weighbridge serve` for tests: its processes, its log lines, and requests through it."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.keeper.processes import CLIENT_KEY, write_config
from weighbridge.store.control import ControlClient
from weighbridge.store.layout import Layout

__all__ = ["CLIENT_KEY", "Answer", "Serving", "ask", "serving", "write_config"]

WAIT_S_MAX = 60.0


class Answer:
    def __init__(self, reply: http.client.HTTPResponse) -> None:
        self.status = reply.status
        self.id = reply.getheader("x-weighbridge-id")
        self.table = reply.getheader("x-weighbridge-table")
        self.arm = reply.getheader("x-weighbridge-arm")
        self.body = reply.read()


def ask(
    listen: str,
    *,
    model: str = "assistant",
    key: str = CLIENT_KEY,
    timeout_s: float = WAIT_S_MAX,
    stream: bool = False,
    conversation: str | None = None,
) -> Answer:
    """One chat completion. Raises `OSError` or `http.client.HTTPException` where it breaks off."""
    connection = http.client.HTTPConnection(listen, timeout=timeout_s)
    try:
        body = {"model": model, "messages": [{"role": "user", "content": "hello"}], "stream": stream}
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        if conversation is not None:
            headers["x-conversation-id"] = conversation
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        return Answer(connection.getresponse())
    finally:
        connection.close()


class Serving:
    """A serve process and what it logs. `until` waits for a log line; everything ends with the context."""

    def __init__(self, file: Path, environment: dict[str, str] | None = None) -> None:
        self.file = file
        self.layout = Layout(file.parent / "weighbridge-data")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "weighbridge", "serve", "--config", str(file)],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
        self.log: list[str] = []
        self._more = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._more:
                self.log.append(line.rstrip("\n"))
                self._more.notify_all()
        with self._more:
            self._ended = True
            self._more.notify_all()

    def until(self, pattern: str, *, after: int = 0) -> re.Match[str]:
        """The first log line (from number `after` on) that matches."""
        deadline = time.monotonic() + WAIT_S_MAX
        at = after
        with self._more:
            while True:
                while at < len(self.log):
                    found = re.search(pattern, self.log[at])
                    if found:
                        return found
                    at += 1
                if self._ended or not self._more.wait(deadline - time.monotonic()):
                    raise AssertionError(f"no log line {pattern!r} in:\n" + "\n".join(self.log))

    def ready(self) -> "Serving":
        self.listen = self.until(r"serve: ready on (\S+) with")[1]
        self.admin = self.until(r"metrics and health: http://(\S+)/metrics")[1]
        return self

    def control(self) -> ControlClient:
        return ControlClient(self.layout, timeout_s=WAIT_S_MAX)

    def page(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(self.admin, timeout=WAIT_S_MAX)
        try:
            connection.request("GET", path)
            reply = connection.getresponse()
            return reply.status, reply.read().decode()
        finally:
            connection.close()

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric over all series that have the labels."""
        total = 0.0
        for line in self.page("/metrics")[1].splitlines():
            found = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
            if found and found[1] == name:
                got = dict(re.findall(r'(\w+)="([^"]*)"', found[2] or ""))
                if labels.items() <= got.items():
                    total += float(found[3])
        return total

    def children(self) -> dict[str, list[int]]:
        """Pids of the keeper and the workers, by a word in their command line."""
        found: dict[str, list[int]] = {
            "weighbridge.app.keeper": [], "weighbridge.gateway.worker": [], "weighbridge.app.dashboard": []
        }  # fmt: skip
        for pid in _descendants(self.process.pid):
            command = _command(pid)
            for word in found:
                if word in command:
                    found[word].append(pid)
        return found

    def worker_pids(self) -> list[int]:
        return self.children()["weighbridge.gateway.worker"]

    def keeper_pid(self) -> int:
        return self.children()["weighbridge.app.keeper"][0]

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.send(number)
        return self.process.wait(WAIT_S_MAX)


def _descendants(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [int(child) for child in children]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def gone(pid: int) -> bool:
    """Waits until a process is no more."""
    deadline = time.monotonic() + WAIT_S_MAX
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


@contextmanager
def serving(file: Path, environment: dict[str, str] | None = None) -> Iterator[Serving]:
    """`weighbridge serve`, ready. It and its children are gone afterwards, whatever a test did."""
    started = Serving(file, environment)
    try:
        yield started.ready()
    finally:
        pids = [pid for found in started.children().values() for pid in found]
        started.process.kill()
        started.process.wait()
        for pid in pids:
            assert gone(pid), f"a child of a killed supervisor is still there: {_command(pid)}"
