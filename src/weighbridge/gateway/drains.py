"""Answers that are read to their end though their client left, because the provider bills all of them."""

from typing import TYPE_CHECKING

from weighbridge.gateway.meter import Sample

if TYPE_CHECKING:
    from weighbridge.gateway.exchange import Exchange


class Drains:
    """At most so many at once, each at most so long; what is over is cancelled and booked at its upper bound."""

    __slots__ = ("_begun", "_open", "_refused", "_too_long", "at_once_max", "tick", "ticks_max")

    def __init__(self) -> None:
        self._open: dict[Exchange, tuple[int, int]] = {}
        """Since which tick, and the status that the client had got."""
        self.at_once_max = self.ticks_max = self.tick = 0
        self._begun = self._refused = self._too_long = 0

    def __len__(self) -> int:
        return len(self._open)

    def begin(self, exchange: "Exchange", status: int) -> bool:
        if len(self._open) >= self.at_once_max:
            self._refused += 1
            return False
        self._begun += 1
        self._open[exchange] = self.tick, status
        return True

    def end(self, exchange: "Exchange") -> int | None:
        """The status that its client had got; `None` where it was not read for nobody."""
        since = self._open.pop(exchange, None)
        return None if since is None else since[1]

    def sweep(self, tick: int) -> None:
        """Cancel what has been read for too long; the oldest stand first."""
        self.tick = tick
        for exchange in [row for row, (since, _) in self._open.items() if tick - since > self.ticks_max]:
            self._too_long += 1
            exchange.cancel()

    def samples(self) -> list[Sample]:
        return [
            ("weighbridge_drains_open", {}, len(self._open)),
            ("weighbridge_drains_total", {}, self._begun),
            ("weighbridge_drains_cancelled_total", {"why": "too_many"}, self._refused),
            ("weighbridge_drains_cancelled_total", {"why": "too_long"}, self._too_long),
        ]
