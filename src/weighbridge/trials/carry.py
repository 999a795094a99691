"""Carrying out one candidate's plan: what is known already, what is asked, and the records of the end."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack

import msgspec

from weighbridge.grading.answers import Answer, answer_of, question_of
from weighbridge.grading.book import GraderBook, grade
from weighbridge.grading.drift import drift
from weighbridge.grading.judge import JUDGE_TOKENS_MAX, JudgeGrader
from weighbridge.grading.own import OwnGraderError
from weighbridge.licenses import Profile
from weighbridge.licenses import finding as license_finding
from weighbridge.records.canonical import canonical
from weighbridge.records.evidence import Evidence, Finding, Verdict
from weighbridge.records.exchange import Exchange
from weighbridge.records.table import Arm, Route
from weighbridge.store.control import ControlClient, ObjectKind, ObjectRow, PutObject
from weighbridge.trials.arrivals import Arrivals
from weighbridge.trials.calls import Answered, BodyGone, NoAnswer, NotJudged, Sent, read
from weighbridge.trials.conclude import conclude
from weighbridge.trials.frame import Item
from weighbridge.trials.journal import Journal
from weighbridge.trials.judging import Judge, Panel
from weighbridge.trials.log import TrialLog
from weighbridge.trials.money import Purse, bound_nanousd, call_bound_nanousd, cost_of, output_bound, total_cost
from weighbridge.trials.outcome import Gone, Outcome, Scored, Scores, Unjudged
from weighbridge.trials.pace import Pace
from weighbridge.trials.plan import label
from weighbridge.trials.prepare import Prepared
from weighbridge.trials.recall import Recall
from weighbridge.trials.replay import Progress, Replayer, Stopped, Turn
from weighbridge.trials.send import GatewaySend, Line
from weighbridge.trials.walk import Walk

LOG_S_MAX = 10.0
"""How long the log may take to show the frames of replays whose answers we already have."""
POLL_EVERY_S = 0.25


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    verdict: Verdict
    digest: str
    """Of the stored verdict."""
    evidence: Evidence
    stopped: Stopped
    complete: bool
    """Nothing is left to do for this plan: more needs new traffic, a larger cap or a mended endpoint."""
    paid_again: int
    """Replays found in the log without a captured answer, so that they were asked once more."""


class Drawn(msgspec.Struct, frozen=True, kw_only=True):
    """What is drawn from a walk, before it is stored."""

    evidence: Evidence
    finding: Finding
    verdict: Verdict


class Carry:
    """One candidate's plan being carried out: outcomes known and still to come."""

    def __init__(self, log: TrialLog, prepared: Prepared, graders: GraderBook, journal: Journal) -> None:
        self._log, self._graders, self._journal = log, graders, journal
        self.plan, self.items = prepared.plan, prepared.items
        self.outcomes: dict[str, Outcome] = {}
        self.replays: dict[str, Exchange] = {}
        """The trial's own exchanges, by id: what was paid for."""
        self.walk = Walk(self.plan)
        self._recall = Recall(log.body)
        self._panel: Panel | None = None

    # --- what is known already ----------------------------------------------------------------------------------------

    def resume(self, earlier: Sequence[str], judges: Mapping[str, Arm], say: Callable[[str], None]) -> int:
        """Read the journal, then the log for what it lacks. Returns how many replays must be paid again.

        earlier: trials of the same arm whose answers stand in for new ones. judges: the arms that may be asked.
        """
        self.outcomes = self._journal.open()
        for trial in earlier:
            self._recall.learn(self._log.replays(trial))
        if earlier:
            said = sum(name not in self.outcomes and self._recalls(name) for name in self.items)
            say(f"{said} answers of {len(earlier)} earlier trials stand in for new ones (--reuse)")
        own = self._log.replays(self.plan.trial)
        self.replays.update((exchange.id, exchange) for exchange in own)
        self._recall.learn(own)
        for exchange in self._log.judgements(self.plan.trial):
            self.replays[exchange.id] = exchange
            judge = judges.get(exchange.arm or "")
            answered = exchange.attempts[-1] if exchange.attempts else None
            if judge is None or answered is None:
                continue
            if (answered.endpoint, answered.model) == (judge.endpoint, judge.model):
                self._recall.learn([exchange])
        answers = {one.item for one in own if one.outcome == "ok"}
        open_items = [name for name in self.items if name in answers and name not in self.outcomes]
        found = sum(self._recalls(name) for name in open_items)
        if found:
            say(f"{found} replays were found in the log and are not paid again")
        return len(open_items) - found

    def _recalls(self, item: str) -> bool:
        return self._recall.find(self.plan.settings.candidate, item) is not None

    def purse(self, cap: int | None, arm: Arm, route: Route) -> Purse:
        """Counts what earlier runs of this trial spent; what nobody knows is booked at the item's upper bound."""
        bound = self._bound(arm, route)
        spent = unknown = 0
        for exchange in self.replays.values():
            cost = cost_of(exchange)
            item = self.items.get(exchange.item or "")
            if cost is None:
                unknown += 1
                cost = (bound(item) if item is not None else None) or exchange.held_nanousd or 0
            spent += cost
        return Purse(cap, spent, unknown)

    def _bound(self, arm: Arm, route: Route) -> Callable[[Item], int | None]:
        longest = max((item.output_tokens or 0 for item in self.items.values()), default=0)
        added = len((arm.system_prompt or "").encode())

        def bound(item: Item) -> int | None:
            if self._recalls(item.id):
                return 0
            return bound_nanousd(item, output_bound(item, route.max_tokens_default, longest), arm.price, added)

        return bound

    # --- asking -------------------------------------------------------------------------------------------------------

    async def judge(self, item: Item, answer: Answer) -> Scores:
        row = self._graders.of(item.slice)
        body = self._log.body(item.request)
        if row is None or not isinstance(body, bytes):
            raise BodyGone(item.id)
        question = question_of(body)
        if isinstance(row.grader, JudgeGrader):
            incumbent = self._log.body(item.response)
            if not isinstance(incumbent, bytes):
                raise BodyGone(item.id)
            assert self._panel is not None  # noqa: S101 (`replay` made it)
            return await self._panel.compare(row.grader, item.id, question, answer_of(incumbent), answer)
        if row.slow:
            try:
                later = self._graders.later(lambda one: grade(one, answer, item.reference, question), row)
                graded = await asyncio.wrap_future(later)
            except OwnGraderError as error:
                raise NotJudged(f"{error} (exchange {item.id})") from None
        else:
            graded = grade(row, answer, item.reference, question)
        return Scores(incumbent=item.incumbent, candidate=graded.score, note=graded.note)

    def _judges(self, sends: Mapping[str, GatewaySend], judges: Mapping[str, Arm]) -> dict[str, Judge]:
        made = {}
        for name, arm in judges.items():

            async def ask(key: str, body: bytes, name: str = name) -> Sent:
                return await self._recall.ask(name, key, lambda: sends[name].ask(key, body))

            def bound(key: str, body: bytes, arm: Arm = arm) -> int | None:
                if self._recall.find(arm.name, key) is not None:
                    return 0
                return call_bound_nanousd(
                    len(body), JUDGE_TOKENS_MAX, arm.price, len((arm.system_prompt or "").encode())
                )

            made[name] = Judge(arm=name, ask=ask, bound=bound)
        return made

    async def replay(
        self,
        line: Line,
        judges: Mapping[str, Arm],
        purse: Purse,
        arm: Arm,
        route: Route,
        show: Callable[[Progress], None],
        turn: Turn | None = None,
    ) -> tuple[Stopped, str]:
        """Ask what is wanted until it ends; returns why, and what the endpoint said last when it failed.

        turn: of a sweep, whose candidates wait for each other.
        """
        poll = _Poll(self._log, self.plan.trial, self.replays, purse)
        send = GatewaySend(line, self._log, self.plan, purse)
        judge_sends = {name: GatewaySend(line, self._log, self.plan, purse, name, "judge") for name in judges}
        self._panel = Panel(route.name, self._judges(judge_sends, judges), purse)

        async def ask(item: Item) -> Sent:
            return await self._recall.ask(arm.name, item.id, lambda: send(item))

        async with AsyncExitStack() as stack:
            for one in (send, *judge_sends.values()):
                await stack.enter_async_context(one)

            async def carried() -> tuple[Stopped, str]:
                gap = self.plan.settings.gap_max_s
                arrivals = None if gap is None else Arrivals(self.items.values(), gap)
                replayer = Replayer(
                    self.walk, self.items, self.outcomes, ask, self.judge, purse, self._bound(arm, route),
                    Pace(line.concurrency), self._journal.add, poll, show, turn=turn,
                    arrivals=arrivals,
                )  # fmt: skip
                return await replayer.run(), replayer.last_broken

            await self._take_recalled()
            stopped, last_broken = await carried()
            if self.walk.unjudged and stopped in ("decided", "exhausted") and turn is None:
                # Once more for what failed: an outage of minutes should not cost the slice its verdict.
                await self._caught_up(poll)
                self._forget_failures()
                stopped, last_broken = await carried()
            await self._caught_up(poll)
        return stopped, last_broken

    async def _take_recalled(self) -> None:
        """Grade answers that are known already, before anything is asked: they may decide what would else be paid for.

        A panel's slices wait for their turn: its questions may still cost something.
        """
        for item in self.items.values():
            row = self._graders.of(item.slice)
            sent = self._recall.find(self.plan.settings.candidate, item.id)
            if item.id in self.outcomes or sent is None or row is None or isinstance(row.grader, JudgeGrader):
                continue
            reading = read(sent)
            outcome: Outcome
            if isinstance(reading, Answered):
                try:
                    scores = await self.judge(item, reading.answer)
                except BodyGone:
                    outcome = Gone(item=item.id)
                except NotJudged as error:
                    outcome = Unjudged(item=item.id, reason=str(error), replay=sent.exchange)
                else:
                    outcome = Scored(
                        item=item.id, replay=sent.exchange, incumbent=scores.incumbent, candidate=scores.candidate,
                        note=scores.note, cost_nanousd=sent.cost_nanousd,
                    )  # fmt: skip
            elif isinstance(reading, NoAnswer):
                outcome = Scored(
                    item=item.id, replay=sent.exchange, incumbent=item.incumbent, candidate=0.0,
                    failure=reading.failure, cost_nanousd=sent.cost_nanousd,
                )  # fmt: skip
            else:
                continue
            self.outcomes[item.id] = outcome
            self._journal.add(outcome)

    def _forget_failures(self) -> None:
        # What was answered and could not be graded is not paid again.
        self._recall.learn(one for one in self.replays.values() if one.item in self.items)
        for name in [name for name, outcome in self.outcomes.items() if isinstance(outcome, Unjudged)]:
            del self.outcomes[name]
        self.walk = type(self.walk)(self.plan)

    async def _caught_up(self, poll: "_Poll") -> None:
        """Wait until the log shows every replay: those that become evidence, and those that only cost money."""
        asked = [one.replay for one in self.outcomes.values() if isinstance(one, Scored | Unjudged)]
        wanted = {replay for replay in asked if replay is not None and replay not in self._recall.used}
        end = time.monotonic() + LOG_S_MAX
        while not wanted <= self.replays.keys() and time.monotonic() < end:
            poll.now()
            await asyncio.sleep(0.02)

    # --- concluding ---------------------------------------------------------------------------------------------------

    def draw(self, arm: Arm, who: Profile, stopped: Stopped, last_broken: str, said: Sequence[str] = ()) -> Drawn:
        """Evidence, finding and verdict as things stand, not stored yet. said: more reasons for what is undecided."""
        finding = license_finding(arm, time.strftime("%Y-%m-%d", time.gmtime()), who)
        evidence, verdict = conclude(
            self.walk,
            self.items,
            self.answers,
            finding,
            stopped,
            last_broken,
            total_cost(self.replays.values()),
            time.time_ns(),
            said,
        )
        # A trial that was interrupted may end long after its span did.
        since = self._log.users_since(self.plan.settings.route, evidence.span.last_time_ns)
        moved = drift(evidence, since) if evidence.pairs else None
        if moved is not None:
            verdict = msgspec.structs.replace(verdict, moved=moved.warnings)
        return Drawn(evidence=evidence, finding=finding, verdict=verdict)

    def conclude(
        self, control: ControlClient, arm: Arm, who: Profile, stopped: Stopped, last_broken: str, paid_again: int
    ) -> Ended:
        """Store evidence, finding and verdict, in this order: whatever is named is there."""
        drawn = self.draw(arm, who, stopped, last_broken)
        evidence = put(control, "evidence", label(self.plan.settings), drawn.evidence)
        verdict, digest = put_verdict(control, drawn, evidence)
        return Ended(
            verdict=verdict,
            digest=digest,
            evidence=drawn.evidence,
            stopped=stopped,
            complete=self.complete,
            paid_again=paid_again,
        )

    @property
    def answers(self) -> dict[str, Exchange]:
        """The exchanges behind its pairs, by id, whoever paid for them."""
        return {**self._recall.used, **self.replays}

    def finish(self) -> None:
        """Mark its trial as carried to the end."""
        self._journal.finish()

    @property
    def complete(self) -> bool:
        """Is nothing left to do for this plan?"""
        return self.walk.finished and not self.walk.unjudged and not self.walk.cut_short


def put(control: ControlClient, kind: ObjectKind, name: str, record: msgspec.Struct) -> str:
    """Store a record under its canonical bytes; returns their digest."""
    return control.call(PutObject(kind=kind, label=name, body=canonical(record)), ObjectRow).digest


def put_verdict(control: ControlClient, drawn: Drawn, evidence: str, sweep: str | None = None) -> tuple[Verdict, str]:
    """Store finding and verdict; returns the verdict as stored, and its digest. evidence, sweep: stored objects."""
    finding = put(control, "finding", drawn.finding.arm, drawn.finding)
    verdict = msgspec.structs.replace(drawn.verdict, evidence=evidence, findings=(finding,), sweep=sweep)
    return verdict, put(control, "verdict", f"{verdict.route}/{verdict.candidate}", verdict)


class _Poll:
    """Hears from the log what replays cost. Called often, looks seldom."""

    def __init__(self, log: TrialLog, trial: str, replays: dict[str, Exchange], purse: Purse) -> None:
        self._follower = log.follower()
        self._trial, self.replays, self._purse = trial, replays, purse
        self._at = 0.0

    def __call__(self) -> None:
        if time.monotonic() - self._at >= POLL_EVERY_S:
            self.now()

    def now(self) -> None:
        self._at = time.monotonic()
        for exchange in self._follower.poll():
            if exchange.trial == self._trial and exchange.purpose in ("trial", "judge"):
                self.replays[exchange.id] = exchange
                self._purse.hear(exchange)
