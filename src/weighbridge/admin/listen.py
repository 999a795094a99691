"""Holding an address. Without the web libraries: `serve` holds it before the admin process is started."""

import socket


def listener(host: str, port: int) -> socket.socket:
    """Listens. Raises `OSError` where the address cannot be had."""
    found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(128)
    except OSError:
        found.close()
        raise
    return found
