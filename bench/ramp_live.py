"""Faults at a recorded provider, found by a real gateway in the middle of a real ramp.

A certified candidate (the recorded answers of an open model) goes up to the share in question by itself; then the
provider begins to fail as named. Counted out of the exchange log: users' requests that the candidate was asked, from
the fault to the decision to go back, and the time from that decision to the last request that still went there.
"""

import asyncio
import json
import os
import shutil
import statistics
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import msgspec

from bench.recording.setting import recorded_provider, serving, weighbridge
from weighbridge.cli.ramp import RampsShown
from weighbridge.exchanges.reader import read
from weighbridge.ramp.observe import first_arm
from weighbridge.records.ramp import RampStatus
from weighbridge.store.layout import Layout
from weighbridge.upstream import Client

INCUMBENT, CANDIDATE, WEAK = "gpt-4o-2024-08-06", "Mistral-Large-2", "gemma-2-2b-it"
HEAD = "## Through a real gateway"
USERS = 12
REACH_S_MAX, FIND_S_MAX, QUIET_S = 90.0, 120.0, 30.0
FIRST_TOKEN_MS = 30
BASE_ERRORS = 0.01

CONFIG = """[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
[capture]
bodies = true
purpose = "recorded benchmark answers"
approved_by = "bench/ramp_live.py"
[[endpoint]]
name = "recorded"
base_url = "{url}"
[[arm]]
name = "old"
endpoint = "recorded"
model = "{incumbent}"
weights = "closed"
price = {{ input = "2.50", output = "10.00" }}
[[arm]]
name = "new"
endpoint = "recorded"
model = "{candidate}"
weights = "open"
price = {{ input = "2.50", output = "10.00" }}
[[route]]
name = "assistant"
incumbent = "old"
candidates = ["new"]
retries_max = 0
[[grader]]
route = "assistant"
kind = "number"
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
"""


@dataclass(frozen=True)
class Live:
    """A fault as the provider is told of it; a `drift` grows in ten steps over so many seconds."""

    name: str
    stage: str
    candidate: dict[str, object]
    everybody: dict[str, object] = field(default_factory=dict)
    drift_s: float = 0.0


def lives(points: dict[int, float]) -> tuple[Live, ...]:
    """`points`: how far quality falls -> the share of answers that a weak model gives in the candidate's place."""
    rare: dict[str, object] = {"error_rate": BASE_ERRORS, "status": 500}
    often: dict[str, object] = {"error_rate": 0.05, "status": 500}
    return (
        Live("errors 1% to 50%", "few", {"error_rate": 0.5, "status": 500}, rare),
        Live("errors 1% to 50%", "quarter", {"error_rate": 0.5, "status": 500}, rare),
        Live("errors 1% to 10%", "few", {"error_rate": 0.1, "status": 500}, rare),
        Live("errors 1% to 10%", "quarter", {"error_rate": 0.1, "status": 500}, rare),
        Live("errors 5% to 25%", "quarter", {"error_rate": 0.25, "status": 500}, often),
        Live("latency x2", "quarter", {"first_token_ms": 2 * FIRST_TOKEN_MS}),
        Live("cost x2", "quarter", {"usage_factor": 2.0}),
        Live("quality -20 points", "quarter", {"with": WEAK, "fraction": points[20]}),
        Live("quality -10 points", "quarter", {"with": WEAK, "fraction": points[10]}),
        Live(
            "slow drift: errors 1% to 20% over 20 s", "quarter", {"error_rate": 0.2, "status": 500}, rare, drift_s=20.0
        ),
        Live("nothing", "quarter", {}, rare),
    )


class Users:
    """Conversations of one request without end, in a thread; counts statuses."""

    def __init__(self, base_url: str, key: str, prompts: list[str]) -> None:
        self._base_url, self._key, self._prompts = base_url, key, prompts
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
            headers = [
                (b"content-type", b"application/json"),
                (b"authorization", b"Bearer " + self._key.encode()),
                (b"x-conversation-id", b"c-%d" % number),
            ]
            prompt = self._prompts[number % len(self._prompts)]
            body = {"model": "assistant", "messages": [{"role": "user", "content": prompt}], "max_tokens": 2000}
            reply = await client.post("/chat/completions", headers, json.dumps(body).encode(), 60.0)
            self.statuses[reply.status] = self.statuses.get(reply.status, 0) + 1

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)


@dataclass(frozen=True)
class Outcome:
    requests: int | None
    """Of users that the candidate was asked until the decision; `None`: it did not go back."""
    stream: str = ""
    late_s: float = 0.0
    """From the decision to the last request that still went to the candidate."""


def control(address: str, faults: dict[str, object]) -> None:
    request = urllib.request.Request(f"http://{address}/_control", json.dumps(faults).encode(), method="POST")
    with urllib.request.urlopen(request) as reply:  # noqa: S310 (loopback, ours)
        reply.read()


def status(config: Path) -> RampStatus:
    said = weighbridge(config, "ramp", "status", "assistant", "--json", allowed=(0, 2))
    return msgspec.json.decode(said, type=RampsShown).ramps[0]


def until(config: Path, stage: str, most_s: float) -> RampStatus | None:
    deadline = time.monotonic() + most_s
    while time.monotonic() < deadline:
        found = status(config)
        if found.state.stage == stage:
            return found
        if found.state.over:
            return None
        time.sleep(0.2)
    return None


def one(base: Path, folder: Path, address: str, live: Live, prompts: list[str], key: str) -> Outcome:
    """One ramp up to the stage, the fault, and what followed. Raises `SystemExit` where the stage is not reached."""
    shutil.copytree(base, folder, ignore=shutil.ignore_patterns("*.sock"))
    config, everybody = folder / "weighbridge.toml", dict(live.everybody)
    control(address, {"*": everybody})
    try:
        with serving(config, folder / "serve.log") as base_url, _users(base_url, key, prompts) as users:
            weighbridge(config, "ramp", "propose", "assistant")
            accepted = ("--accept", "headroom", "--accept", "way_back", "--accept", "licence")
            weighbridge(config, "ramp", "approve", "assistant", "--up-to", live.stage, *accepted)
            weighbridge(config, "ramp", "start", "assistant")
            if until(config, live.stage, REACH_S_MAX) is None:
                raise SystemExit(f"ramp: stage {live.stage} was not reached: {status(config).waits_for}")
            began_ns = time.time_ns()
            back = _faulty(config, address, live, everybody)
            time.sleep(2.0)
            if set(users.statuses) - {200, 500}:
                raise SystemExit(f"ramp: users saw {users.statuses}")
    finally:
        control(address, {})
    if back is None:
        return Outcome(None)
    decided_ns = back.state.time_ns
    asked = [
        exchange.time_ns
        for exchange in read(Layout(folder / "weighbridge-data"), purpose="user", since_ns=began_ns)
        if first_arm(exchange) == "new"
    ]
    late = max((at - decided_ns for at in asked), default=0)
    return Outcome(sum(at < decided_ns for at in asked), back.state.reasons[0].split(" ")[0], max(0, late) / 1e9)


def _faulty(config: Path, address: str, live: Live, everybody: dict[str, object]) -> RampStatus | None:
    if not live.candidate:
        return until(config, "rolled_back", QUIET_S)
    if not live.drift_s:
        control(address, {"*": everybody, CANDIDATE: live.candidate})
        return until(config, "rolled_back", FIND_S_MAX)
    high = live.candidate["error_rate"]
    assert isinstance(high, float)
    for step in range(1, 11):
        now = BASE_ERRORS + step / 10 * (high - BASE_ERRORS)
        control(address, {"*": everybody, CANDIDATE: {"error_rate": now, "status": 500}})
        back = until(config, "rolled_back", live.drift_s / 10)
        if back is not None:
            return back
    return until(config, "rolled_back", FIND_S_MAX)


@contextmanager
def _users(base_url: str, key: str, prompts: list[str]) -> Iterator[Users]:
    users = Users(base_url, key, prompts)
    try:
        yield users
    finally:
        users.stop()


def _recordings(shared: Path) -> tuple[list[tuple[str, str]], dict[int, float]]:
    """Prompts with their gold answers, and how much of a weak model makes a fall of 20 and 10 points."""
    data, database = shared / "data" / "zeroeval", duckdb.connect()
    rows = database.execute(
        "select p.prompt, p.gold from read_parquet(?) p semi join read_parquet(?) a on a.task = p.task and a.id = p.id "
        "and a.model = ? where p.task = 'gsm' order by p.id",
        [str(data / "prompts.parquet"), str(data / "outputs.parquet"), CANDIDATE],
    ).fetchall()
    means = dict(
        database.execute(
            "select model, avg(correct::int) from read_parquet(?) where task = 'gsm' and model in (?, ?) group by 1",
            [str(data / "outputs.parquet"), CANDIDATE, WEAK],
        ).fetchall()
    )
    gap = means[CANDIDATE] - means[WEAK]
    return [(str(prompt), str(gold)) for prompt, gold in rows], {points: points / 100 / gap for points in (10, 20)}


def measure(shared: Path, page: Path | None, runs: int) -> None:
    """Print the table; with `page` also put it there."""
    os.environ["RAMP_BENCH_KEY"] = key = os.urandom(16).hex()
    items, points = _recordings(shared)
    prompts = [prompt for prompt, _ in items]
    lines = [
        HEAD, "",
        f"`scripts/bench ramp --live --write`: {runs} ramps of each kind, `weighbridge serve` beside a provider that "
        f"plays recorded answers of {INCUMBENT} (incumbent) and {CANDIDATE} (candidate), certified by a trial of the "
        "same run. Requests of users that the candidate was asked, from the fault to the decision; the "
        "controller looks each second, so at some hundred requests a second it is that much later than the pure one. "
        "`last` is the longest time from a decision to the last request that still went to the candidate.", "",
        "| injected | at | candidate requests until it went back, each run | median | found by | last |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="weighbridge-ramp-")))
        address = stack.enter_context(recorded_provider(shared, "--first-token-ms", str(FIRST_TOKEN_MS)))
        base = folder / "base"
        _certified(base, address, items, key)
        print("\n".join(lines), flush=True)
        for number, live in enumerate(lives(points)):
            found = [
                one(base, folder / f"{number}-{run}", address, live, prompts, key) for run in range(runs)
            ]  # fmt: skip
            lines.append(row(live, found))
            print(lines[-1], flush=True)
            for run in range(runs):
                shutil.rmtree(folder / f"{number}-{run}", ignore_errors=True)
    if page is not None:
        before = page.read_text() if page.exists() else ""
        page.write_text(before.partition(HEAD)[0].rstrip() + "\n\n" + "\n".join([*lines, ""]))


def row(live: Live, found: list[Outcome]) -> str:
    counts = [one.requests for one in found]
    each = ", ".join("never" if count is None else f"{count:,}" for count in counts)
    known = [count for count in counts if count is not None]
    median = f"{statistics.median(known):,.0f}" if len(known) == len(counts) else "-"
    by = ", ".join(sorted({one.stream for one in found if one.stream})) or "-"
    late = f"{max(one.late_s for one in found):.1f} s" if known else "-"
    share = {"few": "5%", "quarter": "25%"}[live.stage]
    return f"| {live.name} | {share} | {each} | {median} | {by} | {late} |"


def _certified(base: Path, address: str, items: list[tuple[str, str]], key: str) -> None:
    """A store with captured traffic, gold answers and a verdict that allows a ramp."""
    base.mkdir(parents=True)
    config = base / "weighbridge.toml"
    config.write_text(CONFIG.format(url=f"http://{address}/v1", incumbent=INCUMBENT, candidate=CANDIDATE))
    gold = base / "gold.jsonl"
    gold.write_text("".join(json.dumps({"prompt": prompt, "answer": answer}) + "\n" for prompt, answer in items))
    weighbridge(config, "gold", "import", str(gold))
    with serving(config, base / "serve.log") as base_url, _users(base_url, key, [p for p, _ in items]) as users:
        while sum(users.statuses.values()) < len(items):
            time.sleep(0.2)
    weighbridge(
        config, "trial", "run", "--route", "assistant", "--candidate", "new", "--margin", "0.05", "--json"
    )  # fmt: skip


def kept(page: Path) -> list[str]:
    """What the page says of runs through a real gateway: it stays when the rest is measured anew."""
    text = page.read_text() if page.exists() else ""
    return [HEAD + text.partition(HEAD)[2]] if HEAD in text else []
