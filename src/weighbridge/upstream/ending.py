"""Did the other side end the connection on purpose?

An answer without a length ends with its connection. In the clear any end must do; over TLS somebody on the line can cut
a connection, but cannot forge the close notice. The event loop does not tell the two apart (it calls `eof_received` for
both), the TLS object does.
"""

import asyncio
import ssl


def ended_on_purpose(transport: asyncio.BaseTransport) -> bool:
    """To be asked within `eof_received`."""
    tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    if tls is None:
        return True
    try:
        return tls.read(1) == b""  # the close notice; without it there is still something to wait for
    except (ssl.SSLError, OSError):
        return False
