"""Trial tokens: signed, expiring, and only for what the route table allows."""

from base64 import urlsafe_b64decode
from pathlib import Path

import msgspec
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.keeper.test_compile import BASE, compiled
from weighbridge.errors import ControlError
from weighbridge.keeper.tokens import TTL_S_MAX, signed, trial_token
from weighbridge.records.canonical import parse
from weighbridge.records.trial import TOKEN_BYTES_MAX, TrialToken
from weighbridge.store.control import IssueToken

TABLE = compiled().table
NOW_NS = 1_000


def asked(route: str = "assistant", arm: str = "qwen", budget: int | None = 5, ttl_s: int = 60) -> IssueToken:
    return IssueToken(trial="t-1", route=route, arm=arm, budget_nanousd=budget, ttl_s=ttl_s)


def test_a_token_names_trial_route_arm_budget_and_end() -> None:
    token = trial_token(TABLE, asked(), NOW_NS)
    expected = TrialToken(
        trial="t-1", route="assistant", arm="qwen", budget_nanousd=5, expires_ns=60_000_001_000, key="trial"
    )
    assert token == expected


def test_an_alias_is_resolved_to_its_route() -> None:
    assert trial_token(TABLE, asked(route="gpt-4o"), NOW_NS).route == "assistant"


def test_the_incumbent_can_be_tried_too() -> None:
    assert trial_token(TABLE, asked(arm="gpt-4o"), NOW_NS).arm == "gpt-4o"


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (asked(route="nope"), "no route 'nope'; it has: assistant"),
        (asked(arm="nope"), "no arm 'nope'; it has: gpt-4o, qwen.*SIGHUP"),
        (asked(ttl_s=0), "not 0"),
        (asked(ttl_s=TTL_S_MAX + 1), "lives 1 to"),
        (asked(budget=-1), "negative"),
        (asked(budget=1 << 61), "not more: 2305843009213693952"),
    ],
)
def test_what_the_table_does_not_have_is_refused_with_what_it_has(request_: IssueToken, words: str) -> None:
    with pytest.raises(ControlError, match=words):
        trial_token(TABLE, request_, NOW_NS)


@pytest.mark.parametrize("name", ["", "..", "a/b", "t-1\n", "t 1", "\x1b", "é", "t" * 65, "-t"])
def test_a_trial_of_another_name_gets_no_token(name: str) -> None:
    with pytest.raises(ControlError, match="is not the name of a trial; allowed are 1 to 64 letters"):
        trial_token(TABLE, msgspec.structs.replace(asked(), trial=name), NOW_NS)


def test_a_token_that_no_gateway_would_take_is_not_signed() -> None:
    key = Ed25519PrivateKey.generate()
    token = trial_token(TABLE, asked(), NOW_NS)
    assert len(signed(msgspec.structs.replace(token, arm="a" * 2700), key)) <= TOKEN_BYTES_MAX
    with pytest.raises(ControlError, match=r"a gateway takes 4096; give the route or the arm a shorter name"):
        signed(msgspec.structs.replace(token, arm="a" * 4000), key)


def test_no_token_for_an_arm_that_the_send_gate_refuses() -> None:
    table = compiled(BASE.replace("http://127.0.0.1:9000/v1", "https://llm.example.com/v1")).table
    with pytest.raises(ControlError, match="`region` is not stated"):
        trial_token(table, asked(), NOW_NS)


def test_no_token_before_the_first_table() -> None:
    with pytest.raises(ControlError, match="no route table is published yet"):
        trial_token(None, asked(), NOW_NS)


def test_the_signature_covers_every_byte(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    token = trial_token(TABLE, asked(), NOW_NS)
    payload, signature = (urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in signed(token, key).split("."))
    key.public_key().verify(signature, payload)
    assert parse(payload, TrialToken) == token
    for index in range(len(payload)):
        changed = payload[:index] + bytes([payload[index] ^ 1]) + payload[index + 1 :]
        with pytest.raises(InvalidSignature):
            key.public_key().verify(signature, changed)
