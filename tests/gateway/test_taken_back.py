"""A ramp that goes back: streams in flight finish, or are cut where the route says so; nobody else is touched."""

import socket
from pathlib import Path

import msgspec
import pytest

from tests.fakes.provider import FakeProvider, Script
from tests.gateway.running import Running, chat, connected, request_bytes, table, until
from weighbridge.records.frames import Finished, Held
from weighbridge.records.table import Route, RouteTable, Share


def shared(url: str, arm: str, number: int, *, cuts: bool = False) -> RouteTable:
    route = Route(
        name="assistant", incumbent="closed", candidates=("open",), shares=(Share(arm=arm, basis_points=10_000),),
        cuts=cuts,
    )  # fmt: skip
    return table(url, number=number, routes=(route,))


def begun(gateway: Running, line: socket.socket) -> bytes:
    """A stream whose first bytes are here."""
    line.sendall(request_bytes(chat(stream=True)))
    return line.recv(4096)


@pytest.mark.parametrize("cuts", [False, True])
def test_a_stream_of_the_candidate_finishes_or_is_cut_with_an_error_that_says_why(
    tmp_path: Path, provider: FakeProvider, cuts: bool
) -> None:
    provider.answers["model-b"] = Script(text="one two three four", hang_after=200)
    with Running(tmp_path, shared(provider.url, "open", 1)) as gateway:
        with connected(gateway.port) as line:
            data = begun(gateway, line)
            assert gateway.use(shared(provider.url, "closed", 2, cuts=cuts))
            if not cuts:
                assert [] == [one for one in gateway.frames() if isinstance(one, Finished)]
                return
            while b"ramp_rolled_back" not in data:
                more = line.recv(65536)
                assert more, data
                data += more
        ended = gateway.finished()[0]
    assert "upstream_cut" == ended.outcome
    assert ended.error is not None
    assert "arm 'open' was taken back" in ended.error


def test_streams_of_the_incumbent_and_answers_that_are_not_streamed_go_on(
    tmp_path: Path, provider: FakeProvider
) -> None:
    provider.answers["model-a"] = Script(text="one two", hang_after=150)
    provider.answers["model-b"] = Script(text="late", delay_s=0.3)
    with (
        Running(tmp_path, shared(provider.url, "closed", 1)) as gateway,
        connected(gateway.port) as stream,
        connected(gateway.port) as plain,
    ):
        begun(gateway, stream)
        gateway.use(shared(provider.url, "open", 2))
        plain.sendall(request_bytes(chat()))
        until(gateway.frames, lambda rows: sum(isinstance(one, Held) for one in rows) == 2)
        gateway.use(shared(provider.url, "closed", 3, cuts=True))
        assert b"200 OK" in plain.recv(65536)
        assert ["ok"] == [one.outcome for one in gateway.finished()]


def test_the_policy_is_not_part_of_a_table_that_does_not_name_it() -> None:
    assert b"cuts" not in msgspec.json.encode(Route(name="a", incumbent="b"))
