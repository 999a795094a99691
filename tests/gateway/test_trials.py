"""Trial tokens: the only way to have an arm chosen, with a budget and no fallback."""

import time
from base64 import urlsafe_b64encode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.provider import FakeProvider, Script
from tests.gateway.running import KEY, PRICE, SIGNING_KEY, Answer, Running, call, chat, endpoint, key_digest, table
from weighbridge.gateway.refusal import Refusal
from weighbridge.gateway.trials import PASSES_MAX, TrialDesk, TrialPass
from weighbridge.keeper.tokens import signed
from weighbridge.records.table import Arm, Endpoint, Key, Route
from weighbridge.records.trial import ITEM_HEADER, TOKEN_HEADER, TrialToken

COST = 65_000
"""Nano-dollars of one answer of the fake to `chat()`."""


def token(
    *,
    trial: str = "t-1",
    route: str = "assistant",
    arm: str = "open",
    budget: int | None = None,
    expires_in_s: float = 60,
    key: str = "trial",
    signing_key: Ed25519PrivateKey = SIGNING_KEY,
) -> str:
    expires_ns = time.time_ns() + round(expires_in_s * 1e9)
    content = TrialToken(trial=trial, route=route, arm=arm, budget_nanousd=budget, expires_ns=expires_ns, key=key)
    return signed(content, signing_key)


def replay(gateway: Running, text: str, body: bytes | None = None, **how: Any) -> Answer:
    headers = [(TOKEN_HEADER, text), (ITEM_HEADER, "origin-1"), *how.pop("headers", ())]
    return call(gateway.port, chat() if body is None else body, **{"key": None, "headers": headers, **how})


def test_a_token_forces_its_arm_needs_no_key_and_marks_the_exchange(gateway: Running, provider: FakeProvider) -> None:
    answer = replay(gateway, token())
    assert (200, "open", "no") == (
        answer.status,
        answer.headers["x-weighbridge-arm"],
        answer.headers["x-weighbridge-fallback"],
    )
    assert chat("model-b") == provider.seen[0].body
    (held,) = gateway.held()
    assert ("trial", "trial", "t-1", "origin-1", None) == (held.purpose, held.key, held.trial, held.item, held.team)


def test_the_whole_request_is_replayed_but_for_the_declared_changes(gateway: Running, provider: FakeProvider) -> None:
    body = chat(text="ü", tools=[{"x": 1}], temperature=0.25, stream=True, stop=["\n"])
    replay(gateway, token(), body)
    expected = body.replace(b'"assistant"', b'"model-b"').replace(b'"stop":', b'"stop":')
    assert expected[:-1] + b',"stream_options":{"include_usage":true}}' == provider.seen[0].body


@pytest.mark.parametrize("name", ["x-weighbridge-arm", "x-weighbridge-route", "x-arm", "x-weighbridge-purpose"])
def test_no_header_of_a_client_can_choose_an_arm(gateway: Running, name: str) -> None:
    answer = call(gateway.port, chat(), headers=[(name, "open"), (ITEM_HEADER, "x")])
    assert "closed" == answer.headers["x-weighbridge-arm"]
    (held,) = gateway.held()
    assert ("user", None, None) == (held.purpose, held.trial, held.item)


def forged() -> dict[str, str]:
    good = token()
    payload, _, signature = good.partition(".")
    other = token(arm="closed")
    return {
        "of another keeper": token(signing_key=Ed25519PrivateKey.generate()),
        "with another payload": f"{other.partition('.')[0]}.{signature}",
        "with a changed signature": f"{payload}.{'A' * len(signature)}",
        "with a short signature": f"{payload}.AAAA",
        "without a signature": payload,
        "with an empty signature": f"{payload}.",
        "not base64": "%%%.%%%",
        "empty": "",
        "of another shape": _signed(b'{"trial":"t"}'),
        "not JSON": _signed(b"x"),
        "very long": "A" * 5000 + ".A",
    }


def _signed(payload: bytes) -> str:
    return ".".join(urlsafe_b64encode(part).decode() for part in (payload, SIGNING_KEY.sign(payload)))


@pytest.mark.parametrize("name", list(forged()))
def test_a_token_that_is_not_the_keepers_is_refused_even_beside_a_good_key(
    gateway: Running, provider: FakeProvider, name: str
) -> None:
    for key in (None, KEY):
        answer = replay(gateway, forged()[name], key=key)
        assert (403, "invalid_trial_token") == (answer.status, answer.error["code"])
    assert [] == provider.seen
    assert [] == gateway.frames()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 500), st.integers(1, 255))
def test_one_changed_character_makes_a_token_invalid(place: int, change: int) -> None:
    good = token()
    raw = bytearray(good.encode())
    raw[place % len(raw)] ^= change
    public = SIGNING_KEY.public_key().public_bytes_raw()
    assert isinstance(TrialDesk().admit(bytes(raw), public, time.time_ns()), Refusal)


ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def spellings(good: str) -> list[str]:
    """Other ways to write the bytes of a token, for a reader of base64 that is not strict."""
    payload, _, signature = good.partition(".")
    others = [f"!{payload}.{signature}", f"{payload}.!{signature}", f"{payload[:3]} {payload[3:]}.{signature}"]
    others += [f"{payload}.{signature}==", f"{payload}=.{signature}"]
    others += [f"{payload}.{signature[:5]}~~{signature[5:]}", f"{payload}.{signature}."]
    unused = ALPHABET.index(signature[-1])
    return others + [f"{payload}.{signature[:-1]}{ALPHABET[unused | bits]}" for bits in (1, 2, 3)]


@pytest.mark.parametrize("number", range(len(spellings(token()))))
def test_a_token_has_one_spelling_so_another_one_buys_no_second_budget(number: int) -> None:
    desk, public, good = TrialDesk(), SIGNING_KEY.public_key().public_bytes_raw(), token()
    other = spellings(good)[number]
    first = desk.admit(good.encode(), public, time.time_ns())
    assert isinstance(first, TrialPass)
    assert other != good
    assert isinstance(desk.admit(other.encode(), public, time.time_ns()), Refusal)
    assert first is desk.admit(good.encode(), public, time.time_ns())


def test_a_keeper_with_another_key_ends_the_tokens_of_the_old_one() -> None:
    desk, good = TrialDesk(), token().encode()
    assert isinstance(desk.admit(good, SIGNING_KEY.public_key().public_bytes_raw(), time.time_ns()), TrialPass)
    another = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    assert isinstance(desk.admit(good, another, time.time_ns()), Refusal)


def test_an_expired_token_is_refused_also_when_it_was_good_before(gateway: Running) -> None:
    assert "expired" in replay(gateway, token(expires_in_s=-1)).error["message"]
    short = token(expires_in_s=0.6)
    assert 200 == replay(gateway, short).status
    time.sleep(0.7)
    answer = replay(gateway, short)
    assert (403, "invalid_trial_token") == (answer.status, answer.error["code"])


def test_a_token_for_what_the_table_does_not_have_is_refused_with_what_it_has(gateway: Running) -> None:
    assert "has no route 'gone'" in replay(gateway, token(route="gone")).error["message"]
    answer = replay(gateway, token(arm="elsewhere"))
    assert 403 == answer.status
    assert "only: closed, open" in answer.error["message"]


def test_a_prompt_of_another_route_does_not_pass_under_a_token(tmp_path: Path, provider: FakeProvider) -> None:
    routes = [
        Route(name="assistant", incumbent="closed", candidates=("open",)),
        Route(name="secret", incumbent="closed"),
    ]
    with Running(tmp_path, table(provider.url, routes=routes)) as gateway:
        answer = replay(gateway, token(), chat("secret"))
        assert 403 == answer.status
        assert "the request is for 'secret'" in answer.error["message"]
        # An alias that is no longer there names no other route: the captured request can still be replayed.
        assert 200 == replay(gateway, token(), chat("an-alias-of-last-year")).status
    assert 1 == len(provider.seen)


def test_the_key_that_a_token_names_lends_its_team(tmp_path: Path, provider: FakeProvider) -> None:
    keys = [Key(name="trial", digest=key_digest("unused"), team="research", routes=())]
    with Running(tmp_path, table(provider.url, keys=keys)) as gateway:
        assert 200 == replay(gateway, token()).status
        assert "research" == gateway.held()[0].team


# --- the send gate ----------------------------------------------------------------------------------------------------


def test_the_send_gate_holds_for_trials_too(tmp_path: Path, provider: FakeProvider) -> None:
    abroad = Endpoint(name="abroad", dialect="openai", base_url=provider.url, address_is_own=True, region="us")
    arms = [Arm(name="far", endpoint="abroad", model="model-c", price=PRICE)]
    routes = [Route(name="assistant", incumbent="closed", candidates=("far",), allow_regions=("eu",))]
    route_table = table("", endpoints=[endpoint(provider.url), abroad], arms=arms, routes=routes)
    with Running(tmp_path, route_table) as gateway:
        answer = replay(gateway, token(arm="far"))
        assert (403, "endpoint_not_permitted") == (answer.status, answer.error["code"])
        assert "region 'us' is not in allow_regions ['eu']" in answer.error["message"]
        (finished,) = gateway.finished()
        assert ("refused", 403, 0, 0) == (
            finished.outcome,
            finished.status,
            finished.attempts,
            finished.cost_nanousd,
        )
        assert 200 == replay(gateway, token(arm="closed")).status
    assert 1 == len(provider.seen)


# --- budgets ----------------------------------------------------------------------------------------------------------


def held_for(gateway: Running, body: bytes) -> int:
    replay(gateway, token(trial="probe"), body)
    held = gateway.held()[-1].held_nanousd
    assert held is not None
    return held


def test_a_budget_is_never_exceeded_not_even_by_requests_at_once(gateway: Running, provider: FakeProvider) -> None:
    body = chat(max_tokens=10)
    hold = held_for(gateway, body)
    provider.bill.clear()
    fits = 7
    text = token(budget=fits * hold)
    provider.answers["model-b"] = Script(delay_s=0.5)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: replay(gateway, text, body), range(20)))
    assert fits == [answer.status for answer in answers].count(200) == len(provider.bill)
    refused = [answer for answer in answers if answer.status != 200]
    assert {(403, "trial_budget_exhausted")} == {(answer.status, answer.error["code"]) for answer in refused}
    assert "of" in refused[0].error["message"]


def test_what_was_held_and_not_used_can_be_spent(gateway: Running, provider: FakeProvider) -> None:
    body = chat(max_tokens=10)
    hold = held_for(gateway, body)
    budget = hold + 3 * COST
    provider.bill.clear()
    text = token(budget=budget)
    while replay(gateway, text, body).status == 200:
        pass
    spent = COST * len(provider.bill)
    assert budget - hold < spent + COST <= budget
    assert len(provider.bill) >= 3


def test_an_answer_of_unknown_cost_counts_as_what_was_held(gateway: Running, provider: FakeProvider) -> None:
    body = chat(max_tokens=10)
    hold = held_for(gateway, body)
    provider.bill.clear()
    provider.answers["model-b"] = Script(usage_style="never")
    text = token(budget=2 * hold)
    assert [200, 200, 403] == [replay(gateway, text, body).status for _ in range(3)]


def test_a_refusal_of_the_provider_costs_nothing(gateway: Running, provider: FakeProvider) -> None:
    body = chat(max_tokens=10)
    hold = held_for(gateway, body)
    provider.answers["model-b"] = Script(status=429)
    text = token(budget=hold)
    assert [429] * 5 == [replay(gateway, text, body).status for _ in range(5)]


@pytest.mark.parametrize(
    "body",
    [
        chat(max_tokens=10),
        chat(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/y"}}]}]),
    ],
    ids=["no price", "an image"],
)
def test_under_a_budget_what_may_cost_anything_is_refused(tmp_path: Path, provider: FakeProvider, body: bytes) -> None:
    priced = b"image_url" in body
    arms = [Arm(name="new", endpoint="fake", model="model-c", price=PRICE if priced else None)]
    routes = [Route(name="assistant", incumbent="closed", candidates=("new",))]
    with Running(tmp_path, table(provider.url, arms=arms, routes=routes)) as gateway:
        answer = replay(gateway, token(arm="new", budget=10**15), body)
        assert (403, "trial_cost_unknown") == (answer.status, answer.error["code"])
        assert 200 == replay(gateway, token(arm="new"), body).status
    assert 1 == len(provider.seen)


def test_the_budget_of_one_token_is_not_that_of_another(gateway: Running) -> None:
    body = chat(max_tokens=10)
    hold = held_for(gateway, body)
    assert 200 == replay(gateway, token(trial="a", budget=hold), body).status
    assert 200 == replay(gateway, token(trial="b", budget=hold), body).status


def test_a_token_under_which_something_was_spent_is_not_forgotten_to_make_room() -> None:
    desk, public, now = TrialDesk(), SIGNING_KEY.public_key().public_bytes_raw(), time.time_ns()
    for number in range(PASSES_MAX):
        assert not isinstance(desk.admit(token(trial=f"t-{number}").encode(), public, now), Refusal)
    refusal = desk.admit(token(trial="one more").encode(), public, now)
    assert isinstance(refusal, Refusal)
    assert (503, "trial_tokens_max") == (refusal.status, refusal.code)
    later = now + 120 * 10**9
    assert not isinstance(desk.admit(token(trial="later", expires_in_s=600).encode(), public, later), Refusal)
