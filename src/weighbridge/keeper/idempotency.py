"""One request per idempotency key: who carries it out, who waits, and what all of them are answered.

(nothing) --claim--> open --answered--> answered   replayed for a day
                      |  \\--released-> (nothing)   nothing was billed: the next one carries it out
                      \\--lost-------> lost        it may be billed, and its answer is gone: nobody may repeat it
"""

import asyncio
import os
from collections.abc import Callable, Iterable

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from weighbridge.store.control import (
    Answer,
    Claim,
    Claimed,
    ClaimLost,
    ClaimMismatch,
    Done,
    Replayed,
    SettleClaim,
)
from weighbridge.store.idempotency import IdempotencyTable

KEPT_NS = 25 * 3_600_000_000_000
"""A day is promised; the hour is for clocks that are set."""
OWNER_GONE_S = 15.0
"""A worker that has not been connected for so long is gone, and what it was doing is lost. It reconnects within 5 s."""
FORGET_EVERY_S = 60.0
NONCE_BYTES = 12


class Vault:
    """Answers are kept encrypted, under a key derived from the store's master key: they say what a model said."""

    def __init__(self, master: bytes) -> None:
        key = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"weighbridge idempotent answers").derive(master)
        self._cipher = AESGCM(key)

    def seal(self, answer: bytes, context: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, answer, context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Raises `InvalidTag` where it is not what was sealed, for this client key and token."""
        return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context)


class Claims:
    """Called from the keeper's loop alone. `vault` is made when the first answer is kept."""

    def __init__(
        self,
        table: IdempotencyTable,
        vault: Callable[[], Vault],
        wall_ns: Callable[[], int],
        mono_s: Callable[[], float],
    ) -> None:
        self._table, self._make_vault, self._wall_ns, self._mono_s = table, vault, wall_ns, mono_s
        self._vault: Vault | None = None
        self._changed: dict[tuple[str, str], asyncio.Event] = {}
        self._missing: dict[str, float] = {}
        """Workers that own something and are not connected, and since when."""
        self._forgotten_s = 0.0

    async def claim(self, asked: Claim) -> Answer:
        """`Claimed` for the first; all others wait until that one has an end."""
        place = asked.client_key, asked.token
        while True:
            now_ns = self._wall_ns()
            row = self._table.find(*place, now_ns)
            if row is None:
                self._table.open(*place, asked.body, asked.owner, now_ns + KEPT_NS)
                return Claimed()
            if row.body != asked.body:
                return ClaimMismatch()
            if row.state == "lost":
                return ClaimLost()
            if row.state == "answered" and row.answer is not None:
                return Replayed(answer=self._sealed().open(row.answer, _context(*place)))
            if row.owner == asked.owner:
                return Claimed()  # asked again, because our first answer did not arrive
            await self._changed.setdefault(place, asyncio.Event()).wait()

    def settle(self, said: SettleClaim) -> Done:
        place = said.client_key, said.token
        if said.end == "released":
            self._table.release(*place, said.owner)
        elif said.end == "answered":
            self._table.close(*place, said.owner, "answered", self._sealed().seal(said.answer, _context(*place)))
        else:
            self._table.close(*place, said.owner, "lost", None)
        self._wake(place)
        return Done()

    def tick(self, incarnations: Iterable[str]) -> None:
        """`incarnations`: the workers that are connected now."""
        now_s = self._mono_s()
        owners: dict[str, list[str]] = {}
        for owner in self._table.open_owners():
            owners.setdefault(owner.partition("-")[0], []).append(owner)
        missing = set(owners) - set(incarnations)
        self._missing = {name: self._missing.get(name, now_s) for name in missing}
        gone = [name for name, since in self._missing.items() if now_s - since >= OWNER_GONE_S]
        for name in gone:
            for owner in owners[name]:
                self._table.lose(owner)
        if gone:
            for place in tuple(self._changed):
                self._wake(place)
        if now_s - self._forgotten_s >= FORGET_EVERY_S:
            self._forgotten_s = now_s
            self._table.forget(self._wall_ns())

    def _wake(self, place: tuple[str, str]) -> None:
        event = self._changed.pop(place, None)
        if event is not None:
            event.set()

    def _sealed(self) -> Vault:
        if self._vault is None:
            self._vault = self._make_vault()
        return self._vault


def _context(client_key: str, token: str) -> bytes:
    return f"{client_key}\0{token}".encode()
