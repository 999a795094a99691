"""The address to listen on: is it free, and is it ours until the end?"""

import errno
import socket
import time
from collections.abc import Callable

from weighbridge.config import Loaded, parse_address
from weighbridge.errors import WeighbridgeError

FREE_S_MAX = 3.0
"""How long an address may still be busy: workers of a supervisor that was just killed need a moment to notice."""


class Reservation:
    """A bound socket that does not listen. Workers bind the same address beside it (SO_REUSEPORT) and do listen.

    It keeps the port from going to another program while a worker restarts, and picks one where the port is 0.
    """

    def __init__(self, taken: socket.socket) -> None:
        self._socket = taken
        name = taken.getsockname()
        self.host, self.port = str(name[0]), int(name[1])

    @property
    def listen(self) -> str:
        return _joined(self.host, self.port)

    def close(self) -> None:
        self._socket.close()


def reachable(listen: str) -> str:
    """HOST:PORT to connect to: an address that listens everywhere is reached on loopback."""
    host, _, port = listen.rpartition(":")
    return _joined({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host.strip("[]"), host.strip("[]")), int(port))  # noqa: S104


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def reserve(loaded: Loaded, key: str, text: str, *, pause: Callable[[float], None] = time.sleep) -> Reservation:
    """Reserve `text` (HOST:PORT), the value of `key`. Raises `WeighbridgeError` saying who is in the way, if known."""
    host, port = parse_address(loaded.file, key, text)
    taken = _bound(loaded, key, host, port)
    waited_s = 0.0
    while port and _answers(host, port):
        if waited_s >= FREE_S_MAX:
            taken.close()
            raise _in_use(loaded, key, text)
        pause(0.05)
        waited_s += 0.05
    return Reservation(taken)


def _bound(loaded: Loaded, key: str, host: str, port: int) -> socket.socket:
    text = _joined(host, port)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise WeighbridgeError(f"{loaded.file}: {key}: {host!r} is not an address of this machine: {error}") from None
    family, kind, _, _, address = found[0]
    taken = socket.socket(family, kind)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(address)
    except OSError as error:
        taken.close()
        if error.errno == errno.EADDRINUSE:
            raise _in_use(loaded, key, text) from None
        hint = " Ports below 1024 need rights of their own; take a higher one." if error.errno == errno.EACCES else ""
        raise WeighbridgeError(f"{loaded.file}: {key}: cannot listen on {text}: {error.strerror}.{hint}") from None
    return taken


def _answers(host: str, port: int) -> bool:
    """Another gateway of the same user would share the port silently (SO_REUSEPORT): ask whether somebody listens."""
    try:
        with socket.create_connection((reachable(_joined(host, port)).rpartition(":")[0].strip("[]"), port), 0.5):
            return True
    except OSError:
        return False


def _in_use(loaded: Loaded, key: str, text: str) -> WeighbridgeError:
    return WeighbridgeError(
        f"{loaded.file}: {key}: {text} is in use by another program. "
        f"Stop that one, or set {key} to another port (0 takes any free one)."
    )
