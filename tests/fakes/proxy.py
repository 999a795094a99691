"""A forward proxy for CONNECT, with a password if wanted, that remembers whom it was asked for."""

import asyncio
import threading
from base64 import b64encode
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self


@dataclass
class FakeProxy:
    user: str | None = None
    """`user:password`."""
    answer: bytes | None = None
    """In place of its answer to CONNECT; then it closes."""
    reach: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Where it connects for a host name; others are taken as they are."""
    asked: list[str] = field(default_factory=list)
    carried: bytearray = field(default_factory=bytearray)
    """Everything that went through towards the provider."""
    port: int = 0

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True)
        self._thread.start()
        if not ready.wait(10):
            raise RuntimeError("the fake proxy did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    @property
    def url(self) -> str:
        return f"http://{self.user + '@' if self.user else ''}127.0.0.1:{self.port}"

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._stop.wait()
        server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.split("\r\n")
            method, target, _ = first.split(" ")
            self.asked.append(f"{method} {target}")
            wanted = None if self.user is None else "Basic " + b64encode(self.user.encode()).decode()
            given = next((line.partition(": ")[2] for line in lines if line.startswith("Proxy-Authorization: ")), None)
            if self.answer is not None or given != wanted:
                writer.write(self.answer or b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
                await writer.drain()
                return
            host, _, port = target.rpartition(":")
            there_reader, there_writer = await asyncio.open_connection(*self.reach.get(host, (host, int(port))))
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(self._pipe(reader, there_writer, note=True), self._pipe(there_reader, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, note: bool = False) -> None:
        try:
            while part := await reader.read(65536):
                if note:
                    self.carried += part
                writer.write(part)
                await writer.drain()
        finally:
            writer.close()
