"""How often somebody may try to sign in."""

from weighbridge.clock import Clock

FREE_TRIES = 5
WAIT_S_MAX = 60.0
FORGOTTEN_S = 15 * 60.0
SOURCE_TRIES = 30
"""Of one address within a minute, whatever names it tries."""
SOURCE_S = 60.0
REMEMBERED_MAX = 10_000


class Throttle:
    """Failed tries by name and by address. Each try counts as failed until it is cleared.

    After five a name waits 1, 2, 4, ... 60 seconds between tries, so that guessing stays hopeless and nobody is locked
    out for longer than a minute. It is in memory: a keeper that starts again has forgotten it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._names: dict[str, tuple[int, float]] = {}
        """Name -> (tries in a row, when the last one was)."""
        self._sources: dict[str, list[float]] = {}

    def count(self, name: str, source: str) -> float:
        """Count a try. Above 0: it may not be made yet, is not counted, and may be in so many seconds."""
        now_s = self._clock.mono_ns() / 1e9
        recent = [at for at in self._sources.get(source, ()) if now_s - at < SOURCE_S]
        tries, last_s = self._names.get(name, (0, now_s))
        if now_s - last_s > FORGOTTEN_S:
            tries = 0
        wait_s = 0.0 if tries < FREE_TRIES else last_s + min(WAIT_S_MAX, 2.0 ** (tries - FREE_TRIES)) - now_s
        if len(recent) >= SOURCE_TRIES:
            wait_s = max(wait_s, recent[0] + SOURCE_S - now_s)
        if wait_s > 0:
            return wait_s
        # Pushed to the end, so that what is forgotten first under a flood of names is what is oldest.
        self._names.pop(name, None)
        self._sources.pop(source, None)
        self._names[name] = (min(tries + 1, 64), now_s)
        self._sources[source] = [*recent, now_s]
        for remembered in (self._names, self._sources):
            while len(remembered) > REMEMBERED_MAX:
                remembered.pop(next(iter(remembered)))
        return 0.0

    def clear(self, name: str, source: str) -> None:
        """It was them."""
        self._names.pop(name, None)
        self._sources.get(source, [0.0]).pop()
