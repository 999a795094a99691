"""Server-sent events: a part of a page again and again, sent when it changed.

One stream lasts at most some minutes; then the browser opens the next one, through the guard again, so that who was
signed out meanwhile sees no more.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import StreamingResponse

from weighbridge.errors import WeighbridgeError

STREAM_S_MAX = 300.0
STILL_EVERY = 5
"""After so many looks without a change the page is told that it is still looked at."""


def live(request: Request, every_s: float, render: Callable[[], tuple[str, bool]]) -> StreamingResponse:
    """`render` gives the part as HTML, and whether nothing more will come; it runs in a thread."""

    async def events() -> AsyncIterator[bytes]:
        last: str | None = None
        still, looked_s = 0, 0.0
        yield b"retry: 3000\n\n"
        while looked_s < STREAM_S_MAX and not await request.is_disconnected():
            try:
                html, over = await run_in_threadpool(render)
            except WeighbridgeError as error:
                html, over = "", False
                yield _event("problem", str(error))
            if html and html != last:
                if last is not None:
                    yield _event("part", html)
                last, still = html, 0
            elif (still := still + 1) % STILL_EVERY == 1:
                yield _event("still", "")
            if over:
                yield _event("done", "")
                return
            await asyncio.sleep(every_s)
            looked_s += every_s

    return StreamingResponse(events(), media_type="text/event-stream")


def _event(name: str, text: str) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(text) + b"\n\n"
