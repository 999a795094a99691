"""Where an endpoint is."""

from ipaddress import ip_address
from urllib.parse import urlsplit

import msgspec


class BaseUrl(msgspec.Struct, frozen=True):
    """A parsed base URL, e.g. `https://api.openai.com/v1`."""

    tls: bool
    host: str
    """Without brackets."""
    port: int
    prefix: str
    """Path before that of the call, without a slash at its end."""

    @classmethod
    def parse(cls, text: str) -> "BaseUrl":
        """Raises `ValueError` naming what is wrong. User names, queries and fragments have no place in a base URL."""
        allowed = "write http://HOST[:PORT][/PREFIX] or https://..."
        if not text.isascii() or any(c <= " " or c == "\x7f" for c in text):
            raise ValueError(f"base URL {text!r} holds white space or characters outside ASCII; {allowed}")
        parts = urlsplit(text)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"base URL {text!r} is not an HTTP address; {allowed}")
        if parts.username is not None or parts.password is not None:
            raise ValueError(f"the base URL of host {parts.hostname!r} holds a user name or password; use api_key")
        if parts.query or parts.fragment:
            raise ValueError(f"base URL {text!r} has a query or fragment; {allowed}")
        tls = parts.scheme == "https"
        try:
            port = parts.port
        except ValueError:
            raise ValueError(f"base URL {text!r} has a port outside 0 to 65535; {allowed}") from None
        return cls(tls, parts.hostname, port or (443 if tls else 80), parts.path.rstrip("/"))

    @property
    def is_own(self) -> bool:
        """An IP literal or `localhost`: somebody wrote this address down, so no name can lead it elsewhere."""
        if self.host == "localhost":
            return True
        try:
            ip_address(self.host)
        except ValueError:
            return False
        return True

    @property
    def authority(self) -> str:
        """For the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"
