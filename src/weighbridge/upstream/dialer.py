"""Resolve, guard, connect."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

from weighbridge.upstream.base_url import BaseUrl
from weighbridge.upstream.guard import refused
from weighbridge.upstream.proxy import Proxy, TunnelRefused, open_tunnel
from weighbridge.upstream.tls import SYSTEM, TlsFiles, towards_provider

P = TypeVar("P", bound=asyncio.BaseProtocol)

Why = Literal["name", "address", "connect", "timeout", "tls", "proof"]


class Unreachable(Exception):  # noqa: N818 (what is the case, not a class of programming errors)
    """No connection could be made; nothing was sent. `why` is for metrics, `str()` a sentence without secrets."""

    def __init__(self, why: Why, message: str) -> None:
        super().__init__(message)
        self.why: Why = why


Address = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
Rows = Sequence[tuple[socket.AddressFamily, socket.SocketKind, int, str, Address]]

RESOLVE_S_MAX = 1.0
"""With a proxy: how long a name may take to resolve here before the proxy is left to resolve it."""


class Dialer:
    """Makes connections to one base URL. The TLS context is made once and shared.

    `address_is_own` lets any address pass (an IP literal or `localhost` in the configuration). Raises `ValueError` for
    TLS files that cannot be used. `receive_bytes_max` bounds what the kernel takes in while we do not read.
    """

    def __init__(
        self,
        base: BaseUrl,
        *,
        address_is_own: bool | None = None,
        tls: TlsFiles = SYSTEM,
        proxy: Proxy | None = None,
        connect_s_max: float = 5.0,
        receive_bytes_max: int | None = None,
    ) -> None:
        self.base, self._proxy = base, proxy
        self._own = base.is_own if address_is_own is None else address_is_own
        self._connect_s_max, self._receive_bytes_max = connect_s_max, receive_bytes_max
        self._tls: ssl.SSLContext | None = None
        if base.tls:
            self._tls = towards_provider(tls)

    async def connect(self, protocol: Callable[[], P]) -> P:
        """A connected protocol. Raises `Unreachable` within the connect timeout, TLS handshake included."""
        base = self.base
        where = f"{base.host}:{base.port}"
        try:
            async with asyncio.timeout(self._connect_s_max):
                if self._proxy is not None:
                    return await self._connect_through(self._proxy, protocol, where)
                return await self._connect(protocol, where)
        except TimeoutError:
            raise Unreachable("timeout", f"no connection to {where} within {self._connect_s_max:g} s") from None

    async def _connect_through(self, proxy: Proxy, protocol: Callable[[], P], where: str) -> P:
        """The proxy's address comes from the environment, written down on purpose. It resolves the provider's name.

        So the guard can look at that name only where it resolves here too; then it is as strict as without a proxy.
        """
        base, loop = self.base, asyncio.get_running_loop()
        if not self._own:
            await self._refuse_inside()
        rows = await _resolved(proxy.host, proxy.port)
        last = Unreachable("name", f"the name of the proxy {proxy.host!r} has no address")
        for family, kind, number, _, address in rows:
            try:
                connected = await self._socket(family, kind, number, address)
            except OSError as error:
                last = Unreachable("connect", f"cannot connect to the proxy {proxy!r} ({_reason(error)})")
                continue
            try:
                await open_tunnel(connected, proxy, base.host, base.port)
                _, made = await loop.create_connection(
                    protocol, sock=connected, ssl=self._tls, server_hostname=base.host if self._tls else None
                )
            except TunnelRefused as error:
                connected.close()
                raise Unreachable("connect", f"the proxy {proxy!r} opens no tunnel to {where}: {error}") from None
            except ssl.SSLError as error:
                raise Unreachable("tls", f"TLS with {where} failed: {error.reason or error}") from None
            except OSError as error:
                connected.close()
                last = Unreachable(
                    "connect", f"no connection to {where} through the proxy {proxy!r} ({_reason(error)})"
                )
            except BaseException:
                connected.close()
                raise
            else:
                return made
        raise last

    async def _refuse_inside(self) -> None:
        try:
            async with asyncio.timeout(RESOLVE_S_MAX):
                rows = await _resolved(self.base.host, self.base.port)
        except (Unreachable, TimeoutError):
            return  # many networks with a proxy resolve no outside names: then it is the proxy's to judge
        for row in rows:
            kind = refused(str(row[4][0]))
            if kind is not None:
                raise _inside(self.base.host, str(row[4][0]), kind)

    async def _connect(self, protocol: Callable[[], P], where: str) -> P:
        base, loop = self.base, asyncio.get_running_loop()
        rows = await _resolved(base.host, base.port)
        last = Unreachable("name", f"the name {base.host!r} has no address")
        for family, kind_, number, _, address in rows:
            ip = str(address[0])
            kind = None if self._own else refused(ip)
            if kind is not None:
                last = _inside(base.host, ip, kind)
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


def _inside(host: str, ip: str, kind: str) -> Unreachable:
    return Unreachable(
        "address",
        f"the name {host!r} resolves to {ip}, a {kind} address; write the IP address itself into base_url if this is "
        "meant",
    )


async def _resolved(host: str, port: int) -> Rows:
    try:
        return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:  # socket.gaierror is one
        raise Unreachable("name", f"the name {host!r} does not resolve ({error.strerror or error})") from None
    except UnicodeError:
        raise Unreachable("name", f"the name {host!r} is not a host name") from None


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).partition(" [")[0]
