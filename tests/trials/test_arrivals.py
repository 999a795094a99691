"""Replays as the traffic came: order, turns and gaps are kept, so that what a cache serves is measured."""

import asyncio
import itertools
import json
from asyncio import StreamReader, StreamWriter
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.dialects import Spoken
from tests.fakes.provider import Script
from tests.trials import live
from tests.trials.live import Models, Store
from tests.trials.test_replay import Host, Trial, completion
from tests.trials.world import Traffic, asked
from weighbridge.app import gateway_of
from weighbridge.config import load
from weighbridge.trials.arrivals import Arrivals
from weighbridge.trials.calls import Sent
from weighbridge.trials.frame import Item
from weighbridge.trials.money import Purse
from weighbridge.upstream import Client

SECOND_NS = 1_000_000_000


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += seconds


def traffic_of(gaps_s: list[float], talks: int) -> Traffic:
    """Requests so many seconds apart, dealt round to so many conversations."""
    traffic, at = Traffic(), 0
    for number, gap in enumerate(gaps_s):
        traffic.ask("a", conversation=f"talk{number % talks}")
        at += round(gap * SECOND_NS)
        traffic.exchanges[-1] = msgspec.structs.replace(
            traffic.exchanges[-1], time_ns=traffic.exchanges[0].time_ns + at
        )
    return traffic


def sent_in_order(trial: Trial, gap_max_s: float, most: int = 8) -> list[tuple[Item, float]]:
    """What was sent, and when."""
    clock, seen = Clock(), list[tuple[Item, float]]()
    host = Host(lambda item, attempt: "right")

    async def send(item: Item) -> Sent:
        seen.append((item, clock()))
        return await host(item)

    trial.run(send, most, arrivals=Arrivals(trial.items.values(), gap_max_s, clock), passes=clock.passes)
    return seen


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0.0, 30.0), min_size=2, max_size=40), st.integers(1, 5), st.floats(0.0, 10.0))
def test_everything_is_sent_in_the_order_of_the_log_with_its_own_gaps_up_to_the_limit(
    gaps: list[float], talks: int, gap_max_s: float
) -> None:
    trial = Trial(traffic_of(gaps, talks), asked())
    seen = sent_in_order(trial, gap_max_s)
    times = [item.time_ns for item, _ in seen]
    assert len(seen) == len(gaps)
    assert times == sorted(times)
    for (before, sent_before), (after, sent_after) in itertools.pairwise(seen):
        gap = (after.time_ns - before.time_ns) / SECOND_NS
        assert abs(sent_after - sent_before - min(gap, gap_max_s)) < 1e-6


def test_a_turn_waits_for_the_answer_to_the_one_before_though_others_may_be_out() -> None:
    trial = Trial(traffic_of([0.0] * 60, 6), asked())
    out: set[str] = set()
    most = 0

    async def send(item: Item) -> Sent:
        nonlocal most
        assert item.cluster not in out
        out.add(item.cluster)
        most = max(most, len(out))
        for _ in range(3):
            await asyncio.sleep(0)
        out.remove(item.cluster)
        return Sent(status=200, body=completion("right"), exchange=f"r-{item.id}", cost_nanousd=1)

    trial.run(send, arrivals=Arrivals(trial.items.values(), 0.0, lambda: 0.0))
    assert len(trial.outcomes) == 60
    assert most > 1


def test_the_order_of_sending_changes_no_pair_and_no_verdict() -> None:
    kept, shuffled = (Trial(traffic_of([1.0] * 300, 150), asked()) for _ in range(2))
    assert len(sent_in_order(kept, 5.0)) == 300  # and not only until it has decided
    assert shuffled.run(Host(lambda item, attempt: "right")) == "decided"
    assert kept.walk.taken == shuffled.walk.taken
    assert kept.verdict() == shuffled.verdict() == "non_inferior"


def test_requests_that_were_erased_since_do_not_hold_up_the_others() -> None:
    trial = Trial(traffic_of([1.0] * 50, 50), asked())
    del trial.items[next(iter(trial.items))]
    assert len(sent_in_order(trial, 5.0)) == 49
    assert trial.walk.finished


def test_money_that_runs_out_ends_it_where_it_stands() -> None:
    trial = Trial(traffic_of([1.0] * 50, 50), asked())
    trial.purse = Purse(2_000)
    host = Host(lambda item, attempt: "right")
    assert trial.run(host, arrivals=Arrivals(trial.items.values(), 0.0, lambda: 0.0)) == "budget"
    assert sum(host.calls.values()) == 20
    assert {item.id for item in list(trial.items.values())[:20]} == set(trial.outcomes)


def hits_of(order: list[Item], room: int) -> int:
    """Requests whose conversation is among the last `room` that a cache holds."""
    held: OrderedDict[str, None] = OrderedDict()
    hits = 0
    for item in order:
        hits += item.cluster in held
        held[item.cluster] = None
        held.move_to_end(item.cluster)
        if len(held) > room:
            held.popitem(last=False)
    return hits


def test_a_small_cache_serves_what_it_would_serve_users_and_not_what_the_order_of_the_tests_makes_of_it() -> None:
    trial, other = (Trial(traffic_of([1.0] * 80, 8), asked(margin=0.01)) for _ in range(2))
    in_service = hits_of(sorted(trial.items.values(), key=lambda item: item.time_ns), 4)
    kept = hits_of([item for item, _ in sent_in_order(trial, 0.0, 1)], 4)
    seen: list[Item] = []

    async def send(item: Item) -> Sent:
        seen.append(item)
        return Sent(status=200, body=completion("right"), exchange=f"r-{item.id}", cost_nanousd=1)

    other.run(send, 1)
    assert len(seen) == 80
    assert in_service == kept == 0
    assert hits_of(seen, 4) == 72


# --- through a real gateway ---------------------------------------------------------------------------------------

TALKS, TURNS = 6, 3


@dataclass
class CachingModels(Models):
    """Remembers every prompt that it answered: one that begins with it reads that part from the cache."""

    held: dict[str, set[str]] = field(default_factory=dict)
    told: dict[str, list[int]] = field(default_factory=dict)

    async def _answer(
        self, reader: StreamReader, writer: StreamWriter, request: dict[str, Any], script: Script,
        spoken: Spoken = "openai",
    ) -> bool:  # fmt: skip
        messages, held = request["messages"], self.held.setdefault(request["model"], set())
        known = max((n for n in range(len(messages)) if json.dumps(messages[:n]) in held), default=0)
        read = 100 * known
        self.told.setdefault(request["model"], []).append(read)
        held.add(json.dumps(messages))
        answer = f"That makes {int(messages[-1]['content'].rsplit(' ', 1)[1]) * 7}"
        self.rule = lambda model, prompt: Script(text=answer, cache_read=read)
        return await super()._answer(reader, writer, request, script, spoken)


def talk(number: int, turn: int) -> list[dict[str, str]]:
    """Question, answer, question, ... up to the question of this turn."""
    said = [f"sum {number}: what is 7 times {number * 10 + at}" for at in range(turn + 1)]
    turns: list[dict[str, str]] = []
    for at, text in enumerate(said):
        turns.append({"role": "user", "content": text})
        if at < turn:
            turns.append({"role": "assistant", "content": f"That makes {(number * 10 + at) * 7}"})
    return turns


async def _converse(base_url: str) -> None:
    """Six people in turns."""
    headers = [
        (b"content-type", b"application/json"),
        (b"authorization", b"Bearer " + live.SECRET.encode()),
        (b"x-weighbridge-tag", b"task=sum"),
    ]
    async with Client(base_url) as client:
        for turn in range(TURNS):
            for number in range(TALKS):
                body = {"model": "assistant", "messages": talk(number, turn), "max_tokens": 40}
                reply = await client.post("/chat/completions", headers, json.dumps(body).encode(), 30.0)
                assert reply.status == 200, reply.body


def test_cache_reads_of_the_candidate_are_measured_recorded_and_told_apart_from_assumed_ones(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("LIVE_TEST_KEY", live.SECRET)
    with CachingModels() as provider:
        store = Store(tmp_path, provider)
        grader = 'extract = "last_number"\nreference = "incumbent"'
        store.config.write_text(live.CONFIG.replace('extract = "last_number"', grader).format(url=provider.url))
        with gateway_of(load(store.config)) as gateway:
            asyncio.run(_converse(gateway.base_url))
            in_service = provider.told["old-model"]
            verdict = store.trial("new", "--keep-order", "--gap-max", "0.01", code=None)
            # Turn by turn what the incumbent's cache, which works alike, had served to users.
            assert sorted(provider.told["new-model"]) == sorted(in_service)
            assert sum(in_service) > 0
            assert verdict.cache is not None
            assert verdict.cache == store.evidence(verdict).cache
            assert (0.01, TALKS * TURNS) == (verdict.cache.gap_max_s, verdict.cache.replays)
            assert verdict.cache.read_tokens == sum(in_service)
            billed = [row for row in provider.bill if row.model == "new-model"]
            assert verdict.cache.input_tokens == sum(row.tokens.input + row.tokens.cache_read for row in billed)
            shown = store.run("trial", "show", code=None)
            tokens = f"{verdict.cache.input_tokens:,} input tokens"
            assert f"measured cache reads: {verdict.cache.share:.1%} of {tokens}" in shown
            store.run("verify")
            # The same question in the order of the tests is another trial, and assumes.
            other = store.trial("new", code=None)
            assert (other.cache, other.trial == verdict.trial) == (None, False)
            assert "cache reads assumed" in store.run("trial", "show", code=None)
            store.run("trial", "run", "--route", "assistant", "--candidate", "new", "--gap-max", "1", code=64)
            assert "add --keep-order" in store.said
            store.run("trial", "run", "--route", "assistant", "--candidate", "new", "--keep-order", "--reuse", code=64)
            assert "leave --reuse out" in store.said
