"""Streams: the provider's bytes, usage asked for and taken out, ends that can be told apart."""

import json
import socket
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.provider import FakeProvider, Script, UsageStyle
from tests.gateway.running import Answer, Running, call, chat, connected, read_answer, request_bytes, table, until
from weighbridge.exchanges.bodystore import BodyReader
from weighbridge.exchanges.keys import master_key
from weighbridge.records.frames import BodyRef, Finished
from weighbridge.records.table import Limits
from weighbridge.records.usage import Usage
from weighbridge.wire import openai

USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}


def events(provider: FakeProvider, script: Script, *, asked: bool) -> bytes:
    """What the provider sends to a client that asked, or did not ask, for usage."""
    request: dict[str, Any] = {"model": "model-a", "messages": [], "stream": True}
    if asked:
        request["stream_options"] = {"include_usage": True}
    return b"".join(provider.stream_bytes(request, script, USAGE))


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("style", ["own_event", "null_until_end", "with_choices", "every_event", "never"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("rechunk", [None, 1, 7, 100_000])
def test_the_client_gets_exactly_what_it_would_have_got_from_the_provider(
    gateway: Running, provider: FakeProvider, asked: bool, style: UsageStyle, line_end: str, rechunk: int | None
) -> None:
    script = Script(text="grüße an 🙂 alle", usage=USAGE, usage_style=style, line_end=line_end, rechunk=rechunk)
    provider.answers["model-a"] = script
    options = {"include_usage": True} if asked else None
    answer = call(gateway.port, chat(stream=True, stream_options=options))
    assert answer.whole
    assert events(provider, script, asked=asked) == answer.body
    assert "x-weighbridge-cost-nanousd" not in answer.headers
    (posted,) = gateway.posted()
    assert (None if style == "never" else Usage(9, 4)) == posted.usage
    assert (None if style == "never" else 62_500) == posted.cost_nanousd
    assert "stop" == posted.finish_reason


@pytest.mark.promise(20)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    st.text(max_size=60),
    st.integers(1, 400),
    st.sampled_from(["own_event", "null_until_end", "with_choices"]),
    st.lists(st.sampled_from([": keep-alive", "", ": x\ny: z"]), max_size=3),
    st.booleans(),
)
def test_however_a_stream_is_cut_into_pieces_its_hash_is_the_same(
    gateway: Running,
    provider: FakeProvider,
    text: str,
    rechunk: int,
    style: UsageStyle,
    before: list[str],
    spaced: bool,
) -> None:
    script = Script(text=text, usage=USAGE, usage_style=style, rechunk=rechunk, before=before, spaced=spaced)
    provider.answers["model-a"] = script
    answer = call(gateway.port, chat(stream=True))
    assert sha256(events(provider, script, asked=False)).digest() == sha256(answer.body).digest()


@pytest.mark.promise(20)
def test_an_event_of_a_megabyte_passes(gateway: Running, provider: FakeProvider) -> None:
    script = Script(text="x" * (1 << 20), usage=USAGE)
    provider.answers["model-a"] = script
    answer = call(gateway.port, chat(stream=True))
    assert events(provider, script, asked=False) == answer.body
    assert Usage(9, 4) == gateway.posted()[0].usage


def test_the_captured_answer_is_what_the_provider_sent_and_can_be_put_together(
    gateway: Running, provider: FakeProvider
) -> None:
    script = Script(text="one two three", usage=USAGE)
    provider.answers["model-a"] = script
    call(gateway.port, chat(stream=True))
    (finished,) = gateway.finished()
    stored = body_of(gateway, finished.response)
    assert events(provider, script, asked=True) == stored
    whole = openai.assemble(stored)
    assert ("one two three", USAGE) == (whole["choices"][0]["message"]["content"], whole["usage"])
    assert chat(stream=True) == body_of(gateway, gateway.held()[0].request)


def body_of(gateway: Running, reference: BodyRef | None) -> bytes:
    found = BodyReader(gateway.layout, master_key(gateway.layout, None)).get(reference)
    assert isinstance(found, bytes)
    return found


def test_what_was_edited_is_declared(gateway: Running) -> None:
    call(gateway.port, chat("gpt-4o", stream=True))
    from weighbridge.records.frames import Attempted

    (attempted,) = [row for row in gateway.frames() if isinstance(row, Attempted)]
    assert ("model", "stream_options") == attempted.edits


def test_a_json_answer_to_a_request_for_a_stream_is_relayed_as_it_is(gateway: Running, provider: FakeProvider) -> None:
    provider.answers["model-a"] = Script(body=b'{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}')
    answer = call(gateway.port, chat(stream=True))
    assert (200, "12500") == (answer.status, answer.headers["x-weighbridge-cost-nanousd"])


def test_a_compressed_stream_is_not_touched(gateway: Running, provider: FakeProvider) -> None:
    junk = b'\x1f\x8b\x08 "usage" \n\n not text'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    provider.answers["model-a"] = Script(raw=head % len(junk) + junk)
    answer = call(gateway.port, chat(stream=True))
    assert (junk, "gzip") == (answer.body, answer.headers["content-encoding"])


# --- ends -------------------------------------------------------------------------------------------------------------


def cut_at_every_event(provider: FakeProvider) -> list[int]:
    places, at = [], 0
    for event in provider.stream_bytes({"model": "model-a", "messages": []}, Script(text="a b c"), USAGE)[:-1]:
        places += [at + 1, at + len(event) // 2, at + len(event)]
        at += len(event)
    return places


@pytest.mark.promise(18)
def test_cut_after_each_piece_the_client_knows_and_what_it_has_is_whole_events(
    gateway: Running, provider: FakeProvider
) -> None:
    for number, place in enumerate(cut_at_every_event(provider), start=1):
        provider.answers["model-a"] = Script(text="a b c", usage=USAGE, cut_after=place)
        answer = call(gateway.port, chat(stream=True))
        finished = gateway.finished(number)[-1]
        assert "upstream_cut" == finished.outcome
        if answer.status == 502:  # not even the head was out
            continue
        assert not answer.whole
        *before, last = [data.removeprefix(b"data: ") for data in answer.body.split(b"\n\n") if data]
        for data in before:
            json.loads(data)
        assert "upstream_cut" == json.loads(last)["error"]["code"]
        assert b"[DONE]" not in answer.body


@pytest.mark.promise(18)
def test_what_a_cut_stream_cost_is_marked_as_an_upper_bound_never_as_zero(
    gateway: Running, provider: FakeProvider
) -> None:
    provider.answers["model-a"] = Script(cut_after=400)
    call(gateway.port, chat(stream=True, max_tokens=50))
    (posted,) = gateway.posted()
    (held,) = gateway.held()
    assert posted.estimated
    assert posted.usage is None
    assert held.held_nanousd == posted.cost_nanousd
    assert posted.cost_nanousd is not None
    assert posted.cost_nanousd > 50 * 10_000


def test_a_stream_that_was_cut_behind_its_usage_is_booked_by_it(gateway: Running, provider: FakeProvider) -> None:
    script = Script(usage=USAGE)
    whole = events(provider, script, asked=True)
    script.cut_after = len(whole) - 5
    provider.answers["model-a"] = script
    call(gateway.port, chat(stream=True))
    (posted,) = gateway.posted()
    assert (Usage(9, 4), 62_500, False) == (posted.usage, posted.cost_nanousd, posted.estimated)


def test_a_stream_without_length_ends_with_its_connection(gateway: Running, provider: FakeProvider) -> None:
    script = Script(framing="close", usage=USAGE)
    provider.answers["model-a"] = script
    answer = call(gateway.port, chat(stream=True))
    assert answer.whole
    assert events(provider, script, asked=False) == answer.body
    assert "ok" == gateway.finished()[0].outcome


def test_a_stream_without_done_is_whole_when_http_says_so(gateway: Running, provider: FakeProvider) -> None:
    script = Script(done=False, usage=USAGE)
    provider.answers["model-a"] = script
    answer = call(gateway.port, chat(stream=True))
    assert answer.whole
    assert events(provider, script, asked=False) == answer.body


def test_an_error_event_of_the_provider_passes_through_and_is_noted(gateway: Running, provider: FakeProvider) -> None:
    provider.answers["model-a"] = Script(error_event={"message": "boom", "type": "server_error"})
    answer = call(gateway.port, chat(stream=True))
    assert b'{"error":{"message":"boom","type":"server_error"}}' in answer.body
    assert "upstream_error" == gateway.finished()[0].outcome
    assert "server_error" == gateway.posted()[0].error


def test_the_answer_is_over_with_done_though_the_provider_is_slow_to_end_its_message(
    tmp_path: Path, provider: FakeProvider
) -> None:
    whole = events(provider, Script(usage=USAGE), asked=True)
    provider.answers["model-a"] = Script(usage=USAGE, hang_after=len(whole))
    with Running(tmp_path, table(provider.url)) as gateway:
        answer = call(gateway.port, chat(stream=True))
        assert answer.whole
        assert "ok" == gateway.finished()[0].outcome
        gateway.sweep(30)  # the provider's connection is given up after a while
        until(lambda: provider.cancelled, lambda count: count == 1)


@pytest.mark.parametrize("stream", [False, True])
def test_a_provider_that_says_nothing_ends_in_a_timeout(tmp_path: Path, provider: FakeProvider, stream: bool) -> None:
    provider.answers["model-a"] = Script(hang=True)
    with (
        Running(tmp_path, table(provider.url, limits=Limits(first_byte_s_max=2))) as gateway,
        connected(gateway.port) as line,
    ):
        line.sendall(request_bytes(chat(stream=stream)))
        until(lambda: len(provider.seen), lambda count: count == 1)
        gateway.sweep(12)
        answer = read_answer(line)
        assert (504, "upstream_timeout") == (answer.status, answer.error["code"])
        (finished,) = gateway.finished()
        assert "timeout" == finished.outcome
        assert gateway.posted()[0].estimated
        until(lambda: provider.cancelled, lambda count: count == 1)


@pytest.mark.promise(18)
def test_a_stream_that_stalls_ends_in_an_error_event(tmp_path: Path, provider: FakeProvider) -> None:
    provider.answers["model-a"] = Script(hang_after=400)
    with (
        Running(tmp_path, table(provider.url, limits=Limits(stream_idle_s_max=2))) as gateway,
        connected(gateway.port) as line,
    ):
        line.sendall(request_bytes(chat(stream=True)))
        until(lambda: gateway.on_loop(lambda: [x.first_ns for x in gateway.gateway.active]), lambda seen: any(seen))
        gateway.sweep(12)
        answer = read_answer(line)
    assert not answer.whole
    assert b'"code":"upstream_timeout"' in answer.body
    assert "timeout" == gateway.finished()[0].outcome


# --- the client leaves ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [Script(hang=True), Script(hang_after=300), Script(text="word " * 4000, chunk_delay_s=0.001)],
    ids=["before an answer", "within a stream", "in full flow"],
)
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_cancels_the_provider_and_is_recorded(
    gateway: Running, provider: FakeProvider, script: Script, how: str
) -> None:
    provider.answers["model-a"] = script
    with connected(gateway.port) as line:
        line.sendall(request_bytes(chat(stream=True, max_tokens=10)))
        until(lambda: len(provider.seen), lambda count: count == 1)
        if not script.hang:
            line.recv(200)
        if how == "reset":
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    (finished,) = gateway.finished()
    assert "client_gone" == finished.outcome
    assert (499 if script.hang else 200) == finished.status
    (posted,) = gateway.posted()
    assert posted.estimated
    assert gateway.held()[0].held_nanousd == posted.cost_nanousd
    until(lambda: provider.open_connections, lambda count: count == 0)


def test_a_client_that_leaves_over_an_error_event_leaves_the_providers_error_behind(
    gateway: Running, provider: FakeProvider
) -> None:
    """As official clients do, before the provider has ended its message."""
    script = Script(error_event={"message": "boom", "type": "server_error"})
    size = len(b"".join(provider.stream_bytes({"model": "model-a", "stream": True}, script)))
    provider.answers["model-a"] = replace(script, hang_after=size)
    with connected(gateway.port) as line:
        line.sendall(request_bytes(chat(stream=True)))
        got = b""
        while b"boom" not in got:
            got += line.recv(4096)
    (finished,) = gateway.finished()
    assert ("upstream_error", 200) == (finished.outcome, finished.status)
    assert "server_error" == gateway.posted()[0].error
    until(lambda: provider.open_connections, lambda count: count == 0)


def test_two_hundred_clients_that_leave_at_any_moment_leave_nothing_behind(
    gateway: Running, provider: FakeProvider
) -> None:
    provider.answers["model-a"] = Script(text="w " * 50, chunk_delay_s=0.0002)
    import random

    dice = random.Random(7)
    count = 200
    for _ in range(count):
        with connected(gateway.port) as line:
            line.sendall(request_bytes(chat(stream=True)))
            wanted = dice.choice([0, 1, 100, 1000, 5000])
            got = 0
            while got < wanted and (part := line.recv(min(400, wanted - got))):
                got += len(part)
    finished = gateway.finished(count)
    assert count == len(finished)
    assert {"client_gone", "ok"} >= {row.outcome for row in finished}
    assert set() == gateway.on_loop(lambda: set(gateway.gateway.active))
    until(lambda: gateway.on_loop(lambda: len(gateway.gateway.clients)), lambda left: left == 0)


def test_an_exchange_is_finished_once_however_it_ends(gateway: Running, provider: FakeProvider) -> None:
    provider.answers["model-a"] = Script(cut_after=300)
    with connected(gateway.port) as line:
        line.sendall(request_bytes(chat(stream=True)))
        line.recv(10)
    gateway.finished()
    gateway.sweep(10)
    assert 1 == len([row for row in gateway.frames() if isinstance(row, Finished)])


# --- slow readers -----------------------------------------------------------------------------------------------------


@pytest.mark.promise(21)
def test_a_slow_reader_stops_its_own_provider_costs_a_bounded_buffer_and_loses_nothing(
    gateway: Running, provider: FakeProvider
) -> None:
    script = Script(text=("y" * 1000 + " ") * 32_000, piece_words=20, usage=USAGE)
    provider.answers["model-a"] = script
    provider.answers["model-b"] = Script()
    with connected(gateway.port) as line:
        line.sendall(request_bytes(chat(stream=True)))
        line.recv(1000)

        def look() -> tuple[bool, int]:
            (client,) = gateway.gateway.clients
            exchange = client.exchange
            held = len(exchange.relay.hold.held) if exchange is not None and exchange.relay is not None else 0
            return client.paused, client.transport.get_write_buffer_size() + held

        until(lambda: gateway.on_loop(look), lambda seen: seen[0])
        assert max(gateway.on_loop(look)[1] for _ in range(50)) <= Limits().stream_buffer_bytes_max
        assert 1 == len(provider.bill)
        assert not provider.bill[0].whole  # the provider is stopped as well: its answer is not in our memory
        got, size = 0, len(events(provider, script, asked=False))
        while got < size:
            got += len(line.recv(1 << 20))
    until(lambda: [row.outcome for row in gateway.finished()], lambda seen: seen == ["ok"])


def test_a_reader_that_has_stopped_is_given_up_and_recorded(tmp_path: Path, provider: FakeProvider) -> None:
    provider.answers["model-a"] = Script(text=("y" * 1000 + " ") * 20_000, piece_words=20)
    with (
        Running(tmp_path, table(provider.url, limits=Limits(client_stall_s_max=2))) as gateway,
        connected(gateway.port) as line,
    ):
        line.sendall(request_bytes(chat(stream=True)))
        until(
            lambda: gateway.on_loop(lambda: any(client.paused for client in gateway.gateway.clients)),
            lambda paused: paused,
        )
        gateway.sweep(12)
        (finished,) = gateway.finished()
        assert "client_gone" == finished.outcome
        until(lambda: provider.open_connections, lambda count: count == 0)


def test_a_reader_that_stops_within_a_large_json_answer_is_given_up_too(tmp_path: Path, provider: FakeProvider) -> None:
    provider.answers["model-a"] = Script(text="y" * 20_000_000)
    with (
        Running(tmp_path, table(provider.url, limits=Limits(client_stall_s_max=2))) as gateway,
        connected(gateway.port) as line,
    ):
        line.sendall(request_bytes(chat()))
        until(
            lambda: gateway.on_loop(lambda: any(client.paused for client in gateway.gateway.clients)),
            lambda paused: paused,
        )
        gateway.sweep(12)
        until(lambda: gateway.on_loop(lambda: len(gateway.gateway.clients)), lambda count: count == 0)


# --- pools ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_connections_to_a_provider_are_kept(gateway: Running, provider: FakeProvider, stream: bool) -> None:
    for _ in range(20):
        assert 200 == call(gateway.port, chat(stream=stream)).status
    assert 1 == provider.connections
    samples = gateway.on_loop(gateway.gateway.samples)
    opened = [value for name, _, value in samples if name == "weighbridge_upstream_connections_opened_total"]
    assert [1] == opened


def test_a_kept_connection_that_was_closed_is_replaced_and_both_attempts_are_recorded(
    tmp_path: Path, provider: FakeProvider
) -> None:
    """The provider closes at the very moment that the request goes out: nothing was answered, so it is asked again."""
    import asyncio

    from tests.gateway.test_errors import ServerThread

    count = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        served = 0
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
                await reader.readexactly(length)
                count += 1
                served += 1
                if served == 2:
                    writer.transport.abort()
                    return
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    with ServerThread(answer) as server, Running(tmp_path, table(f"http://127.0.0.1:{server.port}/v1")) as gateway:
        first: Answer = call(gateway.port, chat())
        second: Answer = call(gateway.port, chat())
        assert ("1", "2") == (first.headers["x-weighbridge-attempt"], second.headers["x-weighbridge-attempt"])
        assert 3 == count
        (_, finished) = gateway.finished(2)
        assert ("ok", 2, None) == (finished.outcome, finished.attempts, finished.cost_nanousd)
        posted = [row for row in gateway.posted() if row.id == finished.id]
        assert [(1, None, True), (2, 200, False)] == [(row.attempt, row.status, row.estimated) for row in posted]


@pytest.mark.promise(19)
def test_a_fresh_connection_that_breaks_is_not_tried_again(gateway: Running, provider: FakeProvider) -> None:
    provider.answers["model-a"] = Script(raw=b"")
    assert 502 == call(gateway.port, chat()).status
    assert 1 == len(provider.seen)


def test_idle_connections_are_closed_after_a_while(tmp_path: Path, provider: FakeProvider) -> None:
    with Running(tmp_path, table(provider.url, limits=Limits(keepalive_idle_s_max=2))) as gateway:
        with connected(gateway.port) as line:
            line.sendall(request_bytes(chat()))
            read_answer(line)
            gateway.sweep(16)
            assert b"" == line.recv(1)
        until(lambda: provider.open_connections, lambda count: count == 0)


def test_a_request_that_does_not_arrive_is_given_up(tmp_path: Path, provider: FakeProvider) -> None:
    with Running(tmp_path, table(provider.url, limits=Limits(request_receive_s_max=2))) as gateway:
        for start in (b"POST /v1/chat", request_bytes(chat())[:-5]):
            with connected(gateway.port) as line:
                line.sendall(start)
                until(
                    lambda: gateway.on_loop(lambda: any(not client._fresh for client in gateway.gateway.clients)),
                    lambda begun: begun,
                )
                gateway.sweep(12)
                assert 408 == read_answer(line).status
