"""What a cut answer is booked at: no less than its bill, and no more than is needed where something is known."""

import json
import random
from pathlib import Path

import msgspec
import pytest

from tests.fakes.provider import FakeProvider, Script
from tests.gateway.running import PRICE, Running, chat, connected, endpoint, request_bytes, table
from weighbridge.gateway.cut import UNDER_WAY_TOKENS
from weighbridge.records.frames import Posted
from weighbridge.records.table import Arm, Capture, Route
from weighbridge.records.usage import MILLION

TEXT = "word " * 400
MAX_TOKENS = 4_000


def running(
    store: Path, provider: FakeProvider, *, weights: str = "open", stops: bool | None = True, dialect: str = "openai",
    bodies: bool = False,
) -> Running:  # fmt: skip
    arm = Arm(
        name="shown", endpoint="fake", model="model-a", weights=weights, price=PRICE, price_version="test 1",  # type: ignore[arg-type]
    )  # fmt: skip
    capture = Capture(bodies=True, purpose="test", approved_by="test") if bodies else Capture()
    made = endpoint(provider.url, cancel_stops_billing=stops, api_key="env:KEY")
    made = msgspec.structs.replace(made, dialect=dialect)
    routes = [Route(name="assistant", aliases=("gpt-4o",), incumbent="shown")]
    return Running(store, table("", arms=[arm], endpoints=[made], routes=routes, capture=capture))


def left(gateway: Running, count: int, body: bytes, path: str = "/v1/chat/completions") -> None:
    with connected(gateway.port) as line:
        line.sendall(request_bytes(body, path=path))
        got = 0
        while got < count and (part := line.recv(min(4096, count - got))):
            got += len(part)


def bill(provider: FakeProvider, at: int = -1) -> int:
    row = provider.bill[at]
    return -(-(row.prompt_tokens * PRICE.input + row.completion_tokens * PRICE.output) // MILLION)


def cut(gateway: Running) -> Posted:
    gateway.finished()
    (posted,) = gateway.posted()
    assert posted.estimated
    assert posted.usage is None
    return posted


def test_of_open_weights_that_stop_when_they_are_left_the_text_that_came_bounds_the_output(
    tmp_path: Path, provider: FakeProvider
) -> None:
    provider.answers["model-a"] = Script(text=TEXT, chunk_delay_s=0.001, bills_sent=True)
    with running(tmp_path, provider) as gateway:
        left(gateway, 3_000, chat(stream=True, max_tokens=MAX_TOKENS))
        posted, (held,) = cut(gateway), gateway.held()
    assert posted.cost_nanousd is not None
    assert held.held_nanousd is not None
    assert bill(provider) <= posted.cost_nanousd < held.held_nanousd // 3
    assert posted.cost_nanousd >= UNDER_WAY_TOKENS * PRICE.output // MILLION


@pytest.mark.parametrize(
    ("weights", "stops"), [("closed", True), ("open", None)], ids=["a closed model may think unseen", "nobody says"]
)
def test_where_more_may_have_been_billed_than_came_all_that_was_held_is_booked(
    tmp_path: Path, provider: FakeProvider, weights: str, stops: bool | None
) -> None:
    provider.answers["model-a"] = Script(text=TEXT, chunk_delay_s=0.001)
    with running(tmp_path, provider, weights=weights, stops=stops) as gateway:
        left(gateway, 3_000, chat(stream=True, max_tokens=MAX_TOKENS))
        assert gateway.held()[0].held_nanousd == cut(gateway).cost_nanousd


def test_a_stream_that_states_its_input_early_is_booked_at_it(tmp_path: Path, provider: FakeProvider) -> None:
    """As messages do: most of a long prompt was read from the provider's cache, at a tenth of the price."""
    provider.answers["model-a"] = Script(text=TEXT, chunk_delay_s=0.001, cache_read=2_000)
    message = {"role": "user", "content": "long " * 4_000}
    body = json.dumps({"model": "gpt-4o", "max_tokens": 50, "stream": True, "messages": [message]}).encode()
    with running(tmp_path, provider, weights="closed", stops=None, dialect="anthropic") as gateway:
        left(gateway, 1_500, body, "/v1/messages")
        posted, (held,) = cut(gateway), gateway.held()
    charge = provider.bill[-1].tokens
    stated = charge.input * PRICE.input + charge.cache_read * (PRICE.cache_read or 0) + 50 * PRICE.output
    assert held.held_nanousd is not None
    assert posted.cost_nanousd is not None
    assert -(-stated // MILLION) <= posted.cost_nanousd <= -(-stated // MILLION) + 2
    assert posted.cost_nanousd < held.held_nanousd // 2


@pytest.mark.promise(17, 18)
def test_wherever_it_is_cut_it_is_booked_at_no_less_than_its_bill(tmp_path: Path, provider: FakeProvider) -> None:
    dice = random.Random(5)
    script = provider.answers["model-a"] = Script(text=TEXT, reasoning="hm " * 40, bills_sent=True)
    size = len(b"".join(provider.stream_bytes({"model": "model-a", "stream": True}, script)))
    with running(tmp_path, provider, bodies=True) as gateway:
        for turn in range(24):
            if turn % 2:
                script.cut_after, script.chunk_delay_s = dice.randrange(1, size), 0.0
                left(gateway, 1 << 30, chat(stream=True, max_tokens=MAX_TOKENS))
            else:
                script.cut_after, script.chunk_delay_s = None, 0.0005
                left(gateway, dice.randrange(1, size // 4), chat(stream=True, max_tokens=MAX_TOKENS))
            gateway.finished(turn + 1)
        posted, held = gateway.posted(), gateway.held()
    assert 24 == len(posted) == len(provider.bill)
    for number, row in enumerate(posted):
        assert row.cost_nanousd is not None
        assert bill(provider, number) <= row.cost_nanousd <= (held[number].held_nanousd or 0)
    assert sum(row.cost_nanousd or 0 for row in posted) < sum(row.held_nanousd or 0 for row in held) // 3
