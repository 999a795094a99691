"""Many calls over few connections: each gets its own answer."""

import asyncio
import json

from tests.fakes.provider import FakeProvider, Script
from weighbridge.upstream import Client


def test_calls_that_wait_for_a_connection_all_get_an_answer() -> None:
    async def all_of_them(url: str) -> list[int]:
        async with Client(url, connections_max=8) as client:
            body = json.dumps({"model": "m", "messages": []}).encode()
            replies = await asyncio.gather(*(client.post("/chat/completions", (), body, 20.0) for _ in range(400)))
            return [reply.status for reply in replies]

    with FakeProvider(answers={"m": Script()}) as provider:
        assert asyncio.run(all_of_them(provider.url)) == [200] * 400
        assert provider.connections <= 8
