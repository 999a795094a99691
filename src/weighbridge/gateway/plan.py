"""What follows a failed attempt, while the client has no byte of an answer: a table, and the budget of all retries.

Pure: `next_step` decides, `gateway.attempts` acts.
"""

from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple

Failure = Literal["full", "connect", "limited", "error", "refused_us", "ambiguous", "escalated"]


class Rule(NamedTuple):
    """What may be done about one kind of failure."""

    policy: str | None
    """The word of `retry_on` that allows it, or `ambiguous` (`retry_ambiguous`); `None`: always allowed."""
    same_lane: bool
    """Asking the very same lane again can help."""
    same_endpoint: bool
    """Another lane at the same endpoint can help."""
    sent: bool
    """The provider has seen the request: the next attempt is a retry, which the budget counts."""


RULES: Final[dict[Failure, Rule]] = {
    # No place at the endpoint (its concurrency limit, all connections in use): nothing was tried.
    "full": Rule(None, same_lane=False, same_endpoint=False, sent=False),
    # No connection: nothing was sent, nothing can be billed.
    "connect": Rule("connect", same_lane=True, same_endpoint=False, sent=True),
    "limited": Rule("429", same_lane=True, same_endpoint=True, sent=True),
    "error": Rule("5xx", same_lane=True, same_endpoint=True, sent=True),
    # A redirect, or our own key refused: a matter of that endpoint's configuration.
    "refused_us": Rule("5xx", same_lane=False, same_endpoint=False, sent=True),
    # Sent, and no whole answer: it may have been carried out and billed.
    "ambiguous": Rule("ambiguous", same_lane=True, same_endpoint=True, sent=True),
    # A whole answer that fails the checks of its arm. It is no failure of the endpoint, and no retry.
    "escalated": Rule(None, same_lane=False, same_endpoint=True, sent=False),
}

BACKOFF_S: Final = 0.1
"""Before the same lane is asked again without being told when: this much, doubled each time, times 0.5 to 1.5."""


class Plan(NamedTuple):
    """What a route says about other attempts, for one lane."""

    retries_max: int
    policies: frozenset[str]
    wait_s_max: float


class Step(NamedTuple):
    """Ask the lane at this place of the chain, so many seconds from now."""

    place: int
    wait_s: float


def next_step(
    plan: Plan,
    *,
    endpoints: Sequence[str],
    at: int,
    asked: int,
    failure: Failure,
    retry_after_s: float | None,
    jitter: float,
    usable: Callable[[int], bool],
) -> Step | None:
    """The next attempt of a request, or `None` where its failure is the answer.

    `endpoints` are those of the chain (the chosen lane, then its fallbacks), `at` the place that failed, `asked` how
    many other attempts there were already. The next lanes of the chain come first, beginning anew at its end; then
    the same lane. `jitter` in [0, 1) spreads what failed together.
    """
    rule = RULES[failure]
    if (rule.sent and asked >= plan.retries_max) or not (rule.policy is None or rule.policy in plan.policies):
        return None
    count = len(endpoints)
    for offset in range(1, count):
        place = (at + offset) % count
        if (rule.same_endpoint or endpoints[place] != endpoints[at]) and usable(place):
            return Step(place, 0.0)
    if not rule.same_lane or not usable(at):
        return None
    wait_s = BACKOFF_S * 2**asked * (0.5 + jitter) if retry_after_s is None else retry_after_s
    if failure == "connect" and asked == 0:
        wait_s = 0.0  # a connection that was refused or reset once is often there the next moment
    return Step(at, wait_s) if wait_s <= plan.wait_s_max else None


class RetryBudget:
    """How many retries all requests of a worker may have: a fifth of the requests of the last ten seconds, or three.

    Of 100 % failures it makes at most 1.2 times the attempts, however long each request would go on by itself. Counted
    in ten buckets of a second: what leaves the window takes its requests and its retries along.
    """

    __slots__ = ("_at", "_before", "_requests", "_retries", "refused", "requests", "taken")

    SHARE: Final = 5
    """One retry for so many requests."""
    FLOOR: Final = 3
    BUCKETS: Final = 10

    def __init__(self) -> None:
        self._requests, self._retries = [0] * self.BUCKETS, [0] * self.BUCKETS
        self._at = self._before = 0
        self.requests = 0
        """That may be retried, all that ever came: counted up by whoever lets one in, without a call."""
        self.taken = self.refused = 0

    def take(self) -> bool:
        self._requests[self._at] = self.requests - self._before
        if sum(self._retries) >= max(self.FLOOR, sum(self._requests) // self.SHARE):
            self.refused += 1
            return False
        self._retries[self._at] += 1
        self.taken += 1
        return True

    def second(self) -> None:
        """A second has passed."""
        self._requests[self._at], self._before = self.requests - self._before, self.requests
        self._at = (self._at + 1) % self.BUCKETS
        self._requests[self._at] = self._retries[self._at] = 0
