"""Hedging: a second attempt beside one that has not begun to answer within a set time. Off unless a route asks for it.

    one asked -> silent for hedge_after_s -> two asked -> one begins to answer: the other one is cancelled
                                                       -> one fails: the other one goes on alone

Both are held, logged and posted; what was cancelled is booked at its upper bound, marked. Who begins first is who sends
the first event with data, or a whole JSON answer: a head, or a comment that keeps a connection open, says nothing yet.
One `Race` per request of a hedged lane; requests of other lanes have none.
"""

import asyncio
from typing import TYPE_CHECKING, Final

from weighbridge.gateway.attempts import Failed, Tries, left, sign, tries_of
from weighbridge.gateway.exchange import Exchange
from weighbridge.gateway.meter import Sample
from weighbridge.gateway.outgoing import Outgoing, bound_of, outgoing
from weighbridge.gateway.refusal import Refusal
from weighbridge.records.frames import Outcome
from weighbridge.wire.chat import NOTHING_SAID, AnswerFacts
from weighbridge.wire.refusal import BadRequest

if TYPE_CHECKING:
    from weighbridge.gateway.gateway import Gateway
    from weighbridge.gateway.relay import Relay

NANO: Final = 1_000_000_000
AGAIN_S_MAX: Final = 0.1
"""How soon a request is looked at again that was not on the wire when its time came (it waits, or is being dialled)."""
LATE: Final = "another attempt of this request answered first"
OVER: Final = "the request ended before this attempt had answered"


class Hedges:
    """Those of one worker: running ones for the timers, counts for the metrics."""

    __slots__ = ("made", "open", "refused", "won")

    def __init__(self) -> None:
        self.open: set[Race] = set()
        self.made = 0
        self.won = 0
        """By the second attempt."""
        self.refused: dict[str, int] = {}

    def refuse(self, why: str) -> None:
        self.refused[why] = self.refused.get(why, 0) + 1

    def sweep(self, tick: int, first_byte_ticks: int, said: str) -> None:
        for race in tuple(self.open):
            second = race.second
            if second is not None and second.relay is not None and tick - second.seen_tick > first_byte_ticks:
                second.relay.fail("timeout", said, code="upstream_timeout")

    def samples(self) -> list[Sample]:
        return [
            ("weighbridge_hedges_open", {}, len(self.open)),
            ("weighbridge_hedges_total", {}, self.made),
            ("weighbridge_hedges_won_total", {}, self.won),
            *(("weighbridge_hedges_refused_total", {"why": why}, count) for why, count in self.refused.items()),
        ]


class Second(Exchange):
    """The second attempt, while it is not known who answers. It has the id, the client and the hold of the first, and
    no end of its own: it is taken over, fails, or is cancelled."""

    __slots__ = ()

    def refuse(self, refusal: Refusal, outcome: Outcome = "refused") -> None:
        race = self.race
        if race is not None:
            race.failed(self, Failed("ambiguous", outcome, refusal.message), NOTHING_SAID)


class Race:
    """Of one request, from its first attempt to the first byte of its answer."""

    __slots__ = ("_after_s", "_gateway", "_timer", "first", "numbers", "second")

    def __init__(self, exchange: Exchange, after_s: float) -> None:
        self.first, self._gateway, self._after_s = exchange, exchange.gateway, after_s
        self.second: Second | None = None
        self.numbers = exchange.attempt
        """The highest number of an attempt until now: the two take theirs from here."""
        self._timer: asyncio.TimerHandle | None = self._gateway.loop.call_later(after_s, self._due)

    def next_number(self) -> int:
        self.numbers += 1
        return self.numbers

    # --- the second attempt -------------------------------------------------------------------------------------------

    def _due(self) -> None:
        exchange, gateway = self.first, self._gateway
        self._timer = None
        if exchange.done or exchange.client is None or gateway.draining:
            return
        wait_s = min(self._after_s, AGAIN_S_MAX)
        if exchange.relay is not None:
            wait_s = self._after_s - (gateway.mono_ns() - exchange.sent_ns) / NANO
        if wait_s > 0:
            self._timer = gateway.loop.call_later(wait_s, self._due)
        else:
            self._ask()

    def _ask(self) -> None:
        """Ask somebody else: the next lane of the chain at another endpoint, else the same one again."""
        exchange, gateway = self.first, self._gateway
        tries = tries_of(exchange)
        found = _second_lane(exchange, tries)
        if found is None:
            gateway.hedges.refuse("no_place")
            return
        place, call, bound = found
        if not gateway.retries.take():
            gateway.hedges.refuse("retry_budget")
            return
        costs = (tries.spent, tries.bound, bound)
        if not exchange.hold_to(None if None in costs else sum(cost or 0 for cost in costs)):
            gateway.hedges.refuse("budget")
            return
        client = exchange.client
        if client is None:
            return
        second = Second(
            gateway, client, exchange.id, tries.chain[place], exchange.purpose, exchange.team, exchange.hold,
            exchange.held, False, call, exchange.door, exchange.streams, exchange.strip,
        )  # fmt: skip
        second.started_ns, second.wall_ns = exchange.started_ns, exchange.wall_ns
        second.attempt = self.numbers
        second.race = self
        own = second.tries = Tries(second.lane, bound, None)
        own.chain, own.at, own.closed = tries.chain, place, self.numbers
        self.second = second
        gateway.hedges.made += 1
        gateway.hedges.open.add(self)
        second.begin()

    # --- who answers --------------------------------------------------------------------------------------------------

    def spoken(self, relay: "Relay") -> bool:
        """Whether this stream has begun to say something. Until then it may still be the one that is cancelled."""
        return relay.complete or any(_has_data(piece) for piece in relay.body)

    def won(self, relay: "Relay", exchange: Exchange) -> Exchange:
        """The answer of this connection is the one that the client gets. Returns the exchange as it goes on."""
        first, second = self.first, self.second
        if exchange is first:
            self.end(LATE)
            return first
        self._forget()
        if second is not None:
            self._gateway.hedges.open.discard(self)
            self._gateway.hedges.won += 1
            _cancel(first, LATE)
            tries = tries_of(first)
            tries.closed = first.attempt
            _take_over(first, second, self.numbers)
            first.relay = relay
            relay.exchange = first
        first.race = None
        return first

    def failed(self, exchange: Exchange, failed: Failed, facts: AnswerFacts) -> bool:
        """One attempt has failed. True where the other one goes on, and this one is posted."""
        first, second = self.first, self.second
        if second is None:
            return False
        if exchange is second:
            self.second = None
            self._gateway.hedges.open.discard(self)
            status = second.upstream_status
            second.close_attempt(failed.outcome, facts, failed.error)
            left(second, sign(failed.outcome, status))
            _add(first, second)
            second.done = True
            return True
        if second.relay is None:
            self._drop_second(OVER)  # it was not sent yet: what may follow a failure follows this one
            return False
        status = first.upstream_status
        cost = first.attempt_cost(failed.outcome, facts)[0]
        first.close_attempt(failed.outcome, facts, failed.error)
        left(first, sign(failed.outcome, status))
        tries, relay = tries_of(first), second.relay
        tries.closed = first.attempt
        _spend(tries, tries.bound if cost is None else cost)
        _take_over(first, second, self.numbers)
        first.relay = relay
        relay.exchange = first
        self.second = None
        self._gateway.hedges.open.discard(self)
        return True

    def end(self, why: str = OVER) -> None:
        """There is nothing to race for any more: the first attempt answers, or the request has ended."""
        self._forget()
        self._drop_second(why)
        tries_of(self.first).made = self.numbers
        self.first.race = None

    def _drop_second(self, why: str) -> None:
        second, self.second = self.second, None
        self._gateway.hedges.open.discard(self)
        if second is not None:
            _cancel(second, why)
            second.done = True
            _add(self.first, second)

    def _forget(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()


def _second_lane(exchange: Exchange, tries: Tries) -> tuple[int, Outgoing, int | None] | None:
    """Where the second attempt goes, what is sent there, and the most that it may cost."""
    chain, request = tries.chain, tries.request
    others = [place for place, lane in enumerate(chain) if lane.endpoint != exchange.lane.endpoint]
    for place in others:
        lane = chain[place]
        if request is None:
            break  # not a request that another arm may answer
        guard = lane.guard
        if lane.refusal is not None or lane.target is None or place in tries.full or not _has_place(exchange, place):
            continue
        if guard is not None and guard.outliers is not None and not guard.outliers.serves(lane.endpoint):
            continue
        try:
            call = outgoing(lane, exchange.door, request, tries.own)
        except BadRequest:
            continue
        return place, call, bound_of(lane, exchange.door, call.body, request)
    if not _has_place(exchange, tries.at):
        return None
    call = Outgoing(exchange.head, exchange.body, exchange.edits, exchange.asked, exchange.losses)
    return tries.at, call, tries.bound


def _has_place(exchange: Exchange, place: int) -> bool:
    """A second attempt does not wait in a queue: it would take the place of a request that has none yet."""
    guard = tries_of(exchange).chain[place].guard
    return guard is None or guard.slots is None or guard.slots.taken < guard.slots.limit


def _has_data(piece: bytes) -> bool:
    return piece.startswith(b"data:") or b"\ndata:" in piece or b"\rdata:" in piece


def _cancel(attempt: Exchange, why: str) -> None:
    """Hang up on an attempt that nobody waits for, and post it: not sent is 0, sent is the upper bound, marked."""
    relay = attempt.relay
    if relay is not None:
        relay.drop()
    attempt.close_attempt("client_gone", NOTHING_SAID, why)
    left(attempt, None)


def _take_over(first: Exchange, second: Second, numbers: int) -> None:
    """The second attempt is the one that goes on; the exchange takes its place."""
    mine, own = tries_of(first), tries_of(second)
    mine.at, mine.bound, mine.made = own.at, own.bound, numbers
    mine.slots, mine.entered, mine.probe = own.slots, own.entered, own.probe
    own.slots, own.entered, own.probe = None, False, False
    first.lane, first.attempt, first.sent, first.sent_ns = second.lane, second.attempt, second.sent, second.sent_ns
    first.head, first.body, first.edits = second.head, second.body, second.edits
    first.asked, first.losses = second.asked, second.losses
    first.upstream_status, first.first_ns, first.seen_tick = second.upstream_status, second.first_ns, second.seen_tick
    second.done = True
    second.relay = None
    first.take_costs(second)


def _add(first: Exchange, second: Exchange) -> None:
    tries, own = tries_of(first), tries_of(second)
    cost = second.cost_so_far
    first.take_costs(second)
    _spend(tries, own.bound if cost is None else cost)


def _spend(tries: Tries, cost: int | None) -> None:
    tries.spent = None if cost is None or tries.spent is None else tries.spent + cost


def hedged(gateway: "Gateway", exchange: Exchange, after_s: float) -> None:
    """Watch over this request from its first attempt on."""
    if tries_of(exchange).chain[0].escalation is not None:
        return  # what follows on its chain is asked when an answer fails a check, and not before
    if exchange.race is None and exchange.purpose == "user" and exchange.door.asked != "other" and not gateway.draining:
        exchange.race = Race(exchange, after_s)
