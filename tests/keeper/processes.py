"""A real keeper process for tests, on a real socket."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from weighbridge.keeper.parent import Ready, Refused, Start
from weighbridge.store.control import ControlClient
from weighbridge.store.layout import Layout

CONFIG = """
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
[capture]
bodies = true
purpose = "tests"
approved_by = "tests"
[[endpoint]]
name = "provider"
base_url = "{base_url}"
[[arm]]
name = "incumbent"
endpoint = "provider"
model = "model-a"
price = {{ input = "1", output = "2" }}
[[arm]]
name = "candidate"
endpoint = "provider"
model = "model-b"
price = {{ input = "0.1", output = "0.2" }}
[[route]]
name = "assistant"
incumbent = "incumbent"
candidates = ["candidate"]
slice_by = ["tag:task"]
[[key]]
name = "app"
secret = "file:app.key"
"""

CLIENT_KEY = "wb-test-client-key"


def write_config(folder: Path, base_url: str = "http://127.0.0.1:9/v1") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "app.key").write_text(CLIENT_KEY)
    file = folder / "weighbridge.toml"
    file.write_text(CONFIG.format(base_url=base_url))
    return file


@dataclass
class KeeperProcess:
    process: subprocess.Popen[bytes]
    parent: socket.socket
    layout: Layout
    said: list[Start] = field(default_factory=list)

    def client(self) -> ControlClient:
        return ControlClient(self.layout, timeout_s=30)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


def start_keeper(file: Path, *options: str) -> KeeperProcess:
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "weighbridge.app.keeper",
            "--config",
            str(file),
            "--parent-fd",
            str(theirs.fileno()),
            *options,
        ],
        pass_fds=(theirs.fileno(),),
        stderr=subprocess.PIPE,
        env={**os.environ},
        start_new_session=True,
    )
    theirs.close()
    return KeeperProcess(process, ours, Layout(file.parent / "weighbridge-data"))


def first_word(keeper: KeeperProcess) -> Start:
    line = keeper.parent.makefile("rb").readline()
    return msgspec.json.decode(line, type=Ready | Refused)


@contextmanager
def running_keeper(file: Path, *options: str) -> Iterator[KeeperProcess]:
    keeper = start_keeper(file, *options)
    try:
        said = first_word(keeper)
        assert isinstance(said, Ready), said
        keeper.said.append(said)
        yield keeper
    finally:
        keeper.parent.close()
        keeper.process.kill()
        keeper.process.wait()
        if keeper.process.stderr is not None:
            keeper.process.stderr.close()
