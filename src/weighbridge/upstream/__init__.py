"""The one door to other people's HTTP servers.

- `BaseUrl`: where an endpoint is; a path prefix belongs to it
- `guard`: which addresses a *resolved* name may not lead to
- `TlsFiles`, `Proxy`: what an endpoint's connections are secured with, and led through
- `Proof`: tokens and signatures, where who we are is more than a static key
- `Dialer`: resolve, guard, connect, TLS; the connection stays pinned to the address that was checked
- `Pool`: idle connections of one endpoint, newest first, with a limit on how many are open
- `Client`: one call at a time, for trials and commands; the gateway's relay has its own protocol over the same door
"""

from weighbridge.upstream.base_url import BaseUrl
from weighbridge.upstream.client import Broken, Client, Reply
from weighbridge.upstream.dialer import Dialer, Unreachable
from weighbridge.upstream.pool import Pool
from weighbridge.upstream.proof import Proof
from weighbridge.upstream.proxy import Proxy
from weighbridge.upstream.tls import TlsFiles

__all__ = ["BaseUrl", "Broken", "Client", "Dialer", "Pool", "Proof", "Proxy", "Reply", "TlsFiles", "Unreachable"]
