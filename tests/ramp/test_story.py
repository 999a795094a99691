"""The whole story with real processes: certified, ramped, degraded, taken back alone, repaired, settled."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from tests.app.serving import Serving, serving
from tests.fakes.provider import Script
from tests.trials.live import SECRET, TASKS, Store, gold, live_store, prompt, well
from weighbridge.app.banner import base_url
from weighbridge.cli.ramp import RampsShown
from weighbridge.records.ramp import RampPast, RampStatus, Stage
from weighbridge.upstream import Client

KNOWN = 260
PAUSE_S = 0.02
"""Between two requests of one user: real users pause, too, and this machine has other work."""
WAIT_S_MAX = 120.0

RAMP = """
[[ramp]]
route = "assistant"
hold_s = { shadow = 0, canary = 1, few = 1, quarter = 1, half = 1, all = 1 }
conversations_min = { shadow = 3, canary = 3, few = 3, quarter = 3, half = 3, all = 3 }
pairs_min = { shadow = 3, canary = 2, few = 2, quarter = 2, half = 2, all = 2 }
guardrails = ["errors", "refusals", "broken"]
shadow_share = 10
"""


class Users:
    """Conversations without end, in a thread; counts statuses, and which arm answered each conversation."""

    def __init__(self, listen: str) -> None:
        self._base_url = base_url(listen)
        self._stop = threading.Event()
        self.statuses: Counter[int] = Counter()
        self.arms: dict[str, list[str]] = {}
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()

    async def _run(self) -> None:
        async with Client(self._base_url, connections_max=8) as client:
            await asyncio.gather(*(self._one(client, lane) for lane in range(8)))

    async def _one(self, client: Client, lane: int) -> None:
        number = lane
        while not self._stop.is_set():
            number += 8
            await asyncio.sleep(PAUSE_S)
            known = number % KNOWN
            conversation = f"c-{number // 2}"
            headers = [
                (b"content-type", b"application/json"),
                (b"authorization", b"Bearer " + SECRET.encode()),
                (b"x-weighbridge-tag", f"task={TASKS[known % 2]}".encode()),
                (b"x-conversation-id", conversation.encode()),
            ]
            body = {"model": "assistant", "messages": [{"role": "user", "content": prompt(known)}], "max_tokens": 40}
            reply = await client.post("/chat/completions", headers, json.dumps(body).encode(), 30.0)
            self.statuses[reply.status] += 1
            self.arms.setdefault(conversation, []).append((reply.header(b"x-weighbridge-arm") or b"").decode())

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)


@contextmanager
def users(served: Serving) -> Iterator[Users]:
    running = Users(served.listen)
    try:
        yield running
    finally:
        running.stop()


def shown(store: Store) -> RampStatus:
    return msgspec.json.decode(store.run("ramp", "status", "assistant", "--json", code=None), type=RampsShown).ramps[0]


def until(store: Store, wanted: Callable[[RampStatus], bool]) -> RampStatus:
    """Ask until it is so; the last answer is in the failure."""
    paused, waited_s = threading.Event(), 0.0
    while not wanted(status := shown(store)):
        assert waited_s < WAIT_S_MAX, (status.state.stage, status.waits_for, status.conversations, status.held_s)
        paused.wait(0.3)
        waited_s += 0.3
    return status


def stage(store: Store, name: Stage) -> RampStatus:
    return until(store, lambda status: status.state.stage == name)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with live_store(tmp_path / "a", KNOWN) as made:
        verdict = made.trial("new", "--margin", "0.1")
        assert "non_inferior" == verdict.overall.verdict
        made.config.write_text(made.config.read_text() + RAMP)
        yield made


def test_a_ramp_goes_up_comes_back_alone_when_the_candidate_turns_bad_and_settles_once_it_is_repaired(
    store: Store,
) -> None:
    with serving(store.config, {"LIVE_TEST_KEY": SECRET}) as served, users(served) as clients:
        store.run("ramp", "propose", "assistant")
        assert "somebody starts it" in store.run("ramp", "status")
        store.run("ramp", "start", "assistant", code=1)
        assert "1 approval is missing for shadow" in store.said
        store.run("ramp", "approve", "assistant", "--up-to", "quarter", "--accept", "headroom", "--accept", "way_back")
        store.run("ramp", "start", "assistant")
        quarter = stage(store, "quarter")
        assert 25.0 == quarter.share_percent
        assert any(
            "1 approval is missing for half" in one for one in until(store, lambda now: bool(now.waits_for)).waits_for
        )

        store.provider.rule = lambda model, asked: Script(text="banana") if model == "new-model" else well(model, asked)
        back = stage(store, "rolled_back")
        assert "controller" == back.state.by
        assert any(reason.startswith("quality") for reason in back.state.reasons)
        assert {200} == set(clients.statuses)
        served.until(r"alert ramp-rolled-back \(page\) raised: .* taken back from new to old")
        seen = len(clients.arms)
        until(store, lambda _: len(clients.arms) > seen + 200)
        late = [arms for _, arms in list(clients.arms.items())[seen + 100 : seen + 200]]
        assert {"old"} == {arm for arms in late for arm in arms}

        told = store.run("ramp", "history", "assistant")
        for word in (
            "allowed by verdict",
            "shadow (0%)",
            "canary (1%)",
            "few (5%)",
            "quarter (25%)",
            "rolled_back (0%)",
        ):
            assert word in told
        store.run("report", "--out", str(store.folder / "report"))
        for name in ("summary.md", "index.html"):
            explained = (store.folder / "report" / name).read_text()
            assert "Everybody is back on old" in explained
            assert "fell below the margin" in explained
        store.run("verify")
        store.run("ramp", "propose", "assistant", code=1)
        assert "this verdict allowed a ramp that was taken back" in store.said

        store.provider.rule = well
        again = store.trial("new", "--margin", "0.1", "--fresh", "--sample", "200", code=None)
        assert "non_inferior" == again.overall.verdict
        store.run("ramp", "propose", "assistant")
        store.run("ramp", "approve", "assistant", "--up-to", "settled", "--accept", "headroom", "--accept", "way_back")
        store.run("ramp", "start", "assistant")
        settled = stage(store, "settled")
        assert 100.0 == settled.share_percent
        assert {200} == set(clients.statuses)
    past = msgspec.json.decode(store.run("ramp", "history", "assistant", "--json"), type=RampPast)
    assert list(range(1, len(past.changes) + 1)) == [change.revision for change in past.changes]
    said = store.run("verify")
    assert "changes of ramps lead back to their verdicts" in said
    assert gold(1) == 7
