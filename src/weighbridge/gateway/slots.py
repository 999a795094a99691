"""How many attempts may be open at one endpoint from this worker, and who waits for a place."""

from collections import deque
from typing import Generic, Literal, Protocol, TypeVar


class Waiter(Protocol):
    done: bool
    """It has ended while it waited: its place goes to the next."""

    def place_given(self) -> None: ...
    def waited_too_long(self) -> None: ...


W = TypeVar("W", bound=Waiter)

Entry = Literal["in", "waits", "full"]


def share_of(limit: int, workers: int, index: int) -> int:
    """This worker's part of a limit over all workers: the parts sum to it exactly, where it is not below `workers`."""
    return max(1, limit // workers + (index < limit % workers))


class Slots(Generic[W]):
    """At most `limit` are in; at most `queue_max` wait, first come first served, each at most `wait_ticks`."""

    __slots__ = ("limit", "queue_max", "refused", "taken", "wait_ticks", "waited", "waiting")

    def __init__(self, limit: int, queue_max: int, wait_ticks: int) -> None:
        self.limit, self.queue_max, self.wait_ticks = limit, queue_max, wait_ticks
        self.taken = 0
        self.waiting: deque[tuple[W, int]] = deque()
        self.waited = self.refused = 0

    def enter(self, waiter: W, tick: int) -> Entry:
        """`in` takes a place, which its owner gives back with `leave`. `waits` calls one of the waiter's methods."""
        if self.taken < self.limit:
            self.taken += 1
            return "in"
        while self.waiting and self.waiting[0][0].done:
            self.waiting.popleft()
        if len(self.waiting) >= self.queue_max:
            self.refused += 1
            return "full"
        self.waited += 1
        self.waiting.append((waiter, tick + self.wait_ticks))
        return "waits"

    def leave(self) -> None:
        self.taken -= 1
        self._give()

    def _give(self) -> None:
        while self.waiting and self.taken < self.limit:
            waiter, _ = self.waiting.popleft()
            if not waiter.done:
                self.taken += 1
                waiter.place_given()

    def expire(self, tick: int) -> None:
        """Whoever has waited for too long is told; the longest wait stands first."""
        while self.waiting and (self.waiting[0][1] <= tick or self.waiting[0][0].done):
            waiter, _ = self.waiting.popleft()
            if not waiter.done:
                self.refused += 1
                waiter.waited_too_long()

    def resize(self, limit: int, queue_max: int, wait_ticks: int) -> None:
        """Another table has other limits. Who is in stays in."""
        self.limit, self.queue_max, self.wait_ticks = limit, queue_max, wait_ticks
        self._give()
