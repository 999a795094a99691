"""Open first, closed when a cheap check fails: one arm to everybody else, with what both calls cost."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.fakes.provider import FakeProvider, Script
from tests.gateway.running import KEY, PRICE, Running, call, chat, endpoint, key_digest, table
from weighbridge.records.budget import Budget
from weighbridge.records.frames import Attempted, Finished, Held, Posted
from weighbridge.records.table import Arm, Escalate, Key, Route, RouteTable, Share

CHEAP = msgspec.structs.replace(PRICE, input=1_000_000_000, output=1_000_000_000)
ALL = ("schema", "tools", "refusal", "truncated", "empty")


def policy(url: str, terms: Escalate, *, limit_nanousd: int | None = None, **route: Any) -> RouteTable:
    rows = (
        Route(
            name="assistant", incumbent="closed", candidates=("first",),
            shares=(Share(arm="first", basis_points=10_000),), **route,
        ),
    )  # fmt: skip
    arm = Arm(name="first", endpoint="fake", model="model-open", price=CHEAP, price_version="open 1", escalate=terms)
    if limit_nanousd is None:
        return table(url, routes=rows, arms=(arm,), endpoints=(endpoint(url),))
    keys = (Key(name="tests", digest=key_digest(KEY), routes=("*",), budget="b"),)
    budgets = (Budget(name="b", limit_nanousd=limit_nanousd, hard=True),)
    return table(url, routes=rows, arms=(arm,), endpoints=(endpoint(url),), keys=keys, budgets=budgets)


@contextmanager
def running(folder: Path, provider: FakeProvider, terms: Escalate, **route: Any) -> Iterator[Running]:
    with Running(folder, policy(provider.url, terms, **route)) as made:
        yield made


INTEGER = {"type": "object", "required": ["answer"], "properties": {"answer": {"type": "integer"}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": INTEGER}}


@pytest.mark.parametrize(
    ("wrong", "asked", "word"),
    [
        (Script(text='{"answer": "six"}'), {"response_format": SCHEMA}, "schema"),
        (Script(text="not json"), {"response_format": {"type": "json_object"}}, "schema"),
        (Script(refusal="I will not"), {}, "refusal"),
        (Script(text="and then the", finish="length"), {}, "truncated"),
        (Script(text="  "), {}, "empty"),
        (Script(tool_calls=[("rm", "{}")]), {"tools": [{"type": "function", "function": {"name": "look"}}]}, "tools"),
        (Script(tool_calls=[("look", "{")]), {"tools": [{"type": "function", "function": {"name": "look"}}]}, "tools"),
    ],
)  # fmt: skip
def test_an_answer_that_fails_a_check_is_asked_for_again_and_both_calls_are_the_arms_cost(
    tmp_path: Path, provider: FakeProvider, wrong: Script, asked: dict[str, Any], word: str
) -> None:
    provider.answers["model-open"], provider.answers["model-a"] = wrong, Script(text='{"answer": 6}')
    with running(tmp_path, provider, Escalate(to="closed", on=ALL)) as gateway:
        answer = call(gateway.port, chat(**asked))
        frames = gateway.of(answer.headers["x-weighbridge-id"])
    assert '{"answer": 6}' == answer.json["choices"][0]["message"]["content"]
    assert ("first", "no", "2") == tuple(
        answer.headers[f"x-weighbridge-{name}"] for name in ("arm", "fallback", "attempt")
    )
    tried = [one for one in frames if isinstance(one, Attempted)]
    posted = [one for one in frames if isinstance(one, Posted)]
    assert [("first", "model-open", False), ("first", "model-a", False)] == [
        (o.arm, o.model, o.fallback) for o in tried
    ]
    assert [f"escalated: {word}", None] == [one.error for one in posted]
    costs = [one.cost_nanousd for one in posted]
    assert None not in costs
    end = next(one for one in frames if isinstance(one, Finished))
    assert sum(cost or 0 for cost in costs) == end.cost_nanousd == int(answer.headers["x-weighbridge-cost-nanousd"])
    assert all(cost for cost in costs)


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        (Escalate(to="closed", on=("check",), check="number"), "it is 42"),
        (Escalate(to="closed", on=("check",), check="label", labels=("spam", "ham")), "ham"),
        (Escalate(to="closed", on=("check",), check="json"), '{"a": 1}'),
    ],
)
def test_an_answer_that_passes_stands_and_one_that_scores_nothing_does_not(
    tmp_path: Path, provider: FakeProvider, terms: Escalate, said: str
) -> None:
    with running(tmp_path, provider, terms) as gateway:
        provider.answers["model-open"] = Script(text=said)
        assert said == call(gateway.port, chat()).json["choices"][0]["message"]["content"]
        provider.answers["model-open"] = Script(text="I could not say")
        assert "2" == call(gateway.port, chat()).headers["x-weighbridge-attempt"]


def test_long_requests_listed_slices_and_streams_where_told_so_go_straight_to_the_second(
    tmp_path: Path, provider: FakeProvider
) -> None:
    terms = Escalate(to="closed", on=ALL, above_bytes=5000, slices=("task=legal",), streams="straight")
    with running(tmp_path, provider, terms, slice_by=("tag:task",)) as gateway:
        plain = call(gateway.port, chat())
        long = call(gateway.port, chat(text="x" * 6000))
        legal = call(gateway.port, chat(), headers=[("x-weighbridge-tag", "task=legal")])
        streamed = call(gateway.port, chat(stream=True))
        used = [
            [one.model for one in gateway.of(answer.headers["x-weighbridge-id"]) if isinstance(one, Attempted)]
            for answer in (plain, long, legal, streamed)
        ]
    assert [["model-open"], ["model-a"], ["model-a"], ["model-a"]] == used
    assert ["first"] * 4 == [answer.headers["x-weighbridge-arm"] for answer in (plain, long, legal, streamed)]


def test_a_stream_of_the_first_model_is_not_checked(tmp_path: Path, provider: FakeProvider) -> None:
    provider.answers["model-open"] = Script(text=" ")
    with running(tmp_path, provider, Escalate(to="closed", on=ALL)) as gateway:
        answer = call(gateway.port, chat(stream=True))
        assert ["model-open"] == [
            one.model for one in gateway.of(answer.headers["x-weighbridge-id"]) if isinstance(one, Attempted)
        ]


def test_where_the_second_model_fails_too_the_client_hears_of_that_and_both_calls_are_on_record(
    tmp_path: Path, provider: FakeProvider
) -> None:
    provider.answers["model-open"], provider.answers["model-a"] = Script(text=" "), Script(status=500)
    with running(tmp_path, provider, Escalate(to="closed", on=ALL)) as gateway:
        answer = call(gateway.port, chat())
        frames = gateway.of(answer.headers["x-weighbridge-id"])
    assert 500 == answer.status
    assert 2 == sum(isinstance(one, Posted) for one in frames)


def test_a_failing_open_host_is_stood_in_for_by_the_second_model(tmp_path: Path, provider: FakeProvider) -> None:
    provider.answers["model-open"] = Script(status=500)
    with running(tmp_path, provider, Escalate(to="closed", on=ALL), retries_max=1) as gateway:
        answer = call(gateway.port, chat())
    assert (200, "first") == (answer.status, answer.headers["x-weighbridge-arm"])


def test_both_calls_are_held_at_once_so_that_a_hard_budget_has_room_for_the_second(
    tmp_path: Path, provider: FakeProvider
) -> None:
    provider.answers["model-open"] = Script(text=" ")
    terms = Escalate(to="closed", on=ALL)
    for limit, status, models in ((1_000_000, 429, []), (2_000_000, 200, ["model-open", "model-a"])):
        with Running(tmp_path / str(limit), policy(provider.url, terms, limit_nanousd=limit)) as gateway:
            answer = call(gateway.port, chat(max_tokens=20))
            frames = gateway.of(answer.headers["x-weighbridge-id"])
            tried = [one.model for one in frames if isinstance(one, Attempted)]
            assert (status, models) == (answer.status, tried)
            held = next(one.held_nanousd for one in frames if isinstance(one, Held))
            assert held is not None
            assert held > 1_000_000
