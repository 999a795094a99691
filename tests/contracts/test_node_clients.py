"""The official Node clients as judges: each against an endpoint of each dialect, through real processes."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.app.serving import CLIENT_KEY
from tests.clients.node.clients import NodeAbsentError, NodeClients, NodeError, calls_of
from tests.contracts.conftest import Stage
from tests.contracts.speakers import DIALECTS, Dialect
from tests.fakes.provider import Script
from tests.gateway.running import until

pairs = pytest.mark.parametrize(
    ("client", "upstream"),
    [(client, upstream) for client in DIALECTS for upstream in DIALECTS],
    ids=lambda one: str(one),
)
modes = pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])

PLAIN = Script(text="Rain in Bonn, sun in Rome.", cache_read=40, cache_write=8, reasoned=5, reasoning="Two cities.")
CALLS = (("weather", '{"city": "Bonn"}'), ("weather", '{"city": "Rome"}'))


@pytest.fixture(scope="module")
def node(stage: Stage) -> Iterator[NodeClients]:
    try:
        clients = NodeClients(stage.listen, CLIENT_KEY)
    except NodeAbsentError as error:
        pytest.skip(str(error))
    with clients:
        yield clients


def billed(stage: Stage) -> list[int]:
    [charge] = stage.provider.bill
    tokens = charge.tokens
    cached = tokens.cache_read
    return [tokens.input + cached + tokens.cache_write, cached, tokens.output + tokens.reasoning, tokens.reasoning]


@modes
@pairs
def test_an_answer_and_its_usage_arrive_whole(
    stage: Stage, node: NodeClients, client: Dialect, upstream: Dialect, stream: bool
) -> None:
    stage.script(upstream, PLAIN)
    said = node.order("ask", client, f"to-{upstream}", stream=stream)
    assert (PLAIN.text, [], "stop") == (said["text"], said["calls"], said["stop"])
    assert billed(stage) == said["tokens"]
    if stream:
        assert PLAIN.text == said["streamed"]
    exchange = stage.exchange(node.headers["x-weighbridge-id"])
    assert ("ok", client) == (exchange.outcome, exchange.asked)


@modes
@pairs
def test_parallel_calls_arrive_each_whole(
    stage: Stage, node: NodeClients, client: Dialect, upstream: Dialect, stream: bool
) -> None:
    stage.script(upstream, replace(PLAIN, tool_calls=CALLS, text_with_calls=True))
    said = node.order("ask", client, f"to-{upstream}", stream=stream, tools=True)
    wanted = [("weather", {"city": "Bonn"}), ("weather", {"city": "Rome"})]
    assert (wanted, "calls", PLAIN.text) == (calls_of(said), said["stop"], said["text"])


@modes
@pairs
def test_the_clients_own_tool_loop_runs_to_its_answer(
    stage: Stage, node: NodeClients, client: Dialect, upstream: Dialect, stream: bool
) -> None:
    """The second turn carries the calls, their results and the signed thinking back; the provider looks at each."""
    stage.script(upstream, replace(PLAIN, first=[replace(PLAIN, tool_calls=CALLS)]))
    said = node.order("loop", client, f"to-{upstream}", stream=stream)
    assert {"asked": ["Bonn", "Rome"], "text": PLAIN.text} == said
    assert 2 == len(stage.provider.bill)


@pairs
def test_structured_output_is_parsed_by_the_client_and_its_schema_reaches_the_provider(
    stage: Stage, node: NodeClients, client: Dialect, upstream: Dialect
) -> None:
    stage.script(upstream, Script(text='{"city": "Bonn"}'))
    assert {"parsed": {"city": "Bonn"}} == node.order("parse", client, f"to-{upstream}")
    assert b'"additionalProperties":false' in stage.provider.seen[-1].body.replace(b" ", b"")


@modes
@pairs
def test_an_error_of_the_provider_is_the_clients_own_class_with_its_headers(
    stage: Stage, node: NodeClients, client: Dialect, upstream: Dialect, stream: bool
) -> None:
    stage.script(upstream, Script(status=429, headers=(("retry-after", "7"), ("x-request-id", "up-1"))))
    with pytest.raises(NodeError, match="the fake says 429") as caught:
        node.order("ask", client, f"to-{upstream}", stream=stream)
    error = caught.value
    assert ("RateLimitError", 429) == (error.name, error.status)
    assert ("7", "up-1") == (error.headers["retry-after"], error.headers["x-request-id"])


@pytest.mark.parametrize(
    "fault",
    [
        {"error_event": {"type": "overloaded_error", "code": "server_error", "message": "the fake is overloaded"}},
        {"text": "word " * 50, "cut_after": 900},
    ],
    ids=["error-event", "cut"],
)
@pairs
def test_a_stream_that_ends_badly_never_looks_like_an_answer(
    stage: Stage, node: NodeClients, client: Dialect, upstream: Dialect, fault: dict[str, Any]
) -> None:
    stage.script(upstream, replace(PLAIN, **fault))
    with pytest.raises(NodeError):
        node.order("ask", client, f"to-{upstream}", stream=True)
    exchange = stage.exchange(node.headers["x-weighbridge-id"])
    assert {"error_event": "upstream_error", "text": "upstream_cut"}[next(iter(fault))] == exchange.outcome


@pairs
def test_a_client_that_leaves_its_stream_cancels_the_provider(
    stage: Stage, node: NodeClients, client: Dialect, upstream: Dialect
) -> None:
    stage.script(upstream, replace(PLAIN, text="word " * 400, chunk_delay_s=0.02))
    before = stage.provider.cancelled
    left = node.order("leave", client, f"to-{upstream}")
    assert "client_gone" == stage.exchange(left["id"]).outcome
    until(lambda: stage.provider.cancelled, lambda seen: seen > before)


def test_the_clients_own_retry_after_a_full_provider_is_answered(stage: Stage, node: NodeClients) -> None:
    stage.script("openai", replace(PLAIN, first=[Script(status=429, headers=(("retry-after-ms", "1"),))]))
    assert PLAIN.text == node.order("retry", "openai", "to-openai")["text"]


def test_embeddings_in_the_clients_own_encoding_and_counted_tokens_arrive(stage: Stage, node: NodeClients) -> None:
    stage.script("openai", Script())
    assert {"vectors": [[0.5, 0.25], [0.5, 0.25]]} == node.order("embed", "openai", "to-openai")
    stage.script("anthropic", Script())
    assert node.order("count", "anthropic", "to-anthropic")["tokens"] > 0
