"""How an endpoint is called: path, headers, proof. Pure but for the secrets that it is handed.

| dialect | path below the base URL | authentication |
|---|---|---|
| openai | /chat/completions | `authorization: Bearer` |
| azure, dated | /openai/deployments/MODEL/chat/completions?api-version=... | `api-key`, or a token of Entra ID |
| azure, v1 | /openai/v1/chat/completions | the same |
| bedrock | /openai/v1/chat/completions | a Bedrock API key, or AWS Signature Version 4 |
| vertex | /endpoints/openapi/chat/completions | an access token of Google Cloud |
"""

import re
from collections.abc import Callable
from urllib.parse import quote

import msgspec

from weighbridge.records.table import Endpoint
from weighbridge.upstream import BaseUrl, Proof
from weighbridge.upstream.proof import ProofOf, proof_of
from weighbridge.wire import openai

_AWS_REGION = re.compile(r"[a-z]{2}(?:-[a-z]+)+-\d")


class Call(msgspec.Struct, frozen=True):
    target: str
    """Path and query."""
    headers: str
    """Static lines, each with its end."""
    proof: Proof | None = None


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
            return Call(f"{base.prefix}/openai/v1{openai.PATH}", bearer, proof)
        case "vertex":
            kept = endpoint.token
            asked = ProofOf("google", endpoint.credentials) if kept is None else ProofOf("token", kept)
            return Call(f"{base.prefix}/endpoints/openapi{openai.PATH}", "", proof_of(asked, secret))
        case _:
            return Call(f"{base.prefix}{openai.PATH}", bearer)


def _azure(endpoint: Endpoint, base: BaseUrl, model: str, key: str | None, secret: Callable[[str], str]) -> Call:
    if endpoint.api_version is None:
        target = f"{base.prefix}/openai/v1{openai.PATH}"
    else:
        version = quote(endpoint.api_version, safe="")
        target = f"{base.prefix}/openai/deployments/{quote(model, safe='')}{openai.PATH}?api-version={version}"
    if key is not None:
        return Call(target, f"api-key: {key}\r\n")
    if endpoint.token is None:
        return Call(target, "")
    return Call(target, "", proof_of(ProofOf("token", endpoint.token), secret))


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
