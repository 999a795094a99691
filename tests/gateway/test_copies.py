"""Copies: after the user's answer, of the same request, once, within their own budget, and never in anybody's way."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.fakes.provider import FakeProvider, Script
from tests.gateway.running import PRICE, Answer, Running, call, chat, endpoint, table, until
from weighbridge.exchanges.bodystore import BodyReader
from weighbridge.exchanges.keys import master_key
from weighbridge.exchanges.reader import read
from weighbridge.grading.answers import answer_of
from weighbridge.records.exchange import Exchange
from weighbridge.records.ramp import RampInForce, Stage
from weighbridge.records.table import Arm, Capture, Route, RouteTable, Share
from weighbridge.wire.conversation import Dialect


def ramped(
    url: str, *, stage: Stage = "shadow", share: int = 0, shadow: int = 0, pairs: int = 0, left: int | None = None,
    number: int = 1, **more: Any,
) -> RouteTable:  # fmt: skip
    ramp = RampInForce(
        record="r", stage=stage, candidate="open", shadow_basis_points=shadow, pair_basis_points=pairs,
        copies_left_nanousd=left,
    )  # fmt: skip
    rows = (Share(arm="closed", basis_points=10_000 - share), Share(arm="open", basis_points=share))
    route = Route(
        name="assistant", incumbent="closed", candidates=("open",),
        shares=tuple(row for row in rows if row.basis_points), slice_by=("tag:task",), ramp=ramp,
    )  # fmt: skip
    return table(url, number=number, routes=(route,), **more)


def logged(gateway: Running, count: int) -> list[Exchange]:
    gateway.finished(count)
    return sorted(read(gateway.layout), key=lambda one: one.id)


def asked(provider: FakeProvider) -> list[str]:
    return [json.loads(seen.body)["model"] for seen in provider.seen]


def test_a_copy_asks_the_candidate_the_same_and_is_logged_as_a_shadow_of_the_users_exchange(
    tmp_path: Path, provider: FakeProvider
) -> None:
    with Running(tmp_path, ramped(provider.url, shadow=10_000)) as gateway:
        answer = call(gateway.port, chat(), headers=[("x-weighbridge-tag", "task=sum")])
        assert 200 == answer.status
        user, copy = logged(gateway, 2)
    assert ("user", "closed", "ok") == (user.purpose, user.arm, user.outcome)
    assert ("shadow", "open", "ok") == (copy.purpose, copy.arm, copy.outcome)
    assert (user.id, user.slice, user.conversation) == (copy.item, copy.slice, copy.conversation)
    assert ["model-a", "model-b"] == asked(provider)
    bodies = [seen.body.replace(b"model-a", b"X").replace(b"model-b", b"X") for seen in provider.seen]
    assert bodies[0] == bodies[1]
    assert copy.response is not None
    assert copy.cost_nanousd is not None


def test_a_streamed_request_is_copied_without_streaming(tmp_path: Path, provider: FakeProvider) -> None:
    with Running(tmp_path, ramped(provider.url, shadow=10_000)) as gateway:
        call(gateway.port, chat(stream=True, stream_options={"include_usage": True}))
        _, copy = logged(gateway, 2)
    assert "ok" == copy.outcome
    assert False is json.loads(provider.seen[1].body)["stream"]
    assert None is json.loads(provider.seen[1].body)["stream_options"]


def test_a_candidate_that_hangs_or_fails_delays_and_changes_nothing_for_users(
    tmp_path: Path, provider: FakeProvider
) -> None:
    provider.answers["model-b"] = Script(hang=True)
    with Running(tmp_path, ramped(provider.url, shadow=10_000)) as gateway:
        for _ in range(50):
            assert 200 == call(gateway.port, chat()).status
        assert 50 == len([row for row in gateway.finished(50) if row.outcome == "ok"])
        skipped = gateway.on_loop(lambda: dict(gateway.gateway.copies.skipped))
        assert {"too_many"} == set(skipped)


def test_every_copy_of_a_failing_candidate_is_an_exchange_with_its_error(
    tmp_path: Path, provider: FakeProvider
) -> None:
    provider.answers["model-b"] = Script(status=500)
    with Running(tmp_path, ramped(provider.url, shadow=10_000)) as gateway:
        assert 200 == call(gateway.port, chat()).status
        _, copy = logged(gateway, 2)
    assert ("shadow", "upstream_error", 1) == (copy.purpose, copy.outcome, len(copy.attempts))


def test_pairs_ask_whichever_arm_did_not_answer(tmp_path: Path, provider: FakeProvider) -> None:
    with Running(tmp_path, ramped(provider.url, stage="half", share=5000, pairs=10_000)) as gateway:
        for number in range(40):
            call(gateway.port, chat(text=f"Hello {number}"))
        rows = logged(gateway, 80)
    users = {row.id: row.arm for row in rows if row.purpose == "user"}
    copies = {row.item: row.arm for row in rows if row.purpose == "shadow"}
    assert set(users) == set(copies)
    assert {"closed", "open"} == set(users.values())
    assert all({"closed", "open"} == {arm, copies[name]} for name, arm in users.items())


def test_the_part_that_is_copied_is_the_part_that_was_set(tmp_path: Path, provider: FakeProvider) -> None:
    with Running(tmp_path, ramped(provider.url, shadow=2500)) as gateway:
        for number in range(200):
            call(gateway.port, chat(text=f"Hello {number}"))
        made = gateway.on_loop(lambda: gateway.gateway.copies.made)
    assert 30 <= made <= 70


def test_copies_end_with_their_budget_and_what_has_no_price_is_not_copied_under_one(
    tmp_path: Path, provider: FakeProvider
) -> None:
    with Running(tmp_path / "a", ramped(provider.url, shadow=10_000, left=1)) as gateway:
        call(gateway.port, chat())
        gateway.finished(1)
        until(lambda: gateway.on_loop(lambda: dict(gateway.gateway.copies.skipped)), lambda seen: seen == {"budget": 1})
    assert ["model-a"] == asked(provider)


def test_a_request_whose_tools_the_provider_carries_out_is_not_copied(tmp_path: Path, provider: FakeProvider) -> None:
    harmless = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    with Running(tmp_path, ramped(provider.url, shadow=10_000)) as gateway:
        call(gateway.port, chat(tools=[{"type": "web_search"}]))
        call(gateway.port, chat(web_search_options={}))
        call(gateway.port, chat(tools=harmless))
        assert 4 == len(gateway.finished(4))
        skipped = gateway.on_loop(lambda: dict(gateway.gateway.copies.skipped))
    assert {"not_copied": 2} == skipped
    assert ["model-a"] * 3 + ["model-b"] == sorted(asked(provider))


def test_no_copy_leaves_for_an_endpoint_that_the_route_does_not_permit(tmp_path: Path, provider: FakeProvider) -> None:
    made = ramped(provider.url, shadow=10_000)
    far = msgspec.structs.replace(endpoint(provider.url, "far"), loopback=False)
    arms: Sequence[Arm] = tuple(
        msgspec.structs.replace(arm, endpoint="far") if arm.name == "open" else arm for arm in made.arms
    )
    made = msgspec.structs.replace(made, endpoints=(*made.endpoints, far), arms=tuple(arms))
    with Running(tmp_path, made) as gateway:
        call(gateway.port, chat())
        until(
            lambda: gateway.on_loop(lambda: dict(gateway.gateway.copies.skipped)),
            lambda seen: seen == {"not_sendable": 1},
        )
    assert ["model-a"] == asked(provider)


def test_without_a_ramp_nothing_is_copied(tmp_path: Path, provider: FakeProvider) -> None:
    with Running(tmp_path, table(provider.url)) as gateway:
        answer: Answer = call(gateway.port, chat())
        assert 200 == answer.status
        (only,) = logged(gateway, 1)
    assert "user" == only.purpose


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "body", "dialect"),
    [
        ("/v1/messages", {"max_tokens": 20, "messages": [{"role": "user", "content": "Hi"}]}, "anthropic"),
        ("/v1/responses", {"input": "Hi"}, "openai-responses"),
    ],
)
@pytest.mark.parametrize("spoken", ["openai", "anthropic", "openai-responses"])
def test_requests_in_every_dialect_are_copied_to_a_candidate_in_every_dialect_and_both_answers_can_be_read(
    tmp_path: Path, provider: FakeProvider, path: str, body: dict[str, Any], dialect: str, spoken: Dialect, stream: bool
) -> None:
    there = endpoint(provider.url, "there")
    routes = msgspec.structs.replace(
        ramped(provider.url, shadow=10_000, capture=Capture(bodies=True, purpose="t", approved_by="t")),
        endpoints=(endpoint(provider.url), msgspec.structs.replace(there, dialect=spoken, api_key="env:X")),
        arms=(
            Arm(name="closed", endpoint="fake", model="model-a", price=PRICE, price_version="test 1"),
            Arm(name="open", endpoint="there", model="model-b", price=PRICE, price_version="test 1"),
        ),
    )
    with Running(tmp_path, routes) as gateway:
        asked = json.dumps({"model": "assistant", "stream": stream, **body}).encode()
        assert 200 == call(gateway.port, asked, path=path).status
        user, copy = logged(gateway, 2)
        reader = BodyReader(gateway.layout, master_key(gateway.layout, None))
        said = [reader.get(one.response) for one in (user, copy)]
    assert (dialect, dialect) == (user.asked, copy.asked)
    assert ("open", "ok", user.id) == (copy.arm, copy.outcome, copy.item)
    assert copy.cost_nanousd is not None
    texts = [answer_of(one).text for one in said if isinstance(one, bytes)]
    assert ["Hello from the fake."] * 2 == texts
