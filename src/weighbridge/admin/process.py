"""Listening: one address, no log of requests, an end on SIGTERM or Ctrl-C."""

import signal
import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from weighbridge.admin.listen import listener
from weighbridge.errors import WeighbridgeError

GRACE_S = 5


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens at an address. Raises `WeighbridgeError` where the address cannot be had."""
    try:
        found = listener(host, port)
    except OSError as error:
        raise WeighbridgeError(f"cannot listen on {host}:{port}: {error.strerror}; choose another --listen") from None
    with found:
        yield found


def hosts_of(sock: socket.socket, host: str) -> Collection[str]:
    """How browsers may name an address: as given, and every spelling of loopback where it is one."""
    port = sock.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    names = {shown}
    if host in ("127.0.0.1", "::1", "localhost"):
        names |= {"localhost", "127.0.0.1", "[::1]"}
    return {f"{name}:{port}" for name in names} | ({shown} if port == 80 else set())


def server(app: ASGIApp) -> uvicorn.Server:
    """Not serving yet. Long-lived event streams do not hold up its end for more than `GRACE_S`."""
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, date_header=False, lifespan="off",
        timeout_graceful_shutdown=GRACE_S, limit_concurrency=200, proxy_headers=False,
    )  # fmt: skip
    return uvicorn.Server(config)


def run(app: ASGIApp, sock: socket.socket) -> None:
    """Serve until a signal says stop; the library raises that signal once more when it has drained."""
    server(app).run(sockets=[sock])


@contextmanager
def ends_in_order() -> Iterator[None]:
    """SIGTERM and Ctrl-C end what is inside by `SystemExit`, so that whatever stands around it is put away, too."""
    before = {number: signal.signal(number, _end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, frame: object) -> None:
    raise SystemExit(0)
