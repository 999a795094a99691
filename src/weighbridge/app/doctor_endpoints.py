"""What `doctor` says of endpoints: the call that will be made there, and whether the host answers and lets us in."""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial

from weighbridge.app.check import Check
from weighbridge.config import Loaded, secret
from weighbridge.config.proxies import proxy_for
from weighbridge.config.tree import EndpointSection
from weighbridge.gateway.called import Call, called, signing_region, wire_dialect
from weighbridge.gateway.lane import ANTHROPIC_VERSION
from weighbridge.records.table import Endpoint, RouteTable
from weighbridge.upstream import BaseUrl, Broken, Client, Proxy, TlsFiles, Unreachable
from weighbridge.wire.dialects import PATHS

REACH_S_MAX = 10.0

_APIS = {"openai": "chat completions", "openai-responses": "responses", "anthropic": "messages"}
_CLOUDS = {"azure": "Azure", "bedrock": "Bedrock", "vertex": "Vertex"}
_NO_MODELS = ("bedrock", "vertex")
"""Hosts whose list of models is another service."""


def calls(loaded: Loaded, table: RouteTable) -> Iterator[Check]:
    """Of each endpoint: API, URL and authentication of what a request becomes there."""
    for endpoint in table.endpoints:
        name = f"call {endpoint.name}"
        model = next((arm.model for arm in table.arms if arm.endpoint == endpoint.name), "MODEL")
        try:
            says = described(endpoint, model, partial(_given, loaded))
        except LookupError as error:
            step = "set it before `serve`, or requests get 503"
            yield Check(name=name, status="fail", says=str(error.args[0]), next_step=step)
        except ValueError as error:
            yield Check(name=name, status="fail", says=str(error), next_step="mend that, or requests get 503")
        else:
            yield Check(name=name, status="ok", says=says)


def _given(loaded: Loaded, reference: str) -> str:
    return secret(reference, loaded.folder)


def described(endpoint: Endpoint, model: str, given: Callable[[str], str]) -> str:
    """One line without any secret. Raises `LookupError` for one that is missing, `ValueError` for what cannot be used,
    e.g. an extra that is not installed."""
    base = BaseUrl.parse(endpoint.base_url)
    spoken = wire_dialect(endpoint)
    target = called(endpoint, base, model, given).target(PATHS[spoken])
    at = f" as {_CLOUDS[endpoint.dialect]} has it" if endpoint.dialect in _CLOUDS else ""
    scheme = endpoint.base_url.partition("://")[0]
    return f"{_APIS[spoken]}{at}: POST {scheme}://{base.authority}{target}; {_authentication(endpoint, base)}"


def _authentication(endpoint: Endpoint, base: BaseUrl) -> str:
    key, token = endpoint.api_key, endpoint.token
    if key is not None:
        header = {"azure": "api-key", "anthropic": "x-api-key"}.get(endpoint.dialect, "authorization: Bearer")
        return f"{header} from {key}"
    if token is not None:
        return f"authorization: Bearer from {token}, read again and again"
    if endpoint.dialect == "bedrock":
        return f"signed for {signing_region(endpoint, base)} with the credentials that AWS tools find"
    if endpoint.dialect == "vertex":
        of = "Google's default credentials" if endpoint.credentials is None else endpoint.credentials
        return f"authorization: Bearer with an access token of {of}"
    return "no key is sent"


async def reached(loaded: Loaded, table: RouteTable | None, reach: bool) -> list[Check]:
    """Whether each host answers and takes what we show it. `reach=False` asks nobody."""
    made = {} if table is None else {row.name: row for row in table.endpoints}
    rows = loaded.config.endpoint
    return list(await asyncio.gather(*(_reached(loaded, row, made.get(row.name), reach) for row in rows)))


async def _reached(loaded: Loaded, row: EndpointSection, endpoint: Endpoint | None, reach: bool) -> Check:
    name = f"endpoint {row.name}"
    try:
        call = None if endpoint is None else called(endpoint, BaseUrl.parse(row.base_url), "", partial(_given, loaded))
        if row.api_key is not None:
            secret(row.api_key, loaded.folder)
    except LookupError as error:
        step = "set it before `serve`, or requests get 503"
        return Check(name=name, status="fail", says=str(error.args[0]), next_step=step)
    except ValueError as error:
        return Check(name=name, status="fail", says=str(error), next_step="mend that, or requests get 503")
    if not reach:
        return Check(name=name, status="ok", says="its key is there; not asked")
    ca_file, cert, key = (
        None if path is None else str(loaded.path(path)) for path in (row.ca_file, row.client_cert, row.client_key)
    )
    try:
        named = proxy_for(row.base_url)
        proxy = None if named is None else Proxy.parse(named)
        if call is not None and call.proof is not None:
            await asyncio.wait_for(call.proof.prepare(), REACH_S_MAX)
        async with Client(row.base_url, tls=TlsFiles(ca_file, cert, key), proxy=proxy) as client:
            reply = await client.get(_models_path(row), _headers(row, call), REACH_S_MAX)
    except TimeoutError:
        return _unreachable(name, row, f"no answer within {REACH_S_MAX:.0f} s")
    except (Unreachable, Broken, OSError, ValueError) as error:
        return _unreachable(name, row, str(error))
    through = "" if proxy is None else f" through the proxy {proxy!r}"
    if row.dialect in _NO_MODELS or call is None:
        had = "its credentials could be had, and" if call is not None and call.proof is not None else "its credentials"
        return Check(
            name=name, status="ok", says=f"{row.base_url} answers{through}; {had} are tried with a request only"
        )
    if reply.status in (401, 403):
        return Check(
            name=name,
            status="fail",
            says=f"answers {reply.status} to GET /models: the key is not accepted",
            next_step=f"check {row.api_key or row.token or 'api_key, which is not set'}",
        )
    if reply.status >= 500:
        return Check(
            name=name, status="warn", says=f"answers {reply.status} to GET /models", next_step="ask its operator"
        )
    note = "" if reply.status == 200 else f" (GET /models answers {reply.status}; not every server has it)"
    return Check(name=name, status="ok", says=f"{row.base_url} answers{through}{note}")


def _models_path(row: EndpointSection) -> str:
    """Where the host lists its models; asking costs nothing and takes a key."""
    if row.dialect != "azure":
        return "/models"
    return "/openai/v1/models" if row.api_version is None else f"/openai/models?api-version={row.api_version}"


def _headers(row: EndpointSection, call: Call | None) -> list[tuple[bytes, bytes]]:
    """Those of a request: nothing is asked for that a request would not show."""
    headers: list[tuple[bytes, bytes]] = [(b"accept", b"application/json")]
    if row.dialect in _NO_MODELS or call is None:
        return headers
    lines = call.headers.encode()
    if call.proof is not None:
        lines += call.proof.lines(b"", b"")
    for line in lines.splitlines():
        header, _, value = line.partition(b":")
        headers.append((header, value.strip()))
    if row.dialect == "anthropic":
        headers.append((b"anthropic-version", ANTHROPIC_VERSION))
    return headers


def _unreachable(name: str, row: EndpointSection, why: str) -> Check:
    return Check(name=name, status="fail", says=f"{row.base_url}: {why}", next_step="is the server up, the URL right?")
