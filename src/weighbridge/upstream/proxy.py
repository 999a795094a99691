"""A tunnel through an HTTP proxy (CONNECT). TLS is spoken inside it: the proxy sees the host's name, no prompt."""

import asyncio
import socket
from base64 import b64encode
from urllib.parse import unquote, urlsplit

import msgspec

HEAD_BYTES_MAX = 16 << 10


class Proxy(msgspec.Struct, frozen=True):
    host: str
    port: int
    authorization: str | None = None
    """Value of Proxy-Authorization; never shown."""

    @classmethod
    def parse(cls, text: str) -> "Proxy":
        """`http://[USER:PASSWORD@]HOST[:PORT]`. Raises `ValueError`, which shows nothing that may be a password."""
        parts = urlsplit(text if "://" in text else f"http://{text}")
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(
                f"a proxy with the scheme {parts.scheme!r} is not supported; set http://[USER:PASSWORD@]HOST[:PORT]"
            )
        try:
            port = parts.port or 80
        except ValueError:
            raise ValueError(f"the port of proxy {parts.hostname!r} is not a number from 0 to 65535") from None
        authorization = None
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = "Basic " + b64encode(pair.encode()).decode()
        return cls(parts.hostname, port, authorization)

    def __repr__(self) -> str:
        return f"Proxy({self.host}:{self.port})"


class TunnelRefused(Exception):  # noqa: N818 (what is the case, not a class of programming errors)
    """The proxy did not open the tunnel."""


async def open_tunnel(line: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    """Ask the proxy at the other end of a connected, non-blocking socket for a tunnel. Raises `TunnelRefused`."""
    loop = asyncio.get_running_loop()
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
    if proxy.authorization is not None:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    await loop.sock_sendall(line, "\r\n".join([*lines, "", ""]).encode())
    head = b""
    while b"\r\n\r\n" not in head:
        part = await loop.sock_recv(line, 4096)
        if not part:
            raise TunnelRefused("it closed the connection")
        head += part
        if len(head) > HEAD_BYTES_MAX:
            raise TunnelRefused(f"the head of its answer is larger than {HEAD_BYTES_MAX} bytes")
    first = head.partition(b"\r\n")[0].split(b" ", 2)
    if len(first) < 2 or not first[0].startswith(b"HTTP/1.") or not first[1].isdigit():
        raise TunnelRefused("its answer is not HTTP")
    if not first[1].startswith(b"2"):
        hint = "; check user and password in the proxy's variable" if first[1] == b"407" else ""
        raise TunnelRefused(f"it answered {first[1].decode()}{hint}")
    if not head.endswith(b"\r\n\r\n"):
        # Neither TLS nor HTTP servers speak first: bytes here come from the proxy, and would pass for the provider's.
        raise TunnelRefused("it sent bytes of its own into the tunnel")
