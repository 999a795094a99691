"""Promise 17: a client leaves; the provider is cancelled where that stops billing, else read to its usage."""

import random
import time
from pathlib import Path

import pytest

from tests.fakes.provider import FakeProvider, Script
from tests.gateway.running import PRICE, Running, call, chat, connected, endpoint, request_bytes, table, until
from weighbridge.records.frames import Finished, Posted
from weighbridge.records.table import Limits
from weighbridge.records.usage import MILLION

TEXT = "word " * 60
KINDS = ("cancels", "does not", "no usage sent")


def running(
    store: Path, provider: FakeProvider, *, bills_on: bool | None = True, limits: Limits | None = None
) -> Running:
    stops = None if bills_on is None else not bills_on
    return Running(store, table("", endpoints=[endpoint(provider.url, cancel_stops_billing=stops)], limits=limits))


def leave_after(gateway: Running, count: int) -> int:
    """Read so many bytes of a stream's answer, then go. Returns when, in nanoseconds since 1970."""
    with connected(gateway.port) as line:
        line.sendall(request_bytes(chat(stream=True, max_tokens=100)))
        got = 0
        while got < count and (part := line.recv(min(4096, count - got))):
            got += len(part)
    return time.time_ns()


def charged(provider: FakeProvider) -> int:
    return sum(
        -(-(row.prompt_tokens * PRICE.input + row.completion_tokens * PRICE.output) // MILLION) for row in provider.bill
    )


def cut_at_random(store: Path, provider: FakeProvider, kind: str, count: int) -> None:
    provider.answers["model-a"] = Script(
        text=TEXT, chunk_delay_s=0.0002, usage_style="never" if kind == "no usage sent" else "own_event"
    )
    dice = random.Random(17)
    request = {"model": "model-a", "stream": True}
    size = len(b"".join(provider.stream_bytes(request, provider.answers["model-a"])))  # without heads and framing
    left_ns: list[int] = []
    with running(store, provider, bills_on=kind != "cancels") as gateway:
        for _ in range(count):
            left_ns.append(leave_after(gateway, dice.randrange(0, size)))
        finished = gateway.finished(count, 30.0)
        posted = gateway.posted()
        assert count == len(finished) == len(posted)
        assert {"client_gone", "ok"} >= {row.outcome for row in finished}
        gone = {row.id for row in finished if row.outcome == "client_gone"}
        assert len(gone) > count // 2
        for row in posted:
            assert row.cost_nanousd != 0
            if row.id in gone and kind != "does not":
                assert row.estimated
                assert row.usage is None
            elif kind == "does not":
                assert not row.estimated
        if kind == "does not":
            assert charged(provider) == sum(row.cost_nanousd or 0 for row in posted)
            assert 0 == provider.cancelled
        else:
            assert charged(provider) <= sum(row.cost_nanousd or 0 for row in posted if row.id in gone) or gone == set()
        if kind == "cancels":
            closes = sorted(row.time_ns - at for row, at in zip(finished, left_ns, strict=True))
            assert closes[int(0.99 * (count - 1))] <= 1_000_000_000
        assert 0 == gateway.on_loop(lambda: len(gateway.gateway.active))
        assert 0 == gateway.on_loop(lambda: len(gateway.gateway.drains))


@pytest.mark.promise(17)
@pytest.mark.parametrize("kind", KINDS)
def test_wherever_a_client_leaves_the_charge_is_the_bill_or_marked(
    tmp_path: Path, provider: FakeProvider, kind: str
) -> None:
    cut_at_random(tmp_path, provider, kind, 40)


@pytest.mark.promise(17)
@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_times_each(tmp_path: Path, provider: FakeProvider, kind: str) -> None:
    cut_at_random(tmp_path, provider, kind, 1000)


def test_a_json_answer_is_read_to_its_end_too(tmp_path: Path, provider: FakeProvider) -> None:
    provider.answers["model-a"] = Script(delay_s=0.2)
    with running(tmp_path, provider) as gateway:
        with connected(gateway.port) as line:
            line.sendall(request_bytes(chat()))
            provider.wait_for(1)
        (finished,) = gateway.finished()
        assert ("client_gone", 499, charged(provider)) == (finished.outcome, finished.status, finished.cost_nanousd)
        assert not gateway.posted()[0].estimated


def test_what_nobody_knows_is_cancelled(tmp_path: Path, provider: FakeProvider) -> None:
    provider.answers["model-a"] = Script(hang_after=300)
    with running(tmp_path, provider, bills_on=None) as gateway:
        leave_after(gateway, 200)
        assert gateway.finished()[0].outcome == "client_gone"
        assert gateway.posted()[0].estimated
        until(lambda: provider.cancelled, lambda count: count == 1)


def test_no_more_than_the_limit_are_read_at_once_the_others_are_cancelled(
    tmp_path: Path, provider: FakeProvider
) -> None:
    provider.answers["model-a"] = Script(hang_after=300)
    with running(tmp_path, provider, limits=Limits(cancel_drains_max=3)) as gateway:
        for _ in range(5):
            leave_after(gateway, 200)
        assert 2 == len(gateway.finished(2))
        samples = gateway.on_loop(gateway.gateway.samples)
        assert ("weighbridge_drains_open", {}, 3) in samples
        assert ("weighbridge_drains_cancelled_total", {"why": "too_many"}, 2) in samples


@pytest.mark.promise(17)
def test_the_limits_are_sixty_four_and_two_minutes() -> None:
    assert (64, 120.0) == (Limits().cancel_drains_max, Limits().cancel_drain_s_max)


@pytest.mark.promise(17)
def test_what_is_read_for_too_long_is_cancelled_and_booked_at_its_upper_bound(
    tmp_path: Path, provider: FakeProvider
) -> None:
    provider.answers["model-a"] = Script(hang_after=300)
    with running(tmp_path, provider, limits=Limits(stream_idle_s_max=1000)) as gateway:
        leave_after(gateway, 200)
        until(lambda: gateway.on_loop(lambda: len(gateway.gateway.drains)), lambda count: count == 1)
        gateway.sweep(400)
        assert not [row for row in gateway.frames() if isinstance(row, Finished | Posted)]
        gateway.sweep(100)
        (finished,) = gateway.finished()
        assert ("client_gone", 200) == (finished.outcome, finished.status)
        (posted,) = gateway.posted()
        assert (True, gateway.held()[0].held_nanousd) == (posted.estimated, posted.cost_nanousd)


def test_a_shutdown_waits_for_what_is_read_for_nobody(tmp_path: Path, provider: FakeProvider) -> None:
    provider.answers["model-a"] = Script(text=TEXT, chunk_delay_s=0.005)
    with running(tmp_path, provider) as gateway:
        leave_after(gateway, 500)
        until(lambda: gateway.on_loop(lambda: len(gateway.gateway.drains)), lambda count: count == 1)
        gateway.on_loop(gateway.gateway.drain)
        assert not gateway.on_loop(gateway.gateway.drained.is_set)
        (finished,) = gateway.finished()
        assert charged(provider) == finished.cost_nanousd
        gateway.sweep()
        assert gateway.on_loop(gateway.gateway.drained.is_set)


def test_the_connection_of_an_answer_read_to_its_end_is_used_again(tmp_path: Path, provider: FakeProvider) -> None:
    provider.answers["model-a"] = Script(text=TEXT)
    with running(tmp_path, provider) as gateway:
        leave_after(gateway, 300)
        gateway.finished()
        assert 200 == call(gateway.port, chat()).status
        assert 1 == provider.connections
