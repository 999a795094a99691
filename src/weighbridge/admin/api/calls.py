"""Reading a request of the API into its record, and writing an answer."""

from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from weighbridge.errors import UsageError

T = TypeVar("T")


class Query(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what may stand behind the `?`."""


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what may be sent."""


def query_of(request: Request, kind: type[T]) -> T:
    """Raises `UsageError` naming the parameter that does not fit."""
    try:
        return msgspec.convert(dict(request.query_params), kind, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"the query is not as described in /api/v1/openapi.json: {error}") from None


async def body_of(request: Request, kind: type[T]) -> T:
    """Raises `UsageError` naming the field that does not fit."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != "application/json":
        raise UsageError(f"a body is JSON, with content-type application/json, not {given[:80]!r}")
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except msgspec.MsgspecError as error:
        raise UsageError(f"the body is not as described in /api/v1/openapi.json: {error}") from None


def answer(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")
