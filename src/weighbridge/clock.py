"""The one door to time: wall clock for what people read, monotonic clock for what waits."""

import time
from typing import Protocol


class Clock(Protocol):
    def wall_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC. May jump; never use it to measure a duration."""
        ...

    def mono_ns(self) -> int:
        """Nanoseconds on a clock that never goes back. Only differences mean anything."""
        ...


class SystemClock:
    def wall_ns(self) -> int:
        return time.time_ns()

    def mono_ns(self) -> int:
        return time.perf_counter_ns()


class JumpingClock:
    """A clock for tests: it stands still until told to move, and the wall may jump without the monotonic clock."""

    def __init__(self, wall_ns: int = 1_764_000_000_000_000_000) -> None:
        self._wall_ns, self._mono_ns = wall_ns, 0

    def wall_ns(self) -> int:
        return self._wall_ns

    def mono_ns(self) -> int:
        return self._mono_ns

    def advance(self, seconds: float) -> None:
        self._wall_ns += round(seconds * 1e9)
        self._mono_ns += round(seconds * 1e9)

    def jump_wall(self, seconds: float) -> None:
        self._wall_ns += round(seconds * 1e9)
