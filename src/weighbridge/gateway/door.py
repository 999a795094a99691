"""Where a worker listens: in the clear or over TLS, with certificates that can be renewed while it serves."""

import asyncio
import socket
import ssl
from collections.abc import Callable

from weighbridge.errors import WeighbridgeError

BACKLOG = 4096
UNSENT_BYTES_MAX = 64 << 10
HANDSHAKE_S_MAX = 10.0
"""A client that connects and does not shake hands is let go after this."""


def listener(host: str, port: int) -> socket.socket:
    """Bound beside the other workers' sockets; the kernel spreads connections over them."""
    family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
        0
    ]
    made = socket.socket(family, kind, number)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound_unsent(made)
    try:
        made.bind(address)
    except OSError as error:
        made.close()
        raise WeighbridgeError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    made.setblocking(False)
    return made


def bound_unsent(listening: socket.socket) -> None:
    """For every connection that it accepts. What a reader that has stopped leaves unsent would fill the kernel's
    buffer, which grows to megabytes, before anybody noticed; so its provider is stopped after 64 KiB there and as much
    here.
    """
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES_MAX)


class Door:
    """One bound socket, and the server that accepts on it.

    Another TLS context is another server on the same socket: both accept for a moment, no connection is lost, and those
    that are open keep what they began with.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, bound: socket.socket, protocol: Callable[[], asyncio.Protocol]
    ) -> None:
        self._loop, self._bound, self._protocol = loop, bound, protocol
        self._server: asyncio.Server | None = None

    async def open(self, tls: ssl.SSLContext | None) -> None:
        before = self._server
        self._server = await self._loop.create_server(
            self._protocol,
            sock=self._bound.dup(),
            backlog=BACKLOG,
            ssl=tls,
            ssl_handshake_timeout=None if tls is None else HANDSHAKE_S_MAX,
        )
        if before is not None:
            before.close()

    @property
    def address(self) -> str:
        """HOST:PORT that it listens on."""
        host, port = self._bound.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._bound.close()
