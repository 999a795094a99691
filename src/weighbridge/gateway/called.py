"""How an endpoint is called: path, headers, proof. Pure but for the secrets that it is handed.

| dialect | path below the base URL | authentication |
|---|---|---|
| openai | /chat/completions | `authorization: Bearer` |
| openai-responses | /responses | the same |
| anthropic | /messages | `x-api-key` |
| azure, dated | /openai/deployments/MODEL/chat/completions?api-version=... | `api-key`, or a token of Entra ID |
| azure, v1 | /openai/v1/chat/completions, .../responses, /anthropic/v1/messages | the same |
| bedrock | the same paths | a Bedrock API key, or AWS Signature Version 4 |
| vertex | /endpoints/openapi/chat/completions | an access token of Google Cloud |
| vertex, Claude | /publishers/anthropic/models/MODEL:rawPredict, :streamRawPredict | the same |
"""

import re
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import quote

import msgspec

from weighbridge.records.table import Endpoint
from weighbridge.upstream import BaseUrl, Proof, Proxy, TlsFiles
from weighbridge.upstream.proof import ProofOf, proof_of
from weighbridge.wire.conversation import Dialect as Spoken

_AWS_REGION = re.compile(r"[a-z]{2}(?:-[a-z]+)+-\d")


class Call(msgspec.Struct, frozen=True):
    before: str
    """The path up to `/chat/completions`, or whatever else is called there."""
    headers: str
    """Static lines, each with its end."""
    proof: Proof | None = None
    query: str = ""
    paths: Mapping[str, str] | None = None
    """Of a host that has no more than these, each under a path of its own."""

    def target(self, tail: str) -> str:
        """Path and query of what stands below the base URL, e.g. `/chat/completions`."""
        if self.paths is not None:
            return self.before + self.paths[tail]
        if not self.query:
            return self.before + tail
        return f"{self.before}{tail}{'&' if '?' in tail else '?'}{self.query}"


class Target(msgspec.Struct, frozen=True):
    """What makes two endpoints share connections."""

    base: BaseUrl
    address_is_own: bool
    tls: TlsFiles
    proxy: Proxy | None
    connections_max: int
    connect_s_max: float


def wire_dialect(endpoint: Endpoint) -> Spoken:
    """What bodies are written in for an endpoint: at cloud hosts that of which API there it is."""
    dialect = endpoint.dialect
    if dialect in ("azure", "bedrock", "vertex"):
        return endpoint.speaks
    return dialect if dialect in ("openai-responses", "anthropic") else "openai"


STREAMED: Final = "/messages:stream"
"""A stream of messages, where it has a path of its own."""

_API: dict[Spoken, str] = {"openai": "/openai/v1", "openai-responses": "/openai/v1", "anthropic": "/anthropic/v1"}
"""Where each API begins at Azure and Bedrock."""


def called(endpoint: Endpoint, base: BaseUrl, model: str, secret: Callable[[str], str]) -> Call:
    """Raises `LookupError` for a secret that is missing, `ValueError` for what cannot be used."""
    key = None if endpoint.api_key is None else _header_value(endpoint.api_key, secret)
    bearer = "" if key is None else f"authorization: Bearer {key}\r\n"
    match endpoint.dialect:
        case "azure":
            return _azure(endpoint, base, model, key, secret)
        case "bedrock":
            proof = None
            if key is None:
                host = base.authority
                proof = proof_of(ProofOf("aws", host=host, region=signing_region(endpoint, base)), secret)
            return Call(f"{base.prefix}{_API[endpoint.speaks]}", bearer, proof)
        case "vertex":
            kept = endpoint.token
            asked = ProofOf("google", endpoint.credentials) if kept is None else ProofOf("token", kept)
            proof = proof_of(asked, secret)
            if endpoint.speaks == "anthropic":
                return Call(f"{base.prefix}/publishers/anthropic/models", "", proof, paths=_claude_at_vertex(model))
            return Call(f"{base.prefix}/endpoints/openapi", "", proof)
        case "anthropic":
            return Call(base.prefix, "" if key is None else f"x-api-key: {key}\r\n")
        case _:
            return Call(base.prefix, bearer)


def _claude_at_vertex(model: str) -> dict[str, str]:
    """The model stands in the path, and so does whether it streams."""
    named = quote(model, safe="@")
    return {
        "/messages": f"/{named}:rawPredict",
        STREAMED: f"/{named}:streamRawPredict",
        "/messages/count_tokens": "/count-tokens:rawPredict",
    }


def _azure(endpoint: Endpoint, base: BaseUrl, model: str, key: str | None, secret: Callable[[str], str]) -> Call:
    if endpoint.api_version is None:
        before, query = f"{base.prefix}{_API[endpoint.speaks]}", ""
    else:
        query = f"api-version={quote(endpoint.api_version, safe='')}"
        before = f"{base.prefix}/openai/deployments/{quote(model, safe='')}"
    if key is not None:
        return Call(before, f"api-key: {key}\r\n", None, query)
    if endpoint.token is None:
        return Call(before, "", None, query)
    return Call(before, "", proof_of(ProofOf("token", endpoint.token), secret), query)


def signing_region(endpoint: Endpoint, base: BaseUrl) -> str:
    """The region that is stated, else that in the host's name. Raises `ValueError`."""
    if endpoint.signing_region is not None:
        return endpoint.signing_region
    found = next((part for part in base.host.split(".") if _AWS_REGION.fullmatch(part)), None)
    if found is None:
        raise ValueError(f"the host {base.host!r} names no AWS region to sign for; set signing_region")
    return found


def _header_value(reference: str, secret: Callable[[str], str]) -> str:
    value = secret(reference)
    if not value.isascii() or not value.isprintable():
        raise ValueError(f"the secret {reference} holds characters that cannot stand in a header")
    return value
