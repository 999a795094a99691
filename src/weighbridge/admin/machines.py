"""The doors for machines: what Prometheus scrapes and what a prober asks."""

from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from weighbridge.admin.doors import OpenDoor


class Answer(msgspec.Struct, frozen=True):
    status: int
    body: bytes
    kind: str
    """The content type, whole."""


Asked = Callable[[], Awaitable[Answer]]


def machine_doors(metrics: Asked, health: Asked) -> tuple[OpenDoor, ...]:
    def door(path: str, ask: Asked) -> OpenDoor:
        async def handler(request: Request) -> Response:
            found = await ask()
            return Response(found.body, found.status, headers={"content-type": found.kind})

        return OpenDoor(method="GET", path=path, handler=handler)

    return (door("/metrics", metrics), door("/healthz", health))
