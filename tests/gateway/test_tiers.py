"""What is booked follows the tier that the response reports, and the price of the request's start."""

import json
from pathlib import Path

import pytest

from tests.fakes.provider import FakeProvider, Script
from tests.gateway.running import Running, call, chat, table
from weighbridge.records.table import Arm, Route
from weighbridge.records.usage import Price, PriceFrom, ServiceTier, Usage

PRICE = Price(10**9, 2 * 10**9, services=(ServiceTier("flex", Price(5 * 10**8, 10**9)),))
ROUTES = [Route(name="assistant", incumbent="tiered")]
USAGE = {"prompt_tokens": 1_000, "completion_tokens": 100, "total_tokens": 1_100}


def answer(tier: str | None) -> Script:
    said = {"id": "x", "object": "chat.completion", "model": "model-a", "usage": USAGE, "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello"}}]}  # fmt: skip
    return Script(body=json.dumps(said | ({} if tier is None else {"service_tier": tier})).encode())


@pytest.mark.parametrize(
    ("asked", "reported", "cost"),
    [
        (None, None, 1_200_000), ("flex", "default", 1_200_000), (None, "flex", 600_000), ("flex", "flex", 600_000),
        (None, "ultra", None), ("auto", "priority", None),
    ],
)  # fmt: skip
def test_the_tier_that_the_response_reports_decides_and_an_unknown_one_has_an_unknown_cost(
    tmp_path: Path, provider: FakeProvider, asked: str | None, reported: str | None, cost: int | None
) -> None:
    provider.answers["model-a"] = answer(reported)
    arms = [Arm(name="tiered", endpoint="fake", model="model-a", price=PRICE, price_version="v")]
    with Running(tmp_path, table(provider.url, arms=arms, routes=ROUTES)) as gateway:
        told = call(gateway.port, chat(**({} if asked is None else {"service_tier": asked})))
        (posted,) = gateway.posted()
    assert (cost, Usage(1_000, 100, service_tier=reported)) == (posted.cost_nanousd, posted.usage)
    assert told.headers.get("x-weighbridge-cost-nanousd") == (None if cost is None else str(cost))


def test_a_price_that_changed_before_the_request_began_is_the_one_that_is_booked(
    tmp_path: Path, provider: FakeProvider
) -> None:
    provider.answers["model-a"] = answer(None)
    later = (PriceFrom(from_ns=1, price=Price(3 * 10**9, 0), version="peak"),)
    arms = [Arm(name="tiered", endpoint="fake", model="model-a", price=PRICE, price_version="before", later=later)]
    with Running(tmp_path, table(provider.url, arms=arms, routes=ROUTES)) as gateway:
        call(gateway.port, chat())
        (posted,) = gateway.posted()
    assert (3_000_000, "peak") == (posted.cost_nanousd, posted.price_version)
