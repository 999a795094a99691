"""One call at a time to an HTTP server: for trials, judges and commands."""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, cast

import httptools
import msgspec

from weighbridge.upstream.base_url import BaseUrl
from weighbridge.upstream.dialer import Dialer
from weighbridge.upstream.ending import ended_on_purpose
from weighbridge.upstream.pool import Pool
from weighbridge.upstream.proxy import Proxy
from weighbridge.upstream.tls import SYSTEM, TlsFiles

Headers = Sequence[tuple[bytes, bytes]]


class Reply(msgspec.Struct, frozen=True):
    status: int
    headers: list[tuple[bytes, bytes]]
    """Names in lower case, in the server's order."""
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key == name), None)


class Broken(Exception):  # noqa: N818
    """The request went out, the answer did not come back whole. It may have been carried out."""


class Client:
    """Keeps connections alive between calls; safe for many tasks of one event loop.

    `await client.post("/chat/completions", headers, body, timeout_s=60)` returns a `Reply` whatever its status. Raises
    `Unreachable` (nothing was sent), `Broken` (sent, no whole answer) or `TimeoutError`.
    """

    def __init__(
        self,
        base_url: str,
        *,
        address_is_own: bool | None = None,
        tls: TlsFiles = SYSTEM,
        proxy: Proxy | None = None,
        connect_s_max: float = 5.0,
        connections_max: int = 64,
        response_bytes_max: int = 64 << 20,
    ) -> None:
        self.base = BaseUrl.parse(base_url)
        self._dialer = Dialer(
            self.base, address_is_own=address_is_own, tls=tls, proxy=proxy, connect_s_max=connect_s_max
        )
        self._pool: Pool[_Call] = Pool(connections_max)
        self._turn = asyncio.Semaphore(connections_max)
        self._response_bytes_max = response_bytes_max

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        self._pool.close()

    async def post(
        self,
        path: str,
        headers: Headers,
        body: bytes,
        timeout_s: float,
        on_piece: Callable[[bytes], None] | None = None,
    ) -> Reply:
        """`on_piece` gets each piece of the answer's body as it comes, besides the whole at the end."""
        head = _head(b"POST", self.base, path, [*headers, (b"content-length", b"%d" % len(body))])
        return await self._call(head + body, timeout_s, on_piece)

    async def get(self, path: str, headers: Headers, timeout_s: float) -> Reply:
        return await self._call(_head(b"GET", self.base, path, headers), timeout_s)

    async def _call(self, message: bytes, timeout_s: float, on_piece: Callable[[bytes], None] | None = None) -> Reply:
        async with asyncio.timeout(timeout_s), self._turn:
            reused = self._pool.take()
            if reused is not None:
                try:
                    return await reused.exchange(message, on_piece)
                except _Stale:
                    pass  # closed by the server while idle, before it answered anything: once more, on a new connection
            self._pool.opened += 1
            call = await self._dialer.connect(lambda: _Call(self.base, self._pool, self._response_bytes_max))
            try:
                return await call.exchange(message, on_piece)
            except _Stale as error:
                raise Broken(str(error)) from None


def _head(method: bytes, base: BaseUrl, path: str, headers: Headers) -> bytes:
    target = (base.prefix + path).encode()
    lines = [b"%b %b HTTP/1.1" % (method, target), b"host: " + base.authority.encode()]
    names = {name.lower() for name, _ in headers}
    for name, value in (
        *headers,
        (b"user-agent", b"weighbridge"),
        (b"accept", b"*/*"),
        (b"accept-encoding", b"identity"),
    ):
        if (name, value) in headers or name not in names:
            lines.append(b"%b: %b" % (name, value))
    head = b"\r\n".join(lines)
    if head.count(b"\n") != len(lines) - 1 or head.count(b"\r") != len(lines) - 1 or b"\0" in head or b" " in target:
        raise ValueError("a path or header of the request holds a line break, NUL or space")
    return head + b"\r\n\r\n"


class _Stale(Exception):  # noqa: N818
    """The connection ended before a byte of the answer."""


class _Call(asyncio.Protocol):
    def __init__(self, base: BaseUrl, pool: "Pool[_Call]", response_bytes_max: int) -> None:
        self._base, self._pool, self._response_bytes_max = base, pool, response_bytes_max
        self._answer: asyncio.Future[Reply] | None = None
        self._transport: asyncio.Transport | None = None
        self._reset()

    def _reset(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._pieces: list[bytes] = []
        self._size = 0
        self._headed = self._complete = self._keep = self._ended = False
        self._status = 0

    async def exchange(self, message: bytes, on_piece: Callable[[bytes], None] | None) -> Reply:
        transport = self._transport
        if transport is None or transport.is_closing():
            raise _Stale("the connection was closed while idle")
        self._reset()
        self._on_piece = on_piece
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._answer = answer
        transport.write(message)
        try:
            return await answer
        except asyncio.CancelledError:
            if answer.cancelled() or not answer.done():  # whoever cancels a task cancels what it waits for
                self.abort()
            raise
        finally:
            # A connection is back in the pool before its call has woken up: the next call may be waiting on it by now.
            if self._answer is answer:
                self._answer = None

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # --- transport ----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._parser = httptools.HttpResponseParser(self)
        self._pool.open += 1

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self.abort()  # bytes that nobody asked for: this connection cannot be trusted again
            return
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._complete:
                self._fail(Broken(f"the answer of {self._base.authority} is not HTTP: {error}"))
                return
            self._keep = False  # something came after the whole answer: use that, and never this connection again
        if self._size > self._response_bytes_max:
            self._fail(Broken(f"the answer of {self._base.authority} is larger than {self._response_bytes_max} bytes"))
        elif self._complete:
            self._done()

    def eof_received(self) -> None:
        self._ended = self._transport is not None and ended_on_purpose(self._transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._pool.open -= 1
        self._pool.forget(self)
        answer = self._answer
        if answer is not None and not answer.done():
            framed = any(name in (b"content-length", b"transfer-encoding") for name, _ in self._headers)
            if self._headed and not framed and self._ended and error is None:
                answer.set_result(Reply(self._status, self._headers, b"".join(self._pieces)))
            elif self._size == 0 and not isinstance(error, ssl.SSLError):
                answer.set_exception(_Stale(f"{self._base.authority} closed the connection without an answer"))
            else:
                answer.set_exception(Broken(f"{self._base.authority} closed the connection within its answer"))
        del self._parser  # it holds this protocol's methods: a cycle

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self.abort()

    def _done(self) -> None:
        if self._answer is not None:
            self._answer.set_result(Reply(self._status, self._headers, b"".join(self._pieces)))
        if self._keep:
            self._pool.put(self, 0)
        elif self._transport is not None:
            self._transport.close()

    # --- parser -------------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._complete:
            self._keep = False
            raise ValueError("a second answer to one request")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._headed:  # trailers come through here too
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._headed = True
        self._status = self._parser.get_status_code()

    def on_body(self, piece: bytes) -> None:
        self._pieces.append(piece)
        if self._on_piece is not None:
            self._on_piece(piece)

    def on_message_complete(self) -> None:
        if self._status < 200:
            self._headed = False
            self._headers = []
        else:
            self._complete = True
            self._keep = self._parser.should_keep_alive()
