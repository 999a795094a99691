"""A large body that goes on to the provider while it comes in: of it, two transports' buffers are in memory.

    client --feed--> Upload --write--> provider
    the provider takes nothing more: the client is not read; nobody is connected yet: the same

Only calls that pass unread (`gateway.passed`) and say how long they are. Of a body that has begun to go out nothing is
kept, so there is no second attempt.
"""

import asyncio
from typing import Final

UPLOAD_FROM_BYTES: Final = 1 << 20
"""Smaller bodies are collected: then another attempt can be made where there was no connection."""


class Upload:
    __slots__ = ("_early", "_from", "_held_back", "_to", "left", "over", "size")

    def __init__(self, client: asyncio.Transport, size: int) -> None:
        self._from = client
        self._to: asyncio.Transport | None = None
        self._early: list[bytes] = []
        """Came before there was a connection to the provider."""
        self._held_back = False
        self.size = self.left = size
        """All of it, and what has not come in yet. Bytes."""
        self.over = False

    @property
    def begun(self) -> bool:
        """Whether a byte of it may have left for a provider."""
        return self._to is not None

    @property
    def waits_for_client(self) -> bool:
        return bool(self.left) and not self._held_back

    def feed(self, pieces: list[bytes]) -> None:
        """From the client, in order. Never more than `left`: HTTP's length says where it ends."""
        self.left -= sum(map(len, pieces))
        if self.over:
            return
        if self._to is not None:
            if not self._to.is_closing():
                self._to.writelines(pieces)
        else:
            self._early += pieces
            self.full()

    def send_to(self, provider: asyncio.Transport) -> None:
        """The head is on its way there; the body follows."""
        early, self._early, self._to = self._early, [], provider
        self.ready()
        if early:
            provider.writelines(early)

    def full(self) -> None:
        """The provider takes nothing more for now."""
        if not self._held_back and not self._from.is_closing():
            self._held_back = True
            self._from.pause_reading()

    def ready(self) -> None:
        """It takes more."""
        if self._held_back:
            self._held_back = False
            if not self._from.is_closing():
                self._from.resume_reading()

    def end(self) -> None:
        """The request is over. What has not come in goes nowhere, and a connection that waits for it is closed."""
        if self.over:
            return
        self.over = True
        self._early.clear()
        self.ready()
        if self.left and self._to is not None:
            self._to.abort()
