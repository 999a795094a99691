"""One stage of one ramp, watched: the exchange log, followed from the stage's first route table on.

Everything here is a function of the log, so a keeper that starts again reads it again and knows the same. Works in a
thread; the office reads its results between two calls of `poll`.
"""

import time
from collections import OrderedDict, deque

import msgspec

from weighbridge.config import Loaded
from weighbridge.exchanges.reader import Follower, read
from weighbridge.ramp.controller import Evidence
from weighbridge.ramp.judging import Judge
from weighbridge.ramp.observe import Observer, first_arm
from weighbridge.ramp.streams import FAILED_BELOW, SLOW, Monitor
from weighbridge.records.exchange import Exchange
from weighbridge.records.frames import Told
from weighbridge.records.ramp import RampState
from weighbridge.store.layout import Layout

BEFORE_NS = 86_400 * 1_000_000_000
"""How far before a stage its percentiles may come from."""
WAITING_MAX = 5000
"""Requests of users whose copy has not come yet."""
POLL_NS = 500_000_000
"""The longest that one look takes before somebody decides; the rest waits for the next."""
PILE = 500
"""Behind by so many requests, every second conversation is judged; by twice as many every third, and so on."""
MINUTE_NS = 60 * 1_000_000_000
LEARN_EVERY = 50
LIMIT_MINUTES = 10
"""What an arm answered with 429 or 503 longer ago says nothing about its limit now."""


class _Limits:
    """Of one arm: how many of its answers of the last minutes said that it is at its limit."""

    def __init__(self) -> None:
        self._minutes: OrderedDict[int, list[int]] = OrderedDict()

    def add(self, minute: int, *, limited: bool) -> None:
        counts = self._minutes.setdefault(minute, [0, 0])
        counts[0] += limited
        counts[1] += 1
        while minute - next(iter(self._minutes)) >= LIMIT_MINUTES:
            self._minutes.popitem(last=False)

    @property
    def counts(self) -> tuple[int, int]:
        rows = self._minutes.values()
        return sum(row[0] for row in rows), sum(row[1] for row in rows)


class Watch:
    def __init__(
        self,
        layout: Layout,
        loaded: Loaded,
        state: RampState,
        table_from: int,
        trial_failures: tuple[int, int] | None,
        before: "Watch | None" = None,
    ) -> None:
        """`before` is the watch of the stage before, which goes on with reading where that one is."""
        self._layout, self._route, self._table_from = layout, state.route, table_from
        self._stage, self._plan = state.standing, state.plan
        self._incumbent, self._candidate = state.incumbent, state.candidate
        self._since_ns = max(0, state.time_ns - BEFORE_NS)
        self._above = dict(state.slow_above)
        self._live = state.standing not in ("proposed", "shadow")
        self._observer: Observer = Observer(state.incumbent, state.candidate) if before is None else before._observer
        self.monitor = Monitor(state, trial_failures)
        self._judge = Judge(layout, loaded, state.route)
        self._follower: Follower | None = before._follower if before is not None else None
        self._told: list[Told] = [] if before is None else before._told
        self._early: set[str] = set()
        self._asked: OrderedDict[str, Exchange] = OrderedDict()
        self._copies: OrderedDict[str, Exchange] = OrderedDict()
        self._pending: deque[Exchange] = deque() if before is None else before._pending
        self._stride = 1
        self._learned = 0
        self._minutes: dict[int, int] = {}
        self._limits = {state.incumbent: _Limits(), state.candidate: _Limits()}
        self.copies_nanousd = 0
        self.copies_unknown = 0
        self._cost = self._cost_known = 0
        self.slices: dict[str, int] = {}
        """Of users, answered, since the stage began."""
        self.requests = 0
        """Of users, since the stage began."""

    def poll(self) -> None:
        """Take in what is new. Raises `Corrupt` or `OSError` where the log cannot be read; the next call goes on."""
        if self._follower is None:
            follower = Follower(self._layout, told=self._hear)
            self._early.clear()
            for exchange in read(self._layout, route=self._route, since_ns=self._since_ns, told=self._hear):
                self._early.add(exchange.id)
                if exchange.table >= self._table_from:
                    self._pending.append(exchange)
                else:
                    self._take(exchange)
            self._follower = follower
        new = [one for one in self._follower.poll() if one.route == self._route and one.id not in self._early]
        self._pending += new
        self._early.clear()
        # Judging takes longest. What is judged of a pile is chosen by conversation, never by what came out.
        self._stride = 1 + len(self._pending) // PILE
        until_ns = time.monotonic_ns() + POLL_NS
        while self._pending and time.monotonic_ns() < until_ns and not self.monitor.alarmed:
            self._take(self._pending.popleft())
        if not self._pending:
            for told in self._told:
                self.monitor.outcome(int(told.conversation, 16), failed=told.score < FAILED_BELOW)
            self._told.clear()

    def _hear(self, told: Told) -> None:
        """Kept until the exchanges that were read with it are taken in: they say whose conversation it is."""
        if told.route == self._route and told.time_ns >= self._since_ns:
            self._told.append(told)

    @property
    def behind(self) -> int:
        """Requests that were read and not looked at yet."""
        return len(self._pending)

    def _take(self, exchange: Exchange) -> None:
        if exchange.purpose == "user":
            if exchange.table >= self._table_from:
                self._user(exchange)
            self._observer.learn(exchange)
            self._complete()
        elif exchange.purpose == "shadow" and exchange.table >= self._table_from:
            self._copy(exchange)

    def _complete(self) -> None:
        """What there was too little of when the stage began counts from when there is enough, on both arms. Percentiles
        are sorted out of thousands of figures, so not for each request."""
        self._learned += 1
        if self._learned % LEARN_EVERY == 0:
            missing = tuple(name for name in SLOW if name in self._plan.guardrails and name not in self._above)
            if missing:
                self._above = self._observer.percentiles(missing) | self._above

    def _user(self, exchange: Exchange) -> None:
        self.requests += 1
        if exchange.outcome == "ok":
            self.slices[exchange.slice] = self.slices.get(exchange.slice, 0) + 1
        minute = exchange.time_ns // MINUTE_NS
        self._minutes[minute] = self._minutes.get(minute, 0) + 1
        arm = first_arm(exchange)
        for attempt in exchange.attempts:
            if attempt.arm in self._limits:
                self._limits[attempt.arm].add(minute, limited=attempt.status in (429, 503))
        if arm == self._candidate and exchange.cost_nanousd is not None:
            self._cost += exchange.cost_nanousd
            self._cost_known += 1
        if self._live:
            sight = self._observer.sight(exchange, self._above, self._plan.guardrails, self._judge.body)
            if sight is not None:
                self.monitor.take(sight)
                chosen = sight.conversation % self._stride == 0
                if chosen and self._plan.quality == "answers" and self._judge.why_not is None:
                    score = self._judge.score(exchange)
                    if score is not None:
                        self.monitor.judged_answer(exchange.slice, score, candidate=sight.candidate)
        copy = self._copies.pop(exchange.id, None)
        if copy is not None:
            self._both(exchange, copy)
        else:
            self._asked[exchange.id] = exchange
            while len(self._asked) > WAITING_MAX:
                self._asked.popitem(last=False)

    def _copy(self, exchange: Exchange) -> None:
        if exchange.cost_nanousd is None:
            self.copies_unknown += 1
        else:
            self.copies_nanousd += exchange.cost_nanousd
            if first_arm(exchange) == self._candidate:  # what it costs is known before it answers a user
                self._cost += exchange.cost_nanousd
                self._cost_known += 1
        original = self._asked.pop(exchange.item or "", None)
        if original is not None:
            self._both(original, exchange)
        elif exchange.item is not None:
            self._copies[exchange.item] = exchange  # the log of another worker is read later
            while len(self._copies) > WAITING_MAX:
                self._copies.popitem(last=False)

    def _both(self, original: Exchange, copy: Exchange) -> None:
        """A user's request and its copy: both arms answered the same."""
        ours, theirs = (copy, original) if first_arm(copy) == self._candidate else (original, copy)
        if (first_arm(ours), first_arm(theirs)) != (self._candidate, self._incumbent):
            return
        if not self._live:
            for one in (theirs, ours):
                sight = self._observer.sight(one, self._above, self._plan.guardrails, self._judge.body)
                if sight is not None:
                    self.monitor.take(sight)
        if self._plan.quality != "pairs" and self._live:
            return
        candidate, incumbent = self._judge.score(ours, theirs), self._judge.score(theirs, theirs)
        if candidate is not None and incumbent is not None:
            self.monitor.judged_pair(original.slice, candidate, incumbent)

    # --- what is to be said -------------------------------------------------------------------------------------------

    def evidence(self, held_s: float, missing: tuple[str, ...]) -> Evidence:
        """What was seen; what should have been and was not is named."""
        found = list(missing)
        terms = self._plan.terms(self._stage)
        if terms is not None and terms.pairs_min and self._judge.why_not is not None:
            found.append(
                f"{self._judge.why_not}; quality is not watched. Add a [[grader]], or propose with pairs_min = 0"
            )
        if self.copies_unknown and self._plan.copies_nanousd is not None:
            found.append(f"what {self.copies_unknown:,} copies cost is unknown, so their budget cannot be kept")
        if self.behind > PILE:
            found.append(f"{self.behind:,} requests of the log are still to be looked at")
        return self.monitor.evidence(held_s, tuple(found))

    def percentiles(self) -> dict[str, float]:
        """For the next stage: of the incumbent's recent requests, or the ones in force where there are too few."""
        return self._above | self._observer.percentiles(SLOW)

    def limited(self, arm: str) -> tuple[int, int]:
        """Answers 429 or 503 of this arm in the last ten minutes, and all of its answers."""
        return self._limits[arm].counts

    def per_minute(self) -> float | None:
        """Requests in the busiest whole minute; `None` before one has passed."""
        whole = [count for minute, count in self._minutes.items() if minute != max(self._minutes)]
        return float(max(whole)) if whole else None

    def cost_nanousd(self) -> float | None:
        """The candidate's mean cost per request, of users or copied; `None` where it is unknown."""
        return self._cost / self._cost_known if self._cost_known else None


class Key(msgspec.Struct, frozen=True):
    """What makes two watches the same."""

    ramp: str
    table_from: int
    config: str
