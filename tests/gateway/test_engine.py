"""Through the gateway to a real engine: llama.cpp with small open weights. Slow to fetch once, then a few seconds."""

import os
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.gateway.running import KEY, Running, endpoint, table
from weighbridge.records.table import Arm, Route
from weighbridge.records.usage import Price
from weighbridge.samples.local_model import LocalModelError, LocalServer, fetch_weights
from weighbridge.wire.openai import answer_text

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "weighbridge" / "models"


@pytest.fixture(scope="module")
def engine() -> Iterator[LocalServer]:
    try:
        weights = fetch_weights(CACHE)
    except LocalModelError as error:
        pytest.skip(f"the weights of the local model cannot be fetched: {error}")
    with LocalServer(weights) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(engine: LocalServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    route_table = table(
        "",
        endpoints=[endpoint(engine.base_url, "local"), endpoint("http://127.0.0.1:1/v1")],
        arms=[
            Arm(name="smollm2", endpoint="local", model=engine.model, price=Price(10**9, 2 * 10**9, 10**8)),
            Arm(name="polite", endpoint="local", model=engine.model, system_prompt="You always answer in one word."),
        ],
        routes=[Route(name="small", incumbent="smollm2"), Route(name="polite", incumbent="polite")],
    )
    with Running(tmp_path_factory.mktemp("engine"), route_table) as running:
        yield running


@pytest.fixture
def client(gateway: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.base_url, api_key=KEY, max_retries=0, timeout=120) as made:
        yield made


def test_a_real_model_answers_and_its_usage_is_what_is_booked(gateway: Running, client: openai.OpenAI) -> None:
    answer = client.chat.completions.with_raw_response.create(
        model="small", messages=[{"role": "user", "content": "Say hello."}], max_tokens=12, temperature=0
    )
    said = answer.parse()
    assert said.choices[0].message.content
    assert said.usage is not None
    posted = next(row for row in gateway.posted() if row.id == answer.headers["x-weighbridge-id"])
    assert posted.usage is not None
    assert said.usage.total_tokens == posted.usage.total
    assert said.usage.completion_tokens == posted.usage.output
    assert str(posted.cost_nanousd) == answer.headers["x-weighbridge-cost-nanousd"]


def test_a_real_stream_is_the_same_text_with_usage_booked_and_not_shown(
    gateway: Running, client: openai.OpenAI
) -> None:
    stream = client.chat.completions.create(
        model="small",
        messages=[{"role": "user", "content": "Count to five."}],
        max_tokens=24,
        temperature=0,
        stream=True,
    )
    chunks = list(stream)
    assert not any(chunk.usage for chunk in chunks)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text
    finished = gateway.finished()[-1]
    assert "ok" == finished.outcome
    posted = next(row for row in gateway.posted() if row.id == finished.id)
    assert posted.usage is not None
    assert 0 < posted.usage.output <= 24
    from tests.gateway.test_streams import body_of

    assert text == answer_text(body_of(gateway, finished.response))


def test_a_client_that_leaves_a_real_stream_is_recorded(gateway: Running, client: openai.OpenAI) -> None:
    before = len(gateway.finished())
    stream = client.chat.completions.create(
        model="small", messages=[{"role": "user", "content": "Write a long story."}], max_tokens=400, stream=True
    )
    next(iter(stream))
    stream.close()
    assert "client_gone" == gateway.finished(before + 1)[-1].outcome


def test_an_arm_with_a_system_prompt_is_obeyed_by_a_real_chat_template(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="polite",
        messages=[{"role": "system", "content": "old"}, {"role": "user", "content": "Hi"}],
        max_tokens=8,
        temperature=0,
    )
    assert answer.choices[0].message.content


def test_the_errors_of_a_real_engine_reach_the_client(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="small", messages=[{"role": "user", "content": "word " * 40_000}])
    with pytest.raises(openai.APIStatusError):
        client.chat.completions.create(model="small", messages=[], extra_body={"messages": "bad"})
