"""The send gate: what is not known to be permitted is refused, with the missing field named."""

import itertools
from typing import Literal

import msgspec
import pytest

from weighbridge.records.permission import arm_refusal, refusal
from weighbridge.records.table import Arm, Capture, Endpoint, Limits, Route, RouteTable

HOST = Endpoint(
    name="host", dialect="openai", base_url="https://x.example", region="eu", retention_days=0, trains_on_data=False
)
OPEN = Route(name="r", incumbent="i", allow_regions=("eu",), allow_retention_days=0, allow_training_on_data=False)


def candidate(endpoint: Endpoint, route: Route = OPEN) -> str | None:
    return refusal(route, endpoint, is_incumbent=False)


def test_an_endpoint_that_states_all_three_inside_the_bounds_is_permitted() -> None:
    assert candidate(HOST) is None


def test_the_incumbent_is_permitted_by_being_the_incumbent() -> None:
    unknown = Endpoint(name="any", dialect="openai", base_url="https://x.example")
    assert refusal(Route(name="r", incumbent="i"), unknown, is_incumbent=True) is None


@pytest.mark.parametrize("field", ["region", "retention_days", "trains_on_data"])
def test_an_unknown_term_is_refused_and_named(field: str) -> None:
    said = candidate(msgspec.structs.replace(HOST, **{field: None}))
    assert said is not None
    assert f"`{field}` is not stated" in said
    assert "'host'" in said
    assert "'r'" in said


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("region", "us", "region 'us' is not in allow_regions ['eu']"),
        ("retention_days", 1, "retention of 1 days is over allow_retention_days 0"),
        ("trains_on_data", True, "it trains on data"),
    ],
)
def test_a_term_outside_the_bounds_is_refused(field: str, value: object, words: str) -> None:
    said = candidate(msgspec.structs.replace(HOST, **{field: value}))
    assert said is not None
    assert words in said


ANY: Literal["any"] = "any"


def test_any_lifts_one_bound_and_only_that_one() -> None:
    lifted = {
        "region": msgspec.structs.replace(OPEN, allow_regions=(ANY,)),
        "retention_days": msgspec.structs.replace(OPEN, allow_retention_days=ANY),
        "trains_on_data": msgspec.structs.replace(OPEN, allow_training_on_data=ANY),
    }
    for (field, route), unknown in itertools.product(lifted.items(), lifted):
        said = candidate(msgspec.structs.replace(HOST, **{unknown: None}), route)
        assert (said is None) == (field == unknown)


def test_by_default_only_loopback_is_permitted() -> None:
    default = Route(name="r", incumbent="i")
    assert candidate(HOST, default) is not None
    assert (
        candidate(Endpoint(name="own", dialect="openai", base_url="http://127.0.0.1", loopback=True), default) is None
    )


def test_a_loopback_endpoint_counts_as_local_whatever_else_it_states() -> None:
    claims = msgspec.structs.replace(HOST, loopback=True, region="us", retention_days=900, trains_on_data=True)
    assert candidate(claims, Route(name="r", incumbent="i", allow_regions=("local",))) is None
    said = candidate(claims, Route(name="r", incumbent="i", allow_regions=("us",)))
    assert said is not None
    assert "region 'local' is not in allow_regions ['us']" in said


def test_an_arm_on_the_incumbents_endpoint_is_permitted_like_it() -> None:
    table = RouteTable(
        schema="", number=1, created_ns=0, config_digest="", trial_key="", durability="process", capture=Capture(),
        limits=Limits(), endpoints=(Endpoint(name="e", dialect="openai", base_url="https://x"), HOST),
        arms=(
            Arm(name="i", endpoint="e", model="a"),
            Arm(name="sibling", endpoint="e", model="b"),
            Arm(name="other", endpoint="host", model="c"),
        ),
        routes=(Route(name="r", incumbent="i"),), keys=(),
    )  # fmt: skip
    route = table.routes[0]
    assert arm_refusal(table, route, "i") is None
    assert arm_refusal(table, route, "sibling") is None
    assert arm_refusal(table, route, "other") is not None
