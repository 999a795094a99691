"""Errors of providers in the client's dialect, with their headers."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.wire.conversation import Dialect, Failure
from weighbridge.wire.dialects import DIALECTS, read_failure, status_for, translated_headers, write_failure
from weighbridge.wire.dialects.failures import failed_inside


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (400, '{"error":{"message":"bad","type":"invalid_request_error","param":"n"}}', "invalid_request", "bad"),
        (429, '{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}', "rate_limit", "slow"),
        (529, '{"type":"error","error":{"type":"overloaded_error","message":"busy"}}', "overloaded", "busy"),
        (400, '{"object":"error","message":"too long"}', "invalid_request", "too long"),
        (404, '{"detail":"Not Found"}', "not_found", "Not Found"),
        (400, '{"error":{"code":400,"message":"context","n_ctx":8}}', "invalid_request", "context"),
        (502, "<html>Bad Gateway</html>", "server", "<html>Bad Gateway</html>"),
        (500, "", "server", "the provider answered 500 without a message"),
        (402, '{"error":"no credit"}', "billing", "no credit"),
    ],
)  # fmt: skip
def test_errors_of_every_host_are_understood(status: int, body: str, kind: str, message: str) -> None:
    failure = read_failure(status, body.encode())
    assert (kind, message, status) == (failure.kind, failure.message, failure.status)


@given(st.sampled_from(DIALECTS), st.integers(400, 599), st.binary(max_size=80))
def test_any_body_becomes_an_error_of_the_clients_dialect(client: Dialect, status: int, body: bytes) -> None:
    failure = read_failure(status, body)
    written = json.loads(write_failure(client, failure))
    assert failure.message == written["error"]["message"]
    assert 400 <= status_for(client, failure) < 600
    assert ("error" == written.get("type")) == (client == "anthropic")


def test_529_is_kept_for_anthropic_clients_and_503_elsewhere() -> None:
    failure = read_failure(529, b"{}")
    assert (529, 503, 503) == tuple(status_for(d, failure) for d in ("anthropic", "openai", "openai-responses"))


def test_an_error_inside_a_200_takes_the_status_that_its_code_names() -> None:
    failure = failed_inside(b'{"message":"x","code":429}')
    assert ("rate_limit", 429) == (failure.kind, failure.status)
    assert "server" == failed_inside(b'"it broke"').kind


def test_when_to_retry_what_is_left_and_the_request_id_reach_the_client_under_its_own_names() -> None:
    sent = [
        ("Retry-After", "7"),
        ("anthropic-ratelimit-requests-remaining", "3"),
        ("request-id", "req_9"),
        ("set-cookie", "secret"),
        ("server", "x"),
    ]
    got = dict(translated_headers("openai", sent))
    assert ("7", "3", "req_9") == (got["retry-after"], got["x-ratelimit-remaining-requests"], got["x-request-id"])
    assert "set-cookie" not in got
    assert "req_9" == dict(translated_headers("anthropic", [("x-request-id", "req_9")]))["request-id"]


def test_a_thread_that_cannot_be_carried_is_refused_in_the_words_that_make_a_client_send_it_whole() -> None:
    """The Messages clients look at `details.error_code` alone before they go on without a thread."""
    failure = Failure("invalid_request", "no place for: thread", 400, "not_carried", "thread")
    assert {"error_code": "thread_unsupported_request", "unsupported": ["thread"]} == json.loads(
        write_failure("anthropic", failure)
    )["error"]["details"]
    other = Failure("invalid_request", "no place for: stop", 400, "not_carried", "stop")
    assert "details" not in json.loads(write_failure("anthropic", other))["error"]
