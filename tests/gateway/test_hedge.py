"""Hedging on a running gateway: who answers, what is cancelled, and what the books say of both attempts."""

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from tests.fakes.provider import FakeProvider, Script
from tests.gateway.running import (
    Answer,
    Running,
    call,
    chat,
    connected,
    endpoint,
    key_digest,
    read_answer,
    request_bytes,
    table,
    until,
)  # fmt: skip
from tests.gateway.test_attempts import Chain, attempts, busy
from tests.gateway.test_budgets import spent
from tests.gateway.test_trials import token
from weighbridge.exchanges import reader
from weighbridge.records.budget import Budget
from weighbridge.records.frames import Attempted, Frame, Posted
from weighbridge.records.table import Arm, Key, Route, RouteTable, Share

SOON_S = 0.05
NEVER_S = 60.0
BODY = chat(max_tokens=10)


@pytest.fixture
def hosts() -> Iterator[list[FakeProvider]]:
    with ExitStack() as stack:
        yield [stack.enter_context(FakeProvider()) for _ in range(3)]


def chain_of(store: Path, hosts: list[FakeProvider], after_s: float = SOON_S, **how: object) -> Chain:
    return Chain(store, hosts, **{"hedge_after_s": after_s, "retries_max": 0, "fallbacks": ("second",), **how})


def said(answer: Answer) -> tuple[str, str, str]:
    named = [answer.headers[f"x-weighbridge-{name}"] for name in ("arm", "attempt", "fallback")]
    return named[0], named[1], named[2]


def both_posted(gateway: Running) -> dict[int, Posted]:
    """By number of attempt; each exactly once."""
    rows = gateway.posted()
    assert sorted(row.attempt for row in rows) == sorted(
        row.attempt for row in gateway.frames() if isinstance(row, Attempted)
    )
    found = {row.attempt: row for row in rows}
    assert len(rows) == len(found)
    return found


@pytest.mark.parametrize("stream", [False, True])
def test_a_silent_attempt_gets_a_second_one_beside_it_and_whoever_answers_first_is_the_answer(
    tmp_path: Path, hosts: list[FakeProvider], stream: bool
) -> None:
    chain = chain_of(tmp_path, hosts)
    chain.answer(0, Script(hang=True))
    with chain.running as gateway:
        answer = call(gateway.port, chat(stream=stream, max_tokens=10))
        assert (200, ("second", "2", "yes")) == (answer.status, said(answer))
        assert answer.whole
        (finished,) = gateway.finished()
        assert ("ok", 2) == (finished.outcome, finished.attempts)
        assert [(1, "first", False), (2, "second", True)] == attempts(gateway)
        posted = both_posted(gateway)
        held = gateway.held()[0].held_nanousd
        # The cancelled one is booked at its upper bound and marked; the other one is billed by its usage.
        assert (held, True, None) == (posted[1].cost_nanousd, posted[1].estimated, posted[1].status)
        assert (chain.bill_nanousd(), False) == (posted[2].cost_nanousd, posted[2].estimated)
        assert finished.cost_nanousd == (posted[1].cost_nanousd or 0) + (posted[2].cost_nanousd or 0)
        until(lambda: hosts[0].cancelled, lambda count: count == 1)


@pytest.mark.parametrize("stream", [False, True])
def test_a_first_attempt_that_answers_after_all_is_the_answer_and_the_second_one_is_cancelled(
    tmp_path: Path, hosts: list[FakeProvider], stream: bool
) -> None:
    chain = chain_of(tmp_path, hosts)
    chain.answer(1, Script(hang=True))
    with chain.running as gateway:
        with connected(gateway.port) as line:
            chain.answer(0, Script(delay_s=0.4))
            line.sendall(request_bytes(chat(stream=stream, max_tokens=10)))
            answer = read_answer(line)
        assert (200, ("first", "1", "no")) == (answer.status, said(answer))
        (finished,) = gateway.finished()
        assert ("ok", 2) == (finished.outcome, finished.attempts)
        posted = both_posted(gateway)
        assert (chain.bill_nanousd(), False) == (posted[1].cost_nanousd, posted[1].estimated)
        assert posted[2].estimated
        until(lambda: hosts[1].cancelled, lambda count: count == 1)
        (read,) = reader.read(gateway.layout)
        # The last of its attempts is the one that answered, whatever its number.
        assert ("first", [2, 1]) == (read.arm, [row.attempt for row in read.attempts])
        assert finished.cost_nanousd == read.cost_nanousd


def test_a_fast_answer_is_never_hedged(tmp_path: Path, hosts: list[FakeProvider]) -> None:
    chain = chain_of(tmp_path, hosts, NEVER_S)
    with chain.running as gateway:
        for stream in (False, True):
            assert ("first", "1", "no") == said(call(gateway.port, chat(stream=stream)))
        assert [1, 1] == [row.attempts for row in gateway.finished(2)]
        assert [2, 0, 0] == chain.seen()
        assert ("weighbridge_hedges_total", {}, 0) in gateway.on_loop(gateway.gateway.samples)


def test_a_head_and_comments_are_no_answer_yet(tmp_path: Path, hosts: list[FakeProvider]) -> None:
    chain = chain_of(tmp_path, hosts)
    comment = ": still thinking"
    chain.answer(0, Script(before=[comment, ""], hang_after=len(comment) + 2))
    with chain.running as gateway:
        answer = call(gateway.port, chat(stream=True, max_tokens=10))
        assert ("second", "2", "yes") == said(answer)
        assert comment.encode() not in answer.body  # not one byte of the attempt that was cancelled
        assert answer.body.endswith(b"data: [DONE]\n\n")
        assert 1 == len(gateway.finished())


def test_without_another_endpoint_the_same_arm_is_asked_again(tmp_path: Path, hosts: list[FakeProvider]) -> None:
    chain = chain_of(tmp_path, hosts, fallbacks=())
    chain.answer(0, Script(first=[Script(hang=True)]))
    with chain.running as gateway:
        assert ("first", "2", "no") == said(call(gateway.port, BODY))
        assert [(1, "first", False), (2, "first", False)] == attempts(gateway)
        both_posted(gateway)


@pytest.mark.parametrize("stream", [False, True])
def test_a_second_attempt_that_fails_leaves_the_first_one_alone(
    tmp_path: Path, hosts: list[FakeProvider], stream: bool
) -> None:
    chain = chain_of(tmp_path, hosts)
    chain.answer(0, Script(delay_s=0.4))
    chain.answer(1, Script(status=500))
    with chain.running as gateway:
        answer = call(gateway.port, chat(stream=stream, max_tokens=10))
        assert (200, ("first", "1", "no")) == (answer.status, said(answer))
        posted = both_posted(gateway)
        assert (500, 200) == (posted[2].status, posted[1].status)
        assert 2 == gateway.finished()[0].attempts


def test_a_first_attempt_that_fails_beside_a_second_one_hands_over_to_it(
    tmp_path: Path, hosts: list[FakeProvider]
) -> None:
    chain = chain_of(tmp_path, hosts)
    chain.answer(0, Script(delay_s=0.2, status=503))
    chain.answer(1, Script(delay_s=0.5))
    with chain.running as gateway:
        answer = call(gateway.port, BODY)
        assert (200, ("second", "2", "yes")) == (answer.status, said(answer))
        posted = both_posted(gateway)
        assert (503, 200) == (posted[1].status, posted[2].status)


def test_an_attempt_that_has_taken_over_and_fails_may_be_followed_by_a_retry(
    tmp_path: Path, hosts: list[FakeProvider]
) -> None:
    chain = chain_of(tmp_path, hosts, retries_max=1)
    chain.answer(0, Script(first=[Script(delay_s=0.2, status=503)]))
    chain.answer(1, Script(delay_s=0.5, status=503))
    with chain.running as gateway:
        answer = call(gateway.port, BODY)
        assert (200, ("first", "3", "no")) == (answer.status, said(answer))
        assert {1: 503, 2: 503, 3: 200} == {number: row.status for number, row in both_posted(gateway).items()}
        assert 3 == gateway.finished()[0].attempts


def test_where_both_fail_the_client_gets_the_last_error(tmp_path: Path, hosts: list[FakeProvider]) -> None:
    chain = chain_of(tmp_path, hosts)
    chain.answer(0, Script(delay_s=0.2, status=503))
    chain.answer(1, Script(delay_s=0.5, status=500))
    with chain.running as gateway:
        answer = call(gateway.port, BODY)
        assert (500, "2") == (answer.status, answer.headers["x-weighbridge-attempt"])
        assert {1, 2} == set(both_posted(gateway))
        assert ("upstream_error", 2) == (gateway.finished()[0].outcome, gateway.finished()[0].attempts)


def test_a_second_attempt_that_cannot_be_made_changes_nothing(tmp_path: Path, hosts: list[FakeProvider]) -> None:
    urls = [hosts[0].url, "http://127.0.0.1:1/v1", hosts[2].url]
    chain = chain_of(tmp_path, hosts, urls=urls)
    chain.answer(0, Script(delay_s=0.4))
    with chain.running as gateway:
        answer = call(gateway.port, BODY)
        assert (200, ("first", "1", "no")) == (answer.status, said(answer))
        posted = both_posted(gateway)
        assert (0, False) == (posted[2].cost_nanousd, posted[2].estimated)  # nothing was sent, so nothing is billed
        assert chain.bill_nanousd() == gateway.finished()[0].cost_nanousd


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_both(tmp_path: Path, hosts: list[FakeProvider], stream: bool) -> None:
    chain = chain_of(tmp_path, hosts)
    chain.answer(0, Script(hang=True))
    chain.answer(1, Script(hang=True))
    with chain.running as gateway:
        with connected(gateway.port) as line:
            line.sendall(request_bytes(chat(stream=stream, max_tokens=10)))
            hosts[1].wait_for(1)
        (finished,) = gateway.finished()
        assert ("client_gone", 2) == (finished.outcome, finished.attempts)
        posted = both_posted(gateway)
        assert posted[1].estimated
        assert posted[2].estimated
        assert finished.cost_nanousd == (posted[1].cost_nanousd or 0) + (posted[2].cost_nanousd or 0)
        until(lambda: [host.cancelled for host in hosts[:2]], lambda counts: counts == [1, 1])
        assert ("weighbridge_hedges_open", {}, 0) in gateway.on_loop(gateway.gateway.samples)


def test_a_silent_pair_times_out_one_after_the_other(tmp_path: Path, hosts: list[FakeProvider]) -> None:
    chain = chain_of(tmp_path, hosts)
    chain.answer(0, Script(hang=True))
    chain.answer(1, Script(hang=True))
    with chain.running as gateway, connected(gateway.port) as line:
        line.sendall(request_bytes(BODY))
        hosts[1].wait_for(1)
        gateway.sweep(4 * 302)
        assert 504 == read_answer(line).status
        assert {1, 2} == set(both_posted(gateway))
        assert "timeout" == gateway.finished()[0].outcome


def test_trials_stay_on_their_arm_and_are_never_hedged(tmp_path: Path, hosts: list[FakeProvider]) -> None:
    chain = chain_of(tmp_path, hosts)
    chain.answer(0, Script(delay_s=0.3))
    with chain.running as gateway:
        answer = call(gateway.port, BODY, key=None, headers=[("x-weighbridge-trial", token(arm="first"))])
        assert (200, "1") == (answer.status, answer.headers["x-weighbridge-attempt"])
        assert [1, 0, 0] == chain.seen()


def test_what_passes_unread_is_never_asked_twice(tmp_path: Path, hosts: list[FakeProvider]) -> None:
    chain = chain_of(tmp_path, hosts)
    hosts[0].others["POST /v1/files"] = 200, "application/json", b'{"id":"file-1"}'
    with chain.running as gateway:
        assert 200 == call(gateway.port, b"x", path="/v1/files").status
        assert [1, 0, 0] == chain.seen()
        assert not gateway.on_loop(lambda: gateway.gateway.hedges.open)


def test_embeddings_are_hedged_at_their_own_arm_only(tmp_path: Path, hosts: list[FakeProvider]) -> None:
    chain = chain_of(tmp_path, hosts)
    with chain.running as gateway:
        body = json.dumps({"model": "assistant", "input": "x"}).encode()
        assert "first" == call(gateway.port, body, path="/v1/embeddings").headers["x-weighbridge-arm"]


def test_hedges_stay_within_a_fifth_of_the_requests_or_three(tmp_path: Path, hosts: list[FakeProvider]) -> None:
    chain = chain_of(tmp_path, hosts)
    chain.answer(0, Script(delay_s=0.3))
    chain.answer(1, Script(delay_s=0.3))
    with chain.running as gateway, ThreadPoolExecutor(12) as clients:
        answers = list(clients.map(lambda _: call(gateway.port, BODY), range(12)))
        assert [200] * 12 == [answer.status for answer in answers]
        assert 3 >= gateway.gateway.hedges.made
        assert {"retry_budget"} == set(gateway.gateway.hedges.refused)
        assert 12 + gateway.gateway.hedges.made == sum(row.attempts for row in gateway.finished(12))


def held_of() -> int:
    """What `BODY` is held at on the arm `first`: bytes and template at 1,000, ten tokens at 7,000 nano-dollars."""
    return (len(BODY) - len('"assistant"') + len('"model-first"') + 256) * 1_000 + 10 * 7_000


@pytest.mark.parametrize(("holds", "seen"), [(1.5, [1, 0]), (500.0, [1, 1])])
def test_a_hard_cap_holds_both_attempts_or_there_is_no_second_one(
    tmp_path: Path, hosts: list[FakeProvider], holds: float, seen: list[int]
) -> None:
    chain = chain_of(tmp_path, hosts)
    cap = Budget(name="support", limit_nanousd=round(held_of() * holds), hard=True)
    key = Key(name="tests", digest=key_digest("sk-test-key"), team="qa", routes=("*",), budget="support")
    chain.answer(0, Script(delay_s=0.5))
    chain.answer(1, Script(hang=True))
    with Running(tmp_path, msgspec.structs.replace(chain.table, budgets=(cap,), keys=(key,))) as gateway:
        assert 200 == call(gateway.port, BODY).status
        assert seen == chain.seen()[:2]
        (finished,) = gateway.finished()
        assert held_of() == gateway.held()[0].held_nanousd
        if len(both_posted(gateway)) == 2:
            held = [row.held_nanousd for row in gateway.frames() if isinstance(row, Attempted)]
            posted = both_posted(gateway)
            assert finished.cost_nanousd == (posted[1].cost_nanousd or 0) + (posted[2].cost_nanousd or 0)
            # The second attempt's frame says what is held for both, and both together cost no more.
            assert held[1] is not None
            assert held_of() + (posted[2].cost_nanousd or 0) == held[1]
            assert (finished.cost_nanousd or 0) <= held[1] <= cap.limit_nanousd
        else:
            assert {"budget": 1} == gateway.gateway.hedges.refused


def with_budgets(chain: Chain, spare: int) -> RouteTable:
    """Both arms have a budget of their own, and the key one that is within the company's. `spare`: nano-dollars."""
    names = {"first": 10**9, "second": spare, "support": 10**9, "company": 10**9}
    budgets = tuple(
        Budget(name=name, limit_nanousd=limit, hard=True, parent="company" if name == "support" else None)
        for name, limit in names.items()
    )
    arms = tuple(
        msgspec.structs.replace(arm, budget=arm.name if arm.name in names else None) for arm in chain.table.arms
    )
    keys = (Key(name="tests", digest=key_digest("sk-test-key"), team="qa", routes=("*",), budget="support"),)
    return msgspec.structs.replace(chain.table, budgets=budgets, keys=keys, arms=arms)


@pytest.mark.parametrize("winner", [1, 2])
def test_each_arm_of_a_hedge_is_charged_to_its_own_budget_the_cancelled_one_at_its_bound(
    tmp_path: Path, hosts: list[FakeProvider], winner: int
) -> None:
    chain = chain_of(tmp_path, hosts)
    slow, hangs = Script(delay_s=0.5), Script(hang=True)
    chain.answer(0, slow if winner == 1 else hangs)
    chain.answer(1, hangs if winner == 1 else Script())
    with Running(tmp_path, with_budgets(chain, 10**9)) as gateway:
        assert (200, winner) == ((answer := call(gateway.port, BODY)).status, int(said(answer)[1]))
        (finished,) = gateway.finished()
        posted = both_posted(gateway)
        held = [row.held_nanousd for row in gateway.frames() if isinstance(row, Attempted)]
    first, second = (posted[number].cost_nanousd or 0 for number in (1, 2))
    assert [winner != 1, winner != 2] == [posted[number].estimated for number in (1, 2)]
    assert 0 < min(first, second)
    # Both were held before the second was sent, so whoever was cancelled is covered.
    assert held[1] is not None
    assert first + second == finished.cost_nanousd
    assert first + second <= held[1]
    both = {"support": first + second, "company": first + second}
    assert {"first": first, "second": second, **both} == spent(gateway)


def test_an_arm_whose_budget_is_used_up_is_not_asked_beside_a_slow_one(
    tmp_path: Path, hosts: list[FakeProvider]
) -> None:
    chain = chain_of(tmp_path, hosts)
    chain.answer(0, Script(first=[Script(hang=True)]))  # the same arm once more is what is left
    with Running(tmp_path, with_budgets(chain, 1)) as gateway:
        answer = call(gateway.port, BODY)
        assert (200, ("first", "2", "no")) == (answer.status, said(answer))
        assert [2, 0] == chain.seen()[:2]
        posted = both_posted(gateway)
    total = sum(row.cost_nanousd or 0 for row in posted.values())
    found = spent(gateway)
    assert (total, total, 0) == (found["first"], found["company"], found.get("second", 0))


def test_a_second_attempt_may_be_in_another_dialect(tmp_path: Path, hosts: list[FakeProvider]) -> None:
    other = msgspec.structs.replace(endpoint(hosts[1].url, name="other", api_key="env:K"), dialect="anthropic")
    rows = [endpoint(hosts[0].url), other]
    route = Route(
        name="assistant", incumbent="closed", shares=(Share(arm="closed", basis_points=10_000),), fallbacks=("claude",),
        hedge_after_s=SOON_S,
    )  # fmt: skip
    arms = [Arm(name="claude", endpoint="other", model="model-c")]
    hosts[0].answers["model-a"] = Script(hang=True)
    with Running(tmp_path, table("", endpoints=rows, routes=[route], arms=arms)) as gateway:
        for stream in (False, True):
            answer = call(gateway.port, chat(stream=stream, max_tokens=10))
            assert (200, ("claude", "2", "yes")) == (answer.status, said(answer))
            assert b"Hello" in answer.body
            assert (b"chat.completion.chunk" in answer.body) is stream
        assert {"/v1/messages"} == {seen.path for seen in hosts[1].seen}


def test_whatever_two_hosts_do_each_attempt_is_posted_once_and_the_sum_is_the_cost(
    tmp_path: Path, hosts: list[FakeProvider]
) -> None:
    """Two hundred requests to hosts that are slow, fail, cut, hang and answer, at random moments around the hedge."""
    chance = random.Random(7)
    chain = chain_of(tmp_path, hosts, 0.03, retries_max=1)

    def whims(count: int) -> list[Script]:
        delay_s = [0.0, 0.02, 0.03, 0.035, 0.06]
        return [
            Script(
                delay_s=chance.choice(delay_s),
                status=chance.choice([200, 200, 200, 429, 500]),
                cut_after=chance.choice([None, None, 0, 40]),
                chunk_delay_s=chance.choice([0.0, 0.01]),
            )
            for _ in range(count)
        ]

    chain.answer(0, Script(first=whims(150), delay_s=0.04))
    chain.answer(1, Script(first=whims(150)))
    leaves = [chance.random() < 0.1 for _ in range(200)]

    def one(place: int) -> None:
        with connected(gateway.port) as line:
            line.sendall(request_bytes(chat(stream=place % 2 == 0, max_tokens=10)))
            if not leaves[place]:
                read_answer(line)

    with chain.running as gateway:
        gateway.on_loop(lambda: busy(gateway))
        gateway.gateway.retries.requests += 5_000
        with ThreadPoolExecutor(8) as clients:
            list(clients.map(one, range(200)))
        finished = {row.id: row for row in gateway.finished(200)}
        assert 200 == len(finished)
        assert 20 < gateway.gateway.hedges.made
        assert 0 < gateway.gateway.hedges.won
        assert not gateway.gateway.hedges.open
        by_id: dict[str, list[Frame]] = {}
        for row in gateway.frames():
            by_id.setdefault(row.id, []).append(row)
        for exchange_id, end in finished.items():
            rows = by_id[exchange_id]
            numbers = sorted(row.attempt for row in rows if isinstance(row, Attempted))
            posted = [row for row in rows if isinstance(row, Posted)]
            assert numbers == list(range(1, len(numbers) + 1)) == sorted(row.attempt for row in posted)
            assert len(numbers) == end.attempts
            costs = [row.cost_nanousd for row in posted]
            assert end.cost_nanousd == (None if None in costs else sum(cost or 0 for cost in costs))
        assert 0 == gateway.on_loop(lambda: len(gateway.gateway.active))
