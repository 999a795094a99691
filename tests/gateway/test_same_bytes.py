"""Promise 20 in the dialects that are followed rather than relayed: messages and responses, with their figure."""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.fakes import dialects
from tests.fakes.provider import FakeProvider, Script, Tokens
from tests.gateway.running import Running, connected, endpoint, read_answer, request_bytes, table
from tests.gateway.test_promises import PIECES
from weighbridge.records.table import Arm, Endpoint, Route

Dialect = Literal["anthropic", "openai-responses"]
DIALECTS: tuple[Dialect, ...] = ("anthropic", "openai-responses")
PATHS: dict[Dialect, str] = {"anthropic": "/v1/messages", "openai-responses": "/v1/responses"}
TOKENS = Tokens(9, 4)


@contextmanager
def serving(store: Path, provider: FakeProvider) -> Iterator[Running]:
    """A gateway with a route of each of these dialects, called as the dialect."""
    endpoints = [
        Endpoint(
            name=name, dialect=name, base_url=provider.url, api_key="env:X", loopback=True, address_is_own=True
        )
        for name in DIALECTS
    ]  # fmt: skip
    arms = [Arm(name=f"at-{name}", endpoint=name, model=name) for name in DIALECTS]
    routes = [Route(name=name, incumbent=f"at-{name}") for name in DIALECTS]
    made = table("", endpoints=[*endpoints, endpoint(provider.url)], arms=arms, routes=routes)
    with Running(store, made) as gateway:
        yield gateway


@pytest.fixture
def gateway(tmp_path: Path, provider: FakeProvider) -> Iterator[Running]:
    with serving(tmp_path, provider) as running:
        yield running


def any_script(dice: random.Random) -> Script:
    def text(most: int) -> str:
        return " ".join(dice.choice(PIECES) for _ in range(dice.randrange(1, most)))

    calls = [("weather", json.dumps({"city": text(3)})) for _ in range(dice.randrange(3))]
    return Script(
        text=text(12),
        reasoning=text(6) if dice.random() < 0.5 else "",
        tool_calls=calls,
        text_with_calls=dice.random() < 0.5,
        refusal=text(4) if dice.random() < 0.1 else None,
        finish="length" if dice.random() < 0.1 else None,
        rechunk=dice.choice([None, dice.randrange(1, 40), dice.randrange(1, 3000)]),
        usage={"prompt_tokens": TOKENS.input, "completion_tokens": TOKENS.output},
    )


def equal_hashes(gateway: Running, provider: FakeProvider, dialect: Dialect, count: int, seed: int) -> int:
    """Bytes that came through as the provider wrote them."""
    dice, sizes = random.Random(seed), 0
    said: dict[str, Any] = {"model": dialect, "stream": True}
    if dialect == "anthropic":
        said |= {"max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}
    else:
        said["input"] = "Hello"
    made = dialects.anthropic_events if dialect == "anthropic" else dialects.responses_events
    with connected(gateway.port, 60) as line:
        for number in range(count):
            script = provider.answers[dialect] = any_script(dice)
            line.sendall(request_bytes(json.dumps(said).encode(), path=PATHS[dialect]))
            answer = read_answer(line)
            assert answer.whole
            wanted = b"".join(made(said, script, TOKENS))
            assert sha256(wanted).digest() == sha256(answer.body).digest(), (seed, number, script)
            sizes += len(wanted)
    return sizes


@pytest.mark.promise(20)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_sixty_streams_of_another_dialect_in_any_pieces_have_equal_hashes(
    gateway: Running, provider: FakeProvider, dialect: Dialect
) -> None:
    assert equal_hashes(gateway, provider, dialect, 60, 22) > 100_000


@pytest.mark.promise(20)
@pytest.mark.long
@pytest.mark.parametrize("dialect", DIALECTS)
def test_ten_thousand_streams_of_another_dialect_in_any_pieces_have_equal_hashes(
    gateway: Running, provider: FakeProvider, dialect: Dialect
) -> None:
    assert equal_hashes(gateway, provider, dialect, 10_000, 23) > 10_000_000
