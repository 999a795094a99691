"""The contract of dialects: official clients x endpoints x JSON or stream x endings, through real processes.

The provider is strict: a request that its maker's documentation does not allow is a 400 here, so every good answer also
proves that what was written for the endpoint is what it takes. `endings.py` is the table of what must come of each; all
of it is checked with `--long`, and each ending in some pairs of dialects every time.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.app.serving import CLIENT_KEY
from tests.contracts.conftest import NANO, Stage
from tests.contracts.endings import (
    CUT,
    FAILED,
    IN_STREAM,
    INSIDE,
    LEAVES,
    OVERLOADED,
    PLAIN,
    WHOLE,
    Booked,
    Broken,
    Failed,
    Whole,
    inside,
)
from tests.contracts.speakers import DIALECTS, ERRORS, STATUS_ERRORS, Asked, Dialect, speaker
from tests.fakes.provider import Script
from tests.gateway.running import connected, until
from weighbridge.grading.answers import answer_of
from weighbridge.records.exchange import Exchange
from weighbridge.records.usage import Usage

PATHS: dict[Dialect, str] = {
    "openai": "/v1/chat/completions", "anthropic": "/v1/messages", "openai-responses": "/v1/responses",
}  # fmt: skip


def pairs(place: int, *, every: bool = False) -> Iterator[Any]:
    """Each client with each endpoint. Without `--long` one endpoint for each client, another one for each place."""
    for at, client in enumerate(DIALECTS):
        for number, upstream in enumerate(DIALECTS):
            kept = every or number == (at + place) % len(DIALECTS)
            yield pytest.param(client, upstream, id=f"{client}-{upstream}", marks=() if kept else pytest.mark.long)


def cells(rows: tuple[Any, ...], *, every: tuple[str, ...] = ()) -> pytest.MarkDecorator:
    """Each ending in each pair of dialects; those named in `every` in all of them without `--long`, too."""
    found = [
        pytest.param(row, *pair.values, id=f"{row.name}-{pair.id}", marks=pair.marks)
        for place, row in enumerate(rows)
        for pair in pairs(place, every=row.name in every)
    ]
    return pytest.mark.parametrize(("ending", "client", "upstream"), found)


modes = pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])


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


def check_booked(stage: Stage, exchange: Exchange, booked: Booked) -> None:
    [attempt] = exchange.attempts
    billed = sum(NANO[name] * count for row in stage.provider.bill for name, count in row.tokens._asdict().items())
    cost, held = attempt.cost_nanousd, exchange.held_nanousd or 0
    said = {
        "usage": attempt.usage is not None and not attempt.estimated and cost == billed,
        "nothing": cost == 0,
        "bound": attempt.estimated and cost is not None and billed <= cost <= held and cost > 0,
        "unknown": cost is None,
    }
    assert said[booked], exchange


# --- whole answers ----------------------------------------------------------------------------------------------------


@modes
@cells(WHOLE, every=("complete", "calls"))
def test_an_answer_arrives_as_it_ended_is_metered_and_is_read_by_graders(
    stage: Stage, ending: Whole, client: Dialect, upstream: Dialect, stream: bool
) -> None:
    asked = ask(stage, client, upstream, ending.script, stream=stream, tools=ending.calls)
    calls = [("weather", {"city": "Bonn"}), ("weather", {"city": "Rome"})] if ending.calls else []
    assert (ending.text, calls, ending.stop) == (asked.said.text, asked.said.calls, asked.said.stop)
    check_books(stage, asked, client, upstream)
    exchange = stage.exchange(asked.exchange)
    check_booked(stage, exchange, "usage")
    captured = answer_of(stage.body(exchange))
    assert [name for name, _ in calls] == [call.name for call in captured.tool_calls]
    assert (ending.stop == "length", ending.stop == "refusal") == (captured.cut, captured.refusal)
    if ending.stop != "refusal":  # which stands in a field of its own in some dialects
        assert ending.text == captured.text
    if not stream:
        assert str(bill(stage)[1]) == asked.headers["x-weighbridge-cost-nanousd"]


# --- errors in place of an answer -------------------------------------------------------------------------------------


@modes
@cells(FAILED, every=("rate limit",))
def test_an_error_of_the_provider_raises_what_the_client_expects_with_its_headers(
    stage: Stage, ending: Failed, client: Dialect, upstream: Dialect, stream: bool
) -> None:
    script = ending.script(upstream)
    with pytest.raises(STATUS_ERRORS) as caught:
        ask(stage, client, upstream, script, stream=stream)
    error: Any = caught.value
    assert ending.error in [kind.__name__ for kind in type(error).__mro__]
    assert ending.says in str(error)
    headers = error.response.headers
    if ending.passed:
        assert ("7", "0", "up-1") == (
            headers["retry-after"], headers["x-ratelimit-remaining-requests"], headers["x-request-id"],
        )  # fmt: skip
    if ending.name == "overloaded" and client != upstream:
        assert (529 if client == "anthropic" else 503) == error.status_code
    exchange = stage.exchange(headers["x-weighbridge-id"])
    assert (ending.outcome, error.status_code) == (exchange.outcome, exchange.status)
    check_booked(stage, exchange, ending.booked)


# --- answers without a good end ---------------------------------------------------------------------------------------


@cells((INSIDE,))
def test_an_error_inside_a_good_status_is_an_error_in_the_log_and_in_another_dialect(
    stage: Stage, ending: Broken, client: Dialect, upstream: Dialect
) -> None:
    # Between equals the provider's bytes are passed on; what a client library makes of them is its own affair.
    kinds: Any = STATUS_ERRORS if client != upstream else Exception
    with pytest.raises(kinds):
        ask(stage, client, upstream, inside(upstream), stream=False)
    exchange = stage.last()
    assert ending.outcome == exchange.outcome
    check_booked(stage, exchange, ending.booked)


@cells((IN_STREAM,), every=(IN_STREAM.name,))
def test_an_error_inside_a_stream_never_looks_like_an_answer(
    stage: Stage, ending: Broken, client: Dialect, upstream: Dialect
) -> None:
    with pytest.raises((*ERRORS, RuntimeError, IndexError)):
        ask(stage, client, upstream, replace(PLAIN, error_event=OVERLOADED, reasoned=0), stream=True)
    exchange = stage.last()
    assert ending.outcome == exchange.outcome
    # Anthropic's streams begin with the usage of the input and a first word: that is not what the answer cost.
    check_booked(stage, exchange, "bound" if upstream == "anthropic" else ending.booked)


@modes
@cells((CUT,), every=(CUT.name,))
def test_a_provider_that_breaks_off_is_an_error_and_is_booked_at_its_bound(
    stage: Stage, ending: Broken, client: Dialect, upstream: Dialect, stream: bool
) -> None:
    with pytest.raises((*ERRORS, RuntimeError, IndexError)) as caught:
        ask(stage, client, upstream, replace(PLAIN, text="word " * 30, cut_after=900 if stream else 150), stream=stream)
    exchange = stage.last()
    assert ending.outcome == exchange.outcome
    check_booked(stage, exchange, ending.booked)
    if not stream:
        error: Any = caught.value
        assert (502, "upstream_cut") == (error.status_code, error.response.headers["x-weighbridge-error"])


@cells((LEAVES,), every=(LEAVES.name,))
def test_a_client_that_leaves_a_stream_cancels_the_provider(
    stage: Stage, ending: Broken, client: Dialect, upstream: Dialect
) -> None:
    stage.script(upstream, replace(PLAIN, text="word " * 30, chunk_delay_s=0.1))
    before = stage.provider.cancelled
    asked = speaker(client, stage.listen, CLIENT_KEY)
    stream = asked.begin(f"to-{upstream}")
    identity = stream.response.headers["x-weighbridge-id"]
    next(iter(stream))
    stream.close()
    asked.close()
    exchange = stage.exchange(identity)
    assert (ending.outcome, client) == (exchange.outcome, exchange.asked)
    check_booked(stage, exchange, ending.booked)
    until(lambda: stage.provider.cancelled, lambda seen: seen > before)


@cells((LEAVES,))
def test_a_client_that_does_not_wait_for_its_json_cancels_the_provider(
    stage: Stage, ending: Broken, client: Dialect, upstream: Dialect
) -> None:
    stage.script(upstream, Script(hang=True))
    before, known = stage.provider.cancelled, {row.id for row in stage.rows()}
    body = json.dumps(speaker(client, stage.listen, CLIENT_KEY).arguments(f"to-{upstream}", tools=False)).encode()
    with connected(int(stage.listen.rpartition(":")[2])) as line:
        line.sendall(
            f"POST {PATHS[client]} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {CLIENT_KEY}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        stage.provider.wait_for(1)
    exchange = stage.find(lambda row: row.id not in known)
    assert (ending.outcome, client) == (exchange.outcome, exchange.asked)
    check_booked(stage, exchange, ending.booked)
    until(lambda: stage.provider.cancelled, lambda seen: seen > before)
