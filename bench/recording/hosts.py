"""Several hosts behind one address: connections go to each in its turn, bytes as they are."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import cycle

HOSTS = 4
BYTES_MAX = 1 << 16


@contextmanager
def one_of_four(bad: str, good: str) -> Iterator[str]:
    """An address behind which every fourth connection meets `bad`; yields it. Errors: OSError."""
    loop, ready = asyncio.new_event_loop(), threading.Event()
    turns = cycle((bad, *(good,) * (HOSTS - 1)))
    address: list[str] = []
    tasks: set[asyncio.Task[None]] = set()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = next(turns).rpartition(":")
        up_reader, up_writer = await asyncio.open_connection(host, int(port))
        both = [loop.create_task(_copied(reader, up_writer)), loop.create_task(_copied(up_reader, writer))]
        tasks.update(both)
        try:
            await asyncio.wait(both)
        finally:
            tasks.difference_update(both)

    async def serve() -> None:
        server = await asyncio.start_server(relay, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        address.append(f"{host}:{port}")
        ready.set()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.create_task(serve())
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    ready.wait()
    try:
        yield address[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until one side is done; then the other hears of it."""
    with suppress(OSError):
        while data := await reader.read(BYTES_MAX):
            writer.write(data)
            await writer.drain()
    writer.close()
