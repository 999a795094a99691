"""A disk that is full, or fails: refuse before anything is sent, end what runs, record it, come back by itself."""

import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.fakes.provider import FakeProvider, Script
from tests.faults.files import Fault, NthFails, SmallDisk
from tests.gateway.running import Running, call, chat, connected, read_answer, request_bytes, table, until

CHUNK = 64 << 10


def small(tmp_path: Path, provider: FakeProvider, disk: SmallDisk) -> Running:
    return Running(tmp_path, table(provider.url), files=disk, chunk_bytes=CHUNK)


def fill(gateway: Running, provider: FakeProvider) -> int:
    """Requests until one is refused; how many were answered."""
    with connected(gateway.port) as line:
        for count in range(3000):
            line.sendall(request_bytes(chat(text=f"{count} " + "x" * 2000)))
            answer = read_answer(line)
            if answer.status == 503:
                assert "exchange_log_full" == answer.error["code"]
                assert "space" in answer.error["message"].lower()
                assert int(answer.headers["retry-after"]) > 0
                return count
            assert 200 == answer.status
    raise AssertionError("the disk never became full")


@pytest.mark.promise(13)
def test_a_full_disk_refuses_with_a_reason_and_nothing_is_sent_for_it(tmp_path: Path, provider: FakeProvider) -> None:
    with small(tmp_path, provider, SmallDisk(8 * CHUNK)) as gateway:
        answered = fill(gateway, provider)
        assert answered > 20
        assert answered == len(provider.bill)
        assert answered == len([row for row in gateway.finished() if row.outcome == "ok"])
        began = time.monotonic()
        assert 503 == call(gateway.port, chat()).status
        assert time.monotonic() - began < 1
        ready = call(gateway.port, method="GET", path="/readyz", key=None)
        assert (503, "not ready") == (ready.status, ready.json["status"])
        assert 200 == call(gateway.port, method="GET", path="/healthz", key=None).status
        samples = gateway.on_loop(gateway.gateway.samples)
        assert ("weighbridge_log_state", {"state": "full"}, 1) in samples
        assert any(name == "weighbridge_bodies_dropped_total" and value for name, _, value in samples)
        assert answered == len(provider.bill)


def test_bodies_stop_before_requests_are_refused(tmp_path: Path, provider: FakeProvider) -> None:
    with small(tmp_path, provider, SmallDisk(8 * CHUNK)) as gateway:
        fill(gateway, provider)
        kept = [held.request is not None for held in gateway.held()]
    assert kept[0]
    assert not kept[-1]


@pytest.mark.promise(13)
def test_streams_that_run_are_ended_with_the_reason_and_recorded(tmp_path: Path, provider: FakeProvider) -> None:
    with small(tmp_path, provider, SmallDisk(8 * CHUNK)) as gateway, connected(gateway.port) as line:
        provider.answers["model-a"] = Script(hang_after=400)
        line.sendall(request_bytes(chat(stream=True)))
        line.recv(100)
        provider.answers["model-a"] = Script()
        fill(gateway, provider)
        rest = b""
        while part := line.recv(65536):
            rest += part
        assert b'"code":"exchange_log_full"' in rest
        assert not rest.endswith(b"0\r\n\r\n")
        cut = until(
            lambda: [row for row in gateway.finished() if row.outcome == "upstream_cut"], lambda rows: len(rows) == 1
        )
        assert cut[0].error is not None
        assert "disk is full" in cut[0].error


@pytest.mark.promise(13)
def test_when_space_returns_it_goes_on_without_a_restart(tmp_path: Path, provider: FakeProvider) -> None:
    disk = SmallDisk(8 * CHUNK)
    with small(tmp_path, provider, disk) as gateway:
        fill(gateway, provider)
        disk.space *= 4
        began = time.monotonic()
        until(lambda: call(gateway.port, chat()).status, lambda status: status == 200)
        assert time.monotonic() - began < 5
        assert 200 == call(gateway.port, method="GET", path="/readyz", key=None).status
        until(lambda: (call(gateway.port, chat()), gateway.held()[-1].request)[1], lambda kept: kept is not None)


@pytest.mark.promise(13)
@pytest.mark.parametrize("fault", ["ENOSPC", "EIO", "short"])
def test_whichever_write_fails_every_answer_is_whole_or_a_503_and_every_answer_is_in_the_log(
    tmp_path: Path, provider: FakeProvider, fault: Fault
) -> None:
    for number in range(4, 40, 3):
        door = NthFails(number, fault)
        folder = tmp_path / f"{fault}-{number}"
        folder.mkdir()
        answered = []
        with Running(folder, table(provider.url), files=door, chunk_bytes=CHUNK) as gateway:
            for count in range(12):
                answer = call(gateway.port, chat(text=str(count), stream=count % 2 == 0))
                assert answer.status in (200, 503)
                if answer.status == 200:
                    assert answer.whole
                    answered.append(answer.headers["x-weighbridge-id"])
                else:
                    assert "exchange_log_full" == answer.error["code"]
            until(lambda: call(gateway.port, chat()).status, lambda status: status == 200)
        recorded = {row.id for row in gateway.finished() if row.outcome == "ok"}
        assert set(answered) <= recorded
        if door.calls >= number:
            assert door.failed


def test_with_power_durability_the_last_byte_waits_for_the_disk(tmp_path: Path, provider: FakeProvider) -> None:
    """What the client holds in its hand survives a power cut."""
    from threading import Event

    gate, waiting = Event(), Event()

    class Slow(SmallDisk):
        def fdatasync(self, fd: int) -> None:
            waiting.set()
            gate.wait(10)
            super().fdatasync(fd)

    with Running(tmp_path, table(provider.url, durability="power"), files=Slow(1 << 30)) as gateway:
        for stream in (False, True):
            gate.clear()
            with connected(gateway.port) as line:
                line.sendall(request_bytes(chat(stream=stream)))
                until(lambda: len(gateway.on_loop(lambda: set(gateway.gateway.active))), lambda count: count == 0)
                waiting.wait(10)
                line.settimeout(0.2)
                got = b""
                with suppress(TimeoutError):
                    while part := line.recv(65536):
                        got += part
                assert b"[DONE]" not in got
                if not stream:
                    assert b"" == got
                gate.set()
                line.settimeout(10)
                while not got.endswith((b"}", b"0\r\n\r\n")):
                    got += line.recv(65536)
