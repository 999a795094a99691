"""Header lines that prove who we are, where they change with time or with each body: tokens and signatures.

A static key is no proof in this sense: it stands in the lane's head once and for all. What is here loads a cloud's
library only when it is made, and may wait only in `prepare`, never on the way of a request that has its proof.
"""

import asyncio
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Literal, Protocol

import msgspec

from weighbridge.upstream.dialer import Unreachable

RENEW_S = 300.0
"""A token is fetched anew so long before its end, beside running requests."""
RETRY_S = 10.0
"""After a renewal that failed while the old token still holds."""


class Proof(Protocol):
    def ready(self) -> bool:
        """Whether `lines` can answer now."""
        ...

    async def prepare(self) -> None:
        """Be ready. Raises `Unreachable` with the reason."""
        ...

    def lines(self, target: bytes, body: bytes) -> bytes:
        """Header lines for `POST target` with this body, each with its line end. Only while `ready()`."""
        ...


class ProofOf(msgspec.Struct, frozen=True):
    """Which proof; equal values share one, over all lanes and tables of a worker."""

    kind: Literal["token", "google", "aws"]
    reference: str | None = None
    """`token`: where it stands, `env:NAME` or `file:PATH`. `google`: a service account's file; `None`: its defaults."""
    host: str = ""
    region: str = ""
    """`aws`: what is signed for."""


class Token(msgspec.Struct, frozen=True):
    text: str
    until_s: float
    """Wall clock."""


class TokenProof:
    """`authorization: Bearer ...` with a token that `fetch` gets (in a thread, it may block)."""

    def __init__(self, fetch: Callable[[], Token], wall_s: Callable[[], float] = time.time) -> None:
        self._fetch, self._wall_s = fetch, wall_s
        self._line, self._until_s, self._renew_s = b"", 0.0, 0.0
        self._renewing: asyncio.Task[None] | None = None

    def ready(self) -> bool:
        return self._wall_s() < self._until_s

    async def prepare(self) -> None:
        if self.ready():
            return
        if self._renewing is None:
            self._renewing = asyncio.get_running_loop().create_task(self._renew())
        await asyncio.shield(self._renewing)  # one fetch for all who wait; who gives up does not end it for the others

    def lines(self, target: bytes, body: bytes) -> bytes:
        if self._wall_s() >= self._renew_s and self._renewing is None:
            self._renewing = asyncio.get_running_loop().create_task(self._renew())
            self._renewing.add_done_callback(_heard)
        return self._line

    async def _renew(self) -> None:
        try:
            token = await asyncio.to_thread(self._fetch)
        except (OSError, LookupError, ValueError) as error:
            self._renew_s = self._wall_s() + RETRY_S
            raise Unreachable("proof", f"no access token could be had: {error}") from None
        finally:
            self._renewing = None
        if not token.text.isascii() or not token.text.isprintable() or not token.text:
            raise Unreachable("proof", "the access token holds characters that cannot stand in a header")
        self._line = f"authorization: Bearer {token.text}\r\n".encode()
        self._until_s = token.until_s
        self._renew_s = min(token.until_s, max(self._wall_s() + 1.0, token.until_s - RENEW_S))


def _heard(task: "asyncio.Task[None]") -> None:
    if not task.cancelled():
        task.exception()  # the next request that needs it hears of it


REREAD_S = 30.0
"""A token that somebody else keeps fresh in a file is read again so often."""


def read_again(secret: Callable[[str], str], reference: str, wall_s: Callable[[], float] = time.time) -> TokenProof:
    return TokenProof(lambda: Token(secret(reference), wall_s() + REREAD_S), wall_s)


@lru_cache(maxsize=256)
def proof_of(asked: ProofOf, secret: Callable[[str], str]) -> Proof:
    """Raises `ValueError` where the library for it is not installed, or its file is of no use."""
    if asked.kind == "token":
        return read_again(secret, asked.reference or "")
    if asked.kind == "google":
        from weighbridge.upstream.google import google_proof

        return google_proof(asked.reference)
    from weighbridge.upstream.aws import AwsProof

    return AwsProof(asked.host, asked.region)
