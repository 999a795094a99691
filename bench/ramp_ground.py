"""Where faults are put in: a store with a certified candidate, its users, and the provider that is told of faults."""

import asyncio
import json
import random
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import duckdb

from bench.recording.hosts import one_of_four
from bench.recording.setting import recorded_provider, serving, weighbridge
from weighbridge.upstream import Client

INCUMBENT, CANDIDATE, WEAK = "gpt-4o-2024-08-06", "Mistral-Large-2", "gemma-2-2b-it"
SLICED = "claude-3-opus-20240229"
"""The incumbent where there are two slices: the candidate is as good in each of them, and no longer-winded."""
USERS = 12
REACH_S_MAX, FIND_S_MAX, QUIET_S = 120.0, 240.0, 30.0
FIRST_TOKEN_MS = 30
BASE_ERRORS = 0.01
Setting = Literal["plain", "pairs", "slices", "hosts"]
"""`pairs`: quality by judged pairs, each request has a copy. `slices`: two, each with a quality stream of its own.
`hosts`: either arm's address has four behind it, and one of the candidate's is bad."""

CONFIG = """[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
[capture]
bodies = true
purpose = "recorded benchmark answers"
approved_by = "bench/ramp_live.py"
[[endpoint]]
name = "recorded"
base_url = "http://{address}/v1"
[[endpoint]]
name = "candidate"
base_url = "http://{candidate_address}/v1"
[[arm]]
name = "old"
endpoint = "recorded"
model = "{incumbent}"
weights = "closed"
price = {{ input = "2.50", output = "10.00" }}
[[arm]]
name = "new"
endpoint = "candidate"
model = "{candidate}"
weights = "open"
price = {{ input = "2.50", output = "10.00" }}
[[route]]
name = "assistant"
incumbent = "old"
candidates = ["new"]
retries_max = 0
slice_by = ["tag:task"]
[[grader]]
route = "assistant"
slice = "task=gsm"
kind = "number"
extract = "json:answer"
[[grader]]
route = "assistant"
slice = "task=crux"
kind = "normalised"
extract = "json:answer"
[[key]]
name = "bench"
secret = "env:RAMP_BENCH_KEY"
[[ramp]]
route = "assistant"
hold_s = {{ shadow = 0, canary = 0, few = 0, quarter = 0, half = 0, all = 0 }}
conversations_min = {{ shadow = 0, canary = 1, few = 10, quarter = 10, half = 10, all = 10 }}
pairs_min = {{ shadow = 0, canary = 0, few = 1, quarter = 1, half = 1, all = 1 }}
guardrails = ["errors", "refusals", "broken", "tools", "first_byte", "latency", "cost", "tokens"]
shadow_share = 1.0
margin = 0.03
{quality}
"""
QUALITY: dict[Setting, str] = {
    "plain": "", "hosts": "", "slices": "", "pairs": 'quality = "pairs"\npair_share = 100.0',
}  # fmt: skip


@dataclass(frozen=True)
class Live:
    """A fault as the provider is told of it; a `drift` grows in ten steps over so many seconds."""

    name: str
    stage: Literal["few", "quarter"]
    candidate: dict[str, object]
    everybody: dict[str, object] = field(default_factory=dict)
    drift_s: float = 0.0
    setting: Setting = "plain"


@dataclass(frozen=True)
class Item:
    """A recorded prompt with its answer in the benchmark."""

    prompt: str
    gold: str
    task: str


class Users:
    """Conversations of one request without end, in a thread; counts statuses."""

    def __init__(self, base_url: str, key: str, items: list[Item]) -> None:
        self._base_url, self._key, self._items = base_url, key, items
        self._stop = threading.Event()
        self.statuses: dict[int, int] = {}
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()

    async def _run(self) -> None:
        async with Client(self._base_url, connections_max=USERS) as client:
            await asyncio.gather(*(self._one(client, lane) for lane in range(USERS)))

    async def _one(self, client: Client, lane: int) -> None:
        number = lane
        while not self._stop.is_set():
            number += USERS
            item = self._items[number % len(self._items)]
            headers = [
                (b"content-type", b"application/json"),
                (b"authorization", b"Bearer " + self._key.encode()),
                (b"x-conversation-id", b"c-%d" % number),
                (b"x-weighbridge-tag", f"task={item.task}".encode()),
            ]
            body = {"model": "assistant", "messages": [{"role": "user", "content": item.prompt}], "max_tokens": 2000}
            reply = await client.post("/chat/completions", headers, json.dumps(body).encode(), 60.0)
            self.statuses[reply.status] = self.statuses.get(reply.status, 0) + 1

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)


@contextmanager
def serving_users(config: Path, log: Path, key: str, items: list[Item]) -> Iterator[Users]:
    """`weighbridge serve`, and users who ask it."""
    with serving(config, log) as base_url:
        users = Users(base_url, key, items)
        try:
            yield users
        finally:
            users.stop()


def control(address: str, faults: dict[str, object]) -> None:
    request = urllib.request.Request(f"http://{address}/_control", json.dumps(faults).encode(), method="POST")
    with urllib.request.urlopen(request) as reply:  # noqa: S310 (loopback, ours)
        reply.read()


@dataclass(frozen=True)
class Ground:
    """What runs of one setting start from: a store with a verdict, its traffic, and who is told of faults."""

    base: Path
    address: str
    """Of the provider that is told of the candidate's faults."""
    addresses: tuple[str, ...]
    """Of all providers, for what holds for everybody."""
    items: list[Item]

    def control(self, live: Live, candidate: dict[str, object] | None = None) -> None:
        """`candidate`: what the candidate has beside what everybody has."""
        for address in self.addresses:
            control(address, {"*": live.everybody})
        if candidate:
            control(self.address, {"*": live.everybody, CANDIDATE: candidate})

    def shuffled(self, seed: int) -> "Ground":
        """The same with its items in another order: which of them fail is the provider's, and does not change."""
        return replace(self, items=random.Random(seed).sample(self.items, len(self.items)))

    def quiet(self) -> None:
        for address in self.addresses:
            control(address, {})


class Recordings:
    """Prompts with their answers, and how well recorded models do."""

    def __init__(self, shared: Path) -> None:
        data, self._database = shared / "data" / "zeroeval", duckdb.connect()
        self._prompts, self._outputs = str(data / "prompts.parquet"), str(data / "outputs.parquet")

    def items(self, task: str, models: tuple[str, ...]) -> list[Item]:
        """Those that all these models have answered."""
        rows = self._database.execute(
            "select p.prompt, p.gold from read_parquet($prompts) p where p.task = $task and (select count(distinct "
            "a.model) from read_parquet($outputs) a where a.task = p.task and a.id = p.id and list_contains($models, "
            "a.model)) = len($models) order by p.id",
            {"prompts": self._prompts, "outputs": self._outputs, "task": task, "models": list(models)},
        ).fetchall()
        return [Item(str(prompt), str(gold), task) for prompt, gold in rows]

    def share(self, points: int, incumbent: str) -> float:
        """Of the candidate's answers on gsm that the weak model gives, so that it is that far below the incumbent."""
        means = dict(
            self._database.execute(
                "select model, avg(correct::int) from read_parquet(?) where task = 'gsm' and model in (?, ?, ?) "
                "group by 1",
                [self._outputs, incumbent, CANDIDATE, WEAK],
            ).fetchall()
        )
        return float((means[CANDIDATE] - means[incumbent] + points / 100) / (means[CANDIDATE] - means[WEAK]))


class Grounds:
    """Made when the first run of a setting asks for them."""

    def __init__(self, shared: Path, folder: Path, key: str, stack: ExitStack) -> None:
        self._shared, self._folder, self._key, self._stack = shared, folder, key, stack
        self._recordings = Recordings(shared)
        self._provider: str | None = None
        self._made: dict[Setting, Ground] = {}

    def of(self, setting: Setting) -> Ground:
        if setting not in self._made:
            self._made[setting] = self._make(setting)
        return self._made[setting]

    def _make(self, setting: Setting) -> Ground:
        if self._provider is None:
            self._provider = self._start()
        good, incumbent = self._provider, SLICED if setting == "slices" else INCUMBENT
        models = (incumbent, CANDIDATE, WEAK)
        items = self._recordings.items("gsm", models)
        if setting == "slices":
            others = self._recordings.items("crux", models)
            items = [item for pair in zip(items, others, strict=False) for item in pair]
        bad, ahead, behind = good, good, good
        if setting == "hosts":
            bad = self._start()
            ahead = self._stack.enter_context(one_of_four(good, good))  # so that both arms are equally far
            behind = self._stack.enter_context(one_of_four(bad, good))
        base = self._folder / f"base-{setting}"
        _certified(base, ahead, behind, incumbent, setting, items, self._key)
        return Ground(base, bad, tuple({good, bad}), items)

    def _start(self) -> str:
        return self._stack.enter_context(recorded_provider(self._shared, "--first-token-ms", str(FIRST_TOKEN_MS)))


def _certified(
    base: Path, address: str, behind: str, incumbent: str, setting: Setting, items: list[Item], key: str
) -> None:
    """A store with captured traffic, gold answers and a verdict that allows a ramp."""
    base.mkdir(parents=True)
    config = base / "weighbridge.toml"
    config.write_text(
        CONFIG.format(
            address=address, candidate_address=behind, incumbent=incumbent, candidate=CANDIDATE,
            quality=QUALITY[setting],
        )
    )  # fmt: skip
    gold = base / "gold.jsonl"
    gold.write_text("".join(json.dumps({"prompt": item.prompt, "answer": item.gold}) + "\n" for item in items))
    weighbridge(config, "gold", "import", str(gold))
    with serving_users(config, base / "serve.log", key, items) as users:
        while sum(users.statuses.values()) < len(items):
            time.sleep(0.2)
    weighbridge(
        config, "trial", "run", "--route", "assistant", "--candidate", "new", "--margin", "0.05", "--json"
    )  # fmt: skip
