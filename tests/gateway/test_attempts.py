"""Promises 8, 19, 24 and 25 on a running gateway: fallbacks, retries, endpoints that leave, places at an endpoint."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.provider import FakeProvider, Script
from tests.gateway.running import Running, call, chat, connected, endpoint, read_answer, request_bytes, table
from tests.gateway.test_trials import token
from weighbridge.records.frames import Attempted, Posted
from weighbridge.records.table import Arm, Endpoint, Limits, Route, Share
from weighbridge.records.usage import MILLION, Price


class Chain:
    """Three hosts, one arm each (`first`, `second`, `third`), asked in this order by the route `assistant`."""

    def __init__(self, store: Path, hosts: Sequence[FakeProvider], **how: Any) -> None:
        self.hosts = hosts
        self.prices = [Price(input=(n + 1) * 10**9, output=(n + 1) * 7 * 10**9) for n in range(3)]
        names = ("first", "second", "third")
        limits = how.pop("limits", None)
        more: dict[str, Any] = how.pop("endpoint", {})
        urls: Sequence[str] = how.pop("urls", [host.url for host in hosts])
        self.route = Route(
            name="assistant",
            incumbent="first",
            shares=(Share(arm="first", basis_points=10_000),),
            **{"fallbacks": names[1:], "retries_max": 1, **how},
        )
        self.table = table(
            "",
            endpoints=[endpoint(url, name=name, **more) for url, name in zip(urls, names, strict=True)],
            routes=[self.route],
            arms=[
                Arm(name=name, endpoint=name, model=f"model-{name}", price=price, price_version="test 1")
                for name, price in zip(names, self.prices, strict=True)
            ],
            limits=limits,
        )
        # The arms of the usual table name the endpoint `fake`, which is not here.
        self.table = type(self.table)(
            **{
                **{name: getattr(self.table, name) for name in self.table.__struct_fields__},
                "arms": self.table.arms[2:],
            }
        )
        self.running = Running(store, self.table)

    def answer(self, place: int, script: Script) -> None:
        self.hosts[place].answers[f"model-{('first', 'second', 'third')[place]}"] = script

    def bill_nanousd(self) -> int:
        """What the hosts charged, by their own counts."""
        total = 0
        for host, price in zip(self.hosts, self.prices, strict=True):
            for row in host.bill:
                total += -(-(row.prompt_tokens * price.input + row.completion_tokens * price.output) // MILLION)
        return total

    def seen(self) -> list[int]:
        return [len(host.seen) for host in self.hosts]


@pytest.fixture
def hosts() -> Iterator[list[FakeProvider]]:
    with ExitStack() as stack:
        yield [stack.enter_context(FakeProvider()) for _ in range(3)]


def busy(gateway: Running) -> None:
    """As if a hundred requests had come lately, so that the retry budget is not what a test is about."""
    gateway.gateway.retries.requests += 100


def attempts(gateway: Running) -> list[tuple[int, str, bool]]:
    return [(row.attempt, row.arm, row.fallback) for row in gateway.frames() if isinstance(row, Attempted)]


# --- which failures are followed by another attempt -------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 529])
def test_a_fallback_answers_in_place_of_an_error_and_says_so(
    tmp_path: Path, hosts: list[FakeProvider], status: int, stream: bool
) -> None:
    chain = Chain(tmp_path, hosts)
    chain.answer(0, Script(status=status, headers=[("retry-after", "60")]))
    with chain.running as gateway:
        answer = call(gateway.port, chat(stream=stream))
        assert 200 == answer.status
        said = {name: answer.headers[f"x-weighbridge-{name}"] for name in ("arm", "attempt", "fallback")}
        assert {"arm": "second", "attempt": "2", "fallback": "yes"} == said
        assert [1, 1, 0] == chain.seen()
        assert "model-second" == json.loads(hosts[1].seen[0].body)["model"]
        (finished,) = gateway.finished()
        assert ("ok", 2, 200) == (finished.outcome, finished.attempts, finished.status)
        assert [(1, "first", False), (2, "second", True)] == attempts(gateway)
        assert [(1, status), (2, 200)] == [(row.attempt, row.status) for row in gateway.posted()]


def test_an_endpoint_that_cannot_be_reached_is_passed_over(tmp_path: Path, hosts: list[FakeProvider]) -> None:
    chain = Chain(tmp_path, hosts, urls=["http://127.0.0.1:1/v1", hosts[1].url, hosts[2].url])
    with chain.running as gateway:
        answer = call(gateway.port, chat())
        assert (200, "second") == (answer.status, answer.headers["x-weighbridge-arm"])
        (finished,) = gateway.finished()
        assert chain.bill_nanousd() == finished.cost_nanousd  # nothing was sent, so nothing is unknown


def test_an_error_of_ours_says_how_many_attempts_were_made_and_where_the_last_one_was(
    tmp_path: Path, hosts: list[FakeProvider]
) -> None:
    chain = Chain(tmp_path, hosts, urls=["http://127.0.0.1:1/v1", "http://127.0.0.1:1/v1", hosts[2].url])
    with chain.running as gateway:
        answer = call(gateway.port, chat())  # both attempts reach nobody
        assert (502, "2", "yes") == (
            answer.status, answer.headers["x-weighbridge-attempt"], answer.headers["x-weighbridge-fallback"],
        )  # fmt: skip
        assert "x-weighbridge-attempt" not in call(gateway.port, chat("nope")).headers


@pytest.mark.parametrize("status", [401, 403])
def test_a_host_that_refuses_our_key_is_passed_over(tmp_path: Path, hosts: list[FakeProvider], status: int) -> None:
    chain = Chain(tmp_path, hosts)
    chain.answer(0, Script(status=status))
    with chain.running as gateway:
        assert "second" == call(gateway.port, chat()).headers["x-weighbridge-arm"]


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_an_error_that_the_request_brings_along_is_the_answer(
    tmp_path: Path, hosts: list[FakeProvider], status: int
) -> None:
    chain = Chain(tmp_path, hosts)
    chain.answer(0, Script(status=status))
    with chain.running as gateway:
        answer = call(gateway.port, chat())
        assert (status, "no") == (answer.status, answer.headers["x-weighbridge-fallback"])
        assert [1, 0, 0] == chain.seen()


def ambiguous(name: str) -> Script:
    return {"nothing": Script(raw=b""), "half": Script(cut_after=30), "hang": Script(hang=True)}[name]


@pytest.mark.promise(19)
@pytest.mark.parametrize("how", ["nothing", "half", "hang"])
@pytest.mark.parametrize("allowed", [False, True])
def test_what_was_sent_and_not_answered_is_asked_again_only_where_that_is_set(
    tmp_path: Path, hosts: list[FakeProvider], how: str, allowed: bool
) -> None:
    chain = Chain(tmp_path, hosts, retry_ambiguous=allowed, limits=Limits(first_byte_s_max=0.5))
    chain.answer(0, ambiguous(how))
    with chain.running as gateway:
        answer = call(gateway.port, chat())
        assert ("second" if allowed else None) == answer.headers.get("x-weighbridge-arm")
        assert [1, int(allowed), 0] == chain.seen()
        if allowed and how != "nothing":
            first, second = gateway.posted()
            assert (True, False) == (first.estimated, second.estimated)
            assert first.cost_nanousd is not None
            assert first.cost_nanousd > 0


@pytest.mark.promise(19)
@pytest.mark.parametrize("cut_after", range(1, 700, 97))
def test_after_the_first_byte_nothing_is_asked_again(tmp_path: Path, hosts: list[FakeProvider], cut_after: int) -> None:
    chain = Chain(tmp_path, hosts, retry_ambiguous=True, retries_max=5)
    chain.answer(0, Script(cut_after=cut_after))
    with chain.running as gateway:
        answer = call(gateway.port, chat(stream=True))
        assert not answer.whole
        assert b'"error"' in answer.body
        assert [1, 0, 0] == chain.seen()


@pytest.mark.promise(19)
def test_there_is_one_other_attempt_unless_more_are_set(tmp_path: Path, hosts: list[FakeProvider]) -> None:
    for count, seen in ((0, [1, 0, 0]), (1, [1, 1, 0]), (2, [1, 1, 1]), (3, [2, 1, 1])):
        for host in hosts:
            host.seen.clear()
        chain = Chain(tmp_path / str(count), hosts, retries_max=count)
        for place in range(3):
            chain.answer(place, Script(status=503))
        with chain.running as gateway:
            assert 503 == call(gateway.port, chat()).status
            assert seen == chain.seen()
            assert 1 + count == gateway.finished()[0].attempts


def test_without_fallbacks_the_same_arm_is_asked_again_with_the_same_bytes(
    tmp_path: Path, hosts: list[FakeProvider]
) -> None:
    chain = Chain(tmp_path, hosts, fallbacks=())
    chain.answer(0, Script(first=[Script(status=503, headers=[("retry-after", "0")])]))
    with chain.running as gateway:
        answer = call(gateway.port, chat(text="the same"))
        assert (200, "2", "no") == (
            answer.status, answer.headers["x-weighbridge-attempt"], answer.headers["x-weighbridge-fallback"],
        )  # fmt: skip
        first, second = hosts[0].seen
        assert first.body == second.body != b""


def test_a_retry_after_over_the_bound_is_handed_to_the_client(tmp_path: Path, hosts: list[FakeProvider]) -> None:
    chain = Chain(tmp_path, hosts, fallbacks=())
    chain.answer(0, Script(status=429, headers=[("retry-after", "60")]))
    with chain.running as gateway:
        answer = call(gateway.port, chat())
        assert (429, "60") == (answer.status, answer.headers["retry-after"])
        assert 1 == len(hosts[0].seen)


# --- permission, money, trials ----------------------------------------------------------------------------------------


def test_a_fallback_that_the_route_does_not_permit_gets_nothing(tmp_path: Path, hosts: list[FakeProvider]) -> None:
    chain = Chain(tmp_path, hosts, retries_max=2, allow_regions=("eu",))
    endpoints = tuple(
        Endpoint(name=row.name, dialect="openai", base_url=row.base_url, address_is_own=True,
                 region="us" if row.name == "second" else "eu", retention_days=0, trains_on_data=False)
        for row in chain.table.endpoints
    )  # fmt: skip
    fields = {name: getattr(chain.table, name) for name in chain.table.__struct_fields__}
    chain.running = Running(tmp_path / "other", type(chain.table)(**{**fields, "endpoints": endpoints}))
    chain.answer(0, Script(status=503))
    with chain.running as gateway:
        assert "third" == call(gateway.port, chat()).headers["x-weighbridge-arm"]
        assert [1, 0, 1] == chain.seen()


def test_a_trial_gets_its_arm_or_the_failure(tmp_path: Path, hosts: list[FakeProvider]) -> None:
    chain = Chain(tmp_path, hosts, retries_max=5)
    chain.answer(0, Script(status=503))
    with chain.running as gateway:
        answer = call(gateway.port, chat(), headers=[("x-weighbridge-trial", token(arm="first"))])
        assert 503 == answer.status
        assert [1, 0, 0] == chain.seen()


@pytest.mark.promise(8)
@pytest.mark.parametrize("stream", [False, True])
def test_every_attempt_of_a_chain_is_its_own_row_and_the_sum_is_the_bill(
    tmp_path: Path, hosts: list[FakeProvider], stream: bool
) -> None:
    """Promise 8. Two hosts do a part of the work, bill it and fail; the third answers."""
    chain = Chain(tmp_path, hosts, retries_max=2)
    partial = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
    for place in (0, 1):
        body = json.dumps({"error": {"message": "worker died", "code": "died"}, "usage": partial}).encode()
        chain.answer(place, Script(status=500, body=body))
    with chain.running as gateway:
        busy(gateway)
        for _ in range(3):
            answer = call(gateway.port, chat(stream=stream))
            assert (200, "3", "third") == (
                answer.status, answer.headers["x-weighbridge-attempt"], answer.headers["x-weighbridge-arm"],
            )  # fmt: skip
        gateway.finished(3)
        partial_bill = sum(
            -(-(11 * chain.prices[place].input + 3 * chain.prices[place].output) // MILLION) for place in (0, 1)
        )
        assert 3 * partial_bill + chain.bill_nanousd() == sum(row.cost_nanousd or 0 for row in gateway.posted())
        for finished in gateway.finished(3):
            rows = [row for row in gateway.of(finished.id) if isinstance(row, Posted)]
            assert [1, 2, 3] == [row.attempt for row in rows]
            assert finished.cost_nanousd == sum(row.cost_nanousd or 0 for row in rows)


@pytest.mark.promise(8)
def test_the_bill_is_kept_apart_for_a_host_that_cut_its_answer(tmp_path: Path, hosts: list[FakeProvider]) -> None:
    """What it billed is not known: the most it may have been, marked so, never 0."""
    chain = Chain(tmp_path, hosts, retries_max=2, retry_ambiguous=True)
    chain.answer(0, Script(cut_after=25))
    chain.answer(1, Script(cut_after=25))
    with chain.running as gateway:
        assert "third" == call(gateway.port, chat()).headers["x-weighbridge-arm"]
        first, second, third = gateway.posted()
        assert [True, True, False] == [row.estimated for row in (first, second, third)]
        assert gateway.finished()[0].cost_nanousd is not None
        assert sum(row.cost_nanousd or 0 for row in (first, second, third)) >= chain.bill_nanousd()


# --- storms and outages -----------------------------------------------------------------------------------------------


@pytest.mark.promise(24)
@pytest.mark.parametrize("status", [429, 503])
def test_when_everything_fails_there_are_at_most_a_fifth_more_attempts(
    tmp_path: Path, hosts: list[FakeProvider], status: int
) -> None:
    """Promise 24."""
    chain = Chain(tmp_path, hosts, retries_max=5)
    for place in range(3):
        chain.answer(place, Script(status=status, headers=[("retry-after", "0")]))
    count = 400
    with chain.running as gateway, connected(gateway.port) as line:
        for _ in range(count):
            line.sendall(request_bytes(chat()))
            assert status == read_answer(line).status
        total = sum(row.attempts for row in gateway.finished(count))
        assert sum(chain.seen()) == total
        assert 1.15 * count < total <= 1.2 * count + 3  # the budget is what holds it, nothing else
        print(f"{count} requests, {total} attempts")
        samples = {name: value for name, labels, value in gateway.on_loop(gateway.gateway.samples) if not labels}
        assert samples["weighbridge_retries_refused_total"] > 0


@pytest.mark.promise(25)
def test_a_bad_endpoint_leaves_and_comes_back_by_one_live_request(tmp_path: Path, hosts: list[FakeProvider]) -> None:
    """Promise 25, on a clock that the test turns."""
    chain = Chain(tmp_path, hosts)
    chain.answer(0, Script(status=500))
    with chain.running as gateway:
        busy(gateway)
        past_s = 0.0
        real = gateway.gateway.mono_ns
        gateway.gateway.mono_ns = lambda: real() + round(past_s * 1e9)
        for _ in range(5):
            assert "2" == call(gateway.port, chat()).headers["x-weighbridge-attempt"]
        for _ in range(5):
            answer = call(gateway.port, chat())
            assert ("second", "1", "yes") == tuple(
                answer.headers[f"x-weighbridge-{name}"] for name in ("arm", "attempt", "fallback")
            )
        assert [5, 10, 0] == chain.seen()
        labels = {"endpoint": "first"}
        assert ("weighbridge_endpoint_out", labels, 1) in gateway.on_loop(gateway.gateway.samples)
        assert ("weighbridge_ejections_total", labels, 1) in gateway.on_loop(gateway.gateway.samples)
        past_s = 31.0
        assert "2" == call(gateway.port, chat()).headers["x-weighbridge-attempt"]  # the probe fails
        assert "1" == call(gateway.port, chat()).headers["x-weighbridge-attempt"]
        past_s += 61.0
        chain.answer(0, Script())
        for _ in range(3):
            assert "first" == call(gateway.port, chat()).headers["x-weighbridge-arm"]


@pytest.mark.promise(25)
def test_when_every_endpoint_fails_requests_still_reach_one(tmp_path: Path, hosts: list[FakeProvider]) -> None:
    chain = Chain(tmp_path, hosts, retries_max=0)
    for place in range(3):
        chain.answer(place, Script(status=500))
    with chain.running as gateway:
        for _ in range(40):
            assert 500 == call(gateway.port, chat()).status
        assert 40 == sum(chain.seen())
        assert [5, 5, 30] == chain.seen()


def test_an_endpoint_without_its_key_is_passed_over(tmp_path: Path, hosts: list[FakeProvider]) -> None:
    chain = Chain(tmp_path, hosts)

    def secret(reference: str) -> str:
        raise LookupError("the variable FIRST is not set")

    rows = tuple(
        endpoint(row.base_url, name=row.name, api_key="env:FIRST" if row.name == "first" else None)
        for row in chain.table.endpoints
    )
    fields = {name: getattr(chain.table, name) for name in chain.table.__struct_fields__}
    with Running(tmp_path / "x", type(chain.table)(**{**fields, "endpoints": rows}), secret=secret) as gateway:
        answer = call(gateway.port, chat())
        assert ("second", "1") == (answer.headers["x-weighbridge-arm"], answer.headers["x-weighbridge-attempt"])


# --- places -----------------------------------------------------------------------------------------------------------


def together(gateway: Running, count: int) -> list[tuple[int, str | None]]:
    found: list[tuple[int, str | None]] = []

    def one() -> None:
        answer = call(gateway.port, chat())
        found.append((answer.status, answer.headers.get("x-weighbridge-arm")))

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_an_endpoint_gets_no_more_than_its_limit_at_once_and_the_others_wait(
    tmp_path: Path, hosts: list[FakeProvider]
) -> None:
    chain = Chain(tmp_path, hosts, fallbacks=(), endpoint={"concurrency_max": 3})
    chain.answer(0, Script(delay_s=0.05))
    with chain.running as gateway:
        assert [(200, "first")] * 20 == together(gateway, 20)
        assert hosts[0].connections <= 3
        samples = gateway.on_loop(gateway.gateway.samples)
        labels = {"endpoint": "first"}
        assert ("weighbridge_endpoint_open", labels, 0) in samples
        assert any(name == "weighbridge_queue_waits_total" and value > 0 for name, _, value in samples)
        assert [1] * 20 == [row.attempts for row in gateway.finished(20)]


def test_over_the_queue_the_next_one_is_told_to_come_again(tmp_path: Path, hosts: list[FakeProvider]) -> None:
    chain = Chain(tmp_path, hosts, fallbacks=(), endpoint={"concurrency_max": 1, "queue_max": 0})
    chain.answer(0, Script(hang=True))
    with chain.running as gateway, connected(gateway.port) as line:
        line.sendall(request_bytes(chat()))
        hosts[0].wait_for(1)
        answer = call(gateway.port, chat())
        assert (503, "endpoint_busy", "1") == (answer.status, answer.error["code"], answer.headers["retry-after"])
        (refused,) = gateway.finished()
        assert (0, 0) == (refused.attempts, refused.cost_nanousd)


def test_whoever_waits_too_long_is_told_to_come_again(tmp_path: Path, hosts: list[FakeProvider]) -> None:
    chain = Chain(tmp_path, hosts, fallbacks=(), endpoint={"concurrency_max": 1, "queue_s_max": 0.5})
    chain.answer(0, Script(hang=True))
    with chain.running as gateway, connected(gateway.port) as line:
        line.sendall(request_bytes(chat()))
        hosts[0].wait_for(1)
        answer = call(gateway.port, chat())
        assert (503, "endpoint_busy") == (answer.status, answer.error["code"])
        assert 1 == len(hosts[0].seen)


def test_a_full_endpoint_hands_on_to_the_next(tmp_path: Path, hosts: list[FakeProvider]) -> None:
    chain = Chain(tmp_path, hosts, retries_max=0, endpoint={"concurrency_max": 1, "queue_max": 0})
    chain.answer(0, Script(hang=True))
    with chain.running as gateway, connected(gateway.port) as line:
        line.sendall(request_bytes(chat()))
        hosts[0].wait_for(1)
        answer = call(gateway.port, chat())
        assert (200, "second", "1") == (
            answer.status, answer.headers["x-weighbridge-arm"], answer.headers["x-weighbridge-attempt"],
        )  # fmt: skip


def test_a_client_that_leaves_the_queue_leaves_its_place(tmp_path: Path, hosts: list[FakeProvider]) -> None:
    chain = Chain(tmp_path, hosts, fallbacks=(), endpoint={"concurrency_max": 1})
    chain.answer(0, Script(first=[Script(hang=True)]))
    with chain.running as gateway, connected(gateway.port) as line:
        line.sendall(request_bytes(chat()))
        hosts[0].wait_for(1)
        with connected(gateway.port) as waiting:
            waiting.sendall(request_bytes(chat()))
            gateway.waiting_at("first", 1)
        gateway.finished()
        line.close()
        assert 200 == call(gateway.port, chat()).status
        assert [(0, "client_gone"), (1, "client_gone"), (1, "ok")] == sorted(
            (row.attempts, row.outcome) for row in gateway.finished(3)
        )
