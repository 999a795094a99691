"""Follows one store's exchange log for one ramp, and says what is to be seen there: pairs found, answers judged.

Everything here is a function of the log, so a keeper that starts again reads it again and says the same. Works in a
thread. What it says is counted by `watch`, here and on every host that shares the route.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Iterator

from weighbridge.config import Loaded
from weighbridge.exchanges.reader import Follower, read
from weighbridge.ramp.judging import Judge
from weighbridge.ramp.observe import first_arm, look_at
from weighbridge.ramp.sightings import Asked, Copied, Look, Outcome, Paired, Sighting, Tried
from weighbridge.ramp.streams import FAILED_BELOW
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


class Scribe:
    def __init__(self, layout: Layout, loaded: Loaded, state: RampState, table_from: int) -> None:
        """`table_from`: the first route table of the stage; exchanges of older ones only say what is usual."""
        self._layout, self._route = layout, state.route
        self._incumbent, self._candidate = state.incumbent, state.candidate
        self._plan = state.plan
        self._since_ns = max(0, state.time_ns - BEFORE_NS)
        self._follower: Follower | None = None
        self._told: list[Told] = []
        self._asked: OrderedDict[str, Exchange] = OrderedDict()
        self._copies: OrderedDict[str, Exchange] = OrderedDict()
        self._pending: deque[Exchange] = deque()
        self._stride = 1
        self.begin(loaded, state, table_from)

    def begin(self, loaded: Loaded, state: RampState, table_from: int) -> None:
        """Another stage of the same ramp, or another configuration; reading goes on where it is."""
        self._table_from = table_from
        self._live = state.standing not in ("proposed", "shadow")
        self._judge = Judge(self._layout, loaded, self._route)

    @property
    def behind(self) -> int:
        """Requests that were read and not looked at yet."""
        return len(self._pending)

    @property
    def why_not_judged(self) -> str | None:
        """Why no answer can be judged here; `None` where they can."""
        return self._judge.why_not

    def poll(self, newest: int) -> Iterator[Sighting]:
        """What is new, up to route table `newest`: what was routed by a later one may be of a stage that is still to
        begin here. Raises `Corrupt` or `OSError` where the log cannot be read; the next call goes on."""
        if self._follower is None:
            yield from self._history()
        else:
            self._pending += [one for one in self._follower.poll() if one.route == self._route]
        # Judging takes longest. What is judged of a pile is chosen by conversation, never by what came out.
        self._stride = 1 + len(self._pending) // PILE
        until_ns = time.monotonic_ns() + POLL_NS
        while self._pending and self._pending[0].table <= newest and time.monotonic_ns() < until_ns:
            yield from self._seen(self._pending.popleft())
        if not self._pending:
            told, self._told = self._told, []
            for one in told:
                yield Outcome(int(one.conversation, 16), one.score < FAILED_BELOW)

    def _history(self) -> Iterator[Sighting]:
        """What was written before anybody looked. Nothing of it is kept before all of it could be read."""
        self._told.clear()
        follower = Follower(self._layout, told=self._hear)
        early: set[str] = set()
        found: list[Exchange] = []
        for exchange in read(self._layout, route=self._route, since_ns=self._since_ns, told=self._hear):
            early.add(exchange.id)
            if exchange.table >= self._table_from:
                found.append(exchange)
            elif exchange.purpose == "user":
                yield self._user(exchange, None, None)
            elif exchange.purpose == "trial" and exchange.cost_nanousd is not None and self._by_candidate(exchange):
                yield Tried(exchange.id, exchange.cost_nanousd)
        found += [one for one in follower.poll() if one.route == self._route and one.id not in early]
        self._pending += found
        self._follower = follower

    def _by_candidate(self, exchange: Exchange) -> bool:
        return exchange.outcome == "ok" and first_arm(exchange) == self._candidate

    def _hear(self, told: Told) -> None:
        """Kept until the exchanges that were read with it have been looked at: they say whose conversation it is."""
        if told.route == self._route and told.time_ns >= self._since_ns:
            self._told.append(told)

    def _seen(self, exchange: Exchange) -> Iterator[Sighting]:
        if exchange.purpose == "shadow":
            if exchange.table >= self._table_from:
                yield from self._copy(exchange)
        elif exchange.purpose == "user":
            live = self._live and exchange.table >= self._table_from
            look = self._look(exchange) if live else None
            yield self._user(exchange, look, self._score(exchange, look))
            yield from self._found(exchange)

    def _user(self, exchange: Exchange, look: Look | None, score: float | None) -> Asked:
        limits = [0, 0, 0, 0]
        for attempt in exchange.attempts:
            if attempt.arm in (self._candidate, self._incumbent):
                place = 0 if attempt.arm == self._candidate else 2
                limits[place] += attempt.status in (429, 503)
                limits[place + 1] += 1
        if look is None:  # nothing is counted, but what is usual can be learnt
            look = look_at(exchange, self._incumbent, self._candidate, (), None)
        return Asked(
            exchange.id, exchange.table, exchange.time_ns, exchange.slice, exchange.outcome == "ok",
            first_arm(exchange) == self._candidate, (limits[0], limits[1], limits[2], limits[3]),
            exchange.cost_nanousd, look, score,
        )  # fmt: skip

    def _look(self, exchange: Exchange) -> Look | None:
        return look_at(exchange, self._incumbent, self._candidate, self._plan.guardrails, self._judge.body)

    def _score(self, exchange: Exchange, look: Look | None) -> float | None:
        if look is None or self._plan.quality != "answers" or self._judge.why_not is not None:
            return None
        return self._judge.score(exchange) if look.conversation % self._stride == 0 else None

    def _found(self, exchange: Exchange) -> Iterator[Sighting]:
        copy = self._copies.pop(exchange.id, None)
        if copy is not None:
            yield from self._both(exchange, copy)
            return
        self._asked[exchange.id] = exchange
        while len(self._asked) > WAITING_MAX:
            self._asked.popitem(last=False)

    def _copy(self, exchange: Exchange) -> Iterator[Sighting]:
        yield Copied(exchange.id, exchange.table, first_arm(exchange) == self._candidate, exchange.cost_nanousd)
        original = self._asked.pop(exchange.item or "", None)
        if original is not None:
            yield from self._both(original, exchange)
        elif exchange.item is not None:
            self._copies[exchange.item] = exchange  # the log of another worker is read later
            while len(self._copies) > WAITING_MAX:
                self._copies.popitem(last=False)

    def _both(self, original: Exchange, copy: Exchange) -> Iterator[Sighting]:
        """A user's request and its copy: both arms answered the same."""
        ours, theirs = (copy, original) if first_arm(copy) == self._candidate else (original, copy)
        if (first_arm(ours), first_arm(theirs)) != (self._candidate, self._incumbent):
            return
        looks = () if self._live else tuple(one for one in (self._look(theirs), self._look(ours)) if one is not None)
        scores = None
        if self._plan.quality == "pairs" or not self._live:
            candidate, incumbent = self._judge.score(ours, theirs), self._judge.score(theirs, theirs)
            scores = None if candidate is None or incumbent is None else (candidate, incumbent)
        if looks or scores is not None:
            yield Paired(copy.id, copy.table, original.slice, looks, scores)
