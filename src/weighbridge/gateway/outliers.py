"""Which endpoints get no requests for a while: a table of states per endpoint, and one rule over all of them.

An endpoint leaves after five failures in a row, or when half of what it answered within ten seconds failed. It rests 30
seconds, 60 the next time, up to 300; then one live request probes it. The last endpoint of a chain never leaves: a bad
answer is worth more than none. Pure: the time is handed in, in seconds of a clock that never goes back.
"""

from collections.abc import Iterable
from typing import Final, Literal

State = Literal["in", "out", "half_open"]
Event = Literal["tripped", "rested", "good", "bad"]

TABLE: Final[dict[tuple[State, Event], State]] = {
    ("in", "tripped"): "out",
    ("out", "rested"): "half_open",
    ("half_open", "good"): "in",
    ("half_open", "bad"): "out",
}
"""Every other pair changes nothing: an endpoint that is out may still finish what it had begun."""

IN_A_ROW: Final = 5
WINDOW_S: Final = 10
WINDOW_ANSWERS_MIN: Final = 10
REST_S: Final = 30.0
REST_S_MAX: Final = 300.0
FORGET_S: Final = 300.0
"""So long in service makes one earlier ejection forgotten."""


class Endpoint:
    __slots__ = ("_bad", "_good", "_second", "ejections", "in_a_row", "probing", "rests_until", "since", "state")

    def __init__(self) -> None:
        self.state: State = "in"
        self.in_a_row = 0
        self.ejections = 0
        """How often in a row it left; what it rests is this times 30 s."""
        self.since = 0.0
        """When it came into its state."""
        self.rests_until = 0.0
        self.probing = False
        """While half open: the one live request is under way."""
        self._good, self._bad = [0] * WINDOW_S, [0] * WINDOW_S
        self._second = 0

    def count(self, good: bool, now: float) -> bool:
        """One more answer. True where what is known now would make it leave."""
        second = int(now)
        for passed in range(max(self._second + 1, second - WINDOW_S + 1), second + 1):
            self._good[passed % WINDOW_S] = self._bad[passed % WINDOW_S] = 0
        self._second = max(second, self._second)
        at = self._second % WINDOW_S
        if good:
            self.in_a_row = 0
            self._good[at] += 1
            return False  # a good answer never makes it worse
        self.in_a_row += 1
        self._bad[at] += 1
        bad = sum(self._bad)
        answers = bad + sum(self._good)
        return self.in_a_row >= IN_A_ROW or (answers >= WINDOW_ANSWERS_MIN and 2 * bad >= answers)

    def on(self, event: Event, now: float) -> bool:
        """Whether that changed its state."""
        after = TABLE.get((self.state, event))
        if after is None:
            return False
        if after == "out":
            if self.state == "in":
                self.ejections = max(0, self.ejections - int((now - self.since) / FORGET_S))
            self.ejections += 1
            self.rests_until = now + min(REST_S * self.ejections, REST_S_MAX)
        elif after == "in":
            self.in_a_row = 0
            self._good, self._bad = [0] * WINDOW_S, [0] * WINDOW_S
        self.state, self.since, self.probing = after, now, False
        return True


class Outliers:
    """The endpoints of one worker. `groups`: endpoints that stand in for each other, one set per chain."""

    def __init__(self) -> None:
        self.endpoints: dict[str, Endpoint] = {}
        self._groups: dict[str, tuple[frozenset[str], ...]] = {}
        self.ejections: dict[str, int] = {}
        """How often each one left, for the metrics."""

    def watch(self, groups: Iterable[frozenset[str]]) -> None:
        """These chains hold from now on. What is known of an endpoint stays."""
        rows = tuple(set(groups))
        names = frozenset[str]().union(*rows)
        self._groups = {name: tuple(row for row in rows if name in row) for name in names}
        self.endpoints = {name: self.endpoints.get(name) or Endpoint() for name in names}
        for group in rows:
            # A chain that is new may consist of endpoints that left other chains: it gets the one that is due first.
            if all(self.endpoints[name].state != "in" for name in group):
                first = min(group, key=lambda name: (self.endpoints[name].rests_until, name))
                self.endpoints[first] = Endpoint()

    def admits(self, name: str, now: float) -> bool:
        """May the next request go there? Of an endpoint that has rested, one may, until it has an end."""
        endpoint = self.endpoints.get(name)
        if endpoint is None or endpoint.state == "in":
            return True
        if endpoint.state == "out" and now >= endpoint.rests_until:
            endpoint.on("rested", now)
        if endpoint.state == "half_open" and not endpoint.probing:
            endpoint.probing = True
            return True
        return False

    def serves(self, name: str) -> bool:
        """Whether it is in service, without taking the one request that probes it."""
        endpoint = self.endpoints.get(name)
        return endpoint is None or endpoint.state == "in"

    def note(self, name: str, good: bool | None, now: float) -> None:
        """A request there has ended; `None`: in a way that says nothing of the endpoint."""
        endpoint = self.endpoints.get(name)
        if endpoint is None:
            return
        if good is None:
            endpoint.probing = False
            return
        trips = endpoint.count(good, now)
        if endpoint.state == "half_open":
            left = endpoint.on("good" if good else "bad", now)
        else:
            left = trips and self._may_leave(name) and endpoint.on("tripped", now)
        if left and not good:
            self.ejections[name] = self.ejections.get(name, 0) + 1

    def _may_leave(self, name: str) -> bool:
        return all(
            any(self.endpoints[other].state == "in" for other in group if other != name) for group in self._groups[name]
        )
