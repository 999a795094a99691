"""Access tokens for Google Cloud through google-auth: service account, workload identity, metadata server."""

import datetime
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from weighbridge.upstream.proof import Token, TokenProof

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
FETCH_S_MAX = 10.0


class _Answer:
    """What google-auth expects of a transport's response."""

    def __init__(self, status: int, headers: Mapping[str, str], data: bytes) -> None:
        self.status, self.headers, self.data = status, headers, data


def _send(
    url: str,
    method: str = "GET",
    body: bytes | str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float | None = None,
    **_: Any,  # google-auth hands further arguments to transports that know them
) -> _Answer:
    """A transport over the standard library: google-auth brings none that works without further packages.

    It asks addresses of Google's library, never one of the configuration.
    """
    data = body.encode() if isinstance(body, str) else body
    request = urllib.request.Request(url, data=data, headers=dict(headers or {}), method=method)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=timeout or FETCH_S_MAX) as answer:  # noqa: S310
            return _Answer(answer.status, dict(answer.headers), answer.read())
    except urllib.error.HTTPError as error:
        return _Answer(error.code, dict(error.headers), error.read())
    except OSError as error:
        from google.auth.exceptions import TransportError

        raise TransportError(f"{urlsplit(url).hostname} does not answer: {error}") from None  # type: ignore[no-untyped-call]


def google_proof(file: str | None) -> TokenProof:
    """Raises `ValueError` without the extra, or for a file that is no credential."""
    try:
        import google.auth as google_auth
        from google.auth.exceptions import GoogleAuthError
        from google.oauth2 import service_account
    except ImportError:
        raise ValueError("dialect 'vertex' needs the extra [gcp]: pip install 'weighbridge[gcp]'") from None
    auth: Any = google_auth
    account: Any = service_account  # its annotations know only transports of its own
    known: list[Any] = []

    def fetch() -> Token:
        try:
            if not known:
                if file is None:
                    known.append(auth.default(scopes=[SCOPE], request=_send)[0])
                else:
                    known.append(account.Credentials.from_service_account_file(file, scopes=[SCOPE]))
            credentials = known[0]
            credentials.refresh(_send)
        except GoogleAuthError as error:
            raise ValueError(str(error.args[0] if error.args else error)) from None
        until = credentials.expiry
        until = datetime.datetime.now(datetime.UTC) if until is None else until.replace(tzinfo=datetime.UTC)
        return Token(str(credentials.token), until.timestamp())

    return TokenProof(fetch)
