"""Our own answers: errors in the client's dialect, and HTTP heads."""

from collections.abc import Sequence
from http import HTTPStatus

import msgspec

from weighbridge.gateway.doors import error_body
from weighbridge.wire.conversation import Dialect

STATUS_LINE = {status.value: f"HTTP/1.1 {status.value} {status.phrase}".encode() for status in HTTPStatus}

_KIND = {
    400: "invalid_request_error",
    401: "invalid_request_error",
    403: "permission_error",
    404: "invalid_request_error",
    429: "rate_limit_error",
}


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request gets no answer of a model. `code` is a short constant that programs may look at."""

    status: int
    code: str
    message: str
    param: str | None = None
    retry_after_s: int | None = None
    allow: str | None = None
    """Methods, for 405."""
    headers: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def kind(self) -> str:
        return _KIND.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")


def status_line(status: int) -> bytes:
    return STATUS_LINE.get(status) or b"HTTP/1.1 %d Status" % status


def refusal_reply(
    refusal: Refusal,
    request_id: str,
    dialect: Dialect,
    *,
    keep: bool,
    body: bool,
    extra: Sequence[tuple[bytes, bytes]] = (),
) -> bytes:
    """The whole answer, in the client's dialect. `body=False` is for HEAD: the head alone."""
    message = f"{refusal.message} (request id {request_id})"
    content = error_body(dialect, refusal.status, message, refusal.kind, refusal.code, refusal.param, request_id)
    head = [
        status_line(refusal.status),
        b"\r\ncontent-type: application/json\r\ncontent-length: %d\r\n" % len(content),
        b"x-request-id: %b\r\nx-weighbridge-id: %b\r\n" % (request_id.encode(), request_id.encode()),
        b"x-weighbridge-error: %b\r\n" % refusal.code.encode(),
    ]
    if dialect == "anthropic":
        head.append(b"request-id: %b\r\n" % request_id.encode())
    if refusal.retry_after_s is not None:
        head.append(b"retry-after: %d\r\n" % refusal.retry_after_s)
    if refusal.allow is not None:
        head.append(b"allow: %b\r\n" % refusal.allow.encode())
    if not keep:
        head.append(b"connection: close\r\n")
    for name, value in (*refusal.headers, *extra):
        head.append(b"%b: %b\r\n" % (name, value))
    return b"".join((*head, b"\r\n", content if body else b""))


def json_reply(status: int, content: bytes, *, keep: bool, body: bool) -> bytes:
    return b"%b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%b\r\n%b" % (
        status_line(status), len(content), b"" if keep else b"connection: close\r\n", content if body else b"",
    )  # fmt: skip
