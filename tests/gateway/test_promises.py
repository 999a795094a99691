"""Promises 20 and 21, with their figures: the provider's bytes however they come, and what a slow reader costs."""

import random
import resource
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.provider import FakeProvider, Script, UsageStyle
from tests.gateway.running import Running, chat, connected, read_answer, request_bytes, table, until
from weighbridge.records.table import Limits, Route, Share

USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
STYLES: tuple[UsageStyle, ...] = ("own_event", "null_until_end", "with_choices", "every_event", "never")
PIECES = ("grüße", "🙂", "漢字", "a", "\u2028", "\x00", '"', "\\", "data:", "[DONE]", "word " * 50, "\u0301", "\n\n")


def any_script(dice: random.Random) -> Script:
    """Any text, cut anywhere, with comments and pauses as hosts send them; now and then an event of a megabyte."""
    text = " ".join(dice.choice(PIECES) for _ in range(dice.randrange(12)))
    if dice.random() < 0.005:
        text += "x" * (1 << 20)
    size = len(text) + 300
    return Script(
        text=text,
        usage=USAGE,
        usage_style=dice.choice(STYLES),
        rechunk=dice.choice([None, dice.randrange(1, 40), dice.randrange(1, size)]) if size < 5_000 else 65_000,
        line_end=dice.choice(["\n", "\r\n"]),
        spaced=dice.random() < 0.5,
        before=[dice.choice([": OPENROUTER PROCESSING\n", ": keep-alive\n", ": x\n: y\n"])] * dice.randrange(3),
        piece_words=dice.randrange(1, 5),
    )


def expected(provider: FakeProvider, script: Script, *, asked: bool) -> bytes:
    request: dict[str, Any] = {"model": "model-a", "messages": [], "stream": True}
    if asked:
        request["stream_options"] = {"include_usage": True}
    return b"".join(provider.stream_bytes(request, script, USAGE))


def equal_hashes(gateway: Running, provider: FakeProvider, count: int, seed: int) -> int:
    dice = random.Random(seed)
    sizes = 0
    with connected(gateway.port, 60) as line:
        for number in range(count):
            script, asked = any_script(dice), dice.random() < 0.5
            provider.answers["model-a"] = script
            line.sendall(request_bytes(chat(stream=True, stream_options={"include_usage": True} if asked else None)))
            answer = read_answer(line)
            assert answer.whole
            wanted = expected(provider, script, asked=asked)
            assert sha256(wanted).digest() == sha256(answer.body).digest(), (seed, number, script)
            sizes += len(wanted)
    return sizes


@pytest.mark.promise(20)
def test_three_hundred_streams_in_any_pieces_have_equal_hashes(gateway: Running, provider: FakeProvider) -> None:
    assert equal_hashes(gateway, provider, 300, 20) > 100_000


@pytest.mark.promise(20)
@pytest.mark.long
def test_ten_thousand_streams_in_any_pieces_have_equal_hashes(gateway: Running, provider: FakeProvider) -> None:
    """Promise 20."""
    assert equal_hashes(gateway, provider, 10_000, 21) > 10_000_000


# --- promise 21 -------------------------------------------------------------------------------------------------------

BUFFER_BYTES_MAX = 256 << 10
STALLED, NORMAL = 500, 50
FIRST_TOKEN_S = 0.1


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 8_192
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"needs {wanted} open files, {hard} are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def stalled_reader(port: int) -> socket.socket:
    """Asks for a long stream and never reads."""
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.connect(("127.0.0.1", port))
    line.sendall(request_bytes(chat("gpt-4o", stream=True, max_tokens=1000)))
    return line


def first_token_s(port: int) -> float:
    with connected(port, 60) as line:
        begun = time.monotonic()
        line.sendall(request_bytes(chat(stream=True)))
        head = b""
        while b"data:" not in head:
            head += line.recv(65536)
        took = time.monotonic() - begun
        while b"[DONE]" not in head:
            head += line.recv(65536)
        return took


def first_tokens_s(port: int) -> list[float]:
    with ThreadPoolExecutor(10) as threads:
        return sorted(threads.map(first_token_s, [port] * NORMAL))


def buffered(gateway: Running) -> list[int]:
    """What each stream keeps in this process: unsent bytes of its client, and an unfinished event."""

    def look() -> list[int]:
        return [
            exchange.client.transport.get_write_buffer_size() + len(exchange.relay.hold.held)
            for exchange in gateway.gateway.active
            if exchange.client is not None and exchange.relay is not None and exchange.relay.stream
        ]

    return gateway.on_loop(look)


def stall(tmp_path: Path, provider: FakeProvider, count: int) -> tuple[list[float], list[float]]:
    """First tokens of normal readers, alone and beside `count` that have stopped; and what those cost."""
    provider.answers["model-a"] = Script(
        text="word " * 100_000, piece_words=2_000, usage={**USAGE, "completion_tokens": 1000}
    )
    provider.answers["model-b"] = Script(text="hello", delay_s=FIRST_TOKEN_S)
    routes = [_route("assistant", "open"), _route("gpt-4o", "closed")]
    limits = Limits(client_stall_s_max=600)
    with Running(tmp_path, table(provider.url, routes=routes, limits=limits)) as gateway:
        alone = first_tokens_s(gateway.port)
        lines = [stalled_reader(gateway.port) for _ in range(count)]
        try:
            until(
                lambda: gateway.on_loop(lambda: sum(client.paused for client in gateway.gateway.clients)),
                lambda paused: paused == count,
                60,
            )
            beside = first_tokens_s(gateway.port)
            kept = buffered(gateway)
            assert count == len(kept)
            assert max(kept) <= BUFFER_BYTES_MAX
            gateway.sweep(4 * 600 + 2)
            gone = [row for row in gateway.finished(count + 2 * NORMAL, 60) if row.outcome == "client_gone"]
            assert count == len(gone)
            assert all(row.cost_nanousd for row in gone)  # billed: an upper bound, marked
            assert count == sum(row.estimated for row in gateway.posted())
            until(lambda: provider.open_connections, lambda open_now: open_now <= NORMAL, 30)
        finally:
            for line in lines:
                line.close()
    return alone, beside


def _route(name: str, arm: str) -> Route:
    return Route(name=name, incumbent=arm, shares=(Share(arm=arm, basis_points=10_000),))


@pytest.mark.promise(21)
def test_forty_readers_that_stop_cost_a_bounded_buffer_each_and_are_given_up(
    tmp_path: Path, provider: FakeProvider, many_files: None
) -> None:
    _, beside = stall(tmp_path, provider, 40)
    assert NORMAL == len(beside)


@pytest.mark.promise(21)
@pytest.mark.long
def test_five_hundred_readers_that_stop_slow_nobody_else_down(
    tmp_path: Path, provider: FakeProvider, many_files: None
) -> None:
    """Promise 21: the p99 of the others' first token grows by a tenth at most."""
    alone, beside = stall(tmp_path, provider, STALLED)
    place = int(0.99 * (NORMAL - 1))
    print(f"p99 of the first token: {alone[place] * 1e3:.1f} ms alone, {beside[place] * 1e3:.1f} ms beside {STALLED}")
    assert beside[place] <= 1.1 * alone[place]
