"""The attempts of an exchange: which lane is asked first, and what follows a failure.

`gateway.plan`, `gateway.outliers` and `gateway.slots` decide; here it is done. A lane without a plan and without a
guard never comes here.
"""

import re
from datetime import UTC
from typing import TYPE_CHECKING, Final, NamedTuple

from weighbridge.gateway.outgoing import Outgoing, bound_of, outgoing
from weighbridge.gateway.plan import RULES, Failure, next_step
from weighbridge.gateway.refusal import Refusal
from weighbridge.records.frames import Outcome
from weighbridge.wire.chat import NOTHING_SAID, AnswerFacts, ChatRequest
from weighbridge.wire.refusal import BadRequest

if TYPE_CHECKING:
    from weighbridge.gateway.exchange import Exchange
    from weighbridge.gateway.lane import Lane
    from weighbridge.gateway.outliers import Outliers
    from weighbridge.gateway.slots import Slots

NANO: Final = 1_000_000_000
FULL_RETRY_S: Final = 1

NOT_OURS_TO_RETRY: Final = frozenset(("exchange_log_full", "gateway_shutdown"))
"""Reasons of the gateway's own: another attempt would meet them too."""
REFUSED_US: Final = frozenset(("upstream_redirect", "upstream_auth"))

_RETRY_AFTER = re.compile(rb"\r\n(?i:retry-after(-ms)?):[ \t]*([^\r\n]*)")


class Guard(NamedTuple):
    """What stands before every send of a lane."""

    outliers: "Outliers | None"
    """Where its endpoint has others that can stand in for it."""
    slots: "Slots[Exchange] | None"
    """Where its endpoint has a concurrency limit."""
    hedge_s: float | None = None
    """How long a user's request waits for a first byte before a second attempt is made beside it."""


class Tries:
    """What an exchange remembers once it may take, or has taken, another way than straight to its lane."""

    __slots__ = (
        "asked", "at", "bound", "chain", "closed", "entered", "full", "instead", "made", "own", "probe", "request",
        "slots", "spent",
    )  # fmt: skip

    def __init__(self, lane: "Lane", bound: int | None, request: ChatRequest | None, own: bytes = b"") -> None:
        self.chain = (lane, *lane.others)
        """The chosen lane, then those that may stand in for it."""
        self.at = 0
        self.asked = 0
        """Attempts after the first that followed a failure."""
        self.closed = 0
        """The last attempt that has been posted."""
        self.made = 0
        """The highest number of an attempt, where another one than the last answered (`gateway.hedge`)."""
        self.bound = bound
        """The most that the attempt in hand may cost; `None`: unknown."""
        self.spent: int | None = 0
        """The most that the attempts before it have cost."""
        self.request = request
        """Kept until the answer begins, so that it can be written for another lane."""
        self.own = own
        """Header lines of the client's that go along where the endpoint speaks its dialect."""
        self.full: frozenset[int] = frozenset()
        """Places of the chain where there was no room."""
        self.instead = False
        """Already the first lane stands in for another arm, which cannot be asked this (`gateway.admit`)."""
        self.entered = self.probe = False
        """`probe`: its endpoint's circuit let it through, and hears of its end."""
        self.slots: Slots[Exchange] | None = None

    def is_fallback(self, lane: "Lane") -> bool:
        """Whether another arm stands in for the chosen one."""
        return self.instead or (self.at != 0 and lane.arm != self.chain[0].arm)


class Failed(NamedTuple):
    """An attempt that ended before the client had a byte of its answer."""

    kind: Failure
    outcome: Outcome
    error: str
    retry_after_s: float | None = None


def tries_of(exchange: "Exchange") -> Tries:
    tries = exchange.tries
    if tries is None:
        tries = exchange.tries = Tries(exchange.lane, exchange.held, None)
    return tries


def enter(exchange: "Exchange") -> None:
    """Before an attempt at a guarded lane: past endpoints that are out, then through its limit, then on."""
    tries = tries_of(exchange)
    gateway, guard = exchange.gateway, exchange.lane.guard
    if exchange.attempt == 0 and len(tries.chain) > 1 and exchange.purpose == "user":
        now = gateway.mono_ns() / NANO
        outliers = guard.outliers if guard is not None else None
        usable = exchange.lane.target is not None
        tries.probe = usable and outliers is not None and outliers.admits(exchange.lane.endpoint, now)
        if not usable or (outliers is not None and not tries.probe):
            # Where nothing can stand in, a bad endpoint is better than none.
            _stand_in(exchange, tries, now)
            guard = exchange.lane.guard
    slots = guard.slots if guard is not None else None
    if slots is None:
        _go(exchange, tries, None)
        return
    entry = slots.enter(exchange, gateway.tick)
    if entry == "in":
        _go(exchange, tries, slots)
    elif entry == "waits":
        tries.slots = slots
        exchange.seen_tick = gateway.tick + slots.wait_ticks
    else:
        no_place(exchange, "is busy, and so many wait already that nobody else may")


def _stand_in(exchange: "Exchange", tries: Tries, now: float) -> None:
    for place in range(1, len(tries.chain)):
        if not _usable(exchange, tries, place, now):
            continue
        if _take_lane(exchange, tries, place, 0):
            tries.probe = True
            return
        _give_back_probe(tries.chain[place], now)


def _go(exchange: "Exchange", tries: Tries, slots: "Slots[Exchange] | None") -> None:
    tries.entered, tries.slots = True, slots
    guard = exchange.lane.guard
    if guard is not None and guard.hedge_s is not None:
        exchange.gateway.hedge(exchange, guard.hedge_s)
    exchange.go()


def place_given(exchange: "Exchange") -> None:
    """It waited for a place, and has one."""
    tries = tries_of(exchange)
    _go(exchange, tries, tries.slots)


def no_place(exchange: "Exchange", why: str) -> None:
    """No place at the endpoint, now or in time. Another endpoint of the chain may have one: nothing was sent yet."""
    tries = tries_of(exchange)
    tries.slots = None
    left(exchange, None)
    tries.full |= {tries.at}
    endpoint = exchange.lane.endpoint
    if not again(exchange, Failed("full", "refused", f"endpoint {endpoint!r} {why}")):
        message = f"endpoint {endpoint!r} {why}; it takes {_limit(exchange)} requests at once from this gateway"
        refusal = Refusal(status=503, code="endpoint_busy", message=message, retry_after_s=FULL_RETRY_S)
        exchange.gateway.meter.refused(refusal.code)
        exchange.refuse(refusal)


def _limit(exchange: "Exchange") -> int:
    guard = exchange.lane.guard
    return 0 if guard is None or guard.slots is None else guard.slots.limit


def left(exchange: "Exchange", good: bool | None) -> None:
    """An attempt at a guarded lane is over: its place is free, and its endpoint has one more answer to its name."""
    tries, guard = exchange.tries, exchange.lane.guard
    if tries is None or guard is None:
        return
    if guard.outliers is not None and (tries.probe or (tries.entered and good is not None)):
        now = exchange.gateway.mono_ns() / NANO
        guard.outliers.note(exchange.lane.endpoint, good if tries.entered else None, now)
    slots, tries.slots = tries.slots, None
    if slots is not None and tries.entered:
        slots.leave()
    tries.entered = tries.probe = False


def sign(outcome: Outcome, status: int | None) -> bool | None:
    """What the end of an attempt says of its endpoint; `None`: nothing."""
    if status is not None and status >= 500:
        return False
    if outcome in ("upstream_cut", "timeout"):
        return False
    if outcome == "upstream_error":
        if status is None or status in (401, 403) or 300 <= status < 400:
            return False
        return None if status == 429 or status < 400 else True
    return True if outcome == "ok" else None


def again(exchange: "Exchange", failed: Failed, facts: AnswerFacts = NOTHING_SAID) -> bool:
    """Make another attempt, where plan, retry budget and money allow. False: the caller ends the exchange.

    The failed attempt is posted. Only before the first byte of an answer went to the client.
    """
    gateway = exchange.gateway
    escalated = failed.kind == "escalated"
    if exchange.done or (exchange.purpose not in ("user", "drill") and not escalated) or exchange.client is None:
        return False
    if exchange.upload is not None and exchange.upload.begun:
        return False
    if exchange.race is not None and exchange.race.failed(exchange, failed, facts):
        return True
    tries = tries_of(exchange)
    plan = tries.chain[0].plan
    if plan is None:
        return False
    now = gateway.mono_ns() / NANO
    step = next_step(
        plan,
        endpoints=[lane.endpoint for lane in tries.chain],
        at=tries.at,
        asked=tries.asked,
        failure=failed.kind,
        retry_after_s=failed.retry_after_s,
        jitter=(gateway.sequence * 0x9E3779B97F4A7C15 % (1 << 64)) / (1 << 64),
        usable=lambda place: (place == 1 or not escalated) and _usable(exchange, tries, place, now),
    )
    if step is None:
        return False
    before_at = tries.at
    before, status, attempt = exchange.lane, exchange.upstream_status, exchange.attempt
    sent = RULES[failed.kind].sent
    cost = exchange.attempt_cost(failed.outcome, facts)[0] if attempt > tries.closed else 0
    if cost is None:
        cost = tries.bound
    spent = None if cost is None or tries.spent is None else tries.spent + cost
    if (sent and not gateway.retries.take()) or not _take_lane(exchange, tries, step.place, spent):
        if step.place != before_at:
            _give_back_probe(tries.chain[step.place], now)
        return False
    after, exchange.lane = exchange.lane, before
    if attempt > tries.closed:
        exchange.close_attempt(failed.outcome, facts, failed.error)
        tries.closed = attempt
    left(exchange, sign(failed.outcome, status))
    exchange.lane, tries.probe = after, after is not before
    tries.asked += sent
    gateway.meter.again(failed.kind, fallback=after is not before)
    if step.wait_s:
        exchange.seen_tick = gateway.tick + round(step.wait_s * 4)
        gateway.loop.call_later(step.wait_s, exchange.begin)
    else:
        exchange.begin()
    return True


def _usable(exchange: "Exchange", tries: Tries, place: int, now: float) -> bool:
    """May the lane at this place be asked now? Of an endpoint that has rested this takes the one probe."""
    lane = tries.chain[place]
    if lane.refusal is not None or lane.target is None or place in tries.full:
        return False
    guard = lane.guard
    if guard is None or guard.outliers is None or place == tries.at:
        return True
    return guard.outliers.admits(lane.endpoint, now)


def _give_back_probe(lane: "Lane", now: float) -> None:
    if lane.guard is not None and lane.guard.outliers is not None:
        lane.guard.outliers.note(lane.endpoint, None, now)


def _take_lane(exchange: "Exchange", tries: Tries, place: int, spent: int | None) -> bool:
    """Write the request for another lane, and hold what it may cost there beside what was `spent` at most on the
    attempts before. False where either cannot be done.
    """
    lane = tries.chain[place]
    call: Outgoing | None
    if place == tries.at:
        bound, call = tries.bound, None
    else:
        request = tries.request
        if request is None:
            return False
        try:
            call = outgoing(lane, exchange.door, request, tries.own)
        except BadRequest:
            return False
        bound = bound_of(lane, exchange.door, call.body, request)
    if not exchange.hold_to(None if bound is None or spent is None else bound + spent):
        return False
    exchange.lane = lane
    if call is not None:
        exchange.head, exchange.body, exchange.edits, exchange.asked, exchange.losses = call
    tries.at, tries.bound, tries.spent = place, bound, spent
    return True


def retry_after_s(head: bytes, end: int, wall_ns: int) -> float | None:
    """What a provider's head asks to wait, in seconds; `None` where it does not say."""
    said: float | None = None
    for milliseconds, value in _RETRY_AFTER.findall(head, 0, end + 2):
        text = value.strip().decode("latin-1")
        try:
            seconds = float(text) / (1000 if milliseconds else 1)
        except ValueError:
            # Rare, and what it brings along stays in memory.
            from email.utils import parsedate_to_datetime

            try:
                day = parsedate_to_datetime(text)
            except ValueError:
                continue
            seconds = (day if day.tzinfo else day.replace(tzinfo=UTC)).timestamp() - wall_ns / NANO
        if milliseconds:
            return max(0.0, seconds)
        said = max(0.0, seconds)
    return said
