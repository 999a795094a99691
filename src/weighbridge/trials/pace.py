"""How many replays at once: up while all is well, halved when the host says "not so fast"."""

from collections.abc import Callable
from time import monotonic

START = 4


class Pace:
    """Additive increase, multiplicative decrease between 1 and `most`."""

    def __init__(self, most: int, clock: Callable[[], float] = monotonic) -> None:
        if most < 1:
            raise ValueError(f"concurrency is {most}: allowed is 1 or more")
        self._most, self._clock = most, clock
        self._limit = float(min(START, most))
        self._quiet_until = self._cut_at = clock()

    @property
    def limit(self) -> int:
        return int(self._limit)

    @property
    def pause_s(self) -> float:
        """How long nothing new should be sent."""
        return max(0.0, self._quiet_until - self._clock())

    def went_well(self) -> None:
        self._limit = min(float(self._most), self._limit + 1.0 / self._limit)

    def throttled(self, after_s: float | None) -> None:
        """The host asked for less. Replies of one burst count once."""
        now = self._clock()
        if now >= self._cut_at:
            self._limit = max(1.0, self._limit / 2.0)
            self._cut_at = now + 1.0
        if after_s is not None:
            self._quiet_until = max(self._quiet_until, now + after_s)
