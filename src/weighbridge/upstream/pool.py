"""Idle connections of one endpoint."""

from collections import deque
from typing import Generic, Protocol, TypeVar


class Pooled(Protocol):
    def abort(self) -> None: ...


C = TypeVar("C", bound=Pooled)


class Pool(Generic[C]):
    """Newest first, so that the old ones grow idle and are closed. Counts what is open, idle or not."""

    __slots__ = ("dialing", "idle", "limit", "open", "opened", "since")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.idle: deque[C] = deque()
        self.since: deque[int] = deque()
        """When each idle connection became idle, in the caller's ticks."""
        self.dialing = 0
        self.open = 0
        self.opened = 0

    def put(self, connection: C, tick: int) -> None:
        self.idle.append(connection)
        self.since.append(tick)

    def take(self) -> C | None:
        if not self.idle:
            return None
        self.since.pop()
        return self.idle.pop()

    def forget(self, connection: C) -> None:
        """It was closed while idle."""
        try:
            at = self.idle.index(connection)
        except ValueError:
            return
        del self.idle[at], self.since[at]

    def expire(self, before: int) -> None:
        """Close what has been idle since before this tick."""
        while self.since and self.since[0] < before:
            self.since.popleft()
            self.idle.popleft().abort()

    def close(self) -> None:
        while self.idle:
            self.since.pop()
            self.idle.pop().abort()
