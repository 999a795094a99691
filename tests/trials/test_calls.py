"""What a reply of the gateway means."""

import json

import pytest

from weighbridge.trials.calls import RETRY_AFTER_S_MAX, Again, Answered, Broke, NoAnswer, Sent, read, retry_after_s


def reply(status: int, code: str | None = None, message: str = "no", **more: str) -> Sent:
    body = {"error": {"message": message, "code": code, "type": "x"}} if code else {"error": {"message": message}}
    return Sent(status=status, body=json.dumps(body).encode(), exchange="e", retry_after=more.get("retry_after"))


def test_a_completion_is_an_answer() -> None:
    body = b'{"choices": [{"message": {"content": "42"}, "finish_reason": "stop"}]}'
    reading = read(Sent(status=200, body=body, exchange="e"))
    assert isinstance(reading, Answered)
    assert reading.answer.text == "42"


@pytest.mark.parametrize("message", [{"content": None, "refusal": "I cannot"}, {"content": "", "refusal": "no"}])
def test_a_refusal_by_the_protocol_is_no_answer(message: dict[str, str | None]) -> None:
    body = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()
    assert read(Sent(status=200, body=body, exchange="e")) == NoAnswer("refusal")


@pytest.mark.parametrize("code", ["content_filter", "context_length_exceeded"])
def test_a_host_that_says_the_model_will_not_answer_is_a_refusal(code: str) -> None:
    assert read(reply(400, code)) == NoAnswer("refusal")


@pytest.mark.parametrize(
    "body",
    [
        b'{"object": "error", "message": "This model\'s maximum context length is 8192 tokens.", "code": 400}',
        b'{"error": {"message": "This model\'s maximum context length is 8192 tokens.", "type": "BadRequestError"}}',
        b'{"error": {"code": 400, "message": "too large", "type": "exceed_context_size_error", "n_ctx": 4096}}',
        b'{"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 9 > 8"}}',
        b'{"type": "error", "error": {"type": "invalid_request_error", "message": "x", "code": "content_filter"}}',
    ],
)
def test_a_prompt_that_the_model_cannot_read_whole_is_its_own_no_however_its_host_says_so(body: bytes) -> None:
    assert NoAnswer("refusal") == read(Sent(status=400, body=body, exchange="e"))


def test_an_error_of_the_gateway_is_known_by_its_header_in_every_dialect() -> None:
    body = b'{"type": "error", "error": {"type": "permission_error", "message": "no money"}}'
    said = read(Sent(status=403, body=body, exchange="e", error="trial_budget_exhausted"))
    assert isinstance(said, Broke)
    assert "trial_budget_exhausted" == said.code
    assert NoAnswer("refusal") == read(Sent(status=400, body=body, exchange=None, error="not_carried"))


@pytest.mark.parametrize("status", [429, 503, 529])
def test_a_busy_host_is_asked_again_when_it_says_so(status: int) -> None:
    reading = read(reply(status, retry_after="7"))
    assert isinstance(reading, Again)
    assert reading.throttled
    assert reading.after_s == 7.0


@pytest.mark.parametrize(("status", "timeout"), [(500, False), (502, False), (504, True), (408, True)])
def test_a_failing_host_is_asked_again(status: int, timeout: bool) -> None:
    reading = read(reply(status))
    assert isinstance(reading, Again)
    assert reading.timeout is timeout
    assert not reading.throttled


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (404, "model_not_found"),
        (401, "invalid_api_key"),
        (403, "endpoint_not_permitted"),
        (400, "unsupported_parameter"),
        (429, "insufficient_quota"),
        (502, "upstream_auth"),
        (502, "upstream_redirect"),
    ],
)
def test_a_wrong_model_key_or_parameter_is_nobodys_answer_and_not_tried_again(status: int, code: str) -> None:
    reading = read(reply(status, code))
    assert isinstance(reading, Broke)
    assert reading.code == code
    assert f"HTTP {status} {code}" in reading.reason


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error": null}', b'{"error": "down"}', b'{"choices": []}'])
def test_an_odd_body_never_raises(body: bytes) -> None:
    assert isinstance(read(Sent(status=500, body=body, exchange=None)), Again)
    assert isinstance(read(Sent(status=200, body=body, exchange=None)), Again)


def test_long_error_messages_are_cut_to_a_line() -> None:
    reading = read(reply(404, "x", "first line\n" + "secret " * 100))
    assert isinstance(reading, Broke)
    assert reading.reason == "HTTP 404 x: first line"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None), ("3", 3.0), ("0", 0.0), ("-5", 0.0), ("nan", None), ("soon", None), ("1e9", RETRY_AFTER_S_MAX),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0), ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
    ],
)  # fmt: skip
def test_retry_after_is_read_as_seconds_or_date_within_limits(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, 1445412480.0) == seconds
