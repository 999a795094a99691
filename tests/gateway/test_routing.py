"""Which arm a request takes, what it may be sent to, what is recorded of it."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.provider import FakeProvider, Script
from tests.gateway.running import PRICE, Running, call, chat, connected, endpoint, read_answer, request_bytes, table
from weighbridge.gateway.lanes import Lanes
from weighbridge.gateway.way import Way
from weighbridge.records.frames import Attempted, Finished, Held, Posted
from weighbridge.records.permission import arm_refusal
from weighbridge.records.table import Arm, Capture, Endpoint, Limits, Route, Share
from weighbridge.records.usage import MILLION, PastContext, Price, PriceFrom, ServiceTier, Usage


def split(first: int) -> Route:
    return Route(
        name="assistant",
        incumbent="closed",
        candidates=("open",),
        shares=(Share(arm="closed", basis_points=first), Share(arm="open", basis_points=10_000 - first)),
    )


def way(route: Route) -> Way:
    return Lanes(table("http://127.0.0.1:1/v1", routes=[route]), lambda _: "").ways["assistant"]


# --- shares -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("basis_points", [0, 1, 100, 5_000, 9_999, 10_000])
def test_conversations_are_split_by_the_shares(basis_points: int) -> None:
    import hashlib

    found = way(split(basis_points))
    count = 100_000
    ids = (int.from_bytes(hashlib.sha256(b"%d" % number).digest()[:8], "little") for number in range(count))
    taken = sum(found.lane_of(number).arm == "closed" for number in ids)
    expected = count * basis_points / 10_000
    assert abs(taken - expected) <= 4 * (count * basis_points / 10_000 * (1 - basis_points / 10_000)) ** 0.5


@given(st.integers(0, 2**64 - 1), st.integers(0, 9_999), st.integers(1, 10_000))
def test_a_growing_share_takes_conversations_in_and_lets_none_go(conversation: int, share: int, step: int) -> None:
    """An arm whose share grows keeps everybody it has: only an announced step moves anybody."""
    grown = min(10_000, share + step)
    before, after = way(split(share)).lane_of(conversation).arm, way(split(grown)).lane_of(conversation).arm
    assert before == after or (before, after) == ("open", "closed")


def test_the_split_of_one_route_tells_nothing_of_another() -> None:
    one = Way(table("", routes=[split(5_000)]), split(5_000), lambda _: "")
    other_route = Route(**{**_fields(split(5_000)), "name": "other"})
    other = Way(table("", routes=[other_route]), other_route, lambda _: "")
    pairs = Counter(
        (one.lane_of(number * 0x9E3779B97F4A7C15 % 2**64).arm, other.lane_of(number * 0x9E3779B97F4A7C15 % 2**64).arm)
        for number in range(20_000)
    )
    for count in pairs.values():
        assert 4_500 < count < 5_500


def _fields(route: Route) -> dict[str, Any]:
    return {name: getattr(route, name) for name in route.__struct_fields__}


def test_a_conversation_keeps_its_arm_and_others_spread(tmp_path: Path, provider: FakeProvider) -> None:
    with Running(tmp_path, table(provider.url, routes=[split(5_000)])) as gateway, connected(gateway.port) as line:
        arms: dict[str, set[str]] = {}
        for number in range(120):
            name = f"conversation-{number % 40}"
            line.sendall(request_bytes(chat(text=str(number)), headers=[("x-conversation-id", name)]))
            arms.setdefault(name, set()).add(read_answer(line).headers["x-weighbridge-arm"])
        assert {1} == {len(seen) for seen in arms.values()}
        assert {"closed", "open"} == set().union(*arms.values())
        assert 40 == len({held.conversation for held in gateway.held()})


def test_without_a_header_the_first_user_turn_names_the_conversation(gateway: Running) -> None:
    first = [{"role": "system", "content": "today is Monday"}, {"role": "user", "content": "Where is it?"}]
    second = [
        {"role": "system", "content": "today is Tuesday"},
        first[1],
        {"role": "assistant", "content": "Here."},
        {"role": "user", "content": "Thanks"},
    ]
    call(gateway.port, chat(messages=first))
    call(gateway.port, chat(messages=second))
    call(gateway.port, chat(text="Where is that?"))
    one, two, three = (held.conversation for held in gateway.held())
    assert one == two != three


@pytest.mark.parametrize("size", [10, 3_000, 40_000])
def test_long_turns_that_differ_anywhere_are_different_conversations(gateway: Running, size: int) -> None:
    texts = [
        "x" * size,
        "y" + "x" * (size - 1),
        "x" * (size // 2) + "y" + "x" * (size - size // 2 - 1),
        "x" * (size + 1),
    ]
    for text in texts:
        call(gateway.port, chat(text=text))
    assert len(texts) == len({held.conversation for held in gateway.held()})


# --- the send gate ----------------------------------------------------------------------------------------------------

REGIONS, RETENTIONS, TRAINS = ("eu", "us", None), (0, 30, None), (False, True, None)


def test_the_gate_at_load_is_the_one_function_for_every_combination_of_terms() -> None:
    seen = 0
    for region in REGIONS:
        for retention in RETENTIONS:
            for trains in TRAINS:
                for loopback in (False, True):
                    far = Endpoint(
                        name="far", dialect="openai", base_url="http://127.0.0.1:1/v1", address_is_own=True,
                        region=region, retention_days=retention, trains_on_data=trains, loopback=loopback,
                    )  # fmt: skip
                    route = Route(name="assistant", incumbent="closed", candidates=("x",), allow_regions=("eu",))
                    found = table(
                        "", endpoints=[endpoint("http://127.0.0.1:2/v1"), far], routes=[route],
                        arms=[Arm(name="x", endpoint="far", model="m")],
                    )  # fmt: skip
                    lane = Lanes(found, lambda _: "").ways["assistant"].own_lanes["x"]
                    assert arm_refusal(found, route, "x") == lane.refusal
                    seen += lane.refusal is None
    assert 1 == seen  # only EU, nothing kept, no training; and not on loopback, where the region is `local`


def test_a_share_on_an_arm_that_is_not_permitted_sends_nothing(tmp_path: Path, provider: FakeProvider) -> None:
    far = Endpoint(name="far", dialect="openai", base_url=provider.url, address_is_own=True)
    arms = [Arm(name="x", endpoint="far", model="m", price=PRICE)]
    route = Route(
        name="assistant", incumbent="closed", candidates=("x",), shares=(Share(arm="x", basis_points=10_000),)
    )
    route_table = table("", endpoints=[endpoint(provider.url), far], arms=arms, routes=[route])
    with Running(tmp_path, route_table) as gateway:
        answer = call(gateway.port, chat())
        assert (403, "endpoint_not_permitted") == (answer.status, answer.error["code"])
        assert "`region` is not stated" in answer.error["message"]
        assert ["refused"] == [row.outcome for row in gateway.finished()]
        (held,) = gateway.held()
        assert held.request is not None  # who asked for what is known though nothing was sent
    assert [] == provider.seen


# --- what is recorded -------------------------------------------------------------------------------------------------


def test_one_life_of_a_request_in_four_frames(gateway: Running, provider: FakeProvider) -> None:
    provider.answers["model-a"] = Script(
        usage={
            "prompt_tokens": 100,
            "completion_tokens": 20,
            "total_tokens": 120,
            "prompt_tokens_details": {"cached_tokens": 60},
            "completion_tokens_details": {"reasoning_tokens": 5},
        }
    )
    answer = call(
        gateway.port,
        chat("gpt-4o", max_tokens=30, user="u-9"),
        headers=[("x-weighbridge-tag", "task=refund, lang=de"), ("x-weighbridge-tag", "task=other")],
    )
    held, attempted, posted, finished = gateway.of(answer.headers["x-weighbridge-id"])
    assert isinstance(held, Held)
    assert isinstance(attempted, Attempted)
    assert isinstance(posted, Posted)
    assert isinstance(finished, Finished)
    assert ("assistant", 1, "tests", "qa", "u-9", False, 30) == (
        held.route, held.table, held.key, held.team, held.user, held.stream, held.max_tokens,
    )  # fmt: skip
    assert (("task", "refund"), ("lang", "de"), ("task", "other")) == held.tags
    assert "task=refund+other" == held.slice
    assert (1, "closed", "fake", "model-a", ("model",), False) == (
        attempted.attempt, attempted.arm, attempted.endpoint, attempted.model, attempted.edits, attempted.fallback,
    )  # fmt: skip
    usage = Usage(40, 15, 60, 0, 0, 5)
    cost = -(-(40 * PRICE.input + 15 * PRICE.output + 60 * 1_250_000_000 + 5 * 10_000_000_000) // MILLION)
    assert (1, 200, usage, cost, "test 1", None, False, "stop") == (
        posted.attempt, posted.status, posted.usage, posted.cost_nanousd, posted.price_version, posted.error,
        posted.estimated, posted.finish_reason,
    )  # fmt: skip
    assert posted.usage_raw is not None
    assert 120 == json.loads(posted.usage_raw)["total_tokens"]
    assert ("ok", 200, 1, len(answer.body), cost, None) == (
        finished.outcome, finished.status, finished.attempts, finished.response_bytes, finished.cost_nanousd,
        finished.error,
    )  # fmt: skip
    assert str(cost) == answer.headers["x-weighbridge-cost-nanousd"]
    assert finished.first_byte_ns is not None
    assert 0 < finished.first_byte_ns <= finished.duration_ns


def test_the_headers_of_an_answer_tell_the_truth(gateway: Running) -> None:
    answer = call(gateway.port, chat("gpt-4o"))
    told = {name: value for name, value in answer.headers.items() if name.startswith("x-weighbridge-")}
    identity = told.pop("x-weighbridge-id")
    assert gateway.incarnation == identity.partition("-")[0]
    assert {
        "x-weighbridge-route": "assistant",
        "x-weighbridge-arm": "closed",
        "x-weighbridge-table": "1",
        "x-weighbridge-attempt": "1",
        "x-weighbridge-fallback": "no",
        "x-weighbridge-cost-nanousd": "65000",
    } == told


def test_no_header_and_no_key_of_the_client_goes_upstream(tmp_path: Path, provider: FakeProvider) -> None:
    route_table = table("", endpoints=[endpoint(provider.url, api_key="env:PROVIDER_KEY")])
    with Running(tmp_path, route_table, secret=lambda reference: f"value of {reference}") as gateway:
        call(gateway.port, chat(), headers=[("OpenAI-Organization", "org-1"), ("Cookie", "a=b"), ("x-custom", "1")])
    assert {"host", "user-agent", "accept", "accept-encoding", "authorization", "content-type", "content-length"} == {
        name.lower() for name, _ in provider.seen[0].headers
    }
    assert "Bearer value of env:PROVIDER_KEY" == provider.seen[0].header("authorization")


@pytest.mark.parametrize(
    ("slice_by", "expected"),
    [
        ((), "all"),
        (("key",), "key=tests"),
        (("tag:task",), "task=a"),
        (("tag:lang", "key"), "lang=none,key=tests"),
    ],
)
def test_the_slice_follows_from_key_and_tags(
    tmp_path: Path, provider: FakeProvider, slice_by: tuple[str, ...], expected: str
) -> None:
    route = Route(name="assistant", incumbent="closed", slice_by=slice_by)
    with Running(tmp_path, table(provider.url, routes=[route])) as gateway:
        call(gateway.port, chat(), headers=[("x-weighbridge-tag", "task=a")])
        assert expected == gateway.held()[0].slice


def test_the_slice_follows_from_system_prompt_tools_and_schema(tmp_path: Path, provider: FakeProvider) -> None:
    route = Route(name="assistant", incumbent="closed", slice_by=("system_prompt", "tools", "schema"))
    with Running(tmp_path, table(provider.url, routes=[route])) as gateway:
        for body in (
            chat(),
            chat(messages=[{"role": "system", "content": "A"}, {"role": "user", "content": "x"}]),
            chat(tools=[{"a": 1}]),
            chat(response_format={"type": "json_object"}),
            chat(text="another text"),
        ):
            call(gateway.port, body)
        names = [held.slice for held in gateway.held()]
    assert "system_prompt=none,tools=none,schema=none" == names[0] == names[4]
    assert 4 == len(set(names))


def test_a_very_long_user_is_kept_as_its_digest(gateway: Running) -> None:
    call(gateway.port, chat(user="u" * 1000))
    user = gateway.held()[0].user
    assert user is not None
    assert user.startswith("blake2b:")
    assert len(user) < 60


def test_without_capture_no_body_is_kept(tmp_path: Path, provider: FakeProvider) -> None:
    with Running(tmp_path, table(provider.url, capture=Capture())) as gateway:
        call(gateway.port, chat())
        call(gateway.port, chat(stream=True))
        assert {None} == {held.request for held in gateway.held()}
        assert {None} == {row.response for row in gateway.finished(2)}
        assert [Usage(2, 6)] * 2 == [row.usage for row in gateway.posted()]
    assert [] == list(gateway.layout.open_bodies.iterdir())


def test_a_sample_of_conversations_is_captured_whole(tmp_path: Path, provider: FakeProvider) -> None:
    capture = Capture(bodies=True, sample_basis_points=3_000, purpose="x", approved_by="y")
    with Running(tmp_path, table(provider.url, capture=capture)) as gateway, connected(gateway.port) as line:
        for number in range(300):
            line.sendall(request_bytes(chat(), headers=[("x-conversation-id", str(number % 100))]))
            read_answer(line)
        kept: dict[str, set[bool]] = {}
        for held in gateway.held():
            kept.setdefault(held.conversation, set()).add(held.request is not None)
    assert {1} == {len(seen) for seen in kept.values()}
    assert 10 < sum(True in seen for seen in kept.values()) < 55


# --- holds ------------------------------------------------------------------------------------------------------------


def lane(price: Price | None) -> Any:
    found = table("http://127.0.0.1:1/v1", arms=[Arm(name="x", endpoint="fake", model="m", price=price)],
                  routes=[Route(name="r", incumbent="x")])  # fmt: skip
    return Lanes(found, lambda _: "").ways["r"].own_lanes["x"]


@given(st.integers(1, 5_000), st.integers(1, 4_000), st.integers(1, 4), st.integers(0, 5_000))
def test_what_is_held_covers_every_answer_within_the_limits(
    body_bytes: int, max_tokens: int, choices: int, cached: int
) -> None:
    from weighbridge.records.usage import cost_nanousd

    price = Price(input=3_000_000_000, output=15_000_000_000, cache_read=300_000_000, cache_write=3_750_000_000,
                  reasoning=20_000_000_000, per_request_nanousd=11)  # fmt: skip
    held = lane(price).held_nanousd(b"x" * body_bytes, max_tokens, choices)
    reads = min(cached, body_bytes)
    for usage in (
        Usage(body_bytes, max_tokens * choices),
        Usage(body_bytes - reads, 0, 0, reads, 0, max_tokens * choices),
        Usage(body_bytes - reads, max_tokens * choices, reads),
    ):
        cost = cost_nanousd(usage, price)
        assert cost is not None
        assert cost <= held


def test_what_has_no_bound_is_unknown() -> None:
    assert lane(None).held_nanousd(b"{}", 1, 1) is None
    for part in (b"image_url", b"input_audio", b"file"):
        body = b'{"messages":[{"content":[{"type":"%b","%b":{}}]}]}' % (part, part)
        assert lane(PRICE).held_nanousd(body, 1, 1) is None
    assert lane(PRICE).held_nanousd(b'{"messages":[{"content":"image_url [1]"}]}', 1, 1) is not None
    tiered = Price(input=1, output=1, input_tokens_max=1_000)
    assert lane(tiered).held_nanousd(b"x" * 1_001, 1, 1) is None
    assert lane(tiered).held_nanousd(b"x" * 100, 1, 1) is not None


def test_a_short_prompt_is_held_at_the_short_price_and_a_long_one_at_the_dearest() -> None:
    tiered = Price(
        input=10**6, output=10**6, input_tokens_max=10_000, tiers=(PastContext(10_000, Price(10**7, 10**7)),)
    )
    assert lane(tiered).held_nanousd(b"x" * 744, 1_000, 1) == 2_000
    assert lane(tiered).held_nanousd(b"x" * 19_744, 1_000, 1) == 210_000


def test_a_tier_that_is_asked_for_is_held_at_its_price_and_one_without_a_price_has_no_bound() -> None:
    price = Price(10**6, 10**6, services=(ServiceTier("priority", Price(5 * 10**6, 5 * 10**6)),))
    asked = {word: lane(price).held_nanousd(b'{"service_tier": "%b"}' % word, 1, 1) for word in (b"priority", b"auto")}
    assert (5 * (len(b'{"service_tier": "priority"}') + 257), len(b'{"service_tier": "auto"}') + 257) == (
        asked[b"priority"], asked[b"auto"],
    )  # fmt: skip
    assert lane(price).held_nanousd(b'{"service_tier":"scale"}', 1, 1) is None


def test_a_change_of_price_within_the_table_holds_from_its_moment_and_the_hold_is_of_the_dearest() -> None:
    found = table(
        "http://127.0.0.1:9/v1", routes=[Route(name="r", incumbent="x")],
        arms=[Arm(name="x", endpoint="fake", model="m", price=Price(1, 1), price_version="before", later=(
            PriceFrom(from_ns=100, price=Price(2, 2), version="peak"), PriceFrom(from_ns=200, price=None, version=None),
        ))],
    )  # fmt: skip
    own = Lanes(found, lambda _: "").ways["r"].own_lanes["x"]
    assert ["before", "before", "peak", "peak", None] == [own.priced(at)[1] for at in (0, 99, 100, 199, 200)]
    assert (2, 2) == (own.bound_input, own.bound_output)


def test_the_default_limit_of_a_route_is_held_where_a_request_names_none(
    tmp_path: Path, provider: FakeProvider
) -> None:
    route = Route(name="assistant", incumbent="closed", max_tokens_default=7)
    with Running(tmp_path, table(provider.url, routes=[route])) as gateway:
        call(gateway.port, chat())
        call(gateway.port, chat(max_tokens=8))
        call(gateway.port, chat(max_tokens=4, n=2))
        one, two, three = gateway.held()
        assert (None, 8, 4) == (one.max_tokens, two.max_tokens, three.max_tokens)
        amounts = [held.held_nanousd for held in (one, two, three)]
    assert None not in amounts
    assert 0 < amounts[1] - amounts[0] < 100_000  # type: ignore[operator]  # one output token and 15 bytes more


# --- tables -----------------------------------------------------------------------------------------------------------


def test_a_newer_table_is_taken_and_an_older_one_never(gateway: Running, provider: FakeProvider) -> None:
    renamed = [Route(name="renamed", incumbent="open")]
    assert gateway.use(table(provider.url, number=5, routes=renamed))
    assert 404 == call(gateway.port, chat()).status
    answer = call(gateway.port, chat("renamed"))
    assert ("open", "5") == (answer.headers["x-weighbridge-arm"], answer.headers["x-weighbridge-table"])
    assert not gateway.use(table(provider.url, number=4))
    assert not gateway.use(table(provider.url, number=5))
    assert 200 == call(gateway.port, chat("renamed")).status


def test_a_running_stream_goes_on_through_a_change_of_table(gateway: Running, provider: FakeProvider) -> None:
    provider.answers["model-a"] = Script(text="w " * 40, chunk_delay_s=0.01)
    with connected(gateway.port) as line:
        line.sendall(request_bytes(chat(stream=True)))
        line.recv(10)
        other = [endpoint("http://127.0.0.1:9/v1")]
        gateway.use(table("", number=2, endpoints=other))
        data = b""
        while not data.endswith(b"0\r\n\r\n"):
            part = line.recv(65536)
            assert part
            data += part
    assert ["ok"] == [row.outcome for row in gateway.finished()]


def test_the_limits_of_a_new_table_hold_at_once(gateway: Running, provider: FakeProvider) -> None:
    gateway.use(table(provider.url, number=2, limits=Limits(body_bytes_max=100)))
    assert 413 == call(gateway.port, chat(text="x" * 200)).status
