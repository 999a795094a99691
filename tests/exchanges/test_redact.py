"""Secrets are taken out; everything else is left alone, byte for byte."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.exchanges.redact import redact

SECRETS = ("secrets",)
B36 = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"

FOUND = [
    ("api_key", "sk-proj-" + B36),
    ("api_key", "sk-ant-api03-" + B36),
    ("aws_key", "AKIA" + "Z7Q2M4X9B1C3D5E7"),
    ("github_token", "ghp_" + B36),
    ("github_token", "github_pat_11" + B36 + "_" + B36),
    ("gitlab_token", "glpat-" + B36[:20]),
    ("slack_token", "xoxb-123456789012-" + B36),
    ("google_key", "AIza" + B36[:35]),
    ("google_token", "ya29." + B36),
    ("stripe_key", "sk_live_" + B36),
    ("npm_token", "npm_" + B36),
    ("hf_token", "hf_" + B36),
    ("groq_key", "gsk_" + B36),
    ("sendgrid_key", "SG." + B36[:22] + "." + B36),
    ("jwt", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"),
    ("credential", "Authorization: Bearer " + B36),
    ("credential", "api_key = '" + B36 + "'"),
    ("credential", "password: " + B36),
    ("credential", "OPENAI_API_KEY=" + B36),
    ("credential", 'client_secret": "' + B36),
    ("password", "postgres://app:hunter22@db.internal:5432/app"),
    (
        "private_key",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA75M1pQIDAQABAoIBA012345678\n-----END RSA PRIVATE KEY-----",
    ),
]


def body(text: str) -> bytes:
    return json.dumps({"model": "assistant", "messages": [{"role": "user", "content": text}]}).encode()


@pytest.mark.parametrize(("kind", "secret"), FOUND)
@pytest.mark.parametrize(
    "around", ["{}", "my key is {} and it does not work", "line\n{}\nline", '"{}"', "k={};x", "ä{}é"]
)
def test_a_secret_is_taken_out_and_the_body_still_parses(kind: str, secret: str, around: str) -> None:
    cleaned, changed = redact(SECRETS, body(around.format(secret)))
    assert cleaned is not None
    assert changed
    text = json.loads(cleaned)["messages"][0]["content"]
    assert f"[redacted {kind}]" in text
    hidden = {"credential": B36, "password": "hunter22"}.get(kind, secret)
    assert hidden not in text
    assert hidden.encode() not in cleaned


@pytest.mark.parametrize(
    "text",
    [
        "Where is my parcel? I ordered it on 2026-05-03, order number 4711-0815-1234-5678.",
        "The function sk_buff_alloc_with_frags and skip-this-very-long-hyphenated-word are fine.",
        "a task-oriented-dialogue-system, risk-adjusted-return-on-capital",
        "https://example.org/very/long/path/that/goes/on/and/on?query=parameters&more=of_the_same",
        "commit 9fceb02d0ae598e95dc970b74767f19372d61af8, uuid 123e4567-e89b-12d3-a456-426614174000",
        "the key is to read the documentation carefully, and the secret: patience",
        "monkey = gorillagorillagorilla",
        "The ratio is 3:4@home; mail me at ann@example.org or bob:ann@example.org",
        "data:image/png;base64," + "iVBORw0KGgoAAAANSUhEUgAA" * 2000,
        "AKIA is a prefix; AKIAIOSFODNN7EXAMPLEXXXXXXXXXX is too long to be one",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    original = body(text)
    cleaned, changed = redact(SECRETS, original)
    assert original == cleaned
    assert not changed


def test_without_the_rule_nothing_is_looked_for() -> None:
    original = body("sk-proj-" + B36)
    assert (original, False) == redact((), original)


@given(st.binary(max_size=3000))
def test_any_bytes_are_survived(original: bytes) -> None:
    cleaned, changed = redact(SECRETS, original)
    assert changed == (cleaned != original)


@given(st.text(max_size=400), st.sampled_from([secret for _, secret in FOUND]), st.text(max_size=400))
def test_json_stays_json(before: str, secret: str, after: str) -> None:
    cleaned, _ = redact(SECRETS, body(f"{before} {secret} {after}"))
    assert cleaned is not None
    assert {"model", "messages"} == set(json.loads(cleaned))


@pytest.mark.parametrize(
    "text",
    [
        f'{{"run": "{B36}", "key": "-----BEGIN RSA PRIVATE KEY-----"}}',  # JSON in JSON: the quote after it is escaped
        json.dumps(f'{{"run": "{B36}", "key": "-----BEGIN RSA PRIVATE KEY-----"}}'),
        "a line\npm_" + "a1" * 18,
        "a return\rk_live_" + "a1" * 12,
    ],
)
def test_an_escape_is_never_cut_in_two(text: str) -> None:
    cleaned, _ = redact(SECRETS, body(text))
    assert cleaned is not None
    assert {"model", "messages"} == set(json.loads(cleaned))


HOSTILE = {
    "spaces after a secret": (b"sk-" + b"a" * 24 + b" key", b" "),
    "values without names": (b"", b"a=" * 8 + b" "),
    "one run of names": (b"", b"a="),
    "one run": (b"", b"A1b2"),
    "many equal runs": (b"", b"b" * 17 + b" "),
    "runs too short": (b"", b"a" * 15 + b" "),
    "starts of keys": (b"", b"sk-" * 2600 + b" "),
    "starts of tokens": (b"", b"eyJaaaaaaaa/" * 600 + b" "),
    "addresses": (b"@", b"://a:bbb"),
    "private keys without end": (b"a" * 16, b"-----BEGIN PRIVATE KEY----- "),
    "private keys before text": (b"a" * 16 + b"-----BEGIN PRIVATE KEY-----\n-----END " * 30_000, b"x"),
    "dashes": (b"PRIVATE KEY " + b"a" * 16, b"-"),
}
"""Beginnings and what follows over and over, up to the largest body that a gateway takes."""


@pytest.mark.parametrize(("start", "piece"), HOSTILE.values(), ids=HOSTILE.keys())
def test_no_body_that_a_gateway_takes_holds_its_loop_for_long(start: bytes, piece: bytes) -> None:
    hostile = start + piece * ((32 << 20) // len(piece))
    before = time.process_time()
    redact(SECRETS, hostile)
    # CPU time: 0.02 to 0.4 s; many times this bound where patterns are tried at every byte of such a body.
    assert time.process_time() - before < 3


def test_what_would_take_too_long_is_not_given_back_at_all() -> None:
    start, piece = HOSTILE["values without names"]
    assert (None, False) == redact(SECRETS, start + piece * 1_000_000)


def test_a_long_prompt_a_picture_and_a_long_stream_are_not_too_much() -> None:
    event = b'data: {"id":"chatcmpl-AbCdEfGh0123456789","object":"chat.completion.chunk","model":"gpt-4o-2024-08-06",'
    event += b'"system_fingerprint":"fp_0123456789","choices":[{"index":0,"delta":{"content":" token"}}]}\n\n'
    code = b"    value_of_the_thing = other_module.function_name(argument_number_%d)\\n"
    for original in (
        event * 20_000,
        b"".join(code % number for number in range(8_000)),
        body("data:image/png;base64," + "A1b2" * 5_000_000),
    ):
        assert (original, False) == redact(SECRETS, original)


def test_two_private_keys_in_one_body_and_the_text_after_them() -> None:
    key = "-----BEGIN PRIVATE KEY-----\nMIIEowIBAAKCAQEA75M1pQ\n-----END PRIVATE KEY-----"
    cleaned, _ = redact(SECRETS, body(f"first {key} then {key} and last"))
    assert cleaned is not None
    text = json.loads(cleaned)["messages"][0]["content"]
    assert "first [redacted private_key] then [redacted private_key] and last" == text


def test_a_stream_of_events_is_cleaned_too() -> None:
    event = b'data: {"choices":[{"delta":{"content":"use sk-proj-%b now"}}]}\n\ndata: [DONE]\n\n' % B36.encode()
    cleaned, changed = redact(SECRETS, event)
    assert cleaned is not None
    assert changed
    assert cleaned.endswith(b"data: [DONE]\n\n")
    assert B36.encode() not in cleaned
