"""A process that takes from a shared limit. It imports little, so that several of them start at the same moment."""

import multiprocessing
import time
from pathlib import Path

from weighbridge.gateway.rates import RateBook, SharedMoments

START = 10**15


def take_many(path: Path, start: float, count: int, found: "multiprocessing.Queue[int]") -> None:
    rate = RateBook(SharedMoments(path)).rate("app", 500, None)
    assert rate is not None
    while time.monotonic() < start:
        pass
    found.put(sum(rate.take(0, START) is None for _ in range(count)))
