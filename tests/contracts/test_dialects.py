"""The contract of dialects: official clients x endpoints x JSON or stream x endings, through real processes.

The provider is strict: a request that its maker's documentation does not allow is a 400 here, so every good answer also
proves that what was written for the endpoint is what it takes.
"""

from dataclasses import replace
from typing import Any

import pytest

from tests.app.serving import CLIENT_KEY
from tests.contracts.conftest import NANO, Stage
from tests.contracts.speakers import DIALECTS, ERRORS, STATUS_ERRORS, Asked, Dialect, speaker
from tests.fakes.provider import Script
from tests.gateway.running import until
from weighbridge.grading.answers import answer_of
from weighbridge.records.usage import Usage

PAIRS = [(client, upstream) for client in DIALECTS for upstream in DIALECTS]
pairs = pytest.mark.parametrize(("client", "upstream"), PAIRS, ids=lambda one: str(one))
modes = pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])

PLAIN = Script(text="Rain in Bonn, sun in Rome.", cache_read=40, cache_write=8, reasoned=5, reasoning="Two cities.")
CALLS = (("weather", '{"city": "Bonn"}'), ("weather", '{"city": "Rome"}'))


def ask(
    stage: Stage, client: Dialect, upstream: Dialect, script: Script, *, stream: bool, tools: bool = False
) -> Asked:
    stage.script(upstream, script)
    return speaker(client, stage.listen, CLIENT_KEY).ask(f"to-{upstream}", stream=stream, tools=tools)


def bill(stage: Stage) -> tuple[Usage, int]:
    """What the provider says that its one call used, and what that costs."""
    [charge] = stage.provider.bill
    tokens = charge.tokens._asdict()
    used = Usage(tokens["input"], tokens["output"], tokens["cache_read"], tokens["cache_write"], 0, tokens["reasoning"])
    return used, sum(NANO[name] * count for name, count in tokens.items())


def check_books(stage: Stage, asked: Asked, client: Dialect, upstream: Dialect) -> None:
    """The log says what the provider billed, to the token and the nano-dollar, and the client was told the same."""
    used, cost = bill(stage)
    exchange = stage.exchange(asked.exchange)
    assert ("ok", client) == (exchange.outcome, exchange.asked)
    assert exchange.usage is not None
    assert used == replace_tier(exchange.usage)
    assert cost == exchange.cost_nanousd
    assert (used.input_total, used.cache_read, used.output_total, used.reasoning) == asked.said.tokens
    assert ("dialect" in exchange.attempts[-1].edits) == (client != upstream)


def replace_tier(usage: Usage) -> Usage:
    return Usage(usage.input, usage.output, usage.cache_read, usage.cache_write, usage.cache_write_1h, usage.reasoning)


@modes
@pairs
def test_a_whole_answer_arrives_is_metered_and_is_read_by_graders(
    stage: Stage, client: Dialect, upstream: Dialect, stream: bool
) -> None:
    asked = ask(stage, client, upstream, PLAIN, stream=stream)
    assert (PLAIN.text, [], "stop") == (asked.said.text, asked.said.calls, asked.said.stop)
    check_books(stage, asked, client, upstream)
    captured = answer_of(stage.body(stage.exchange(asked.exchange)))
    assert (PLAIN.text, (), False) == (captured.text, captured.tool_calls, captured.refusal)
    if not stream:
        assert str(bill(stage)[1]) == asked.headers["x-weighbridge-cost-nanousd"]


@modes
@pairs
def test_an_answer_at_its_limit_says_so(stage: Stage, client: Dialect, upstream: Dialect, stream: bool) -> None:
    asked = ask(stage, client, upstream, replace(PLAIN, finish="length"), stream=stream)
    assert (PLAIN.text, "length") == (asked.said.text, asked.said.stop)
    check_books(stage, asked, client, upstream)
    assert answer_of(stage.body(stage.exchange(asked.exchange))).cut


@modes
@pairs
def test_parallel_calls_arrive_each_whole(stage: Stage, client: Dialect, upstream: Dialect, stream: bool) -> None:
    script = replace(PLAIN, tool_calls=CALLS, text_with_calls=True)
    asked = ask(stage, client, upstream, script, stream=stream, tools=True)
    wanted = [("weather", {"city": "Bonn"}), ("weather", {"city": "Rome"})]
    assert (wanted, "calls") == (asked.said.calls, asked.said.stop)
    check_books(stage, asked, client, upstream)
    captured = answer_of(stage.body(stage.exchange(asked.exchange)))
    assert ["weather", "weather"] == [call.name for call in captured.tool_calls]


@modes
@pairs
def test_a_refusal_is_one_in_the_clients_words(stage: Stage, client: Dialect, upstream: Dialect, stream: bool) -> None:
    asked = ask(stage, client, upstream, replace(PLAIN, refusal="I will not."), stream=stream)
    assert ("I will not.", "refusal") == (asked.said.text, asked.said.stop)
    check_books(stage, asked, client, upstream)
    assert answer_of(stage.body(stage.exchange(asked.exchange))).refusal


@modes
@pairs
def test_an_error_of_the_provider_raises_what_the_client_expects_with_its_headers(
    stage: Stage, client: Dialect, upstream: Dialect, stream: bool
) -> None:
    script = Script(
        status=429, headers=(("retry-after", "7"), ("x-ratelimit-remaining-requests", "0"), ("x-request-id", "up-1"))
    )
    with pytest.raises(STATUS_ERRORS) as caught:
        ask(stage, client, upstream, script, stream=stream)
    error: Any = caught.value
    assert "RateLimitError" == type(error).__name__
    assert "the fake says 429" in str(error)
    headers = error.response.headers
    assert ("7", "0", "up-1") == (
        headers["retry-after"], headers["x-ratelimit-remaining-requests"], headers["x-request-id"],
    )  # fmt: skip
    exchange = stage.exchange(headers["x-weighbridge-id"])
    assert ("upstream_error", 429, 0) == (exchange.outcome, exchange.status, exchange.cost_nanousd)


@pairs
def test_an_error_inside_a_stream_never_looks_like_an_answer(stage: Stage, client: Dialect, upstream: Dialect) -> None:
    error = {"type": "overloaded_error", "code": "server_error", "message": "the fake is overloaded"}
    with pytest.raises((*ERRORS, RuntimeError, IndexError)):
        ask(stage, client, upstream, replace(PLAIN, error_event=error), stream=True)
    exchange = stage.last()
    assert "upstream_error" == exchange.outcome


@pairs
def test_a_provider_that_breaks_off_within_a_stream_is_an_error_and_is_booked_at_its_bound(
    stage: Stage, client: Dialect, upstream: Dialect
) -> None:
    with pytest.raises((*ERRORS, RuntimeError, IndexError)):
        ask(stage, client, upstream, replace(PLAIN, text="word " * 50, cut_after=900), stream=True)
    exchange = stage.last()
    assert "upstream_cut" == exchange.outcome
    assert exchange.attempts[-1].estimated
    assert exchange.cost_nanousd == exchange.held_nanousd


@pairs
def test_a_client_that_leaves_cancels_the_provider(stage: Stage, client: Dialect, upstream: Dialect) -> None:
    stage.script(upstream, replace(PLAIN, text="word " * 400, chunk_delay_s=0.02))
    before = stage.provider.cancelled
    asked = speaker(client, stage.listen, CLIENT_KEY)
    stream = asked.begin(f"to-{upstream}")
    identity = stream.response.headers["x-weighbridge-id"]
    next(iter(stream))
    stream.close()
    asked.close()
    exchange = stage.exchange(identity)
    assert ("client_gone", client) == (exchange.outcome, exchange.asked)
    until(lambda: stage.provider.cancelled, lambda seen: seen > before)
