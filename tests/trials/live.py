"""A real store with real traffic through a real gateway, for trials end to end."""

import asyncio
import contextlib
import io
import json
import os
import shutil
import sys
from asyncio import StreamReader, StreamWriter
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tests.fakes.dialects import Spoken
from tests.fakes.provider import FakeProvider, Script
from weighbridge.app import gateway_of
from weighbridge.cli import root
from weighbridge.config import load
from weighbridge.records.evidence import Evidence, Verdict
from weighbridge.upstream import Client
from weighbridge.wire.conversation import Dialect
from weighbridge.wire.dialects import PATHS

SECRET = "live-test-key"
NOTHING: Mapping[str, Any] = {}
TASKS = ("sum", "date")

CONFIG = """
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
[store]
path = "store"
[capture]
bodies = true
purpose = "trials"
approved_by = "test"
[[endpoint]]
name = "host"
base_url = "{url}"
[[arm]]
name = "old"
endpoint = "host"
model = "old-model"
weights = "closed"
price = {{ input = "5.00", output = "15.00" }}
[[arm]]
name = "new"
endpoint = "host"
model = "new-model"
weights = "open"
terms = "Apache-2.0"
price = {{ input = "1.00", output = "2.00" }}
[[arm]]
name = "banana"
endpoint = "host"
model = "banana-model"
weights = "open"
[[arm]]
name = "unknown"
endpoint = "host"
model = "no-such-model"
weights = "open"
[[route]]
name = "assistant"
incumbent = "old"
candidates = ["new", "banana", "unknown"]
slice_by = ["tag:task"]
[[grader]]
route = "assistant"
kind = "number"
extract = "last_number"
[[key]]
name = "app"
secret = "env:LIVE_TEST_KEY"
"""

Rule = Callable[[str, str], Script]
"""(model, prompt) -> how to answer."""


def gold(number: int) -> int:
    return number * 7


def well(model: str, prompt: str) -> Script:
    """The incumbent and the candidate know every answer; one says banana; one model is not there."""
    number = int(prompt.rsplit(" ", 1)[1])
    if model == "banana-model":
        return Script(text="banana")
    if model == "no-such-model":
        error = {
            "error": {"message": "the model does not exist", "type": "x", "code": "model_not_found", "param": None}
        }
        return Script(status=404, body=json.dumps(error).encode())
    return Script(text=f"That makes {gold(number)}")


@dataclass
class Models(FakeProvider):
    """A provider whose answer depends on model and prompt; counts calls by both."""

    rule: Rule = well
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)

    async def _answer(
        self,
        reader: StreamReader,
        writer: StreamWriter,
        request: dict[str, Any],
        script: Script,
        spoken: Spoken = "openai",
    ) -> bool:
        prompt = prompt_of(request)
        self.calls[request["model"], prompt] += 1
        return await super()._answer(reader, writer, request, self.rule(request["model"], prompt), spoken)

    def asked(self, model: str) -> int:
        return sum(count for (name, _), count in self.calls.items() if name == model)


def prompt_of(request: dict[str, Any]) -> str:
    """What the user said last, in whichever dialect."""
    turns = request["messages"] if "messages" in request else request["input"]
    said = turns if isinstance(turns, str) else turns[-1]["content"]
    return str(said if isinstance(said, str) else said[-1]["text"])


@dataclass
class Store:
    """A folder with a configuration and captured traffic."""

    folder: Path
    provider: Models

    @property
    def config(self) -> Path:
        return self.folder / "weighbridge.toml"

    def copy(self, folder: Path) -> "Store":
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns("*.sock"))
        self.provider.rule = well
        self.provider.calls.clear()
        return Store(folder, self.provider)

    def run(self, *arguments: str, code: int | None = 0) -> str:
        """One `weighbridge` command, in this process; its standard output."""
        printed, said = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
            ended = root.run([*arguments, "--config", str(self.config)])
        self.said = said.getvalue()
        assert code in (None, ended), self.said[-3000:]
        return printed.getvalue()

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "weighbridge", *arguments, "--config", str(self.config)]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "LIVE_TEST_KEY": SECRET}

    def trial(self, candidate: str, *more: str, code: int | None = 0) -> Verdict:
        text = self.run("trial", "run", "--route", "assistant", "--candidate", candidate, "--json", *more, code=code)
        return msgspec.json.decode(text, type=Verdict)

    def evidence(self, verdict: Verdict) -> Evidence:
        assert verdict.evidence is not None
        return msgspec.json.decode((self.folder / "store" / "objects" / verdict.evidence).read_bytes(), type=Evidence)


@contextmanager
def live_store(
    folder: Path, requests: int, text: str = CONFIG, dialect: Dialect = "openai", more: Mapping[str, Any] = NOTHING
) -> Iterator[Store]:
    """Traffic of two slices, every third request streamed, sent through a gateway; gold imported.

    more: fields of every request.
    """
    os.environ["LIVE_TEST_KEY"] = SECRET
    with Models() as provider:
        store = Store(folder, provider)
        folder.mkdir(parents=True, exist_ok=True)
        store.config.write_text(text.format(url=provider.url))
        with gateway_of(load(store.config)) as gateway:
            asyncio.run(send_traffic(gateway.base_url, range(requests), dialect, more))
        lines = [json.dumps({"prompt": prompt(number), "answer": f"# {gold(number)}"}) for number in range(requests)]
        (folder / "gold.jsonl").write_text("\n".join(lines))
        store.run("gold", "import", str(folder / "gold.jsonl"))
        yield store


def prompt(number: int) -> str:
    return f"{TASKS[number % 2]}: what is 7 times {number}"


def request_of(number: int, dialect: Dialect) -> dict[str, Any]:
    turns = [{"role": "user", "content": prompt(number)}]
    named, limit = ("input", "max_output_tokens") if dialect == "openai-responses" else ("messages", "max_tokens")
    return {"model": "assistant", named: turns, limit: 40}


async def send_traffic(
    base_url: str, numbers: range, dialect: Dialect = "openai", more: Mapping[str, Any] = NOTHING
) -> None:
    async with Client(base_url) as client:

        async def one(number: int) -> None:
            body = {**request_of(number, dialect), **more}
            if number % 3 == 0:
                body["stream"] = True
            headers = [
                (b"content-type", b"application/json"),
                (b"authorization", b"Bearer " + SECRET.encode()),
                (b"x-weighbridge-tag", f"task={TASKS[number % 2]}".encode()),
            ]
            reply = await client.post(PATHS[dialect], headers, json.dumps(body).encode(), 30.0)
            assert reply.status == 200, reply.body

        await asyncio.gather(*(one(number) for number in numbers))
