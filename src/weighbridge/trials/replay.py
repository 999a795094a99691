"""Asking the candidate: many items at once, each with retries, none without money held for it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

import msgspec

from weighbridge.grading.answers import Answer
from weighbridge.trials.arrivals import Arrivals
from weighbridge.trials.calls import (
    Again,
    Answered,
    BodyGone,
    Broke,
    Lost,
    NoAnswer,
    NotJudged,
    NotSent,
    Reading,
    Send,
    Sent,
    backoff_s,
    read,
)
from weighbridge.trials.frame import Item
from weighbridge.trials.money import OutOfMoney, Purse
from weighbridge.trials.outcome import Failure, Gone, Outcome, Scored, Scores, Unjudged
from weighbridge.trials.pace import Pace
from weighbridge.trials.walk import Walk

TRIES = 4
BROKEN_IN_A_ROW_MAX = 12
"""After so many replays in a row that could not be judged, the endpoint is given up: the rest would only cost time."""

AHEAD_FACTOR = 3
"""How far finished replays may run ahead of one that is slow, in multiples of the concurrency: past the decision they
would be paid for nothing."""

LOG_WAIT_S = 0.05
LOG_WAITS_MAX = 100
"""How long the log may take to say what the last replays cost; then their upper bounds count."""

Stopped = Literal["decided", "exhausted", "budget", "endpoint"]
Judge = Callable[[Item, Answer], Awaitable[Scores]]
"""Grade the candidate's answer beside the incumbent's. Raises `NotJudged` where a judge could not be asked."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What a running trial looks like from outside."""

    pairs: int
    items: int
    in_flight: int
    concurrency: int
    decided: int
    slices: int
    failed: int
    spent_nanousd: int
    unknown_costs: int


class Turn:
    """Several replayers whose walks move together wait here for one another."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def moved(self) -> None:
        """Something changed that another one may have waited for."""
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def wait(self) -> None:
        """Until the next change."""
        await self._event.wait()


class Replayer:
    """Carries a walk forward until every test has decided, the plan is used up, or money or endpoint give out."""

    def __init__(
        self,
        walk: Walk,
        items: Mapping[str, Item],
        outcomes: dict[str, Outcome],
        send: Send,
        judge: Judge,
        purse: Purse,
        bound: Callable[[Item], int | None],
        pace: Pace,
        keep: Callable[[Outcome], None],
        poll: Callable[[], None],
        show: Callable[[Progress], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        turn: Turn | None = None,
        arrivals: Arrivals | None = None,
    ) -> None:
        """turn: where the walk is one lane of a sweep, which goes on when the others have their outcomes, too.

        arrivals: send everything that is planned, as it came, instead of what the tests want next.
        """
        self._arrivals = arrivals
        self._turn = turn
        self._walk, self._items, self._outcomes = walk, items, outcomes
        self._send, self._judge, self._purse, self._bound, self._pace = send, judge, purse, bound, pace
        self._keep, self._poll, self._show, self._sleep = keep, poll, show, sleep
        self._planned = walk.plan.items
        self._tasks: dict[asyncio.Task[Outcome], str] = {}
        self._broken_in_a_row = 0
        self._last_broken = ""
        self._no_money = False
        self._denied = 0
        """Tries since the last outcome that the gateway's own budget check or the purse did not let through."""
        self._log_waits = 0

    @property
    def last_broken(self) -> str:
        """What the endpoint said last when it failed."""
        return self._last_broken

    async def run(self) -> Stopped:
        """Returns why it ended. Replays in flight are awaited, not cut: they are paid for."""
        try:
            return await self._run()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self) -> Stopped:
        if self._arrivals is not None:
            names = (name for unit in self._walk.plan.units for name in unit.items)
            for name in [one for one in names if one not in self._items and one not in self._outcomes]:
                self._take(Gone(item=name))
        self._advance()
        while True:
            self._report()
            if not self._giving_up:
                self._start_some()
            if not self._tasks:
                if self._no_money and self._purse.waiting and self._log_waits < LOG_WAITS_MAX and self._denied < 2:
                    # The log has yet to say what the last ones cost; that may leave room for more.
                    self._log_waits += 1
                    await self._sleep(LOG_WAIT_S)
                    self._poll()
                    continue
                if self._arrivals is not None and self._arrivals.next is not None and not self._stuck:
                    await self._sleep(max(self._arrivals.wait_s, self._pace.pause_s))
                    continue
                if self._turn is not None and self._walk.waits and not self._no_money and not self._giving_up:
                    await self._turn.wait()
                    continue
                return self._why_ended()
            timeout = max(self._pace.pause_s, 0.0 if self._arrivals is None else self._arrivals.wait_s) or None
            done, _ = await asyncio.wait(self._tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            self._poll()
            for task in done:
                self._finish(task)
            self._advance()

    def _advance(self) -> None:
        self._walk.advance(self._outcomes)
        if self._turn is not None:
            self._turn.moved()

    @property
    def _giving_up(self) -> bool:
        return self._broken_in_a_row >= BROKEN_IN_A_ROW_MAX

    @property
    def _stuck(self) -> bool:
        return self._no_money or self._giving_up

    def _why_ended(self) -> Stopped:
        if self._walk.finished and self._walk.cursor < len(self._walk.plan.units):
            return "decided"
        if self._giving_up:
            return "endpoint"
        return "budget" if self._no_money else "exhausted"

    def _start_some(self) -> None:
        """Start wanted items in the planned order, as many as pace and purse allow."""
        # Denied once: what is in flight may give back some of its hold. Denied twice with nothing in flight: enough.
        self._no_money = self._denied > 0 and (bool(self._tasks) or self._denied >= 2)
        if self._no_money or (self._pace.pause_s > 0.0 and self._tasks):
            return
        if self._arrivals is not None:
            self._start_due(self._arrivals)
            return
        flying = set(self._tasks.values())
        window = AHEAD_FACTOR * self._pace.limit
        for place, position in enumerate(self._walk.ahead()):
            for name in self._walk.plan.units[position].items:
                # The unit at the cursor is exempt: without all of it nothing goes on.
                if len(self._tasks) >= self._pace.limit or (window <= 0 and place > 0):
                    return
                window -= 1
                if name in self._outcomes or name in flying:
                    continue
                item = self._items.get(name)
                if item is None:
                    self._take(Gone(item=name))
                    continue
                if not self._start(item):
                    return

    def _start_due(self, arrivals: Arrivals) -> None:
        """Start items in the order of the log, each when its time has come."""
        while (item := arrivals.next) is not None and len(self._tasks) < self._pace.limit:
            if item.id in self._outcomes:
                arrivals.skip()
                continue
            flying = [self._items[name] for name in self._tasks.values()]
            if arrivals.wait_s > 0.0 or not arrivals.free(flying) or not self._start(item):
                return
            arrivals.sent()

    def _start(self, item: Item) -> bool:
        bound = self._bound(item)
        if not self._purse.hold(bound):
            # Later items may be cheaper, but choosing by price would bend the order.
            self._no_money = True
            return False
        self._tasks[asyncio.create_task(self._one(item, bound))] = item.id
        return True

    def _finish(self, task: asyncio.Task[Outcome]) -> None:
        del self._tasks[task]
        self._log_waits = 0
        try:
            outcome = task.result()
        except OutOfMoney:
            # A call that was let out of its turn cannot be made up for later: with arrivals, once is enough.
            self._denied += 1 if self._arrivals is None else 2
            return
        self._denied = 0
        self._take(outcome)
        if isinstance(outcome, Unjudged):
            self._broken_in_a_row += 1
            self._last_broken = outcome.reason
        else:
            self._broken_in_a_row = 0

    def _take(self, outcome: Outcome) -> None:
        self._outcomes[outcome.item] = outcome
        self._keep(outcome)

    async def _one(self, item: Item, bound: int | None) -> Outcome:
        """One item to its end; `bound` is held already for the first try."""
        for attempt in range(1, TRIES + 1):
            if attempt > 1 and not self._purse.hold(bound):
                raise OutOfMoney
            try:
                sent, reading = await self._try(item, bound)
            except BodyGone:
                return Gone(item=item.id)
            replay = None if sent is None else sent.exchange
            cost = None if sent is None else sent.cost_nanousd
            match reading:
                case Answered(answer):
                    self._pace.went_well()
                    return await self._graded(item, answer, replay, cost)
                case NoAnswer(failure):
                    return self._zero(item, replay, failure, cost)
                case Broke(reason, code):
                    if code == "trial_budget_exhausted":
                        raise OutOfMoney
                    return Unjudged(item=item.id, reason=reason, replay=replay)
                case Again():
                    if reading.throttled:
                        self._pace.throttled(reading.after_s)
                    if attempt == TRIES:
                        if reading.timeout:
                            return self._zero(item, replay, "timeout", cost)
                        return Unjudged(item=item.id, reason=f"{reading.reason} ({TRIES} tries)", replay=replay)
                    await self._sleep(backoff_s(attempt, reading.after_s))
        raise AssertionError("unreachable: the last try always returns")

    async def _graded(self, item: Item, answer: Answer, replay: str | None, cost: int | None) -> Outcome:
        try:
            scores = await self._judge(item, answer)
        except BodyGone:
            return Gone(item=item.id)
        except NotJudged as error:
            return Unjudged(item=item.id, reason=str(error), replay=replay)
        return Scored(
            item=item.id,
            replay=replay,
            incumbent=scores.incumbent,
            candidate=scores.candidate,
            note=scores.note,
            cost_nanousd=cost,
            length=scores.length,
        )

    def _zero(self, item: Item, replay: str | None, failure: Failure, cost: int | None) -> Scored:
        return Scored(
            item=item.id, replay=replay, incumbent=item.incumbent, candidate=0.0, failure=failure, cost_nanousd=cost
        )

    async def _try(self, item: Item, bound: int | None) -> tuple[Sent | None, Reading]:
        """One call with its money settled, whatever happens."""
        try:
            sent = await self._send(item)
        except (BodyGone, NotSent) as error:
            self._purse.settle(bound, 0)
            if isinstance(error, BodyGone):
                raise
            return None, Again(reason=str(error))
        except Lost as error:
            self._purse.settle_later(bound, None)
            return None, Again(reason=str(error))
        except TimeoutError:
            self._purse.settle_later(bound, None)
            return None, Again(reason="no answer in time", timeout=True)
        except BaseException:
            self._purse.settle_later(bound, None)
            raise
        if sent.cost_nanousd is not None:
            self._purse.settle(bound, sent.cost_nanousd)
        else:
            self._purse.settle_later(bound, sent.exchange)
        return sent, read(sent)

    def _report(self) -> None:
        walk = self._walk
        judged = walk.plan.judged
        self._show(
            Progress(
                pairs=walk.pairs,
                items=self._planned,
                in_flight=len(self._tasks),
                concurrency=self._pace.limit,
                decided=sum(walk.decided(name) for name in judged),
                slices=len(judged),
                failed=sum(len(rows) for rows in walk.unjudged.values()),
                spent_nanousd=self._purse.spent_nanousd,
                unknown_costs=self._purse.unknown,
            )
        )
