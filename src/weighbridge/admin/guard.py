"""What every request must pass before any page sees it, and what every answer carries."""

import ipaddress
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

import msgspec
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_BYTES_MAX = 64 << 10
SAFE = ("GET", "HEAD", "OPTIONS")
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with "no-referrer" browsers send forms with the origin "null"
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
ANYBODYS = ("/metrics", "/healthz")
"""Read by machines, under whatever name they know this one."""
STRICT_TRANSPORT = "max-age=31536000"


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """Under which names the site is served."""

    hosts: frozenset[str]
    """`HOST:PORT` as browsers may write it, in lower case."""
    origin: str | None = None
    """The site's own, where a proxy in front speaks TLS."""

    @property
    def tls(self) -> bool:
        return self.origin is not None and self.origin.startswith("https:")


def names_of(hosts: Collection[str], url: str | None = None) -> Names:
    """hosts: as browsers may write them; url: what people type, where a proxy stands in front."""
    own = set() if url is None else {urlsplit(url).netloc.lower()}
    return Names(
        hosts=frozenset({host.lower() for host in hosts} | own), origin=None if url is None else url.rstrip("/").lower()
    )


class Guard:
    """Refuses foreign hosts (DNS rebinding), foreign origins of anything that changes something, and large bodies.

    names: those in force now. A host that is an IP address needs no line: a name that somebody lets point here stands
    in the header as that name.
    """

    def __init__(self, app: ASGIApp, names: Callable[[], Names]) -> None:
        self._app, self._names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers, names = Headers(scope=scope), self._names()
        why = _refusal(scope, headers, names)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    answered[name] = value
                if names.tls:
                    answered["strict-transport-security"] = STRICT_TRANSPORT
            await send(message)

        if why is not None:
            await PlainTextResponse(why[1], why[0])(scope, receive, guarded)
            return
        await self._app(scope, receive, guarded)


def _refusal(scope: Scope, headers: Headers, names: Names) -> tuple[int, str] | None:
    given = headers.getlist("host")
    host = given[0].lower() if len(given) == 1 else ""
    anybodys = scope["path"] in ANYBODYS and "accept-language" not in headers  # which every browser sends
    if host not in names.hosts and not _is_address(host) and not anybodys:
        return 421, "This address is not one that these pages are served under; `admin.hosts` adds one."
    if scope["method"] in SAFE:
        return None
    # A token in a header is never sent by a browser of its own accord, a cookie is.
    if "authorization" not in headers and headers.get("origin", "").lower() not in (names.origin, f"http://{host}"):
        return 403, "The request does not come from a page of this site."
    length = headers.get("content-length", "0")
    if "transfer-encoding" in headers or not length.isdigit() or int(length) > BODY_BYTES_MAX:
        return 413, f"A body of at most {BODY_BYTES_MAX} bytes, its length stated, is allowed."
    return None


def _is_address(host: str) -> bool:
    name, _, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    if not name:
        name, port = port, ""
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return port == "" or port.isdigit()
