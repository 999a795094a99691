"""Errors: read from what a provider sent, written as the client's dialect has them."""

from collections.abc import Iterable

import msgspec

from weighbridge.wire.conversation import Dialect, Failure, FailureKind
from weighbridge.wire.dialects.fields import encode

_KIND_BY_STATUS: dict[int, FailureKind] = {
    400: "invalid_request", 401: "authentication", 402: "billing", 403: "permission", 404: "not_found",
    408: "timeout", 409: "conflict", 413: "too_large", 422: "invalid_request", 429: "rate_limit", 503: "overloaded",
    504: "timeout", 529: "overloaded",
}  # fmt: skip

_TYPES: dict[FailureKind, tuple[str, str, int]] = {
    # kind: type in OpenAI's dialects, type in Anthropic's, status
    "invalid_request": ("invalid_request_error", "invalid_request_error", 400),
    "authentication": ("authentication_error", "authentication_error", 401),
    "billing": ("insufficient_quota", "billing_error", 402),
    "permission": ("permission_error", "permission_error", 403),
    "not_found": ("not_found_error", "not_found_error", 404),
    "conflict": ("conflict_error", "conflict_error", 409),
    "too_large": ("invalid_request_error", "request_too_large", 413),
    "rate_limit": ("rate_limit_error", "rate_limit_error", 429),
    "timeout": ("timeout_error", "timeout_error", 504),
    "overloaded": ("overloaded_error", "overloaded_error", 503),
    "server": ("server_error", "api_error", 500),
}
_KIND_BY_TYPE: dict[str, FailureKind] = {
    written: kind for kind, (openai, anthropic, _) in reversed(_TYPES.items()) for written in (openai, anthropic)
} | {"rate_limit_exceeded": "rate_limit", "insufficient_quota": "billing", "invalid_request_error": "invalid_request"}

MESSAGE_CHARACTERS_MAX = 4096


class _Error(msgspec.Struct):
    message: str | None = None
    type: str | None = None
    code: str | int | None = None
    param: str | None = None


class _Body(msgspec.Struct):
    error: _Error | str | None = None
    message: str | None = None
    """Beside no `error`: vLLM's older form, FastAPI's `detail`."""
    detail: str | None = None
    type: str | None = None
    request_id: str | None = None


_body = msgspec.json.Decoder(_Body).decode


_UNTHREADED = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
"""Told so, Anthropic's own clients send whole conversations instead of leaning on one that the provider keeps."""


def kind_of(status: int) -> FailureKind:
    return _KIND_BY_STATUS.get(status, "server" if status >= 500 else "invalid_request")


def read_failure(status: int, body: bytes) -> Failure:
    """The error of an answer with a status of 400 and more, whatever the dialect: hosts mix them. A body that is no
    JSON becomes the message itself."""
    try:
        said = _body(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        text = body.decode(errors="replace").strip()[:MESSAGE_CHARACTERS_MAX]
        return Failure(kind_of(status), text or f"the provider answered {status} without a message", status)
    error = said.error
    if isinstance(error, str):
        error = _Error(error)
    if error is None:
        error = _Error(said.message or said.detail)
    kind = kind_of(status)
    if status in (200, 400, 500) and error.type is not None:
        kind = _KIND_BY_TYPE.get(error.type) or kind
    message = (error.message or f"the provider answered {status} without a message")[:MESSAGE_CHARACTERS_MAX]
    code = None if error.code is None else str(error.code)
    return Failure(kind, message, status, code, error.param, said.request_id)


def failed_inside(raw: bytes | msgspec.Raw) -> Failure:
    """An error that came inside a 200, as an event of a stream: the value of its `error`."""
    failure = read_failure(200, b'{"error":%b}' % bytes(raw))
    kind: FailureKind = failure.kind if failure.kind != "invalid_request" else "server"
    if failure.code is not None and failure.code.isdigit() and 400 <= int(failure.code) < 600:
        kind = kind_of(int(failure.code))
    return Failure(kind, failure.message, _TYPES[kind][2], failure.code, failure.param)


def status_for(dialect: Dialect, failure: Failure) -> int:
    """The status that a client of the dialect expects: 529 is Anthropic's alone."""
    if failure.status == 529 and dialect != "anthropic":
        return 503
    if failure.kind == "overloaded" and dialect == "anthropic":
        return 529
    return failure.status if failure.status >= 400 else _TYPES[failure.kind][2]


def write_failure(dialect: Dialect, failure: Failure) -> bytes:
    """The body of an error answer."""
    openai, anthropic, _ = _TYPES[failure.kind]
    if dialect == "anthropic":
        error: dict[str, object] = {"type": anthropic, "message": failure.message}
        # Its errors have a type and a message; what says more than the type is added, not dropped.
        said = {"code": failure.code, "param": failure.param}
        error |= {name: value for name, value in said.items() if value is not None and value != str(failure.status)}
        if failure.param == "thread":
            error["details"] = _UNTHREADED
        body: dict[str, object] = {"type": "error", "error": error}
        if failure.request_id is not None:
            body["request_id"] = failure.request_id
        return encode(body)
    return encode({"error": {"message": failure.message, "type": openai, "param": failure.param, "code": failure.code}})


_RENAMED = (
    ("request-id", "x-request-id"),
    ("anthropic-ratelimit-requests-limit", "x-ratelimit-limit-requests"),
    ("anthropic-ratelimit-requests-remaining", "x-ratelimit-remaining-requests"),
    ("anthropic-ratelimit-tokens-limit", "x-ratelimit-limit-tokens"),
    ("anthropic-ratelimit-tokens-remaining", "x-ratelimit-remaining-tokens"),
)
_TO_OPENAI = dict(_RENAMED)
_TO_ANTHROPIC = {openai: anthropic for anthropic, openai in _RENAMED}
_PASSED = ("retry-after", "retry-after-ms", "x-should-retry")


def translated_headers(client: Dialect, headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers of a provider's answer that its client is to see: when to retry, what is left, the request's id.

    Each goes under the provider's name and, where the dialects write the value alike, under the client's own too.
    """
    names = _TO_ANTHROPIC if client == "anthropic" else _TO_OPENAI
    passed: dict[str, str] = {}
    for name, value in headers:
        low = name.lower()
        if low in _PASSED or "ratelimit" in low or low in ("request-id", "x-request-id"):
            passed.setdefault(low, value)
            if low in names:
                passed.setdefault(names[low], value)
    return list(passed.items())
