"""Resolve, guard, connect."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Literal, TypeVar

from weighbridge.upstream.base_url import BaseUrl
from weighbridge.upstream.guard import refused

P = TypeVar("P", bound=asyncio.BaseProtocol)

Why = Literal["name", "address", "connect", "timeout", "tls"]


class Unreachable(Exception):  # noqa: N818 (what is the case, not a class of programming errors)
    """No connection could be made; nothing was sent. `why` is for metrics, `str()` a sentence without secrets."""

    def __init__(self, why: Why, message: str) -> None:
        super().__init__(message)
        self.why: Why = why


Address = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]


class Dialer:
    """Makes connections to one base URL. The TLS context is made once and shared.

    `address_is_own` lets any address pass (an IP literal or `localhost` in the configuration). `ca_file` is trusted
    besides the system's authorities. `receive_bytes_max` bounds what the kernel takes in while we do not read.
    """

    def __init__(
        self,
        base: BaseUrl,
        *,
        address_is_own: bool | None = None,
        ca_file: str | None = None,
        connect_s_max: float = 5.0,
        receive_bytes_max: int | None = None,
    ) -> None:
        self.base = base
        self._own = base.is_own if address_is_own is None else address_is_own
        self._connect_s_max, self._receive_bytes_max = connect_s_max, receive_bytes_max
        self._tls: ssl.SSLContext | None = None
        if base.tls:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
            if ca_file is not None:
                try:
                    self._tls.load_verify_locations(cafile=ca_file)
                except OSError as error:
                    raise ValueError(f"ca_file {ca_file!r} cannot be used: {error}") from None

    async def connect(self, protocol: Callable[[], P]) -> P:
        """A connected protocol. Raises `Unreachable` within the connect timeout, TLS handshake included."""
        base = self.base
        where = f"{base.host}:{base.port}"
        try:
            async with asyncio.timeout(self._connect_s_max):
                return await self._connect(protocol, where)
        except TimeoutError:
            raise Unreachable("timeout", f"no connection to {where} within {self._connect_s_max:g} s") from None

    async def _connect(self, protocol: Callable[[], P], where: str) -> P:
        base, loop = self.base, asyncio.get_running_loop()
        try:
            rows = await loop.getaddrinfo(base.host, base.port, type=socket.SOCK_STREAM)
        except OSError as error:  # socket.gaierror is one
            raise Unreachable("name", f"the name {base.host!r} does not resolve ({error.strerror or error})") from None
        except UnicodeError:
            raise Unreachable("name", f"the name {base.host!r} is not a host name") from None
        last = Unreachable("name", f"the name {base.host!r} has no address")
        for family, kind_, number, _, address in rows:
            ip = str(address[0])
            kind = None if self._own else refused(ip)
            if kind is not None:
                last = Unreachable(
                    "address",
                    f"the name {base.host!r} resolves to {ip}, a {kind} address; write the IP address itself into "
                    "base_url if this is meant",
                )
                continue
            try:
                # By address: the name is not resolved again, so what was checked is what is connected to.
                connected = await self._socket(family, kind_, number, address)
                _, made = await loop.create_connection(
                    protocol, sock=connected, ssl=self._tls, server_hostname=base.host if self._tls else None
                )
            except ssl.SSLError as error:
                last = Unreachable("tls", f"TLS with {where} failed: {error.reason or error}")
            except OSError as error:
                last = Unreachable("connect", f"cannot connect to {where} ({_reason(error)})")
            else:
                return made
        raise last

    async def _socket(self, family: int, kind: int, number: int, address: Address) -> socket.socket:
        made = socket.socket(family, kind, number)
        try:
            made.setblocking(False)
            if self._receive_bytes_max is not None:
                # The kernel doubles it. Before connecting, so that the window is offered accordingly.
                made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_bytes_max // 2)
            await asyncio.get_running_loop().sock_connect(made, address)
        except BaseException:
            made.close()
            raise
        return made


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).partition(" [")[0]
