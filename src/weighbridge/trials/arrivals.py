"""Replaying requests as they came, so that the candidate's cache sees what it would see in service (`--keep-order`).

A prompt cache serves a prefix that it saw a short while ago. Replays in the shuffled order of the tests therefore find
it emptier (the turns of a conversation lie apart) or fuller (they come at once) than users would. Here every planned
item is sent in the order of the log: no turn of a conversation before the answer to the one before, and never sooner
after the last request than users sent it, up to a limit. What a gap above the limit would have let go cold stays warm:
the limit is therefore recorded beside the figure.

The tests still take their pairs in the planned, shuffled order, so verdicts mean what they always do. What it costs is
the early stop: all that is planned is sent.
"""

from collections.abc import Callable, Iterable, Mapping
from time import monotonic

from weighbridge.records.evidence import CacheReads
from weighbridge.records.exchange import Exchange
from weighbridge.trials.frame import Item
from weighbridge.trials.plan import TrialPlan


class Arrivals:
    """Which item may be sent next, and when. `gap_max_s`: longer gaps are cut to it."""

    def __init__(self, items: Iterable[Item], gap_max_s: float, clock: Callable[[], float] = monotonic) -> None:
        self._line = sorted(items, key=lambda item: (item.time_ns, item.id))
        self._gap_max_s, self._clock = gap_max_s, clock
        self._at = 0
        self._last: tuple[int, float] | None = None
        """(when the last one sent came, when it was sent)."""

    @property
    def next(self) -> Item | None:
        """The first one in line; `None` when all were sent."""
        return self._line[self._at] if self._at < len(self._line) else None

    def free(self, flying: Iterable[Item]) -> bool:
        """Is the turn before the next one answered?"""
        one = self.next
        return one is not None and all(other.cluster != one.cluster for other in flying)

    @property
    def wait_s(self) -> float:
        """How long until the next one is due: its own gap after the one before was sent."""
        one = self.next
        if one is None or self._last is None:
            return 0.0
        came_ns, sent_at = self._last
        gap = min((one.time_ns - came_ns) / 1e9, self._gap_max_s)
        return max(0.0, sent_at + gap - self._clock())

    def sent(self) -> None:
        """The next one is on its way."""
        self._last = self._line[self._at].time_ns, self._clock()
        self._at += 1

    def skip(self) -> None:
        """The next one needs no call; it leaves no trace in a cache either."""
        self._at += 1


def cache_reads(plan: TrialPlan, replays: Mapping[str, Exchange]) -> CacheReads | None:
    """What the candidate's cache served; `None` where the replays did not come as the traffic did, or told nothing."""
    gap = plan.settings.gap_max_s
    told = [
        one.usage
        for one in replays.values()
        if one.purpose == "trial" and one.trial == plan.trial and one.outcome == "ok" and one.usage is not None
    ]
    if gap is None or not told:
        return None
    return CacheReads(
        gap_max_s=gap,
        replays=len(told),
        input_tokens=sum(usage.input_total for usage in told),
        read_tokens=sum(usage.cache_read for usage in told),
    )
