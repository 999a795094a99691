"""Which proxy the environment names: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY, as other tools read them."""

import os
from ipaddress import ip_address
from urllib.parse import urlsplit


def proxy_for(base_url: str) -> str | None:
    """The proxy's URL, `None` for a direct connection. This machine itself is never asked for through a proxy."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if _is_loopback(host) or not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    # Here, because most workers never need it. It knows what the variables mean, NO_PROXY and CGI's trap included.
    from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

    proxies = getproxies_environment()
    named = proxies.get(parts.scheme) or proxies.get("all")
    netloc = host if parts.port is None else f"{host}:{parts.port}"
    if not named or proxy_bypass_environment(netloc, proxies):
        return None
    return named


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
